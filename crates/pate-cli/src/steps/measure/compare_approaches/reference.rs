//! The private shards, and what measures a run folder's samples beside them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use artifact::{FileRecord, layout};
use pate_core::base::progress::Silent;
use pate_core::base::tensor;
use pate_core::data::{
    ImageShape, Images, LabelColumn, Labels, Normalisation, RangeRule, Shard, class_counts, read_labels_of,
};
use pate_core::evaluate::{self, Memorisation, Resemblance, distances, some_rows};
use pate_core::models::Classifier;
use pate_core::pate::combine::TeacherSet;
use serde::Serialize;
use tch::Tensor;

use super::approach::Approach;
use super::sheet::Shown;
use super::table::Measured;
use crate::args::ShardScaleArgs;
use crate::files::provenance::Provenance;
use crate::run::Context;

/// Images of a side of precision and recall, at most: distances between all of them are computed.
const NEIGHBOURS: usize = 5_000;
/// Shards beside the own one that memorisation is measured against.
pub(super) const OTHER_SHARDS: usize = 9;
/// Teachers of whom the picture shows a sample.
const SHOWN: usize = 12;

/// The private shards of the teachers that are compared.
pub(super) struct Shards {
    ids: Vec<u64>,
    images: Vec<Images>,
    labels: Vec<Option<Labels>>,
    files: Vec<FileRecord>,
    classes: i64,
}

impl Shards {
    /// Reads `teacher_<id>/shard.pt` and, where they are, the labels beside, of `ids`.
    ///
    /// # Errors
    /// No ids, a shard that is missing, damaged, or of another shape than the first.
    pub(super) fn load(base: &Path, ids: &[u64], classes: i64, scale: ShardScaleArgs) -> Result<Self> {
        let (mut all, mut labels, mut files) = (Vec::<Images>::new(), Vec::new(), Vec::new());
        for id in ids {
            let dir = base.join(layout::teacher(*id));
            let path = dir.join(layout::SHARD);
            let images = Shard::load(&path, scale.rule()).context("cannot use a shard")?.images;
            if let Some(first) = all.first() {
                images.expect_shape(&path, first.shape())?;
            }
            files.push(FileRecord::of(&path)?);
            let labels_path = dir.join(layout::SHARD_LABELS);
            labels.push(if labels_path.is_file() {
                files.push(FileRecord::of(&labels_path)?);
                Some(Labels::load(&labels_path, classes).context("cannot use a shard's labels")?)
            } else {
                None
            });
            all.push(images);
        }
        if all.is_empty() {
            bail!("the approaches have no teacher in common");
        }
        Ok(Self { ids: ids.to_vec(), images: all, labels, files, classes })
    }

    /// Shape of the images, and the number of classes.
    pub(super) fn shape(&self) -> ImageShape {
        self.images[0].shape()
    }

    /// The files that were read.
    pub(super) fn files(&self) -> &[FileRecord] {
        &self.files
    }
}

/// The private shards, and what measures resemblance to them.
pub(super) struct Reference {
    /// The shards.
    pub shards: Shards,
    network: Box<dyn Classifier>,
    normalisation: Normalisation,
    features: Tensor,
    near: f64,
    seed: u64,
}

/// Numbers of the private images beside each other: what an approach could reach.
#[derive(Clone, Debug, Serialize)]
pub(super) struct RealAgainstReal {
    /// Frechet distance of two halves.
    pub frechet_distance: f64,
    /// One half with respect to the other.
    pub precision: f64,
    /// One half with respect to the other.
    pub recall: f64,
    /// Images of a half.
    pub images: usize,
}

