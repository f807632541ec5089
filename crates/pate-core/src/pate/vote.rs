//! The teachers' vote on images: the aggregation that PATE is named for, without its noise.
//!
//! Papernot et al., "Semi-supervised Knowledge Transfer for Deep Learning from Private Training
//! Data" (2017), section 2.1.

use serde::Serialize;

use std::collections::BTreeMap;

use crate::data::SoftLabels;
use crate::pate::label::Labelled;
use crate::{Error, Result};

/// Which of a teacher's answers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aggregate {
    /// One vote for its most probable class.
    Votes,
    /// Its probabilities of all classes.
    Probabilities,
}

/// The images about which teacher `teacher` of `teachers` is asked, where `panel` of them are asked
/// about each.
///
/// Image `i` goes to the teachers `i`, `i + 1`, ... `i + panel - 1`, counted around: every teacher
/// has the same fraction of the images, and every image the same number of votes.
pub fn panel_rows(images: usize, teacher: usize, teachers: usize, panel: usize) -> Vec<i64> {
    let asked = |image: &i64| (teacher + teachers - *image as usize % teachers) % teachers < panel;
    (0..images as i64).filter(asked).collect()
}

/// Votes and probabilities of the teachers that were asked so far, per image and class.
///
/// # Guarantee
/// None: counts are exact. One private record is in the shard of one teacher, so between data sets
/// that differ in one replaced record one vote per image moves from a class to another (L1
/// sensitivity 2, L2 sensitivity the square root of 2); for a record added or removed this holds
/// only where a record's shard does not depend on the others (keyed hashes). A mechanism that adds
/// noise to the counts could start from that. Nothing here does.
#[derive(Clone, Debug, PartialEq)]
pub struct Ballot {
    classes: usize,
    teachers: usize,
    votes: Vec<f32>,
    probabilities: Vec<f32>,
}

/// What the teachers decided, one entry per image.
#[derive(Clone, Debug)]
pub struct Tally {
    /// The class with the largest count (the lower one on a tie).
    pub labels: Vec<i64>,
    /// Fraction of the votes that went to it, in `[0, 1]`.
    pub agreement: Vec<f32>,
    /// Fractions of all classes in the counts.
    pub soft_labels: SoftLabels,
}

impl Tally {
    /// Mean agreement over all images, of which there is one at least.
    pub fn mean_agreement(&self) -> f64 {
        self.agreement.iter().map(|&a| f64::from(a)).sum::<f64>() / self.agreement.len() as f64
    }

    /// Mean agreement by label.
    pub fn mean_agreement_by_class(&self) -> BTreeMap<i64, f64> {
        let mut sums: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
        for (label, agreement) in self.labels.iter().zip(&self.agreement) {
            let (sum, n) = sums.entry(*label).or_default();
            *sum += f64::from(*agreement);
            *n += 1.0;
        }
        sums.into_iter().map(|(class, (sum, n))| (class, sum / n)).collect()
    }

    /// Images on which all teachers agree.
    pub fn unanimous(&self) -> usize {
        self.agreement.iter().filter(|&&agreement| agreement >= 1.0).count()
    }
}

impl Ballot {
    /// No votes yet on `images` images.
    pub fn new(images: usize, classes: i64) -> Self {
        let cells = images * classes as usize;
        Self {
            classes: classes as usize,
            teachers: 0,
            votes: vec![0.0; cells],
            probabilities: vec![0.0; cells],
        }
    }

    /// The counts of `teachers` teachers, as [`Ballot::counts`] gave them.
    ///
    /// # Errors
    /// Counts that cannot be those of this number of teachers.
    pub fn resume(teachers: usize, counts: &[f32], images: usize, classes: i64) -> Result<Self> {
        let cells = images * classes as usize;
        let valid = |row: &[f32]| {
            row.iter().all(|count| *count >= 0.0) && row.iter().sum::<f32>() <= teachers as f32 * 1.001
        };
        if counts.len() != 2 * cells || !counts.chunks_exact(classes as usize).all(valid) {
            return Err(Error::invalid(format!("these are not the counts of {teachers} teachers")));
        }
        let (votes, probabilities) = counts.split_at(cells);
        Ok(Self {
            classes: classes as usize,
            teachers,
            votes: votes.to_vec(),
            probabilities: probabilities.to_vec(),
        })
    }

    /// Votes, then sums of probabilities: `2 images classes` values.
    pub fn counts(&self) -> Vec<f32> {
        [&self.votes[..], &self.probabilities[..]].concat()
    }

    /// How many teachers were asked.
    pub fn teachers(&self) -> usize {
        self.teachers
    }

    /// Counts one teacher's answers about the images at `rows`.
    ///
    /// # Errors
    /// Another number of answers or classes, or an image that does not exist.
    pub fn add(&mut self, rows: &[i64], answers: &Labelled) -> Result<()> {
        let images = (self.votes.len() / self.classes) as i64;
        // All is checked before anything is counted: half a teacher's votes could not be taken
        // back.
        if answers.labels.len() != rows.len()
            || answers.probabilities.len() != rows.len() * self.classes
            || rows.iter().any(|row| !(0..images).contains(row))
        {
            return Err(Error::invalid(format!(
                "a teacher answered with {} labels and {} probabilities for {} of {images} images of {} classes",
                answers.labels.len(),
                answers.probabilities.len(),
                rows.len(),
                self.classes
            )));
        }
        let answers = answers.labels.iter().zip(answers.probabilities.chunks_exact(self.classes));
        for (&row, (&label, probabilities)) in rows.iter().zip(answers) {
            let first = row as usize * self.classes;
            self.votes[first + label as usize] += 1.0;
            // Both counts are kept whatever decides in the end, so that a vote which goes on may be
            // counted the other way.
            for (sum, p) in self.probabilities[first..].iter_mut().zip(probabilities) {
                *sum += p;
            }
        }
        self.teachers += 1;
        Ok(())
    }

