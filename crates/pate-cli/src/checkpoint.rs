//! The state of unfinished work in one file, so that a stopped or killed run goes on where it was.

use std::path::{Path, PathBuf};

use anyhow::Result;
use artifact::{Access, AtomicFile};
use serde_json::Value;
use tensorfile::{Array, View};

/// A file that holds the state of one piece of work, and what the work is.
///
/// The file is replaced as a whole, and is only taken up by a run with the same inputs and settings.
pub struct Checkpoint {
    path: PathBuf,
    identity: String,
    access: Access,
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
        Self { path, identity: artifact::sha256_bytes(program.as_bytes()), access }
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
    pub fn save(&self, arrays: &[(&str, View<'_>)], texts: &[(&str, String)]) -> Result<()> {
        let own = [(IDENTITY, self.identity.clone())];
        let texts: Vec<(String, String)> =
            own.iter().chain(texts).map(|(key, text)| ((*key).to_owned(), text.clone())).collect();
        let mut file = AtomicFile::create(&self.path, self.access)?;
        tensorfile::safetensors::write(&mut file, arrays, &texts)?;
        file.commit()?;
        Ok(())
    }

    /// Removes the file, once the work is done.
    pub fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
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
    use serde_json::json;

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
        std::fs::write(&path, "not a state").unwrap();
        assert!(of(1).load().is_none());
        of(1).remove();
        assert!(!path.exists());
    }
}
