//! Precision, recall, density and coverage of generated features by nearest neighbours.

use serde::Serialize;
use tch::{Kind, Tensor};

use crate::base::parallel;
use crate::base::progress::Progress;
use crate::base::tensor;
use crate::{Error, Result};

/// Distances of a block at most; its memory is a few times 16 MB for each thread.
const BLOCK: i64 = 4 << 20;
/// Pairs whose distances are computed again at once, in double precision, with all their values.
const VALUES: i64 = 4 << 20;

/// How two sets of features lie in each other, as fractions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Neighbours {
    /// Generated rows inside the ball around some real row that reaches to its k-th nearest other
    /// real row.
    pub precision: f64,
    /// Real rows inside such a ball around some generated row.
    pub recall: f64,
    /// Balls of real rows that a generated row lies in, over k, on average; can be above 1.
    pub density: f64,
    /// Real rows with a generated row in their ball.
    pub coverage: f64,
    /// The k.
    pub neighbours: i64,
}

/// Precision and recall (Kynkaanniemi et al., "Improved precision and recall metric for assessing
/// generative models", 2019), density and coverage (Naeem et al., "Reliable fidelity and diversity
/// metrics for generative models", 2020) of `generated` with respect to `real`.
///
/// A row is not its own neighbour, and the ball has its edge. The counts are those of exact
/// distances: what single precision cannot tell is computed again in double precision.
///
/// # Shapes
/// `[n, d]` and `[m, d]`, n and m above k.
///
/// # Errors
/// Too few rows, different widths, values that are not finite, a stop.
pub fn neighbours(real: &Tensor, generated: &Tensor, k: i64, progress: &dyn Progress) -> Result<Neighbours> {
    let (size, other) = (real.size(), generated.size());
    if size.len() != 2 || other.len() != 2 || size[1] != other[1] || k < 1 || size[0] <= k || other[0] <= k {
        return Err(Error::invalid(format!(
            "precision and recall of {size:?} and {other:?} with {k} neighbours are not defined; both must be [rows, values] with \
             more rows than neighbours"
        )));
    }
    super::check_finite(real)?;
    super::check_finite(generated)?;
    let _guard = tch::no_grad_guard();
    let centre = real.f_to_kind(Kind::Double)?.f_mean_dim([0i64].as_slice(), true, Kind::Double)?;
    let (real, generated) = (Rows::new(real, &centre)?, Rows::new(generated, &centre)?);
    let real_radii = real.radii(k, progress)?;
    let generated_radii = generated.radii(k, progress)?;
    let (n, m) = (size[0], other[0]);
    let mut precise = 0;
    let mut inside = 0;
    let zeros = || Tensor::f_zeros([n], (Kind::Bool, tch::Device::Cpu));
    let (mut covered, mut recalled) = (zeros()?, zeros()?);
    let batch = block(n);
    let worker =
        || (generated.alias(), real.alias(), real_radii.shallow_clone(), generated_radii.shallow_clone());
    let workers = (0..parallel::workers(tch::Device::Cpu)).map(|_| worker()).collect();
    parallel::batches(
        m,
        batch,
        workers,
        progress,
        |(generated, real, real_radii, generated_radii), first, rows| {
            let _guard = tch::no_grad_guard();
            let distances = Distances::between(&generated.narrow(first, rows)?, real)?;
            let own = generated_radii.f_narrow(0, first, rows)?.f_unsqueeze(1)?;
            let in_real = distances.at_most(&real_radii.f_unsqueeze(0)?)?;
            let in_generated = distances.at_most(&own)?;
            let count = |x: &Tensor| -> Result<i64> { Ok(x.f_sum(Kind::Int64)?.f_int64_value(&[])?) };
            Ok((
                count(&in_real.f_any_dim(1, false)?)?,
                count(&in_real)?,
                in_real.f_any_dim(0, false)?,
                in_generated.f_any_dim(0, false)?,
            ))
        },
        |_, _, (rows_inside, balls, covers, recalls)| {
            precise += rows_inside;
            inside += balls;
            let _ = covered.f_logical_or_(&covers)?;
            let _ = recalled.f_logical_or_(&recalls)?;
            Ok(())
        },
    )?;
    let share =
        |x: &Tensor| -> Result<f64> { Ok(x.f_sum(Kind::Int64)?.f_int64_value(&[])? as f64 / n as f64) };
    Ok(Neighbours {
        precision: precise as f64 / m as f64,
        recall: share(&recalled)?,
        density: inside as f64 / (k * m) as f64,
        coverage: share(&covered)?,
        neighbours: k,
    })
}

