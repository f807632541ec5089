//! The private images of one teacher, and the assignment of records to teachers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use artifact::{Access, AtomicFile, FileRecord, layout};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tensorfile::{Array, View};

use super::{Images, RangeRule, Records};
use crate::base::rng::{Purpose, Stream};
use crate::{Error, Result};

/// More records than any shard has; sums of fewer counts stay exact as floats, too.
const MAX_RECORDS: u64 = 1 << 48;

/// The private data of one teacher.
pub struct Shard {
    /// Its images in `[0, 1]`.
    pub images: Images,
    /// The file they were read from.
    pub path: PathBuf,
}

impl Shard {
    /// Reads `shard.pt`; `rule` says on which scale its values are. A wrong one would hide copies
    /// of private images from the memorisation check.
    ///
    /// # Errors
    /// As [`Images::load`]; also an empty shard.
    pub fn load(path: &Path, rule: RangeRule) -> Result<Self> {
        let images = Images::load(path, rule)?;
        if images.is_empty() {
            return Err(Error::content(path, "the shard has no images", "make it again with prepare-shards"));
        }
        Ok(Self { images, path: path.to_path_buf() })
    }
}

/// `metadata.json` beside a shard. Private: the class counts are a function of the shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShardMetadata {
    /// Which teacher.
    pub teacher_id: u64,
    /// Number of images.
    pub shard_size: u64,
    /// Images by class. Absent classes may be left out or count 0: both are different from each
    /// other for the quota.
    pub class_distribution: BTreeMap<String, u64>,
    /// Where the shard was written; informative, never followed.
    #[serde(default)]
    pub shard_path: Option<String>,
    /// How records were assigned to teachers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment: Option<String>,
    /// Names of the classes, by number; empty where the numbers are the names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
}

impl ShardMetadata {
    /// Reads the file and checks its class names.
    ///
    /// # Errors
    /// No JSON of this form, a class outside `0..classes`, no records at all.
    pub fn load(path: &Path, classes: i64) -> Result<Self> {
        let hint = "it needs teacher_id, shard_size and class_distribution, as prepare-shards writes them";
        let metadata: Self = parsed(path, "shard metadata", hint)?;
        metadata.counts(path, classes)?;
        Ok(metadata)
    }

    /// Count by class, for the classes that the file names.
    ///
    /// # Errors
    /// A class outside `0..classes` or named twice (`7` and `07`), a total of 0, or another total
    /// than `shard_size`.
    pub fn counts(&self, path: &Path, classes: i64) -> Result<BTreeMap<i64, u64>> {
        let mut counts = BTreeMap::new();
        for (name, &count) in &self.class_distribution {
            let class = name.parse().ok().filter(|c| (0..classes).contains(c)).ok_or_else(|| {
                Error::content(
                    path,
                    format!("class_distribution names the class `{name}`"),
                    format!("classes are 0..{}", classes - 1),
                )
            })?;
            if counts.insert(class, count).is_some() {
                return Err(Error::content(
                    path,
                    format!(
                        "class_distribution counts the class {class} twice (`{name}` is the second name)"
                    ),
                    "keep one of them",
                ));
            }
        }
        // Checked, since the counts come out of a file and their sum need not fit.
        let total = counts.values().try_fold(0, |sum: u64, &n| sum.checked_add(n));
        if total.is_none_or(|total| total > MAX_RECORDS) {
            return Err(Error::content(
                path,
                format!("class_distribution counts more than {MAX_RECORDS} records"),
                "give the shard's counts",
            ));
        }
        // Proportions of no records are not defined, and the quota divides by the total.
        if counts.values().all(|&n| n == 0) {
            return Err(Error::content(
                path,
                "class_distribution counts no records",
                "give the shard's counts",
            ));
        }
        if let Some(total) = total.filter(|total| *total != self.shard_size) {
            return Err(Error::content(
                path,
                format!("shard_size is {}, and class_distribution counts {total} records", self.shard_size),
                "give the counts of this shard",
            ));
        }
        Ok(counts)
    }
}

/// The content of a JSON file; `what` and `hint` are for the message where it is something else.
fn parsed<T: DeserializeOwned>(path: &Path, what: &str, hint: &str) -> Result<T> {
    let text = input_file::read_text(path, input_file::JSON)
        .map_err(|source| artifact::Error::Read { path: path.to_path_buf(), source })?;
    artifact::json::parse(&text)
        .and_then(serde_json::from_value)
        .map_err(|e| Error::content(path, format!("it is no {what} ({e})"), hint))
}

