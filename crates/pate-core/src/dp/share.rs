//! What a parameter's gradient of every single record is made of, without being there.

use tch::{Kind, Tensor};

use crate::nn::{Conv2d, ConvTranspose2d, Layer, Recorded, Window};

/// The gradients of one parameter for each of `n` records.
///
/// A record's gradient is the sum over what its rows did: positions of an image, places of a
/// sequence, views of the record, and uses of the layer are all the same here, `t` of them.
pub(super) enum Share {
    /// `left^T right` in each group, as `[groups r, c]`: left `[n, groups, t, r]`, right
    /// `[n, groups, t, c]`.
    Product { left: Tensor, right: Tensor },
    /// The same as a sum over taps, `[taps, n, r c]`: what is left of a convolution's product once
    /// it was computed; `[r, c, taps]` is the weight's own order.
    Taps { gradients: Tensor, r: i64 },
    /// The gradients themselves, `[n, numel]`.
    Plain(Tensor),
    /// Row `indices[i, t]` of a table gets `values[i, t]`: `[n, t]` and `[n, t, width]`.
    Rows { indices: Tensor, values: Tensor, entries: i64 },
}

impl Share {
    /// The squared L2 norm for each record, `[n]`; more where the gradient is a small difference of
    /// large parts (see [`CANCELLATION`]).
    pub(super) fn squared_norms(&self) -> Tensor {
        match self {
            Self::Product { left, right } => {
                let size = left.size();
                if size[1] == 1 && size[2] == 1 {
                    // One row: the product's norm is the product of the norms.
                    return squares(left) * squares(right);
                }
                let lengths = lengths(left) * lengths(right); // [n, groups, t]
                let products = gram(left) * gram(right);
                at_least_its_parts(&products, &lengths)
            }
            Self::Taps { gradients, .. } => {
                (gradients * gradients).sum_dim_intlist([0, 2].as_slice(), false, None)
            }
            Self::Plain(gradients) => squares(gradients),
            Self::Rows { indices, values, .. } => {
                // Places with the same index meet in the same row of the table.
                let same = indices.unsqueeze(1).eq_tensor(&indices.unsqueeze(2)).to_kind(Kind::Double);
                at_least_its_parts(&(gram(values) * same), &lengths(values))
            }
        }
    }

    /// The sum of all records' gradients with `factors`, `[n]`; in the order of `shape`.
    pub(super) fn weighted_sum(&self, factors: &Tensor, shape: &[i64]) -> Tensor {
        match self {
            Self::Product { left, right } => {
                let size = left.size();
                let rows = |x: &Tensor| x.transpose(0, 1).flatten(1, 2); // [groups, n t, .]
                let scaled = rows(&(left * factors.view([-1, 1, 1, 1])));
                let right = rows(right);
                if size[1] == 1 {
                    let product = scaled.squeeze_dim(0).tr().mm(&right.squeeze_dim(0));
                    return product.reshape(shape);
                }
                scaled.transpose(1, 2).bmm(&right).reshape(shape)
            }
            Self::Taps { gradients, r } => {
                let size = gradients.size();
                let sum = factors.view([1, 1, -1]).expand([size[0], 1, size[1]], false).bmm(gradients);
                sum.view([size[0], *r, -1]).permute([1, 2, 0]).reshape(shape)
            }
            Self::Plain(gradients) => factors.unsqueeze(0).mm(gradients).reshape(shape),
            Self::Rows { indices, values, entries } => {
                let scaled = (values * factors.view([-1, 1, 1])).flatten(0, 1);
                let table = Tensor::zeros([*entries, scaled.size()[1]], (values.kind(), values.device()));
                table.index_add(0, &indices.flatten(0, 1), &scaled).reshape(shape)
            }
        }
    }

    /// The gradients themselves, `[n, numel]` in the order of the weight.
    pub(super) fn materialised(&self) -> Tensor {
        match self {
            Self::Product { left, right } => {
                let n = left.size()[0];
                let (left, right) = (left.flatten(0, 1), right.flatten(0, 1));
                left.transpose(1, 2).bmm(&right).reshape([n, -1])
            }
            Self::Taps { gradients, r } => {
                let size = gradients.size();
                gradients.view([size[0], size[1], *r, -1]).permute([1, 2, 3, 0]).reshape([size[1], -1])
            }
            Self::Plain(gradients) => gradients.shallow_clone(),
            Self::Rows { indices, values, entries } => {
                let (n, width) = (indices.size()[0], values.size()[2]);
                let tables = Tensor::zeros([n * entries, width], (values.kind(), values.device()));
                let first = (Tensor::arange(n, (Kind::Int64, values.device())) * *entries).unsqueeze(1);
                let rows = (indices + first).flatten(0, 1);
                tables.index_add(0, &rows, &values.flatten(0, 1)).view([n, -1])
            }
        }
    }

