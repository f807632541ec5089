use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context as _, Result};
use artifact::{FileRecord, Guarantee, OutputLock, Report};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, Parser};
use clap_complete::Shell;
use pate_core::base::progress::Progress;
use pate_core::config::Config;
use serde_json::{Map, Value, json};
use shell::{Exit, complain};
use tch::Device;

use crate::args::RunArgs;
use crate::bar::{Bar, StopOnly};
use crate::exit::{self, Outcome};
use crate::training;

/// The libtorch that this program is bound to.
const LIBTORCH: &str = "2.13.0";

/// The arguments of a binary.
pub trait Step: Parser {
    /// The seed where none is given.
    const DEFAULT_SEED: u64 = 42;

    /// Flags of shared groups, by their id, and the key of the configuration that each beats; a flag of one step alone has
    /// `[config: section.key]` in its help instead. The help shows the key and its built-in value.
    const KEYS: &[(&str, &str)] = &[];

    /// Defaults, by id, that the flags' own help cannot have because other steps have others.
    const DEFAULTS: &[(&str, &str)] = &[];

    /// Whether a run reads nothing private where its report is public. Where one may, a public report says neither the command line, which
    /// names private files, nor the time, which private work takes a part of.
    const PUBLIC_WHERE_ITS_REPORT_IS: bool = false;

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
    program: String,
    command: String,
    may_read_private: bool,
    threads: usize,
    started: Instant,
}

/// Parses the arguments, sets up the run, calls `command`, prints the error if there is one, and gives the exit code.
pub fn run<A: Step>(command: fn(&A, &Context) -> Result<Outcome>) -> ExitCode {
    shell::start();
    artifact::keep_inputs();
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
    let mut command = with_defaults::<A>();
    let matches = command.get_matches_mut();
    name_inputs(&command, &matches);
    if let Some(&shell) = matches.get_one::<Shell>("completions") {
        return Asked::Completions(shell::completions(&mut command, shell));
    }
    Asked::Step(A::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit()))
}

/// The step's command, with what is built in where nobody says otherwise in the help of every flag.
fn with_defaults<A: Step>() -> Command {
    let seed = A::DEFAULT_SEED.to_string();
    let seed = [("seed", seed.as_str())];
    let built_in = serde_json::to_value(Config::default()).unwrap_or_default();
    A::command().mut_args(|arg| {
        let id = arg.get_id().as_str().to_owned();
        let Some(mut help) = arg.get_help().map(ToString::to_string) else { return arg };
        if let Some((_, key)) = A::KEYS.iter().find(|(flag, _)| *flag == id) {
            let _ = write!(help, " [config: {key}]");
        }
        let own = A::DEFAULTS.iter().chain(&seed).find(|(flag, _)| *flag == id);
        if let Some((_, default)) = own {
            let _ = write!(help, " [default: {default}]");
        }
        arg.help(with_built_in(&help, &built_in))
    })
}

/// Puts the built-in value of a key in place of `[config: section.key]`.
fn with_built_in(help: &str, built_in: &Value) -> String {
    let found = || {
        let (before, rest) = help.split_once("[config: ")?;
        let (key, after) = rest.split_once(']')?;
        let (section, name) = key.split_once('.')?;
        let value = match built_in.get(section)?.get(name)? {
            Value::Null => "none".to_owned(),
            Value::String(word) => word.clone(),
            Value::Number(number) => number.as_f64()?.to_string(),
            other => other.to_string(),
        };
        Some(format!("{before}[default: {value}, or {key}]{after}"))
    };
    found().unwrap_or_else(|| help.to_owned())
}

/// Every path that was given on the command line and is no output is an input: no output takes its place.
fn name_inputs(command: &Command, matches: &ArgMatches) {
    for arg in command.get_arguments().filter(|arg| arg.get_help_heading() != Some(OUTPUT)) {
        let id = arg.get_id().as_str();
        if matches.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        let flag = format!("--{}", arg.get_long().unwrap_or(id));
        // An argument of another type names no file by itself.
        for path in matches.try_get_many::<PathBuf>(id).ok().flatten().into_iter().flatten() {
            artifact::name_input(&flag, path);
        }
    }
}

/// The help's heading over flags that name outputs.
const OUTPUT: &str = "Output";

impl Context {
    fn new<A: Step>(args: &RunArgs) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        shell::listen(Arc::clone(&stop), artifact::abandon).context("cannot listen to Ctrl-C")?;
        let bar = Bar::new(args.quiet, stop);
        let device = args.device(&bar)?;
        let threads = args.threads();
        tch::set_num_threads(threads as i32);
        let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
        let tool = env!("CARGO_PKG_NAME");
        let program = std::env::current_exe()
            .ok()
            .and_then(|path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()))
            .unwrap_or_else(|| tool.to_owned());
        let all = std::iter::once(program.clone()).chain(words.map(|word| quoted(&word)));
        let command = all.collect::<Vec<_>>().join(" ");
        Ok(Self {
            device,
            seed: args.seed.unwrap_or(A::DEFAULT_SEED),
            bar,
            tool,
            program,
            command,
            may_read_private: !A::PUBLIC_WHERE_ITS_REPORT_IS,
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

    /// The program's name, for locks.
    pub fn program(&self) -> &str {
        &self.program
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

    /// Holds the output folder that `flag` names, after the files that the step will write in it are held against those that it reads.
    /// `names` are paths inside it; `*` stands for any text within a part.
    ///
    /// # Errors
    /// Where another run holds it; where an output would take the place of an input, or of another output.
    pub fn lock(&self, flag: &str, dir: &Path, names: &[impl AsRef<str>]) -> Result<OutputLock> {
        artifact::claim(flag, dir, names)?;
        Ok(OutputLock::acquire(dir, &self.program)?)
    }

    /// Holds the one output file that `flag` names; `beside` are the names of others that the step will write in its folder.
    ///
    /// # Errors
    /// As [`Context::lock`].
    pub fn lock_file(&self, flag: &str, path: &Path, beside: &[impl AsRef<str>]) -> Result<OutputLock> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        artifact::claim(flag, dir, &[name])?;
        artifact::claim(flag, dir, beside)?;
        Ok(OutputLock::acquire_file(path, &self.program)?)
    }

    /// Writes a report with this run's envelope.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write_report(&self, report: &Report, path: &Path) -> Result<FileRecord> {
        Ok(report.write(path, &self.envelope_of(report.guarantee()))?)
    }

    /// The device as `--device` names it.
    pub fn device_name(&self) -> String {
        match self.device {
            Device::Cuda(n) => format!("cuda:{n}"),
            _ => "cpu".to_owned(),
        }
    }

    /// What a report with this label says of its run.
    pub fn envelope_of(&self, guarantee: &Guarantee) -> Map<String, Value> {
        self.envelope(guarantee.access() == artifact::Access::Public && self.may_read_private)
    }

    /// What a report says of its run; of one that may have read private data, a public report says less.
    fn envelope(&self, spare: bool) -> Map<String, Value> {
        let envelope = json!({
            "tool": self.tool,
            "tool_version": env!("CARGO_PKG_VERSION"),
            "command": if spare { &self.program } else { &self.command },
            "environment": {
                "libtorch": LIBTORCH,
                "device": self.device_name(),
                "threads": self.threads,
                "cpu_capability": cpu_capability(),
            },
            "wall_seconds": (!spare).then(|| training::to_milliseconds(self.started.elapsed().as_secs_f64())),
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
