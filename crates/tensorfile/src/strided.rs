//! Elements out of order into a contiguous array: strides, offsets, byte orders.

use crate::error::ReadError;

/// Refuses a view that reaches outside of its storage of `available` elements.
pub(crate) fn check_within(
    available: u64,
    offset: usize,
    shape: &[usize],
    strides: &[usize],
) -> Result<(), ReadError> {
    if shape.contains(&0) {
        return Ok(());
    }
    let end = shape
        .iter()
        .zip(strides)
        .try_fold(offset, |end, (&length, &stride)| end.checked_add((length - 1).checked_mul(stride)?));
    if shape.len() != strides.len() || end.is_none_or(|end| end as u64 >= available) {
        let last = end.map_or_else(|| "beyond any memory".to_owned(), |end| format!("at element {end}"));
        return Err(ReadError::malformed(format!(
            "a tensor of shape {shape:?} ends {last}, but its storage holds {available} elements"
        )));
    }
    Ok(())
}

/// Whether the elements of a view lie in a row, in its order.
pub(crate) fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    // A dimension of length 1 is never stepped along, and nothing is of no elements.
    let mut stepped = shape.iter().zip(strides).rev().filter(|&(&length, _)| length > 1);
    let mut run = 1_usize;
    shape.contains(&0)
        || stepped.all(|(&length, &stride)| {
            let in_a_row = stride == run;
            run = run.saturating_mul(length);
            in_a_row
        })
}

/// Copies the elements of a strided view of `storage` into `out`, row-major.
///
/// Offset and strides count elements of `size` bytes; `out` has the product of `shape` of them. A
/// view that reaches outside of the storage is an error, found before anything is copied.
pub(crate) fn gather(
    storage: &[u8],
    size: usize,
    offset: usize,
    shape: &[usize],
    strides: &[usize],
    out: &mut [u8],
) -> Result<(), ReadError> {
    check_within((storage.len() / size) as u64, offset, shape, strides)?;
    if shape.contains(&0) {
        return Ok(());
    }
    // A dimension of length 1 is never stepped along, so its stride may be anything.
    let stepped = || shape.iter().zip(strides).filter(|&(&length, _)| length > 1);
    let shape = &stepped().map(|(&length, _)| length).collect::<Vec<_>>();
    let strides = &stepped().map(|(_, &stride)| stride).collect::<Vec<_>>();
    let filled = match size {
        1 => copy::<1>(storage, offset, shape, strides, out),
        2 => copy::<2>(storage, offset, shape, strides, out),
        4 => copy::<4>(storage, offset, shape, strides, out),
        _ => copy::<8>(storage, offset, shape, strides, out),
    };
    filled.ok_or_else(|| {
        ReadError::malformed(format!("a tensor of shape {shape:?} reaches outside of its storage"))
    })
}

/// [`gather`] for elements of `N` bytes and lengths above 1; `None` where an index leaves the
/// storage, which the caller has excluded.
fn copy<const N: usize>(
    storage: &[u8],
    offset: usize,
    shape: &[usize],
    strides: &[usize],
    out: &mut [u8],
) -> Option<()> {
    let (source, _) = storage.as_chunks::<N>();
    let (target, _) = out.as_chunks_mut::<N>();
    // The innermost dimensions that lie without gaps are copied as one run.
    let mut run = 1;
    let mut outer = shape.len();
    while outer > 0 && strides[outer - 1] == run {
        run *= shape[outer - 1];
        outer -= 1;
    }
    let (shape, strides) = (shape.get(..outer)?, strides.get(..outer)?);
    let mut index = vec![0; outer];
    let mut start = offset;
    for piece in target.chunks_exact_mut(run) {
        piece.copy_from_slice(source.get(start..start + run)?);
        for dim in (0..outer).rev() {
            index[dim] += 1;
            start += strides[dim];
            if index[dim] < shape[dim] {
                break;
            }
            start -= shape[dim] * strides[dim];
            index[dim] = 0;
        }
    }
    Some(())
}

/// Turns elements of `size` bytes from big-endian to little-endian.
pub(crate) fn reverse_elements(bytes: &mut [u8], size: usize) {
    if size > 1 {
        for element in bytes.chunks_exact_mut(size) {
            element.reverse();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(offset: usize, shape: &[usize], strides: &[usize]) -> Result<Vec<u16>, ReadError> {
        let storage: Vec<u16> = (0..12).collect();
        let mut out = vec![0_u16; shape.iter().product()];
        gather(
            bytemuck::cast_slice(&storage),
            2,
            offset,
            shape,
            strides,
            bytemuck::cast_slice_mut(&mut out),
        )?;
        Ok(out)
    }

    #[test]
    fn views_become_contiguous() {
        assert_eq!(gathered(0, &[3, 4], &[4, 1]).unwrap(), (0..12).collect::<Vec<_>>());
        assert_eq!(gathered(0, &[4, 3], &[1, 4]).unwrap(), [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
        assert_eq!(gathered(5, &[2, 2], &[4, 2]).unwrap(), [5, 7, 9, 11]);
        assert_eq!(gathered(0, &[2, 3, 2], &[6, 2, 1]).unwrap(), (0..12).collect::<Vec<_>>());
        assert_eq!(gathered(2, &[2, 3], &[0, 1]).unwrap(), [2, 3, 4, 2, 3, 4]);
        assert_eq!(gathered(11, &[], &[]).unwrap(), [11]);
        assert_eq!(gathered(3, &[1, 2, 1], &[usize::MAX, 8, usize::MAX]).unwrap(), [3, 11]);
        assert_eq!(gathered(usize::MAX, &[0, 3], &[3, 1]).unwrap(), [0; 0]);
    }

    #[test]
    fn elements_in_a_row_are_known() {
        for (shape, strides, expected) in [
            (&[3, 4][..], &[4, 1][..], true),
            (&[3, 4], &[1, 3], false),
            (&[3, 4], &[5, 1], false),
            (&[1, 4, 1], &[usize::MAX, 1, 7], true),
            (&[], &[], true),
            (&[2], &[0], false),
            (&[0, 3], &[9, 9], true),
        ] {
            assert_eq!(is_contiguous(shape, strides), expected, "{shape:?} {strides:?}");
        }
    }

    #[test]
    fn views_outside_of_the_storage_are_refused() {
        let error = gathered(1, &[3, 4], &[4, 1]).unwrap_err();
        assert!(
            matches!(error, ReadError::Malformed(text) if text.contains("ends at element 12, but its storage holds 12"))
        );
        assert!(gathered(12, &[], &[]).is_err());
        assert!(gathered(0, &[2], &[12]).is_err());
        assert!(gathered(0, &[3], &[usize::MAX]).is_err());
        assert!(gathered(usize::MAX, &[2], &[1]).is_err());
        assert!(gathered(0, &[2, 2], &[1]).is_err());
    }

    #[test]
    fn elements_are_reversed_one_by_one() {
        let mut bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        reverse_elements(&mut bytes, 4);
        assert_eq!(bytes, [4, 3, 2, 1, 8, 7, 6, 5]);
        reverse_elements(&mut bytes, 1);
        assert_eq!(bytes, [4, 3, 2, 1, 8, 7, 6, 5]);
    }
}
