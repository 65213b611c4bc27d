//! JSON documents that are arguments.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::RefCell;
use std::fmt;

/// The reason why a document cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentError {
    /// What is wrong, without the place.
    pub reason: String,
    /// The keys and positions that lead to the place, with dots between them; empty for the whole.
    pub path: String,
    /// Whether it is a number that is too great.
    pub is_number: bool,
}

/// Reads a document.
///
/// # Errors
/// [`DocumentError`] for a number that double precision does not hold, and for values that are nested too deeply.
pub fn parse_document(text: &str) -> Result<Value, DocumentError> {
    let path = RefCell::new(Vec::new());
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = Node { path: &path }.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    read.map_err(|error| {
        let words = error.to_string();
        let reason = words.split(" at line ").next().unwrap_or(&words).to_owned();
        let is_number = reason == "number out of range";
        DocumentError { reason, path: shown(&path.borrow()), is_number }
    })
}

/// Returns a path for people, cut off where it is long.
fn shown(path: &[String]) -> String {
    const MOST_KEYS: usize = 10;
    const LONGEST: usize = 200;
    let kept = path.iter().take(MOST_KEYS).map(String::as_str).collect::<Vec<_>>().join(".");
    let end = kept.floor_char_boundary(LONGEST);
    let is_cut = end < kept.len() || path.len() > MOST_KEYS;
    format!("{}{}", &kept[..end], if is_cut { "…" } else { "" })
}

/// Reads a value, and leaves the path to it behind where it cannot be read.
#[derive(Clone, Copy)]
struct Node<'a> {
    path: &'a RefCell<Vec<String>>,
}

impl Node<'_> {
    fn enter(self, step: String) {
        self.path.borrow_mut().push(step);
    }

    fn leave(self) {
        self.path.borrow_mut().pop();
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        loop {
            self.enter(values.len().to_string());
            let Some(value) = elements.next_element_seed(self)? else { break };
            self.leave();
            values.push(value);
        }
        self.leave();
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            self.enter(key.clone());
            let value = members.next_value_seed(self)?;
            self.leave();
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_what_they_were() {
        for text in ["null", "[]", r#"{"a":[1,-2,18446744073709551615,0.5,"x",{"b":true}],"c":{}}"#] {
            assert_eq!(parse_document(text), Ok(serde_json::from_str(text).unwrap()), "{text}");
        }
    }

    #[test]
    fn errors_tell_the_place() {
        let huge = format!("1{}", "0".repeat(400));
        for (text, path) in [
            (huge.clone(), ""),
            (format!(r#"{{"a": 1, "b": {{"sample": {huge}}}}}"#), "b.sample"),
            (format!(r#"{{"a": [[], [1, -{huge}]]}}"#), "a.1.1"),
        ] {
            let error = parse_document(&text).unwrap_err();
            let expected = DocumentError { reason: "number out of range".into(), path: path.into(), is_number: true };
            assert_eq!(error, expected);
        }
        let deep = parse_document(&"[".repeat(10_000)).unwrap_err();
        assert_eq!((deep.reason.as_str(), deep.is_number), ("recursion limit exceeded", false));
        assert!(deep.path.starts_with("0.0.0") && deep.path.ends_with('…'), "{}", deep.path);
    }
}
