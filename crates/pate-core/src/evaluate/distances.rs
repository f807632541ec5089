//! Euclidean distances between images, as blocked matrix products.
//!
//! `|a - b|^2 = |a|^2 + |b|^2 - 2 a.b` in float32: for images in `[0, 1]` the squared distance is
//! off by about 1e-5 of the squared norms, so that distances of 1 and more are right to 1e-4.
//! Blocks bound the memory.
//!
//! One thread computes a block: with two, libtorch 2.13 gave a mean pairwise distance that differed
//! by 6e-7 in one run of sixty to one of fifteen; with one, none of 120 did.

use tch::{Kind, Tensor};

use crate::base::parallel::{self, Threads};
use crate::base::progress::Progress;
use crate::base::tensor;
use crate::{Error, Result};

/// Rows of a block: 1,024 x 1,024 float32 are 4 MB.
const BLOCK: i64 = 1024;

/// Squared distances, at least 0. To be called under [`Threads`].
///
/// # Shapes
/// `[n, d]` and `[m, d]` to `[n, m]`.
pub(crate) fn squared(a: &Tensor, b: &Tensor) -> Tensor {
    let norm = |x: &Tensor| (x * x).sum_dim_intlist([-1i64].as_slice(), true, Kind::Float);
    (norm(a) + norm(b).transpose(0, 1) - a.matmul(&b.transpose(0, 1)) * 2.0).clamp_min(0.0)
}

fn check(a: &Tensor, b: &Tensor) -> Result<()> {
    let (a, b) = (a.size(), b.size());
    if a.len() == 2 && b.len() == 2 && a[1] == b[1] {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "distances between {a:?} and {b:?} are not defined; both must be [rows, values]"
    )))
}

/// Distance of every row of `from` to its nearest row of `to`.
///
/// # Shapes
/// `[n, d]` and `[m, d]`, m above 0, to n values.
///
/// # Errors
/// Different widths, no rows in `to`, a stop.
pub fn nearest(from: &Tensor, to: &Tensor, progress: &dyn Progress) -> Result<Vec<f32>> {
    nearest_but(from, to, None, progress)
}

/// Distance of the `rows` of `x` to their nearest other row.
///
/// # Shapes
/// `[n, d]`, n above 1.
///
/// # Errors
/// Fewer than two rows, a row that is not there, a stop.
pub fn nearest_other(x: &Tensor, rows: &[i64], progress: &dyn Progress) -> Result<Vec<f32>> {
    if x.size().first().is_none_or(|&n| n < 2) {
        return Err(Error::invalid("one image alone has no nearest neighbour"));
    }
    let rows = tensor::from_i64(rows);
    nearest_but(&x.f_index_select(0, &rows)?, x, Some(&rows), progress)
}

/// The same without the row of `to` that `own` names for each of `from`.
///
/// A block of rows is computed on one thread, so that the number of threads changes nothing.
fn nearest_but(
    from: &Tensor,
    to: &Tensor,
    own: Option<&Tensor>,
    progress: &dyn Progress,
) -> Result<Vec<f32>> {
    check(from, to)?;
    if to.size()[0] == 0 {
        return Err(Error::invalid("nearest neighbours among no images are not defined"));
    }
    let worker = |_| (from.shallow_clone(), to.shallow_clone(), own.map(Tensor::shallow_clone));
    let mut all = Vec::with_capacity(from.size()[0] as usize);
    parallel::batches(
        from.size()[0],
        BLOCK,
        (0..parallel::workers(from.device())).map(worker).collect(),
        progress,
        |(from, to, own), first, n| {
            let _guard = tch::no_grad_guard();
            let rows = from.f_narrow(0, first, n)?;
            let own = own.as_ref().map(|own| own.f_narrow(0, first, n)).transpose()?;
            let mut best: Option<Tensor> = None;
            tensor::batches(to.size()[0], BLOCK, |first, n| {
                let mut block = squared(&rows, &to.f_narrow(0, first, n)?);
                if let Some(own) = &own {
                    let here = Tensor::f_arange_start(first, first + n, (Kind::Int64, from.device()))?;
                    let same = own.f_unsqueeze(1)?.f_eq_tensor(&here.f_unsqueeze(0)?)?;
                    let _ = block.f_masked_fill_(&same, f64::INFINITY)?;
                }
                let block = block.f_amin([-1i64].as_slice(), false)?;
                best = Some(match best.take() {
                    Some(so_far) => so_far.f_minimum(&block)?,
                    None => block,
                });
                Ok(())
            })?;
            match best {
                Some(best) => tensor::to_f32(&best.f_sqrt()?),
                None => Ok(Vec::new()),
            }
        },
        |_, _, part| {
            all.extend(part);
            Ok(())
        },
    )?;
    Ok(all)
}

