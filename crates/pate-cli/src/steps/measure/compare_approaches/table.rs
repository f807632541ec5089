//! What was measured, and the table of it.

use std::path::PathBuf;

use pate_core::evaluate::Memorisation;
use program::{Align, Table};
use serde::Serialize;

use super::approach::Student;
use super::reference::{OTHER_SHARDS, RealAgainstReal};
use crate::files::markdown;

/// What was measured of an approach. What could not be is null.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    /// What the table calls it.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
    /// Data sets of its decoders, as their reports have them: name and images of each decoder,
    /// least and most.
    pub training_data: Vec<(String, Option<[u64; 2]>)>,
    /// Different decoders.
    pub num_models: usize,
    /// Seconds of all decoders' trainings, summed over threads.
    pub training_core_seconds: Option<f64>,
    /// Teachers with samples.
    pub num_teachers: usize,
    /// Teachers without one.
    pub num_empty: usize,
    /// Samples.
    pub num_samples: usize,
    /// Mean of the teachers' confidences in their labels.
    pub teacher_confidence: Option<f64>,
    /// To the private images, in the feature space.
    pub frechet_distance: Option<f64>,
    /// With 3 neighbours.
    pub precision: Option<f64>,
    /// With 3 neighbours.
    pub recall: Option<f64>,
    /// Mean pairwise distance of a teacher's samples by that of its shard, on average over
    /// teachers.
    pub diversity_ratio: Option<f64>,
    /// L1 distance of class proportions of a teacher's samples and its shard, on average over
    /// teachers.
    pub histogram_l1: Option<f64>,
    /// Against other shards.
    pub memorisation: Option<Memorisation>,
    /// Whether memorisation shows.
    pub memorisation_suspected: Option<bool>,
    /// From its report.
    pub student: Option<Student>,
}

/// A cell of what memorisation's measures say.
fn memory(of: impl Fn(&Memorisation) -> String) -> impl Fn(&Measured) -> String {
    move |m| m.memorisation.as_ref().map_or_else(|| "not measured".to_owned(), &of)
}

/// The comparison as a Markdown table, approaches side by side.
pub(super) fn table(all: &[Measured], real: &RealAgainstReal) -> String {
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "not measured".to_owned(), |v| format!("{v:.digits$}"))
    };
    let names = all.iter().map(|m| markdown::text(&m.name));
    let names =
        std::iter::once(String::new()).chain(names).chain(["private images among themselves".to_owned()]);
    let mut table = Table::new(names.map(|name| (name, Align::Left)));
    let mut line = |name: &str, cell: &dyn Fn(&Measured) -> String, last: &str| {
        table.row([name.to_owned()].into_iter().chain(all.iter().map(cell)).chain([last.to_owned()]));
    };
    line("Training data of a decoder", &|m| markdown::text(&data_text(&m.training_data)), "");
    line("Decoders", &|m| m.num_models.to_string(), "");
    line("Training of decoders, core-seconds", &|m| number(m.training_core_seconds, 0), "");
    line(
        "Teachers, samples",
        &|m| match m.num_empty {
            0 => format!("{}, {}", m.num_teachers, m.num_samples),
            n => format!("{} ({n} more came out empty), {}", m.num_teachers, m.num_samples),
        },
        &format!("2 x {} images", real.images),
    );
    line("Teacher confidence, mean", &|m| number(m.teacher_confidence, 4), "");
    line("Frechet distance", &|m| number(m.frechet_distance, 2), &format!("{:.2}", real.frechet_distance));
    line("Precision", &|m| number(m.precision, 3), &format!("{:.3}", real.precision));
    line("Recall", &|m| number(m.recall, 3), &format!("{:.3}", real.recall));
    line("Diversity ratio, mean", &|m| number(m.diversity_ratio, 3), "1");
    line("Class histogram L1, mean", &|m| number(m.histogram_l1, 3), "");
    line(
        "Nearest image, own shard / other shards: mean distance",
        &memory(|m| format!("{:.3} / {:.3}", m.mean_own, m.mean_other)),
        "",
    );
    let shards = all.iter().find_map(|m| m.memorisation.as_ref()).map_or(OTHER_SHARDS + 1, |m| m.shards);
    line(
        &format!("Own shard has the nearest image of {shards} shards"),
        &memory(|m| format!("{:.1}%", 100.0 * m.own_fraction())),
        &format!("{:.1}% by chance", 100.0 / shards as f64),
    );
    let near = all.iter().find_map(|m| m.memorisation.as_ref()).map_or(0.0, |m| m.near);
    line(
        &format!("Samples nearer than {near} to the own shard / another one"),
        &memory(|m| format!("{} / {:.1}", m.near_own, m.near_other)),
        "",
    );
    line(
        "Memorisation",
        &|m| match m.memorisation_suspected {
            Some(true) => "**SUSPECTED**".to_owned(),
            Some(false) => "not seen".to_owned(),
            None => "not measured".to_owned(),
        },
        "",
    );
    line(
        "Student, test accuracy",
        &|m| match &m.student {
            Some(Student { overall_accuracy, accuracy_interval_95: Some([low, high]), .. }) => {
                format!("{overall_accuracy:.2}% ({low:.2} to {high:.2})")
            }
            Some(student) => format!("{:.2}%", student.overall_accuracy),
            None => "not measured".to_owned(),
        },
        "",
    );
    line(
        "Strongest control without private data",
        &|m| match m.student.as_ref().and_then(|student| student.strongest_control.as_ref()) {
            Some(control) => format!("{:.2}% ({})", control.overall_accuracy, markdown::text(&control.name)),
            None => "not measured".to_owned(),
        },
        "",
    );
    line("Formal privacy guarantee", &|_| "none".to_owned(), "");
    table.markdown() + "\n"
}

fn data_text(data: &[(String, Option<[u64; 2]>)]) -> String {
    if data.is_empty() {
        return "not known".to_owned();
    }
    let texts = data.iter().map(|(name, images)| match images {
        None => name.clone(),
        Some([low, high]) if low == high => format!("{name}, {low} images"),
        Some([low, high]) => format!("{name}, {low} to {high} images"),
    });
    texts.collect::<Vec<_>>().join("; ")
}