/// Count by class with absent classes left out, as reports write them.
pub fn class_counts(labels: &[i64]) -> BTreeMap<i64, u64> {
    let mut counts = BTreeMap::new();
    for &label in labels {
        *counts.entry(label).or_default() += 1;
    }
    counts
}

/// Which records belong to which teacher: `shard_indices.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardIndices {
    /// Rows of the training set, by teacher.
    pub by_teacher: BTreeMap<u64, Vec<i64>>,
}

/// How records are assigned to teachers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignment {
    /// Shuffled by the seed, cut into equal parts, the last takes the rest. A record's teacher
    /// depends on its position alone, never on what it holds or on other records: right for
    /// replace-one neighbours.
    Index,
    /// Each record goes to hash(key, record id) mod teachers: right for add/remove neighbours.
    /// Sizes vary.
    KeyedHash,
}

impl Assignment {
    /// The name on command lines and in metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::KeyedHash => "keyed-hash",
        }
    }
}

impl ShardIndices {
    /// Makes disjoint shards of `0..n_records`.
    ///
    /// With [`Assignment::Index`] a shard has floor(n / teachers) records (the last one takes the
    /// rest), or `shard_size`; each is sorted. With [`Assignment::KeyedHash`] the key is derived
    /// from the seed and the record's id is its row.
    ///
    /// # Errors
    /// No teachers, more records asked for than there are, or an empty shard.
    pub fn assign(
        n_records: usize,
        n_teachers: usize,
        shard_size: Option<usize>,
        assignment: Assignment,
        seed: u64,
    ) -> Result<Self> {
        if n_teachers == 0 || n_teachers > n_records {
            return Err(Error::invalid(format!(
                "--num-teachers is {n_teachers}; with {n_records} records it must be 1..{n_records}"
            )));
        }
        let mut by_teacher: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
        match assignment {
            Assignment::Index => {
                let size = shard_size.unwrap_or(n_records / n_teachers);
                if size == 0 || size * n_teachers > n_records {
                    return Err(Error::invalid(format!(
                        "--shard-size is {size}; {n_teachers} shards of {n_records} records have 1..{} each",
                        n_records / n_teachers
                    )));
                }
                // One order of all records, cut into pieces: shards are disjoint, and no record's
                // teacher depends on what any record holds.
                let order = Stream::new(seed, Purpose::Assignment, 0).permutation(n_records);
                for teacher in 0..n_teachers {
                    let last = teacher + 1 == n_teachers && shard_size.is_none();
                    let end = if last { n_records } else { (teacher + 1) * size };
                    by_teacher.insert(teacher as u64, order[teacher * size..end].to_vec());
                }
            }
            Assignment::KeyedHash => {
                if shard_size.is_some() {
                    return Err(Error::invalid(
                        "--shard-size does not go with --assignment keyed-hash, whose sizes follow from the hash",
                    ));
                }
                for record in 0..n_records {
                    // The text is a part of the result: another spelling assigns every record anew.
                    let name = format!("pate-synth/assignment/1\n{seed}\n{record}");
                    let hash = artifact::sha256_raw(name.as_bytes());
                    let mut first = [0; 8];
                    first.copy_from_slice(&hash[..8]);
                    // The bias of the remainder is below teachers / 2^64.
                    let teacher = u64::from_be_bytes(first) % n_teachers as u64;
                    by_teacher.entry(teacher).or_default().push(record as i64);
                }
                if by_teacher.len() < n_teachers {
                    return Err(Error::invalid(format!(
                        "--assignment keyed-hash leaves {} of {n_teachers} teachers without a record; take fewer \
                         teachers or another --seed",
                        n_teachers - by_teacher.len()
                    )));
                }
            }
        }
        for records in by_teacher.values_mut() {
            records.sort_unstable();
        }
        Ok(Self { by_teacher })
    }

