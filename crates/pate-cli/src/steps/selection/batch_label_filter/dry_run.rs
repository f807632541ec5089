//! What a batch would do, and what room it needs: the text of `--dry-run`, and the check before a
//! run.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use artifact::{check_space, format_bytes, free_bytes, layout, min_growth};
use pate_core::data::ImageShape;
use pate_core::models::UcStub;
use pate_core::pate::label_filter::FilterPlan;
use serde_json::{Value, json};

use super::batch::{Batch, finished_here};
use crate::run::Context;
use crate::steps::selection::one_teacher;

/// Bytes of a sample's line in `labels.csv`, at most.
const LABEL_LINE: u64 = 40;

/// Bytes of a teacher's report and picture, about: what 12 samples of each of 10 classes take.
const REPORT_BYTES: u64 = 6_000;
const PICTURE_BYTES: u64 = 100_000;

/// What would become of a teacher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Planned {
    /// Its results are there, made from these inputs with these settings.
    Skip,
    /// Its samples would be made.
    Make,
    /// It would fail, for these files are not there.
    Missing(Vec<PathBuf>),
}

/// What a batch would do.
pub(super) struct BatchPlan {
    /// Every teacher, by id.
    pub teachers: Vec<(u64, Planned)>,
    /// Candidates of a pool: the one for all, or that of the first teacher to be made.
    pub candidates: usize,
    /// Pools that would be made at most for one teacher.
    pub rounds: usize,
    /// Bytes by which pools would grow the disk, at least.
    pub pools_min: u64,
    /// Bytes of pools, at most.
    pub pools_max: u64,
    /// Samples of all teachers, at most.
    pub samples_max: u64,
    /// Bytes of samples, labels and reports, at most.
    pub samples_bytes: u64,
    /// Bytes of pictures, about.
    pub pictures: u64,
}

/// Samples of one teacher, at most: the greater of what its class may have and what may be made for
/// it.
fn max_samples(candidates: u64, classes: u64, steers: bool, plan: &FilterPlan) -> u64 {
    let steered = match plan.limits.min_per_class {
        Some(min) if steers && plan.steering.is_some() => min.saturating_mul(classes),
        _ => 0,
    };
    let all = candidates.saturating_add(steered);
    let by_class = plan
        .limits
        .max_per_class
        .map_or(all, |max| max.max(plan.limits.min_per_class.unwrap_or(0)).saturating_mul(classes).min(all));
    plan.target_samples.map_or(by_class, |target| by_class.min(target as u64))
}

