//! What a replayed program stores: released, and so among its outputs.

use std::cell::RefCell;

use dp_noise_testing::replay::Outputs;
use pate_core::Result;
use pate_core::train::{Checkpoint, CheckpointStore};

/// Keeps checkpoints in memory.
#[derive(Default)]
pub(crate) struct Kept(pub(crate) RefCell<Outputs>);

impl CheckpointStore for Kept {
    fn load(&self) -> Option<Checkpoint> {
        None
    }

    fn save(&self, state: &Checkpoint) -> Result<()> {
        let mut bytes = format!("{} {} {}", state.epochs, state.steps, state.history).into_bytes();
        for (name, shape, values) in &state.arrays {
            bytes.extend(format!("{name} {shape:?}").bytes());
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
        self.0.borrow_mut().push(("checkpoint".to_owned(), bytes));
        Ok(())
    }
}