    /// Reads the file.
    ///
    /// # Errors
    /// No JSON of the form `{"0": [rows], ...}`, no teacher, one that stands twice (`1` and `01`)
    /// or has no rows, a negative row, or a row that two teachers share.
    pub fn load(path: &Path) -> Result<Self> {
        let hint = r#"it must read {"0": [rows of the training set], "1": [...], ...}"#;
        let wrong = |problem: String| Error::content(path, problem, hint);
        let map: BTreeMap<String, Vec<i64>> = parsed(path, "list of shards", hint)?;
        if map.is_empty() {
            return Err(wrong("it names no teacher".to_owned()));
        }
        let mut by_teacher = BTreeMap::new();
        let mut owner = std::collections::HashMap::new();
        for (name, rows) in map {
            let teacher: u64 = name.parse().map_err(|_| wrong(format!("`{name}` is no teacher id")))?;
            if rows.is_empty() {
                return Err(wrong(format!("teacher {teacher} has no rows")));
            }
            // One record must move one teacher's answers alone: the sensitivity of a vote rests on
            // it.
            for &row in &rows {
                if row < 0 {
                    return Err(wrong(format!("teacher {teacher} has row {row}")));
                }
                if let Some(other) = owner.insert(row, teacher) {
                    return Err(wrong(format!(
                        "row {row} stands twice (teachers {other} and {teacher}); shards are disjoint"
                    )));
                }
            }
            // The strict reader refuses a name that stands twice; this is one number under two
            // spellings.
            if by_teacher.insert(teacher, rows).is_some() {
                return Err(wrong(format!("teacher {teacher} stands twice (`{name}` is the second name)")));
            }
        }
        Ok(Self { by_teacher })
    }

    /// The rows of one teacher.
    ///
    /// # Errors
    /// An id that is not there; names the range that is.
    pub fn rows(&self, path: &Path, teacher_id: u64) -> Result<&[i64]> {
        self.by_teacher.get(&teacher_id).map(Vec::as_slice).ok_or_else(|| {
            let ids = match (self.by_teacher.keys().next(), self.by_teacher.keys().next_back()) {
                (Some(first), Some(last)) => format!("its teachers are {first}..{last}"),
                _ => "it is empty".to_owned(),
            };
            Error::content(path, format!("there is no teacher {teacher_id} in it"), ids)
        })
    }

    /// Writes the file, one line per teacher.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn save(&self, path: &Path) -> Result<FileRecord> {
        use std::io::Write as _;
        let mut file = AtomicFile::create(path, Access::Private)?;
        let mut write = || -> std::io::Result<()> {
            file.write_all(b"{")?;
            for (i, (teacher, rows)) in self.by_teacher.iter().enumerate() {
                let rows: Vec<String> = rows.iter().map(i64::to_string).collect();
                let comma = if i == 0 { "" } else { "," };
                write!(file, "{comma}\n\"{teacher}\": [{}]", rows.join(", "))?;
            }
            file.write_all(b"\n}\n")
        };
        write().map_err(|source| artifact::Error::Write { path: path.to_path_buf(), source })?;
        Ok(file.commit()?)
    }
}

