//! A Wasserstein GAN whose critic alone sees private rows: latents, or images.

use std::cell::RefCell;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::rows::{Classes, PrivateRows, one_hot};
use crate::base::rng::{Purpose, Stream};
use crate::base::tensor;
use crate::dp::{PrivateLearner, PrivateTask};
use crate::models::{LayerSpec, Sequential, takes_rows};
use crate::nn::{self, Adam, DropoutMasks, Module, Optimizer as _, Parameter, Pass, Source, Tape};
use crate::train::gan::clip_weights;
use crate::{Error, Result};

/// The shape of a [`LatentGan`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GanShape {
    /// Values of a record.
    pub latents: i64,
    /// Number of classes.
    pub classes: i64,
    /// Whether they stand beside noise and latents.
    pub conditioning: Classes,
    /// Values of the generator's noise.
    pub noise: i64,
    /// Layers of the generator.
    pub generator: Vec<LayerSpec>,
    /// Layers of the critic, which ends in one score.
    pub critic: Vec<LayerSpec>,
}

impl GanShape {
    /// Whether its layers fit each other.
    ///
    /// # Errors
    /// Names what does not.
    pub fn check(&self) -> Result<()> {
        if self.conditioning == Classes::Each {
            return Err(Error::invalid(
                "a GAN for each class is not made, since their critics would share one clipping norm of few records; \
                 take --classes conditional",
            ));
        }
        let beside = self.conditioning.beside(self.classes);
        super::model::check_rows(&self.generator, self.noise + beside, self.latents)?;
        if takes_rows(&self.critic) {
            super::model::check_rows(&self.critic, self.latents + beside, 1)?;
        }
        Ok(())
    }
}

impl GanShape {
    /// Rows as the critic takes them: with their classes beside them, or as images like `data`'s.
    fn seen(&self, rows: &Tensor, classes: &Tensor, data: &PrivateRows) -> Result<Tensor> {
        if takes_rows(&self.critic) {
            return self.conditioning.join(rows, classes);
        }
        Ok(rows.f_reshape(data.size(rows.size()[0]))?)
    }
}

/// A generator of rows.
#[derive(Clone)]
pub struct LatentGan {
    generator: Sequential,
    shape: GanShape,
}

impl LatentGan {
    /// A fresh one, initialised as PyTorch does, and its critic.
    ///
    /// # Errors
    /// Layers that do not fit each other.
    pub fn new(shape: &GanShape, seed: u64, device: Device) -> Result<(Self, Sequential)> {
        let mut stream = Stream::new(seed, Purpose::Weights, 0);
        let generator = Self::build(&mut Source::fresh(&mut stream, device), shape)?;
        Ok((generator, Sequential::new("critic.model", &shape.critic, seed, 1, device)?))
    }

    /// The generator with weights from `source`.
    ///
    /// # Errors
    /// Layers that do not fit each other, and those of the source.
    pub fn build(source: &mut Source<'_>, shape: &GanShape) -> Result<Self> {
        shape.check()?;
        Ok(Self {
            generator: Sequential::build(source, "gen.model", &shape.generator)?,
            shape: shape.clone(),
        })
    }

    /// Its shape.
    pub fn shape(&self) -> &GanShape {
        &self.shape
    }

    /// Rows from noise, with classes beside it where they come in.
    ///
    /// # Errors
    /// Other shapes.
    pub fn forward(&self, noise: &Tensor, classes: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        Ok(self.generator.forward(&self.shape.conditioning.join(noise, classes)?, pass))
    }

    /// Latents of the classes `labels`, `[n, latents]`.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn sample(&self, labels: &[i64], stream: &mut Stream) -> Result<Tensor> {
        let device = nn::device_of(self);
        let noise = stream.normal_tensor(&[labels.len() as i64, self.shape.noise])?.f_to_device(device)?;
        let classes = self.shape.conditioning.of_labels(labels, self.shape.classes, device)?;
        self.forward(&noise, &classes, &mut Pass::Infer)
    }
}

impl Module for LatentGan {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.generator.visit(f);
    }
}

/// How critic and generator take turns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TurnsPlan {
    /// Steps of the critic, which are the private ones, before each of the generator.
    pub critic_steps: u64,
    /// The critic's weights are clipped to this on both sides after every step.
    pub weight_clip: f64,
    /// Rows that the generator makes in a step.
    pub batch: i64,
    /// Learning rate of the generator's Adam.
    pub learning_rate: f64,
    /// Its decays.
    pub betas: (f64, f64),
    /// Seed of the generator's noise.
    pub seed: u64,
}

/// Critic and generator, as private training sees them: it changes the critic, and keeps account of
/// the generator and of its optimiser.
struct Players {
    critic: Sequential,
    /// The generator's weights and its optimiser's moments, by name.
    kept: Vec<Parameter>,
}

impl Module for Players {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.critic.visit(f);
        self.kept.iter().for_each(f);
    }
}

/// A GAN that learns private rows.
///
/// # Privacy
/// Only the critic's steps see private rows. A record's loss is the critic's score of a generated
/// row less that of its own, clipped together as one gradient; the generated row is drawn by the
/// record's content and the step. The generator's steps follow from the critic, and are
/// post-processing. The critic starts from fresh random weights; nothing is estimated from private
/// rows beforehand.
pub struct PrivateGan<'a> {
    generator: &'a LatentGan,
    players: Players,
    data: PrivateRows,
    plan: TurnsPlan,
    of_generator: RefCell<(Adam, Vec<Tensor>)>,
}

