//! The teachers of a folder, found by their numbers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use artifact::layout;
use pate_core::data::{InPlace, numbered_folders};

use crate::run::Context;

/// The teachers of a folder.
pub struct Teachers {
    /// Their `<id>/model.pth`, by id.
    pub models: BTreeMap<u64, PathBuf>,
    /// Folders of teachers without a model, and what they hold in its place.
    pub without_model: Vec<String>,
}

impl Teachers {
    /// Says which folders are left out, for want of a model.
    pub fn say_what_is_left_out(&self, ctx: &Context) {
        for left_out in &self.without_model {
            ctx.say(&format!("left out, for it has no model.pth: {left_out}"));
        }
    }
}

/// The `<id>/model.pth` in `dir`, from `start_id` on, at most `limit`. An id may be spelt with
/// zeros before it.
///
/// # Errors
/// A folder that cannot be read or holds no teacher, two folders of one id, a model whose name has
/// other letters.
pub fn find_teachers(dir: &Path, start_id: u64, limit: Option<usize>) -> Result<Teachers> {
    let mut teachers = Teachers { models: BTreeMap::new(), without_model: Vec::new() };
    let folders = numbered_folders(dir, "").context("cannot use the teachers' folder")?;
    for (id, folder) in folders.into_iter().filter(|(id, _)| *id >= start_id) {
        let model = folder.join(layout::MODEL);
        if model.is_file() {
            teachers.models.insert(id, model);
            continue;
        }
        let found = InPlace::of(&folder, layout::MODEL);
        // On a system that ignores case this would be the model, so results would differ between
        // the two.
        if matches!(found, InPlace::OtherCase(_)) {
            let problem = format!("there is no model.pth in it: {found}");
            return Err(pate_core::Error::content(&folder, problem, "give the model that name").into());
        }
        teachers.without_model.push(format!("{}: {found}", folder.display()));
    }
    if teachers.models.is_empty() {
        let problem = match teachers.without_model.first() {
            Some(first) => format!("none of its folders has a model.pth ({first})"),
            None => format!("there is no <id>/model.pth in it with an id of {start_id} or more"),
        };
        let hint = "train teachers with train-teachers, or give --teachers-dir";
        return Err(pate_core::Error::content(dir, problem, hint).into());
    }
    if let Some(limit) = limit {
        teachers.models = teachers.models.into_iter().take(limit).collect();
    }
    Ok(teachers)
}

/// File names in the `teacher_<id>` folders of these teachers, for [`Context::lock`].
pub fn in_folders(ids: &[u64], names: &[&str]) -> Vec<String> {
    let of = |folder: String| names.iter().map(move |name| format!("{folder}/{name}"));
    if ids.len() > MAX_CLAIMED {
        return of("teacher_*".to_owned()).collect();
    }
    ids.iter().flat_map(|&id| of(layout::teacher(id))).collect()
}

/// More teachers than these have their outputs claimed by a pattern.
const MAX_CLAIMED: usize = 1000;
