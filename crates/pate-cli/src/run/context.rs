//! What a running step knows about itself: seed, device, notes, locks, its report.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context as _, Result};
use artifact::{FileRecord, Guarantee, OutputLock, Report};
use pate_core::base::progress::Progress;
use serde_json::{Map, Value, json};
use tch::Device;

use super::{Bar, RunArgs, Step, StopOnly};

/// The libtorch that this program is bound to.
const LIBTORCH: &str = "2.13.0";

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

impl Context {
    pub(super) fn new<A: Step>(args: &RunArgs) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        program::listen(Arc::clone(&stop), artifact::abandon).context("cannot listen to Ctrl-C")?;
        let bar = Bar::new(args.quiet, stop);
        let device = args.device(&bar)?;
        let threads = args.threads();
        tch::set_num_threads(threads as i32);
        let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
        let tool = env!("CARGO_PKG_NAME");
        // The steps are binaries of one package, whose name would be the same for all.
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

    /// For work inside the work that progress is shown of, on any thread: learns of a request to
    /// stop, and shows nothing.
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

    /// Holds the output folder that `flag` names, after the files that the step will write in it
    /// are held against those that it reads. `names` are paths inside it; `*` stands for any text
    /// within a part.
    ///
    /// # Errors
    /// Where another run holds it; where an output would take the place of an input, or of another
    /// output.
    pub fn lock(&self, flag: &str, dir: &Path, names: &[impl AsRef<str>]) -> Result<OutputLock> {
        artifact::claim(flag, dir, names)?;
        Ok(OutputLock::acquire(dir, &self.program)?)
    }

    /// Says that `flag` names a file that the step will write, which no lock of a folder covers.
    ///
    /// # Errors
    /// Where it would take the place of an input, or of another output.
    pub fn claim_file(flag: &str, path: &Path) -> Result<()> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(artifact::claim(flag, dir, &[name])?)
    }

    /// Holds the one output file that `flag` names; `beside` are the names of others that the step
    /// will write in its folder.
    ///
    /// # Errors
    /// As [`Context::lock`].
    pub fn lock_file(&self, flag: &str, path: &Path, beside: &[impl AsRef<str>]) -> Result<OutputLock> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::claim_file(flag, path)?;
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

    /// What a report says of its run; of one that may have read private data, a public report says
    /// less.
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
            "wall_seconds": (!spare).then(|| to_milliseconds(self.started.elapsed().as_secs_f64())),
        });
        match envelope {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }
}

/// The vector instructions that libtorch picks; results are the same bytes only where this is the
/// same.
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

/// Seconds for a report, to the millisecond.
pub fn to_milliseconds(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