    /// The teachers' decision.
    ///
    /// # Errors
    /// Where no teacher was asked about an image.
    pub fn tally(&self, aggregate: Aggregate) -> Result<Tally> {
        let counts = match aggregate {
            Aggregate::Votes => &self.votes,
            Aggregate::Probabilities => &self.probabilities,
        };
        let (mut labels, mut agreement) = (Vec::new(), Vec::new());
        let mut soft = Vec::with_capacity(counts.len());
        for (counts, votes) in counts.chunks_exact(self.classes).zip(self.votes.chunks_exact(self.classes)) {
            let voters: f32 = votes.iter().sum();
            if voters == 0.0 {
                return Err(Error::invalid(format!("no teacher voted on image {}", labels.len())));
            }
            let label = (0..self.classes).fold(0, |best, c| if counts[c] > counts[best] { c } else { best });
            labels.push(label as i64);
            agreement.push(votes[label] / voters);
            let sum: f32 = counts.iter().sum();
            soft.extend(counts.iter().map(|count| count / sum));
        }
        let soft_labels = SoftLabels::new(std::path::Path::new("the vote"), soft, self.classes as i64)?;
        Ok(Tally { labels, agreement, soft_labels })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(rows: &[[f32; 3]]) -> Labelled {
        let label = |row: &[f32; 3]| (0..3).fold(0, |best, c| if row[c] > row[best] { c } else { best });
        Labelled {
            labels: rows.iter().map(|row| label(row) as i64).collect(),
            confidences: rows.iter().map(|row| row[label(row)]).collect(),
            probabilities: rows.concat(),
        }
    }

    #[test]
    fn plurality_and_mean_probability_can_differ() {
        let mut ballot = Ballot::new(2, 3);
        assert!(ballot.tally(Aggregate::Votes).is_err());
        ballot.add(&[0, 1], &says(&[[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])).unwrap();
        ballot.add(&[0, 1], &says(&[[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]])).unwrap();
        ballot.add(&[1, 0], &says(&[[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])).unwrap();
        let votes = ballot.tally(Aggregate::Votes).unwrap();
        assert_eq!(votes.labels, [0, 2]);
        assert_eq!(votes.agreement, [2.0 / 3.0, 2.0 / 3.0]);
        assert_eq!(votes.soft_labels.row(0), [2.0 / 3.0, 1.0 / 3.0, 0.0]);
        let mean = ballot.tally(Aggregate::Probabilities).unwrap();
        assert_eq!(mean.labels, [1, 2]);
        assert!((mean.agreement[0] - 1.0 / 3.0).abs() < 1e-6);
        assert_eq!(mean.soft_labels.row(0), [1.0 / 3.0, 0.5, 0.5 / 3.0]);
    }

    #[test]
    fn ties_go_to_the_lower_class() {
        let mut ballot = Ballot::new(1, 3);
        ballot.add(&[0], &says(&[[0.0, 0.0, 1.0]])).unwrap();
        ballot.add(&[0], &says(&[[0.0, 1.0, 0.0]])).unwrap();
        assert_eq!(ballot.tally(Aggregate::Votes).unwrap().labels, [1]);
    }

    #[test]
    fn counts_go_on_where_they_were_left() {
        let mut whole = Ballot::new(1, 3);
        let answers = [says(&[[0.1, 0.2, 0.7]]), says(&[[0.3, 0.6, 0.1]])];
        whole.add(&[0], &answers[0]).unwrap();
        let mut resumed = Ballot::resume(1, &whole.counts(), 1, 3).unwrap();
        whole.add(&[0], &answers[1]).unwrap();
        resumed.add(&[0], &answers[1]).unwrap();
        assert_eq!(whole, resumed);
        assert!(Ballot::resume(1, &whole.counts(), 1, 3).is_err(), "two votes of one teacher");
        assert!(Ballot::resume(2, &whole.counts(), 2, 3).is_err());
        assert!(whole.add(&[0], &says(&[[1.0, 0.0, 0.0]; 2])).is_err());
        assert!(whole.add(&[1], &says(&[[1.0, 0.0, 0.0]])).is_err());
    }

    #[test]
    fn panels_share_the_work_evenly() {
        let asked: Vec<Vec<i64>> = (0..5).map(|teacher| panel_rows(10, teacher, 5, 3)).collect();
        assert!(asked.iter().all(|rows| rows.len() == 6), "{asked:?}");
        for image in 0..10 {
            assert_eq!(asked.iter().filter(|rows| rows.contains(&image)).count(), 3, "{image}");
        }
        assert_eq!(asked[0], [0, 3, 4, 5, 8, 9]);
        assert_eq!(panel_rows(4, 2, 3, 3), [0, 1, 2, 3]);
    }
}
