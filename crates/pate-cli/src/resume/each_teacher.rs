//! The one loop over teachers: done, skipped or failed, with its lines and its table.

use anyhow::Result;
use pate_core::Error;
use pate_core::base::parallel;
use program::{Align, Table};
use serde::Serialize;

use crate::run::Context;

/// What a batch's report says of its counts.
pub const COUNTS_NOTE: &str = "done and skipped, and the teachers' status, are those of this run alone: one that went on after a stop \
                               counts what was there already as skipped, where one that never stopped made it";

/// What became of a teacher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// What it lacked was made now.
    Done,
    /// All of it was there already.
    Skipped,
    /// No candidate passed.
    Empty,
    /// It could not be done.
    Failed,
}

impl Status {
    /// The word for it in tables and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Skipped => "skipped",
            Self::Empty => "empty",
            Self::Failed => "failed",
        }
    }
}

/// What a step says of one teacher, besides what became of it. The default is said of one that
/// failed.
pub trait Details: Default + Serialize {
    /// Headers of its columns in the table.
    const COLUMNS: &[&str];

    /// Its cells in the table.
    fn cells(&self) -> Vec<String>;

    /// What progress says of it.
    fn note(&self) -> String;
}

/// A teacher's line in a batch's report.
#[derive(Clone, Debug, Serialize)]
pub struct TeacherLine<D> {
    /// Which teacher.
    pub teacher_id: u64,
    /// What became of it.
    pub status: Status,
    /// What the step has to say.
    #[serde(flatten)]
    pub details: D,
    /// Why it failed or is empty.
    pub reason: Option<String>,
}

impl<D: Details> TeacherLine<D> {
    /// A teacher that did not fail.
    pub fn new(teacher_id: u64, status: Status, details: D) -> Self {
        Self { teacher_id, status, details, reason: None }
    }

    fn failed(teacher_id: u64, error: &anyhow::Error) -> Self {
        let reason = Some(format!("{error:#}"));
        Self { teacher_id, status: Status::Failed, details: D::default(), reason }
    }

    fn note(&self) -> String {
        let (id, status) = (self.teacher_id, self.status);
        match &self.reason {
            Some(reason) => format!("teacher {id}: {}: {reason}", status.name()),
            None if status == Status::Skipped => format!("teacher {id}: {} (kept)", self.details.note()),
            None => format!("teacher {id}: {}", self.details.note()),
        }
    }
}

/// What a teacher that fails means for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It is reported, and the others go on.
    GoOn,
    /// The run ends with its error.
    End,
}

/// The one loop over teachers: each is a unit of work, independent of the others.
///
/// `make` does a group of teachers on a thread of its own for each of `workers`, and `finish` takes
/// what it gives, one teacher after the other in their order, on the calling thread: it writes
/// files, and gives the line of the report. With one worker all is done on the calling thread.
///
/// # Errors
/// A stop, and with [`OnFailure::End`] the first failure.
pub fn each_teacher<W: Send, T: Send, D: Details>(
    groups: &[&[u64]],
    workers: Vec<W>,
    on_failure: OnFailure,
    ctx: &Context,
    make: impl Fn(&mut W, &[u64]) -> pate_core::Result<Vec<(u64, Result<T>)>> + Sync,
    mut finish: impl FnMut(u64, T) -> Result<TeacherLine<D>>,
) -> Result<Vec<TeacherLine<D>>> {
    let progress = ctx.progress();
    progress.start("teacher", groups.iter().map(|group| group.len() as u64).sum());
    let mut lines = Vec::new();
    parallel::jobs(
        groups.len(),
        workers,
        &ctx.watch(),
        |worker, group| make(worker, groups[group]),
        |_, made| {
            for (teacher_id, made) in made {
                let line = match made.and_then(|made| finish(teacher_id, made)) {
                    Ok(line) => line,
                    // A stop is no failure of the teacher that it met.
                    Err(error) if on_failure == OnFailure::End || is_stop(&error) => return Err(error),
                    Err(error) => TeacherLine::failed(teacher_id, &error),
                };
                let note = line.note();
                if line.status == Status::Failed {
                    ctx.say(&format!("error: {note}"));
                }
                progress.advance(1, &note);
                lines.push(line);
            }
            Ok::<_, anyhow::Error>(())
        },
    )?;
    progress.finish();
    Ok(lines)
}

fn is_stop(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Error::Stopped))
}

/// How many teachers came to this.
pub fn count<D>(lines: &[TeacherLine<D>], status: Status) -> usize {
    lines.iter().filter(|line| line.status == status).count()
}

/// The batch as a table.
pub fn table<D: Details>(lines: &[TeacherLine<D>]) -> String {
    let own = D::COLUMNS.iter().map(|name| (*name, Align::Right));
    let first = [("teacher", Align::Right), ("status", Align::Left)];
    let mut table = Table::new(first.into_iter().chain(own).chain([("", Align::Left)]));
    for line in lines {
        let first = [line.teacher_id.to_string(), line.status.name().to_owned()];
        let reason = line.reason.clone().unwrap_or_default();
        table.row(first.into_iter().chain(line.details.cells()).chain([program::one_line(&reason, LONGEST)]));
    }
    table.text()
}

/// Longer reasons are cut in the table; the report has all of them.
const LONGEST: usize = 400;

/// A number in a cell: a dash where there is none.
pub fn cell<T>(value: Option<T>, shown: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), shown)
}
