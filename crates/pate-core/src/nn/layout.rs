//! Values of one network, or of several networks of one shape side by side.
//!
//! The values of one network are `[n, ...]`, and those of g networks `[g, n, ...]`. Convolutions
//! see the channels of the g networks one after another, `[n, g c, h, w]`, so that they can run as
//! one convolution in groups. These functions lead from one form to the other, and leave the values
//! of a single network in their place.

use tch::Tensor;

/// Images for a convolution: `[n, c, h, w]` as they are; `[g, n, c, h, w]` to `[n, g c, h, w]`.
pub(crate) fn stack_channels(x: &Tensor) -> Tensor {
    match x.size()[..] {
        [groups, n, c, h, w] => x.transpose(0, 1).reshape([n, groups * c, h, w]),
        _ => x.shallow_clone(),
    }
}

/// A convolution's result as images: the inverse of [`stack_channels`] for `groups` groups.
pub(crate) fn unstack_channels(x: Tensor, groups: Option<i64>) -> Tensor {
    let Some(groups) = groups else { return x };
    let size = x.size();
    flatten(&x, Some(groups)).reshape([groups, size[0], size[1] / groups, size[2], size[3]])
}

/// Rows for a linear layer: `[n, c, h, w]` to `[n, c h w]`; `[n, g c, h, w]` of g groups to
/// `[g, n, c h w]`.
pub(crate) fn flatten(x: &Tensor, groups: Option<i64>) -> Tensor {
    match groups {
        None => x.flatten(1, -1),
        Some(groups) => x.reshape([x.size()[0], groups, -1]).transpose(0, 1),
    }
}

/// A linear layer's rows as maps for a convolution: `[n, c h w]` to `[n, c, h, w]`; `[g, n, c h w]`
/// to `[n, g c, h, w]`.
pub(crate) fn unflatten(x: &Tensor, (c, h, w): (i64, i64, i64)) -> Tensor {
    match x.size()[..] {
        [groups, n, _] => x.transpose(0, 1).reshape([n, groups * c, h, w]),
        _ => x.view([-1, c, h, w]),
    }
}
