//! The data card: what a combined data set is, in Markdown, for whoever gets it. Every figure comes from the data or
//! from a report that names the data by its hash.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use artifact::{FileRecord, Guarantee};
use pate_core::pate::combine::MergeSummary;
use serde_json::Value;

use crate::args::Format;
use crate::files::markdown;
use crate::files::provenance::{Decoder, Provenance};

/// What the card tells.
pub struct Card<'a> {
    /// First part of the file names.
    pub name: &'a str,
    /// The formats beside it.
    pub formats: &'a [Format],
    /// `[n, channels, height, width]`.
    pub shape: &'a [usize],
    /// Least and greatest value.
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
    /// Share of all samples that was taken.
    pub percentage: f64,
    /// Whether classes kept their shares.
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

impl Card<'_> {
    /// The text.
    pub fn markdown(&self) -> String {
        let n = self.shape.first().copied().unwrap_or(0);
        let sections = [
            format!(
                "# Data card: {}\n\n**Generated data.** {n} labelled images that a decoder drew and classifiers labelled; none was \
                 photographed, scanned or written by a person. {}\n\n![Samples by class]({}_samples.png)",
                markdown::text(self.name),
                markdown::text(&self.guarantee.sentence()),
                link(self.name),
            ),
            self.structure(),
            self.creation(),
            self.privacy(),
            self.limits(),
            self.loading(),
            self.files(),
            "## Licence\n\nNot set. Whoever publishes this data chooses one, and checks first what the makers of the decoder's and of \
             the teachers' data allow."
                .to_owned(),
        ];
        sections.join("\n\n") + "\n"
    }

    fn structure(&self) -> String {
        let (low, high) = self.range;
        let image = self.shape.get(1..).unwrap_or_default();
        let image: Vec<String> = image.iter().map(usize::to_string).collect();
        let mut rows = String::new();
        for (class, n) in self.classes {
            let _ = writeln!(rows, "| {class} | {n} |");
        }
        let absent: Vec<String> = (0..self.n_classes)
            .filter(|class| !self.classes.contains_key(class))
            .map(|class| class.to_string())
            .collect();
        let absent = match absent.len() {
            0 => String::new(),
            1 => format!("\nThere is no sample of class {}.\n", absent.concat()),
            n if n <= 20 => format!("\nThere is no sample of classes {}.\n", absent.join(", ")),
            n => format!("\nThere is no sample of {n} of the {} classes.\n", self.n_classes),
        };
        format!(
            "## Structure\n\n- {} images of {} (channels, height, width), float32, values from {low} to {high}\n\
             - labels: int64, class numbers from 0 to {}\n\n| class | samples |\n|---|---|\n{rows}{absent}",
            self.shape.first().copied().unwrap_or(0),
            image.join(" x "),
            self.n_classes - 1,
        )
        .trim_end()
        .to_owned()
    }

    fn creation(&self) -> String {
        let from = self.provenance;
        let mut text = "## How it was made\n\n".to_owned();
        let mut step = 0;
        let mut item = |line: String| {
            step += 1;
            let _ = writeln!(text, "{step}. {line}");
        };
        item(match from.decoders.len() {
            0 => "A decoder drew candidate images from random latents. The reports beside the samples do not say what it was trained on."
                .to_owned(),
            1 => {
                let of = from.decoders.values().next().map(decoder).unwrap_or_default();
                format!("A decoder drew candidate images from random latents. {of}")
            }
            n => {
                let mut told: Vec<String> = from.decoders.values().map(decoder).collect();
                told.sort();
                told.dedup();
                format!("{n} decoders drew candidate images from random latents. {}", told.join(" "))
            }
        });
        let count = |name: &str| from.counts.get(name).copied().unwrap_or(0);
        let steered = match from.steered {
            0 => String::new(),
            n => format!(
                " {n} of the selected were made by steering latents towards a class that came up short."
            ),
        };
        item(if from.with_report.is_empty() {
            "Teachers, each trained on a private shard, labelled candidates and selected some. No report of that was found beside the \
             samples."
                .to_owned()
        } else {
            format!(
                "{} teachers, each trained on a private shard, labelled {} candidates and selected {}. Dropped: {} for low confidence, {} \
                 as near-copies of a shard's image, {} over a class's quota, {} as too like another, {} over the target.{steered}{}",
                from.with_report.len(),
                count("num_generated"),
                count("num_selected"),
                count("rejected_low_confidence"),
                count("rejected_memorization"),
                count("rejected_quota"),
                count("rejected_diversity"),
                count("rejected_target"),
                filters(&from.filters),
            )
        });
        if !from.with_report.is_empty() && !from.without_report.is_empty() {
            item(format!(
                "{} more teachers have no report of these samples, so the figures above leave them out.",
                from.without_report.len()
            ));
        }
        let share = if self.percentage < 1.0 {
            let how = if self.stratified { "keeping the classes' shares" } else { "at random" };
            format!(", {how}: a share of {} (seed {})", self.percentage, self.seed)
        } else {
            ", all of them".to_owned()
        };
        let merged = self.merged.map_or_else(String::new, |merged| {
            format!(
                " Images that several teachers had became one sample each: {} of them gave {} different images, of which {} were \
                 dropped for too few votes or too little agreement; the teacher id is that of one of an image's teachers.",
                merged.votes, merged.distinct, merged.rejected
            )
        });
        let per_teacher = match (self.teachers.values().min(), self.teachers.values().max()) {
            (Some(least), Some(most)) if self.merged.is_none() => {
                format!(" {} of them gave {least} to {most} samples each.", self.teachers.len())
            }
            _ => String::new(),
        };
        item(format!(
            "`combine` joined the samples of {} teachers{share}.{merged}{per_teacher}",
            self.n_teachers
        ));
        text.trim_end().to_owned()
    }

    fn privacy(&self) -> String {
        let meaning = match self.guarantee {
            Guarantee::Public => "No private data was read on the way, as far as the reports tell.",
            Guarantee::Dp(_) => "It holds for what the unit says, and for nothing else.",
            Guarantee::None { .. } => {
                "Nothing bounds what these images tell about the private data: an attacker with them may learn whether a record was in \
                 a shard. Treat them, this card and every file beside it as private data. The check for near-copies compares pixels; \
                 it proves nothing."
            }
            Guarantee::Void { .. } => "Do not publish it.",
        };
        format!("## Privacy\n\n{} {meaning}", markdown::text(&self.guarantee.sentence()))
    }

    fn limits(&self) -> String {
        let mut text = "## Known limits\n\n\
             - Labels are the teachers' opinions, not a person's; some are wrong.\n\
             - Images show what the decoder can draw. What its training images lack is missing here.\n\
             - The classes' shares follow the selection, not any population.\n"
            .to_owned();
        if let (Some(least), Some(most)) = (self.classes.values().min(), self.classes.values().max())
            && most > least
        {
            let _ = writeln!(text, "- Classes are uneven: {least} to {most} samples.");
        }
        if self.formats.contains(&Format::Folders) {
            text.push_str("- The PNG images are rounded to 8 bits; the other files hold float32.\n");
        }
        text.push_str("- Made for training and testing classifiers of the same classes. Nothing was checked for other uses.");
        text
    }

    fn loading(&self) -> String {
        let name = self.name;
        let mut text = "## Loading\n".to_owned();
        let mut snippet = |lines: &[String]| {
            let _ = write!(text, "\n```python\n{}\n```\n", lines.join("\n"));
        };
        let python = |file: String| quoted(&file);
        snippet(&[
            "import numpy, torch".to_owned(),
            format!("images = torch.load({}, weights_only=True)", python(format!("{name}_samples.pt"))),
            format!(
                "labels = numpy.loadtxt({}, delimiter=\",\", skiprows=1, usecols=1, dtype=int, ndmin=1)",
                python(format!("{name}_labels.csv"))
            ),
        ]);
        for format in self.formats {
            let path = python(file_name(&format.path(Path::new(""), name)));
            match format {
                Format::Pt => {}
                Format::Npz => snippet(&[
                    "import numpy".to_owned(),
                    format!("data = numpy.load({path})"),
                    "images, labels = data[\"x\"], data[\"y\"]".to_owned(),
                ]),
                Format::Safetensors => snippet(&[
                    "from safetensors.numpy import load_file".to_owned(),
                    format!("data = load_file({path})"),
                    "images, labels, teacher_ids = data[\"images\"], data[\"labels\"], data[\"teacher_ids\"]".to_owned(),
                ]),
                Format::Folders => snippet(&[
                    "from torchvision.datasets import ImageFolder  # its labels count the folders; names are the class numbers".to_owned(),
                    format!("data = ImageFolder({path})"),
                    "data.target_transform = lambda label: int(data.classes[label])".to_owned(),
                ]),
            }
        }
        text.trim_end().to_owned()
    }

    fn files(&self) -> String {
        let mut text = "## Files\n\n| file | bytes | SHA-256 |\n|---|---|---|\n".to_owned();
        for record in self.files {
            let name = file_name(&record.path);
            let name = match record.path.parent().map(file_name) {
                Some(folder) if folder.ends_with("_folders") => format!("{folder}/{name}"),
                _ => name,
            };
            let _ = writeln!(text, "| {} | {} | `{}` |", markdown::code(&name), record.bytes, record.sha256);
        }
        let _ = write!(
            text,
            "\n{} is the report, with the hash of this card",
            markdown::code(&format!("{}_metadata.json", self.name))
        );
        if self.formats.contains(&Format::Folders) {
            text.push_str("; `metadata.csv` has class, teacher and hash of every PNG");
        }
        text.push('.');
        text
    }
}

