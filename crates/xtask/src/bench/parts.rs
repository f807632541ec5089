//! The parts, and what they are held against.

use anyhow::{Result, bail};

use super::figures::Bar;
use super::inputs::Job;

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// As on the command line; a letter alone means all of its parts.
    pub(super) id: &'static str,
    pub(super) what: &'static str,
    /// Times faster than the original: bar and stretch.
    pub(super) bar: Bar,
    pub(super) how: How,
}

/// How a part is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// A function inside a process, by this name on both sides.
    Inside(&'static str),
    /// The programs, from files to files.
    Batch(Job),
    /// A program's start and Python's.
    StartUp,
    /// Peak memory of the batch step, out of its runs.
    Memory,
    /// Steps of DP-SGD, against Opacus.
    Private,
}

pub(super) const PARTS: &[Part] = &[
    part("a1", "batch step, 20,000 candidates", Some((5.0, 7.0)), How::Batch(Job::Default)),
    part("a2", "batch step, 1,000 candidates, 36 selected", Some((6.0, 9.0)), How::Batch(Job::NineK)),
    part("a3", "a2, early stopping, pool starts", Some((15.0, 30.0)), How::Batch(Job::NineKEarly)),
    part("b", "labelling", Some((2.5, 3.3)), How::Inside("labelling")),
    part("c", "decoding", Some((1.5, 2.2)), How::Inside("decoding")),
    part("d", "steering 100 samples of one class", Some((6.0, 9.0)), How::Inside("steering")),
    part("e", "diversity, 5,000 survivors", Some((30.0, 60.0)), How::Inside("diversity")),
    part("f", "memorisation, 20,000 x 240", None, How::Inside("memorisation")),
    part("g1", "training a teacher", Some((1.5, 2.0)), How::Inside("teacher-training")),
    part("g2", "a decoder epoch", Some((1.5, 2.0)), How::Inside("decoder-epoch")),
    part("g3", "a student epoch", Some((1.5, 2.0)), How::Inside("student-epoch")),
    part("g4", "four teachers' VAEs", Some((1.5, 2.0)), How::Inside("teacher-vaes")),
    part("g5", "the same as one network in groups", None, How::Inside("teacher-vaes-grouped")),
    part("h", "start-up", Some((5.0, 8.0)), How::StartUp),
    part("i", "write and read a pool", None, How::Inside("pool-files")),
    part("j", "peak memory of a1", None, How::Memory),
    part("k1", "PLD of 30,000 subsampled steps", Some((10.0, 50.0)), How::Inside("privacy-loss")),
    part("k2", "calibration on PLD", Some((10.0, 50.0)), How::Inside("calibration-pld")),
    part("k3", "calibration on RDP", Some((50.0, 100.0)), How::Inside("calibration-rdp")),
    part("l1", "DP-SGD, small CNN, batch 256", PRIVATE, How::Private),
    part("l2", "DP-SGD, small CNN, batch 2,048", PRIVATE, How::Private),
    part("l3", "DP-SGD, UCStub, batch 256", PRIVATE, How::Private),
    part("l4", "DP-SGD, GroupNorm ResNet-18 of width 16, batch 256", PRIVATE, How::Private),
    part("m", "DP-ImgSyn: 10 steps on 5,000 images", Some((2.0, 3.0)), How::Inside("synthesis")),
    part("n1", "Frechet distance, 10,000 x 2,048 twice", Some((1.0, 2.0)), How::Inside("frechet")),
    part("n2", "precision and recall of the same", Some((1.0, 2.0)), How::Inside("neighbours")),
];

/// Against the better of Opacus' two ways.
const PRIVATE: Bar = Some((2.0, 4.0));

const fn part(id: &'static str, what: &'static str, bar: Bar, how: How) -> Part {
    Part { id, what, bar, how }
}

/// The parts that `words` name, in their own order; all of them where there are no words.
pub(super) fn select(words: &[String]) -> Result<Vec<Part>> {
    let names =
        |part: &Part, word: &str| part.id == word || part.id.strip_suffix(char::is_numeric) == Some(word);
    for word in words {
        if !PARTS.iter().any(|part| names(part, word)) {
            let ids: Vec<&str> = PARTS.iter().map(|part| part.id).collect();
            bail!(
                "--part is `{word}`; the parts are {} (a, g, k, l and n mean all of theirs)",
                ids.join(", ")
            );
        }
    }
    Ok(PARTS
        .iter()
        .filter(|part| words.is_empty() || words.iter().any(|word| names(part, word)))
        .copied()
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(words: &[&str]) -> Vec<&'static str> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        select(&words).unwrap().iter().map(|part| part.id).collect()
    }

    #[test]
    fn a_letter_means_all_of_its_parts() {
        assert_eq!(ids(&["g", "a2"]), ["a2", "g1", "g2", "g3", "g4", "g5"]);
        assert_eq!(ids(&["b"]), ["b"]);
        assert_eq!(ids(&[]).len(), PARTS.len());
    }

    #[test]
    fn unknown_parts_are_refused_with_the_list() {
        let error = select(&["z".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("`z`") && error.contains("a1, a2"), "{error}");
    }
}
