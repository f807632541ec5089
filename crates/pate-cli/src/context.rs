use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result};
use artifact::{FileRecord, Guarantee, OutputLock, Report};
use clap::Parser;
use clap_complete::Shell;
use pate_core::progress::Progress;
use serde_json::{Map, Value, json};
use shell::{Exit, complain};
use tch::Device;

use crate::args::RunArgs;
use crate::bar::{Bar, StopOnly};
use crate::exit::{self, Outcome};

/// The libtorch that this program is bound to.
const LIBTORCH: &str = "2.13.0";

/// The arguments of a binary.
pub trait Step: Parser {
    /// The seed where none is given.
    const DEFAULT_SEED: u64 = 42;

    /// Defaults of shared arguments that differ from step to step, for the help: an argument's id, and what its default is.
    const DEFAULTS: &[(&str, &str)] = &[];

    /// The group that every binary has.
    fn run_args(&self) -> &RunArgs;
}

/// What a running step knows about itself.
pub struct Context {
    /// Where tensors live.
    pub device: Device,
    /// The run's seed.
    pub seed: u64,
    bar: Bar,
    tool: &'static str,
    command: String,
    threads: usize,
    started: Instant,
}

/// Parses the arguments, sets up the run, calls `command`, prints the error if there is one, and gives the exit code.
pub fn run<A: Step>(command: fn(&A, &Context) -> Result<Outcome>) -> ExitCode {
    shell::report_bugs();
    let args = match parse::<A>() {
        Asked::Step(args) => args,
        Asked::Completions(script) => return shell::print(&script, Exit::Done),
    };
    let verbose = args.run_args().verbose;
    let result = Context::new::<A>(args.run_args()).and_then(|context| command(&args, &context));
    match result {
        Ok(Outcome::Done) => Exit::Done.into(),
        Ok(Outcome::No(reason)) => {
            complain(&format!("result: {reason}"));
            Exit::No.into()
        }
        Err(error) => {
            // What was under way when it stopped is no fault of that.
            match error.downcast_ref::<pate_core::Error>() {
                Some(stopped @ pate_core::Error::Stopped) => complain(&format!("error: {stopped}")),
                _ => complain(&format!("error: {error:#}")),
            }
            if verbose && let Some(pate_core::Error::Torch { full, .. }) = error.downcast_ref() {
                full.lines().for_each(complain);
            }
            exit::code(&error).into()
        }
    }
}

/// What a command line asks for.
enum Asked<A> {
    Step(A),
    Completions(Vec<u8>),
}

/// [`Parser::parse`], with this step's defaults in the help, and shell completions where they are asked for.
fn parse<A: Step>() -> Asked<A> {
    let seed = A::DEFAULT_SEED.to_string();
    let mut command = A::command();
    for &(id, default) in std::iter::once(&("seed", seed.as_str())).chain(A::DEFAULTS) {
        command = command.mut_arg(id, |arg| {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            arg.help(format!("{help} [default: {default}]"))
        });
    }
    let matches = command.get_matches_mut();
    if let Some(&shell) = matches.get_one::<Shell>("completions") {
        return Asked::Completions(shell::completions(&mut command, shell));
    }
    Asked::Step(A::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit()))
}

impl Context {
    fn new<A: Step>(args: &RunArgs) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        ctrlc::set_handler(move || {
            if asked.swap(true, Ordering::Relaxed) {
                std::process::exit(Exit::Stopped as i32);
            }
            complain("stopping after the work in hand (again: at once)");
        })
        .context("cannot listen to Ctrl-C")?;
        let bar = Bar::new(args.quiet, stop);
        let device = args.device(&bar)?;
        let threads = args.threads();
        tch::set_num_threads(threads as i32);
        let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
        let tool = env!("CARGO_PKG_NAME");
        let name = std::env::current_exe()
            .ok()
            .and_then(|path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()))
            .unwrap_or_else(|| tool.to_owned());
        let command =
            std::iter::once(name).chain(words.map(|word| quoted(&word))).collect::<Vec<_>>().join(" ");
        Ok(Self {
            device,
            seed: args.seed.unwrap_or(A::DEFAULT_SEED),
            bar,
            tool,
            command,
            threads,
            started: Instant::now(),
        })
    }

    /// Where progress goes.
    pub fn progress(&self) -> &dyn Progress {
        &self.bar
    }

    /// For work inside the work that progress is shown of, on any thread: learns of a request to stop, and shows nothing.
    pub fn watch(&self) -> StopOnly {
        self.bar.watch()
    }

    /// The command line, for locks.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// Tells the user something, on standard error.
    pub fn say(&self, text: &str) {
        self.bar.say(text);
    }

    /// Prints a result, on standard output.
    ///
    /// # Errors
    /// Where it cannot be written; a reader that went away is fine.
    pub fn print(&self, text: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(e).context("cannot write to standard output")
            }
            _ => Ok(()),
        }
    }

    /// Holds an output folder for this run.
    ///
    /// # Errors
    /// Where another run holds it.
    pub fn lock(&self, dir: &Path) -> Result<OutputLock> {
        Ok(OutputLock::acquire(dir, &self.command)?)
    }

    /// Holds one output file for this run.
    ///
    /// # Errors
    /// Where another run holds it.
    pub fn lock_file(&self, path: &Path) -> Result<OutputLock> {
        Ok(OutputLock::acquire_file(path, &self.command)?)
    }

    /// Writes a report with this run's envelope.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write_report(&self, report: &Report, path: &Path) -> Result<FileRecord> {
        Ok(report.write(path, &self.envelope())?)
    }

    /// Who may read files with this label.
    pub fn access(guarantee: &Guarantee) -> artifact::Access {
        match guarantee {
            Guarantee::Public | Guarantee::Dp(_) => artifact::Access::Public,
            Guarantee::None { .. } | Guarantee::Void { .. } => artifact::Access::Private,
        }
    }

    fn envelope(&self) -> Map<String, Value> {
        let device = match self.device {
            Device::Cuda(n) => format!("cuda:{n}"),
            _ => "cpu".to_owned(),
        };
        let envelope = json!({
            "tool": self.tool,
            "tool_version": env!("CARGO_PKG_VERSION"),
            "command": self.command,
            "environment": {
                "libtorch": LIBTORCH,
                "device": device,
                "threads": self.threads,
                "cpu_capability": cpu_capability(),
            },
            "wall_seconds": (self.started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        });
        match envelope {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }
}

/// The vector instructions that libtorch picks; results are the same bytes only where this is the same.
fn cpu_capability() -> String {
    if let Ok(set) = std::env::var("ATEN_CPU_CAPABILITY") {
        return set;
    }
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return "avx512".to_owned();
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            return "avx2".to_owned();
        }
    }
    "default".to_owned()
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./\\:=,+{}".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("{word:?}") }
}
