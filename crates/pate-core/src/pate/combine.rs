//! The data sets of all teachers in one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use artifact::layout;
use serde::Serialize;

use crate::base::rng::{Purpose, Stream};
use crate::data::{Images, LabelColumn, RangeRule, SoftLabels, numbered_folders, read_label_csv};
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
/// A folder that cannot be read, two folders of one teacher, or a label file that is broken.
pub fn find(dir: &Path, start_id: u64, end_id: Option<u64>, classes: i64) -> Result<TeacherSets> {
    let mut ids = numbered_folders(dir, "teacher_")?;
    ids.retain(|&id, _| id >= start_id && end_id.is_none_or(|end| id < end));
    let mut sets = TeacherSets { complete: Vec::new(), skipped: Vec::new() };
    for (teacher_id, folder) in ids {
        let samples_path = folder.join(layout::SAMPLES);
        let labels_path = folder.join(layout::LABELS);
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
/// Everything, in its own order, at 1. Stratified: of each class `floor(target proportion)` at
/// random, in class blocks, then the rest at random from what is left. Otherwise: all at random.
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
            // Rounded down, so that the classes together never take more than the target.
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

/// Samples that several teachers labelled, each of them once.
pub struct Merged {
    /// `[n, c, h, w]` in `[0, 1]`, in the order in which they first come.
    pub images: Images,
    /// The class with most votes (of soft labels: the largest mean probability); the lower one on a
    /// tie.
    pub labels: Vec<i64>,
    /// Mean of the teachers' soft labels, or fractions of their votes.
    pub soft_labels: SoftLabels,
    /// The first teacher that has it.
    pub owners: Vec<u64>,
    /// Counts, for the report.
    pub summary: MergeSummary,
}

/// What merging did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MergeSummary {
    /// Samples of all teachers.
    pub votes: usize,
    /// Different images among them.
    pub distinct: usize,
    /// Teachers per image, on average.
    pub mean_votes: f64,
    /// Share of the votes that the label got, on average over distinct images.
    pub mean_agreement: f64,
    /// Images with too few votes or too little agreement.
    pub rejected: usize,
}

/// How merged samples are made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MergePlan {
    /// Average soft labels (`soft_labels.pt` beside the samples) instead of counting labels?
    pub soft: bool,
    /// Minimum fraction of an image's votes that its label needs.
    pub min_agreement: f64,
    /// Least number of votes of an image.
    pub min_votes: usize,
}