impl Batch<'_> {
    /// Looks at every teacher's files and writes nothing.
    ///
    /// # Errors
    /// Settings that cannot be used, or a pool for all teachers that is not there.
    pub(super) fn plan(&self, ids: &[u64], ctx: &Context) -> Result<BatchPlan> {
        let shared = self.shared()?;
        let filters = self.filters.resolve(&self.config.config, ctx.seed)?;
        let mut teachers = Vec::with_capacity(ids.len());
        for &id in ids {
            ctx.progress().check()?;
            teachers.push((
                id,
                self.planned(id, shared.pool.as_ref().map(|(.., record)| record.sha256.as_str()), ctx)?,
            ));
        }
        let made: Vec<u64> =
            teachers.iter().filter(|(_, planned)| *planned == Planned::Make).map(|(id, _)| *id).collect();
        let makes_pools = self.candidates.is_none();
        let first_pool = made.first().and_then(|id| self.own_pool(*id));
        let first_pool = first_pool.map(|path| one_teacher::load_pool(&path, self.scale)).transpose()?;
        let pool = shared.pool.as_ref().map(|(_, pool, _)| pool).or(first_pool.as_ref());
        let candidates = match pool {
            Some(pool) => pool.len(),
            None if makes_pools => self.pool_size,
            None => 0,
        };
        let values = match pool {
            Some(pool) => pool.tensor().size().iter().skip(1).product::<i64>() as u64,
            None => self.drawn_values(ids),
        };
        let rounds = if makes_pools { self.rounds() } else { 1 };
        let one_pool = if makes_pools { self.pool_bytes(ids) } else { 0 };
        let pools_min = if makes_pools { min_growth(self.pools(&made)) } else { 0 };
        let kept = if self.candidates_dir.is_some() { made.len() as u64 } else { 0 };
        let classes = made.first().map_or(10, |id| classes_of(&self.files(*id, false).model));
        let soft = if filters.soft_labels { 4 * classes } else { 0 };
        let in_pool = (candidates as u64).saturating_mul(rounds as u64);
        let samples_max = max_samples(in_pool, classes, self.decoder.is_some(), &filters.plan)
            .saturating_mul(made.len() as u64);
        Ok(BatchPlan {
            candidates,
            rounds,
            pools_min,
            pools_max: one_pool.saturating_mul(rounds as u64).saturating_mul(kept),
            samples_max,
            samples_bytes: samples_max
                .saturating_mul(4 * values + LABEL_LINE + soft)
                .saturating_add(REPORT_BYTES * made.len() as u64),
            pictures: if self.pictures { PICTURE_BYTES * made.len() as u64 } else { 0 },
            teachers,
        })
    }

    /// Refuses a run whose pools do not fit on the disk. Teachers are looked at one by one only
    /// where the pools of all of them would not fit.
    ///
    /// # Errors
    /// Both figures, and what to do.
    pub(super) fn check_room(&self, ids: &[u64], ctx: &Context) -> Result<()> {
        let Some(dir) = self.candidates_dir.as_ref().filter(|_| self.candidates.is_none()) else {
            return Ok(());
        };
        let free = free_bytes(dir);
        if free.is_none_or(|free| free >= min_growth(self.pools(ids))) {
            return Ok(());
        }
        self.check_planned_room(&self.plan(ids, ctx)?)
    }

    /// The same for a plan that is there already.
    ///
    /// # Errors
    /// Both figures, and what to do.
    pub(super) fn check_planned_room(&self, plan: &BatchPlan) -> Result<()> {
        let Some(dir) = &self.candidates_dir else { return Ok(()) };
        let hint = "give --discard-candidates, since seed and decoder make pools again, or --candidates-dir on another disk";
        Ok(check_space(dir, plan.pools_min, free_bytes(dir), hint)?)
    }

    /// The pools that these teachers would get, each with its least size.
    fn pools(&self, ids: &[u64]) -> Vec<(PathBuf, u64)> {
        let Some(dir) = &self.candidates_dir else { return Vec::new() };
        let bytes = self.pool_bytes(ids);
        ids.iter().map(|&id| (dir.join(layout::teacher_pool(id)), bytes)).collect()
    }

    /// Values of an image that the first teacher's decoder draws; MNIST's, where it cannot be read.
    fn drawn_values(&self, ids: &[u64]) -> u64 {
        let shape = ids.first().map(|id| self.drawn(&self.files(*id, false)));
        shape.and_then(Result::ok).map_or(ImageShape::MNIST.numel(), |shape| shape.numel()) as u64
    }

    fn pool_bytes(&self, ids: &[u64]) -> u64 {
        (self.pool_size as u64).saturating_mul(4).saturating_mul(self.drawn_values(ids))
    }

    fn planned(&self, id: u64, shared_pool: Option<&str>, ctx: &Context) -> Result<Planned> {
        let seed = ctx.seed.wrapping_add(id);
        let filters = self.filters.resolve(&self.config.config, seed)?;
        let plan = filters.plan;
        let files = self.files(id, plan.quota);
        let own_pool = self.own_pool(id);
        let named = [Some(&files.model), files.shard.as_ref(), files.metadata.as_ref(), own_pool.as_ref()];
        let decoder = files.decoder.as_ref().filter(|_| self.candidates.is_none() || plan.steering.is_some());
        let absent: Vec<PathBuf> =
            named.into_iter().chain([decoder]).flatten().filter(|path| !path.is_file()).cloned().collect();
        if !absent.is_empty() {
            return Ok(Planned::Missing(absent));
        }
        // Before anything is hashed: with --force nothing that is there decides.
        if self.force {
            return Ok(Planned::Make);
        }
        let identity: Value = match (shared_pool, &own_pool) {
            (Some(hash), _) => json!(hash),
            (None, Some(path)) => json!(artifact::FileRecord::of(path)?.sha256),
            (None, None) => self.made_pool_identity(self.pool_seed(id, ctx), &files, self.drawn(&files)?)?,
        };
        // The same files in the same order as a loaded teacher names them, or the hash would never
        // be that of a run.
        let inputs = files.records(&plan)?;
        let work = one_teacher::work(
            &plan,
            &self.config.config,
            filters.soft_labels,
            &identity,
            &self.reading(),
            &inputs,
        )?;
        let dir = self.output_dir.join(layout::teacher(id));
        let done = finished_here(id, &dir, &work, self.pictures).is_some();
        Ok(if done { Planned::Skip } else { Planned::Make })
    }
}

