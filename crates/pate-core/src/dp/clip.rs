//! Gradients of single records, scaled so that none is longer than a bound, and their sum.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::Gradients;
use crate::config::ClippingKind;
use crate::nn::Parameter;
use crate::{Error, Result};

/// How the gradients of single records come about. Both give the same sums, up to rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// Norms from what the layers were given and the gradients of what they gave; for each layer a
    /// gradient is formed only where it is smaller than what it is made of.
    Ghost,
    /// Every gradient of every record is formed: simple, and large.
    Materialised,
}

/// What a record's gradient is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clipping {
    /// The whole gradient.
    Flat,
    /// Each layer's weight and bias together, against `C / sqrt(layers)`.
    PerLayer,
    /// Each tensor by itself, against `C / sqrt(tensors)`.
    PerTensor,
}

/// The sum of clipped gradients.
///
/// # Privacy
/// Adding or removing one record changes `sums` by at most the clipping norm C in L2 norm over all
/// tensors together (exactly for real numbers; see the crate's lattice for floats). The other
/// fields are private and are for diagnostics.
pub struct Clipped {
    /// Like the parameters.
    pub sums: Vec<Tensor>,
    /// Of each record's whole gradient before clipping, `[n]`; not a number where it was not
    /// finite.
    pub norms_private: Tensor,
    /// Which records were shortened or left out, `[n]`.
    pub clipped_private: Tensor,
}

impl From<ClippingKind> for Clipping {
    fn from(kind: ClippingKind) -> Self {
        match kind {
            ClippingKind::Flat => Self::Flat,
            ClippingKind::PerLayer => Self::PerLayer,
            ClippingKind::PerTensor => Self::PerTensor,
        }
    }
}

impl Clipping {
    /// The number of the part that each parameter belongs to, and how many there are.
    fn parts(self, parameters: &[&Parameter]) -> (Vec<i64>, i64) {
        let mut names: Vec<&str> = Vec::new();
        let parts = parameters
            .iter()
            .map(|parameter| {
                let name = match self {
                    Self::Flat => "",
                    Self::PerLayer => parameter.name().rsplit_once('.').map_or("", |(layer, _)| layer),
                    Self::PerTensor => parameter.name(),
                };
                let at = names.iter().position(|known| *known == name).unwrap_or_else(|| {
                    names.push(name);
                    names.len() - 1
                });
                at as i64
            })
            .collect();
        (parts, names.len() as i64)
    }

    /// Multiplies each record's gradient by `min(1, C / norm)`, part by part, and adds up.
    ///
    /// A record whose gradient is not finite contributes nothing, so that one broken record cannot
    /// decide the sum.
    ///
    /// # Errors
    /// A `norm` that is not above 0; infinity does not clip.
    pub fn clip(self, gradients: Gradients, parameters: &[&Parameter], norm: f64) -> Result<Clipped> {
        if norm.is_nan() || norm <= 0.0 {
            return Err(Error::invalid(format!("the clipping norm is {norm}; it has to be above 0")));
        }
        let _guard = tch::no_grad_guard();
        let squares = gradients.squared_norms(); // [parameters, n]
        let (gradients, finite) = gradients.finite(&squares);
        let (parts, n_parts) = self.parts(parameters);
        let parts = Tensor::from_slice(&parts).to_device(squares.device());
        let by_part = Tensor::zeros([n_parts, squares.size()[1]], (squares.kind(), squares.device()))
            .index_add(0, &parts, &squares);
        let factors = if norm.is_finite() {
            let bound = norm / (n_parts as f64).sqrt();
            (by_part.sqrt().reciprocal() * bound).clamp_max(1.0)
        } else {
            by_part.ones_like()
        };
        let factors = factors.masked_fill(&finite.logical_not().unsqueeze(0), 0.0);
        let shortened = factors.lt(1.0).any_dim(0, false);
        Ok(Clipped {
            sums: gradients.weighted_sums(&factors.index_select(0, &parts)),
            norms_private: squares.sum_dim_intlist(0, false, Kind::Double).sqrt(),
            clipped_private: shortened,
        })
    }
}

/// Vectors shortened to the L2 norm `clip`; those that are not finite become zeros.
///
/// # Shapes
/// `[n, d]` in and out.
///
/// # Errors
/// Where libtorch refuses.
pub fn shortened(vectors: &Tensor, clip: f64) -> Result<Tensor> {
    let norm = (vectors * vectors).f_sum_dim_intlist(1, true, Kind::Double)?.f_sqrt()?;
    // Compared, not divided: nobody's vector gets longer.
    let factor = (clip / &norm).f_clamp_max(1.0)?;
    let finite = norm.f_isfinite()?;
    let short = vectors.f_mul(&factor)?;
    Ok(short.f_where_self(&finite, &short.f_zeros_like()?)?)
}
