//! What a student would be without the teachers: it stands beside every accuracy.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use pate_core::base::progress::Silent;
use pate_core::data::{Normalisation, Records};
use pate_core::evaluate;
use pate_core::models;
use serde::Serialize;

use crate::args::ControlArgs;
use crate::run::Context;

/// A control's result on the same images.
#[derive(Clone, Debug, Serialize)]
pub struct Control {
    /// Which one.
    pub name: &'static str,
    /// Its weights.
    pub model_path: PathBuf,
    /// Per cent right.
    pub overall_accuracy: f64,
    /// 95% Wilson interval of the accuracy, in per cent.
    pub accuracy_interval_95: [f64; 2],
}

/// Images classified at once.
const BATCH: usize = 64;

impl ControlArgs {
    /// Tests those that were given.
    ///
    /// # Errors
    /// Weights that cannot be used.
    pub fn measure(
        &self,
        records: &Records,
        normalisation: &Normalisation,
        ctx: &Context,
    ) -> Result<Vec<Control>> {
        let given = [
            ("public data and labels", &self.public_control_model),
            ("same samples, public labels", &self.relabelled_control_model),
        ];
        let mut controls = Vec::new();
        for (name, path) in given {
            let Some(path) = path else { continue };
            let network = models::load_classifier(path, records.shape(), ctx.device)
                .with_context(|| format!("cannot use the control \"{name}\""))?;
            let score = evaluate::classifier(&*network, normalisation, records, ctx.device, BATCH, &Silent)?;
            controls.push(Control {
                name,
                model_path: path.clone(),
                overall_accuracy: score.overall_accuracy,
                accuracy_interval_95: score.accuracy_interval_95,
            });
        }
        Ok(controls)
    }
}

/// One line per control, and what `accuracy` has above the strongest.
pub fn summary(controls: &[Control], accuracy: Option<f64>) -> String {
    let strongest = controls.iter().map(|control| control.overall_accuracy).max_by(f64::total_cmp);
    let Some(strongest) = strongest else {
        return "control   none given; train one with train-student --public-control, and give its file with --public-control-model".into();
    };
    let mut text = String::new();
    for control in controls {
        let [low, high] = control.accuracy_interval_95;
        let _ = writeln!(
            text,
            "control   {:.2}% (95% interval {low:.2} to {high:.2}%): {}",
            control.overall_accuracy, control.name
        );
    }
    if let Some(accuracy) = accuracy {
        let more = accuracy - strongest;
        // Whoever skims must not read "above" where it is below.
        let words = match format!("{:.2}", more.abs()).as_str() {
            "0.00" => "as many right as the strongest control".to_owned(),
            points if more > 0.0 => format!("{points} points above the strongest control"),
            points => format!(
                "{points} points BELOW the strongest control: public data alone would have served better"
            ),
        };
        let _ = write!(text, "          {words}");
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_control_is_compared_with() {
        let control = |name, overall_accuracy| Control {
            name,
            model_path: PathBuf::new(),
            overall_accuracy,
            accuracy_interval_95: [0.0, 100.0],
        };
        let text = summary(&[control("a", 90.0), control("b", 91.5)], Some(95.0));
        assert!(
            text.contains(" 3.50 points above") && text.contains(": a") && text.contains(": b"),
            "{text}"
        );
        let text = summary(&[control("a", 90.0), control("b", 91.5)], Some(91.0));
        assert!(text.contains(" 0.50 points BELOW"), "{text}");
        let text = summary(&[control("a", 91.5)], Some(91.503));
        assert!(text.contains("as many right"), "{text}");
        assert!(summary(&[], Some(95.0)).contains("none given"));
    }
}