    /// The same with zeros in the place of the records that `keep`, `[n]` of bool, leaves out,
    /// whatever stood there.
    pub(super) fn only(self, keep: &Tensor) -> Self {
        let zeroed = |x: Tensor, axis: usize| {
            let mut shape = vec![1; x.dim()];
            shape[axis] = -1;
            let drop = keep.logical_not().view(shape.as_slice());
            x.masked_fill(&drop, 0.0)
        };
        match self {
            Self::Product { left, right } => Self::Product { left: zeroed(left, 0), right: zeroed(right, 0) },
            Self::Taps { gradients, r } => Self::Taps { gradients: zeroed(gradients, 1), r },
            Self::Plain(gradients) => Self::Plain(zeroed(gradients, 0)),
            Self::Rows { indices, values, entries } => {
                Self::Rows { indices, values: zeroed(values, 0), entries }
            }
        }
    }

    /// Both as one: the gradient of a parameter that was used twice is the sum.
    pub(super) fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Product { left: a, right: b }, Self::Product { left: c, right: d }) => {
                Self::Product { left: Tensor::cat(&[a, c], 2), right: Tensor::cat(&[b, d], 2) }
            }
            (Self::Rows { indices: a, values: b, entries }, Self::Rows { indices: c, values: d, .. }) => {
                Self::Rows { indices: Tensor::cat(&[a, c], 1), values: Tensor::cat(&[b, d], 1), entries }
            }
            (one, other) => Self::Plain(one.materialised() + other.materialised()),
        }
    }
}

/// A gradient that is formed in the sum over records alone counts at least this fraction of the
/// lengths of its parts, added up.
///
/// Parts that nearly cancel leave a rounding error in a float32 sum that goes by their lengths and
/// not by the gradient's norm, and that the sum's declared error has to cover: so what is clipped
/// is the gradient or its parts, whichever is longer. It concerns a record by itself, so clipping
/// it more is as private. Ordinary gradients are far from it: parts that have nothing to do with
/// each other come to a fraction of 1 / sqrt(t).
const CANCELLATION: f64 = 1.0 / 32.0;

/// Inner products of the rows of `x`, `[..., t, t]`: in float64, since a Gram matrix of parts that
/// cancel has a norm that is lost in float32.
fn gram(x: &Tensor) -> Tensor {
    let x = x.to_kind(Kind::Double);
    x.matmul(&x.transpose(-2, -1))
}

/// Lengths of the rows of `x`.
fn lengths(x: &Tensor) -> Tensor {
    (x * x).sum_dim_intlist(-1, false, None).sqrt()
}

/// The sum of `products`, `[n, ..., t, t]`, and not less than `lengths`, `[n, ..., t]`, allow; in
/// the kind of these.
fn at_least_its_parts(products: &Tensor, lengths: &Tensor) -> Tensor {
    let parts = lengths.flatten(1, -1).sum_dim_intlist(1, false, None) * CANCELLATION;
    let norms = products.flatten(1, -1).sum_dim_intlist(1, false, None).to_kind(lengths.kind());
    norms.maximum(&(&parts * &parts))
}

fn squares(x: &Tensor) -> Tensor {
    let rows = x.flatten(1, -1);
    (&rows * &rows).sum_dim_intlist(1, false, None)
}

/// The shares of a layer's weight and bias in one use of it, for records of `views` rows each.
///
/// `gradient` is that of the use's output. The gradients themselves are computed where `keep` says
/// so by the sizes of a product.
pub(super) fn of_use(
    used: &Recorded,
    gradient: &Tensor,
    views: i64,
    keep: fn(&Sizes) -> bool,
) -> (Share, Option<Share>) {
    let (x, e) = (&used.input, gradient);
    let records = |rows: Tensor| {
        // `[rows, t, c]` to `[n, views t, c]`.
        let size = rows.size();
        rows.reshape([size[0] / views, views * size[1], size[2]])
    };
    // One per output, the same at all places.
    let per_output = |rows: Tensor| Share::Plain(records(rows).sum_dim_intlist(1, false, None));
    let bias = |rows: fn(&Tensor) -> Tensor| used.layer.bias().map(|_| per_output(rows(e)));
    match &used.layer {
        Layer::Linear(_) => {
            let (left, right) = (records(tokens(e)).unsqueeze(1), records(tokens(x)).unsqueeze(1));
            (product(left, right, keep), bias(tokens))
        }
        Layer::Conv2d(layer) => (conv(layer, x, e, views, keep), bias(pixels)),
        Layer::ConvTranspose2d(layer) => (conv_transpose(layer, x, e, views, keep), bias(pixels)),
        Layer::GroupNorm(layer) => (per_output(pixels(&(e * layer.normalised(x)))), bias(pixels)),
        Layer::LayerNorm(layer) => {
            let rows = |x: &Tensor| x.reshape([x.size()[0], -1, layer.width()]);
            let bias = used.layer.bias().map(|_| per_output(rows(e)));
            (per_output(rows(&(e * layer.normalised(x)))), bias)
        }
        Layer::Embedding(_) => {
            let values = records(tokens(e));
            let indices = x.reshape([values.size()[0], -1]);
            let entries = used.layer.weight().value().size()[0];
            (Share::Rows { indices, values, entries }, None)
        }
    }
}