impl Reference {
    /// Takes the features of the private images, of some of them where there are many.
    ///
    /// # Errors
    /// A network for images of another shape, or a stop.
    pub(super) fn new(
        shards: Shards,
        network: Box<dyn Classifier>,
        normalisation: Normalisation,
        near: f64,
        ctx: &Context,
    ) -> Result<Self> {
        let sizes: Vec<usize> = shards.images.iter().map(Images::len).collect();
        let total: usize = sizes.iter().sum();
        let chosen: std::collections::BTreeSet<i64> =
            some_rows(total, Resemblance::ROWS, ctx.seed, 0).into_iter().collect();
        let mut real = Vec::new();
        let mut first = 0;
        for (shard, n) in shards.images.iter().zip(sizes) {
            let rows: Vec<i64> = chosen.range(first..first + n as i64).map(|row| row - first).collect();
            first += n as i64;
            if !rows.is_empty() {
                real.push(shard.select(&rows)?);
            }
        }
        let real = Images::concat(&real)?;
        let features = evaluate::features(&*network, &normalisation, &real, ctx.device, &ctx.watch())?;
        Ok(Self { shards, network, normalisation, features, near, seed: ctx.seed })
    }

    /// Two halves of the private images beside each other.
    ///
    /// # Errors
    /// Too few images.
    pub(super) fn real_against_real(&self) -> Result<RealAgainstReal> {
        let halves = Resemblance::of_halves(&self.features, (self.seed, 1), NEIGHBOURS, &Silent)?;
        Ok(RealAgainstReal {
            frechet_distance: halves.frechet_distance,
            precision: halves.neighbours.precision,
            recall: halves.neighbours.recall,
            images: halves.real_images as usize,
        })
    }

    /// Measures an approach; gives the pictures' images too, and the files that were read.
    ///
    /// # Errors
    /// Samples that are damaged or of another shape, or a stop.
    pub(super) fn measure(
        &self,
        approach: &Approach,
        sets: &BTreeMap<u64, TeacherSet>,
        ctx: &Context,
    ) -> Result<(Measured, Shown, Vec<FileRecord>)> {
        let ids = &self.shards.ids;
        let mut sums = Sums::default();
        let mut shown = Shown::default();
        let progress = ctx.progress();
        progress.start(&approach.name, ids.len() as u64);
        for (at, id) in ids.iter().enumerate() {
            progress.check()?;
            let Some(set) = sets.get(id) else { bail!("teacher {id} of \"{}\" has gone", approach.name) };
            self.measure_teacher(at, set, &mut sums, &mut shown, ctx)?;
            progress.advance(1, "");
        }
        progress.finish();
        let mut files = Vec::new();
        for (set, samples) in sums.sets.iter().zip(&sums.samples) {
            files.push(samples.clone());
            files.push(FileRecord::of(&set.labels_path)?);
        }
        let provenance = Provenance::of(&sums.sets, &sums.samples);
        let resemblance = self.resemblance(&sums.features)?;
        let mean = |all: &[f64]| (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64);
        let memorisation = Memorisation::total(&sums.memorised);
        let student = approach.student();
        files.extend(student.iter().map(|(_, record)| record.clone()));
        // Of several decoders one unknown time makes the sum unknown; a partial one would flatter.
        let seconds: Option<f64> = provenance.decoders.values().map(|decoder| decoder.core_seconds).sum();
        let measured = Measured {
            name: approach.name.clone(),
            dir: approach.dir.clone(),
            training_data: training_data(&provenance),
            num_models: provenance.decoders.len(),
            // The sum over no decoders is 0 and means that nothing is known.
            training_core_seconds: seconds.filter(|_| !provenance.decoders.is_empty()),
            num_teachers: ids.len() - sums.num_empty,
            num_empty: sums.num_empty,
            num_samples: sums.num_samples,
            teacher_confidence: mean(&sums.confidences),
            frechet_distance: resemblance.as_ref().map(|near| near.frechet_distance),
            precision: resemblance.as_ref().map(|near| near.neighbours.precision),
            recall: resemblance.as_ref().map(|near| near.neighbours.recall),
            diversity_ratio: mean(&sums.ratios),
            histogram_l1: mean(&sums.l1s),
            memorisation_suspected: memorisation.as_ref().map(Memorisation::is_suspicious),
            memorisation,
            student: student.map(|(student, _)| student),
        };
        Ok((measured, shown, files))
    }

