//! The data card: what a combined data set is, in Markdown, for its users. Every figure comes from
//! the data or from a report that names the data by its hash.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use artifact::{FileRecord, Guarantee};
use minijinja::{Environment, UndefinedBehavior, context};
use pate_core::pate::combine::MergeSummary;
use serde_json::Value;

use crate::args::Format;
use crate::files::markdown;
use crate::files::provenance::{COUNTS, Decoder, Provenance};

/// What the card tells.
pub struct Card<'a> {
    /// First part of the file names.
    pub name: &'a str,
    /// The formats beside it.
    pub formats: &'a [Format],
    /// `[n, channels, height, width]`.
    pub shape: &'a [usize],
    /// Minimum and maximum value.
    pub range: (f32, f32),
    /// Samples by class.
    pub classes: &'a BTreeMap<i64, u64>,
    /// Number of classes that labels can have.
    pub n_classes: i64,
    /// Samples by teacher.
    pub teachers: &'a BTreeMap<u64, u64>,
    /// Teachers whose folders were complete.
    pub n_teachers: usize,
    /// What merging images that several teachers have did, where it was asked for.
    pub merged: Option<MergeSummary>,
    /// Fraction of all samples that was taken.
    pub percentage: f64,
    /// Whether class proportions were kept.
    pub stratified: bool,
    /// The seed of the choice.
    pub seed: u64,
    /// What the reports tell.
    pub provenance: &'a Provenance,
    /// The label of the data set.
    pub guarantee: &'a Guarantee,
    /// The files beside it.
    pub files: &'a [FileRecord],
}

/// The card's text, with places for what is known of a data set.
const TEMPLATE: &str = include_str!("card.md.jinja");

impl Card<'_> {
    /// The text.
    ///
    /// # Errors
    /// None for a card of this type: the template and its places belong together.
    pub fn markdown(&self) -> Result<String> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_keep_trailing_newline(true);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.add_filter("md", |value: &str| markdown::text(value));
        environment.add_filter("code", |value: &str| markdown::code(value));
        environment.add_filter("link", |value: &str| link(value));
        environment.add_filter("python", |value: &str| quoted(value));
        environment.add_template("card", TEMPLATE)?;
        Ok(environment.get_template("card")?.render(self.places())?)
    }

    fn places(&self) -> minijinja::Value {
        let from = self.provenance;
        let (low, high) = self.range;
        let absent: Vec<i64> =
            (0..self.n_classes).filter(|class| !self.classes.contains_key(class)).collect();
        let mut decoders: Vec<_> = from.decoders.values().map(decoder).collect();
        // Decoders of which the same is known are listed once.
        decoders.sort_by_cached_key(ToString::to_string);
        decoders.dedup_by_key(|decoder| decoder.to_string());
        let ends = |counts: Vec<u64>| counts.iter().min().copied().zip(counts.iter().max().copied());
        let uneven = ends(self.classes.values().copied().collect()).filter(|(least, most)| most > least);
        let per_teacher = ends(self.teachers.values().copied().collect());
        let count = |name: &&'static str| (*name, from.counts.get(name).copied().unwrap_or(0));
        let counts: BTreeMap<&str, u64> = COUNTS.iter().map(count).collect();
        let formats: BTreeMap<&str, String> = self
            .formats
            .iter()
            .map(|&format| (key(format), file_name(&format.path(Path::new(""), self.name))))
            .collect();
        let merged = self.merged.map(|merged| {
            context!(votes => merged.votes, distinct => merged.distinct, rejected => merged.rejected)
        });
        context! {
            name => self.name,
            n => self.shape.first().copied().unwrap_or(0),
            image => self.shape.get(1..).unwrap_or_default(),
            low => low.to_string(),
            high => high.to_string(),
            classes => self.classes,
            n_classes => self.n_classes,
            absent => absent,
            label => self.guarantee.sentence(),
            kind => kind(self.guarantee),
            n_decoders => from.decoders.len(),
            decoders => decoders,
            n_reports => from.with_report.len(),
            n_without_report => from.without_report.len(),
            counts => counts,
            steered => from.steered,
            settings => settings(&from.filters),
            settings_differ => from.filters.len() > 1,
            n_teachers => self.n_teachers,
            is_part => self.percentage < 1.0,
            percentage => self.percentage.to_string(),
            stratified => self.stratified,
            seed => self.seed,
            merged => merged,
            per_teacher => per_teacher.map(|(min, max)| context!(teachers => self.teachers.len(), min, max)),
            uneven => uneven.map(|(min, max)| context!(min, max)),
            formats => formats,
            files => self.files.iter().map(file).collect::<Vec<_>>(),
        }
    }
}

/// The word for a label's kind.
fn kind(guarantee: &Guarantee) -> &'static str {
    match guarantee {
        Guarantee::Public => "public",
        Guarantee::Dp(_) => "dp",
        Guarantee::None { .. } => "none",
        Guarantee::Void { .. } => "void",
    }
}

