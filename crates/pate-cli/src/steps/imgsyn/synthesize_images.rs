//! `synthesize-images`: public images, moved towards what a private classifier has seen, with its
//! labels.
//!
//! Reads: the classifier, statistics with their ledger, public images. Writes: `k0/` and `k<K>/`,
//! each with images, labels and soft labels, a report, a picture. Privacy: that of the classifier
//! and the statistics.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use artifact::{Access, FINGERPRINT, FileRecord, Input, Report, WorkId, layout};
use clap::Parser;
use pate_core::config::VariantKind;
use pate_core::data::{Images, Records, write_csv};
use pate_core::imgsyn::candidates::{CandidatePlan, candidates};
use pate_core::imgsyn::statistics::Statistics;
use pate_core::imgsyn::synthesis::{self, SynthesisPlan, Weights, synthesise};
use pate_core::models::{self, Classifier};
use pate_core::train::classifier::{self, Answers};
use picture::Sample;
use serde_json::json;

use crate::args::{ConfigArgs, PublicDataArgs, not_negative, parse_path, positive, word};
use crate::files::{data_sets, ledger, pictures};
use crate::run::{Context, Outcome, RunArgs, Step};
use crate::settings;

/// Move public images towards what a private classifier has seen, and label them with it
///
/// Adam on the pixels of public images, k steps: cross-entropy with assigned classes, distance from
/// the released statistics, total variation, L2 norm. The images as they were (k = 0) are always
/// labelled and written beside them. A function of what was released and of public images: it has
/// the guarantee of the classifier and of the statistics.
#[derive(Parser)]
#[command(
    name = "synthesize-images",
    version,
    after_help = "\
Examples:
  synthesize-images --teacher dp_teacher/model.pth --statistics dp_teacher/dp_statistics.pt \\
    --dataset fashion-mnist --data-root datasets --output-dir synthesis
  synthesize-images --teacher dp_teacher/model.pth --dataset digits --variants warped,edges \\
    --num-samples 60000 --k 0 --output-dir synthesis

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct SynthesizeImages {
    /// The private classifier's weights, from train-dp-teacher
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Classifier")]
    teacher: PathBuf,
    /// Statistics of what its layers see, from capture-dp-stats [default: none, and --bn 0]
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Classifier")]
    statistics: Option<PathBuf>,
    /// Ledger that the statistics were charged to [default: privacy_ledger.jsonl beside them]
    #[arg(long, value_name = "FILE", value_parser = parse_path, requires = "statistics", help_heading = "Classifier")]
    ledger: Option<PathBuf>,
    #[command(flatten)]
    public: PublicDataArgs,
    /// MNIST counts as private in these programs: with --dataset mnist, say that none of it is
    /// private here
    #[arg(long, help_heading = "Public data")]
    mnist_is_public: bool,
    /// Take the images of this file instead of a public data set's, such as a pool of
    /// generate-candidates
    #[arg(long, value_name = "FILE", value_parser = parse_path, conflicts_with_all = ["mnist_is_public", "data_root"], help_heading = "Public data")]
    candidates: Option<PathBuf>,
    /// Number of images
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=10_000_000), help_heading = "Candidates")]
    num_samples: u32,
    /// How public images are changed first, in turns: plain, warped, edges, mixed, textured
    #[arg(long, value_name = "LIST", value_parser = word::<VariantKind>(), value_delimiter = ',', default_value = "plain", hide_possible_values = true, help_heading = "Candidates")]
    variants: Vec<VariantKind>,
    /// Factor of the warps' sizes
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = positive, help_heading = "Candidates")]
    variant_strength: f64,
    /// Steps on the pixels
    #[arg(long, visible_alias = "g-steps", value_name = "K", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=100_000), help_heading = "Synthesis")]
    k: u32,
    /// Images whose statistics are taken together
    #[arg(long, value_name = "N", default_value_t = 80, value_parser = clap::value_parser!(u32).range(1..=100_000), help_heading = "Synthesis")]
    batch_size: u32,
    /// Learning rate on normalised pixels
    #[arg(long, value_name = "RATE", default_value_t = 0.1, value_parser = positive, help_heading = "Synthesis")]
    lr_g: f64,
    /// Weight of the distance from the statistics
    #[arg(long, value_name = "W", default_value_t = 10.0, value_parser = not_negative, help_heading = "Synthesis")]
    bn: f64,
    /// Weight of the cross-entropy with assigned classes
    #[arg(long, value_name = "W", default_value_t = 1.0, value_parser = not_negative, help_heading = "Synthesis")]
    oh: f64,
    /// Weight of the total variation
    #[arg(long, value_name = "W", default_value_t = 2.5e-5, value_parser = not_negative, help_heading = "Synthesis")]
    tv: f64,
    /// Weight of the L2 norm
    #[arg(long, value_name = "W", default_value_t = 3e-8, value_parser = not_negative, help_heading = "Synthesis")]
    l2: f64,
    /// Roll every batch by up to an eighth of a side in each step, as the original does
    #[arg(long, help_heading = "Synthesis")]
    roll: bool,
    /// Mirror batches at random, as the original does: wrong for digits
    #[arg(long, help_heading = "Synthesis")]
    flip: bool,
    /// Temperature at which the classifier's scores become soft labels
    #[arg(long, short_alias = 'T', value_name = "T", default_value_t = 10.0, value_parser = positive, help_heading = "Labels")]
    temperature: f64,
    /// Folder for the results: k0 and the folder of --k, each with images and labels
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = "synthesis", help_heading = "Output")]
    output_dir: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// Images in a row of the picture.
