//! JSON files: reports, shard indices, shard metadata, configurations.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Result, bail};
use artifact::StoredReport;
use serde_json::{Map, Value};

use super::finding::Finding;
use super::known::Known;
use super::report;

/// The sections of a configuration are those of its schema.
const SCHEMA: &str = include_str!("../../../../config/synthetic_generation.schema.json");

pub(crate) fn inspect(path: &Path, text: &str, known: &mut Known) -> Result<Finding> {
    let value = match artifact::json::parse(text) {
        Ok(value) => value,
        Err(error) => bail!("{}: broken JSON file: {error}; make it again", path.display()),
    };
    // Only what may be a report is copied.
    if value.get("formal_guarantee").is_some()
        && let Some(report) = StoredReport::from_json(path, value.clone())
    {
        return Ok(report::inspect(&report, known));
    }
    let mut finding = Finding { format: "JSON".to_owned(), ..Finding::default() };
    let Value::Object(fields) = value else { return Ok(finding) };
    if let Some(rows) = shard_indices(&fields) {
        let n: usize = rows.iter().map(Vec::len).sum();
        let distinct: HashSet<u64> = rows.iter().flatten().copied().collect();
        finding.is = Some(format!("shard indices: {} teachers, {n} rows", rows.len()));
        finding.field("rows_in_two_shards", n - distinct.len());
    } else if fields.contains_key("class_distribution") && fields.contains_key("shard_size") {
        finding.is = Some("metadata of a private shard".to_owned());
        finding.fields = fields;
    } else if is_config(&fields) {
        finding.is = Some("configuration".to_owned());
        finding.field("sections", fields.keys().filter(|key| *key != "$schema").cloned().collect::<Vec<_>>());
    } else {
        finding.field("keys", fields.keys().take(20).cloned().collect::<Vec<_>>());
    }
    Ok(finding)
}

fn shard_indices(fields: &Map<String, Value>) -> Option<Vec<Vec<u64>>> {
    let rows = |(key, value): (&String, &Value)| {
        key.parse::<u64>().ok()?;
        value.as_array()?.iter().map(Value::as_u64).collect::<Option<Vec<u64>>>()
    };
    (!fields.is_empty()).then(|| fields.iter().map(rows).collect()).flatten()
}

fn is_config(fields: &Map<String, Value>) -> bool {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap_or_default();
    let Some(known) = schema.get("properties").and_then(Value::as_object) else { return false };
    !fields.is_empty() && fields.keys().all(|key| known.contains_key(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Finding {
        inspect(Path::new("a.json"), text, &mut Known::default()).unwrap()
    }

    #[test]
    fn kinds_are_told_by_their_keys() {
        let indices = of(r#"{"0": [1, 2], "7": [2]}"#);
        assert_eq!(indices.is.unwrap(), "shard indices: 2 teachers, 3 rows");
        assert_eq!(indices.fields["rows_in_two_shards"], 1);
        let metadata = of(r#"{"teacher_id": 0, "shard_size": 3, "class_distribution": {"1": 3}}"#);
        assert_eq!(metadata.is.unwrap(), "metadata of a private shard");
        assert_eq!(of(r#"{"filtering": {}, "generation": {}}"#).is.unwrap(), "configuration");
        for text in ["{}", "[]", "3", r#"{"0": [1.5]}"#, r#"{"filtering": {}, "mine": 1}"#] {
            assert_eq!(of(text).is, None, "{text}");
        }
    }

    /// Attacks, row 6; field cases, row 5.
    #[test]
    fn broken_files_are_errors() {
        let many = format!("[{}[0]]", "[0],".repeat(artifact::json::MAX_VALUES));
        let twice = r#"{"0": [1], "0": [2]}"#;
        for text in ["", "{", "nul", &"[".repeat(100_000), &many, twice] {
            let error = inspect(Path::new("a.json"), text, &mut Known::default()).unwrap_err().to_string();
            assert!(error.starts_with("a.json: broken JSON file: ") && !error.contains('\n'), "{error}");
        }
    }
}
