//! From a command line to an exit code.

mod args;
mod bar;
mod context;
mod help;
mod outcome;
mod step;

use bar::Bar;

pub use args::RunArgs;
pub use bar::StopOnly;
pub use context::{Context, to_milliseconds};
pub(crate) use help::command;
pub use help::takes_value;
pub use outcome::Outcome;
pub use step::{Step, run};