const SHOWN: i64 = 8;

impl Step for SynthesizeImages {
    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let loaded = self.config.load(ctx)?;
        let normalisation = settings::normalisation(&loaded.config.preprocessing)?;
        let mut report = Report::new();
        let public = self.public_images(&mut report)?;
        report.input(Input::open(&self.teacher)?);
        let network = models::load_classifier(&self.teacher, public.images.shape(), ctx.device)
            .context("cannot use the classifier")?;
        let statistics = self.statistics(&mut report)?;
        let names = self.outputs();
        let _lock = ctx.lock("--output-dir", &self.output_dir, &names)?;
        let access = report.access();
        let plan = self.plan(ctx.seed);
        let of_candidates = self.candidate_plan(ctx.seed);
        let work = WorkId::new(
            &json!({ "plan": plan, "candidates": of_candidates, "temperature": self.temperature, "normalisation": normalisation }),
            report.inputs().iter().map(|input| input.sha256.as_str()),
        )?;
        if work.finished(&self.output_dir.join(layout::SYNTHESIS_REPORT)).is_some() {
            ctx.say(&format!("this synthesis is done already: {}", self.output_dir.display()));
            return Ok(Outcome::Done);
        }

        let progress = ctx.progress();
        progress.start("candidate", u64::from(self.num_samples));
        let (before, rows) = candidates(&public.images, &of_candidates, progress)?;
        progress.finish();
        let assigned = synthesis::assigned(before.len(), network.classes());
        let public_labels: Option<Vec<i64>> =
            public.labels.map(|labels| rows.iter().map(|&row| labels[row as usize]).collect());
        let mut sets = vec![(0, before, Vec::new())];
        if self.k > 0 {
            progress.start("image", u64::from(self.num_samples));
            let moved = synthesise(
                &*network,
                &normalisation,
                statistics.as_ref(),
                &sets[0].1,
                &assigned,
                &plan,
                progress,
            )?;
            progress.finish();
            sets.push((self.k, moved.images, moved.losses));
        }
        let mut labelled = Vec::new();
        for (k, images, losses) in &sets {
            progress.start("label", images.len() as u64);
            let labels = classifier::answers(&*network, &normalisation, images, self.temperature, progress)?;
            progress.finish();
            let set = Set { images, labels: &labels, assigned: &assigned, public: public_labels.as_deref() };
            let records = self.write(*k, &set, access)?;
            for record in records {
                report.output(record);
            }
            let name = layout::steps_taken(*k);
            report.field(&name, set.figures(losses))?;
            labelled.push(labels);
        }
        let moved = sets.last().map(|(_, images, _)| images).zip(labelled.last());
        if let Some((images, labels)) = moved {
            let path = self.output_dir.join(layout::SYNTHESIS_PICTURE);
            report.output(picture(&sets[0].1, &labelled[0], (self.k, images, labels), &path, access)?);
        }
        report
            .field("synthesis", plan)?
            .field("candidates", &of_candidates)?
            .field("public_images", &public.name)?
            .field("public_labels_mean_the_same", public_labels_note(public_labels.is_some()))?
            .field("temperature", self.temperature)?
            .field("image_shape", public.images.tensor().size()[1..].to_vec())?
            .field("classes", network.classes())?
            .field(FINGERPRINT, &work)?;
        loaded.describe(&mut report)?;
        ctx.write_report(&report, &self.output_dir.join(layout::SYNTHESIS_REPORT))?;
        ctx.say(&format!(
            "{} images, k = 0{}: {}\n{}",
            self.num_samples,
            if self.k > 0 { format!(" and k = {}", self.k) } else { String::new() },
            self.output_dir.display(),
            report.guarantee().sentence()
        ));
        Ok(Outcome::Done)
    }
}

