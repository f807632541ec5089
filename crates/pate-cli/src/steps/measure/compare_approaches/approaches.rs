//! The measurements of `compare-approaches`: what each run folder holds, beside the same private shards.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use artifact::{FileRecord, StoredReport, layout};
use pate_core::base::rng::{Purpose, Stream};
use pate_core::data::{
    ImageSpec, Images, LabelColumn, Labels, Normalisation, RangeRule, Shard, class_counts, read_labels_of,
};
use pate_core::evaluate::{self, Memorisation, distances};
use pate_core::models::Classifier;
use pate_core::pate::combine::{self, TeacherSet};
use picture::Sample;
use serde::Serialize;
use serde_json::Value;
use tch::Tensor;

use crate::args::ShardScaleArgs;
use crate::files::markdown;
use crate::files::provenance::Provenance;
use crate::run::Context;

/// Images of a side whose moments make a Frechet distance, at most.
const MOMENTS: usize = 10_000;
/// Images of a side of precision and recall, at most: distances between all of them are computed.
const NEIGHBOURS: usize = 5_000;
/// Neighbours that make a ball of precision and recall (the value of their paper).
const K: i64 = 3;
/// Shards beside the own one that memorisation is measured against.
const OTHER_SHARDS: usize = 9;
/// Teachers of whom the picture shows a sample.
const SHOWN: usize = 12;

/// A run folder to compare.
#[derive(Clone, Debug)]
pub(super) struct Approach {
    /// What the table calls it.
    pub name: String,
    /// Holds `teachers/teacher_<id>/` (or those folders themselves) and `student/evaluation_report.json`.
    pub dir: PathBuf,
}

impl std::str::FromStr for Approach {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, dir)) if !name.trim().is_empty() && !dir.is_empty() => {
                Ok(Self { name: name.trim().to_owned(), dir: crate::args::parse_path(dir)? })
            }
            _ => Err(format!("`{text}` is no NAME=FOLDER, such as vae=runs/teacher_vae")),
        }
    }
}

impl Approach {
    fn teachers_dir(&self) -> PathBuf {
        let inner = self.dir.join("teachers");
        if inner.is_dir() { inner } else { self.dir.clone() }
    }

    /// Complete teachers, by id.
    ///
    /// # Errors
    /// A folder that cannot be read, or none in it.
    pub(super) fn teachers(&self, classes: i64) -> Result<BTreeMap<u64, TeacherSet>> {
        let dir = self.teachers_dir();
        let found = combine::find(&dir, 0, None, classes)
            .with_context(|| format!("cannot use the run folder of \"{}\"", self.name))?;
        if found.complete.is_empty() {
            return Err(pate_core::Error::content(
                &dir,
                "there is no complete teacher_<id> folder in it",
                "give the folder above the --output-dir of batch-label-filter, or that folder itself",
            )
            .into());
        }
        Ok(found.complete.into_iter().map(|set| (set.teacher_id, set)).collect())
    }

    fn student(&self) -> Option<(Student, FileRecord)> {
        let path = self.dir.join("student").join(layout::EVALUATION_REPORT);
        let report = StoredReport::read(&path).ok().flatten()?;
        let number = |value: &Value, name: &str| value.get(name).and_then(Value::as_f64);
        let fields = Value::Object(report.fields.clone());
        let strongest = fields["controls"].as_array().into_iter().flatten().filter_map(|control| {
            Some((control["name"].as_str()?.to_owned(), number(control, "overall_accuracy")?))
        });
        let strongest = strongest.max_by(|a, b| a.1.total_cmp(&b.1));
        let interval = fields["accuracy_interval_95"]
            .as_array()
            .and_then(|ends| Some([ends.first()?.as_f64()?, ends.get(1)?.as_f64()?]));
        let student = Student {
            overall_accuracy: number(&fields, "overall_accuracy")?,
            accuracy_interval_95: interval,
            total_samples: fields["total_samples"].as_u64(),
            strongest_control: strongest
                .map(|(name, overall_accuracy)| StrongestControl { name, overall_accuracy }),
        };
        Some((student, FileRecord::of(&path).ok()?))
    }
}

/// A student's test, from its report.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Student {
    /// Per cent right.
    pub overall_accuracy: f64,
    /// 95% Wilson interval.
    pub accuracy_interval_95: Option<[f64; 2]>,
    /// Test images.
    pub total_samples: Option<u64>,
    /// The strongest control that its report has.
    pub strongest_control: Option<StrongestControl>,
}

/// A control's test.
#[derive(Clone, Debug, Serialize)]
pub(super) struct StrongestControl {
    /// Which one.
    pub name: String,
    /// Per cent right.
    pub overall_accuracy: f64,
}

