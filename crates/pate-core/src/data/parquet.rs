//! Images and labels in Parquet files, in the columns that Hugging Face's data sets have.

use std::ffi::OsStr;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use parquet::basic::Type;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, RowGroupReader};
use parquet::file::serialized_reader::SerializedFileReader;

use super::picture::{self, Picture, Refused};
use super::{Labels, Privacy, Records};
use crate::{Error, Result};

/// The column with the bytes of the images' files, and the one with their classes.
const IMAGE: &str = "image.bytes";
const LABEL: &str = "label";
/// Rows of all files together.
const MAX_ROWS: i64 = 10_000_000;
/// What the two columns of a row group may take, uncompressed.
const MAX_GROUP: i64 = 4 << 30;
/// What a file starts with.
const MAGIC: &[u8; 4] = b"PAR1";
/// Rows that are read at once.
const CHUNK: usize = 1024;

/// Whether a file starts as Parquet files do, or a folder holds files that are called so.
pub fn is_parquet(path: &Path) -> bool {
    if path.is_dir() {
        return files_in(path).is_ok_and(|files| !files.is_empty());
    }
    let mut start = [0; 4];
    input_file::open(path).is_ok_and(|(mut file, _)| file.read_exact(&mut start).is_ok() && start == *MAGIC)
}

/// Images and labels of a Parquet file, or of all such files of a folder in the order of their
/// names: a column `image` of structs with `bytes` (PNG), and a column `label` of classes.
///
/// # Errors
/// Names the file, and the row where there is one: other columns, nulls, bytes that are no PNG,
/// images of several sizes, damaged or oversized files; files of several splits.
pub fn parquet(path: &Path, classes: i64, privacy: Privacy) -> Result<Records> {
    let files = if path.is_dir() { files_in(path)? } else { vec![path.to_path_buf()] };
    one_split(path, &files)?;
    let (mut all, mut labels, mut values) = (Vec::<Picture>::new(), Vec::new(), 0);
    for file in &files {
        // The library panics on some damaged files.
        let rows = input_file::guarded(|| rows_of(file)).ok_or_else(|| {
            Error::content(file, "it cannot be read as Parquet (it is damaged)", "write it again")
        })?;
        let (images, classes) = rows?;
        labels.extend(classes);
        for (row, bytes) in images.iter().enumerate() {
            let refused = |problem: &str, hint: &str| {
                Error::content(file, format!("the image of row {row}: {problem}"), hint)
            };
            // Without data the library would panic.
            let bytes = if bytes.is_empty() { &[][..] } else { bytes.data() };
            if bytes.len() as u64 > input_file::PICTURE {
                return Err(refused("it takes more than 64 MiB", "give smaller images"));
            }
            let picture = Picture::decode(bytes, None).map_err(|Refused { problem, .. }| {
                refused(&problem, "images are PNG files of 4 to 1024 pixels a side, without transparency")
            })?;
            if let Some(first) = all.first()
                && (first.height, first.width) != (picture.height, picture.width)
            {
                let (was, is) = ((first.height, first.width), (picture.height, picture.width));
                return Err(refused(
                    &format!("it is {}x{} (height, width), and the first {}x{}", is.0, is.1, was.0, was.1),
                    "all images have one size",
                ));
            }
            values += picture.values();
            if values > picture::MAX_VALUES {
                return Err(refused("the images up to it are too large to be held together", "give fewer"));
            }
            all.push(picture);
        }
    }
    if all.is_empty() {
        return Err(Error::content(path, "there are no images in it", "give files with rows"));
    }
    picture::check_values(path, &all)?;
    let labels = Labels::new(files.first().unwrap_or(&path.to_path_buf()), labels, classes)?;
    Ok(Records { privacy, ..Records::of_samples(picture::stack(&all)?, labels, files) })
}

