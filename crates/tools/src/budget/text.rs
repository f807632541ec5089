//! What people read.

use std::fmt::Write as _;

use program::{Align, Table};
use serde_json::Value;

/// A line for each figure of each case.
pub(crate) fn costs(value: &Value) -> String {
    let mut out = String::new();
    for case in value["cases"].as_array().into_iter().flatten() {
        let _ =
            writeln!(out, "{}  {}, delta {}", plain(&case["id"]), plain(&case["mechanism"]), case["delta"]);
        for (name, figure) in case.as_object().into_iter().flatten() {
            if !name.starts_with("epsilon") {
                continue;
            }
            let _ = match figure {
                _ if figure["error"].is_string() => {
                    writeln!(out, "  {name:<34} - {}", plain(&figure["error"]))
                }
                Value::Object(parts) if !parts.contains_key("value") => {
                    let all: Vec<String> =
                        parts.iter().map(|(name, value)| format!("{name} {}", number(value))).collect();
                    writeln!(out, "  {name:<34} {}", all.join(", "))
                }
                Value::Object(parts) => {
                    let at = parts
                        .get("order")
                        .map(|order| format!("  at order {}", number(order)))
                        .unwrap_or_default();
                    writeln!(out, "  {name:<34} {}{at}", number(&figure["value"]))
                }
                other => writeln!(out, "  {name:<34} {}", number(other)),
            };
        }
        for part in case["parts"].as_array().into_iter().flatten() {
            let _ = writeln!(out, "  {} of {}", part["count"], plain(&part["words"]));
        }
        if let Some(note) = case["note"].as_str() {
            let _ = writeln!(out, "  {note}");
        }
        if let Some(warning) = case["not_releasable"].as_str() {
            let _ = writeln!(out, "  {warning}");
        }
    }
    out
}

/// Rows and columns.
pub(crate) fn table(value: &Value) -> String {
    let votes = value["mechanism"] == "gnmax";
    let (row, column, cell) =
        if votes { ("target_epsilon", "answers", "sigma2") } else { ("sigma", "steps", "epsilon") };
    let cells: Vec<&Value> = value["rows"].as_array().into_iter().flatten().collect();
    let mut columns: Vec<String> = Vec::new();
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    let mut notes = Vec::new();
    for entry in cells {
        let name = entry[column].to_string();
        if !columns.contains(&name) {
            columns.push(name);
        }
        let key = entry[row].to_string();
        if rows.last().is_none_or(|(last, _)| *last != key) {
            rows.push((key, Vec::new()));
        }
        let error = entry["error"].as_str();
        if let Some((_, values)) = rows.last_mut() {
            values.push(if error.is_some() { "-".to_owned() } else { number(&entry[cell]) });
        }
        if let Some(reason) = error {
            let mut note = format!("{row} {}, {column} {}: {reason}", entry[row], entry[column]);
            if let Some(renyi) = entry.get("epsilon_rdp") {
                let _ = write!(note, "; by Renyi divergences epsilon is at most {}", number(renyi));
            }
            notes.push(note);
        }
    }
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{} by {}; {}, delta {}",
        if votes { "smallest integer sigma" } else { "epsilon" },
        plain(&value["accountant"]),
        plain(&value["adjacency"]),
        value["delta"]
    );
    let header = std::iter::once(format!("{row} / {column}")).chain(columns);
    let mut table = Table::new(header.map(|name| (name, Align::Right)));
    for (name, values) in rows {
        table.row(std::iter::once(name).chain(values));
    }
    let _ = writeln!(out, "{}", table.text());
    for note in notes {
        let _ = writeln!(out, "- {note}");
    }
    out
}

/// What a ledger says.
pub(crate) fn ledger(value: &Value) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "data set   {}", plain(&value["dataset"]));
    let _ = writeln!(out, "protects   {} ({})", plain(&value["unit"]), plain(&value["adjacency"]));
    let budget = &value["budget"];
    let _ = writeln!(
        out,
        "budget     epsilon {} at delta {}, counted by {}",
        budget["epsilon"],
        budget["delta"],
        plain(&budget["accountant"])
    );
    let _ = writeln!(out, "stamp      {}", plain(&value["stamp"]));
    let fraction = value["fraction_spent"].as_f64().unwrap_or(f64::NAN);
    let _ =
        writeln!(out, "spent      {:.2}% of the budget, in {} entries", 100.0 * fraction, value["entries"]);
    for charged in value["charged"].as_array().into_iter().flatten() {
        let _ = writeln!(out, "           {} of {}", charged["count"], plain(&charged["words"]));
    }
    let open: Vec<String> =
        value["intents_without_result"].as_array().into_iter().flatten().map(Value::to_string).collect();
    if !open.is_empty() {
        let _ = writeln!(
            out,
            "lost       entries {}: spent without a result; they are not drawn again",
            open.join(", ")
        );
    }
    if value["bytes_cut_off_at_the_end"] != 0 {
        let _ = writeln!(
            out,
            "cut off    {} bytes at the end: a write that never finished",
            value["bytes_cut_off_at_the_end"]
        );
    }
    let _ = writeln!(out, "{}", plain(&value["sentence"]));
    out
}

/// Fields that are results: more noise than they say is as good, a larger epsilon as true.
const COMPUTED: [&str; 5] = ["sigma", "sigma2", "sigma_exact", "sigma2_exact", "epsilon"];

/// A field per line; nested ones are left to JSON.
pub(crate) fn fields(value: &Value) -> String {
    let mut out = String::new();
    for error in value["errors"].as_array().into_iter().flatten() {
        let _ = writeln!(
            out,
            "left out         {} after {} steps: {}",
            error["curve"],
            error["steps"],
            plain(&error["error"])
        );
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        let value = match value {
            Value::Null | Value::Array(_) => continue,
            Value::Object(parts) => match parts.get("path") {
                Some(path) => plain(path),
                None => continue,
            },
            // What was computed, upwards; what was given, as it was given.
            computed if COMPUTED.contains(&name.as_str()) => number(computed),
            other => plain(other),
        };
        let _ = writeln!(out, "{name:<16} {value}");
    }
    out
}

/// Longer texts are cut.
const LONGEST: usize = 400;

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), |text| program::one_line(text, LONGEST))
}

/// Six decimals, rounded up: a cost is never shown smaller than it is. JSON has no infinity, so
/// null is one.
fn number(value: &Value) -> String {
    match value {
        Value::Null => "infinite".to_owned(),
        Value::Number(number) if number.is_f64() => {
            let value = number.as_f64().unwrap_or(f64::NAN);
            let up = (value * 1e6).ceil() / 1e6;
            if up < value { format!("{:.6}", up + 1e-6) } else { format!("{up:.6}") }
        }
        other => other.to_string(),
    }
}
