//! JSON that means one thing: a member that occurs twice is refused, because two programs may read different ones of it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The value, if the text is JSON, has no member twice and is not nested deeper than `depth`.
pub fn read(text: &[u8], depth: u8) -> Result<Value, String> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Node(depth).deserialize(&mut reader).map_err(|err| err.to_string())?;
    reader.end().map_err(|err| err.to_string())?;
    Ok(value)
}

/// A value that may be nested so deep.
struct Node(u8);

impl Node {
    fn below<E: Error>(&self) -> Result<u8, E> {
        self.0.checked_sub(1).ok_or_else(|| E::custom("nested too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Node {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(Node(below))? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut all = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(Node(below))?;
            if all.contains_key(&name) {
                return Err(A::Error::custom(format!("{name:?} occurs twice")));
            }
            all.insert(name, value);
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_mean_two_things_is_refused() {
        let text = r#"{"a":[1,-2,0.5,true,null,"x"],"b":{"c":{}}}"#;
        assert_eq!(read(text.as_bytes(), 3).unwrap().to_string(), text);
        for (text, why) in [
            (r#"{"a":1,"a":1}"#, "occurs twice"),
            (r#"{"x":{"a":1,"\u0061":1}}"#, "occurs twice"),
            (r#"{"a":{"b":{"c":{}}}}"#, "nested too deep"),
            ("[[[[]]]]", "nested too deep"),
            ("1e999", "out of range"),
            ("{} {}", "trailing"),
            ("", "EOF"),
        ] {
            let refused = read(text.as_bytes(), 3).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}
