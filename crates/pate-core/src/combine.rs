//! The data sets of all teachers in one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::data::{Images, LabelColumn, RangeRule, SoftLabels, read_label_csv};
use crate::rng::{Purpose, Stream};
use crate::{Error, Result};

/// A teacher's folder as `label-filter` leaves it.
#[derive(Clone, Debug)]
pub struct TeacherSet {
    /// Its id, from the folder's name.
    pub teacher_id: u64,
    /// `synthetic_samples.pt`.
    pub samples_path: PathBuf,
    /// `labels.csv`.
    pub labels_path: PathBuf,
    /// Labels in the order of the samples.
    pub labels: Vec<i64>,
}

/// What was found in a folder of teachers.
pub struct TeacherSets {
    /// Complete ones, by id.
    pub complete: Vec<TeacherSet>,
    /// Names and what is missing in them.
    pub skipped: Vec<(String, String)>,
}

/// Finds `teacher_<id>` folders with `start_id <= id < end_id` and reads their labels.
///
/// # Errors
/// A folder that cannot be read, or a label file that is broken.
pub fn find(dir: &Path, start_id: u64, end_id: Option<u64>, classes: i64) -> Result<TeacherSets> {
    let read = |source| artifact::Error::Read { path: dir.to_path_buf(), source };
    let mut ids: BTreeMap<u64, PathBuf> = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(read)? {
        let entry = entry.map_err(read)?;
        let name = entry.file_name();
        let id = name.to_str().and_then(|n| n.strip_prefix("teacher_")).and_then(|n| n.parse().ok());
        if let Some(id) = id
            && id >= start_id
            && end_id.is_none_or(|end| id < end)
            && entry.path().is_dir()
        {
            ids.insert(id, entry.path());
        }
    }
    let mut sets = TeacherSets { complete: Vec::new(), skipped: Vec::new() };
    for (teacher_id, folder) in ids {
        let samples_path = folder.join("synthetic_samples.pt");
        let labels_path = folder.join("labels.csv");
        let absent = [&samples_path, &labels_path].into_iter().find(|path| !path.is_file());
        if let Some(file) = absent.and_then(|path| path.file_name()) {
            sets.skipped.push((folder.display().to_string(), format!("no {}", file.display())));
            continue;
        }
        let rows = read_label_csv(&labels_path, classes, LabelColumn::Label)?;
        let labels = rows.into_iter().map(|row| row.label).collect();
        sets.complete.push(TeacherSet { teacher_id, samples_path, labels_path, labels });
    }
    Ok(sets)
}

/// Chooses rows of `labels` (all teachers, one after the other): `floor(n percentage)` of them.
///
/// Everything, in its own order, at 1. Stratified: of each class `floor(target share)` at random, in class blocks, then
/// the rest at random from what is left. Otherwise: all at random.
///
/// # Errors
/// A percentage outside `(0, 1]`.
pub fn choose(labels: &[i64], percentage: f64, stratified: bool, seed: u64) -> Result<Vec<usize>> {
    if !(percentage > 0.0 && percentage <= 1.0) {
        return Err(Error::invalid(format!(
            "--percentage is {percentage}; it must be above 0 and at most 1 (0.1 = a tenth)"
        )));
    }
    let n = labels.len();
    let target = (n as f64 * percentage).floor() as usize;
    if target == n {
        return Ok((0..n).collect());
    }
    let mut stream = Stream::new(seed, Purpose::Combine, 0);
    let mut shuffled = |mut rows: Vec<usize>| -> Vec<usize> {
        let order = stream.permutation(rows.len());
        rows = order.into_iter().map(|i| rows[i as usize]).collect();
        rows
    };
    let mut chosen = Vec::with_capacity(target);
    let mut left: Vec<usize> = Vec::new();
    if stratified {
        let mut by_class: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for (row, &label) in labels.iter().enumerate() {
            by_class.entry(label).or_default().push(row);
        }
        for members in by_class.into_values() {
            let wanted = (target as f64 * members.len() as f64 / n as f64).floor() as usize;
            let mut members = shuffled(members);
            left.extend(members.split_off(wanted));
            chosen.extend(members);
        }
        left.sort_unstable();
    } else {
        left.extend(0..n);
    }
    let wanted = target - chosen.len();
    chosen.extend(shuffled(left).into_iter().take(wanted));
    Ok(chosen)
}