impl<'a> PrivateGan<'a> {
    /// `data` for `generator` and its `critic`.
    ///
    /// # Errors
    /// A plan whose numbers mean nothing.
    pub fn new(
        generator: &'a LatentGan,
        critic: Sequential,
        data: PrivateRows,
        plan: TurnsPlan,
    ) -> Result<Self> {
        if plan.critic_steps == 0 || plan.batch < 2 || plan.weight_clip.is_nan() || plan.weight_clip <= 0.0 {
            return Err(Error::invalid(format!(
                "{} steps of the critic, {} generated rows, weights clipped to {}: the first is at least 1, the second at \
                 least 2, the third above 0",
                plan.critic_steps, plan.batch, plan.weight_clip
            )));
        }
        let trained = nn::trainable(generator);
        let learnt = nn::learnt(generator);
        let mut kept: Vec<Parameter> = nn::parameters(generator).into_iter().map(Parameter::kept).collect();
        for moment in ["mean", "square"] {
            for parameter in &learnt {
                let zeros = parameter.value().detach().f_zeros_like()?;
                kept.push(Parameter::buffer(&format!("adam.{moment}.{}", parameter.name()), zeros));
            }
        }
        let adam = Adam::with_betas(plan.learning_rate, 0.0, plan.betas);
        let players = Players { critic, kept };
        Ok(Self { generator, players, data, plan, of_generator: RefCell::new((adam, trained)) })
    }
}

impl PrivateTask for PrivateGan<'_> {
    fn records(&self) -> usize {
        self.data.len()
    }

    /// The record's own row, and a generated one.
    fn views(&self) -> i64 {
        2
    }

    fn network(&self) -> &dyn Module {
        &self.players
    }

    fn learner(&self) -> Box<dyn PrivateLearner + '_> {
        Box::new(CriticLearner {
            critic: self.players.critic.clone(),
            generator: self.generator.clone(),
            data: self.data.alias(),
        })
    }

    fn after_step(&self, step: u64) -> Result<()> {
        if self.plan.weight_clip.is_finite() {
            clip_weights(&self.players.critic, self.plan.weight_clip)?;
        }
        let turns = self.plan.critic_steps;
        if !(step + 1).is_multiple_of(turns) {
            return Ok(());
        }
        let turn = (step + 1) / turns - 1;
        let (adam, trained) = &mut *self.of_generator.borrow_mut();
        // The moments are in the memory that checkpoints keep; the count follows from the step.
        let first = self.players.kept.len() - 2 * trained.len();
        let moments = self.players.kept[first..].iter().map(|p| p.value().shallow_clone());
        adam.resume(moments.collect(), i32::try_from(turn).unwrap_or(i32::MAX));
        let (n, shape, device) = (self.plan.batch, &self.generator.shape, self.data.device());
        let mut stream = Stream::new(self.plan.seed, Purpose::Gan, turn);
        let noise = stream.normal_tensor(&[n, shape.noise])?.f_to_device(device)?;
        let labels: Vec<i64> = (0..n).map(|_| stream.below(shape.classes.max(1) as u64) as i64).collect();
        let classes = one_hot(&labels, shape.classes, device)?;
        let rows = self.generator.forward(&noise, &classes, &mut Pass::differentiate())?;
        let rows = shape.seen(&rows, &classes, &self.data)?;
        let loss = self.players.critic.forward(&rows, &mut Pass::Frozen).f_mean(None)?.f_neg()?;
        let gradients = tensor::gradients(&loss, trained)?;
        adam.step(trained, &gradients);
        Ok(())
    }

    fn made_up(&self, records: i64, stream: &mut Stream) -> Result<Tensor> {
        let shape = &self.generator.shape;
        let n = 2 * records;
        let rows = stream.normal_tensor(&[n, shape.latents])?.f_to_device(self.data.device())?;
        let classes = Tensor::f_zeros([n, shape.classes], (Kind::Float, self.data.device()))?;
        shape.seen(&rows, &classes, &self.data)
    }
}

struct CriticLearner {
    critic: Sequential,
    generator: LatentGan,
    data: PrivateRows,
}

impl PrivateLearner for CriticLearner {
    fn network(&self) -> &dyn Module {
        &self.critic
    }

    fn loss(&self, rows: &[usize], step: u64, tape: &mut Tape) -> Result<Tensor> {
        let shape = &self.generator.shape;
        let (real, classes) = self.data.at(rows)?;
        let noise = self.data.noise(rows, step, shape.noise)?;
        // Of the record's own class, so that the two differ in nothing else.
        let drawn = self.generator.forward(&noise, &classes, &mut Pass::Infer)?.f_detach()?;
        let (real, drawn) =
            (shape.seen(&real, &classes, &self.data)?, shape.seen(&drawn, &classes, &self.data)?);
        // A record's two rows stand one after the other.
        let pairs = Tensor::f_stack(&[real, drawn], 1)?.f_flatten(0, 1)?;
        let mut pass = Pass::Record { tape, dropout: DropoutMasks::none() };
        let scores = self.critic.forward(&pairs, &mut pass).f_view([-1, 2])?;
        Ok(scores.f_select(1, 1)?.f_sum(None)? - scores.f_select(1, 0)?.f_sum(None)?)
    }

    fn outputs(&self, inputs: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        Ok(self.critic.forward(inputs, pass))
    }
}
