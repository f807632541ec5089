//! The gradients of every single record, from one recorded pass over many.

use tch::Tensor;

use super::clip::Engine;
use super::share::{self, Share, Sizes};
use crate::base::tensor;
use crate::nn::{Parameter, Tape};
use crate::{Error, Result};

/// The gradient of every record's loss with respect to every parameter.
///
/// They come from what each layer was given and from the gradient of what it gave: one backward
/// pass over all records (Bu, Wang, Zha, Karypis, "Differentially private optimization on large
/// model at small cost", 2023, "book-keeping"; the norm of a product that is never formed:
/// Goodfellow, "Efficient per-example gradient computations", 2015; for convolutions, with the
/// choice by size: Bu, Mao, Xu, "Scalable and efficient training of large convolutional neural
/// networks with differential privacy", 2022).
///
/// # Privacy
/// All of it is private. What may leave is the clipped sum after noise.
pub struct Gradients {
    /// In the order of the parameters.
    shares: Vec<Share>,
    shapes: Vec<Vec<i64>>,
    records: i64,
}

impl Gradients {
    /// From a pass of a network over `views` consecutive rows for each record, and `loss`: the sum
    /// over the records of each one's loss, which is the mean over its views.
    ///
    /// # Errors
    /// A parameter of `parameters` that no recorded layer has; a layer that did not keep the rows
    /// apart; a recorded tensor that was written over since.
    pub fn of(
        tape: &Tape,
        loss: &Tensor,
        parameters: &[&Parameter],
        views: i64,
        engine: Engine,
    ) -> Result<Self> {
        tape.check_intact()?;
        let outputs: Vec<&Tensor> = tape.uses.iter().map(|used| &used.output).collect();
        let rows = outputs.first().map_or(0, |output| output.size()[0]);
        if views < 1 || rows % views != 0 {
            return Err(Error::invalid(format!("{rows} rows are no records of {views} views each")));
        }
        if rows == 0 {
            return Ok(Self::of_nobody(parameters));
        }
        let gradients = tensor::gradients(loss, &outputs)?;
        let _guard = tch::no_grad_guard();
        let mut shares: Vec<Option<Share>> = parameters.iter().map(|_| None).collect();
        let mut put = |parameter: &Parameter, share: Share| -> Result<()> {
            let at = parameters.iter().position(|known| known.name() == parameter.name());
            let Some(at) = at else {
                return Err(Error::invalid(format!("{} is no parameter of the network", parameter.name())));
            };
            shares[at] = Some(match shares[at].take() {
                None => share,
                Some(before) => before.plus(share),
            });
            Ok(())
        };
        for (used, gradient) in tape.uses.iter().zip(&gradients) {
            let (input, output) = (used.input.size()[0], used.output.size()[0]);
            if (input, output) != (rows, rows) {
                return Err(Error::invalid(format!(
                    "{} was given {input} rows and gave {output}; every layer has to keep the {rows} records apart",
                    used.layer.name()
                )));
            }
            // A use that the loss does not depend on has no gradient at all.
            let nothing;
            let gradient = if gradient.defined() {
                gradient
            } else {
                nothing = used.output.zeros_like();
                &nothing
            };
            let (weight, bias) = share::of_use(used, gradient, views, engine.keeps());
            put(used.layer.weight(), weight)?;
            if let Some((parameter, share)) = used.layer.bias().zip(bias) {
                put(parameter, share)?;
            }
        }
        let shares = shares
            .into_iter()
            .zip(parameters)
            .map(|(share, parameter)| {
                share.ok_or_else(|| {
                    Error::invalid(format!(
                        "{} was used by no recorded layer, so its gradients of single records are not known",
                        parameter.name()
                    ))
                })
            })
            .collect::<Result<_>>()?;
        let shapes = parameters.iter().map(|parameter| parameter.value().size()).collect();
        Ok(Self { shares, shapes, records: rows / views })
    }

    /// Those of no record at all: a step on an empty sample adds noise to a sum of zero.
    pub fn of_nobody(parameters: &[&Parameter]) -> Self {
        let none = |p: &&Parameter| {
            let value = p.value();
            Share::plain(Tensor::zeros([0, value.numel() as i64], (value.kind(), value.device())))
        };
        let shapes = parameters.iter().map(|parameter| parameter.value().size()).collect();
        Self { shares: parameters.iter().map(none).collect(), shapes, records: 0 }
    }

    /// How many records there are.
    pub fn records(&self) -> i64 {
        self.records
    }

    /// The squared L2 norms for each parameter and record, `[parameters, n]`: what is clipped by.
    /// Of a gradient that is never formed, and whose parts nearly cancel, it is the larger norm
    /// that they have; rounding in the sum goes by that.
    pub fn squared_norms(&self) -> Tensor {
        let _guard = tch::no_grad_guard();
        // Sums of squares that cancel in a Gram matrix may fall below zero by a rounding.
        let norms: Vec<Tensor> =
            self.shares.iter().map(|share| share.squared_norms().clamp_min(0.0)).collect();
        Tensor::stack(&norms, 0)
    }

    /// The gradients, `[n, shape]` for each parameter.
    pub fn materialised(&self) -> Vec<Tensor> {
        let _guard = tch::no_grad_guard();
        let shaped = |(share, shape): (&Share, &Vec<i64>)| {
            let mut all = vec![self.records];
            all.extend(shape);
            share.materialised().reshape(all)
        };
        self.shares.iter().zip(&self.shapes).map(shaped).collect()
    }

    /// The sums over the records with `factors`, `[parameters, n]`, each like its parameter.
    pub fn weighted_sums(&self, factors: &Tensor) -> Vec<Tensor> {
        let _guard = tch::no_grad_guard();
        let shares = self.shares.iter().zip(&self.shapes).enumerate();
        shares.map(|(i, (share, shape))| share.weighted_sum(&factors.get(i as i64), shape)).collect()
    }

    /// The same without what is not a number or infinite: the records whose gradient is not finite
    /// have a gradient of zero. Gives which ones stay as they are, `[n]`.
    pub(super) fn finite(mut self, squared_norms: &Tensor) -> (Self, Tensor) {
        let finite = squared_norms.isfinite().all_dim(0, false);
        if finite.all().int64_value(&[]) == 0 {
            self.shares = self.shares.into_iter().map(|share| share.only(&finite)).collect();
        }
        (self, finite)
    }
}

impl Engine {
    fn keeps(self) -> fn(&Sizes) -> bool {
        match self {
            Self::Materialised => |_| true,
            // By what was measured: a gradient costs its values, r c, several times over (formed,
            // measured, added up), where Gram matrices cost t^2 (r + c) products in float64; and it
            // is kept, so it may not be much larger than the t (r + c) values that it is made of.
            Self::Ghost => |Sizes { t, r, c }| r * c <= (t * t / 3).min(4 * t) * (r + c),
        }
    }
}
