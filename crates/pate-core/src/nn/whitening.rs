//! Whitening: features turned and scaled so that they vary alike in all directions.

use tch::{Device, Kind, Tensor};

use crate::base::rng::Stream;
use crate::{Error, Result};

/// Blocks of rows that second moments are computed in.
const BLOCKS: i64 = 6;

/// Mean and second moments of features, added up part by part in float64.
///
/// # Privacy
/// A function of all features that were added: of public ones alone, or it is no public number.
pub struct Moments {
    count: f64,
    sum: Tensor,
    products: Tensor,
}

impl Moments {
    /// Of no features of `d` values yet.
    pub fn new(d: i64) -> Self {
        let zeros = |size: &[i64]| Tensor::zeros(size, (Kind::Double, Device::Cpu));
        Self { count: 0.0, sum: zeros(&[d]), products: zeros(&[d, d]) }
    }

    /// Adds `features`, `[n, d]`, float32.
    ///
    /// # Errors
    /// Another number of values.
    pub fn add(&mut self, features: &Tensor) -> Result<()> {
        let _guard = tch::no_grad_guard();
        self.count += features.size()[0] as f64;
        let _ = self.sum.f_add_(&features.f_sum_dim_intlist(0, false, Kind::Double)?)?;
        // Of the symmetric products, the blocks on and above the diagonal.
        let d = features.size()[1];
        let block = (d + BLOCKS - 1) / BLOCKS;
        for first in (0..d).step_by(block.max(1) as usize) {
            let rows = features.f_narrow(1, first, block.min(d - first))?;
            let part = rows.f_tr()?.f_matmul(&features.f_narrow(1, first, d - first)?)?;
            let mut place =
                self.products.f_narrow(0, first, rows.size()[1])?.f_narrow(1, first, d - first)?;
            let _ = place.f_add_(&part)?;
        }
        Ok(())
    }

    /// The weight `[k, d]` and the bias `[k]` of the affine map that keeps the `k` directions of
    /// largest variance v and divides each by `sqrt(v + ridge)`.
    ///
    /// The directions come from a randomised range finder with power iterations (Halko, Martinsson,
    /// Tropp, "Finding structure with randomness", 2011, algorithm 4.4), which draws from `stream`:
    /// within their span the variances are exact, and for the largest ones the span is that of the
    /// eigenvectors; where they hardly differ it may be a turned one, which is as good.
    ///
    /// # Errors
    /// No features; a `k` that is not from 1 to d; variances that are not finite.
    pub fn whitening(&self, k: i64, ridge: f64, stream: &mut Stream) -> Result<(Tensor, Tensor)> {
        /// Directions beyond `k`, and rounds of the iteration.
        const MORE: i64 = 100;
        const ROUNDS: usize = 3;
        let d = self.sum.size()[0];
        if k < 1 || k > d || self.count < 1.0 {
            return Err(Error::invalid(format!(
                "features of {d} values ({} of them) cannot be whitened to {k}; give from 1 to {d}",
                self.count
            )));
        }
        let _guard = tch::no_grad_guard();
        let mean = self.sum.f_div_scalar(self.count)?;
        let products = self.products.f_triu(0)? + self.products.f_triu(1)?.f_tr()?;
        let covariance = products.f_div_scalar(self.count)? - mean.f_outer(&mean)?;
        if covariance.isfinite().all().f_int64_value(&[])? == 0 {
            return Err(Error::invalid("the features to be whitened by are not finite"));
        }
        let wide = (k + MORE).min(d);
        // Products in float32, whose rounding the next round mends; the bases and all that is kept
        // in float64.
        let fast = covariance.f_to_kind(Kind::Float)?;
        let mut basis = stream.normal_tensor(&[d, wide])?;
        for _ in 0..ROUNDS {
            basis = orthonormal(&fast.f_matmul(&basis)?)?.f_to_kind(Kind::Float)?;
        }
        let basis = orthonormal(&basis)?;
        let within = basis.f_tr()?.f_matmul(&covariance.f_matmul(&basis)?)?;
        let (variances, turn) = within.f_linalg_eigh("L")?; // ascending
        let largest = |x: &Tensor| x.f_narrow(-1, wide - k, k);
        let scale = (largest(&variances)?.clamp_min(0.0) + ridge).f_rsqrt()?;
        let weight = basis.f_matmul(&largest(&turn)?)?.f_mul(&scale)?.f_tr()?.f_contiguous()?;
        let bias = -weight.f_mv(&mean)?;
        if bias.isfinite().all().f_int64_value(&[])? == 0 {
            return Err(Error::invalid(format!(
                "a ridge of {ridge} does not keep directions without any variance finite; give a number above 0"
            )));
        }
        Ok((weight.f_to_kind(Kind::Float)?, bias.f_to_kind(Kind::Float)?))
    }
}

