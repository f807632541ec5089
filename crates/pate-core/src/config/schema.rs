//! What values a key may have, and the JSON Schema that says so.

use std::fmt;

use serde_json::{Map, Value, json};

use super::words::Word;
use super::{Config, KEYS};

/// A key of the configuration file.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The section that it stands in.
    pub section: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The other dialect's name for it.
    pub alias: Option<&'static str>,
    /// What values it may have.
    pub kind: Kind,
    /// What it does, in one sentence.
    pub doc: &'static str,
}

/// The values that a key may have.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A whole number from the first to the second.
    Count(u64, u64),
    /// The same, or 0 or null for "no limit" (kept as null).
    CountOrNone(u64),
    /// A whole number or null for "as the decoder has it".
    LatentDim,
    /// A number from the first to the second.
    Number(f64, f64),
    /// A number above 0.
    Positive,
    /// A number above 0, or 0 or null for "not checked" (kept as null).
    DistanceOrNone,
    /// A fraction from 0 to 1, or 0 or null for "no limit" (kept as null).
    FractionOrNone,
    /// true or false.
    Flag,
    /// A list of class numbers.
    Classes,
    /// A list of numbers, one per channel.
    Numbers,
    /// One of some words, given with what they mean.
    Word(&'static [(&'static str, &'static str)]),
}

impl Kind {
    /// The words of `W`.
    pub const fn of<W: Word>() -> Self {
        Self::Word(W::WORDS)
    }

    /// The value as it is used, or `None` where it is not allowed.
    pub fn check(self, value: &Value) -> Option<Value> {
        match self {
            Self::Count(low, high) => whole(value).filter(|n| (low..=high).contains(n)).map(Value::from),
            Self::CountOrNone(high) => match value {
                Value::Null => Some(Value::Null),
                _ => whole(value).filter(|n| *n <= high).map(|n| if n == 0 { Value::Null } else { n.into() }),
            },
            Self::LatentDim => match value {
                Value::Null => Some(Value::Null),
                _ => whole(value).filter(|n| (1..=4096).contains(n)).map(Value::from),
            },
            Self::Number(low, high) => value.as_f64().filter(|x| (low..=high).contains(x)).map(Value::from),
            Self::Positive => value.as_f64().filter(|x| *x > 0.0 && x.is_finite()).map(Value::from),
            Self::DistanceOrNone => match value {
                Value::Null => Some(Value::Null),
                _ => value
                    .as_f64()
                    .filter(|x| *x >= 0.0 && x.is_finite())
                    .map(|x| if x == 0.0 { Value::Null } else { x.into() }),
            },
            Self::FractionOrNone => match value {
                Value::Null => Some(Value::Null),
                _ => value
                    .as_f64()
                    .filter(|x| (0.0..=1.0).contains(x))
                    .map(|x| if x == 0.0 { Value::Null } else { x.into() }),
            },
            Self::Flag => value.is_boolean().then(|| value.clone()),
            Self::Classes => {
                let classes: Option<Vec<u64>> = value.as_array()?.iter().map(whole).collect();
                let mut classes = classes?;
                classes.sort_unstable();
                let once = classes.windows(2).all(|pair| pair[0] < pair[1]);
                // Labels end at 9999, since no step takes more than 10,000 classes.
                (once && classes.iter().all(|n| *n < 10_000)).then(|| value.clone())
            }
            Self::Numbers => {
                let list = value.as_array()?;
                (!list.is_empty() && list.iter().all(|v| v.as_f64().is_some_and(f64::is_finite)))
                    .then(|| value.clone())
            }
            Self::Word(words) => {
                value.as_str().filter(|text| words.iter().any(|(word, _)| word == text)).map(Value::from)
            }
        }
    }

    fn schema(self) -> Value {
        match self {
            Self::Count(low, high) => json!({"type": "integer", "minimum": low, "maximum": high}),
            Self::CountOrNone(high) => json!({"type": ["integer", "null"], "minimum": 0, "maximum": high}),
            Self::LatentDim => json!({"type": ["integer", "null"], "minimum": 1, "maximum": 4096}),
            Self::Number(low, high) => json!({"type": "number", "minimum": low, "maximum": high}),
            Self::Positive => json!({"type": "number", "exclusiveMinimum": 0}),
            Self::DistanceOrNone => json!({"type": ["number", "null"], "minimum": 0}),
            Self::FractionOrNone => json!({"type": ["number", "null"], "minimum": 0, "maximum": 1}),
            Self::Flag => json!({"type": "boolean"}),
            Self::Classes => {
                json!({"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9999}, "uniqueItems": true})
            }
            Self::Numbers => json!({"type": "array", "items": {"type": "number"}, "minItems": 1}),
            Self::Word(words) => {
                let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                json!({"type": "string", "enum": words})
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(low, high) => write!(f, "a whole number, {low} to {high}"),
            Self::CountOrNone(high) => write!(f, "a whole number, 1 to {high}, or 0 or null for no limit"),
            Self::LatentDim => f.write_str("a whole number, 1 to 4096, or null for the decoder's own"),
            Self::Number(low, high) => write!(f, "a number, {low} to {high}"),
            Self::Positive => f.write_str("a number above 0"),
            Self::DistanceOrNone => f.write_str("a number above 0, or 0 or null to switch the check off"),
            Self::FractionOrNone => f.write_str("a fraction from 0 to 1, or 0 or null for no limit"),
            Self::Flag => f.write_str("true or false"),
            Self::Classes => f.write_str("a list of class numbers, each once"),
            Self::Numbers => f.write_str("a list of numbers, one per channel"),
            Self::Word(words) => {
                let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                write!(f, "one of {}", words.join(", "))
            }
        }
    }
}

fn whole(value: &Value) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| value.as_f64().filter(|x| x.fract() == 0.0 && (0.0..9e15).contains(x)).map(|x| x as u64))
}

/// The sections, in order.
pub(super) fn sections() -> impl Iterator<Item = &'static str> {
    let mut last = "";
    KEYS.iter()
        .map(|key| key.section)
        .filter(move |section| std::mem::replace(&mut last, section) != *section)
}

/// The JSON Schema (draft 2020-12) of the configuration file, with defaults.
pub fn json_schema() -> Value {
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let mut properties = Map::new();
    properties.insert("$schema".into(), json!({"type": "string"}));
    for section in sections() {
        let mut entries = Map::new();
        for key in KEYS.iter().filter(|key| key.section == section) {
            let mut schema = key.kind.schema();
            schema["description"] = json!(key.doc);
            schema["default"] = defaults[section][key.name].clone();
            entries.insert(key.name.into(), schema.clone());
            if let Some(alias) = key.alias {
                schema["description"] = json!(format!("The same as `{}`.", key.name));
                entries.insert(alias.into(), schema);
            }
        }
        properties.insert(
            section.into(),
            json!({"type": "object", "additionalProperties": false, "properties": entries}),
        );
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "PATE Synth configuration",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}