/// Gathers chosen rows from the teachers' files, one file in memory at a time.
///
/// # Shapes
/// `[chosen, c, h, w]` in `[0, 1]`; memory is that of the result and of one teacher.
///
/// # Errors
/// A sample file whose number or shape of images does not fit.
pub fn gather(
    sets: &[TeacherSet],
    chosen: &[usize],
    progress: &dyn crate::progress::Progress,
) -> Result<Images> {
    let mut place: Vec<Vec<(usize, usize)>> = vec![Vec::new(); sets.len()];
    let mut starts = Vec::with_capacity(sets.len());
    let mut start = 0;
    for set in sets {
        starts.push(start);
        start += set.labels.len();
    }
    for (position, &row) in chosen.iter().enumerate() {
        let set = starts.partition_point(|&first| first <= row) - 1;
        place[set].push((row - starts[set], position));
    }
    let mut gathered: Vec<f32> = Vec::new();
    let mut shape: Option<(PathBuf, [i64; 3])> = None;
    for (set, wanted) in sets.iter().zip(&place) {
        progress.check()?;
        let images = Images::load(&set.samples_path, RangeRule::Unit { normalised_flag: None })?;
        if images.len() != set.labels.len() {
            return Err(Error::content(
                &set.samples_path,
                format!(
                    "{} samples, but {} has {} labels",
                    images.len(),
                    set.labels_path.display(),
                    set.labels.len()
                ),
                "the two files belong to different runs; run label-filter for this teacher again",
            ));
        }
        progress.advance(1, "");
        if images.is_empty() {
            continue;
        }
        let size = images.tensor().size();
        let own = [size[1], size[2], size[3]];
        let numel = own.iter().product::<i64>() as usize;
        match &shape {
            None => {
                gathered.resize(chosen.len() * numel, 0.0);
                shape = Some((set.samples_path.clone(), own));
            }
            Some((other, first)) if *first != own => {
                return Err(Error::content(
                    &set.samples_path,
                    format!("its images are {own:?}, those of {} {first:?}", other.display()),
                    "all teachers' images must have one shape",
                ));
            }
            Some(_) => {}
        }
        let values = images.to_vec()?;
        for &(row, position) in wanted {
            gathered[position * numel..][..numel].copy_from_slice(&values[row * numel..][..numel]);
        }
    }
    let (_, [c, h, w]) =
        shape.ok_or_else(|| Error::invalid("no teacher has any samples; there is nothing to combine"))?;
    Ok(Images::trusted(crate::tensor::from_f32(&gathered, &[chosen.len() as i64, c, h, w])?))
}

/// Soft labels of the chosen rows, from `soft_labels.pt` beside every teacher's samples.
///
/// # Errors
/// A file that is missing or does not fit the labels.
pub fn gather_soft_labels(sets: &[TeacherSet], chosen: &[usize], classes: i64) -> Result<SoftLabels> {
    let mut all = SoftLabels::new(Path::new(""), Vec::new(), classes)?;
    for set in sets {
        let path = set.samples_path.with_file_name("soft_labels.pt");
        let soft = SoftLabels::load(&path, classes)?;
        if soft.len() != set.labels.len() {
            return Err(Error::content(
                &path,
                format!("{} rows, but {} has {} labels", soft.len(), set.labels_path.display(), set.labels.len()),
                "the two files belong to different runs; run label-filter --save-soft-labels for this teacher again",
            ));
        }
        all.extend(&soft);
    }
    Ok(all.select(chosen.iter().copied()))
}

/// Rows on which the mean pairwise distance of a combined set is measured.
const DISTANCE_ROWS: usize = 10_000;

/// Mean distance between two samples, over at most 10,000 of them chosen at random.
///
/// # Errors
/// Where libtorch refuses.
pub fn mean_distance(images: &Images, seed: u64) -> Result<Option<f64>> {
    if images.len() <= DISTANCE_ROWS {
        return crate::distance::mean_pairwise(&images.flat());
    }
    let mut rows = Stream::new(seed, Purpose::Combine, 1).permutation(images.len());
    rows.truncate(DISTANCE_ROWS);
    let sample = images.flat().f_index_select(0, &crate::tensor::from_i64(&rows))?;
    crate::distance::mean_pairwise(&sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_keep_their_shares() {
        let labels: Vec<i64> = (0..1000).map(|i| if i < 700 { 0 } else { 3 }).collect();
        let chosen = choose(&labels, 0.1, true, 42).unwrap();
        assert_eq!(chosen.len(), 100);
        assert!(chosen[..70].iter().all(|&row| labels[row] == 0));
        assert!(chosen[70..].iter().all(|&row| labels[row] == 3));
        let distinct: std::collections::HashSet<_> = chosen.iter().collect();
        assert_eq!(distinct.len(), 100);
    }

    #[test]
    fn everything_keeps_its_order() {
        assert_eq!(choose(&[3, 1, 2], 1.0, true, 42).unwrap(), [0, 1, 2]);
    }

    #[test]
    fn nothing_is_refused() {
        for percentage in [0.0, -0.1, 1.5, f64::NAN] {
            assert!(choose(&[1], percentage, true, 42).is_err());
        }
    }
}
