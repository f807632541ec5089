//! The state of unfinished work in one file, so that a stopped or killed run goes on where it was.
//!
//! A state carries a hash over all of it: one that is damaged in any bit counts as none, and so
//! does one that holds a number which is not finite, since nothing good comes of going on from it.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::bail;
use artifact::{Access, AtomicFile, FileRecord, WorkId, layout};
use pate_core::train::{self, CheckpointStore};
use serde::Serialize;
use serde_json::{Value, json};
use tensorfile::{Array, View};

use crate::args::ResumeArgs;
use crate::run::{Context, to_milliseconds};

/// A file that holds the state of one piece of work, and what the work is.
///
/// The file is replaced as a whole, and is only taken up by a run with the same inputs and
/// settings.
pub struct Checkpoint {
    path: PathBuf,
    work: WorkId,
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

/// Name of the text with the hash over all the others and the arrays.
const DIGEST: &str = "sha256";

/// What a checkpoint's file holds.
#[derive(Debug)]
pub enum Found {
    /// There is no file.
    Nothing,
    /// The state of work with other inputs or settings.
    OtherWork,
    /// No whole state.
    Damaged,
    /// The state of this work.
    State(State),
}

impl Checkpoint {
    /// The state of `work`.
    pub fn new(path: PathBuf, work: WorkId, access: Access) -> Self {
        Self { path, work, access, found: false }
    }

    /// The state of a training, in `path`: `settings` and inputs with these SHA-256 hashes decide
    /// its result, and so do threads and device.
    ///
    /// # Errors
    /// Settings that do not serialise.
    pub fn of_training<'a>(
        path: PathBuf,
        settings: &impl Serialize,
        inputs: impl IntoIterator<Item = &'a str>,
        access: Access,
        ctx: &Context,
    ) -> anyhow::Result<Self> {
        let settings = serde_json::to_value(settings)?;
        // Sums over several threads differ in their last bits from sums on one.
        let settings =
            json!({ "settings": settings, "threads": tch::get_num_threads(), "device": ctx.device_name() });
        Ok(Self::new(path, WorkId::new(&settings, inputs)?, access))
    }

    /// Where it is kept.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file holds.
    pub fn look(&self) -> Found {
        // It is this program's own, and replaced by the next state.
        let _own = input_file::own();
        if std::fs::symlink_metadata(&self.path).is_err() {
            return Found::Nothing;
        }
        let Ok(document) = tensorfile::read(&self.path) else { return Found::Damaged };
        let texts = document.metadata.clone();
        let Ok(arrays) = document.into_tensors() else { return Found::Damaged };
        let state = State { arrays, texts };
        let views: Vec<_> = state.arrays.iter().map(|(name, array)| (name.as_str(), array.view())).collect();
        if state.text(DIGEST) != Some(digest(&views, &state.texts).as_str()) {
            return Found::Damaged;
        }
        if state.text(IDENTITY) != Some(self.work.as_str()) {
            return Found::OtherWork;
        }
        if state.arrays.iter().any(|(_, array)| array.to_f32().iter().any(|value| !value.is_finite())) {
            return Found::Damaged;
        }
        Found::State(state)
    }

    /// The last saved state of the same work. A file that is damaged or of other work counts as
    /// none.
    pub fn load(&self) -> Option<State> {
        match self.look() {
            Found::State(state) => Some(state),
            Found::Nothing | Found::OtherWork | Found::Damaged => None,
        }
    }

    /// [`Checkpoint::load`] that tells the user of a file that is damaged.
    pub fn load_or_say(&self, ctx: &Context) -> Option<State> {
        match self.look() {
            Found::State(state) => return Some(state),
            Found::Damaged => ctx.say(&format!("{} is damaged: the work starts anew", self.path.display())),
            Found::Nothing | Found::OtherWork => {}
        }
        None
    }

    /// Tells the user of a training that goes on, or of a file that is damaged.
    pub fn announce(&self, ctx: &Context) {
        if let Some(state) = self.load_or_say(ctx) {
            self.say_on(&state, ctx);
        }
    }