fn public_labels_note(there: bool) -> &'static str {
    if there {
        "the column public_label holds the public data set's own classes, for a control; whether they mean what the \
         private ones mean is the user's to know"
    } else {
        "no public labels"
    }
}

/// Images to start from, with their own labels where they have some.
struct PublicImages {
    images: Images,
    labels: Option<Vec<i64>>,
    name: String,
}

/// Images with what the classifier says of them.
struct Set<'a> {
    images: &'a Images,
    labels: &'a Answers,
    assigned: &'a [i64],
    public: Option<&'a [i64]>,
}

impl Set<'_> {
    fn figures(&self, losses: &[f64]) -> serde_json::Value {
        let n = self.labels.confidences.len().max(1) as f64;
        let as_assigned =
            self.labels.labels.values().iter().zip(self.assigned).filter(|(a, b)| a == b).count();
        json!({
            "images": self.images.len(),
            "class_counts": self.labels.labels.counts(),
            "mean_confidence": self.labels.confidences.iter().map(|&c| f64::from(c)).sum::<f64>() / n,
            "labelled_as_assigned": as_assigned as f64 / n,
            "mean_loss_before_each_step": losses,
        })
    }
}

impl SynthesizeImages {
    fn plan(&self, seed: u64) -> SynthesisPlan {
        SynthesisPlan {
            steps: self.k,
            batch_size: self.batch_size as usize,
            learning_rate: self.lr_g,
            weights: Weights {
                features: if self.statistics.is_some() { self.bn } else { 0.0 },
                cross_entropy: self.oh,
                total_variation: self.tv,
                l2: self.l2,
            },
            roll: self.roll,
            flip: self.flip,
            seed,
        }
    }

    fn candidate_plan(&self, seed: u64) -> CandidatePlan {
        CandidatePlan {
            count: self.num_samples as usize,
            variants: self.variants.clone(),
            strength: self.variant_strength,
            seed,
        }
    }

    /// What will be written, relative to the output folder.
    fn outputs(&self) -> Vec<String> {
        let folder = |k: u32| {
            let folder = layout::steps_taken(k);
            [layout::SAMPLES, layout::LABELS, layout::SOFT_LABELS].map(|name| format!("{folder}/{name}"))
        };
        let moved = (self.k > 0).then(|| folder(self.k)).into_iter().flatten();
        let beside = [layout::SYNTHESIS_REPORT, layout::SYNTHESIS_PICTURE].map(str::to_owned);
        folder(0).into_iter().chain(moved).chain(beside).collect()
    }

