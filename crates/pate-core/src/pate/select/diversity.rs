//! Drop what lies too near to a more confident sample.

use tch::Tensor;

use super::{Pixels, Selection, Verdict, sort_by_confidence};
use crate::Result;
use crate::base::parallel::Threads;
use crate::base::tensor;
use crate::evaluate::distances;
use crate::pate::label::Labelled;

/// Samples decided at once; their distances to the kept ones are one matrix product.
const BLOCK: i64 = 256;

/// Drops what lies too near to a more confident sample; the kept then stand most confident first,
/// the lower row first among equals.
///
/// # Errors
/// Where the pixels are no matrix.
pub fn filter(
    selection: &mut Selection,
    labelled: &Labelled,
    pixels: &Pixels,
    min_distance: f64,
) -> Result<()> {
    let mut order = selection.kept().to_vec();
    sort_by_confidence(&mut order, &labelled.confidences);
    let keep = greedy(pixels, &order, min_distance)?;
    let kept = order.iter().zip(keep).filter(|&(_, keep)| keep).map(|(&row, _)| row).collect();
    selection.reorder(Verdict::Diversity, kept);
    Ok(())
}

/// Greedy choice: a row of `order` is kept if its distance to every row kept before it is at least
/// `min_distance`.
///
/// Returns one flag per entry of `order`.
///
/// # Shapes
/// `pixels` `[n, d]`, values in `[0, 1]`.
///
/// # Errors
/// Where `pixels` is no matrix.
pub fn greedy(pixels: &Pixels, order: &[usize], min_distance: f64) -> Result<Vec<bool>> {
    let _guard = tch::no_grad_guard();
    let _threads = Threads::one();
    let limit = (min_distance * min_distance) as f32;
    let mut keep = vec![false; order.len()];
    let mut kept_rows: Option<Tensor> = None;
    let mut n_kept = 0;
    tensor::batches(order.len() as i64, BLOCK, |first, n_block| {
        let block = pixels.gather(&order[first as usize..(first + n_block) as usize])?;
        // Against everything kept from earlier blocks...
        let mut alive = vec![true; n_block as usize];
        if let Some(kept_rows) = &kept_rows {
            let nearest = distances::squared(&block, &kept_rows.f_narrow(0, 0, n_kept)?);
            let nearest = tensor::to_f32(&nearest.f_amin([-1i64].as_slice(), false)?)?;
            for (alive, d) in alive.iter_mut().zip(nearest) {
                *alive = d >= limit;
            }
        }
        // ...then one by one within the block.
        let own = tensor::to_f32(&distances::squared(&block, &block))?;
        let mut chosen: Vec<i64> = Vec::new();
        for i in 0..n_block as usize {
            let row = &own[i * n_block as usize..][..n_block as usize];
            if alive[i] && chosen.iter().all(|&j| row[j as usize] >= limit) {
                chosen.push(i as i64);
                keep[first as usize + i] = true;
            }
        }
        let added = block.f_index_select(0, &tensor::from_i64(&chosen).f_to_device(block.device())?)?;
        let room = [order.len() as i64, block.size()[1]];
        let kept_rows =
            kept_rows.get_or_insert_with(|| block.new_empty(room, (block.kind(), block.device())));
        kept_rows.f_narrow(0, n_kept, chosen.len() as i64)?.f_copy_(&added)?;
        n_kept += chosen.len() as i64;
        Ok(())
    })?;
    Ok(keep)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::{Purpose, Stream};

    #[test]
    fn blocks_agree_with_one_at_a_time() {
        let rows = Stream::new(3, Purpose::Latents, 0).normal_tensor(&[900, 5]).unwrap();
        let values = tensor::to_f32(&rows).unwrap();
        let min_distance = 1.1;
        let mut kept: Vec<usize> = Vec::new();
        for i in 0..900 {
            let far = kept.iter().all(|&j| {
                let square: f32 = (0..5).map(|k| (values[i * 5 + k] - values[j * 5 + k]).powi(2)).sum();
                f64::from(square.sqrt()) >= min_distance
            });
            if far {
                kept.push(i);
            }
        }
        let order: Vec<usize> = (0..900).collect();
        let flags = greedy(&Pixels::new(rows), &order, min_distance).unwrap();
        let found: Vec<usize> = (0..900).filter(|&i| flags[i]).collect();
        assert!(kept.len() > 100 && kept.len() < 800, "{}", kept.len());
        assert_eq!(found, kept);
    }
}
