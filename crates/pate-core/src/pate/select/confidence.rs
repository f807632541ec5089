//! Keep what the teacher is sure about.

use serde::Serialize;

use super::{Selection, Verdict};
use crate::pate::label::Labelled;

/// Thresholds by class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Thresholds {
    /// For most classes, in `[0, 1]`.
    pub general: f64,
    /// For rare classes; the lower of the two counts there.
    pub rare: f64,
    /// The rare classes.
    pub rare_classes: Vec<i64>,
}

impl Thresholds {
    /// What a candidate labelled `class` must reach. Compared in float32, in which confidences are
    /// computed.
    pub fn of(&self, class: i64) -> f32 {
        let threshold =
            if self.rare_classes.contains(&class) { self.general.min(self.rare) } else { self.general };
        threshold as f32
    }
}

/// Keeps candidates whose confidence is at least the threshold of their class.
pub fn filter(selection: &mut Selection, labelled: &Labelled, thresholds: &Thresholds) {
    selection.retain(Verdict::LowConfidence, |_, candidate| {
        labelled.confidences[candidate] >= thresholds.of(labelled.labels[candidate])
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_classes_use_the_lower_of_the_two() {
        let thresholds = Thresholds { general: 0.9, rare: 0.7, rare_classes: vec![1, 8] };
        assert!((thresholds.of(1) - 0.7).abs() < 1e-6);
        assert!((thresholds.of(2) - 0.9).abs() < 1e-6);
        let below = Thresholds { general: 0.5, ..thresholds };
        assert!((below.of(1) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn the_threshold_itself_is_enough() {
        let labelled =
            Labelled { labels: vec![0, 0], confidences: vec![0.9, 0.899_99], ..Labelled::default() };
        let mut selection = Selection::all(2);
        let thresholds = Thresholds { general: 0.9, rare: 0.7, rare_classes: vec![] };
        filter(&mut selection, &labelled, &thresholds);
        assert_eq!(selection.kept(), [0]);
    }
}
