//! `evaluate-synthetic`: a synthetic data set beside the shard that it stands for.
//!
//! Reads: samples, labels, and optionally the shard. Writes: a JSON report and a picture of the
//! distances beside it. Prints: a summary with the verdict and the privacy statement. Privacy: no
//! formal guarantee.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use artifact::{FileRecord, Guarantee, Input, Report, layout};
use clap::Parser;
use pate_core::base::progress::Silent;
use pate_core::config::EvaluationConfig;
use pate_core::data::{Images, LabelColumn, LabelRow, Labels, Shard, Split, read_labels_of};
use pate_core::evaluate::{self, NearestDistances, SyntheticInputs, SyntheticScore, distances};
use serde_json::{Value, json};

use crate::args::{
    ConfigArgs, MNIST_DIR, SHARD_INDICES, ScaleArgs, ShardScaleArgs, check_ending, parse_path,
};
use crate::files::data_sets::{self, mnist, shard_indices};
use crate::files::pictures;
use crate::run::{Context, Outcome, RunArgs, Step};

/// Measure a synthetic data set: diversity, class proportions, nearest neighbours, resemblance to
/// the shard
///
/// The shard comes from --shard, or from --teacher-id with --shard-indices and MNIST; without
/// either, only what needs no private data is measured.
#[derive(Parser)]
#[command(
    name = "evaluate-synthetic",
    version,
    after_help = "\
Examples:
  evaluate-synthetic --samples teachers/teacher_0/synthetic_samples.pt \\
    --shard teachers/teacher_0/shard.pt
  evaluate-synthetic --samples teachers/teacher_0/synthetic_samples.pt \\
    --labels teachers/teacher_0/labels.csv --teacher-id 0 \\
    --shard-indices shard_indices.json --mnist-data-dir datasets \\
    --out teachers/teacher_0/evaluation_report.json

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct EvaluateSynthetic {
    /// The samples
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Samples")]
    samples: PathBuf,
    /// Their labels [default: those in the file of the samples, else labels.csv beside it]
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Samples")]
    labels: Option<PathBuf>,
    /// Number of classes; labels are 0..N-1
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(i64).range(2..=10_000), help_heading = "Samples")]
    classes: i64,
    /// The private shard; beats --teacher-id
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Private data")]
    shard: Option<PathBuf>,
    /// Its labels [default: shard_labels.pt beside the shard, where it is]
    #[arg(long, value_name = "FILE", value_parser = parse_path, requires = "shard", help_heading = "Private data")]
    shard_labels: Option<PathBuf>,
    /// Teacher whose shard is taken from --shard-indices and MNIST
    #[arg(long, value_name = "ID", help_heading = "Private data")]
    teacher_id: Option<u64>,
    /// Rows of MNIST's training set by teacher, JSON, for --teacher-id
    #[arg(long, value_name = "FILE", value_parser = parse_path, default_value = SHARD_INDICES, help_heading = "Private data")]
    shard_indices: PathBuf,
    /// Folder of MNIST, for --teacher-id
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = MNIST_DIR, help_heading = "Private data")]
    mnist_data_dir: PathBuf,
    #[command(flatten)]
    scale: ScaleArgs,
    #[command(flatten)]
    shard_scale: ShardScaleArgs,
    /// Report, JSON [default: evaluation_report.json beside the samples]
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Output")]
    out: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    run: RunArgs,
}

