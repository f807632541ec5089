//! The Frechet distance between two sets of features.

use tch::{Kind, Tensor};

use crate::base::parallel::OneThread;
use crate::{Error, Result};

/// Mean and covariance (unbiased), in double precision.
fn moments(x: &Tensor) -> (Tensor, Tensor) {
    let x = x.to_kind(Kind::Double);
    let mean = x.mean_dim([0i64].as_slice(), false, Kind::Double);
    let centred = x - &mean;
    let covariance = centred.transpose(0, 1).matmul(&centred) / (centred.size()[0] - 1) as f64;
    (mean, covariance)
}

/// Frechet distance of the normal distributions with the moments of two sets of features:
/// `|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))`.
///
/// Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash
/// equilibrium" (2017), there with the features of an Inception network. Figures compare only
/// within one feature space and for like numbers of rows.
///
/// # Shapes
/// `[n, d]` and `[m, d]`.
///
/// # Errors
/// Fewer than two rows, or different widths.
pub fn frechet_distance(a: &Tensor, b: &Tensor) -> Result<f64> {
    let (size_a, size_b) = (a.size(), b.size());
    if size_a.len() != 2 || size_b.len() != 2 || size_a[1] != size_b[1] || size_a[0] < 2 || size_b[0] < 2 {
        return Err(Error::invalid(format!(
            "a Frechet distance of {size_a:?} and {size_b:?} is not defined; both must be [rows, values] with two rows or more"
        )));
    }
    let _guard = tch::no_grad_guard();
    let _threads = OneThread::hold();
    let ((mean_a, cov_a), (mean_b, cov_b)) = (moments(a), moments(b));
    // The trace of (C_a C_b)^(1/2) is that of (R C_b R)^(1/2) with R the symmetric root of C_a,
    // whose matrix is symmetric too.
    let (values, vectors) = cov_a.f_linalg_eigh("L")?;
    let root = (&vectors * values.clamp_min(0.0).sqrt()).matmul(&vectors.transpose(0, 1));
    let product = root.matmul(&cov_b).matmul(&root);
    let (values, _) = ((&product + product.transpose(0, 1)) * 0.5).f_linalg_eigh("L")?;
    let cross = values.clamp_min(0.0).sqrt().sum(Kind::Double);
    let distance = (mean_a - mean_b).square().sum(Kind::Double) + cov_a.trace() + cov_b.trace() - cross * 2.0;
    Ok(distance.f_double_value(&[])?.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let found = frechet_distance(&a, &b).unwrap();
        assert!((found - expected).abs() < 0.1, "{found}");
        assert!(frechet_distance(&a, &a).unwrap() < 1e-9);
        // A rotation of both changes nothing; that of one does.
        let (rotation, _) = Tensor::linalg_qr(&normal(3, 3, 2), "reduced");
        let turned = frechet_distance(&a.matmul(&rotation), &b.matmul(&rotation)).unwrap();
        assert!((turned - found).abs() < 1e-3, "{turned} {found}");
        assert!(frechet_distance(&a, &normal(5, 4, 3)).is_err());
        assert!(frechet_distance(&a.narrow(0, 0, 1), &b).is_err());
    }
}
