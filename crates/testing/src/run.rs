//! One run of a program, and what it must have said.

use serde_json::Value;

/// What a run left on its standard streams, and its exit code.
#[derive(Debug)]
pub struct Run {
    /// The program and its words.
    pub line: String,
    /// The exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Run {
    /// Fails unless the run ended with code 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.ends_with(0)
    }

    /// Fails unless the run ended with this code.
    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "{}\nstdout:\n{}\nstderr:\n{}",
            self.line,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Fails unless standard error is one line that starts with `start` and has all `words`.
    #[track_caller]
    pub fn says_only(&self, start: &str, words: &[&str]) {
        self.check(self.code.unwrap_or(-1), start, words).unwrap();
    }

    /// Fails unless standard error has all `words`.
    #[track_caller]
    pub fn says(&self, words: &[&str]) {
        for word in words {
            assert!(self.stderr.contains(word), "{}\n{word:?} is not in:\n{}", self.line, self.stderr);
        }
    }

    /// Fails unless standard output has all `words`.
    #[track_caller]
    pub fn shows(&self, words: &[&str]) {
        for word in words {
            assert!(self.stdout.contains(word), "{}\n{word:?} is not in:\n{}", self.line, self.stdout);
        }
    }

    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// Whether the run ended with `code` and one line on standard error that starts with `start`
    /// and has all `words`.
    ///
    /// # Errors
    /// What is otherwise, for [`none_of`].
    pub fn check(&self, code: i32, start: &str, words: &[&str]) -> Result<(), String> {
        let line = self.stderr.strip_suffix('\n').unwrap_or(&self.stderr);
        let wrong = |what: String| Err(format!("{}\n  {what}: {line}\n", self.line));
        if self.code != Some(code) {
            return wrong(format!("code {:?} instead of {code}", self.code));
        }
        if line.contains('\n') || !line.starts_with(start) || line.contains("bug at") {
            return wrong(format!("not one line that starts with {start:?}"));
        }
        match words.iter().find(|word| !line.contains(*word)) {
            Some(word) => wrong(format!("{word:?} is missing")),
            None => Ok(()),
        }
    }
}

/// Fails with all the problems of a table, where there are some.
#[track_caller]
pub fn none_of(problems: impl Iterator<Item = Result<(), String>>) {
    let problems: Vec<String> = problems.filter_map(Result::err).collect();
    assert!(problems.is_empty(), "{} problems\n{}", problems.len(), problems.join(""));
}

/// A count in a report.
#[track_caller]
pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no count"))
}

/// The flag of `kill` that asks a program to stop: `-INT`, or `-TERM` where this process, and so
/// the programs that it starts, ignore the former, as they do in the background of a script.
pub fn interrupt() -> &'static str {
    const SIGINT_BIT: u64 = 1 << 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    if ignored & SIGINT_BIT == 0 { "-INT" } else { "-TERM" }
}