impl Step for EvaluateSynthetic {
    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let loaded = self.config.load(ctx)?;
        let out = self.out.clone().unwrap_or_else(|| self.samples.with_file_name(layout::EVALUATION_REPORT));
        check_ending("--out", &out, &["png"], ".json")?;
        let (images, own_labels) = Images::load_with_labels(&self.samples, self.scale.rule(), self.classes)
            .context("cannot use the samples")?;
        let beside = self.samples.with_file_name(layout::LABELS);
        let (labels_path, rows) = match (&self.labels, own_labels) {
            (None, Some(labels)) => {
                let row = |&label: &i64| LabelRow { label, confidence: None };
                (self.samples.clone(), labels.values().iter().map(row).collect())
            }
            (path, _) => {
                let path = path.clone().unwrap_or(beside);
                let column = LabelColumn::Confidence;
                let rows = read_labels_of(&self.samples, images.len(), &path, self.classes, column)
                    .context("cannot use the labels")?;
                (path, rows)
            }
        };
        let labels: Vec<i64> = rows.iter().map(|row| row.label).collect();
        let shard = shard(self)?;
        if let Some(shard) = &shard {
            shard.images.expect_shape(&shard.source, images.shape())?;
        }
        // After the inputs are read: a default --out lies beside them, and a refused step leaves
        // nothing there.
        let _lock = ctx.lock_file("--out", &out, &[pictures::beside(&out)])?;
        let score = evaluate::synthetic(&SyntheticInputs {
            samples: &images,
            labels: &labels,
            shard_private: shard.as_ref().map(|s| &s.images),
            shard_labels_private: shard.as_ref().and_then(|s| s.labels.as_ref()).map(Labels::values),
        })?;
        let verdict = verdict(&score, &rows, &loaded.config.evaluation);
        let mut report = Report::new();
        report.input(Input::open(&self.samples)?);
        if labels_path != self.samples {
            report.input(Input::open(&labels_path)?);
        }
        for path in shard.iter().flat_map(|shard| &shard.files) {
            report.input(Input::private(FileRecord::of(path)?, data_sets::READ));
        }
        let access = report.access();
        // Not before all inputs are named: the summary ends with the label.
        ctx.print(&summary(&score, &verdict, images.len(), report.guarantee()))?;
        let metadata = json!({
            "synthetic_samples_path": self.samples,
            "synthetic_labels_path": &labels_path,
            "original_shard_path": shard.as_ref().map(|s| &s.source),
            "num_synthetic_samples": images.len(),
            "num_original_samples": shard.as_ref().map(|s| s.images.len()),
        });
        for (name, value) in sections(&score, images.len()) {
            report.field(name, value)?;
        }
        report.field("metadata", metadata)?.field("success_criteria", verdict)?;
        loaded.describe(&mut report)?;
        if let Some(shard) = &shard
            && !images.is_empty()
        {
            let nearest = distances::nearest(&images.flat(), &shard.images.flat(), &Silent)?;
            let marks = [("target".to_owned(), loaded.config.evaluation.min_nn_distance_target)];
            let path = out.with_extension("png");
            report.output(pictures::distances(
                "Distance to the nearest private image",
                &nearest,
                &marks,
                &path,
                access,
            )?);
        }
        ctx.write_report(&report, &out)?;
        ctx.say(&format!("report: {}", Path::display(&out)));
        Ok(Outcome::Done)
    }
}

struct PrivateShard {
    images: Images,
    labels: Option<Labels>,
    source: PathBuf,
    files: Vec<PathBuf>,
}

fn shard(args: &EvaluateSynthetic) -> Result<Option<PrivateShard>> {
    if let Some(path) = &args.shard {
        let images = Shard::load(path, args.shard_scale.rule()).context("cannot use the shard")?.images;
        let beside = path.with_file_name(layout::SHARD_LABELS);
        let labels_path = args.shard_labels.clone().or_else(|| beside.is_file().then_some(beside));
        let mut files = vec![path.clone()];
        let labels = match labels_path {
            Some(labels_path) => {
                let labels =
                    Labels::load(&labels_path, args.classes).context("cannot use the shard's labels")?;
                if labels.len() != images.len() {
                    return Err(pate_core::Error::content(
                        &labels_path,
                        format!(
                            "{} labels, but {} has {} images",
                            labels.len(),
                            path.display(),
                            images.len()
                        ),
                        "give the two files of one shard",
                    )
                    .into());
                }
                files.push(labels_path);
                Some(labels)
            }
            None => None,
        };
        return Ok(Some(PrivateShard { images, labels, source: path.clone(), files }));
    }
    let Some(teacher_id) = args.teacher_id else { return Ok(None) };
    let records = mnist(&args.mnist_data_dir, Split::Train, args.shard_scale.shard_scale)?;
    let indices = shard_indices(&args.shard_indices, records.len())?;
    let records = records.select(indices.rows(&args.shard_indices, teacher_id)?)?;
    let source = args.shard_indices.clone();
    let files = std::iter::once(source.clone()).chain(records.files).collect();
    Ok(Some(PrivateShard { images: records.images, labels: Some(records.labels), files, source }))
}

