//! JSON files that somebody else made.
//!
//! serde_json alone takes the later of two equal keys in silence, and a hundred times a file's size
//! in memory. Here a key that stands twice is an error, and the number of values is bounded.

use std::cell::Cell;
use std::fmt;
use std::path::Path;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::Error;

/// Values in one file, at most; the indices of a million records fit.
pub const MAX_VALUES: usize = 1 << 21;

/// Reads a JSON file: a regular file of at most [`input_file::JSON`] bytes, in UTF-8 or UTF-16 with
/// a mark.
///
/// # Errors
/// [`Error::Read`] with the reason: also two equal keys in one object, and more than [`MAX_VALUES`]
/// values.
pub fn read(path: &Path) -> Result<Value, Error> {
    let text = input_file::read_text(path, input_file::JSON).map_err(Error::read(path))?;
    parse(&text).map_err(|error| {
        let reason = format!("it is no JSON: {error}");
        Error::read(path)(std::io::Error::new(std::io::ErrorKind::InvalidData, reason))
    })
}

/// JSON out of text.
///
/// # Errors
/// As [`read`], without the file.
pub fn parse(text: &str) -> Result<Value, serde_json::Error> {
    let left = Cell::new(MAX_VALUES);
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Strict(&left).deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Builds values while `.0` lasts.
#[derive(Clone, Copy)]
struct Strict<'l>(&'l Cell<usize>);

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl Strict<'_> {
    fn take<E: serde::de::Error>(self, value: impl Into<Value>) -> Result<Value, E> {
        let left = self.0.get().checked_sub(1);
        self.0.set(left.ok_or_else(|| E::custom(format!("it holds more than {MAX_VALUES} values")))?);
        Ok(value.into())
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        self.take(value)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.take(value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.take(value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        self.take(value)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.take(value)
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        self.take(value)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        self.take(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(self)? {
            values.push(value);
        }
        self.take(values)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(key) = pairs.next_key::<String>()? {
            if values.contains_key(&key) {
                let key = Value::from(key);
                return Err(A::Error::custom(format!("the key {key} stands twice in one object; keep one")));
            }
            values.insert(key, pairs.next_value_seed(self)?);
        }
        self.take(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_serde_json() {
        let text = r#"{"a": [1, -2, 2.5, 1e-7, 18446744073709551615, true, null, "x\n\u00e9"], "b": {"c": {}, "d": []}}"#;
        assert_eq!(parse(text).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        for bad in ["", "{", "[1,]", "{} x", "{\"a\":1,}", "nan"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&"[".repeat(1000)).is_err());
    }

    /// Field cases, row 5: keys that name the same thing twice.
    #[test]
    fn a_key_that_stands_twice_is_an_error_at_any_depth() {
        for bad in [r#"{"a": 1, "a": 1}"#, r#"{"x": [{"a": 1, "b": 2, "a": 3}]}"#, r#"{"a": 1, "\u0061": 2}"#]
        {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains("\"a\" stands twice"), "{error}");
        }
        parse(r#"{"a": {"a": 1}, "b": {"a": 1}}"#).unwrap();
    }

    /// Attacks, row 6.
    #[test]
    fn the_number_of_values_is_bounded() {
        let many = format!("[{}[0]]", "[0],".repeat(MAX_VALUES / 2));
        let error = parse(&many).unwrap_err().to_string();
        assert!(error.contains("more than 2097152 values"), "{error}");
    }
}
