//! A run folder, and what its own reports say.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use artifact::{FileRecord, StoredReport, layout};
use pate_core::pate::combine::{self, TeacherSet};
use serde::Serialize;
use serde_json::Value;

/// A run folder to compare.
#[derive(Clone, Debug)]
pub(super) struct Approach {
    /// What the table calls it.
    pub name: String,
    /// Holds `teachers/teacher_<id>/` (or those folders themselves) and
    /// `student/evaluation_report.json`.
    pub dir: PathBuf,
}

impl std::str::FromStr for Approach {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, dir)) if !name.trim().is_empty() && !dir.is_empty() => {
                Ok(Self { name: name.trim().to_owned(), dir: crate::args::parse_path(dir)? })
            }
            _ => Err(format!("`{text}` is no NAME=FOLDER, such as vae=runs/teacher_vae")),
        }
    }
}

impl Approach {
    fn teachers_dir(&self) -> PathBuf {
        let inner = self.dir.join("teachers");
        if inner.is_dir() { inner } else { self.dir.clone() }
    }

    /// Complete teachers, by id.
    ///
    /// # Errors
    /// A folder that cannot be read, or none in it.
    pub(super) fn teachers(&self, classes: i64) -> Result<BTreeMap<u64, TeacherSet>> {
        let dir = self.teachers_dir();
        let found = combine::find(&dir, 0, None, classes)
            .with_context(|| format!("cannot use the run folder of \"{}\"", self.name))?;
        if found.complete.is_empty() {
            return Err(pate_core::Error::content(
                &dir,
                "there is no complete teacher_<id> folder in it",
                "give the folder above the --output-dir of batch-label-filter, or that folder itself",
            )
            .into());
        }
        Ok(found.complete.into_iter().map(|set| (set.teacher_id, set)).collect())
    }

    /// The test of its student, from the report, with that file.
    pub(super) fn student(&self) -> Option<(Student, FileRecord)> {
        let path = self.dir.join("student").join(layout::EVALUATION_REPORT);
        let report = StoredReport::read(&path).ok().flatten()?;
        let number = |value: &Value, name: &str| value.get(name).and_then(Value::as_f64);
        let fields = Value::Object(report.fields.clone());
        let strongest = fields["controls"].as_array().into_iter().flatten().filter_map(|control| {
            Some((control["name"].as_str()?.to_owned(), number(control, "overall_accuracy")?))
        });
        let strongest = strongest.max_by(|a, b| a.1.total_cmp(&b.1));
        let interval = fields["accuracy_interval_95"]
            .as_array()
            .and_then(|ends| Some([ends.first()?.as_f64()?, ends.get(1)?.as_f64()?]));
        let student = Student {
            overall_accuracy: number(&fields, "overall_accuracy")?,
            accuracy_interval_95: interval,
            total_samples: fields["total_samples"].as_u64(),
            strongest_control: strongest
                .map(|(name, overall_accuracy)| StrongestControl { name, overall_accuracy }),
        };
        Some((student, FileRecord::of(&path).ok()?))
    }
}

/// A student's test, from its report.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Student {
    /// Per cent right.
    pub overall_accuracy: f64,
    /// 95% Wilson interval.
    pub accuracy_interval_95: Option<[f64; 2]>,
    /// Test images.
    pub total_samples: Option<u64>,
    /// The strongest control that its report has.
    pub strongest_control: Option<StrongestControl>,
}

/// A control's test.
#[derive(Clone, Debug, Serialize)]
pub(super) struct StrongestControl {
    /// Which one.
    pub name: String,
    /// Per cent right.
    pub overall_accuracy: f64,
}