/// Sum of the distances between all rows of `a` and all rows of `b`.
fn sum_between(a: &Tensor, b: &Tensor) -> Result<f64> {
    check(a, b)?;
    let _guard = tch::no_grad_guard();
    let _threads = Threads::one();
    let mut sum = 0.0;
    tensor::batches(a.size()[0], BLOCK, |first, n| {
        let rows = a.f_narrow(0, first, n)?;
        tensor::batches(b.size()[0], BLOCK, |first, n| {
            let block = squared(&rows, &b.f_narrow(0, first, n)?).f_sqrt()?;
            sum += block.f_sum(Kind::Double)?.f_double_value(&[])?;
            Ok(())
        })
    })?;
    Ok(sum)
}

/// Mean distance between all rows of `a` and all rows of `b`; `None` where there are none.
///
/// # Errors
/// Different widths.
pub fn mean_between(a: &Tensor, b: &Tensor) -> Result<Option<f64>> {
    let pairs = a.size()[0] as f64 * b.size()[0] as f64;
    if pairs == 0.0 { Ok(None) } else { Ok(Some(sum_between(a, b)? / pairs)) }
}

/// Mean distance between two different rows of `a`; `None` for fewer than two.
///
/// # Errors
/// Where `a` is no matrix.
pub fn mean_pairwise(a: &Tensor) -> Result<Option<f64>> {
    check(a, a)?;
    let n = a.size()[0];
    if n < 2 {
        return Ok(None);
    }
    let _guard = tch::no_grad_guard();
    let _threads = Threads::one();
    let mut sum = 0.0;
    // Each pair once: the blocks above the diagonal, and the upper triangle of those on it.
    tensor::batches(n, BLOCK, |first, rows| {
        let block = a.f_narrow(0, first, rows)?;
        let own = squared(&block, &block).f_sqrt()?.f_triu(1)?;
        sum += own.f_sum(Kind::Double)?.f_double_value(&[])?;
        let after = first + rows;
        sum += sum_between(&block, &a.f_narrow(0, after, n - after)?)?;
        Ok(())
    })?;
    Ok(Some(sum / (n as f64 * (n - 1) as f64 / 2.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::progress::Silent;
    use crate::base::rng::{Purpose, Stream};

    fn images(n: i64, index: u64) -> Tensor {
        Stream::new(1, Purpose::Latents, index).normal_tensor(&[n, 20]).unwrap()
    }

    fn exact(a: &Tensor, b: &Tensor) -> Vec<Vec<f64>> {
        let rows = |x: &Tensor| -> Vec<Vec<f32>> {
            tensor::to_f32(x).unwrap().chunks(20).map(<[f32]>::to_vec).collect()
        };
        let (a, b) = (rows(a), rows(b));
        a.iter()
            .map(|x| {
                b.iter()
                    .map(|y| x.iter().zip(y).map(|(p, q)| f64::from(p - q).powi(2)).sum::<f64>().sqrt())
                    .collect()
            })
            .collect()
    }

    #[test]
    fn blocks_agree_with_the_definition() {
        let (a, b) = (images(1500, 0), images(1100, 1));
        let all = exact(&a, &b);
        let nearest = nearest(&a, &b, &Silent).unwrap();
        for (row, found) in all.iter().zip(nearest) {
            let best = row.iter().copied().fold(f64::INFINITY, f64::min);
            assert!((best - f64::from(found)).abs() < 1e-4);
        }
        let mean = all.iter().flatten().sum::<f64>() / (1500.0 * 1100.0);
        assert!((mean_between(&a, &b).unwrap().unwrap() - mean).abs() < 1e-4);
        let own = exact(&a, &a);
        let others = nearest_other(&a, &[3, 1499, 1024], &Silent).unwrap();
        for (row, found) in [3, 1499, 1024].into_iter().zip(others) {
            let apart = own[row].iter().enumerate().filter(|(at, _)| *at != row).map(|(_, d)| *d);
            assert!((apart.fold(f64::INFINITY, f64::min) - f64::from(found)).abs() < 1e-4);
        }
        let sum: f64 = (0..1500).flat_map(|i| own[i][i + 1..].iter()).sum();
        assert!((mean_pairwise(&a).unwrap().unwrap() - sum / (1500.0 * 1499.0 / 2.0)).abs() < 1e-4);
    }

    #[test]
    fn too_few_rows_have_no_mean() {
        assert_eq!(mean_pairwise(&images(1, 0)).unwrap(), None);
        assert_eq!(mean_between(&images(0, 0), &images(3, 0)).unwrap(), None);
        assert!(nearest(&images(1, 0), &images(0, 0), &Silent).is_err());
    }
}