    fn public_images(&self, report: &mut Report) -> Result<PublicImages> {
        if let Some(path) = &self.candidates {
            let images =
                Images::load(path, self.public.scale().rule()).context("cannot use the candidates")?;
            report.input(Input::open(path)?);
            return Ok(PublicImages { images, labels: None, name: path.display().to_string() });
        }
        let mut records: Records = self.public.load()?;
        data_sets::require_public("--dataset", self.public.dataset(), &mut records, self.mnist_is_public)?;
        data_sets::describe(report, &records)?;
        Ok(PublicImages {
            labels: Some(records.labels.values().to_vec()),
            name: records.name.clone(),
            images: records.images,
        })
    }

    /// The statistics, where the ledger says that this very file was released.
    fn statistics(&self, report: &mut Report) -> Result<Option<Statistics>> {
        let Some(path) = &self.statistics else { return Ok(None) };
        let statistics = Statistics::load(path).context("cannot use the statistics")?;
        let record = FileRecord::of(path)?;
        let beside = path.parent().unwrap_or(Path::new("")).join(layout::LEDGER);
        let ledger_path = self.ledger.clone().unwrap_or(beside);
        let Some(account) = ledger::look(&ledger_path)? else {
            bail!(
                "{} is not there, and without it nobody knows what {} has cost: give the ledger that it was charged to \
                 with --ledger",
                ledger_path.display(),
                path.display()
            );
        };
        if !ledger::remembers(&account, ledger::STATISTICS, &record.sha256) {
            bail!(
                "{} was not released under {}, or was changed since: give the file that capture-dp-stats wrote, and the \
                 ledger that it was charged to",
                path.display(),
                ledger_path.display()
            );
        }
        report.input(Input::of(record));
        report.input(Input::public(FileRecord::of(&ledger_path)?));
        report.field("ledger", account.label().to_json())?;
        Ok(Some(statistics))
    }

    fn write(&self, k: u32, set: &Set<'_>, access: Access) -> Result<Vec<FileRecord>> {
        let folder = self.output_dir.join(layout::steps_taken(k));
        artifact::create_dir(&folder)?;
        let samples = set.images.save(&folder.join(layout::SAMPLES), access)?;
        let soft = set.labels.soft.save(&folder.join(layout::SOFT_LABELS), access)?;
        let mut header = vec!["index", "label", "confidence", "assigned"];
        header.extend(set.public.map(|_| PUBLIC_LABEL));
        let rows =
            set.labels.labels.values().iter().zip(&set.labels.confidences).zip(set.assigned).enumerate();
        let rows = rows.map(|(i, ((label, confidence), assigned))| {
            let mut row =
                vec![i.to_string(), label.to_string(), confidence.to_string(), assigned.to_string()];
            row.extend(set.public.map(|public| public[i].to_string()));
            row
        });
        let labels = write_csv(&folder.join(layout::LABELS), access, &header, rows)?;
        Ok(vec![samples, labels, soft])
    }
}

/// The column of the class that the public data set gives an image's source.
const PUBLIC_LABEL: &str = "public_label";

/// Public images above, what became of them below, with the classifier's confidence.
fn picture(
    before: &Images,
    labels_before: &Answers,
    (k, after, labels_after): (u32, &Images, &Answers),
    path: &Path,
    access: Access,
) -> Result<FileRecord> {
    let n = SHOWN.min(before.len() as i64);
    // From all over the set, and of all kinds, which come in turns.
    let all = before.len() as i64;
    let rows: Vec<i64> = (0..n).map(|i| (i * all / n + i) % all).collect();
    let both = Images::concat(&[before.select(&rows)?, after.select(&rows)?])?;
    let row = |name: String, first: usize, labels: &Answers| {
        let samples = rows.iter().enumerate().map(|(i, &row)| {
            let (label, confidence) =
                (labels.labels.values()[row as usize], labels.confidences[row as usize]);
            Sample { image_idx: first + i, caption: format!("{label}: {confidence:.2}") }
        });
        (name, samples.collect::<Vec<_>>())
    };
    let mut sheet = vec![row("public (k = 0)".to_owned(), 0, labels_before)];
    if k > 0 {
        sheet.push(row(format!("k = {k}"), rows.len(), labels_after));
    }
    pictures::rows("Public images, and what the classifier says of them", &both, &sheet, path, access)
}