/// Merges images that are the same to the bit, as teachers have that labelled one pool.
///
/// This weighs teachers by their agreement; it is not PATE's private vote: no noise, no threshold
/// that any accountant knows of.
///
/// # Guarantee
/// None: a function of all teachers' labels.
///
/// # Shapes
/// Memory is that of the distinct images and of one teacher's.
///
/// # Errors
/// Values out of range, files that do not fit each other, no image left.
pub fn merge(
    sets: &[TeacherSet],
    classes: i64,
    plan: MergePlan,
    progress: &dyn crate::base::progress::Progress,
) -> Result<Merged> {
    if !(0.0..=1.0).contains(&plan.min_agreement) {
        return Err(Error::invalid(format!(
            "--min-agreement is {}; it is a fraction from 0 to 1",
            plan.min_agreement
        )));
    }
    let k = classes as usize;
    // By hash, so that pixels are held once; only images that are the same to the bit are one.
    let mut index: HashMap<[u8; 32], usize> = HashMap::new();
    let mut pixels: Vec<f32> = Vec::new();
    let mut shape: Option<[i64; 3]> = None;
    let (mut owners, mut votes, mut sums): (Vec<u64>, Vec<Vec<u32>>, Vec<Vec<f64>>) = Default::default();
    for set in sets {
        progress.check()?;
        let images = set.load_samples()?;
        let soft = if plan.soft { Some(set.load_soft_labels(classes)?) } else { None };
        progress.advance(1, "");
        if images.is_empty() {
            continue;
        }
        let size = images.tensor().size();
        let own = [size[1], size[2], size[3]];
        if *shape.get_or_insert(own) != own {
            return Err(Error::content(
                &set.samples_path,
                format!("its images are {own:?}, those of teachers before it {shape:?}"),
                "all teachers' images must have one shape",
            ));
        }
        let numel = own.iter().product::<i64>() as usize;
        let values = images.to_vec()?;
        let mut own_images = HashSet::new();
        for (row, (image, &label)) in values.chunks_exact(numel).zip(&set.labels).enumerate() {
            let bytes: Vec<u8> = image.iter().flat_map(|x| x.to_le_bytes()).collect();
            let at = *index.entry(artifact::sha256_raw(&bytes)).or_insert_with(|| {
                pixels.extend_from_slice(image);
                owners.push(set.teacher_id);
                votes.push(vec![0; k]);
                sums.push(vec![0.0; k]);
                owners.len() - 1
            });
            // A teacher has one vote on an image, however often the image stands in its set.
            if !own_images.insert(at) {
                continue;
            }
            // Votes are counted with soft labels, too: agreement and the minimum of votes are about
            // labels.
            votes[at][label as usize] += 1;
            match &soft {
                Some(soft) => {
                    for (sum, p) in sums[at].iter_mut().zip(soft.row(row)) {
                        *sum += f64::from(*p);
                    }
                }
                None => sums[at][label as usize] += 1.0,
            }
        }
    }
    let Some([c, h, w]) = shape else {
        return Err(Error::invalid("no teacher has any samples; there is nothing to combine"));
    };
    let distinct = owners.len();
    let (mut kept, mut labels, mut means) = (Vec::new(), Vec::new(), Vec::new());
    let (mut n_votes, mut agreement_sum) = (0, 0.0);
    for (at, (votes, sums)) in votes.iter().zip(&sums).enumerate() {
        let (total, sum) = (votes.iter().sum::<u32>(), sums.iter().sum::<f64>());
        let label = (0..k).fold(0, |best, class| if sums[class] > sums[best] { class } else { best });
        let agreement = f64::from(votes[label]) / f64::from(total);
        n_votes += total as usize;
        agreement_sum += agreement;
        if total as usize >= plan.min_votes && agreement >= plan.min_agreement {
            kept.push(at as i64);
            labels.push(label as i64);
            means.extend(sums.iter().map(|p| (p / sum) as f32));
        }
    }
    if kept.is_empty() {
        return Err(Error::invalid(format!(
            "none of {distinct} images has {} votes and an agreement of {}; lower --min-votes or --min-agreement",
            plan.min_votes, plan.min_agreement
        )));
    }
    let all = crate::base::tensor::from_f32(&pixels, &[distinct as i64, c, h, w])?;
    Ok(Merged {
        images: Images::trusted(all.f_index_select(0, &crate::base::tensor::from_i64(&kept))?),
        soft_labels: SoftLabels::new(Path::new("merged soft labels"), means, classes)?,
        owners: kept.iter().map(|&at| owners[at as usize]).collect(),
        summary: MergeSummary {
            votes: n_votes,
            distinct,
            mean_votes: n_votes as f64 / distinct as f64,
            mean_agreement: agreement_sum / distinct as f64,
            rejected: distinct - kept.len(),
        },
        labels,
    })
}

impl TeacherSet {
    fn load_samples(&self) -> Result<Images> {
        let images = Images::load(&self.samples_path, RangeRule::OWN)?;
        if images.len() != self.labels.len() {
            return Err(Error::content(
                &self.samples_path,
                format!(
                    "{} samples, but {} has {} labels",
                    images.len(),
                    self.labels_path.display(),
                    self.labels.len()
                ),
                "the two files belong to different runs; run label-filter for this teacher again",
            ));
        }
        Ok(images)
    }

