use std::fmt;

use serde_json::{Map, Value, json};

use super::Config;

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
    /// A share from 0 to 1, or 0 or null for "no limit" (kept as null).
    ShareOrNone,
    /// true or false.
    Flag,
    /// A list of class numbers.
    Classes,
    /// A list of numbers, one per channel.
    Numbers,
    /// One of some words.
    Word(&'static [&'static str]),
}

impl Kind {
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
            Self::ShareOrNone => match value {
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
                (once && classes.iter().all(|n| *n < 10_000)).then(|| value.clone())
            }
            Self::Numbers => {
                let list = value.as_array()?;
                (!list.is_empty() && list.iter().all(|v| v.as_f64().is_some_and(f64::is_finite)))
                    .then(|| value.clone())
            }
            Self::Word(words) => value.as_str().filter(|w| words.contains(w)).map(Value::from),
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
            Self::ShareOrNone => json!({"type": ["number", "null"], "minimum": 0, "maximum": 1}),
            Self::Flag => json!({"type": "boolean"}),
            Self::Classes => {
                json!({"type": "array", "items": {"type": "integer", "minimum": 0}, "uniqueItems": true})
            }
            Self::Numbers => json!({"type": "array", "items": {"type": "number"}, "minItems": 1}),
            Self::Word(words) => json!({"type": "string", "enum": words}),
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
            Self::ShareOrNone => f.write_str("a share from 0 to 1, or 0 or null for no limit"),
            Self::Flag => f.write_str("true or false"),
            Self::Classes => f.write_str("a list of class numbers, each once"),
            Self::Numbers => f.write_str("a list of numbers, one per channel"),
            Self::Word(words) => write!(f, "one of {}", words.join(", ")),
        }
    }
}

fn whole(value: &Value) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| value.as_f64().filter(|x| x.fract() == 0.0 && (0.0..9e15).contains(x)).map(|x| x as u64))
}

const fn key(section: &'static str, name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { section, name, alias: None, kind, doc }
}

const fn twice(
    section: &'static str,
    name: &'static str,
    alias: &'static str,
    kind: Kind,
    doc: &'static str,
) -> Key {
    Key { section, name, alias: Some(alias), kind, doc }
}

const MANY: u64 = 1_000_000_000;
const AUGMENTATIONS: Kind = Kind::Word(&["none", "basic", "warp", "handwriting"]);
const STRENGTH: Kind = Kind::Number(0.0, 4.0);
const STRENGTH_DOC: &str = "Factor of all ranges of warp and handwriting.";
const SCHEDULES: Kind = Kind::Word(&["constant", "cosine"]);