    fn say_on(&self, state: &State, ctx: &Context) {
        let epochs = state.text(EPOCHS).unwrap_or("?");
        ctx.say(&format!("goes on after epoch {epochs}: {}", self.path.display()));
    }

    /// Replaces the saved state.
    ///
    /// # Errors
    /// Where the file cannot be written; the state before it then stays.
    pub fn save(&self, arrays: &[(&str, View<'_>)], texts: &[(&str, String)]) -> pate_core::Result<()> {
        let own = [(IDENTITY, self.work.as_str().to_owned())];
        let mut texts: Vec<(String, String)> =
            own.iter().chain(texts).map(|(key, text)| ((*key).to_owned(), text.clone())).collect();
        texts.push((DIGEST.to_owned(), digest(arrays, &texts)));
        let mut file = AtomicFile::create(&self.path, self.access)?;
        tensorfile::safetensors::write(&mut file, arrays, &texts)?;
        file.commit()?;
        Ok(())
    }

    /// Seconds that a training of [`ResumeArgs::checkpoint`] took, where all of it was done since
    /// `start`.
    pub fn seconds_since(&self, start: Instant) -> Option<f64> {
        (!self.found).then(|| to_milliseconds(start.elapsed().as_secs_f64()))
    }

    /// Removes the file, once the work is done.
    pub fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A checkpoint that takes a tenth of the time at most: a state is left out where the one before it
/// was written so lately, and the first is never left out.
pub struct Sparing<'a> {
    checkpoint: &'a Checkpoint,
    /// When the last one was written, and how long that took.
    last: Cell<Option<(Instant, Duration)>>,
}

impl<'a> Sparing<'a> {
    /// States that go into `checkpoint`.
    pub fn new(checkpoint: &'a Checkpoint) -> Self {
        Self { checkpoint, last: Cell::new(None) }
    }
}

impl CheckpointStore for Sparing<'_> {
    fn load(&self) -> Option<train::Checkpoint> {
        CheckpointStore::load(self.checkpoint)
    }

    fn save(&self, state: &train::Checkpoint) -> pate_core::Result<()> {
        let start = Instant::now();
        if self.last.get().is_some_and(|(end, took)| start.duration_since(end) < 9 * took) {
            return Ok(());
        }
        CheckpointStore::save(self.checkpoint, state)?;
        self.last.set(Some((Instant::now(), start.elapsed())));
        Ok(())
    }
}

/// File that a training keeps its state in until it is done.
pub const FILE: &str = layout::CHECKPOINT;

impl ResumeArgs {
    /// The checkpoint of a training in `dir`. `settings` and the content of `files` decide its
    /// result.
    ///
    /// # Errors
    /// `--resume` where there is none, and files that cannot be read.
    pub fn checkpoint(
        self,
        dir: &Path,
        settings: &Value,
        files: &[PathBuf],
        access: Access,
        ctx: &Context,
    ) -> anyhow::Result<Checkpoint> {
        let files = files.iter().map(|path| FileRecord::of(path)).collect::<Result<Vec<_>, _>>()?;
        let inputs = files.iter().map(|file| file.sha256.as_str());
        let mut checkpoint = Checkpoint::of_training(dir.join(FILE), settings, inputs, access, ctx)?;
        let found = checkpoint.look();
        checkpoint.found = matches!(found, Found::State(_));
        let path = checkpoint.path().display();
        match found {
            Found::State(state) => checkpoint.say_on(&state, ctx),
            // Without --resume these start anew; with it, silence would lose what the user counts
            // on.
            Found::OtherWork if self.resume => bail!(
                "{path} is that of a training with other inputs, settings, --threads or --device; give the same ones, or leave \
                 --resume out to start anew"
            ),
            Found::Damaged if self.resume => {
                bail!(
                    "{path} is damaged, so there is nothing to go on from; leave --resume out to start anew"
                )
            }
            Found::Nothing if self.resume => {
                bail!("{path} is not there, so there is nothing to go on from; leave --resume out to start")
            }
            Found::Damaged => ctx.say(&format!("{path} is damaged: the training starts anew")),
            Found::OtherWork | Found::Nothing => {}
        }
        Ok(checkpoint)
    }
}

const EPOCHS: &str = "epochs";
const STEPS: &str = "steps";
const BEST_EPOCH: &str = "best_epoch";
const HISTORY: &str = "history";

impl CheckpointStore for Checkpoint {
    fn load(&self) -> Option<train::Checkpoint> {
        let state = Self::load(self)?;
        let best_epoch = match state.text(BEST_EPOCH)? {
            "" => None,
            epoch => Some(epoch.parse().ok().filter(|&epoch: &usize| epoch > 0)?),
        };
        Some(train::Checkpoint {
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

    fn save(&self, state: &train::Checkpoint) -> pate_core::Result<()> {
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

/// Hash over everything that a state holds, in the order of the names.
fn digest(arrays: &[(&str, View<'_>)], texts: &[(String, String)]) -> String {
    let mut arrays: Vec<_> = arrays.iter().collect();
    arrays.sort_by_key(|(name, _)| *name);
    let mut texts: Vec<_> = texts.iter().filter(|(name, _)| name != DIGEST).collect();
    texts.sort();
    let kinds: Vec<String> =
        arrays.iter().map(|(_, array)| format!("{} {:?}", array.dtype.name(), array.shape)).collect();
    let arrays = arrays
        .iter()
        .zip(&kinds)
        .flat_map(|((name, array), kind)| [name.as_bytes(), kind.as_bytes(), array.bytes]);
    let texts = texts.iter().flat_map(|(name, text)| [name.as_bytes(), text.as_bytes()]);
    artifact::sha256_parts(arrays.chain([&b"texts"[..]]).chain(texts))
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

    fn work(seed: u64) -> WorkId {
        WorkId::new(&json!({ "seed": seed }), []).unwrap()
    }

    #[test]
    fn a_state_is_that_of_its_own_work() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.safetensors");
        let of = |seed: u64| Checkpoint::new(path.clone(), work(seed), Access::Private);
        assert!(of(1).load().is_none());
        of(1).save(&[("x", View::f32(&[2], &[1.0, 2.0]).unwrap())], &[("epoch", "3".to_owned())]).unwrap();
        let state = of(1).load().unwrap();
        assert_eq!(state.array("x").unwrap().to_f32(), [1.0, 2.0]);
        assert_eq!(state.text("epoch"), Some("3"));
        assert!(of(2).load().is_none());
        assert!(matches!(of(2).look(), Found::OtherWork));
        artifact::write_bytes(&path, Access::Private, b"not a state").unwrap();
        assert!(matches!(of(1).look(), Found::Damaged));
        of(1).remove();
        assert!(!path.exists() && matches!(of(1).look(), Found::Nothing));
    }

    /// Attacks, row 10: one flipped bit gave another model with exit 0.
    #[test]
    fn a_state_with_any_bit_flipped_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.safetensors");
        let checkpoint = Checkpoint::new(path.clone(), work(0), Access::Private);
        let values: Vec<f32> = (0..40).map(|i| i as f32 + 0.25).collect();
        let array = View::f32(&[4, 10], &values).unwrap();
        let texts = [(EPOCHS, "3".to_owned()), (STEPS, "12".to_owned())];
        Checkpoint::save(&checkpoint, &[("weights.a", array), ("optimizer.0", array)], &texts).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            artifact::write_bytes(&path, Access::Private, &bytes).unwrap();
            assert!(matches!(checkpoint.look(), Found::Damaged), "byte {at}");
        }
        artifact::write_bytes(&path, Access::Private, &whole).unwrap();
        assert!(checkpoint.load().is_some());
    }

    /// Attacks, row 10: a state with NaN weights failed with "lower the learning rate", again and
    /// again.
    #[test]
    fn a_state_that_is_not_finite_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::new(dir.path().join("state.safetensors"), work(0), Access::Private);
        for value in [f32::NAN, f32::INFINITY] {
            Checkpoint::save(&checkpoint, &[("weights.a", View::f32(&[2], &[1.0, value]).unwrap())], &[])
                .unwrap();
            assert!(matches!(checkpoint.look(), Found::Damaged));
        }
    }
}
