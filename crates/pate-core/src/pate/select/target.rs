//! A wanted number of samples.

use super::sort_by_confidence;

/// The first `wanted` of `rows` by confidence, where there are more; else `rows` as they are.
pub fn limit(rows: Vec<usize>, confidences: &[f32], wanted: usize) -> Vec<usize> {
    if rows.len() <= wanted {
        return rows;
    }
    let mut rows = rows;
    sort_by_confidence(&mut rows, confidences);
    rows.truncate(wanted);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_changes_only_where_something_is_cut() {
        let confidences = [0.1, 0.9, 0.5];
        assert_eq!(limit(vec![0, 1, 2], &confidences, 3), [0, 1, 2]);
        assert_eq!(limit(vec![0, 1, 2], &confidences, 2), [1, 2]);
    }
}
