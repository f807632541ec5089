//! Layers of several networks of one shape side by side, as one operation: a convolution in groups, a batched matrix product.
//!
//! Weights are those of the single layers, stacked along a new first axis; channels of images are network after network. Each
//! network's result, and the gradients of its weights, depend on its own inputs alone.

use tch::Tensor;

/// Stride and padding of a convolution.
pub(crate) type Geometry = (i64, i64);

/// `[n, g n_in, h, w]`, weight `[g, n_out, n_in, k, k]`, bias `[g, n_out]` to `[n, g n_out, h', w']`.
pub(crate) fn conv2d(x: &Tensor, weight: &Tensor, bias: &Tensor, (stride, padding): Geometry) -> Tensor {
    let groups = weight.size()[0];
    x.conv2d(&weight.flatten(0, 1), Some(bias.reshape([-1])), [stride; 2], [padding; 2], [1, 1], groups)
}

/// `[n, g n_in, h, w]`, weight `[g, n_in, n_out, k, k]`, bias `[g, n_out]` to `[n, g n_out, h', w']`.
pub(crate) fn conv_transpose2d(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    (stride, padding): Geometry,
) -> Tensor {
    let groups = weight.size()[0];
    let y = x.conv_transpose2d(
        &weight.flatten(0, 1),
        None::<Tensor>,
        [stride; 2],
        [padding; 2],
        [0, 0],
        groups,
        [1, 1],
    );
    y + bias.view([-1, 1, 1])
}

/// `[g, n, n_in]`, weight `[g, n_out, n_in]`, bias `[g, n_out]` to `[g, n, n_out]`.
pub(crate) fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    bias.unsqueeze(1).baddbmm(x, &weight.transpose(1, 2), 1.0, 1.0)
}

/// Values by network, `[g, n, ...]`, to channels by network, `[n, g c, h, w]`; `c`, `h` and `w` are those of one network.
pub(crate) fn to_channels(x: &Tensor, (c, h, w): (i64, i64, i64)) -> Tensor {
    let (g, n) = (x.size()[0], x.size()[1]);
    x.transpose(0, 1).reshape([n, g * c, h, w])
}

/// Channels by network, `[n, g c, h, w]`, to values by network, `[g, n, c h w]`.
pub(crate) fn to_rows(x: &Tensor, groups: i64) -> Tensor {
    let n = x.size()[0];
    x.reshape([n, groups, -1]).transpose(0, 1)
}
