//! Kernels for one shape of layer each, faster on a CPU than libtorch's, tested against them.

pub(super) mod taps;
pub(super) mod winograd;
