//! The configuration file: one JSON object with a section per theme.
//!
//! Two dialects are in use for three keys of `filtering`; both are read, both at once is an error.
//! A key that is not known, or a value out of range, is an error that names the key, the value,
//! what is allowed, and the nearest known key.

mod schema;
mod sections;
mod words;

use std::path::Path;

use serde_json::{Map, Value};

pub use schema::{Key, Kind, json_schema};
pub use sections::{
    Config, DecoderConfig, EvaluationConfig, FilteringConfig, GenerationConfig, KEYS, PreprocessingConfig,
    SteeringConfig, StudentConfig, TeacherVaeConfig, TeachersConfig,
};
pub use words::{
    AugmentationKind, CentralKind, ClippingKind, FeatureKind, NetworkKind, OptimizerKind, SamplerKind,
    ScheduleKind, StartKind, VariantKind, Word,
};

use crate::{Error, Result};

/// Where the default configuration is looked for.
pub const DEFAULT_PATH: &str = "config/synthetic_generation.json";

/// A configuration takes a few kilobytes.
const MAX_BYTES: u64 = 1 << 20;

impl Config {
    /// Reads a file; what it leaves out has its default.
    ///
    /// # Errors
    /// A file that cannot be read, no JSON object, unknown keys, a key or a section that stands
    /// twice, two spellings of one key, values out of range.
    pub fn load(path: &Path) -> Result<Self> {
        let text = input_file::read_text(path, MAX_BYTES)
            .map_err(|source| artifact::Error::Read { path: path.to_path_buf(), source })?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self> {
        let wrong = |problem: String, hint: String| Error::content(path, problem, hint);
        let value: Value = artifact::json::parse(text).map_err(|e| {
            wrong(
                format!("it is no JSON ({e})"),
                "fix it at that line, or start from config/synthetic_generation.json".into(),
            )
        })?;
        let Value::Object(sections) = value else {
            return Err(wrong("it is no JSON object".into(), "write {\"section\": {\"key\": value}}".into()));
        };
        let mut canonical = Map::new();
        for (section, content) in sections {
            // Editors find the schema by this key.
            if section == "$schema" {
                continue;
            }
            if !KEYS.iter().any(|key| key.section == section) {
                let known: Vec<&str> = schema::sections().collect();
                return Err(wrong(
                    format!("unknown section `{section}`{}", nearest(&section, known.iter().copied())),
                    format!("known are {}", known.join(", ")),
                ));
            }
            let Value::Object(entries) = content else {
                return Err(wrong(format!("`{section}` is {content}"), "a section is an object".into()));
            };
            let checked = check_section(path, &section, entries)?;
            canonical.insert(section, Value::Object(checked));
        }
        serde_json::from_value(Value::Object(canonical)).map_err(|e| {
            wrong(format!("it cannot be used ({e})"), "see config/synthetic_generation.schema.json".into())
        })
    }
}

fn check_section(path: &Path, section: &str, entries: Map<String, Value>) -> Result<Map<String, Value>> {
    let mut checked = Map::new();
    for (name, value) in entries {
        let in_section = || KEYS.iter().filter(|key| key.section == section);
        let Some(key) = in_section().find(|key| key.name == name || key.alias == Some(&name)) else {
            let names: Vec<&str> = in_section().map(|key| key.name).collect();
            let candidates = in_section().flat_map(|key| std::iter::once(key.name).chain(key.alias));
            return Err(Error::content(
                path,
                format!("unknown key `{section}.{name}` (value {value}){}", nearest(&name, candidates)),
                format!("`{section}` has {}", names.join(", ")),
            ));
        };
        // A name that stands twice is refused by the strict reader, so this is the other dialect's.
        if checked.contains_key(key.name) {
            return Err(Error::content(
                path,
                format!("`{section}` holds both `{}` and `{}`", key.name, key.alias.unwrap_or_default()),
                "they are two spellings of one key; keep one",
            ));
        }
        // The value as it is used: 0 becomes null where both mean that there is no limit.
        let value = key.kind.check(&value).ok_or_else(|| {
            Error::content(path, format!("`{section}.{name}` is {value}"), format!("allowed: {}", key.kind))
        })?;
        checked.insert(key.name.to_owned(), value);
    }
    Ok(checked)
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(String::new, |(_, candidate)| format!(", did you mean `{candidate}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn parse(text: &str) -> Result<Config> {
        Config::parse(Path::new("c.json"), text)
    }

    #[test]
    fn nothing_is_the_defaults() {
        assert_eq!(parse("{}").unwrap(), Config::default());
    }

    /// Field cases, row 5.
    #[test]
    fn a_section_or_a_key_that_stands_twice_is_refused() {
        for text in [
            r#"{"filtering": {"confidence_threshold": 0.5, "confidence_threshold": 0.99}}"#,
            r#"{"filtering": {"confidence_threshold": 0.5}, "filtering": {"min_per_class": 3}}"#,
            r#"{"$schema": "a", "$schema": "b"}"#,
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("stands twice"), "{error}");
        }
        let error = parse(r#"{"filtering": {"rare_classes": [1, 4, 1]}}"#).unwrap_err().to_string();
        assert!(error.contains("each once"), "{error}");
    }

    #[test]
    fn both_dialects_mean_the_same() {
        let a = parse(
            r#"{"filtering": {"default_confidence_threshold": 0.8, "diversity_threshold": 4.0, "min_memorization_distance": 5}}"#,
        );
        let b = parse(
            r#"{"filtering": {"confidence_threshold": 0.8, "min_diversity_distance": 4.0, "min_nn_distance": 5.0}}"#,
        );
        assert_eq!(a.unwrap(), b.unwrap());
    }

    #[test]
    fn zero_and_null_are_no_limit() {
        let config = parse(
            r#"{"filtering": {"min_per_class": 0, "max_per_class": null, "diversity_threshold": 0.0}}"#,
        )
        .unwrap();
        assert_eq!(config.filtering.min_per_class, None);
        assert_eq!(config.filtering.max_per_class, None);
        assert_eq!(config.filtering.min_diversity_distance, None);
    }

    #[test]
    fn mistakes_name_key_value_and_hint() {
        for (text, parts) in [
            (
                r#"{"filtering": {"min_pr_class": 3}}"#,
                ["filtering.min_pr_class", "did you mean `min_per_class`"],
            ),
            (r#"{"filterin": {}}"#, ["unknown section `filterin`", "did you mean `filtering`"]),
            (
                r#"{"filtering": {"confidence_threshold": 90}}"#,
                ["filtering.confidence_threshold` is 90", "0 to 1"],
            ),
            (r#"{"generation": {"pool_size": 2.5}}"#, ["generation.pool_size` is 2.5", "whole number"]),
            (
                r#"{"filtering": {"confidence_threshold": 0.9, "default_confidence_threshold": 0.9}}"#,
                ["two spellings", "both"],
            ),
            (r#"{"teachers": {"optimizer": "rmsprop"}}"#, ["rmsprop", "sgd"]),
        ] {
            let error = parse(text).unwrap_err().to_string();
            for part in parts {
                assert!(error.contains(part), "{error}");
            }
        }
    }

    fn folder() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config")
    }

    #[test]
    fn the_schema_on_disk_is_the_schema() {
        let path = folder().join("synthetic_generation.schema.json");
        let mut schema = serde_json::to_string_pretty(&json_schema()).unwrap();
        schema.push('\n');
        if std::env::var_os("PATE_UPDATE_SCHEMA").is_some() {
            artifact::write_bytes(&path, artifact::Access::Public, schema.as_bytes()).unwrap();
        }
        let stored = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(stored, schema, "run this test again with PATE_UPDATE_SCHEMA=1 and commit the file");
    }

    #[test]
    fn every_preset_can_be_used() {
        let mut n = 0;
        for entry in fs::read_dir(folder()).unwrap() {
            let path = entry.unwrap().path();
            if !path.to_string_lossy().ends_with(".schema.json") {
                Config::load(&path).unwrap_or_else(|e| panic!("{e}"));
                n += 1;
            }
        }
        assert!(n >= 2, "{n} presets");
        let default = Config::load(&folder().join("synthetic_generation.json")).unwrap();
        assert_eq!(default, Config::default(), "the default file says what the built-in values are");
    }

    #[test]
    fn every_default_is_allowed() {
        let defaults = serde_json::to_value(Config::default()).unwrap();
        for key in KEYS {
            let default = &defaults[key.section][key.name];
            assert!(key.kind.check(default).is_some(), "{}.{}: {default}", key.section, key.name);
        }
    }
}
