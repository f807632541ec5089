//! The Frechet distance between two sets of features.

use tch::{Kind, Tensor};

use crate::base::parallel::{self, Threads};
use crate::base::progress::Progress;
use crate::{Error, Result};

/// The first two moments of a set of features, in double precision.
struct Moments {
    mean: Tensor,
    /// A matrix F, of at most as many rows as columns or features, whose `F^T F` is the unbiased
    /// covariance.
    factor: Tensor,
}

impl Moments {
    fn of(x: &Tensor) -> Result<Self> {
        let x = x.f_to_kind(Kind::Double)?;
        let (n, d) = (x.size()[0], x.size()[1]);
        let mean = x.f_mean_dim([0i64].as_slice(), false, Kind::Double)?;
        let centred = (x - &mean) / ((n - 1) as f64).sqrt();
        let factor = if n > d { Tensor::f_linalg_qr(&centred, "r")?.1 } else { centred };
        Ok(Self { mean, factor })
    }
}

/// Frechet distance of the normal distributions with the moments of two sets of features:
/// `|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))`.
///
/// Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash
/// equilibrium" (2017), there with the features of an Inception network. Figures compare only
/// within one feature space and for like numbers of rows.
///
/// With `C = F^T F`, the trace of `(C_a C_b)^(1/2)` is the sum of the singular values of
/// `F_a F_b^T`. No root of a covariance is taken, so that the distance is exact to rounding where
/// covariances have no full rank, too: fewer rows than values, or values that do not vary.
///
/// # Shapes
/// `[n, d]` and `[m, d]`.
///
/// # Errors
/// Fewer than two rows, different widths, values that are not finite, a stop.
pub fn frechet_distance(a: &Tensor, b: &Tensor, progress: &dyn Progress) -> Result<f64> {
    let (size_a, size_b) = (a.size(), b.size());
    if size_a.len() != 2 || size_b.len() != 2 || size_a[1] != size_b[1] || size_a[0] < 2 || size_b[0] < 2 {
        return Err(Error::invalid(format!(
            "a Frechet distance of {size_a:?} and {size_b:?} is not defined; both must be [rows, values] with two rows or more"
        )));
    }
    super::check_finite(a)?;
    super::check_finite(b)?;
    let _guard = tch::no_grad_guard();
    // A thread for each set.
    let sets = || [a.shallow_clone(), b.shallow_clone()];
    let workers = (0..parallel::workers(a.device()).min(2)).map(|_| sets()).collect();
    let mut moments = Vec::with_capacity(2);
    parallel::batches(
        2,
        1,
        workers,
        progress,
        |sets, at, _| {
            let _guard = tch::no_grad_guard();
            Moments::of(&sets[at as usize])
        },
        |_, _, part| {
            moments.push(part);
            Ok(())
        },
    )?;
    let [a, b] = &moments[..] else { return Err(Error::invalid("there are two sets of features")) };
    let _threads = Threads::one();
    let square = |x: &Tensor| x.square().sum(Kind::Double);
    let (_, singular, _) = a.factor.f_matmul(&b.factor.f_tr()?)?.f_svd(true, false)?;
    let cross = singular.f_sum(Kind::Double)?;
    let distance = square(&(&a.mean - &b.mean)) + square(&a.factor) + square(&b.factor) - cross * 2.0;
    Ok(distance.f_double_value(&[])?.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::progress::Silent;
    use crate::base::rng::{Purpose, Stream};

    fn normal(n: i64, d: i64, index: u64) -> Tensor {
        Stream::new(3, Purpose::Latents, index).normal_tensor(&[n, d]).unwrap()
    }

    #[test]
    fn the_frechet_distance_of_normal_distributions() {
        // Independent coordinates: sum of (m_a - m_b)^2 + (s_a - s_b)^2.
        let (n, scale) = (40_000, Tensor::from_slice(&[1.0f32, 2.0, 0.5]));
        let a = normal(n, 3, 0);
        let b = normal(n, 3, 1) * &scale + Tensor::from_slice(&[0.0f32, 1.0, -2.0]);
        let expected = (1.0 + 1.0) + (4.0 + 0.25);
        let found = frechet_distance(&a, &b, &Silent).unwrap();
        assert!((found - expected).abs() < 0.1, "{found}");
        assert!(frechet_distance(&a, &a, &Silent).unwrap() < 1e-9);
        // A rotation of both changes nothing; that of one does.
        let (rotation, _) = Tensor::linalg_qr(&normal(3, 3, 2), "reduced");
        let turned = frechet_distance(&a.matmul(&rotation), &b.matmul(&rotation), &Silent).unwrap();
        assert!((turned - found).abs() < 1e-3, "{turned} {found}");
        assert!(frechet_distance(&a, &normal(5, 4, 3), &Silent).is_err());
        assert!(frechet_distance(&a.narrow(0, 0, 1), &b, &Silent).is_err());
    }
}