/// The sizes of a product: `t` rows of `r` and `c` values for each record.
pub(super) struct Sizes {
    pub(super) t: i64,
    pub(super) r: i64,
    pub(super) c: i64,
}

/// `[rows, ..., c]` to `[rows, t, c]`.
fn tokens(x: &Tensor) -> Tensor {
    let size = x.size();
    x.reshape([size[0], -1, size[size.len() - 1]])
}

/// `[rows, c, ...]` to `[rows, t, c]`; no copy where channels come last in memory.
fn pixels(x: &Tensor) -> Tensor {
    match x.dim() {
        2 => x.unsqueeze(1),
        4 => x.permute([0, 2, 3, 1]).flatten(1, 2),
        _ => x.flatten(2, -1).transpose(1, 2),
    }
}

fn product(left: Tensor, right: Tensor, keep: fn(&Sizes) -> bool) -> Share {
    let (size, c) = (left.size(), right.size()[3]);
    let share = Share::Product { left, right };
    if keep(&Sizes { t: size[2], r: size[3], c }) { Share::Plain(share.materialised()) } else { share }
}

/// Maps for a convolution in groups, `[rows, groups c, h, w]`, to `[n, groups, views t, c]`.
fn grouped(x: &Tensor, views: i64, groups: i64) -> Tensor {
    let rows = pixels(x);
    let size = rows.size();
    let n = size[0] / views;
    rows.reshape([n, views * size[1], groups, size[2] / groups]).transpose(1, 2)
}

/// The windows of `x`, `[rows, groups c, h, w]`, as `[n, groups, views t, c k k']`.
fn windows(x: &Tensor, window: Window, views: i64) -> Tensor {
    let Window { size, stride, padding, dilation, groups } = window;
    let columns = x.im2col(size, dilation, padding, stride); // [rows, groups c k k', t]
    let shape = columns.size();
    let n = shape[0] / views;
    if views == 1 {
        return columns.view([n, groups, shape[1] / groups, shape[2]]).transpose(2, 3);
    }
    columns.view([n, views, groups, shape[1] / groups, shape[2]]).permute([0, 2, 1, 4, 3]).reshape([
        n,
        groups,
        views * shape[2],
        shape[1] / groups,
    ])
}

/// Input channels from which a product for each tap beats one over unfolded windows.
const TAPS_CHANNELS: i64 = 8;

fn conv(layer: &Conv2d, x: &Tensor, e: &Tensor, views: i64, keep: fn(&Sizes) -> bool) -> Share {
    let window = layer.window();
    let (input, output) = (x.size(), e.size());
    let (n_in, n_out) = (input[1] / window.groups, output[1] / window.groups);
    let sizes =
        Sizes { t: views * output[2] * output[3], r: n_out, c: n_in * window.size[0] * window.size[1] };
    let plain = window.stride == [1; 2] && window.dilation == [1; 2] && window.groups == 1;
    if keep(&sizes) && plain && views == 1 && n_in >= TAPS_CHANNELS {
        return taps(x, e, window);
    }
    product(grouped(e, views, window.groups), windows(x, window, views), keep)
}

/// The weight's gradients of a convolution of stride 1: one product for each tap of the kernel,
/// between the outputs and the moved inputs, neither of them copied for it.
///
/// The outputs get the inputs' width, zeros at the end of each row, so that the moved inputs are
/// one piece of memory each.
fn taps(x: &Tensor, e: &Tensor, window: Window) -> Share {
    let Window { size: [height, width], padding, .. } = window;
    let x = if padding == [0; 2] {
        x.shallow_clone()
    } else {
        x.constant_pad_nd([padding[1], padding[1], padding[0], padding[0]])
    };
    let (input, output) = (x.size(), e.size());
    let (n, n_in, n_out, row) = (input[0], input[1], output[1], input[3]);
    let flat = pixels(&x).contiguous(); // [n, h w, n_in]
    let wide = e.constant_pad_nd([0, row - output[3]]);
    // After the last output of the last row nothing is needed.
    let length = output[2] * row - (row - output[3]);
    let outputs = pixels(&wide).narrow(1, 0, length).contiguous().transpose(1, 2); // [n, n_out, .]
    let taps: Vec<Tensor> = (0..height * width)
        .map(|tap| {
            let moved = flat.narrow(1, tap / width * row + tap % width, length);
            outputs.bmm(&moved).view([n, n_out * n_in])
        })
        .collect();
    Share::Taps { gradients: Tensor::stack(&taps, 0), r: n_out }
}

fn conv_transpose(
    layer: &ConvTranspose2d,
    x: &Tensor,
    e: &Tensor,
    views: i64,
    keep: fn(&Sizes) -> bool,
) -> Share {
    let window = layer.window();
    product(grouped(x, views, window.groups), windows(e, window, views), keep)
}
