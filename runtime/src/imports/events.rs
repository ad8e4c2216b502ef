//! `larder:function/events`: emitting events.

use std::collections::BTreeMap;

use bytes::Bytes;
use larder_model::outcome::Effect;
use larder_model::{Event, attributes, text};

use super::{Host, check_length, check_value};
use crate::bindings::larder::function::event_types::Attribute;
use crate::bindings::larder::function::events;

impl events::Host for Host {
    async fn emit(&mut self, event: events::NewEvent) -> wasmtime::Result<Result<String, String>> {
        self.emit_with(event, vec![]).await
    }

    async fn emit_with(
        &mut self,
        event: events::NewEvent,
        attributes: Vec<Attribute>,
    ) -> wasmtime::Result<Result<String, String>> {
        let allowed = check(&event).and_then(|()| self.grants.allow_event(&event.type_));
        let attributes = match allowed.and_then(|()| self.fits(&event)).and_then(|()| named(attributes)) {
            Ok(attributes) => attributes,
            Err(wrong) => return Ok(Err(wrong)),
        };
        let more = attributes.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        let subject_bytes = event.subject.as_ref().map_or(0, String::len);
        self.admit_effect(event.data.len() + event.type_.len() + event.data_content_type.len() + subject_bytes + more)?;
        let id = self.next_id();
        self.effects.push(Effect::Emit(Event {
            id: id.clone(),
            source: String::new(),
            kind: event.type_,
            subject: event.subject,
            time: String::new(),
            data_content_type: event.data_content_type,
            data: Bytes::from(event.data),
            attributes,
        }));
        Ok(Ok(id))
    }
}

impl Host {
    /// Do its data keep to the schemas of those that take it?
    fn fits(&self, event: &events::NewEvent) -> Result<(), String> {
        let fits = self.event_rules.check(&event.type_, &event.data_content_type, &event.data);
        fits.map_err(|unfit| unfit.to_string())
    }
}

/// By name, if an event may have them.
fn named(list: Vec<Attribute>) -> Result<BTreeMap<String, String>, String> {
    let mut named = BTreeMap::new();
    for Attribute { name, value } in list {
        if named.insert(name.clone(), value).is_some() {
            return Err(format!("the attribute {name:?} is there twice"));
        }
    }
    attributes::check(&named).map_err(|(name, why)| format!("the attribute {name:?} {why}"))?;
    Ok(named)
}

fn check(event: &events::NewEvent) -> Result<(), String> {
    check_length("type", &event.type_, 1)?;
    if let Some(odd) = event.type_.chars().find(|c| !c.is_ascii_graphic()) {
        return Err(format!("type contains {odd:?}; it is made of printable ASCII, words with dots between them"));
    }
    if event.type_.split('.').any(str::is_empty) {
        return Err(format!("type {:?} has an empty word between its dots", event.type_));
    }
    if let Some(subject) = &event.subject {
        check_length("subject", subject, 1)?;
        text::check(subject).map_err(|why| format!("subject {why}"))?;
    }
    check_length("data-content-type", &event.data_content_type, 0)?;
    if event.data_content_type.chars().any(|c| !c.is_ascii() || c.is_ascii_control()) {
        return Err(format!("data-content-type {:?} is not a media type", event.data_content_type));
    }
    check_value("data", &event.data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, subject: Option<&str>, bytes: usize) -> events::NewEvent {
        events::NewEvent {
            type_: kind.into(),
            subject: subject.map(Into::into),
            data_content_type: "application/json".into(),
            data: vec![0; bytes],
        }
    }

    #[test]
    fn invalid_events_are_refused_with_a_reason() {
        assert_eq!(check(&event("card.purchase", Some("team-1"), 65_536)), Ok(()));
        assert!(check(&event("", None, 0)).unwrap_err().contains("0 characters"));
        assert!(check(&event(&"a".repeat(256), None, 0)).unwrap_err().contains("256 characters"));
        assert!(check(&event("card purchase", None, 0)).unwrap_err().contains("' '"));
        assert!(check(&event("card..purchase", None, 0)).unwrap_err().contains("empty word"));
        for odd in ["x\n", "\u{202e}x"] {
            assert!(check(&event("a", Some(odd), 0)).unwrap_err().contains("control"), "{odd:?}");
        }
        assert!(check(&event("a", None, 65_537)).unwrap_err().contains("65537 bytes"));
    }
}
