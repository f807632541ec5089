//! The score for people, in Markdown.

use std::fmt::Write as _;

use artifact::Guarantee;
use pate_core::config::Word as _;
use pate_core::data::Records;
use pate_core::evaluate::{Copies, Resemblance};

use super::fidelity::{Fidelity, Private};
use super::judges::Judged;
use super::release::SetScore;
use super::{PICTURE, ScoreRelease, Total};
use crate::files::markdown;

/// All that the page says.
pub(super) struct Page<'a> {
    pub(super) args: &'a ScoreRelease,
    pub(super) release: &'a Records,
    pub(super) set: &'a SetScore,
    pub(super) total: &'a Total<'a>,
    pub(super) fidelity: Option<&'a Fidelity>,
    pub(super) private: Option<&'a Private>,
    pub(super) guarantee: &'a Guarantee,
    pub(super) test: &'a Records,
}

impl Page<'_> {
    /// The text.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "# Score of {}\n\n{} images. {}\n\n",
            markdown::text(&self.args.release.display().to_string()),
            self.release.len(),
            self.guarantee.sentence()
        );
        if let Some(path) = &self.args.soft_labels {
            let _ = writeln!(
                text,
                "Probabilities of all classes ({}, softened at a temperature of {}) took the labels' place in the loss; the control keeps \
                 its public labels.\n",
                markdown::code(&path.display().to_string()),
                self.args.temperature
            );
        }
        text.push_str(&self.accuracy());
        text.push_str(&self.warnings());
        text.push_str(&self.images());
        text.push_str(&self.stated());
        let _ = writeln!(text, "![Some images of each class]({PICTURE})");
        text
    }

    fn accuracy(&self) -> String {
        let mut text = format!(
            "## What classifiers learn from it\n\nAccuracy on {} test images ({}){}, per cent, of the last step; nothing was chosen by \
             the test images.\n\n| classifier | runs | mean | std | min | max | public data alone | gain |\n|---|---|---|---|---|---|---|---|\n",
            self.test.len(),
            markdown::text(&self.test.name),
            match self.args.only_classes.as_slice() {
                [] => String::new(),
                some => format!(
                    " of the classes {} alone",
                    some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                ),
            }
        );
        for judged in self.total.scored {
            let same = |control: &&Judged| control.classifier == judged.classifier;
            let control = self.total.control.iter().find(same).map(|control| control.mean);
            let _ = writeln!(
                text,
                "| {} | {} | {:.2} | {} | {:.2} | {:.2} | {} | {} |",
                judged.classifier.word(),
                judged.runs.len(),
                judged.mean,
                or_none(judged.std, |std| format!("{std:.2}")),
                judged.min,
                judged.max,
                or_none(control, |control| format!("{control:.2}")),
                or_none(control, |control| format!("{:+.2}", judged.mean - control)),
            );
        }
        let strongest = self.total.strongest_control();
        let (mean, gain) = (self.total.mean(), self.total.gain());
        let _ = writeln!(
            text,
            "\n**Mean over the classifiers: {mean:.2}%.** The strongest control without private data has {:.2}% ({}): {}.\n",
            strongest.accuracy,
            markdown::text(&strongest.name),
            if gain > 0.0 {
                format!("the set gains {gain:.2} points over it")
            } else {
                format!(
                    "the set is {:.2} points BELOW it, and public data alone would have served better",
                    -gain
                )
            }
        );
        if self.total.control.is_empty() {
            text.push_str(
                "There is no control of public images here, either because none were given or because their classes are others: \
                 the control is then chance.\n\n",
            );
        }
        text
    }

    /// What makes a score worth less than it seems.
    fn warnings(&self) -> String {
        let set = self.set;
        let mut all = Vec::new();
        let share = |copies: &Copies| 100.0 * copies.near as f64 / copies.compared as f64;
        if set.of_test.near > 0 {
            all.push(format!(
                "{} of {} images that were compared lie within {} of a TEST image ({:.1}%; {} are one value by value): what a \
                 classifier learns of those is no measure.",
                set.of_test.near,
                set.of_test.compared,
                set.of_test.distance,
                share(&set.of_test),
                set.of_test.equal
            ));
        }
        let only = &self.args.only_classes;
        let wanted = |class: &&usize| only.is_empty() || only.contains(&(**class as i64));
        let classes: Vec<String> =
            set.absent_classes.iter().filter(wanted).map(ToString::to_string).collect();
        if !classes.is_empty() {
            all.push(format!(
                "{} of {} classes have no image: {}.",
                classes.len(),
                set.class_counts.len(),
                classes.join(", ")
            ));
        }
        if set.distinct < self.release.len() {
            all.push(format!("Only {} of {} images are different.", set.distinct, self.release.len()));
        }
        if share(&set.within) > 10.0 {
            all.push(format!(
                "{:.1}% of the images have another one within {}.",
                share(&set.within),
                set.within.distance
            ));
        }
        let chance = 100.0 / set.class_counts.len() as f64;
        if self.total.mean() < 2.0 * chance {
            all.push(format!(
                "The mean accuracy is near chance ({chance:.1}%): labels may be wrong, or the images teach nothing."
            ));
        }
        if all.is_empty() {
            return String::new();
        }
        format!("- **{}**\n\n", all.join("**\n- **"))
    }

    fn images(&self) -> String {
        let set = self.set;
        let n = self.release.len() as f64;
        let mut text = String::from("## The images\n\n| what | value |\n|---|---|\n");
        let classes: Vec<String> =
            set.class_counts.iter().map(|&count| format!("{:.1}", 100.0 * count as f64 / n)).collect();
        let mut line = |what: &str, value: &str| {
            let _ = writeln!(text, "| {what} | {value} |");
        };
        line("classes, per cent", &classes.join(" "));
        line("distance of the proportions from equal ones, 0 to 2", &format!("{:.3}", set.imbalance));
        line("different images", &set.distinct.to_string());
        let copies = |copies: &Copies| {
            format!(
                "{} of {} within {}; nearest: mean {:.2}, least {:.2}",
                copies.near, copies.compared, copies.distance, copies.nearest.mean, copies.nearest.min
            )
        };
        line("near-copies within the set", &copies(&set.within));
        if let Some(of_public) = &set.of_public {
            line("near-copies of public images", &copies(of_public));
        }
        line("near-copies of test images", &copies(&set.of_test));
        if let Some(fidelity) = self.fidelity {
            let pair = |a: &Resemblance| {
                format!(
                    "{:.2}; precision {:.3}, recall {:.3}, density {:.3}, coverage {:.3}",
                    a.frechet_distance,
                    a.neighbours.precision,
                    a.neighbours.recall,
                    a.neighbours.density,
                    a.neighbours.coverage
                )
            };
            let measure = fidelity.space.measure;
            line(&format!("{measure} to test images"), &pair(&fidelity.beside_test));
            line("the same of two halves of the test images", &pair(&fidelity.test_halves));
            if let Some(score) = fidelity.inception_score {
                line(
                    "inception score of the same network",
                    &format!("{:.2} (std {:.2})", score.mean, score.std),
                );
            }
            if let Some(resemblance) = self.private.and_then(|private| private.resemblance.as_ref()) {
                line(&format!("{measure} to PRIVATE images, no guarantee"), &pair(resemblance));
            }
        }
        if let Some(private) = self.private {
            line("near-copies of PRIVATE images, no guarantee", &copies(&private.copies));
        }
        if let Some(fidelity) = self.fidelity {
            let space = &fidelity.space;
            // The name of a program's file is foreign text to Markdown.
            let (measure, feature_space) = (space.measure, markdown::text(&space.feature_space));
            let _ = if space.program.is_some() {
                writeln!(
                    text,
                    "\n{measure}: that of features in {feature_space}. It compares with other figures of this program, scale and number \
                     of images alone."
                )
            } else {
                writeln!(
                    text,
                    "\n{measure}: the Frechet distance in {feature_space}, which is not that of an Inception network; it compares with \
                     other figures of this network alone."
                )
            };
        }
        text.push('\n');
        text
    }

    fn stated(&self) -> String {
        let claims = &self.args.claims;
        let mut text = String::from(
            "## What its makers say\n\nAs they stated it; nothing of it was checked here.\n\n| what | stated |\n|---|---|\n",
        );
        let mut line = |what: &str, value: Option<String>| {
            let value = value.map_or_else(|| "**missing**".to_owned(), |value| markdown::text(&value));
            let _ = writeln!(text, "| {what} | {value} |");
        };
        line("epsilon", claims.epsilon.map(|x| x.to_string()));
        line("delta", claims.delta.map(|x| x.to_string()));
        line("adjacency", claims.adjacency.clone());
        line("hyper-parameters were chosen on", claims.chosen_on.clone());
        line("runs that were made", claims.runs.map(|n| n.to_string()));
        line("classifiers tried on the test images before", claims.classifiers_tried.map(|n| n.to_string()));
        text.push('\n');
        text
    }
}

fn or_none(value: Option<f64>, text: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), text)
}