/// Every image's bytes, and the labels.
fn rows_of(path: &Path) -> Result<(Vec<ByteArray>, Vec<i64>)> {
    let damaged = |e: ParquetError| {
        let reason = input_file::shown(&e.to_string().replace('\n', " "), 200);
        Error::content(
            path,
            format!("it cannot be read as Parquet ({reason})"),
            "write it again, with snappy or no compression",
        )
    };
    let (file, metadata) = input_file::open(path)
        .map_err(|source| artifact::Error::Read { path: path.to_path_buf(), source })?;
    let length = i64::try_from(metadata.len()).unwrap_or(i64::MAX);
    let reader = SerializedFileReader::new(file).map_err(damaged)?;
    let metadata = reader.metadata();
    let schema = metadata.file_metadata().schema_descr();
    let column = |name: &str, kinds: &[Type]| {
        let at = schema.columns().iter().position(|column| column.path().string() == name);
        let fits = |at: &usize| {
            let column = schema.column(*at);
            kinds.contains(&column.physical_type()) && column.max_rep_level() == 0
        };
        at.filter(fits).ok_or_else(|| {
            let names: Vec<String> =
                schema.columns().iter().take(8).map(|column| column.path().string()).collect();
            Error::content(
                path,
                format!(
                    "it has no column {name} of such values (it has {})",
                    input_file::shown(&names.join(", "), 200)
                ),
                "columns are image (a struct with bytes, PNG) and label (integers)",
            )
        })
    };
    let image = column(IMAGE, &[Type::BYTE_ARRAY])?;
    let label = column(LABEL, &[Type::INT64, Type::INT32])?;
    let large = |what: &str| Error::content(path, what.to_owned(), "split it into several files");
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for at in 0..reader.num_row_groups() {
        let group = reader.get_row_group(at).map_err(damaged)?;
        let rows = group.metadata().num_rows();
        if !(0..=MAX_ROWS).contains(&(labels.len() as i64).saturating_add(rows)) || rows < 0 {
            return Err(large("it claims more rows than are read (10,000,000)"));
        }
        for column in [image, label] {
            let Some(chunk) = group.metadata().columns().get(column) else {
                return Err(damaged(ParquetError::General("a row group lacks a column".to_owned())));
            };
            if !(0..=MAX_GROUP).contains(&chunk.uncompressed_size()) {
                return Err(large("a row group of it claims more than is read (4 GiB)"));
            }
            // The library panics where a place is before the file's start.
            let first = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
            let inside = first >= 0 && chunk.data_page_offset() >= 0 && chunk.compressed_size() >= 0;
            if !inside || first.checked_add(chunk.compressed_size()).is_none_or(|end| end > length) {
                return Err(damaged(ParquetError::General("a column lies outside of the file".to_owned())));
            }
        }
        let (first, rows) = (labels.len(), rows as usize);
        let group = Group { path, reader: group.as_ref(), first, rows };
        group.integers(label, &mut labels, &damaged)?;
        let ColumnReader::ByteArrayColumnReader(mut column) =
            group.reader.get_column_reader(image).map_err(damaged)?
        else {
            return Err(group.other(IMAGE));
        };
        group.each(&mut column, IMAGE, &damaged, &mut |bytes: ByteArray| {
            images.push(bytes);
            Ok(())
        })?;
    }
    Ok((images, labels))
}

/// A row group of a file.
struct Group<'a> {
    path: &'a Path,
    reader: &'a dyn RowGroupReader,
    first: usize,
    rows: usize,
}

