//! `inspect`: what a file is, and whether it is still what its report says.
//!
//! Reads: any file or folder of these steps, or of PyTorch, NumPy and safetensors. Writes: nothing. Runs nothing that is in a file, and
//! links no libtorch. Privacy: what it prints of private files is as private as they are.

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

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};
use clap_complete::Shell;
use serde_json::Value;
use shell::{Exit, complain};

use crate::finding::Finding;
use crate::known::Known;

/// Say what a file is, and whether it is still what its report says
///
/// Files are told by content: .pt, .pth, safetensors, .npy, .npz, IDX, reports and other JSON, labels, pictures; a folder with all
/// that is in it. Nothing in a file is run. The privacy label comes from the report beside a file or in the folder above.
#[derive(Parser)]
#[command(
    name = env!("CARGO_BIN_NAME"),
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
    /// Print the completions of this program for a shell, and do nothing else
    #[arg(long, value_name = "SHELL", exclusive = true, help_heading = "Run")]
    completions: Option<Shell>,
}

fn main() -> ExitCode {
    shell::start();
    let args = Args::parse();
    if let Some(shell) = args.completions {
        return shell::print(&shell::completions(&mut Args::command(), shell), Exit::Done);
    }
    let (mut matches, mut readable) = (true, true);
    let mut known = Known::default();
    let mut all = Vec::new();
    let mut out = String::new();
    for name in &args.files {
        // As people type it on either system.
        let path = PathBuf::from(if cfg!(windows) { name.clone() } else { name.replace('\\', "/") });
        match file::inspect(&path, &mut known) {
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
                complain(&format!("error: {message}"));
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
    shell::print(out.as_bytes(), exit)
}

fn json_of(finding: &Finding) -> Value {
    serde_json::to_value(finding).unwrap_or(Value::Null)
}
