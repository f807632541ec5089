//! The configuration file: one JSON object with a section per theme.
//!
//! Two dialects are in use for three keys of `filtering`; both are read, both at once is an error. A key that is not known, or a value
//! out of range, is an error that names the key, the value, what is allowed, and the nearest known key.

mod keys;

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use keys::{KEYS, Key, Kind, json_schema};

use crate::{Error, Result};

/// Where the default configuration is looked for.
pub const DEFAULT_PATH: &str = "config/synthetic_generation.json";

/// All settings, with the built-in defaults where the file says nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Pretraining of the public decoder.
    pub decoder: DecoderConfig,
    /// Pools of candidates.
    pub generation: GenerationConfig,
    /// Filters.
    pub filtering: FilteringConfig,
    /// Latent steering.
    pub latent_steering: SteeringConfig,
    /// Targets of the verdict on a synthetic data set.
    pub evaluation: EvaluationConfig,
    /// What networks see.
    pub preprocessing: PreprocessingConfig,
    /// Training of students.
    pub student: StudentConfig,
    /// Training of teachers.
    pub teachers: TeachersConfig,
    /// Training of one VAE per teacher.
    pub teacher_vae: TeacherVaeConfig,
}

/// Section `decoder`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "every key is described once, in `KEYS`")]
pub struct DecoderConfig {
    pub latent_dim: i64,
    pub pretrain_epochs: usize,
    pub batch_size: usize,
    pub learning_rate: f64,
    pub weight_decay: f64,
    pub kl_annealing_epochs: usize,
    pub kl_weight: f64,
    pub augmentation: String,
    pub augmentation_strength: f64,
}

impl Default for DecoderConfig {
    fn default() -> Self {
        Self {
            latent_dim: 32,
            pretrain_epochs: 50,
            batch_size: 128,
            learning_rate: 1e-3,
            weight_decay: 1e-5,
            kl_annealing_epochs: 10,
            kl_weight: 1.0,
            augmentation: "basic".to_owned(),
            augmentation_strength: 1.0,
        }
    }
}

/// Section `generation`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "every key is described once, in `KEYS`")]
pub struct GenerationConfig {
    pub pool_size: usize,
    pub latent_dim: Option<i64>,
    pub latent_mixing_ratio: f64,
    pub latent_noise_scale: f64,
    pub generate_until_target_per_class: bool,
    pub max_pools: usize,
    pub teachers_per_pool: u64,
    pub augmentation: String,
    pub augmentation_strength: f64,
}

impl Default for GenerationConfig {
    fn default() -> Self {
        Self {
            pool_size: 20_000,
            latent_dim: None,
            latent_mixing_ratio: 0.3,
            latent_noise_scale: 0.1,
            generate_until_target_per_class: false,
            max_pools: 5,
            teachers_per_pool: 1,
            augmentation: "none".to_owned(),
            augmentation_strength: 1.0,
        }
    }
}

/// Section `filtering`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "every key is described once, in `KEYS`")]
pub struct FilteringConfig {
    pub confidence_threshold: f64,
    pub rare_class_threshold: f64,
    pub rare_classes: Vec<i64>,
    pub min_nn_distance: Option<f64>,
    pub min_diversity_distance: Option<f64>,
    pub min_per_class: Option<u64>,
    pub max_per_class: Option<u64>,
    pub quota_flexibility_percent: f64,
    pub save_soft_labels: bool,
}

impl Default for FilteringConfig {
    fn default() -> Self {
        Self {
            confidence_threshold: 0.9,
            rare_class_threshold: 0.7,
            rare_classes: vec![1, 8],
            min_nn_distance: Some(2.0),
            min_diversity_distance: Some(3.0),
            min_per_class: Some(150),
            max_per_class: Some(500),
            quota_flexibility_percent: 10.0,
            save_soft_labels: false,
        }
    }
}

/// Section `latent_steering`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "every key is described once, in `KEYS`")]
pub struct SteeringConfig {
    pub enabled: bool,
    pub steps: usize,
    pub learning_rate: f64,
    pub noise_scale: f64,
    pub latent_dim: Option<i64>,
    pub use_for_classes_below_quota: bool,
    pub stop_confidence: Option<f64>,
    pub starts: String,
}

impl Default for SteeringConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            steps: 20,
            learning_rate: 0.05,
            noise_scale: 0.1,
            latent_dim: None,
            use_for_classes_below_quota: true,
            stop_confidence: None,
            starts: "random".to_owned(),
        }
    }
}

/// Section `evaluation`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "every key is described once, in `KEYS`")]
pub struct EvaluationConfig {
    pub mean_confidence_target: f64,
    pub diversity_ratio_target: f64,
    pub min_nn_distance_target: f64,
    pub histogram_l1_target: f64,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self {
            mean_confidence_target: 0.9,
            diversity_ratio_target: 0.75,
            min_nn_distance_target: 1.0,
            histogram_l1_target: 0.2,
        }
    }
}

