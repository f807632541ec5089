//! What a program does when the system, or the person before it, sends a signal.
//!
//! The first request to stop (Ctrl-C, SIGTERM, SIGHUP, or what Windows has for them) is passed on,
//! and the program stops after the work in hand. The second one ends it at once, without
//! destructors: those of libtorch, run under threads that still compute, end in a crash. Signals
//! that this program was started to ignore, as `nohup` and a shell's `&` do, stay ignored; only
//! Linux tells which those are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::{Exit, eprint_line};

/// How long a message to a terminal that takes none may hold a request up.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long the end may take that a second request asks for.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Sets `stop` at the first request to stop. At the second one, calls `leave` and ends the process
/// with [`Exit::Stopped`].
///
/// # Errors
/// Where the system takes no handler.
pub fn listen(stop: Arc<AtomicBool>, leave: fn()) -> std::io::Result<()> {
    let mut first = Some(stop);
    system::on_request(move || {
        if let Some(stop) = first.take() {
            within(PATIENCE, || eprint_line("stopping after the work in hand (again: at once)"));
            stop.store(true, Ordering::Relaxed);
        } else {
            within(LAST_WORDS, leave);
            system::end(Exit::Stopped as i32)
        }
    })
}

/// Waits for the end of `work`, but no longer than that.
fn within(time: Duration, work: impl FnOnce() + Send + 'static) {
    let (done, wait) = channel();
    let work = move || {
        work();
        // Nobody waits any more after that time.
        let _ = done.send(());
    };
    if std::thread::Builder::new().spawn(work).is_ok() {
        let _ = wait.recv_timeout(time);
    }
}

/// A file that may not grow any further (`ulimit -f`) is an error from here on, not the end of the
/// process.
pub(crate) fn survive_full_files() {
    system::survive_full_files();
}

#[cfg(unix)]
mod system {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
    use signal_hook::iterator::Signals;

    /// Calls `request` for each request to stop, in a thread of its own.
    pub(super) fn on_request(mut request: impl FnMut() + Send + 'static) -> std::io::Result<()> {
        let mut signals =
            Signals::new([SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !is_ignored(*signal)))?;
        let listener = move || {
            for _ in signals.forever() {
                request();
            }
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(listener)?;
        Ok(())
    }

    pub(super) fn end(code: i32) -> ! {
        signal_hook::low_level::exit(code)
    }

    pub(super) fn survive_full_files() {
        // Whoever ignores it has what is wanted here.
        if !is_ignored(SIGXFSZ) {
            let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
        }
    }

    /// Whether this process was started with the signal ignored.
    fn is_ignored(signal: i32) -> bool {
        cfg!(target_os = "linux")
            && std::fs::read_to_string("/proc/self/status")
                .is_ok_and(|status| super::is_in_mask(&status, "SigIgn:", signal))
    }
}

#[cfg(not(unix))]
mod system {
    pub(super) fn on_request(request: impl FnMut() + Send + 'static) -> std::io::Result<()> {
        ctrlc::set_handler(request).map_err(std::io::Error::other)
    }

    #[expect(clippy::exit, reason = "a second request to stop; Windows ends all other threads first")]
    pub(super) fn end(code: i32) -> ! {
        std::process::exit(code)
    }

    pub(super) fn survive_full_files() {}
}

/// Whether a signal is in a mask of `/proc/<id>/status`.
#[cfg(any(unix, test))]
fn is_in_mask(status: &str, name: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix(name));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    u32::try_from(signal - 1).is_ok_and(|bit| mask.checked_shr(bit).unwrap_or(0) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attacks, row 11.
    #[test]
    fn masks_are_read_as_proc_writes_them() {
        // What Linux shows of a process under nohup with SIGPIPE ignored: SIGHUP is 1, SIGPIPE 13.
        let status =
            "Name:\tx\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n";
        let ignored: Vec<i32> = (0..=64).filter(|&signal| is_in_mask(status, "SigIgn:", signal)).collect();
        assert_eq!(ignored, [1, 13]);
        assert!(!is_in_mask("SigIgn:\tno number\n", "SigIgn:", 1) && !is_in_mask("", "SigIgn:", 1));
    }

    #[test]
    fn what_takes_too_long_is_not_waited_for() {
        let start = std::time::Instant::now();
        within(Duration::from_millis(10), || std::thread::sleep(Duration::from_mins(10)));
        assert!(start.elapsed() < Duration::from_mins(5));
    }
}