    /// Adds what one teacher's samples give; `at` is its place among the shards.
    fn measure_teacher(
        &self,
        at: usize,
        set: &TeacherSet,
        sums: &mut Sums,
        shown: &mut Shown,
        ctx: &Context,
    ) -> Result<()> {
        let (n_shards, shard) = (self.shards.ids.len(), &self.shards.images[at]);
        let images = Images::load(&set.samples_path, RangeRule::OWN).context("cannot use samples")?;
        sums.samples.push(FileRecord::of(&set.samples_path)?);
        sums.sets.push(set.clone());
        if images.is_empty() {
            sums.num_empty += 1;
            return Ok(());
        }
        let shape = self.shards.shape();
        images.expect_shape(&set.samples_path, shape)?;
        let rows = read_labels_of(
            &set.samples_path,
            images.len(),
            &set.labels_path,
            self.shards.classes,
            LabelColumn::Confidence,
        )?;
        let spread = distances::mean_pairwise(&images.flat())?;
        sums.ratios.extend(evaluate::ratio(spread, distances::mean_pairwise(&shard.flat())?));
        let classes = self.shards.labels[at].as_ref().map(|labels| class_counts(labels.values()));
        sums.l1s
            .extend(classes.and_then(|classes| evaluate::histogram_l1(&class_counts(&set.labels), &classes)));
        // The next shards in the circle, so that each is compared with equally often.
        let others: Vec<&Images> = (1..n_shards)
            .take(OTHER_SHARDS)
            .map(|step| &self.shards.images[(at + step) % n_shards])
            .collect();
        if !others.is_empty() {
            sums.memorised.push(Memorisation::of(&images, shard, &others, self.near)?);
        }
        if at.is_multiple_of(n_shards.div_ceil(SHOWN)) {
            let sure = |row: usize| rows[row].confidence.unwrap_or(0.0);
            let best = (0..rows.len()).max_by(|&a, &b| sure(a).total_cmp(&sure(b)).then(b.cmp(&a)));
            shown.add(&images, best.unwrap_or(0) as i64, set.teacher_id, shard)?;
        }
        sums.confidences.extend(rows.iter().filter_map(|row| row.confidence).map(f64::from));
        sums.num_samples += images.len();
        // An equal part from each teacher, so that one with many samples does not stand for all.
        let most = Resemblance::ROWS.div_ceil(n_shards);
        let some =
            images.select(&some_rows(images.len(), most, self.seed, set.teacher_id.wrapping_add(3)))?;
        sums.features.push(evaluate::features(
            &*self.network,
            &self.normalisation,
            &some,
            ctx.device,
            &ctx.watch(),
        )?);
        Ok(())
    }

    /// That of features to those of the private images; `None` for too few.
    fn resemblance(&self, features: &[Tensor]) -> Result<Option<Resemblance>> {
        if features.is_empty() {
            return Ok(None);
        }
        let all = Tensor::f_cat(features, 0)?;
        if !Resemblance::is_defined(&self.features, &all) {
            return Ok(None);
        }
        let rows = tensor::from_i64(&some_rows(all.size()[0] as usize, Resemblance::ROWS, self.seed, 2));
        let all = all.f_index_select(0, &rows)?;
        Ok(Some(Resemblance::of(&self.features, &all, NEIGHBOURS, &Silent)?))
    }
}

/// What the teachers' samples add up to.
#[derive(Default)]
struct Sums {
    sets: Vec<TeacherSet>,
    samples: Vec<FileRecord>,
    confidences: Vec<f64>,
    ratios: Vec<f64>,
    l1s: Vec<f64>,
    memorised: Vec<Memorisation>,
    features: Vec<Tensor>,
    num_samples: usize,
    num_empty: usize,
}

/// Data sets of decoders: each name once, with the least and the most images.
fn training_data(provenance: &Provenance) -> Vec<(String, Option<[u64; 2]>)> {
    let mut all: BTreeMap<String, Option<[u64; 2]>> = BTreeMap::new();
    for (name, n) in provenance.decoders.values().filter_map(|decoder| decoder.dataset.clone()) {
        let range = all.entry(name).or_default();
        if let Some(n) = n {
            let [low, high] = range.unwrap_or([n, n]);
            *range = Some([low.min(n), high.max(n)]);
        }
    }
    all.into_iter().collect()
}