impl Shard {
    /// Writes `shard.pt`, `shard_labels.pt` and `metadata.json` of one teacher into `dir`, for the
    /// owner alone.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub fn write(
        dir: &Path,
        teacher_id: u64,
        records: &Records,
        assignment: &str,
    ) -> Result<Vec<FileRecord>> {
        let shard_path = dir.join(layout::SHARD);
        // All three files are private: the class counts are a function of the shard, too.
        let shard = records.images.save(&shard_path, Access::Private)?;
        let labels_path = dir.join(layout::SHARD_LABELS);
        let labels = Array::from_i64(vec![records.len()], records.labels.values().to_vec())?;
        let mut file = AtomicFile::create(&labels_path, Access::Private)?;
        let shape = [records.len()];
        tensorfile::pt::write_array(
            &mut file,
            View { dtype: labels.dtype(), shape: &shape, bytes: labels.bytes() },
        )?;
        let labels = file.commit()?;
        let metadata = ShardMetadata {
            teacher_id,
            shard_size: records.len() as u64,
            class_distribution: class_counts(records.labels.values())
                .into_iter()
                .map(|(class, n)| (class.to_string(), n))
                .collect(),
            shard_path: Some(shard_path.to_string_lossy().into_owned()),
            assignment: Some(assignment.to_owned()),
            class_names: records.class_names.clone(),
        };
        let text = serde_json::to_string_pretty(&metadata)
            .map_err(|source| artifact::Error::Field { field: "metadata".to_owned(), source })?;
        let metadata = artifact::write_bytes(&dir.join(layout::METADATA), Access::Private, text.as_bytes())?;
        Ok(vec![shard, labels, metadata])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_disjoint_sorted_and_complete() {
        for assignment in [Assignment::Index, Assignment::KeyedHash] {
            let indices = ShardIndices::assign(1003, 10, None, assignment, 42).unwrap();
            let mut all: Vec<i64> = indices.by_teacher.values().flatten().copied().collect();
            all.sort_unstable();
            assert!(all.iter().copied().eq(0..1003));
            assert!(indices.by_teacher.values().all(|rows| rows.is_sorted()));
        }
    }

    #[test]
    fn the_last_shard_takes_the_rest() {
        let indices = ShardIndices::assign(1003, 10, None, Assignment::Index, 1).unwrap();
        let sizes: Vec<usize> = indices.by_teacher.values().map(Vec::len).collect();
        assert_eq!(sizes, [100, 100, 100, 100, 100, 100, 100, 100, 100, 103]);
        let small = ShardIndices::assign(1003, 10, Some(7), Assignment::Index, 1).unwrap();
        assert!(small.by_teacher.values().all(|rows| rows.len() == 7));
    }

    #[test]
    fn adding_a_record_moves_no_other_under_keyed_hash() {
        let before = ShardIndices::assign(500, 7, None, Assignment::KeyedHash, 3).unwrap();
        let after = ShardIndices::assign(501, 7, None, Assignment::KeyedHash, 3).unwrap();
        let moved: usize = before
            .by_teacher
            .iter()
            .map(|(t, rows)| rows.iter().filter(|r| !after.by_teacher[t].contains(r)).count())
            .sum();
        assert_eq!(moved, 0);
    }

    #[test]
    fn files_round_trip_and_overlaps_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shard_indices.json");
        let indices = ShardIndices::assign(100, 4, None, Assignment::Index, 1).unwrap();
        indices.save(&path).unwrap();
        assert_eq!(ShardIndices::load(&path).unwrap(), indices);
        let overlap = br#"{"0": [1, 2], "1": [2]}"#;
        artifact::write_bytes(&path, Access::Public, overlap).unwrap();
        let error = ShardIndices::load(&path).unwrap_err().to_string();
        assert!(error.contains("row 2 stands twice"), "{error}");
    }

    fn metadata(text: &str) -> Result<BTreeMap<i64, u64>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metadata.json");
        artifact::write_bytes(&path, Access::Public, text.as_bytes()).unwrap();
        ShardMetadata::load(&path, 10)?.counts(&path, 10)
    }

    fn problem<T>(result: Result<T>) -> String {
        let Err(error) = result else { panic!("it was read") };
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {source}")
    }

    /// Field cases, rows 5, 6 and 14; attacks, row 8.
    #[test]
    fn class_counts_that_cannot_be_a_shards_are_refused() {
        let text = |size: u64, counts: &str| {
            format!(r#"{{"teacher_id": 0, "shard_size": {size}, "class_distribution": {{{counts}}}}}"#)
        };
        assert_eq!(metadata(&text(240, r#""7": 100, "08": 140"#)).unwrap(), [(7, 100), (8, 140)].into());
        for (size, counts, part) in [
            (240, r#""7": 100, "07": 140"#, "counts the class 7 twice"),
            (240, r#""+7": 100, "7": 140"#, "counts the class 7 twice"),
            (240, r#""7": 100, "7": 140"#, "\"7\" stands twice"),
            (1, r#""7": 9223372036854775808, "8": 9223372036854775808"#, "more than 281474976710656"),
            (1, r#""7": 18446744073709551615, "8": 18446744073709551615"#, "more than 281474976710656"),
            (5, r#""7": 240"#, "shard_size is 5, and class_distribution counts 240"),
            (0, r#""7": 0"#, "counts no records"),
            (240, r#""10": 240"#, "names the class `10`"),
        ] {
            let error = problem(metadata(&text(size, counts)));
            assert!(error.contains(part), "{error}");
        }
    }

    /// Field cases, rows 5 and 14.
    #[test]
    fn a_teacher_that_stands_twice_or_none_at_all_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shard_indices.json");
        for (text, part) in [
            (r#"{"1": [0, 1], "01": [2, 3]}"#, "teacher 1 stands twice"),
            (r#"{"+1": [0, 1], "1": [2, 3]}"#, "teacher 1 stands twice"),
            (r#"{"0": [0, 1], "0": [2, 3]}"#, "\"0\" stands twice"),
            ("{}", "it names no teacher"),
            (r#"{"0": [0, 0]}"#, "row 0 stands twice"),
            (r#"{"0": [0.0]}"#, "no list of shards"),
        ] {
            artifact::write_bytes(&path, Access::Public, text.as_bytes()).unwrap();
            let error = problem(ShardIndices::load(&path));
            assert!(error.contains(part), "{error}");
        }
    }
}