/// Every key, by section.
pub const KEYS: &[Key] = &[
    key("decoder", "latent_dim", Kind::Count(1, 4096), "Number of latents of the decoder."),
    key("decoder", "pretrain_epochs", Kind::Count(1, 1_000_000), "Epochs of pretraining."),
    key("decoder", "batch_size", Kind::Count(1, 1_000_000), "Images per step."),
    key("decoder", "learning_rate", Kind::Positive, "Adam's learning rate."),
    key("decoder", "weight_decay", Kind::Number(0.0, 1.0), "L2 regularisation in the gradient."),
    key(
        "decoder",
        "kl_annealing_epochs",
        Kind::Count(0, 1_000_000),
        "Epochs over which the KL term's weight rises to 1; 0 = 1 from the start.",
    ),
    key("decoder", "kl_weight", Kind::Number(0.0, 100.0), "Weight of the KL term once it has risen."),
    key("decoder", "augmentation", AUGMENTATIONS, "Changes to the public images, drawn anew in every epoch."),
    key("decoder", "augmentation_strength", STRENGTH, STRENGTH_DOC),
    key("generation", "pool_size", Kind::Count(1, MANY), "Candidates in a pool."),
    key("generation", "latent_dim", Kind::LatentDim, "Number of latents; must be the decoder's."),
    key(
        "generation",
        "latent_mixing_ratio",
        Kind::Number(0.0, 1.0),
        "Share of a batch that mixes two latents.",
    ),
    key(
        "generation",
        "latent_noise_scale",
        Kind::Number(0.0, 100.0),
        "Standard deviation of the noise on latents.",
    ),
    key(
        "generation",
        "generate_until_target_per_class",
        Kind::Flag,
        "Make further pools until every class has its minimum (with pools per teacher).",
    ),
    key("generation", "max_pools", Kind::Count(1, 1000), "At most so many pools for one teacher."),
    key(
        "generation",
        "teachers_per_pool",
        Kind::Count(1, 1_000_000),
        "So many teachers with neighbouring ids label the same pool.",
    ),
    key(
        "generation",
        "augmentation",
        AUGMENTATIONS,
        "Changes to decoded candidates before anybody labels them.",
    ),
    key("generation", "augmentation_strength", STRENGTH, STRENGTH_DOC),
    twice(
        "filtering",
        "confidence_threshold",
        "default_confidence_threshold",
        Kind::Number(0.0, 1.0),
        "Least confidence of a candidate.",
    ),
    key(
        "filtering",
        "rare_class_threshold",
        Kind::Number(0.0, 1.0),
        "Least confidence in a rare class, where lower.",
    ),
    key("filtering", "rare_classes", Kind::Classes, "The rare classes."),
    twice(
        "filtering",
        "min_nn_distance",
        "min_memorization_distance",
        Kind::DistanceOrNone,
        "Least Euclidean distance to the nearest private image.",
    ),
    twice(
        "filtering",
        "min_diversity_distance",
        "diversity_threshold",
        Kind::DistanceOrNone,
        "Least Euclidean distance between two samples.",
    ),
    key(
        "filtering",
        "min_per_class",
        Kind::CountOrNone(MANY),
        "At least so many samples of a class, where there are.",
    ),
    key("filtering", "max_per_class", Kind::CountOrNone(MANY), "At most so many samples of a class."),
    key(
        "filtering",
        "quota_flexibility_percent",
        Kind::Number(0.0, 100.0),
        "By how much a class may miss its target, in per cent.",
    ),
    key(
        "filtering",
        "save_soft_labels",
        Kind::Flag,
        "Also write the teacher's probabilities of all classes, soft_labels.pt.",
    ),
    key(
        "latent_steering",
        "enabled",
        Kind::Flag,
        "Steer latents for classes below their minimum, where a decoder is given.",
    ),
    key("latent_steering", "steps", Kind::Count(0, 100_000), "Adam steps."),
    key("latent_steering", "learning_rate", Kind::Positive, "Adam's learning rate."),
    key(
        "latent_steering",
        "noise_scale",
        Kind::Number(0.0, 100.0),
        "Standard deviation of the noise after a step.",
    ),
    key("latent_steering", "latent_dim", Kind::LatentDim, "Number of latents; must be the decoder's."),
    key(
        "latent_steering",
        "use_for_classes_below_quota",
        Kind::Flag,
        "false switches steering off like `enabled`.",
    ),
    key(
        "latent_steering",
        "stop_confidence",
        Kind::ShareOrNone,
        "A latent is done once the teacher is so sure of the class; null = all steps.",
    ),
    key(
        "latent_steering",
        "starts",
        Kind::Word(&["random", "pool"]),
        "Where latents start: at random, or at the latents of rejected candidates that the teacher finds most like the class (pools made in the same run).",
    ),
    key("evaluation", "mean_confidence_target", Kind::Number(0.0, 1.0), "Success: mean confidence at least."),
    key(
        "evaluation",
        "diversity_ratio_target",
        Kind::Number(0.0, 100.0),
        "Success: diversity ratio at least.",
    ),
    key(
        "evaluation",
        "min_nn_distance_target",
        Kind::Number(0.0, 1e6),
        "Success: least distance to the shard at least.",
    ),
    key(
        "evaluation",
        "histogram_l1_target",
        Kind::Number(0.0, 2.0),
        "Success: L1 distance of the class shares below.",
    ),
    key("preprocessing", "normalize_mean", Kind::Numbers, "Mean by channel."),
    key("preprocessing", "normalize_std", Kind::Numbers, "Standard deviation by channel."),
    key("student", "epochs", Kind::Count(1, 1_000_000), "Epochs."),
    key("student", "batch_size", Kind::Count(1, 1_000_000), "Samples per step."),
    key("student", "learning_rate", Kind::Positive, "Learning rate of SGD."),
    key("student", "momentum", Kind::Number(0.0, 1.0), "Momentum of SGD."),
    key("student", "weight_decay", Kind::Number(0.0, 1.0), "L2 regularisation in the gradient."),
    key(
        "student",
        "train_split",
        Kind::Number(0.0, 1.0),
        "Share of the samples for training; the rest validates.",
    ),
    key(
        "student",
        "augmentation",
        AUGMENTATIONS,
        "Changes to the training samples, drawn anew in every epoch.",
    ),
    key("student", "augmentation_strength", STRENGTH, STRENGTH_DOC),
    key("student", "lr_schedule", SCHEDULES, "How the learning rate falls: not at all, or as half a cosine."),
    key(
        "student",
        "label_smoothing",
        Kind::Number(0.0, 0.99),
        "Share of the target that is spread evenly over all classes.",
    ),
    key("teachers", "num_models", Kind::Count(1, 1_000_000), "Number of teachers."),
    key("teachers", "epochs", Kind::Count(1, 1_000_000), "Epochs."),
    key("teachers", "batch_size", Kind::Count(1, 1_000_000), "Images per step."),
    key("teachers", "optimizer", Kind::Word(&["sgd", "adam"]), "Optimiser."),
    key("teachers", "lr", Kind::Positive, "Learning rate."),
    key("teachers", "momentum", Kind::Number(0.0, 1.0), "Momentum of SGD."),
    key("teachers", "weight_decay", Kind::Number(0.0, 1.0), "L2 regularisation in the gradient."),
    key(
        "teachers",
        "lr_decay_epoch",
        Kind::Count(0, 1_000_000),
        "Epochs between two drops of the learning rate; 0 = never.",
    ),
    key("teachers", "lr_gamma", Kind::Number(0.0, 1.0), "Factor of a drop."),
    key("teachers", "augmentation", AUGMENTATIONS, "Changes to a shard's images, drawn anew in every epoch."),
    key("teachers", "augmentation_strength", STRENGTH, STRENGTH_DOC),
    key(
        "teachers",
        "lr_schedule",
        SCHEDULES,
        "How the learning rate falls: by lr_decay_epoch and lr_gamma alone, or as half a cosine.",
    ),
    key("teacher_vae", "latent_dim", Kind::Count(1, 4096), "Number of latents."),
    key("teacher_vae", "epochs", Kind::Count(1, 1_000_000), "Epochs."),
    key("teacher_vae", "batch_size", Kind::Count(1, 1_000_000), "Images per step, at most the shard."),
    key("teacher_vae", "lr", Kind::Positive, "Adam's learning rate."),
    key("teacher_vae", "weight_decay", Kind::Number(0.0, 1.0), "L2 regularisation in the gradient."),
    key(
        "teacher_vae",
        "kl_annealing_epochs",
        Kind::Count(0, 1_000_000),
        "Epochs over which the KL term's weight rises to 1.",
    ),
];

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
