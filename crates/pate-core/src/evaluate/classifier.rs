//! A classifier's accuracies, with intervals, by class.

use std::collections::BTreeMap;

use serde::Serialize;
use tch::{Kind, Reduction, Tensor};

use crate::base::progress::Progress;
use crate::base::{parallel, tensor};
use crate::data::{Normalisation, Records};
use crate::models::Classifier;
use crate::nn::Pass;
use crate::{Error, Result};

/// A classifier's result on labelled images.
#[derive(Clone, Debug, Serialize)]
pub struct ClassifierScore {
    /// Images.
    pub total_samples: u64,
    /// Classified right.
    pub correct_predictions: u64,
    /// Classified wrong.
    pub incorrect_predictions: u64,
    /// Per cent right.
    pub overall_accuracy: f64,
    /// Mean negative log-likelihood of the true class.
    pub average_loss: f64,
    /// Per cent right, by true class; absent classes left out.
    pub per_class_accuracy: BTreeMap<i64, f64>,
    /// Right, by true class.
    pub per_class_correct: BTreeMap<i64, u64>,
    /// Images, by true class.
    pub per_class_total: BTreeMap<i64, u64>,
    /// `confusion_matrix[true][predicted]`.
    pub confusion_matrix: Vec<Vec<u64>>,
    /// 95% Wilson interval of the accuracy, in per cent.
    pub accuracy_interval_95: [f64; 2],
}

/// Wilson's score interval for `hits` of `n`, at 95%, as fractions.
///
/// Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
pub fn wilson_95(hits: u64, n: u64) -> [f64; 2] {
    const Z: f64 = 1.959_963_984_540_054;
    if n == 0 {
        return [0.0, 1.0];
    }
    let (n, p) = (n as f64, hits as f64 / n as f64);
    let z2 = Z * Z;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    [(centre - half).max(0.0), (centre + half).min(1.0)]
}

/// Tests a classifier.
///
/// # Errors
/// No records, or a stop.
pub fn classifier(
    network: &dyn Classifier,
    normalisation: &Normalisation,
    records: &Records,
    device: tch::Device,
    batch_size: usize,
    progress: &dyn Progress,
) -> Result<ClassifierScore> {
    if records.is_empty() {
        return Err(Error::invalid(format!("{} has no records to test on", records.name)));
    }
    normalisation.check_channels(records.shape().channels)?;
    if network.classes() != records.labels.classes() {
        return Err(Error::invalid(format!(
            "the network tells {} classes apart, and {} has {}; give data of the same classes",
            network.classes(),
            records.name,
            records.labels.classes()
        )));
    }
    let classes = records.labels.classes() as usize;
    let mut confusion = vec![vec![0u64; classes]; classes];
    let mut loss = 0.0;
    let workers = (0..parallel::workers(device))
        .map(|_| (network.alias(), records.images.tensor().shallow_clone(), records.labels.tensor()))
        .collect();
    parallel::batches(
        records.len() as i64,
        batch_size as i64,
        workers,
        progress,
        |(network, images, labels), first, n| {
            let _guard = tch::no_grad_guard();
            let x = images.f_narrow(0, first, n)?.f_to_device(device)?;
            let truth = labels.f_narrow(0, first, n)?.f_to_device(device)?;
            let log_p = network.log_probs(&normalisation.apply(&x), &mut Pass::Infer);
            let loss = log_p
                .f_nll_loss::<Tensor>(&truth, None, Reduction::Sum, -100)?
                .f_to_kind(Kind::Double)?
                .f_double_value(&[])?;
            Ok((loss, tensor::to_i64(&log_p.f_argmax(-1, false)?)?))
        },
        |first, _, (part, predicted)| {
            loss += part;
            for (&truth, predicted) in records.labels.values()[first as usize..].iter().zip(predicted) {
                confusion[truth as usize][predicted as usize] += 1;
            }
            Ok(())
        },
    )?;
    Ok(score(confusion, loss))
}

fn score(confusion: Vec<Vec<u64>>, loss: f64) -> ClassifierScore {
    let total: u64 = confusion.iter().flatten().sum();
    let correct: u64 = confusion.iter().enumerate().map(|(class, row)| row[class]).sum();
    let mut per_class_total = BTreeMap::new();
    let mut per_class_correct = BTreeMap::new();
    let mut per_class_accuracy = BTreeMap::new();
    for (class, row) in confusion.iter().enumerate() {
        let n: u64 = row.iter().sum();
        // A class without images has no accuracy; 0 would say that all were wrong.
        if n > 0 {
            per_class_total.insert(class as i64, n);
            per_class_correct.insert(class as i64, row[class]);
            per_class_accuracy.insert(class as i64, 100.0 * row[class] as f64 / n as f64);
        }
    }
    ClassifierScore {
        total_samples: total,
        correct_predictions: correct,
        incorrect_predictions: total - correct,
        overall_accuracy: 100.0 * correct as f64 / total as f64,
        average_loss: loss / total as f64,
        per_class_accuracy,
        per_class_correct,
        per_class_total,
        confusion_matrix: confusion,
        accuracy_interval_95: wilson_95(correct, total).map(|fraction| 100.0 * fraction),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine
    // 17 (1998), table I, method 3 (Wilson): 81/263 gives .2553 to .3662; 0/20 gives 0 to .1611.
    #[test]
    fn wilson_intervals_of_the_literature() {
        let close = |found: [f64; 2], low: f64, high: f64| {
            assert!((found[0] - low).abs() < 5e-5 && (found[1] - high).abs() < 5e-5, "{found:?}");
        };
        close(wilson_95(81, 263), 0.2553, 0.3662);
        close(wilson_95(0, 20), 0.0, 0.1611);
    }
}
