//! CSV files: labels, teacher ids, lists of images.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::finding::Finding;

/// More distinct labels than this are only counted.
const MAX_CLASSES: usize = 100;

/// A table of more columns is none of these steps, and would take memory out of proportion.
const MAX_COLUMNS: usize = 10_000;

pub(crate) fn inspect(path: &Path, text: &str) -> Result<Finding> {
    let broken = || format!("{}: broken CSV file", path.display());
    // Each field costs many times its bytes.
    let too_wide = |commas: usize| commas >= MAX_COLUMNS;
    if let Some(line) = text.lines().position(|line| too_wide(line.matches(',').count())) {
        bail!(
            "{}: broken CSV file: line {} has more than {MAX_COLUMNS} columns; make it again",
            path.display(),
            line + 1
        );
    }
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().with_context(broken)?.clone();
    if too_wide(header.len()) {
        bail!("{}: broken CSV file: it has {} columns; make it again", path.display(), header.len());
    }
    let column = |name: &str| header.iter().position(|column| column == name);
    let (label, confidence) = (column("label"), column("confidence"));
    let mut rows = 0u64;
    let mut classes: BTreeMap<i64, u64> = BTreeMap::new();
    let (mut sum, mut least, mut most) = (0.0, f64::INFINITY, f64::NEG_INFINITY);
    for record in reader.records() {
        let record = record.with_context(broken)?;
        let line = record.position().map_or(0, csv::Position::line);
        if let Some(text) = label.and_then(|column| record.get(column)) {
            match text.trim().parse() {
                Ok(class) => *classes.entry(class).or_default() += 1,
                Err(_) => bail!(
                    "{}: line {line} has the label `{}`, which is no whole number",
                    path.display(),
                    program::one_line(text, 80)
                ),
            }
        }
        if let Some(text) = confidence.and_then(|column| record.get(column)) {
            match text.trim().parse::<f64>().ok().filter(|x| x.is_finite()) {
                Some(x) => {
                    sum += x;
                    (least, most) = (least.min(x), most.max(x));
                }
                None => bail!(
                    "{}: line {line} has the confidence `{}`, which is no number",
                    path.display(),
                    program::one_line(text, 80)
                ),
            }
        }
        rows += 1;
    }
    let mut finding = Finding { format: "CSV".to_owned(), ..Finding::default() };
    finding.is = match (label, column("teacher_id"), column("file_name")) {
        (Some(_), _, Some(_)) => Some(format!("list of {rows} images with their classes")),
        (Some(_), ..) => Some(format!("labels: {rows}")),
        (None, Some(_), _) => Some(format!("teacher ids: {rows}")),
        _ => None,
    };
    finding.field("columns", header.iter().map(str::to_owned).collect::<Vec<_>>());
    finding.field("rows", rows);
    if label.is_some() {
        let n = classes.len();
        let counts = || classes.iter().map(|(class, n)| (class.to_string(), json!(n))).collect();
        finding.field("classes", if n <= MAX_CLASSES { Value::Object(counts()) } else { json!(n) });
    }
    if confidence.is_some() && rows > 0 {
        finding.field("confidence", json!({"min": least, "mean": sum / rows as f64, "max": most}));
    }
    Ok(finding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Finding> {
        inspect(Path::new("labels.csv"), text)
    }

    #[test]
    fn labels_are_counted_by_class() {
        let finding = of("index,label,confidence\r\n0,3,0.5\r\n1,3,1.0\r\n2,0,0.75\r\n").unwrap();
        assert_eq!(finding.is.as_deref(), Some("labels: 3"));
        assert_eq!(finding.fields["classes"], json!({"0": 1, "3": 2}));
        assert_eq!(finding.fields["confidence"], json!({"min": 0.5, "mean": 0.75, "max": 1.0}));
        assert_eq!(of("index,label\r\n").unwrap().is.as_deref(), Some("labels: 0"));
        assert_eq!(of("index,teacher_id\n0,4\n").unwrap().is.as_deref(), Some("teacher ids: 1"));
        assert_eq!(of("a,b\n1,2\n").unwrap().is, None);
    }

    /// Attacks, row 6: among them tables of very many columns.
    #[test]
    fn broken_tables_are_errors_of_one_line() {
        let wide = format!("index{}\n", ",".repeat(MAX_COLUMNS));
        let rows = format!("index,label\n0,1{}\n", ",".repeat(MAX_COLUMNS));
        for text in [
            &wide,
            &rows,
            "index,label\n0,cat\n",
            "index,label\n0\n",
            "label,confidence\n1,NaN\n",
            "index,label\n0,\"\n\n",
        ] {
            let error = format!("{:#}", of(text).unwrap_err());
            assert!(error.starts_with("labels.csv: ") && !error.contains('\n'), "{error}");
        }
    }
}