/// Section `preprocessing`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "every key is described once, in `KEYS`")]
pub struct PreprocessingConfig {
    pub normalize_mean: Vec<f64>,
    pub normalize_std: Vec<f64>,
}

impl Default for PreprocessingConfig {
    fn default() -> Self {
        Self { normalize_mean: vec![0.1307], normalize_std: vec![0.3081] }
    }
}

/// Section `student`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "every key is described once, in `KEYS`")]
pub struct StudentConfig {
    pub epochs: usize,
    pub batch_size: usize,
    pub learning_rate: f64,
    pub momentum: f64,
    pub weight_decay: f64,
    pub train_split: f64,
    pub augmentation: String,
    pub augmentation_strength: f64,
    pub lr_schedule: String,
    pub label_smoothing: f64,
}

impl Default for StudentConfig {
    fn default() -> Self {
        Self {
            epochs: 20,
            batch_size: 64,
            learning_rate: 0.01,
            momentum: 0.5,
            weight_decay: 1e-4,
            train_split: 0.8,
            augmentation: "none".to_owned(),
            augmentation_strength: 1.0,
            lr_schedule: "constant".to_owned(),
            label_smoothing: 0.0,
        }
    }
}

/// Section `teachers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "every key is described once, in `KEYS`")]
pub struct TeachersConfig {
    pub num_models: usize,
    pub epochs: usize,
    pub batch_size: usize,
    pub optimizer: String,
    pub lr: f64,
    pub momentum: f64,
    pub weight_decay: f64,
    pub lr_decay_epoch: usize,
    pub lr_gamma: f64,
    pub augmentation: String,
    pub augmentation_strength: f64,
    pub lr_schedule: String,
}

impl Default for TeachersConfig {
    fn default() -> Self {
        Self {
            num_models: 3,
            epochs: 10,
            batch_size: 64,
            optimizer: "sgd".to_owned(),
            lr: 0.01,
            momentum: 0.5,
            weight_decay: 1e-4,
            lr_decay_epoch: 20,
            lr_gamma: 0.1,
            augmentation: "none".to_owned(),
            augmentation_strength: 1.0,
            lr_schedule: "constant".to_owned(),
        }
    }
}

/// Section `teacher_vae`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "every key is described once, in `KEYS`")]
pub struct TeacherVaeConfig {
    pub latent_dim: i64,
    pub epochs: usize,
    pub batch_size: usize,
    pub lr: f64,
    pub weight_decay: f64,
    pub kl_annealing_epochs: usize,
}

impl Default for TeacherVaeConfig {
    fn default() -> Self {
        Self {
            latent_dim: 32,
            epochs: 100,
            batch_size: 32,
            lr: 1e-3,
            weight_decay: 1e-5,
            kl_annealing_epochs: 20,
        }
    }
}

/// A configuration takes a few kilobytes.
const MAX_BYTES: u64 = 1 << 20;

impl Config {
    /// Reads a file; what it leaves out has its default.
    ///
    /// # Errors
    /// A file that cannot be read, no JSON object, unknown keys, a key or a section that stands twice, two spellings of one key,
    /// values out of range.
    pub fn load(path: &Path) -> Result<Self> {
        let text = input_file::read_text(path, MAX_BYTES)
            .map_err(|source| artifact::Error::Read { path: path.to_path_buf(), source })?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self> {
        let wrong = |problem: String, cure: String| Error::content(path, problem, cure);
        let value: Value = artifact::json::parse(text).map_err(|e| {
            wrong(
                format!("it is no JSON ({e})"),
                "mend it at that line, or start from config/synthetic_generation.json".into(),
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
                let known: Vec<&str> = keys::sections().collect();
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
        if checked.contains_key(key.name) {
            return Err(Error::content(
                path,
                format!("`{section}` holds both `{}` and `{}`", key.name, key.alias.unwrap_or_default()),
                "they are two spellings of one key; keep one",
            ));
        }
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
    fn mistakes_name_key_value_and_cure() {
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
    fn the_key_table_and_the_struct_agree() {
        let defaults = serde_json::to_value(Config::default()).unwrap();
        let mut of_struct: Vec<String> = Vec::new();
        for (section, content) in defaults.as_object().unwrap() {
            of_struct.extend(content.as_object().unwrap().keys().map(|key| format!("{section}.{key}")));
        }
        let of_table: Vec<String> = KEYS.iter().map(|key| format!("{}.{}", key.section, key.name)).collect();
        assert_eq!(of_struct, of_table);
        for key in KEYS {
            let default = &defaults[key.section][key.name];
            assert!(
                key.kind.check(default).is_some(),
                "the default of {}.{} is {default}",
                key.section,
                key.name
            );
        }
    }
}