/// The word for a format.
fn key(format: Format) -> &'static str {
    match format {
        Format::Pt => "pt",
        Format::Npz => "npz",
        Format::Folders => "folders",
        Format::Safetensors => "safetensors",
    }
}

fn file(record: &FileRecord) -> minijinja::Value {
    let name = file_name(&record.path);
    let name = match record.path.parent().map(file_name) {
        Some(folder) if folder.ends_with("_folders") => format!("{folder}/{name}"),
        _ => name,
    };
    context!(name, bytes => record.bytes, sha256 => record.sha256)
}

/// What is known of a decoder. It is called public only by its own report.
fn decoder(decoder: &Decoder) -> minijinja::Value {
    let told = decoder.dataset.as_ref().zip(decoder.guarantee.as_ref());
    context! {
        dataset => told.map(|((dataset, _), _)| dataset),
        size => told.and_then(|((_, size), _)| *size),
        is_public => told.is_some_and(|(_, guarantee)| *guarantee == Guarantee::Public),
        basis => decoder.basis.as_ref().filter(|_| decoder.dataset.is_none()),
    }
}

/// The filters' settings where all teachers had the same.
fn settings(filters: &[Value]) -> Vec<String> {
    let [filters] = filters else { return Vec::new() };
    let number = |name: &str| filters.get(name).and_then(Value::as_f64);
    let on = |name: &str| filters.get(name).and_then(Value::as_bool) == Some(true);
    let told = [
        ("confidence", number("default_confidence_threshold")),
        ("distance to the shard", number("min_memorization_distance").filter(|_| on("memorization_check"))),
        ("distance between samples", number("diversity_threshold").filter(|_| on("diversity_enforcement"))),
    ];
    told.into_iter().filter_map(|(what, least)| Some(format!("{what} at least {}", least?))).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A file name inside a link.
fn link(name: &str) -> String {
    let mut safe = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            safe.push(char::from(byte));
        } else {
            let _ = write!(safe, "%{byte:02X}");
        }
    }
    safe
}

/// A text as a literal of Python, which reads JSON's.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_in_links_and_in_python() {
        assert_eq!(link("a b)_c"), "a%20b%29_c");
        assert_eq!(quoted("a\"b"), "\"a\\\"b\"");
    }

    #[test]
    fn a_decoder_is_called_public_only_by_its_own_report() {
        let with = |guarantee| Decoder {
            dataset: Some(("emnist".to_owned(), Some(112_800))),
            guarantee: Some(guarantee),
            ..Decoder::default()
        };
        let public = card(with(Guarantee::Public));
        assert!(
            public.contains("trained on emnist, 112800 images (public data, as its report says)."),
            "{public}"
        );
        assert!(card(with(Guarantee::none("shard"))).contains("(not public)"));
        let unknown = card(Decoder::default());
        assert!(
            unknown.contains("latents. The reports do not say what it was trained on.\n2. "),
            "{unknown}"
        );
        let pool = Decoder {
            basis: Some("taken".to_owned()),
            guarantee: Some(Guarantee::Public),
            dataset: None,
            ..Decoder::default()
        };
        assert!(card(pool).contains("labelled public on this basis: taken."));
    }

    /// The card of five samples, every format, and a decoder.
    fn card(decoder: Decoder) -> String {
        let mut provenance = Provenance::default();
        provenance.decoders.insert("hash".to_owned(), decoder);
        provenance.with_report = vec![0, 1];
        provenance.without_report = vec![7];
        let formats = [Format::Pt, Format::Npz, Format::Folders, Format::Safetensors];
        let (classes, teachers) = (BTreeMap::from([(0, 2), (3, 3)]), BTreeMap::from([(0, 4), (1, 1)]));
        let record =
            FileRecord { path: "out/a_b_folders/metadata.csv".into(), sha256: "00ff".into(), bytes: 12 };
        Card {
            name: "a_b",
            formats: &formats,
            shape: &[5, 1, 28, 28],
            range: (0.0, 0.99),
            classes: &classes,
            n_classes: 4,
            teachers: &teachers,
            n_teachers: 3,
            merged: None,
            percentage: 0.5,
            stratified: true,
            seed: 7,
            provenance: &provenance,
            guarantee: &Guarantee::none("a shard was read"),
            files: &[record],
        }
        .markdown()
        .unwrap()
    }

    #[test]
    fn the_whole_card_is_that_of_the_snapshot() {
        insta::assert_snapshot!(card(Decoder::default()));
    }

    #[test]
    fn settings_are_told_where_they_are_one() {
        let one = serde_json::json!({"default_confidence_threshold": 0.9, "memorization_check": false, "min_memorization_distance": 2.0});
        assert_eq!(settings(std::slice::from_ref(&one)), ["confidence at least 0.9"]);
        assert!(settings(&[one, Value::Null]).is_empty() && settings(&[]).is_empty());
    }
}