impl Group<'_> {
    fn integers(
        &self,
        column: usize,
        labels: &mut Vec<i64>,
        damaged: &dyn Fn(ParquetError) -> Error,
    ) -> Result<()> {
        let mut push = |label: i64| {
            labels.push(label);
            Ok(())
        };
        match self.reader.get_column_reader(column).map_err(damaged)? {
            ColumnReader::Int64ColumnReader(mut reader) => self.each(&mut reader, LABEL, damaged, &mut push),
            ColumnReader::Int32ColumnReader(mut reader) => {
                self.each(&mut reader, LABEL, damaged, &mut |label: i32| push(label.into()))
            }
            _ => Err(self.other(LABEL)),
        }
    }

    /// Hands every value of a column to `take`: as many as the group has rows, none of them null.
    fn each<T: DataType>(
        &self,
        reader: &mut ColumnReaderImpl<T>,
        name: &str,
        damaged: &dyn Fn(ParquetError) -> Error,
        take: &mut dyn FnMut(T::T) -> Result<()>,
    ) -> Result<()> {
        let mut done = 0;
        while done < self.rows {
            let (mut levels, mut values) = (Vec::new(), Vec::new());
            let wanted = CHUNK.min(self.rows - done);
            let (records, _, _) =
                reader.read_records(wanted, Some(&mut levels), None, &mut values).map_err(damaged)?;
            if records == 0 {
                break;
            }
            if values.len() != records {
                let most = levels.iter().max().copied().unwrap_or(0);
                let missing = levels.iter().position(|level| *level < most).unwrap_or(0);
                return Err(Error::content(
                    self.path,
                    format!("{name} is null in row {} or near it", self.first + done + missing),
                    "every row has an image with its bytes and a label",
                ));
            }
            for value in values {
                take(value)?;
            }
            done += records;
        }
        if done == self.rows {
            return Ok(());
        }
        Err(Error::content(
            self.path,
            format!("{name} has {done} of {} rows in a row group", self.rows),
            "the file is damaged; write it again",
        ))
    }

    fn other(&self, name: &str) -> Error {
        Error::content(self.path, format!("{name} holds values of another kind"), "write the file again")
    }
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = |source| artifact::Error::Read { path: folder.to_path_buf(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.extension() == Some(OsStr::new("parquet")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Files of one data set are called after their split: `train-00000-of-00002.parquet`.
fn one_split(folder: &Path, files: &[PathBuf]) -> Result<()> {
    let split = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.split(['-', '.']).next().unwrap_or_default().to_owned()
    };
    let splits: std::collections::BTreeSet<String> = files.iter().map(split).collect();
    if splits.len() < 2 {
        return Ok(());
    }
    let names: Vec<String> = splits.iter().take(4).map(|name| input_file::shown(name, 40)).collect();
    Err(Error::content(
        folder,
        format!("it holds Parquet files of several names ({})", names.join(", ")),
        "one data set's files have one name before the dash; give one file, or a folder with those of one split",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> PathBuf {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")).join(name)
    }

    fn problem(path: &Path) -> String {
        parquet(path, 10, Privacy::Public).err().map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn rows_of_every_page_and_group_are_read() {
        let rows = parquet(&fixture("rows.parquet"), 10, Privacy::Public).unwrap();
        assert_eq!(rows.images.tensor().size(), [40, 1, 28, 28]);
        assert_eq!(rows.labels.values(), (0..40).map(|row| row % 10).collect::<Vec<i64>>());
        // Row 27: class 7, a square of 155 + 27 in the second row of squares.
        assert!((rows.images.tensor().double_value(&[27, 0, 12, 12]) - 182.0 / 255.0).abs() < 1e-6);
        assert!(rows.images.tensor().double_value(&[27, 0, 0, 0]).abs() < 1e-9);
        // Version 2 pages without compression, labels of 32 bits.
        let plain = parquet(&fixture("plain.parquet"), 4, Privacy::Public).unwrap();
        assert_eq!((plain.len(), plain.labels.values()), (4, &[0, 1, 2, 3][..]));
    }

    #[test]
    fn what_is_no_such_data_set_is_named() {
        for (name, words) in [
            ("null_image", &["image.bytes", "null", "row 1"][..]),
            ("null_label", &["label", "null", "row 2"]),
            ("jpeg", &["row 1", "PNG"]),
            ("sizes", &["row 1", "10x10", "8x8"]),
            ("zstd", &["Parquet", "snappy"]),
            ("columns", &["no column image.bytes", "pixels"]),
        ] {
            let problem = problem(&fixture(&format!("{name}.parquet")));
            assert!(words.iter().all(|word| problem.contains(word)), "{name}: {problem}");
        }
        assert!(problem(&fixture("make.py")).contains("Parquet"));
        let rows = parquet(&fixture("rows.parquet"), 9, Privacy::Public);
        assert!(rows.err().unwrap().to_string().contains('9'));
        // Folders of one split, and of two.
        let dir = tempfile::tempdir().unwrap();
        let copy = |name: &str| std::fs::copy(fixture("rows.parquet"), dir.path().join(name)).unwrap();
        copy("train-00000-of-00002.parquet");
        copy("train-00001-of-00002.parquet");
        assert!(
            is_parquet(dir.path())
                && is_parquet(&fixture("rows.parquet"))
                && !is_parquet(&fixture("make.py"))
        );
        assert_eq!(parquet(dir.path(), 10, Privacy::Public).unwrap().len(), 80);
        copy("test-00000-of-00001.parquet");
        assert!(problem(dir.path()).contains("test, train"));
    }

    /// Damage of every byte gives an error or images, and never a panic.
    #[test]
    fn damaged_files_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("damaged.parquet");
        let mut tried = 0;
        for name in ["plain.parquet", "null_label.parquet"] {
            let whole = std::fs::read(fixture(name)).unwrap();
            let step = (whole.len() / 150).max(1);
            for at in (0..whole.len()).step_by(step) {
                for change in [0x01, 0x80, 0xff] {
                    let mut bytes = whole.clone();
                    bytes[at] ^= change;
                    artifact::write_bytes(&path, artifact::Access::Public, &bytes).unwrap();
                    let _ = parquet(&path, 10, Privacy::Public);
                    tried += 1;
                }
                artifact::write_bytes(&path, artifact::Access::Public, &whole[..at]).unwrap();
                assert!(parquet(&path, 10, Privacy::Public).is_err(), "{name}, {at} bytes");
            }
        }
        assert!(tried > 800, "{tried}");
    }
}