/// Classes that a teacher tells apart, as its file says; 10 where it does not.
fn classes_of(model: &Path) -> u64 {
    let tensors = tensorfile::read(model).and_then(|file| file.into_state_dict(&UcStub::PARAMETERS));
    let shape = |(name, array): &(String, tensorfile::Array)| {
        (name == "fc2.weight").then(|| array.shape().first().map(|&n| n as u64)).flatten()
    };
    tensors.ok().and_then(|tensors| tensors.iter().find_map(shape)).unwrap_or(10)
}

impl BatchPlan {
    /// Teachers whose files are not all there.
    pub(super) fn n_missing(&self) -> usize {
        self.teachers.iter().filter(|(_, planned)| matches!(planned, Planned::Missing(_))).count()
    }

    fn ids(&self, wanted: &Planned) -> String {
        let ids: Vec<u64> =
            self.teachers.iter().filter(|(_, planned)| planned == wanted).map(|(id, _)| *id).collect();
        if ids.is_empty() { "none".to_owned() } else { format!("{} ({})", ids.len(), ranges(&ids)) }
    }

    /// The plan as text. `free` is of the folder for results, and of that for pools where there is
    /// one.
    pub(super) fn text(&self, output: &Path, pools: Option<&Path>) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<21}{value}");
        };
        let all: Vec<u64> = self.teachers.iter().map(|(id, _)| *id).collect();
        line("teachers found", format!("{} ({})", all.len(), ranges(&all)));
        line("complete, skipped", self.ids(&Planned::Skip));
        line("to be made", self.ids(&Planned::Make));
        line(
            "inputs missing",
            if self.n_missing() == 0 { "none".to_owned() } else { self.n_missing().to_string() },
        );
        for (id, planned) in &self.teachers {
            if let Planned::Missing(files) = planned {
                let files: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
                line(&format!("  teacher {id}"), files.join(", "));
            }
        }
        let made = self.teachers.iter().filter(|(_, planned)| *planned == Planned::Make).count();
        let rounds =
            if self.rounds > 1 { format!(", in up to {} pools", self.rounds) } else { String::new() };
        let all = (self.candidates as u64).saturating_mul((made * self.rounds) as u64);
        line("candidates", format!("{} a teacher{rounds}, {all} in all", self.candidates));
        let most = |bytes: u64| format!("{} at most", format_bytes(bytes));
        line(
            "disk for pools",
            match pools {
                None => "none: no pool is written".to_owned(),
                Some(_) if self.rounds > 1 => {
                    format!("{} to {}", format_bytes(self.pools_min), format_bytes(self.pools_max))
                }
                Some(_) => format_bytes(self.pools_max),
            },
        );
        line("disk for samples", format!("{} ({} samples)", most(self.samples_bytes), self.samples_max));
        line(
            "disk for pictures",
            if self.pictures == 0 {
                "none".to_owned()
            } else {
                format!("about {}", format_bytes(self.pictures))
            },
        );
        let free = |dir: &Path| free_bytes(dir).map_or_else(|| "not known".to_owned(), format_bytes);
        line(&format!("free in {}", output.display()), free(output));
        if let Some(dir) = pools {
            line(&format!("free in {}", dir.display()), free(dir));
        }
        text.push_str("nothing was written (--dry-run)");
        text
    }
}

/// Ids in order, runs of them with a dash: `0-3, 7`.
fn ranges(ids: &[u64]) -> String {
    let mut parts: Vec<(u64, u64)> = Vec::new();
    for &id in ids {
        match parts.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(id) => *last = id,
            _ => parts.push((id, id)),
        }
    }
    let shown = |(first, last): (u64, u64)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    parts.into_iter().map(shown).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shown_in_runs() {
        assert_eq!(ranges(&[0, 1, 2, 7, 10, 11]), "0-2, 7, 10-11");
        assert_eq!(ranges(&[u64::MAX]), u64::MAX.to_string());
        assert_eq!(ranges(&[]), "");
    }
}
