//! A wanted number of samples.

use super::{Selection, Verdict};
use crate::pate::label::Labelled;

/// Keeps the `wanted` most confident, most confident first, where there are more; else all of them
/// as they stand.
///
/// Among equals the one that stands first is kept.
pub fn filter(selection: &mut Selection, labelled: &Labelled, wanted: usize) {
    if selection.kept().len() <= wanted {
        return;
    }
    let mut order = selection.kept().to_vec();
    order.sort_by(|&a, &b| labelled.confidences[b].total_cmp(&labelled.confidences[a]));
    order.truncate(wanted);
    selection.reorder(Verdict::Target, order);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_changes_only_where_something_is_cut() {
        let labelled = Labelled { confidences: vec![0.1, 0.9, 0.5, 0.5], ..Labelled::default() };
        let mut selection = Selection::all(4);
        selection.reorder(Verdict::Quota, vec![0, 3, 1, 2]);
        filter(&mut selection, &labelled, 4);
        assert_eq!(selection.kept(), [0, 3, 1, 2]);
        filter(&mut selection, &labelled, 2);
        assert_eq!(selection.kept(), [1, 3], "3 stood before 2, its equal");
        assert_eq!(selection.count(0..4, Verdict::Target), 2);
    }
}