/// An orthonormal basis of the columns' span, in float64, by Cholesky factors of their Gram matrix,
/// twice: once loses half of the digits (Yamamoto et al., "Roundoff error analysis of the
/// CholeskyQR2 algorithm", 2015).
fn orthonormal(columns: &Tensor) -> Result<Tensor> {
    let mut basis = columns.f_to_kind(Kind::Double)?;
    for _ in 0..2 {
        let gram = basis.f_tr()?.f_matmul(&basis)?;
        // Columns that depend on each other leave nothing to divide by.
        let shift = gram.f_trace()?.f_double_value(&[])? * 1e-13;
        let n = gram.size()[0];
        let gram = gram + Tensor::f_eye(n, (Kind::Double, Device::Cpu))? * shift;
        let factor = gram.f_linalg_cholesky(false)?;
        // rows R of basis = Q L^T
        basis = factor.f_linalg_solve_triangular(&basis.f_tr()?, false, true, false)?.f_tr()?;
    }
    Ok(basis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Purpose;

    #[test]
    fn whitened_features_vary_alike() {
        let mut stream = Stream::new(1, Purpose::Probe, 0);
        let (n, d, k) = (4000, 160, 20);
        let x = stream.normal_tensor(&[n, d]).unwrap()
            * Tensor::arange(d, (Kind::Float, Device::Cpu)).exp2().clamp_max(64.0);
        let turn = stream.normal_tensor(&[d, d]).unwrap();
        let x = x.matmul(&turn) + 3.0;
        let mut moments = Moments::new(d);
        for part in x.chunk(3, 0) {
            moments.add(&part).unwrap();
        }
        let (weight, bias) = moments.whitening(k, 0.0, &mut stream).unwrap();
        let y = x.matmul(&weight.tr()) + bias;
        let covariance = y.tr().matmul(&y) / n as f64;
        let off = (covariance - Tensor::eye(k, (Kind::Float, Device::Cpu))).abs().max().double_value(&[]);
        assert!(off < 5e-3, "{off}");
        assert!(y.mean_dim(0, false, Kind::Double).abs().max().double_value(&[]) < 1e-3);
        // The k directions hold as much as the eigenvectors of the k largest variances do.
        let centred = &x - x.mean_dim(0, true, Kind::Float);
        let exact = (centred.tr().matmul(&centred) / n as f64).to_kind(Kind::Double);
        let (variances, _) = exact.linalg_eigh("L");
        let all = variances.narrow(0, d - k, k).sum(Kind::Double).double_value(&[]);
        let directions = weight.to_kind(Kind::Double);
        let directions = &directions / directions.norm_scalaropt_dim(2, [1], true);
        let held = (&directions.matmul(&exact) * &directions).sum(Kind::Double).double_value(&[]);
        assert!(held > 0.999 * all, "{held} of {all}");
        assert!(
            moments.whitening(0, 0.1, &mut stream).is_err()
                && moments.whitening(d + 1, 0.1, &mut stream).is_err()
        );
    }
}
