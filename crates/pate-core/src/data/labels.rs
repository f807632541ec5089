use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use artifact::{Access, AtomicFile, FileRecord};
use tch::Tensor;

use crate::{Error, Result, tensor};

/// One class per record, each in `0..classes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    values: Vec<i64>,
    classes: i64,
}

impl Labels {
    /// Checks the range of labels that stand in `path`.
    ///
    /// # Errors
    /// The first label outside `0..classes`, with its position.
    pub fn new(path: &Path, values: Vec<i64>, classes: i64) -> Result<Self> {
        if let Some(at) = values.iter().position(|&v| v < 0 || v >= classes) {
            return Err(Error::content(
                path,
                format!("label {at} is {}", values[at]),
                format!("labels are 0..{}", classes - 1),
            ));
        }
        Ok(Self { values, classes })
    }

    /// Labels of a tensor file: integers, or floats without fractions, `[n]`.
    ///
    /// # Errors
    /// Names the file: another rank, other values.
    pub fn load(path: &Path, classes: i64) -> Result<Self> {
        let array = tensorfile::read(path)?.into_array()?;
        if array.shape().len() != 1 {
            return Err(Error::content(
                path,
                format!("it holds a tensor of shape {:?}", array.shape()),
                "labels are [n]",
            ));
        }
        let values =
            array.to_i64().map_err(|e| Error::content(path, e.to_string(), "labels are whole numbers"))?;
        Self::new(path, values, classes)
    }

    /// The classes, one per record.
    pub fn values(&self) -> &[i64] {
        &self.values
    }

    /// Number of classes.
    pub fn classes(&self) -> i64 {
        self.classes
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Int64 tensor `[n]`.
    pub fn tensor(&self) -> Tensor {
        tensor::from_i64(&self.values)
    }

    /// Records of each class, `[classes]`.
    pub fn counts(&self) -> Vec<u64> {
        let mut counts = vec![0; self.classes as usize];
        for &v in &self.values {
            counts[v as usize] += 1;
        }
        counts
    }

    /// The labels at `rows`, which must exist.
    pub(crate) fn select(&self, rows: &[i64]) -> Self {
        let values = rows.iter().map(|&r| self.values[r as usize]).collect();
        Self { values, classes: self.classes }
    }
}

/// Which columns a label file must have besides `label`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelColumn {
    /// `label` alone.
    Label,
    /// `label` and, where it is there, `confidence`.
    Confidence,
}

/// A row of a label file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelRow {
    /// The class.
    pub label: i64,
    /// The teacher's confidence, in `[0, 1]`; `None` where the file has no such column.
    pub confidence: Option<f32>,
}

/// Reads a CSV of labels. Columns are found by the names in its header; a byte order mark, CRLF and LF are all fine.
///
/// Rows stand in the order of the samples: where there is an `index` column, it must count from 0.
///
/// # Errors
/// Names the file and the line: no `label` column, a value that is no class in `0..classes`, an index out of order.
pub fn read_label_csv(path: &Path, classes: i64, columns: LabelColumn) -> Result<Vec<LabelRow>> {
    let file =
        File::open(path).map_err(|source| artifact::Error::Read { path: path.to_path_buf(), source })?;
    let mut text = Vec::new();
    BufReader::new(file)
        .read_to_end(&mut text)
        .map_err(|source| artifact::Error::Read { path: path.to_path_buf(), source })?;
    parse_label_csv(path, &text, classes, columns)
}

/// The line, counted from 1, of the record that was read at `start`. The reader's own count is one short after CRLF,
/// where it takes the next record to begin between the two.
fn line_of(text: &[u8], start: u64) -> usize {
    let start = (start as usize).min(text.len());
    let ends = text[start..].iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    text[..start + ends].split(|&b| b == b'\n').count()
}

