//! Findings as text: one line for each fact.

use std::fmt::Write as _;

use serde_json::Value;

use super::arrays::ArrayInfo;
use super::finding::{Finding, Privacy};

/// Lines of one kind that are shown; the JSON has all.
const MAX_LINES: usize = 60;

/// Longer texts are cut.
const LONGEST: usize = 400;

pub(crate) fn one_line(text: &str) -> String {
    program::one_line(text, LONGEST)
}

/// A finding and what is in it.
pub(crate) fn render(finding: &Finding) -> String {
    let mut text = String::new();
    push(finding, "", &mut text);
    text
}

fn push(finding: &Finding, indent: &str, text: &mut String) {
    let _ = writeln!(text, "{indent}{}", one_line(&finding.path.to_string_lossy()));
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{indent}  {name:<9}{}", one_line(value));
    };
    let bytes = finding.bytes.map_or_else(String::new, |n| format!(", {n} bytes"));
    line("format", &format!("{}{bytes}", finding.format));
    if let Some(is) = &finding.is {
        line("is", is);
    }
    if finding.program {
        line("program", "holds a TorchScript program: not run");
    }
    if let Some(sha256) = &finding.sha256 {
        line("sha256", sha256);
    }
    listed("array", finding.arrays.iter().map(array), &mut line);
    listed(
        "field",
        finding.fields.iter().map(|(name, value)| format!("{name}: {}", plain(value))),
        &mut line,
    );
    line("privacy", &privacy(&finding.privacy));
    if let Some(report) = &finding.report {
        let state = if report.unchanged { "same hash" } else { "changed since" };
        line("report", &format!("{} ({state})", report.path.display()));
    }
    for role in ["input", "output"] {
        let files = finding.files.iter().filter(|file| file.role == role);
        listed(role, files.map(|file| format!("{:<8} {}", file.state, file.path.display())), &mut line);
    }
    listed("PROBLEM", finding.problems.iter().cloned(), &mut line);
    for entry in &finding.entries {
        push(entry, &format!("{indent}  "), text);
    }
}

fn listed(name: &str, lines: impl Iterator<Item = String>, line: &mut impl FnMut(&str, &str)) {
    let mut left = 0;
    for (n, text) in lines.enumerate() {
        if n < MAX_LINES {
            line(name, &text);
        } else {
            left += 1;
        }
    }
    if left > 0 {
        line(name, &format!("... and {left} more (--json has all)"));
    }
}

fn array(array: &ArrayInfo) -> String {
    let name = if array.name.is_empty() {
        String::new()
    } else {
        format!("{}  ", program::one_line(&array.name, 80))
    };
    let number = |x: Option<f64>| x.map_or_else(|| "-".to_owned(), six_digits);
    let mut text = format!(
        "{name}{} {:?}  min {}  max {}  mean {}  NaN {}",
        array.dtype,
        array.shape,
        number(array.min),
        number(array.max),
        number(array.mean),
        array.nan
    );
    if array.infinite > 0 {
        let _ = write!(text, "  infinite {}", array.infinite);
    }
    text
}

fn privacy(privacy: &Privacy) -> String {
    let reason = privacy.reason.as_deref().unwrap_or("no reason given");
    match privacy.label {
        "none" => format!("no formal guarantee: {reason}"),
        "dp" => format!("formal guarantee {}: {reason}", privacy.formal_guarantee),
        "void" => format!("void, no claim of any kind: {reason}"),
        label => format!("{label}: {reason}"),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Six digits, and an exponent where the number is very large or small.
fn six_digits(x: f64) -> String {
    let rounded = format!("{x:.5e}").parse().unwrap_or(x);
    if rounded == 0.0 || (1e-4..1e16).contains(&f64::abs(rounded)) {
        format!("{rounded}")
    } else {
        format!("{rounded:e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_six_digits() {
        let cases = [
            (0.0, "0"),
            (1.0 / 3.0, "0.333333"),
            (59_999.0, "59999"),
            (-2.5e-9, "-2.5e-9"),
            (1e300, "1e300"),
            (0.123_456_789, "0.123457"),
        ];
        for (x, text) in cases {
            assert_eq!(six_digits(x), text);
        }
    }
}
