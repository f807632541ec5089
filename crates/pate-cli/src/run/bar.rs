//! Progress on a terminal, and the request to stop.

use std::cell::RefCell;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use pate_core::base::progress::Progress;

/// Progress on standard error: a bar on a terminal, else one line per note.
pub(crate) struct Bar {
    quiet: bool,
    terminal: bool,
    stop: Arc<AtomicBool>,
    phase: RefCell<Option<Phase>>,
}

struct Phase {
    what: String,
    total: u64,
    done: u64,
    bar: Option<ProgressBar>,
}

impl Bar {
    pub(crate) fn new(quiet: bool, stop: Arc<AtomicBool>) -> Self {
        Self { quiet, terminal: std::io::stderr().is_terminal(), stop, phase: RefCell::new(None) }
    }

    /// Learns of a request to stop, and shows nothing.
    pub(crate) fn watch(&self) -> StopOnly {
        StopOnly(Arc::clone(&self.stop))
    }

    fn line(text: &str) {
        // A closed pipe is no reason to stop working.
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

/// Passes a request to stop on, from any thread, and shows nothing.
pub struct StopOnly(Arc<AtomicBool>);

impl Progress for StopOnly {
    fn start(&self, _: &str, _: u64) {}
    fn advance(&self, _: u64, _: &str) {}
    fn finish(&self) {}
    fn say(&self, _: &str) {}
    fn stop_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Progress for Bar {
    fn start(&self, what: &str, total: u64) {
        let bar = (self.terminal && !self.quiet).then(|| {
            let bar = ProgressBar::new(total);
            let style = ProgressStyle::with_template(
                "{prefix:>12} [{bar:32}] {human_pos}/{human_len} {per_sec} eta {eta} {msg}",
            );
            if let Ok(style) = style {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(what.to_owned());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        *self.phase.borrow_mut() = Some(Phase { what: what.to_owned(), total, done: 0, bar });
    }

    fn advance(&self, n: u64, note: &str) {
        let mut phase = self.phase.borrow_mut();
        let Some(phase) = phase.as_mut() else { return };
        phase.done += n;
        match &phase.bar {
            Some(bar) => {
                bar.inc(n);
                bar.set_message(note.to_owned());
            }
            None if !self.quiet && !note.is_empty() => {
                Self::line(&format!("{} {}/{}: {note}", phase.what, phase.done, phase.total));
            }
            None => {}
        }
    }

    fn finish(&self) {
        if let Some(Phase { bar: Some(bar), .. }) = self.phase.borrow_mut().take() {
            bar.finish();
        }
    }

    fn say(&self, text: &str) {
        if self.quiet {
            return;
        }
        match self.phase.borrow().as_ref().and_then(|phase| phase.bar.as_ref()) {
            Some(bar) => bar.suspend(|| Self::line(text)),
            None => Self::line(text),
        }
    }

    fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
