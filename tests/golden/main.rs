//! Values that the original programs and public libraries gave, reproduced: one line per case.
//!
//! The whole folder comes from `PATE_GOLDEN_DIR` (set by `cargo xtask golden --dir`), else
//! `../shared/golden` beside the checkout. An extract of it, `tests/golden/extract`, is committed
//! and runs everywhere. Every case runs in float64 and in float32.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use tch::{Kind, Tensor};
use testing::golden::{Case, Golden};

mod dp_sgd;
mod dpmi;
mod evaluate;
mod feta;
mod imgsyn;
mod scatter;

/// What must hold of a case in a kind of numbers.
type Check = fn(&Case<'_>, Kind) -> Result<(), Failed>;

/// Whether a case of a group is checked here.
type Known = fn(&str) -> bool;

/// The groups of cases that this program knows, and which of their cases.
const GROUPS: [(&str, Known, Check); 5] = [
    ("dp_sgd", |_| true, dp_sgd::check),
    ("dpmi", |_| true, dpmi::check),
    ("feta", |_| true, feta::check),
    ("imgsyn", |_| true, imgsyn::check),
    ("scatter", |_| true, scatter::check),
];

/// Values at a pointer as a tensor.
fn tensor(case: &Case<'_>, pointer: &str, kind: Kind) -> Tensor {
    Tensor::from_slice(&case.numbers(pointer)).view(case.shape(pointer).as_slice()).to_kind(kind)
}

/// Collects what is too far off.
#[derive(Default)]
struct Report {
    problems: Vec<String>,
}

impl Report {
    fn within(&mut self, what: &str, off: f64, tolerance: f64) {
        if off.is_nan() || off > tolerance {
            self.problems.push(format!("{what} is off by {off:.1e}, allowed {tolerance:.1e}"));
        }
    }

    fn end(self) -> Result<(), Failed> {
        if self.problems.is_empty() { Ok(()) } else { Err(self.problems.join("\n").into()) }
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn whole() -> Option<PathBuf> {
    let folder = match std::env::var_os("PATE_GOLDEN_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => workspace().join("../shared/golden"),
    };
    folder.is_dir().then_some(folder)
}

fn trials(prefix: &str, folder: &Path) -> Vec<Trial> {
    let mut all = Vec::new();
    for (group, knows, check) in GROUPS {
        let golden = Arc::new(Golden::open(folder, group));
        for id in golden.ids().into_iter().filter(|id| knows(id)) {
            let golden = Arc::clone(&golden);
            let both = move |id: &str| {
                for (name, kind) in [("float64", Kind::Double), ("float32", Kind::Float)] {
                    check(&golden.case(id), kind)
                        .map_err(|failed| format!("in {name}: {}", failed.message().unwrap_or_default()))?;
                }
                Ok(())
            };
            all.push(Trial::test(format!("{prefix}{group}/{id}"), move || both(&id)));
        }
    }
    all
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    // The extract's cases are among the whole folder's: once is enough.
    let all = match whole() {
        Some(folder) => trials("", &folder),
        None => trials("extract/", &workspace().join("tests/golden/extract")),
    };
    libtest_mimic::run(&arguments, all).exit_code()
}
