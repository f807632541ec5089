//! Class labels, and the CSV files that hold them.

use std::path::Path;

use artifact::{Access, AtomicFile, FileRecord};
use tch::Tensor;
use tensorfile::Array;

use crate::base::tensor;
use crate::{Error, Result};

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

    /// Labels of a tensor file: integers, or floats without fractions, `[n]` or `[n, 1]`.
    ///
    /// # Errors
    /// Names the file: another rank, other values.
    pub fn load(path: &Path, classes: i64) -> Result<Self> {
        Self::from_array(path, &tensorfile::read(path)?.into_array()?, classes)
    }

    pub(crate) fn from_array(path: &Path, array: &Array, classes: i64) -> Result<Self> {
        if !matches!(array.shape(), [_] | [_, 1]) {
            return Err(Error::content(
                path,
                format!("it holds a tensor of shape {:?}", array.shape()),
                "labels are one number per image, [n]",
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
    /// `public_label` in the place of `label`: what the public data set says of an image that a
    /// private classifier labels otherwise.
    Public,
}

/// A row of a label file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelRow {
    /// The class.
    pub label: i64,
    /// The teacher's confidence, in `[0, 1]`; `None` where the file has no such column.
    pub confidence: Option<f32>,
}

/// Reads a CSV of labels, in UTF-8 or in UTF-16 with a mark. Columns are found by the names in its
/// header, in any case; a byte order mark, CRLF and LF are all fine.
///
/// Rows stand in the order of the samples. A column that numbers the rows in another order,
/// whatever its name, is an error: labels would go to other images.
///
/// # Errors
/// Names the file and the line: no `label` column or two of a name, a value that is no class in
/// `0..classes`, rows in another order.
pub fn read_label_csv(path: &Path, classes: i64, columns: LabelColumn) -> Result<Vec<LabelRow>> {
    let text = input_file::read_text(path, input_file::CSV)
        .map_err(|source| artifact::Error::Read { path: path.to_path_buf(), source })?;
    parse_label_csv(path, text.as_bytes(), classes, columns)
}

/// [`read_label_csv`] for the `n` images of the file `samples`.
///
/// # Errors
/// As there; also another number of labels than images.
pub fn read_labels_of(
    samples: &Path,
    n: usize,
    path: &Path,
    classes: i64,
    columns: LabelColumn,
) -> Result<Vec<LabelRow>> {
    let rows = read_label_csv(path, classes, columns)?;
    if rows.len() != n {
        return Err(Error::content(
            path,
            format!("{} labels, but {} has {n} samples", rows.len(), samples.display()),
            "give the two files of one run",
        ));
    }
    Ok(rows)
}

/// The line, counted from 1, of the record that was read at `start`. The reader's own count is one
/// short after CRLF, where it takes the next record to begin between the two.
fn line_of(text: &[u8], start: u64) -> usize {
    let start = (start as usize).min(text.len());
    let ends = text[start..].iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    text[..start + ends].split(|&b| b == b'\n').count()
}

/// A longer line is no row of labels; the reader takes many times a line's length in memory.
const LONGEST_LINE: usize = 1 << 16;

/// Columns whose values are whole numbers for other reasons than to number the rows.
const OTHER_COLUMNS: [&str; 7] =
    ["label", "confidence", "teacher", "teacher_id", "class", "assigned", "public_label"];

/// Names of columns that number the rows; pandas gives its index none, and reads it back as the
/// second.
const INDEX_COLUMNS: [&str; 4] = ["", "index", "unnamed: 0", "idx"];

fn parse_label_csv(path: &Path, text: &[u8], classes: i64, columns: LabelColumn) -> Result<Vec<LabelRow>> {
    if let Some(at) = text.split(|&b| matches!(b, b'\n' | b'\r')).position(|line| line.len() > LONGEST_LINE) {
        return Err(Error::content(
            path,
            format!("line {} is longer than {LONGEST_LINE} bytes", at + 1),
            "write it as index,label, a line per sample",
        ));
    }
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
    let broken =
        |e: &csv::Error| Error::content(path, format!("it is no CSV ({e})"), "write it as index,label");
    let header = reader.headers().map_err(|e| broken(&e))?.clone();
    let names: Vec<String> =
        header.iter().map(|name| name.trim_start_matches('\u{feff}').trim().to_lowercase()).collect();
    let column = |name: &str| {
        let mut found = names.iter().enumerate().filter(|(_, other)| *other == name).map(|(at, _)| at);
        match (found.next(), found.next()) {
            (Some(a), Some(b)) => Err(Error::content(
                path,
                format!("its columns {} and {} are both called `{name}`", a + 1, b + 1),
                "keep one of them",
            )),
            (first, _) => Ok(first),
        }
    };
    let wanted = if columns == LabelColumn::Public { "public_label" } else { "label" };
    let Some(label_at) = column(wanted)? else {
        let line = header.iter().collect::<Vec<_>>().join(",");
        let hint = if line.contains([';', '\t']) {
            format!("the first line must name a column `{wanted}`, and commas must stand between columns")
        } else {
            format!("the first line must name a column `{wanted}`")
        };
        return Err(Error::content(path, format!("its header is `{}`", input_file::shown(&line, 80)), hint));
    };
    let confidence_at = column("confidence")?.filter(|_| columns == LabelColumn::Confidence);
    // Any column but those of known meaning may number the rows, whatever its name.
    let mut numberings: Vec<Numbering> = (0..names.len())
        .filter(|at| !OTHER_COLUMNS.contains(&names[*at].as_str()))
        .map(Numbering::of)
        .collect();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| broken(&e))?;
        let start = record.position().map_or(0, csv::Position::byte);
        let field = |at: usize| record.get(at).unwrap_or_default();
        // Messages are made for a row that is wrong alone, since a file may have a hundred thousand
        // right ones.
        let wrong = |what: &str, value: &str, allowed: String| {
            let value = input_file::shown(value, 80);
            Error::content(path, format!("line {}: {what} is `{value}`", line_of(text, start)), allowed)
        };
        let label = field(label_at);
        let label = whole_number(label).filter(|v| (0..classes).contains(v)).ok_or_else(|| {
            let mut allowed = format!("labels are 0..{}", classes - 1);
            // The number of classes as a label, and no 0 so far: the labels probably count from 1.
            if whole_number(label) == Some(classes) && rows.iter().all(|row: &LabelRow| row.label > 0) {
                allowed.push_str("; if these count from 1, take 1 from each");
            }
            wrong("label", label, allowed)
        })?;
        for numbering in &mut numberings {
            numbering.add(field(numbering.column));
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
    // After the last row, since only a whole column tells whether it numbers the rows.
    for numbering in &numberings {
        let name = &names[numbering.column];
        let Some(row) = numbering.out_of_order(INDEX_COLUMNS.contains(&name.as_str())) else { continue };
        return Err(Error::content(
            path,
            format!(
                "its column {} (`{}`) numbers the rows in another order: row {row} has {}",
                numbering.column + 1,
                input_file::shown(name, 80),
                numbering.values[row]
            ),
            "labels stand in the order of the samples: sort the rows by that column (pandas: df.sort_index()); \
             take the column away if it numbers something else",
        ));
    }
    Ok(rows)
}

/// A whole number; also one that went through a column of floats, `4.0`.
fn whole_number(text: &str) -> Option<i64> {
    let (whole, zeros) = text.split_once('.').unwrap_or((text, "0"));
    if zeros.is_empty() || zeros.bytes().any(|b| b != b'0') { None } else { whole.parse().ok() }
}

/// A column that may number the rows.
struct Numbering {
    column: usize,
    values: Vec<i64>,
    /// What stands around the number, the same in every row: `img_0017.png`.
    around: Option<(String, String)>,
    /// Whether every value so far was a number.
    is_one: bool,
}

impl Numbering {
    fn of(column: usize) -> Self {
        Self { column, values: Vec::new(), around: None, is_one: true }
    }

    fn add(&mut self, text: &str) {
        if !self.is_one {
            return;
        }
        let number = whole_number(text).map(|value| (value, "", "")).or_else(|| {
            let start = text.find(|c: char| c.is_ascii_digit())?;
            let end = start + text[start..].find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len() - start);
            // Of several numbers nobody knows which one counts.
            let rest = &text[end..];
            if rest.contains(|c: char| c.is_ascii_digit()) {
                return None;
            }
            Some((text[start..end].parse().ok()?, &text[..start], rest))
        });
        let Some((value, before, after)) = number else {
            self.is_one = false;
            return;
        };
        let around = self.around.get_or_insert_with(|| (before.to_owned(), after.to_owned()));
        self.is_one = around.0 == before && around.1 == after;
        self.values.push(value);
    }

    /// The first row that stands elsewhere, where the column holds every number from 0, or from 1,
    /// once; of an index, any numbers that do not count the rows.
    fn out_of_order(&self, is_index: bool) -> Option<usize> {
        if !self.is_one || self.values.len() < 2 {
            return None;
        }
        let first = *self.values.iter().min()?;
        let counts = |(row, value): (usize, &i64)| *value != row as i64 + first;
        let row = self.values.iter().enumerate().position(counts)?;
        let mut sorted = self.values.clone();
        sorted.sort_unstable();
        let permutes =
            (0..=1).contains(&first) && sorted.iter().enumerate().all(|(row, v)| *v == row as i64 + first);
        (permutes || is_index).then_some(row)
    }
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
            ("index,label\n0,4\n2,1\n", "row 1 has 2"),
            ("label,confidence\n4,NaN\n", "line 2: confidence is `NaN`"),
            ("index,class\n0,4\n", "`index,class`"),
            ("index;label\n0;4\n", "commas must stand between"),
            ("label\n3\n10\n", "if these count from 1"),
            // Field cases, row 14.
            ("index,label,label\n0,4,5\n", "columns 2 and 3 are both called `label`"),
            ("Label,label\n4,5\n", "columns 1 and 2 are both called `label`"),
            ("confidence,label,confidence\n0.1,4,0.9\n", "both called `confidence`"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    /// Field cases, row 4: labels must not go to other images.
    #[test]
    fn a_column_that_numbers_the_rows_in_another_order_is_refused_whatever_its_name() {
        let order = [3, 0, 4, 1, 2];
        let text = |head: &str, cell: &dyn Fn(usize) -> String| {
            order.iter().fold(format!("{head}\n"), |text, &i| format!("{text}{},{i}\n", cell(i)))
        };
        for head in [",label", "Unnamed: 0,label", "Index,label", "id,label", "rank,label", "file,label"] {
            for cell in [
                &|i: usize| i.to_string(),
                &|i: usize| format!("{i}.0"),
                &|i: usize| (i + 1).to_string(),
                &|i: usize| format!("img_{i:04}.png"),
                &|i: usize| format!("{i}.png"),
            ] as [&dyn Fn(usize) -> String; 5]
            {
                let error = parse(&text(head, cell)).unwrap_err().to_string();
                assert!(
                    error.contains("numbers the rows in another order") && error.contains("row 0"),
                    "{error}"
                );
            }
        }
        // Rows left out of a larger table.
        let error = parse(",label\n0,1\n5,2\n7,3\n").unwrap_err().to_string();
        assert!(error.contains("row 1 has 5"), "{error}");
        // In order, or no numbering at all.
        for fine in [
            ",label\n0,4\n1,5\n2,6\n",
            "id,label\n1,4\n2,5\n3,6\n",
            "file,label\n0.png,4\n1.png,5\n",
            "brightness,label\n7,4\n5,5\n5,6\n",
            "weight,label\n0.5,4\n0.25,5\n",
            "teacher_id,label\n1,4\n0,5\n",
        ] {
            assert_eq!(parse(fine).unwrap()[0].label, 4, "{fine}");
        }
    }

    /// Field cases, row 13.
    #[test]
    fn labels_that_went_through_a_column_of_floats_are_read() {
        let labels = |text: &str| parse(text).unwrap().iter().map(|row| row.label).collect::<Vec<_>>();
        assert_eq!(labels("index,label\n0.0,4.0\n1.0,9.00\n"), [4, 9]);
        for bad in ["4.5", "4.", "", "1e0", "four", "-0.0x"] {
            assert!(parse(&format!("index,label\n0,{bad}\n")).is_err(), "{bad}");
        }
    }

    /// Attacks, row 6.
    #[test]
    fn a_line_of_any_length_is_not_split_into_columns() {
        let error = parse(&format!("label{}\n", ",x".repeat(LONGEST_LINE))).unwrap_err().to_string();
        assert!(error.contains("line 1 is longer"), "{error}");
    }
}
