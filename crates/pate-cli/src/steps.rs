//! The steps of the pipeline, one module each, by family.
//!
//! A step is its command line and what it does with it: open the inputs, call `pate-core` once,
//! write the outputs and the report.

pub mod candidates;
pub mod dpmi;
pub mod feta;
pub mod imgsyn;
pub mod measure;
pub mod private;
pub mod selection;
pub mod student;
pub mod teachers;

use clap::Command;

use crate::run::{Step, command};

/// A step as tests, completions and documents see it.
pub struct Entry {
    /// Its family, as the module is named.
    pub family: &'static str,
    /// Its command line, with the defaults in the help.
    pub command: fn() -> Command,
}

impl Entry {
    const fn of<S: Step>(family: &'static str) -> Self {
        Self { family, command: command::<S> }
    }

    /// The program's name.
    pub fn name(&self) -> String {
        (self.command)().get_name().to_owned()
    }
}

/// Every step, in the order of the pipeline.
pub const STEPS: &[Entry] = &[
    Entry::of::<teachers::PrepareShards>("teachers"),
    Entry::of::<teachers::TrainTeachers>("teachers"),
    Entry::of::<candidates::PretrainDecoder>("candidates"),
    Entry::of::<candidates::GenerateCandidates>("candidates"),
    Entry::of::<selection::LabelFilter>("selection"),
    Entry::of::<selection::BatchLabelFilter>("selection"),
    Entry::of::<selection::Combine>("selection"),
    Entry::of::<selection::VoteLabel>("selection"),
    Entry::of::<student::TrainStudent>("student"),
    Entry::of::<student::EvaluateStudent>("student"),
    Entry::of::<measure::EvaluateSynthetic>("measure"),
    Entry::of::<teachers::TrainTeacherVae>("teachers"),
    Entry::of::<teachers::BatchTrainTeacherVaes>("teachers"),
    Entry::of::<measure::CompareApproaches>("measure"),
    Entry::of::<measure::ScoreRelease>("measure"),
    Entry::of::<private::TrainDpClassifier>("private"),
    Entry::of::<private::TrainDpTeacher>("private"),
    Entry::of::<private::CaptureDpStats>("private"),
    Entry::of::<imgsyn::SynthesizeImages>("imgsyn"),
    Entry::of::<imgsyn::DistillStudent>("imgsyn"),
    Entry::of::<dpmi::TrainAutoencoder>("dpmi"),
    Entry::of::<dpmi::TrainGan>("dpmi"),
    Entry::of::<dpmi::ExtractLatents>("dpmi"),
    Entry::of::<dpmi::TrainDpLatent>("dpmi"),
    Entry::of::<dpmi::SampleGenerator>("dpmi"),
    Entry::of::<dpmi::Relabel>("dpmi"),
    Entry::of::<feta::QueryCentralImages>("feta"),
    Entry::of::<feta::PretrainDiffusion>("feta"),
    Entry::of::<feta::FinetuneDiffusion>("feta"),
    Entry::of::<feta::SampleDiffusion>("feta"),
];
