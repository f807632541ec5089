//! What test runners said: how many tests passed and failed, and what skipped itself.

use std::process::ExitCode;

/// Counts of tests, and the `skipped: ...` lines that tests printed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Tests that ran to a good end; one that skipped itself is among them.
    pub(crate) passed: usize,
    /// Tests that failed.
    pub(crate) failed: usize,
    /// Tests that a runner left out: `ignored`.
    left_out: usize,
    /// Why, for those that say it.
    reasons: Vec<String>,
    /// What tests said that they could not look at, without the word itself.
    skipped: Vec<String>,
}

impl Report {
    /// Reads one line of what `cargo test` prints.
    pub(crate) fn read_line(&mut self, line: &str) {
        if let Some(counts) = line.trim_start().strip_prefix("test result: ") {
            let count = |word: &str| {
                let part = counts.split(['.', ';']).find_map(|part| part.trim().strip_suffix(word))?;
                part.trim().parse::<usize>().ok()
            };
            self.passed += count("passed").unwrap_or(0);
            self.failed += count("failed").unwrap_or(0);
            self.left_out += count("ignored").unwrap_or(0);
        } else if let Some(reason) = line.trim_start().strip_prefix("skipped: ") {
            self.skipped.push(reason.trim().to_owned());
        } else if let Some(ignored) = line.trim_end().strip_suffix("... ignored")
            && let Some((reason, _)) = ignored.strip_prefix("test [").and_then(|rest| rest.split_once(']'))
        {
            self.reasons.push(reason.to_owned());
        }
    }

    /// Reads the report that nextest writes for machines.
    pub(crate) fn from_junit(xml: &str) -> Self {
        let mut report = Self::default();
        for line in xml.lines() {
            let line = line.trim_start();
            if line.starts_with("<testsuites") {
                let count = |name: &str| attribute(line, name).and_then(|n| n.parse().ok()).unwrap_or(0);
                report.failed = count("failures") + count("errors");
                report.passed = count("tests").saturating_sub(report.failed);
            }
            let text = line.trim_start_matches("<system-out>").trim_start_matches("<system-err>");
            if let Some(reason) = text.strip_prefix("skipped: ") {
                let reason = reason.split("</system-").next().unwrap_or(reason);
                report.skipped.push(unescape(reason.trim()));
            }
        }
        report
    }

    /// Adds what another run said.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.left_out += other.left_out;
        self.skipped.extend(other.skipped);
        self.reasons.extend(other.reasons);
    }

    /// Prints each skip once with its number, then the counts.
    pub(crate) fn print(&self) {
        let mut reasons: Vec<_> = self.skipped.iter().chain(&self.reasons).collect();
        reasons.sort();
        for same in reasons.chunk_by(|a, b| a == b) {
            println!("skipped: {} ({})", same[0], same.len());
        }
        println!("{}", self.summary());
    }

    /// A test that skipped itself counts as skipped, not as passed.
    fn summary(&self) -> String {
        let n_skipped = self.skipped.len() + self.left_out;
        let n_passed = self.passed.saturating_sub(self.skipped.len());
        format!("{n_passed} passed, {} failed, {n_skipped} skipped", self.failed)
    }

    /// Failure where a test failed.
    pub(crate) fn exit_code(&self) -> ExitCode {
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let start = tag.find(&format!(" {name}=\""))? + name.len() + 3;
    tag[start..].split('"').next()
}

fn unescape(text: &str) -> String {
    [("&quot;", "\""), ("&apos;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")]
        .iter()
        .fold(text.to_owned(), |text, (entity, plain)| text.replace(entity, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_case_counts_as_skipped_and_its_reason_is_kept() {
        let mut report = Report::default();
        report.read_line("test [needs the whole folder] steering/without_noise ... ignored");
        report.read_line("test result: ok. 17 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        assert_eq!(report.summary(), "17 passed, 0 failed, 1 skipped");
        assert_eq!(report.reasons, ["needs the whole folder"]);
    }

    #[test]
    fn lines_of_cargo_test_are_counted() {
        let mut report = Report::default();
        let output = "running 3 tests
test a ... ok
skipped: no folder ../shared/conformance
test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
test result: FAILED. 1 passed; 2 failed; 4 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        output.lines().for_each(|line| report.read_line(line));
        assert_eq!((report.passed, report.failed), (4, 2));
        assert_eq!(report.summary(), "3 passed, 2 failed, 5 skipped");
        assert_eq!(report.exit_code(), ExitCode::FAILURE);
    }

    #[test]
    fn a_junit_report_is_counted() {
        // Shortened from what nextest 0.9.114 writes.
        let xml = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="9" failures="1" errors="1" uuid="0" time="0.2">
    <testsuite name="xtask" tests="9" disabled="0" errors="1" failures="1">
        <testcase name="a" classname="xtask" time="0.005">
            <system-out>
running 1 test
skipped: no &quot;a&quot; &amp; no b
test a ... ok
</system-out>
            <system-err>skipped: c</system-err>"#;
        let mut report = Report::from_junit(xml);
        assert_eq!((report.passed, report.failed), (7, 2));
        assert_eq!(report.skipped, ["no \"a\" & no b", "c"]);
        report.add(Report { passed: 1, ..Report::default() });
        assert_eq!(report.summary(), "6 passed, 2 failed, 2 skipped");
    }

    #[test]
    fn nothing_run_is_no_failure() {
        assert_eq!(Report::from_junit(""), Report::default());
        assert_eq!(Report::default().exit_code(), ExitCode::SUCCESS);
    }
}