    fn load_soft_labels(&self, classes: i64) -> Result<SoftLabels> {
        let path = self.samples_path.with_file_name(layout::SOFT_LABELS);
        let soft = SoftLabels::load(&path, classes)?;
        if soft.len() != self.labels.len() {
            return Err(Error::content(
                &path,
                format!(
                    "{} rows, but {} has {} labels",
                    soft.len(),
                    self.labels_path.display(),
                    self.labels.len()
                ),
                "the two files belong to different runs; run label-filter --save-soft-labels for this teacher again",
            ));
        }
        Ok(soft)
    }
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
    progress: &dyn crate::base::progress::Progress,
) -> Result<Images> {
    let mut place: Vec<Vec<(usize, usize)>> = vec![Vec::new(); sets.len()];
    let mut starts = Vec::with_capacity(sets.len());
    let mut start = 0;
    for set in sets {
        starts.push(start);
        start += set.labels.len();
    }
    for (position, &row) in chosen.iter().enumerate() {
        // A set without samples starts where the next one does; the last start not above the row
        // belongs to the set that has it.
        let set = starts.partition_point(|&first| first <= row) - 1;
        place[set].push((row - starts[set], position));
    }
    let mut gathered: Vec<f32> = Vec::new();
    let mut shape: Option<(PathBuf, [i64; 3])> = None;
    for (set, wanted) in sets.iter().zip(&place) {
        progress.check()?;
        let images = set.load_samples()?;
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
    Ok(Images::trusted(crate::base::tensor::from_f32(&gathered, &[chosen.len() as i64, c, h, w])?))
}

/// Soft labels of the chosen rows, from `soft_labels.pt` beside every teacher's samples.
///
/// # Errors
/// A file that is missing or does not fit the labels.
pub fn gather_soft_labels(sets: &[TeacherSet], chosen: &[usize], classes: i64) -> Result<SoftLabels> {
    let mut all = SoftLabels::new(Path::new(""), Vec::new(), classes)?;
    for set in sets {
        all.extend(&set.load_soft_labels(classes)?);
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
        return crate::evaluate::distances::mean_pairwise(&images.flat());
    }
    let mut rows = Stream::new(seed, Purpose::Combine, 1).permutation(images.len());
    rows.truncate(DISTANCE_ROWS);
    let sample = images.flat().f_index_select(0, &crate::base::tensor::from_i64(&rows))?;
    crate::evaluate::distances::mean_pairwise(&sample)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

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

    /// A teacher's folder with these images (one grey value each) and soft labels of two classes.
    fn teacher(dir: &Path, id: u64, rows: &[(f32, [f32; 2])]) -> TeacherSet {
        let folder = dir.join(format!("teacher_{id}"));
        fs::create_dir_all(&folder).unwrap();
        let pixels: Vec<f32> = rows.iter().flat_map(|(grey, _)| [*grey; 4]).collect();
        let images =
            Images::trusted(crate::base::tensor::from_f32(&pixels, &[rows.len() as i64, 1, 2, 2]).unwrap());
        let samples_path = folder.join("synthetic_samples.pt");
        images.save(&samples_path, artifact::Access::Private).unwrap();
        let sums = rows.iter().flat_map(|(_, sums)| *sums).collect();
        let soft = SoftLabels::new(&folder, sums, 2).unwrap();
        soft.save(&folder.join("soft_labels.pt"), artifact::Access::Private).unwrap();
        let labels = rows.iter().map(|(_, [zero, one])| i64::from(one > zero)).collect();
        TeacherSet { teacher_id: id, samples_path, labels_path: folder.join("labels.csv"), labels }
    }

    #[test]
    fn teachers_of_one_pool_vote_on_its_images() {
        let dir = tempfile::tempdir().unwrap();
        let sets = [
            teacher(dir.path(), 3, &[(0.5, [0.9, 0.1]), (0.25, [0.6, 0.4])]),
            teacher(dir.path(), 4, &[(0.25, [0.1, 0.9]), (0.75, [0.2, 0.8])]),
            teacher(dir.path(), 7, &[(0.25, [0.55, 0.45]), (0.5, [0.7, 0.3])]),
        ];
        let run = |soft, min_agreement, min_votes| {
            merge(&sets, 2, MergePlan { soft, min_agreement, min_votes }, &crate::base::progress::Silent)
        };
        let merged = run(false, 0.0, 1).unwrap();
        assert_eq!(merged.images.to_vec().unwrap()[..12], [[0.5; 4], [0.25; 4], [0.75; 4]].concat());
        // Two of three teachers see class 0 in the second image.
        assert_eq!(merged.labels, [0, 0, 1]);
        assert_eq!(merged.owners, [3, 3, 4]);
        assert_eq!((merged.summary.votes, merged.summary.distinct), (6, 3));
        assert!((merged.summary.mean_agreement - (1.0 + 2.0 / 3.0 + 1.0) / 3.0).abs() < 1e-12);
        // Their probabilities say otherwise: .6 + .1 + .55 against .4 + .9 + .45.
        let merged = run(true, 0.0, 1).unwrap();
        assert_eq!(merged.labels, [0, 1, 1]);
        let mean = merged.soft_labels.row(1);
        assert!((mean[0] - 1.25 / 3.0).abs() < 1e-6, "{mean:?}");
        assert_eq!(run(false, 0.9, 1).unwrap().labels, [0, 1]);
        assert_eq!(run(false, 0.0, 2).unwrap().labels, [0, 0]);
        assert!(run(false, 1.0, 4).is_err_and(|e| e.to_string().contains("--min-votes")));
    }

    #[test]
    fn a_teacher_has_one_vote_on_an_image_that_stands_twice_in_its_set() {
        let dir = tempfile::tempdir().unwrap();
        let sets = [
            teacher(dir.path(), 0, &[(0.5, [0.9, 0.1]), (0.5, [0.9, 0.1])]),
            teacher(dir.path(), 1, &[(0.5, [0.8, 0.2]), (0.25, [0.1, 0.9]), (0.25, [0.1, 0.9])]),
        ];
        let plan = MergePlan { soft: false, min_agreement: 0.0, min_votes: 2 };
        let merged = merge(&sets, 2, plan, &crate::base::progress::Silent).unwrap();
        assert_eq!((merged.labels.len(), merged.summary.votes), (1, 3));
    }
}
