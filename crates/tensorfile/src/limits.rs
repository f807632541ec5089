//! How much memory a file may ask for.
//!
//! A file of `n` bytes may expand to at most [`EXPANSION`] x `n` + [`FREE_BYTES`] bytes: arrays,
//! inflated entries, directories, headers and pickled objects together, half a MiB of buffers
//! aside. A test counts the allocations. Real files stay far below: an array takes its own size, a
//! compressed archive of MNIST five to twelve times its size.

use crate::error::ReadError;

/// Bytes of memory allowed for each byte of the file.
pub const EXPANSION: u64 = 32;

/// Bytes of memory allowed to a file of any size, so that small files may compress well.
pub const FREE_BYTES: u64 = 64 << 20;

/// Containers nested deeper than this are refused.
pub const MAX_DEPTH: usize = 64;

/// Tensors with more dimensions than this are refused (the limit of PyTorch's own kernels).
pub const MAX_DIMS: usize = 64;

/// A list or table that grows holds its old and its new allocation for a moment, the new one half
/// empty, and a list of one has room for four: what one of `bytes` may take in it.
pub(crate) const fn grown(bytes: usize) -> u128 {
    4 * bytes as u128
}

/// The allowance of one file, spent before memory is taken.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    limit: u64,
    spent: u64,
}

impl Budget {
    pub(crate) fn of_file(file_bytes: u64) -> Self {
        Self { limit: file_bytes.saturating_mul(EXPANSION).saturating_add(FREE_BYTES), spent: 0 }
    }

    /// Takes `bytes` off the allowance; `what` names the thing in the error where too little is
    /// left.
    pub(crate) fn spend(&mut self, bytes: u128, what: impl FnOnce() -> String) -> Result<(), ReadError> {
        let needed = u128::from(self.spent).saturating_add(bytes);
        match u64::try_from(needed) {
            Ok(spent) if spent <= self.limit => {
                self.spent = spent;
                Ok(())
            }
            _ => Err(ReadError::TooLarge { what: what(), needed, limit: self.limit }),
        }
    }

    /// Gives back what was spent on memory that is free again.
    pub(crate) fn refund(&mut self, bytes: u64) {
        self.spent = self.spent.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(budget: &Budget) -> u64 {
        budget.limit - budget.spent
    }

    #[test]
    fn a_budget_is_spent_once_and_never_overflows() {
        let mut budget = Budget::of_file(10);
        assert_eq!(left(&budget), FREE_BYTES + 320);
        budget.spend(u128::from(FREE_BYTES), || "a".into()).unwrap();
        budget.spend(320, || "b".into()).unwrap();
        assert!(
            matches!(budget.spend(1, || "c".into()), Err(ReadError::TooLarge { what, .. }) if what == "c")
        );
        assert!(budget.spend(u128::MAX, || "d".into()).is_err());
        assert_eq!(left(&budget), 0);
        budget.refund(1);
        assert_eq!(left(&budget), 1);
        assert_eq!(left(&Budget::of_file(u64::MAX)), u64::MAX);
    }
}
