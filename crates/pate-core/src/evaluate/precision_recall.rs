//! Precision and recall of generated features by nearest neighbours.

use tch::{Kind, Tensor};

use super::distances;
use crate::base::parallel::OneThread;
use crate::base::tensor;
use crate::{Error, Result};

/// Rows of a block of distances.
const BLOCK: i64 = 1024;

/// Precision and recall of `generated` with respect to `real`, as fractions.
///
/// Precision: generated rows inside the ball around some real row that reaches to its k-th nearest
/// real neighbour. Recall: the same with the roles exchanged. Kynkaanniemi et al., "Improved
/// precision and recall metric for assessing generative models" (2019).
///
/// # Shapes
/// `[n, d]` and `[m, d]`, n and m above k.
///
/// # Errors
/// Too few rows, or different widths.
pub fn precision_recall(real: &Tensor, generated: &Tensor, k: i64) -> Result<[f64; 2]> {
    let (size, other) = (real.size(), generated.size());
    if size.len() != 2 || other.len() != 2 || size[1] != other[1] || k < 1 || size[0] <= k || other[0] <= k {
        return Err(Error::invalid(format!(
            "precision and recall of {size:?} and {other:?} with {k} neighbours are not defined; both must be [rows, values] with \
             more rows than neighbours"
        )));
    }
    let _guard = tch::no_grad_guard();
    let _threads = OneThread::hold();
    Ok([inside(generated, real, k)?, inside(real, generated, k)?])
}

/// Fraction of the rows of `x` inside a ball around a row of `centres`.
fn inside(x: &Tensor, centres: &Tensor, k: i64) -> Result<f64> {
    let mut radii = Vec::new();
    tensor::batches(centres.size()[0], BLOCK, |first, n| {
        let squared = distances::squared(&centres.f_narrow(0, first, n)?, centres);
        // The nearest is the row itself.
        radii.push(squared.f_topk(k + 1, 1, false, true)?.0.f_select(1, k)?);
        Ok(())
    })?;
    let radii = Tensor::f_cat(&radii, 0)?;
    let mut hits = 0;
    tensor::batches(x.size()[0], BLOCK, |first, n| {
        let squared = distances::squared(&x.f_narrow(0, first, n)?, centres);
        let hit = squared.f_le_tensor(&radii)?.f_any_dim(1, false)?;
        hits += hit.f_sum(Kind::Int64)?.f_int64_value(&[])?;
        Ok(())
    })?;
    Ok(hits as f64 / x.size()[0] as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::{Purpose, Stream};

    fn normal(n: i64, d: i64, index: u64) -> Tensor {
        Stream::new(3, Purpose::Latents, index).normal_tensor(&[n, d]).unwrap()
    }

    #[test]
    fn precision_sees_strays_and_recall_sees_gaps() {
        let real = normal(500, 2, 0);
        let [precision, recall] = precision_recall(&real, &normal(500, 2, 1), 3).unwrap();
        assert!(precision > 0.85 && recall > 0.85, "{precision} {recall}");
        // Half of them far away.
        let strays = Tensor::cat(&[normal(250, 2, 1), normal(250, 2, 2) + 100.0], 0);
        let [precision, _] = precision_recall(&real, &strays, 3).unwrap();
        assert!((precision - 0.47).abs() < 0.06, "{precision}");
        // All in one corner.
        let [precision, recall] = precision_recall(&real, &(normal(500, 2, 1) * 0.05), 3).unwrap();
        assert!(precision > 0.95 && recall < 0.1, "{precision} {recall}");
        // By hand, k = 1: balls of radius 1 around 0 and 1, and of radius 9 around 10.
        let line = |values: &[f32]| Tensor::from_slice(values).view([-1, 1]);
        let found = precision_recall(&line(&[0.0, 1.0, 10.0]), &line(&[-1.5, 1.9, 18.9, 19.1]), 1).unwrap();
        assert!((found[0] - 0.5).abs() < 1e-12, "{found:?}");
        assert!(precision_recall(&real, &line(&[0.0, 1.0]), 3).is_err());
    }
}
