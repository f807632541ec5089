//! `pate-bench`: one part of the pipeline, timed in this process on prepared inputs.
//!
//! `cargo xtask bench` makes the inputs, runs this program and its peer in Python by turns, and
//! compares their results. One line of JSON on stdout: part, seconds of each run, figures of the
//! result, peak memory.
#![expect(clippy::print_stdout, reason = "its output is one line for the program that started it")]

mod inputs;
mod outputs;
mod parts;
mod private;
mod settings;
mod synthesis;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use dp_accounting::calibrate::Accountant;
use serde_json::{Value, json};

use crate::parts::{Inputs, Run};

/// Time one part of the pipeline.
#[derive(Debug, Parser)]
struct Args {
    /// What to do.
    #[arg(value_enum)]
    part: Part,
    /// Folder of the inputs, with settings.json.
    #[arg(long, value_name = "DIR")]
    inputs: PathBuf,
    /// Which row of the settings, for the steps.
    #[arg(long, value_name = "ROW")]
    row: Option<String>,
    /// Folder for what the part computes.
    #[arg(long, value_name = "DIR", default_value = "runs/bench/out")]
    out: PathBuf,
    /// Threads of libtorch.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(i32).range(1..=1024))]
    threads: i32,
    /// Repeat the part until its runs took so long together.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    repeat_for: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Make the inputs that no program of the pipeline writes.
    Inputs,
    Labelling,
    Decoding,
    Steering,
    Diversity,
    Memorisation,
    TeacherTraining,
    DecoderEpoch,
    StudentEpoch,
    TeacherVaes,
    TeacherVaesGrouped,
    PoolFiles,
    PrivacyLoss,
    CalibrationPld,
    CalibrationRdp,
    /// Steps of DP-SGD, of a row of the settings.
    PrivateStep,
    /// The same network without privacy.
    PlainStep,
    /// Steps on the pixels of public images.
    Synthesis,
    /// Measures of two sets of features.
    Frechet,
    Neighbours,
    Sgemm,
}

fn main() -> Result<()> {
    let args = Args::parse();
    tch::set_num_threads(args.threads);
    let inputs = Inputs::open(&args.inputs)?;
    artifact::create_dir(&args.out)?;
    let run = Run { inputs: &inputs, out: &args.out, repeat_for: args.repeat_for };
    let (seconds, result) = match args.part {
        Part::Inputs => {
            inputs::make(&inputs)?;
            (Vec::new(), Value::Null)
        }
        Part::Labelling => parts::labelling(&run)?,
        Part::Decoding => parts::decoding(&run)?,
        Part::Steering => parts::steering(&run)?,
        Part::Diversity => parts::diversity(&run)?,
        Part::Memorisation => parts::memorisation(&run)?,
        Part::TeacherTraining => parts::teacher_training(&run)?,
        Part::DecoderEpoch => parts::decoder_epoch(&run)?,
        Part::StudentEpoch => parts::student_epoch(&run)?,
        Part::TeacherVaes => parts::teacher_vaes(&run, 1)?,
        Part::TeacherVaesGrouped => parts::teacher_vaes(&run, usize::MAX)?,
        Part::PoolFiles => parts::pool_files(&run)?,
        Part::PrivacyLoss => parts::privacy_loss(&run)?,
        Part::CalibrationPld => parts::calibration(&run, Accountant::Pld)?,
        Part::CalibrationRdp => parts::calibration(&run, Accountant::Rdp)?,
        Part::PrivateStep => private::private_step(&run, args.row.as_deref())?,
        Part::PlainStep => private::plain_step(&run, args.row.as_deref())?,
        Part::Synthesis => synthesis::synthesis(&run)?,
        Part::Frechet => parts::frechet(&run)?,
        Part::Neighbours => parts::neighbours(&run)?,
        Part::Sgemm => parts::sgemm(&run)?,
    };
    let part = args.part.to_possible_value().map(|value| value.get_name().to_owned());
    println!("{}", json!({ "part": part, "seconds": seconds, "result": result, "peak_rss": peak_rss() }));
    Ok(())
}

/// The most memory that this process ever had, in bytes; null where the system does not tell.
fn peak_rss() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