fn block(columns: i64) -> i64 {
    (BLOCK / columns).clamp(16, 1024)
}

/// Features in both precisions: moved to a common centre in single precision, as they are in
/// double.
struct Rows {
    rough: Tensor,
    /// Squared norms of these, `[n]`.
    norms: Tensor,
    exact: Tensor,
}

impl Rows {
    fn new(x: &Tensor, centre: &Tensor) -> Result<Self> {
        let exact = x.f_to_kind(Kind::Double)?.f_to_device(tch::Device::Cpu)?.f_contiguous()?;
        let rough = (&exact - centre).f_to_kind(Kind::Float)?;
        let norms = rough.f_square()?.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)?;
        // Squares beyond single precision would be no numbers.
        super::check_finite(&norms)?;
        Ok(Self { rough, norms, exact })
    }

    fn alias(&self) -> Self {
        let alias = Tensor::shallow_clone;
        Self { rough: alias(&self.rough), norms: alias(&self.norms), exact: alias(&self.exact) }
    }

    fn narrow(&self, first: i64, n: i64) -> Result<Self> {
        let part = |x: &Tensor| x.f_narrow(0, first, n);
        Ok(Self { rough: part(&self.rough)?, norms: part(&self.norms)?, exact: part(&self.exact)? })
    }

    /// Squared distance of each row to its k-th nearest other row, `[n]`, in double precision.
    fn radii(&self, k: i64, progress: &dyn Progress) -> Result<Tensor> {
        let n = self.norms.size()[0];
        let workers = (0..parallel::workers(tch::Device::Cpu)).map(|_| self.alias()).collect();
        let mut parts = Vec::new();
        parallel::batches(
            n,
            block(n),
            workers,
            progress,
            |all: &mut Self, first, rows| {
                let _guard = tch::no_grad_guard();
                let distances = Distances::between(&all.narrow(first, rows)?, all)?;
                // The row itself, which the diagonal that begins at `first` holds.
                let mut own = distances.squared.f_diagonal(first, 0, 1)?;
                let _ = own.f_fill_(f64::INFINITY)?;
                distances.kth(k)
            },
            |_, _, part| {
                parts.push(part);
                Ok(())
            },
        )?;
        Ok(Tensor::f_cat(&parts, 0)?)
    }
}

/// Squared distances between a block of rows and all rows of a set.
struct Distances {
    /// In single precision.
    squared: Tensor,
    /// How far those may be off, `[rows, columns]` by its norms.
    error: Tensor,
    rows: Tensor,
    columns: Tensor,
}

impl Distances {
    fn between(a: &Rows, b: &Rows) -> Result<Self> {
        let d = a.rough.size()[1];
        let norms = a.norms.f_unsqueeze(1)? + b.norms.f_unsqueeze(0)?;
        let squared = (&norms - a.rough.f_matmul(&b.rough.f_tr()?)? * 2.0).f_clamp_min(0.0)?;
        // A sum of d products is off by at most d units in the last place of the sum of their sizes
        // (Higham, "Accuracy and stability of numerical algorithms", 2002, 3.1), which |a|^2 +
        // |b|^2 bounds twice over; the norms, and the move to the centre, add a few more.
        let error = norms * (2.0 * (d + 8) as f64 * f64::from(f32::EPSILON));
        Ok(Self { squared, error, rows: a.exact.shallow_clone(), columns: b.exact.shallow_clone() })
    }

