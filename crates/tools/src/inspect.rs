//! `inspect`: what a file is, and whether it is still what its report says.
//!
//! Reads: any file or folder of these steps, or of PyTorch, NumPy and safetensors. Writes: nothing.
//! Runs nothing that is in a file, and links no libtorch. Privacy: what it prints of private files
//! is as private as they are.

mod architecture;
mod arrays;
mod file;
mod finding;
mod folder;
mod json;
mod known;
mod report;
mod table;
mod text;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use program::{Exit, eprint_line};
use serde_json::Value;

use self::finding::Finding;
use self::known::Known;

/// Say what a file is, and whether it is still what its report says
///
/// Files are recognised by content: .pt, .pth, safetensors, .npy, .npz, IDX, reports and other
/// JSON, labels, pictures; a folder with all that is in it. Nothing in a file is run. The privacy
/// label comes from the report beside a file or in the folder above.
#[derive(Parser)]
#[command(
    name = "inspect",
    version,
    after_help = "\
Examples:
  inspect trained_nets_gpu/0/model.pth pretrained_decoder/decoder.pth
  inspect teachers/teacher_0
  inspect combined_dataset/combined_synthetic_metadata.json
  inspect --json candidates/candidates_run1.pt

Exit codes: 0 done, 1 something does not match its report (a changed or missing output, a changed
input) or its neighbours (two folders of one teacher, one without a model), 2 arguments, 3 a file
could not be read."
)]
struct Args {
    /// Files and folders
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
    /// Print JSON: an array with an object for each file
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    completions: program::CompletionsArgs,
}

/// Its command line.
pub fn command() -> clap::Command {
    Args::command()
}

/// The program.
pub fn run() -> ExitCode {
    program::start();
    let mut command = command();
    let args = match program::matches(&mut command) {
        Ok(matches) => Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()),
        Err(done) => return done,
    };
    let (mut matches, mut readable) = (true, true);
    let mut known = Known::default();
    let mut all = Vec::new();
    let mut out = String::new();
    for name in &args.files {
        // As people type it on either system.
        let path = PathBuf::from(if cfg!(windows) { name.clone() } else { name.replace('\\', "/") });
        match look(&path, &mut known) {
            Ok(finding) => {
                matches &= finding.matches();
                if finding.unreadable > 0 {
                    readable = false;
                }
                if args.json {
                    all.push(json_of(&finding));
                } else {
                    out.push_str(&text::render(&finding));
                }
            }
            Err(error) => {
                readable = false;
                let message = text::one_line(&format!("{error:#}"));
                eprint_line(&format!("error: {message}"));
                all.push(serde_json::json!({"path": path, "error": message}));
            }
        }
    }
    if args.json {
        out = input_file::shown_json(&format!("{:#}\n", Value::Array(all)));
    }
    let exit = match (readable, matches) {
        (false, _) => Exit::Input,
        (true, false) => Exit::No,
        (true, true) => Exit::Done,
    };
    program::print(out.as_bytes(), exit)
}

/// Looks at a file or a folder.
///
/// # Errors
/// What cannot be read, or is nothing that is known here.
fn look(path: &Path, known: &mut Known) -> Result<Finding> {
    let meta = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if meta.is_dir() { folder::inspect(path, known) } else { file::inspect(path, &meta, known) }
}

fn json_of(finding: &Finding) -> Value {
    serde_json::to_value(finding).unwrap_or(Value::Null)
}