/// The report's sections, under the original's names.
fn sections(score: &SyntheticScore, n: usize) -> Vec<(&'static str, Value)> {
    let nearest = |d: &NearestDistances| {
        json!({
            "min": d.min, "max": d.max, "mean": d.mean, "median": d.median, "std": d.std,
            "percentile_5": d.percentile_5, "percentile_25": d.percentile_25,
            "percentile_75": d.percentile_75, "percentile_95": d.percentile_95,
        })
    };
    let mut all = vec![
        (
            "diversity",
            json!({
                "average_pairwise_distance": score.average_pairwise_distance,
                "num_samples": n,
                "original_diversity": score.original_diversity,
                "diversity_ratio": score.diversity_ratio,
            }),
        ),
        (
            "class_distribution",
            json!({
                "synthetic": score.class_distribution,
                "total_samples": n,
                "original": score.original_distribution,
                "histogram_l1_distance": score.histogram_l1,
            }),
        ),
    ];
    // Sections stay where nothing was measured, null: readers of the original's reports look them
    // up by name.
    let (Some(forward), Some(backward)) = (&score.nearest, &score.nearest_reverse) else {
        all.extend([("memorization", Value::Null), ("resemblance_to_shard", Value::Null)]);
        all.push(("similarity_score", json!(score.similarity_score)));
        return all;
    };
    all.push((
        "memorization",
        json!({
            "min_nn_distance": forward.min, "max_nn_distance": forward.max, "mean_nn_distance": forward.mean,
            "median_nn_distance": forward.median, "percentile_5": forward.percentile_5,
            "percentile_25": forward.percentile_25, "percentile_75": forward.percentile_75,
            "percentile_95": forward.percentile_95,
        }),
    ));
    all.push((
        "resemblance_to_shard",
        json!({
            // The mean over all pairs is the same in both directions; the original's report has
            // three fields for it.
            "average_cross_set_distance_synthetic_to_shard": score.cross_set_distance,
            "average_cross_set_distance_shard_to_synthetic": score.cross_set_distance,
            "average_cross_set_distance_bidirectional": score.cross_set_distance,
            "nearest_neighbor_distances": nearest(forward),
            "reverse_nearest_neighbor_distances": {
                "min": backward.min, "max": backward.max, "mean": backward.mean,
                "median": backward.median, "std": backward.std,
            },
            "interpretation": {
                "cross_set_distance": "mean distance of a sample to a private image; lower means more alike",
                "nearest_neighbor_distances": "distance of each sample to its nearest private image; small values are near-copies",
            },
        }),
    ));
    all.push(("similarity_score", json!(score.similarity_score)));
    all
}

/// The success criteria, each with value, target and whether it is met (null: not measured).
fn verdict(score: &SyntheticScore, rows: &[LabelRow], targets: &EvaluationConfig) -> Value {
    let confidences: Option<Vec<f64>> = rows.iter().map(|row| row.confidence.map(f64::from)).collect();
    let mean = confidences.filter(|c| !c.is_empty()).map(|c| c.iter().sum::<f64>() / c.len() as f64);
    let criterion = |value: Option<f64>, target: f64, met: &dyn Fn(f64) -> bool| json!({"value": value, "target": target, "met": value.map(met)});
    json!({
        "mean_confidence": criterion(mean, targets.mean_confidence_target, &|v| v >= targets.mean_confidence_target),
        "diversity_ratio": criterion(score.diversity_ratio, targets.diversity_ratio_target, &|v| v >= targets.diversity_ratio_target),
        "min_nn_distance": criterion(score.nearest.as_ref().map(|d| d.min), targets.min_nn_distance_target, &|v| v >= targets.min_nn_distance_target),
        "histogram_l1": criterion(score.histogram_l1, targets.histogram_l1_target, &|v| v < targets.histogram_l1_target),
    })
}

fn summary(score: &SyntheticScore, verdict: &Value, n: usize, guarantee: &Guarantee) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "not measured".to_owned(), |v| format!("{v:.4}"));
    let mut text = format!("samples             {n}\n");
    let _ = writeln!(text, "pairwise distance   {}", number(score.average_pairwise_distance));
    if let Some(d) = &score.nearest {
        let _ = writeln!(
            text,
            "nearest private     min {:.3}, mean {:.3}, median {:.3}",
            d.min, d.mean, d.median
        );
    }
    let _ = writeln!(text, "similarity score    {}", number(score.similarity_score));
    for (name, sign) in [
        ("mean_confidence", ">="),
        ("diversity_ratio", ">="),
        ("min_nn_distance", ">="),
        ("histogram_l1", "<"),
    ] {
        let entry = &verdict[name];
        let met = match entry["met"].as_bool() {
            Some(true) => "met",
            Some(false) => "not met",
            None => "not measured",
        };
        let _ = writeln!(
            text,
            "{name:<19} {} ({sign} {}): {met}",
            number(entry["value"].as_f64()),
            entry["target"]
        );
    }
    text.push_str(&guarantee.sentence());
    text
}
