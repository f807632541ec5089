//! Where combined samples come from, as far as the reports beside them tell.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use artifact::{FileRecord, Guarantee, StoredReport, layout};
use pate_core::pate::combine::TeacherSet;
use serde_json::Value;

/// Fields of a teacher's report that add up.
pub(super) const COUNTS: [&str; 7] = [
    "num_generated",
    "rejected_low_confidence",
    "rejected_memorization",
    "rejected_quota",
    "rejected_diversity",
    "rejected_target",
    "num_selected",
];

/// Inputs of a teacher's report that are looked into: `label-filter` names a handful, and one more
/// for each further pool.
const MAX_INPUTS: usize = 1000;

/// What the reports tell.
#[derive(Default)]
pub struct Provenance {
    /// Reports that were read. Their hashes change with the time that a step took, and are no
    /// identity of the data.
    pub read: Vec<PathBuf>,
    /// Teachers whose samples have a report of their own.
    pub with_report: Vec<u64>,
    /// Teachers whose samples have none, or one of other samples.
    pub without_report: Vec<u64>,
    /// Sums over the teachers with a report, by field.
    pub counts: BTreeMap<&'static str, u64>,
    /// Samples that came from steered latents.
    pub steered: u64,
    /// Settings of the filters, as the reports have them; several where teachers differ.
    pub filters: Vec<Value>,
    /// Decoders, by their hash.
    pub decoders: BTreeMap<String, Decoder>,
}

/// A decoder, as the reports beside it and beside its pools have it.
#[derive(Default)]
pub struct Decoder {
    /// Data set and number of images, from the decoder's own report.
    pub dataset: Option<(String, Option<u64>)>,
    /// The label of the decoder, from its own report, or of its pools.
    pub guarantee: Option<Guarantee>,
    /// On what the pools' label rests.
    pub basis: Option<String>,
    /// Seconds of its training, summed over threads.
    pub core_seconds: Option<f64>,
}

impl Provenance {
    /// Reads the report beside each teacher's samples, beside its pool, and beside the decoder; one
    /// that does not name the file by its hash is not believed.
    pub fn of(sets: &[TeacherSet], samples: &[FileRecord]) -> Self {
        let mut all = Self::default();
        for (set, record) in sets.iter().zip(samples) {
            let path = set.samples_path.with_file_name(layout::SELECTION_REPORT);
            let report = StoredReport::read(&path).ok().flatten();
            let report = report.filter(|report| report.outputs.iter().any(|o| o.sha256 == record.sha256));
            match report {
                Some(report) => {
                    all.with_report.push(set.teacher_id);
                    all.teacher(&report);
                }
                None => all.without_report.push(set.teacher_id),
            }
        }
        all
    }

    fn teacher(&mut self, report: &StoredReport) {
        self.remember(&report.path);
        for name in COUNTS {
            let n = report.fields.get(name).and_then(Value::as_u64).unwrap_or(0);
            let sum = self.counts.entry(name).or_default();
            *sum = sum.saturating_add(n);
        }
        let steered = report.fields.get("steered").and_then(|s| s.get("kept")).and_then(Value::as_u64);
        self.steered = self.steered.saturating_add(steered.unwrap_or(0));
        if let Some(filters) = report.fields.get("filters_applied")
            && !self.filters.contains(filters)
        {
            self.filters.push(filters.clone());
        }
        let model = report.fields.get("teacher_model_path").and_then(Value::as_str);
        // A hostile report may name one file many times, and each would be hashed again.
        let mut known = BTreeSet::new();
        for input in report.inputs.iter().take(MAX_INPUTS) {
            if !known.insert((&input.path, &input.sha256))
                || model.is_some_and(|model| Path::new(model) == input.path)
            {
                continue;
            }
            // The fields of its own report tell a decoder from a pool, not its file name.
            let Some(about) = self.report_of(input) else { continue };
            if about.fields.contains_key("decoder_hash") {
                self.decoder(input, &about);
            } else if about.fields.contains_key("pool_size") {
                self.pool(&about);
            }
        }
    }

    /// The report beside an input, where it names the input by its hash.
    fn report_of(&self, input: &FileRecord) -> Option<StoredReport> {
        if self.decoders.get(&input.sha256).is_some_and(|decoder| decoder.dataset.is_some()) {
            return None;
        }
        let usual = [input.path.with_extension("json"), input.path.with_file_name(layout::PRETRAIN_REPORT)];
        let usual = usual.into_iter().chain([input.path.with_file_name(layout::TRAINING_REPORT)]);
        usual
            .filter_map(|path| StoredReport::read(&path).ok().flatten())
            .find(|report| report.outputs.iter().any(|output| output.sha256 == input.sha256))
    }

    fn pool(&mut self, pool: &StoredReport) {
        self.remember(&pool.path);
        let decoder_path = pool.fields.get("decoder_path").and_then(Value::as_str).unwrap_or_default();
        let Some(input) = pool.inputs.iter().find(|input| input.path == Path::new(decoder_path)) else {
            return;
        };
        let about = self.report_of(input);
        let decoder = self.decoders.entry(input.sha256.clone()).or_default();
        decoder.guarantee.get_or_insert_with(|| pool.guarantee());
        if let Some(basis) = pool.fields.get("formal_guarantee_basis").and_then(Value::as_str) {
            decoder.basis = Some(basis.to_owned());
        }
        if let Some(about) = about {
            self.decoder(input, &about);
        }
    }

    fn decoder(&mut self, input: &FileRecord, about: &StoredReport) {
        self.remember(&about.path);
        let decoder = self.decoders.entry(input.sha256.clone()).or_default();
        decoder.guarantee = Some(about.guarantee());
        let text = |name: &str| about.fields.get(name).and_then(Value::as_str).map(str::to_owned);
        let count = |name: &str| about.fields.get(name).and_then(Value::as_u64);
        let seconds = about.fields.get("training_seconds").and_then(Value::as_f64);
        decoder.core_seconds = seconds.zip(count("training_threads")).map(|(s, threads)| s * threads as f64);
        decoder.dataset = match text("dataset") {
            Some(dataset) => Some((dataset, count("dataset_size"))),
            None if about.fields.contains_key("shard_source") => {
                Some(("a teacher's private shard".to_owned(), count("shard_size")))
            }
            None => None,
        };
    }

    fn remember(&mut self, path: &Path) {
        if self.read.iter().all(|read| read != path) {
            self.read.push(path.to_path_buf());
        }
    }
}