/// What is known of a decoder.
fn decoder(decoder: &Decoder) -> String {
    let of = match (&decoder.dataset, &decoder.guarantee) {
        (Some((dataset, size)), Some(guarantee)) => {
            let size = size.map_or_else(String::new, |n| format!(", {n} images"));
            let label = match guarantee {
                Guarantee::Public => "public data, as its report says",
                _ => "not public",
            };
            format!("It was trained on {dataset}{size} ({label}).", dataset = markdown::text(dataset))
        }
        _ => "The reports do not say what it was trained on.".to_owned(),
    };
    match (&decoder.dataset, &decoder.basis) {
        (None, Some(basis)) => {
            format!("{of} Its pools are labelled public on this basis: {}.", markdown::text(basis))
        }
        _ => of,
    }
}

/// The filters' settings where all teachers had the same.
fn filters(filters: &[Value]) -> String {
    let [filters] = filters else {
        return if filters.is_empty() {
            String::new()
        } else {
            " Settings of the filters differ between teachers.".to_owned()
        };
    };
    let number = |name: &str| filters.get(name).and_then(Value::as_f64);
    let mut told = Vec::new();
    if let Some(x) = number("default_confidence_threshold") {
        told.push(format!("confidence at least {x}"));
    }
    let on = |name: &str| filters.get(name).and_then(Value::as_bool) == Some(true);
    if let Some(x) = number("min_memorization_distance").filter(|_| on("memorization_check")) {
        told.push(format!("distance to the shard at least {x}"));
    }
    if let Some(x) = number("diversity_threshold").filter(|_| on("diversity_enforcement")) {
        told.push(format!("distance between samples at least {x}"));
    }
    if told.is_empty() { String::new() } else { format!(" Settings: {}.", told.join(", ")) }
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
        assert!(
            decoder(&with(Guarantee::Public))
                .contains("emnist, 112800 images (public data, as its report says)")
        );
        assert!(decoder(&with(Guarantee::none("shard"))).contains("(not public)"));
        assert!(!decoder(&Decoder::default()).contains("public"));
        let pool = Decoder {
            basis: Some("taken".to_owned()),
            guarantee: Some(Guarantee::Public),
            dataset: None,
            ..Decoder::default()
        };
        assert!(decoder(&pool).contains("labelled public on this basis: taken"), "{}", decoder(&pool));
    }

    #[test]
    fn settings_are_told_where_they_are_one() {
        let one = serde_json::json!({"default_confidence_threshold": 0.9, "memorization_check": false, "min_memorization_distance": 2.0});
        assert_eq!(filters(std::slice::from_ref(&one)), " Settings: confidence at least 0.9.");
        assert!(filters(&[one, Value::Null]).contains("differ"));
        assert_eq!(filters(&[]), "");
    }
}
