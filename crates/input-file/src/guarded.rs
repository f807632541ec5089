//! Work of a library that panics on some damaged files.

use std::thread;

/// Name of the thread that does such work.
const NAME: &str = "guarded";

/// What `read` gives, in a thread of its own; `None` where it panicked, or no thread could be had.
/// For libraries of others that panic where a file is damaged: of our own, a panic is a bug.
pub fn guarded<T: Send>(read: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(NAME.to_owned()).spawn_scoped(scope, read).ok()?;
        thread.join().ok()
    })
}

/// Whether this thread does such work, so that a panic is no news of a bug.
pub fn is_guarded() -> bool {
    thread::current().name() == Some(NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_nothing_and_a_result_comes_through() {
        assert_eq!(guarded(|| (7, is_guarded())), Some((7, true)));
        assert_eq!(guarded(|| -> i32 { panic!("damaged") }), None);
        assert!(!is_guarded());
    }
}
