//! Parts of responses whose own types refuse unknown members.

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Settings and grants are read strictly where they are set. In a response, a newer server may have extended them: they
/// are kept as they were sent, and the rest of the object stays readable.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Known<T> {
    Known(T),
    Newer(Value),
}

impl<T: Default> Default for Known<T> {
    fn default() -> Known<T> {
        Known::Known(T::default())
    }
}

impl<T: Clone + DeserializeOwned> Known<T> {
    /// The part, or which member of it this version does not know.
    pub fn get(&self) -> serde_json::Result<T> {
        match self {
            Known::Known(part) => Ok(part.clone()),
            Known::Newer(sent) => match T::deserialize(sent) {
                Ok(_) => Err(serde_json::Error::custom("it is not what it was read as")),
                Err(err) => Err(err),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feeds::FeedObject;
    use crate::functions::FunctionObject;
    use crate::grants::ApprovalObject;
    use crate::upstreams::UpstreamObject;
    use larder_model::LimitSettings;

    #[test]
    fn unknown_members_of_a_response_harm_nothing() {
        let mut sent = serde_json::to_value(FunctionObject::default()).unwrap();
        sent["new"] = 1.into();
        sent["$id"] = "f".into();
        let read = FunctionObject::deserialize(&sent).unwrap();
        assert!(read.id == "f" && read.limits.get().unwrap() == LimitSettings::default());
        sent["limits"] = serde_json::json!({ "cpuMs": 7, "new": 1 });
        let read = FunctionObject::deserialize(&sent).unwrap();
        assert!(read.limits.get().unwrap_err().to_string().contains("unknown field `new`"));
        assert_eq!(serde_json::to_value(&read.limits).unwrap(), sent["limits"]);
    }

    #[test]
    fn settings_beside_other_members_are_read_whatever_else_is_there() {
        let mut sent = serde_json::to_value(UpstreamObject::default()).unwrap();
        assert!(UpstreamObject::deserialize(&sent).unwrap().settings.is_none(), "not told to everybody");
        (sent["url"], sent["new"]) = ("https://x.example".into(), 1.into());
        assert_eq!(UpstreamObject::deserialize(&sent).unwrap().settings.unwrap().url, "https://x.example");

        let mut sent = serde_json::to_value(FeedObject::default()).unwrap();
        assert!(FeedObject::deserialize(&sent).unwrap().own.is_none(), "not told to everybody");
        sent["mapping"] = serde_json::json!({ "id": "{/id}", "source": "/s", "type": "t", "time": "{/time}" });
        (sent["position"], sent["new"]) = ("p".into(), 1.into());
        assert_eq!(FeedObject::deserialize(&sent).unwrap().own.unwrap().position.as_deref(), Some("p"));

        let mut sent = serde_json::to_value(ApprovalObject::default()).unwrap();
        (sent["active"], sent["new"], sent["grants"]["new"]) = (true.into(), 1.into(), 1.into());
        assert!(ApprovalObject::deserialize(&sent).unwrap().active);
    }
}
