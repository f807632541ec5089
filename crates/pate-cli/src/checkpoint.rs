//! The state of unfinished work in one file, so that a stopped or killed run goes on where it was.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::bail;
use artifact::{Access, AtomicFile, FileRecord};
use clap::Args;
use pate_core::train::{Keeper, TrainingState};
use serde_json::{Value, json};
use tensorfile::{Array, View};

use crate::{Context, training};

/// A file that holds the state of one piece of work, and what the work is.
///
/// The file is replaced as a whole, and is only taken up by a run with the same inputs and settings.
pub struct Checkpoint {
    path: PathBuf,
    identity: String,
    access: Access,
    found: bool,
}

/// A state that was saved.
#[derive(Debug)]
pub struct State {
    /// Arrays by name.
    pub arrays: Vec<(String, Array)>,
    /// Texts by name.
    pub texts: Vec<(String, String)>,
}

/// Name of the text that says which work a state belongs to.
const IDENTITY: &str = "identity";

impl Checkpoint {
    /// The state of the work that `identity` describes: everything that decides its result.
    pub fn new(path: PathBuf, identity: &Value, access: Access) -> Self {
        let program = format!("{} {identity}", env!("CARGO_PKG_VERSION"));
        Self { path, identity: artifact::sha256_bytes(program.as_bytes()), access, found: false }
    }

    /// Where it is kept.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last saved state of the same work. A file that is damaged or of other work counts as none.
    pub fn load(&self) -> Option<State> {
        let document = tensorfile::read(&self.path).ok()?;
        let texts = document.metadata.clone();
        if !texts.iter().any(|(key, text)| key == IDENTITY && *text == self.identity) {
            return None;
        }
        Some(State { arrays: document.into_tensors().ok()?, texts })
    }

    /// Replaces the saved state.
    ///
    /// # Errors
    /// Where the file cannot be written; the state before it then stays.
    pub fn save(&self, arrays: &[(&str, View<'_>)], texts: &[(&str, String)]) -> pate_core::Result<()> {
        let own = [(IDENTITY, self.identity.clone())];
        let texts: Vec<(String, String)> =
            own.iter().chain(texts).map(|(key, text)| ((*key).to_owned(), text.clone())).collect();
        let mut file = AtomicFile::create(&self.path, self.access)?;
        tensorfile::safetensors::write(&mut file, arrays, &texts)?;
        file.commit()?;
        Ok(())
    }

    /// Seconds that a training of [`ResumeArgs::checkpoint`] took, where all of it was done since `start`.
    pub fn seconds_since(&self, start: Instant) -> Option<f64> {
        (!self.found).then(|| training::to_milliseconds(start.elapsed().as_secs_f64()))
    }

    /// Removes the file, once the work is done.
    pub fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether a training must go on.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Output")]
pub struct ResumeArgs {
    /// Refuse to start anew: go on from the checkpoint of a stopped training with the same inputs and settings. Without
    /// this, it goes on where there is one
    #[arg(long)]
    resume: bool,
}

/// File that a training keeps its state in until it is done.
pub const FILE: &str = "checkpoint.safetensors";

impl ResumeArgs {
    /// The checkpoint of a training in `dir`. `work` and the content of `files` decide its result.
    ///
    /// # Errors
    /// `--resume` where there is none, and files that cannot be read.
    pub fn checkpoint(
        self,
        dir: &Path,
        work: &Value,
        files: &[PathBuf],
        access: Access,
        ctx: &Context,
    ) -> anyhow::Result<Checkpoint> {
        let files = files.iter().map(|path| FileRecord::of(path)).collect::<Result<Vec<_>, _>>()?;
        let hashes: Vec<&str> = files.iter().map(|file| file.sha256.as_str()).collect();
        // Sums over several threads differ in their last bits from sums on one.
        let identity = json!({
            "work": work, "files": hashes, "threads": tch::get_num_threads(), "device": format!("{:?}", ctx.device),
        });
        let mut checkpoint = Checkpoint::new(dir.join(FILE), &identity, access);
        let state = checkpoint.load();
        checkpoint.found = state.is_some();
        let path = checkpoint.path().display();
        match state {
            Some(state) => {
                let epochs = state.text(EPOCHS).unwrap_or("?");
                ctx.say(&format!("goes on after epoch {epochs}: {path}"));
            }
            None if self.resume && checkpoint.path().exists() => bail!(
                "{path} is that of a training with other inputs, settings, --threads or --device; give the same ones, or leave \
                 --resume out to start anew"
            ),
            None if self.resume => {
                bail!("{path} is not there, so there is nothing to go on from; leave --resume out to start")
            }
            None => {}
        }
        Ok(checkpoint)
    }
}

const EPOCHS: &str = "epochs";
const STEPS: &str = "steps";
const BEST_EPOCH: &str = "best_epoch";
const HISTORY: &str = "history";

impl Keeper for Checkpoint {
    fn load(&self) -> Option<TrainingState> {
        let state = Self::load(self)?;
        let best_epoch = match state.text(BEST_EPOCH)? {
            "" => None,
            epoch => Some(epoch.parse().ok().filter(|&epoch: &usize| epoch > 0)?),
        };
        Some(TrainingState {
            epochs: state.text(EPOCHS)?.parse().ok()?,
            steps: state.text(STEPS)?.parse().ok()?,
            best_epoch,
            history: state.text(HISTORY)?.to_owned(),
            arrays: state
                .arrays
                .into_iter()
                .map(|(name, array)| (name, array.shape().to_vec(), array.into_f32()))
                .collect(),
        })
    }

    fn save(&self, state: &TrainingState) -> pate_core::Result<()> {
        let arrays = state
            .arrays
            .iter()
            .map(|(name, shape, values)| Ok((name.as_str(), View::f32(shape, values)?)))
            .collect::<pate_core::Result<Vec<_>>>()?;
        let texts = [
            (EPOCHS, state.epochs.to_string()),
            (STEPS, state.steps.to_string()),
            (BEST_EPOCH, state.best_epoch.map_or_else(String::new, |epoch| epoch.to_string())),
            (HISTORY, state.history.clone()),
        ];
        Self::save(self, &arrays, &texts)
    }
}

impl State {
    /// An array by name.
    pub fn array(&self, name: &str) -> Option<&Array> {
        self.arrays.iter().find(|(key, _)| key == name).map(|(_, array)| array)
    }

    /// A text by name.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts.iter().find(|(key, _)| key == name).map(|(_, text)| text.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_that_of_its_own_work() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.safetensors");
        let of = |seed: u64| Checkpoint::new(path.clone(), &json!({ "seed": seed }), Access::Private);
        assert!(of(1).load().is_none());
        of(1).save(&[("x", View::f32(&[2], &[1.0, 2.0]).unwrap())], &[("epoch", "3".to_owned())]).unwrap();
        let state = of(1).load().unwrap();
        assert_eq!(state.array("x").unwrap().to_f32(), [1.0, 2.0]);
        assert_eq!(state.text("epoch"), Some("3"));
        assert!(of(2).load().is_none());
        artifact::write_bytes(&path, Access::Private, b"not a state").unwrap();
        assert!(of(1).load().is_none());
        of(1).remove();
        assert!(!path.exists());
    }
}