    /// The k-th smallest of each row, in double precision.
    fn kth(&self, k: i64) -> Result<Tensor> {
        let smallest =
            |x: &Tensor| -> Result<Tensor> { Ok(x.f_topk(k, 1, false, true)?.0.f_select(1, k - 1)?) };
        let upper = smallest(&(&self.squared + &self.error))?.f_unsqueeze(1)?;
        // Whatever may lie below what the k-th lies below for sure.
        let candidates = (&self.squared - &self.error).f_le_tensor(&upper)?;
        let all = Tensor::f_full(self.squared.size(), f64::INFINITY, (Kind::Double, tch::Device::Cpu))?;
        let exact = self.filled_in(&all, &candidates)?;
        smallest(&exact.f_masked_fill(&self.squared.f_isinf()?, f64::INFINITY)?)
    }

    /// Which distances are at most `bound`, squared, of a shape that goes with theirs.
    fn at_most(&self, bound: &Tensor) -> Result<Tensor> {
        let rough = self.squared.f_to_kind(Kind::Double)?;
        let unsure = (&rough - bound).f_abs()?.f_le_tensor(&self.error)?;
        Ok(self.filled_in(&rough, &unsure)?.f_le_tensor(bound)?)
    }

    /// `values`, with the exact squared distances where `wanted` says so.
    fn filled_in(&self, values: &Tensor, wanted: &Tensor) -> Result<Tensor> {
        let pairs = wanted.f_nonzero()?; // [p, 2]
        let (p, d) = (pairs.size()[0], self.rows.size()[1]);
        let mut exact = Vec::new();
        tensor::batches(p, (VALUES / d).max(1), |first, n| {
            let pairs = pairs.f_narrow(0, first, n)?;
            let side = |x: &Tensor, at: i64| x.f_index_select(0, &pairs.f_select(1, at)?);
            let apart = side(&self.rows, 0)? - side(&self.columns, 1)?;
            exact.push(apart.f_square()?.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Double)?);
            Ok(())
        })?;
        if exact.is_empty() {
            return Ok(values.shallow_clone());
        }
        let places = [0, 1].map(|at| pairs.f_select(1, at));
        let [rows, columns] = places;
        let mut filled = values.copy();
        Ok(filled.f_index_put_(&[Some(rows?), Some(columns?)], &Tensor::f_cat(&exact, 0)?, false)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::progress::Silent;
    use crate::base::rng::{Purpose, Stream};

    fn normal(n: i64, d: i64, index: u64) -> Tensor {
        Stream::new(3, Purpose::Latents, index).normal_tensor(&[n, d]).unwrap()
    }

    fn measured(real: &Tensor, generated: &Tensor, k: i64) -> Neighbours {
        neighbours(real, generated, k, &Silent).unwrap()
    }

    #[test]
    fn precision_sees_strays_and_recall_sees_gaps() {
        let real = normal(500, 2, 0);
        let found = measured(&real, &normal(500, 2, 1), 3);
        assert!(found.precision > 0.85 && found.recall > 0.85, "{found:?}");
        // Half of them far away.
        let strays = Tensor::cat(&[normal(250, 2, 1), normal(250, 2, 2) + 100.0], 0);
        let found = measured(&real, &strays, 3);
        assert!((found.precision - 0.47).abs() < 0.06, "{found:?}");
        // All in one corner.
        let found = measured(&real, &(normal(500, 2, 1) * 0.05), 3);
        assert!(found.precision > 0.95 && found.recall < 0.1 && found.coverage < 0.1, "{found:?}");
        // By hand, k = 1: balls of radius 1 around 0 and 1, and of radius 9 around 10.
        let line = |values: &[f32]| Tensor::from_slice(values).view([-1, 1]);
        let found = measured(&line(&[0.0, 1.0, 10.0]), &line(&[-1.5, 1.9, 18.9, 19.1]), 1);
        assert!((found.precision - 0.5).abs() < 1e-12 && (found.density - 0.75).abs() < 1e-12, "{found:?}");
        assert!((found.coverage - 2.0 / 3.0).abs() < 1e-12, "{found:?}");
        assert!(neighbours(&real, &line(&[0.0, 1.0]), 3, &Silent).is_err());
        assert!(neighbours(&(&real * 1e30), &real, 3, &Silent).is_err());
    }

    /// Counts over all pairs, distance by distance in double precision.
    fn by_definition(real: &Tensor, generated: &Tensor, k: usize) -> [usize; 4] {
        let rows = |x: &Tensor| -> Vec<Vec<f64>> { Vec::try_from(x.to_kind(Kind::Double)).unwrap() };
        let squared = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum::<f64>();
        let radius = |all: &[Vec<f64>], at: usize| {
            let others = all.iter().enumerate().filter(|(i, _)| *i != at);
            let mut apart: Vec<f64> = others.map(|(_, row)| squared(row, &all[at])).collect();
            apart.sort_by(f64::total_cmp);
            apart[k - 1]
        };
        let (real, generated) = (rows(real), rows(generated));
        let of_real: Vec<f64> = (0..real.len()).map(|i| radius(&real, i)).collect();
        let of_generated: Vec<f64> = (0..generated.len()).map(|i| radius(&generated, i)).collect();
        let inside = |i: usize, j: usize| squared(&real[i], &generated[j]) <= of_real[i];
        let recalled = |i: usize, j: usize| squared(&real[i], &generated[j]) <= of_generated[j];
        let (n, m) = (real.len(), generated.len());
        [
            (0..m).filter(|&j| (0..n).any(|i| inside(i, j))).count(),
            (0..n).filter(|&i| (0..m).any(|j| recalled(i, j))).count(),
            (0..m).map(|j| (0..n).filter(|&i| inside(i, j)).count()).sum(),
            (0..n).filter(|&i| (0..m).any(|j| inside(i, j))).count(),
        ]
    }

    /// Where single precision cannot tell: far from zero, rows that are equal, rows on a grid whose
    /// distances are equal, a set that is the other.
    #[test]
    fn counts_are_those_of_exact_distances() {
        let far = normal(150, 5, 0) * 1e-3 + 1000.0;
        let grid = Stream::new(1, Purpose::Latents, 7).normal_tensor(&[200, 2]).unwrap().round();
        let twins = Tensor::cat(&[normal(60, 4, 1), normal(60, 4, 1)], 0);
        let constant = Tensor::ones([90, 3], (Kind::Float, tch::Device::Cpu));
        let cases = [
            ("far", far.shallow_clone(), normal(140, 5, 3) * 1e-3 + 1000.0),
            ("grid", grid.narrow(0, 0, 100), grid.narrow(0, 100, 100)),
            ("twins", twins.shallow_clone(), normal(100, 4, 2)),
            ("constant", constant.shallow_clone(), normal(80, 3, 2)),
            // Many pairs that single precision cannot tell, none of whose values is a round number.
            ("constant and far", constant.shallow_clone() * 1000.1, normal(100, 3, 4) * 1e-4 + 1000.1),
            ("generated constant", normal(80, 3, 2), constant),
            ("the same", far.shallow_clone(), far),
        ];
        for (name, real, generated) in cases {
            for k in [1, 3] {
                let (n, m) = (real.size()[0] as f64, generated.size()[0] as f64);
                let [precise, recalled, balls, covered] =
                    by_definition(&real, &generated, k as usize).map(|count| count as f64);
                let expected = Neighbours {
                    precision: precise / m,
                    recall: recalled / n,
                    density: balls / (k as f64 * m),
                    coverage: covered / n,
                    neighbours: k,
                };
                assert_eq!(measured(&real, &generated, k), expected, "{name}, {k}");
            }
        }
    }
}