fn parse_label_csv(path: &Path, text: &[u8], classes: i64, columns: LabelColumn) -> Result<Vec<LabelRow>> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
    let broken =
        |e: &csv::Error| Error::content(path, format!("it is no CSV ({e})"), "write it as index,label");
    let header = reader.headers().map_err(|e| broken(&e))?.clone();
    let column = |name: &str| header.iter().position(|h| h.trim_start_matches('\u{feff}') == name);
    let Some(label_at) = column("label") else {
        return Err(Error::content(
            path,
            format!("its header is `{}`", header.iter().collect::<Vec<_>>().join(",")),
            "the first line must name a column `label`",
        ));
    };
    let index_at = column("index");
    let confidence_at = if columns == LabelColumn::Confidence { column("confidence") } else { None };
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| broken(&e))?;
        let start = record.position().map_or(0, csv::Position::byte);
        let field = |at: usize| record.get(at).unwrap_or_default();
        let wrong = |what: &str, value: &str, allowed: String| {
            Error::content(path, format!("line {}: {what} is `{value}`", line_of(text, start)), allowed)
        };
        let label = field(label_at);
        let label = label
            .parse::<i64>()
            .ok()
            .filter(|v| (0..classes).contains(v))
            .ok_or_else(|| wrong("label", label, format!("labels are 0..{}", classes - 1)))?;
        if let Some(at) = index_at {
            let index = field(at);
            if index.parse() != Ok(rows.len()) {
                return Err(wrong("index", index, format!("rows are in order; {} belongs here", rows.len())));
            }
        }
        let confidence = match confidence_at {
            None => None,
            Some(at) => {
                let text = field(at);
                let value = text.parse::<f32>().ok().filter(|p| (0.0..=1.0).contains(p));
                Some(value.ok_or_else(|| wrong("confidence", text, "confidences are in [0, 1]".to_owned()))?)
            }
        };
        rows.push(LabelRow { label, confidence });
    }
    Ok(rows)
}

/// Writes a CSV with CRLF line ends (as Python's `csv` does), atomically.
///
/// # Errors
/// Where the file cannot be written.
pub fn write_csv(
    path: &Path,
    access: Access,
    header: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> Result<FileRecord> {
    let to_io = |e: csv::Error| artifact::Error::Write { path: path.to_path_buf(), source: e.into() };
    let file = AtomicFile::create(path, access)?;
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(file);
    writer.write_record(header).map_err(to_io)?;
    for row in rows {
        writer.write_record(row).map_err(to_io)?;
    }
    let file = writer
        .into_inner()
        .map_err(|e| artifact::Error::Write { path: path.to_path_buf(), source: e.into_error() })?;
    Ok(file.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<LabelRow>> {
        parse_label_csv(Path::new("labels.csv"), text.as_bytes(), 10, LabelColumn::Confidence)
    }

    #[test]
    fn columns_by_name_whatever_the_line_ends() {
        let expected =
            [LabelRow { label: 4, confidence: Some(0.5) }, LabelRow { label: 9, confidence: Some(1.0) }];
        assert_eq!(parse("index,label,confidence\r\n0,4,0.5\r\n1,9,1.0\r\n").unwrap(), expected);
        assert_eq!(parse("\u{feff}confidence,label\n0.5,4\n1,9\n").unwrap(), expected);
        assert_eq!(parse("index,label\n").unwrap(), []);
    }

    #[test]
    fn a_bad_row_is_named_by_its_line() {
        for (text, part) in [
            ("index,label\n0,4\n1,10\n", "line 3: label is `10`"),
            ("index,label\r\n0,4\r\n1,10\r\n", "line 3: label is `10`"),
            ("index,label\r\n\r\n0,4\r\n\r\n1,10\r\n", "line 5: label is `10`"),
            ("index,label\n0,4\n2,1\n", "line 3: index is `2`"),
            ("label,confidence\n4,NaN\n", "line 2: confidence is `NaN`"),
            ("index,class\n0,4\n", "`index,class`"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