/// What was measured of an approach. What could not be is null.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    /// What the table calls it.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
    /// Data sets of its decoders, as their reports have them: name and images of each decoder, least and most.
    pub training_data: Vec<(String, Option<[u64; 2]>)>,
    /// Different decoders.
    pub num_models: usize,
    /// Seconds of all decoders' trainings, summed over threads.
    pub training_core_seconds: Option<f64>,
    /// Teachers with samples.
    pub num_teachers: usize,
    /// Teachers without one.
    pub num_empty: usize,
    /// Samples.
    pub num_samples: usize,
    /// Mean of the teachers' confidences in their labels.
    pub teacher_confidence: Option<f64>,
    /// To the private images, in the feature space.
    pub frechet_distance: Option<f64>,
    /// With 3 neighbours.
    pub precision: Option<f64>,
    /// With 3 neighbours.
    pub recall: Option<f64>,
    /// Mean pairwise distance of a teacher's samples by that of its shard, on average over teachers.
    pub diversity_ratio: Option<f64>,
    /// L1 distance of class shares of a teacher's samples and its shard, on average over teachers.
    pub histogram_l1: Option<f64>,
    /// Against other shards.
    pub memorisation: Option<Memorisation>,
    /// Whether memorisation shows.
    pub memorisation_suspected: Option<bool>,
    /// From its report.
    pub student: Option<Student>,
}

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
                images.expect_spec(&path, first.spec(classes))?;
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
    pub(super) fn spec(&self) -> ImageSpec {
        self.images[0].spec(self.classes)
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

/// Some rows of `n`, at most `most`, in a seeded order.
fn some_rows(n: usize, most: usize, seed: u64, index: u64) -> Vec<i64> {
    let mut rows = Stream::new(seed, Purpose::Comparison, index).permutation(n);
    rows.truncate(most);
    rows
}

fn select(x: &Tensor, rows: &[i64]) -> Tensor {
    x.index_select(0, &pate_core::base::tensor::from_i64(rows))
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
            some_rows(total, MOMENTS, ctx.seed, 0).into_iter().collect();
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
        let n = self.features.size()[0];
        let order = some_rows(n as usize, n as usize, self.seed, 1);
        let (a, b) = order.split_at(order.len() / 2);
        let (a, b) = (select(&self.features, a), select(&self.features, b));
        let most = |x: &Tensor| x.narrow(0, 0, x.size()[0].min(NEIGHBOURS as i64));
        let [precision, recall] = evaluate::precision_recall(&most(&a), &most(&b), K)?;
        Ok(RealAgainstReal {
            frechet_distance: evaluate::frechet_distance(&a, &b)?,
            precision,
            recall,
            images: order.len() / 2,
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
        let spec = self.shards.spec();
        let mut files = Vec::new();
        let mut kept = Vec::new();
        let (mut confidences, mut ratios, mut l1s, mut memorised) = (vec![], vec![], vec![], vec![]);
        let (mut features, mut num_samples, mut num_empty) = (Vec::new(), 0, 0);
        let mut shown = Shown::default();
        let per_teacher = MOMENTS.div_ceil(self.shards.ids.len());
        let progress = ctx.progress();
        progress.start(&approach.name, self.shards.ids.len() as u64);
        for (at, id) in self.shards.ids.iter().enumerate() {
            progress.check()?;
            let Some(set) = sets.get(id) else { bail!("teacher {id} of \"{}\" has gone", approach.name) };
            let images = Images::load(&set.samples_path, RangeRule::OWN).context("cannot use samples")?;
            let record = FileRecord::of(&set.samples_path)?;
            files.push(record.clone());
            files.push(FileRecord::of(&set.labels_path)?);
            kept.push((set.clone(), record));
            if images.is_empty() {
                num_empty += 1;
                progress.advance(1, "");
                continue;
            }
            images.expect_spec(&set.samples_path, spec)?;
            let rows = read_labels_of(
                &set.samples_path,
                images.len(),
                &set.labels_path,
                spec.classes,
                LabelColumn::Confidence,
            )?;
            let own: Vec<Option<f32>> = rows.iter().map(|row| row.confidence).collect();
            let shard = &self.shards.images[at];
            let spread = distances::mean_pairwise(&images.flat())?;
            ratios.extend(evaluate::ratio(spread, distances::mean_pairwise(&shard.flat())?));
            let classes = self.shards.labels[at].as_ref().map(|labels| class_counts(labels.values()));
            l1s.extend(
                classes.and_then(|classes| evaluate::histogram_l1(&class_counts(&set.labels), &classes)),
            );
            let others: Vec<&Images> = (1..self.shards.ids.len())
                .take(OTHER_SHARDS)
                .map(|step| &self.shards.images[(at + step) % self.shards.ids.len()])
                .collect();
            if !others.is_empty() {
                memorised.push(Memorisation::of(&images, shard, &others, self.near)?);
            }
            // One of the most confident.
            if at % self.shards.ids.len().div_ceil(SHOWN) == 0 {
                let best = (0..own.len())
                    .max_by(|&a, &b| own[a].unwrap_or(0.0).total_cmp(&own[b].unwrap_or(0.0)).then(b.cmp(&a)));
                shown.add(&images, best.unwrap_or(0) as i64, *id, shard)?;
            }
            confidences.extend(own.into_iter().flatten().map(f64::from));
            num_samples += images.len();
            let some = images.select(&some_rows(images.len(), per_teacher, self.seed, 2 + id))?;
            features.push(evaluate::features(
                &*self.network,
                &self.normalisation,
                &some,
                ctx.device,
                &ctx.watch(),
            )?);
            progress.advance(1, "");
        }
        progress.finish();
        let (sets, records): (Vec<TeacherSet>, Vec<FileRecord>) = kept.into_iter().unzip();
        let provenance = Provenance::of(&sets, &records);
        let (mut frechet_distance, mut pair) = (None, None);
        if !features.is_empty() {
            let all = Tensor::f_cat(&features, 0)?;
            let n = all.size()[0] as usize;
            let all = select(&all, &some_rows(n, MOMENTS, self.seed, 1));
            let most = |x: &Tensor| x.narrow(0, 0, x.size()[0].min(NEIGHBOURS as i64));
            if n > K as usize && self.features.size()[0] > K {
                frechet_distance = Some(evaluate::frechet_distance(&self.features, &all)?);
                pair = Some(evaluate::precision_recall(&most(&self.features), &most(&all), K)?);
            }
        }
        let mean = |all: &[f64]| (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64);
        let memorisation = Memorisation::total(&memorised);
        let student = approach.student();
        files.extend(student.iter().map(|(_, record)| record.clone()));
        let seconds: Option<f64> = provenance.decoders.values().map(|decoder| decoder.core_seconds).sum();
        let measured = Measured {
            name: approach.name.clone(),
            dir: approach.dir.clone(),
            training_data: training_data(&provenance),
            num_models: provenance.decoders.len(),
            training_core_seconds: seconds.filter(|_| !provenance.decoders.is_empty()),
            num_teachers: self.shards.ids.len() - num_empty,
            num_empty,
            num_samples,
            teacher_confidence: mean(&confidences),
            frechet_distance,
            precision: pair.map(|p| p[0]),
            recall: pair.map(|p| p[1]),
            diversity_ratio: mean(&ratios),
            histogram_l1: mean(&l1s),
            memorisation_suspected: memorisation.as_ref().map(Memorisation::is_suspicious),
            memorisation,
            student: student.map(|(student, _)| student),
        };
        Ok((measured, shown, files))
    }
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

/// A sample of some teachers each, and the nearest image of its shard.
#[derive(Default)]
pub(super) struct Shown {
    samples: Vec<Images>,
    nearest: Vec<Images>,
    captions: Vec<(String, String)>,
}

impl Shown {
    fn add(&mut self, images: &Images, row: i64, teacher_id: u64, shard: &Images) -> Result<()> {
        let sample = images.select(&[row])?;
        let (nearest, distance) = evaluate::nearest_image(&sample.flat(), shard)?;
        self.samples.push(sample);
        self.nearest.push(shard.select(&[nearest])?);
        self.captions.push((format!("t{teacher_id}"), format!("{distance:.2}")));
        Ok(())
    }
}

/// A named row of a picture.
pub(super) type Row = (String, Vec<Sample>);

/// The images of all approaches, and two rows of them for each: samples, and what they are nearest to.
///
/// # Errors
/// No sample anywhere.
pub(super) fn sheet(all: &[(&str, Shown)]) -> Result<(Images, Vec<Row>)> {
    let mut images = Vec::new();
    let mut rows = Vec::new();
    let mut next = 0;
    for (name, shown) in all {
        let mut row = |of: &[Images], captions: Vec<String>| -> Result<Vec<Sample>> {
            let mut samples = Vec::new();
            for (image, caption) in of.iter().zip(captions) {
                images.push(image.select(&[0])?);
                samples.push(Sample { image_idx: next, caption });
                next += 1;
            }
            Ok(samples)
        };
        let samples = row(&shown.samples, shown.captions.iter().map(|c| c.0.clone()).collect())?;
        let nearest = row(&shown.nearest, shown.captions.iter().map(|c| c.1.clone()).collect())?;
        if !samples.is_empty() {
            rows.push(((*name).to_owned(), samples));
            rows.push(("nearest in own shard".to_owned(), nearest));
        }
    }
    if images.is_empty() {
        bail!("no approach has a sample of these teachers; there is nothing to compare");
    }
    Ok((Images::concat(&images)?, rows))
}

/// A cell of what memorisation's measures say.
fn memory(of: impl Fn(&Memorisation) -> String) -> impl Fn(&Measured) -> String {
    move |m| m.memorisation.as_ref().map_or_else(|| "not measured".to_owned(), &of)
}

/// The comparison as a Markdown table, approaches side by side.
pub(super) fn table(all: &[Measured], real: &RealAgainstReal) -> String {
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "not measured".to_owned(), |v| format!("{v:.digits$}"))
    };
    let names: Vec<String> = all.iter().map(|m| markdown::text(&m.name)).collect();
    let mut text = format!(
        "| | {} | private images among themselves |\n|---|{}\n",
        names.join(" | "),
        "---|".repeat(all.len() + 1)
    );
    let mut line = |name: &str, cell: &dyn Fn(&Measured) -> String, last: &str| {
        let _ = write!(text, "| {name} |");
        for measured in all {
            let _ = write!(text, " {} |", cell(measured));
        }
        let _ = writeln!(text, " {last} |");
    };
    line("Training data of a decoder", &|m| markdown::text(&data_text(&m.training_data)), "");
    line("Decoders", &|m| m.num_models.to_string(), "");
    line("Training of decoders, core-seconds", &|m| number(m.training_core_seconds, 0), "");
    line(
        "Teachers, samples",
        &|m| match m.num_empty {
            0 => format!("{}, {}", m.num_teachers, m.num_samples),
            n => format!("{} ({n} more came out empty), {}", m.num_teachers, m.num_samples),
        },
        &format!("2 x {} images", real.images),
    );
    line("Teacher confidence, mean", &|m| number(m.teacher_confidence, 4), "");
    line("Frechet distance", &|m| number(m.frechet_distance, 2), &format!("{:.2}", real.frechet_distance));
    line("Precision", &|m| number(m.precision, 3), &format!("{:.3}", real.precision));
    line("Recall", &|m| number(m.recall, 3), &format!("{:.3}", real.recall));
    line("Diversity ratio, mean", &|m| number(m.diversity_ratio, 3), "1");
    line("Class histogram L1, mean", &|m| number(m.histogram_l1, 3), "");
    line(
        "Nearest image, own shard / other shards: mean distance",
        &memory(|m| format!("{:.3} / {:.3}", m.mean_own, m.mean_other)),
        "",
    );
    let shards = all.iter().find_map(|m| m.memorisation.as_ref()).map_or(OTHER_SHARDS + 1, |m| m.shards);
    line(
        &format!("Own shard has the nearest image of {shards} shards"),
        &memory(|m| format!("{:.1}%", 100.0 * m.own_share())),
        &format!("{:.1}% by chance", 100.0 / shards as f64),
    );
    let near = all.iter().find_map(|m| m.memorisation.as_ref()).map_or(0.0, |m| m.near);
    line(
        &format!("Samples nearer than {near} to the own shard / another one"),
        &memory(|m| format!("{} / {:.1}", m.near_own, m.near_other)),
        "",
    );
    line(
        "Memorisation",
        &|m| match m.memorisation_suspected {
            Some(true) => "**SUSPECTED**".to_owned(),
            Some(false) => "not seen".to_owned(),
            None => "not measured".to_owned(),
        },
        "",
    );
    line(
        "Student, test accuracy",
        &|m| match &m.student {
            Some(Student { overall_accuracy, accuracy_interval_95: Some([low, high]), .. }) => {
                format!("{overall_accuracy:.2}% ({low:.2} to {high:.2})")
            }
            Some(student) => format!("{:.2}%", student.overall_accuracy),
            None => "not measured".to_owned(),
        },
        "",
    );
    line(
        "Strongest control without private data",
        &|m| match m.student.as_ref().and_then(|student| student.strongest_control.as_ref()) {
            Some(control) => format!("{:.2}% ({})", control.overall_accuracy, markdown::text(&control.name)),
            None => "not measured".to_owned(),
        },
        "",
    );
    line("Formal privacy guarantee", &|_| "none".to_owned(), "");
    text
}

fn data_text(data: &[(String, Option<[u64; 2]>)]) -> String {
    if data.is_empty() {
        return "not known".to_owned();
    }
    let texts = data.iter().map(|(name, images)| match images {
        None => name.clone(),
        Some([low, high]) if low == high => format!("{name}, {low} images"),
        Some([low, high]) => format!("{name}, {low} to {high} images"),
    });
    texts.collect::<Vec<_>>().join("; ")
}
