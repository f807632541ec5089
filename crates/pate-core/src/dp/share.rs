//! What a parameter's gradient of every single record is made of, without being there.

use tch::{Device, Kind, Tensor};

use crate::nn::{Layer, Recorded, Window};

/// The gradients of one parameter for each of `n` records.
///
/// A record's gradient is the sum over what its rows did: positions of an image, places of a
/// sequence, views of the record, and uses of the layer are all the same here, `t` of them.
pub(super) enum Share {
    /// `left^T right` in each group, never formed: left `[n, groups, t, a]`, right
    /// `[n, groups, t, b]`.
    Product { left: Tensor, right: Tensor, order: Order },
    /// The gradients themselves, `[n, numel]`.
    Formed { gradients: Tensor, order: Order },
    /// Row `indices[i, t]` of a table gets `values[i, t]`: `[n, t]` and `[n, t, width]`.
    Rows { indices: Tensor, values: Tensor, entries: i64 },
}

/// How a gradient lies in memory: the axes of one record's, and which of them, one after another,
/// make the weight.
#[derive(Clone)]
pub(super) struct Order {
    shape: Vec<i64>,
    axes: Vec<i64>,
}

impl Order {
    /// That of the weight.
    fn own(numel: i64) -> Self {
        Self { shape: vec![numel], axes: vec![0] }
    }

    /// `[groups, r, inputs]`, of whose inputs' axes `axes` make the weight's; or
    /// `[groups, inputs, r]` where the inputs come first.
    fn of_product(groups: i64, r: i64, inputs: &Order, inputs_first: bool) -> Self {
        let (outputs_at, inputs_at) = if inputs_first { (1 + inputs.shape.len() as i64, 1) } else { (1, 2) };
        let outer = if inputs_first {
            [&[groups], &inputs.shape[..], &[r]]
        } else {
            [&[groups], &[r], &inputs.shape[..]]
        };
        let axes = [0, outputs_at].into_iter().chain(inputs.axes.iter().map(|axis| axis + inputs_at));
        Self { shape: outer.concat(), axes: axes.collect() }
    }

    /// `[n, numel]` in the order of the weight.
    fn restore(&self, gradients: &Tensor) -> Tensor {
        let n = gradients.size()[0];
        let axes: Vec<i64> = std::iter::once(0).chain(self.axes.iter().map(|axis| axis + 1)).collect();
        gradients.reshape([&[n], &self.shape[..]].concat()).permute(axes).reshape([n, -1])
    }
}

impl Share {
    /// Gradients in the order of the weight.
    pub(super) fn plain(gradients: Tensor) -> Self {
        let order = Order::own(gradients.size()[1]);
        Self::Formed { gradients, order }
    }

    /// The squared L2 norm for each record, `[n]`; more where the gradient is a small difference of
    /// large parts (see [`CANCELLATION`]).
    pub(super) fn squared_norms(&self) -> Tensor {
        match self {
            Self::Product { left, right, .. } => {
                let size = left.size();
                if size[1] == 1 && size[2] == 1 {
                    // One row: the product's norm is the product of the norms.
                    return squares(left) * squares(right);
                }
                let lengths = lengths(left) * lengths(right); // [n, groups, t]
                let products = gram(left) * gram(right);
                at_least_its_parts(&products, &lengths)
            }
            Self::Formed { gradients, .. } => squares(gradients),
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
            Self::Product { left, right, order } => {
                let rows = |x: &Tensor| x.transpose(0, 1).flatten(1, 2); // [groups, n t, .]
                let scaled = rows(&(left * factors.view([-1, 1, 1, 1])));
                order.restore(&scaled.transpose(1, 2).bmm(&rows(right)).reshape([1, -1])).reshape(shape)
            }
            Self::Formed { gradients, order } => {
                order.restore(&factors.unsqueeze(0).mm(gradients)).reshape(shape)
            }
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
            Self::Product { left, right, order } => order.restore(&formed(left, right)),
            Self::Formed { gradients, order } => order.restore(gradients),
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
        let zeroed = |x: Tensor| {
            let mut shape = vec![1; x.dim()];
            shape[0] = -1;
            x.masked_fill(&keep.logical_not().view(shape.as_slice()), 0.0)
        };
        match self {
            Self::Product { left, right, order } => {
                Self::Product { left: zeroed(left), right: zeroed(right), order }
            }
            Self::Formed { gradients, order } => Self::Formed { gradients: zeroed(gradients), order },
            Self::Rows { indices, values, entries } => {
                Self::Rows { indices, values: zeroed(values), entries }
            }
        }
    }

    /// Both as one: the gradient of a parameter that was used twice is the sum.
    pub(super) fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Product { left: a, right: b, order }, Self::Product { left: c, right: d, .. }) => {
                Self::Product { left: Tensor::cat(&[a, c], 2), right: Tensor::cat(&[b, d], 2), order }
            }
            (Self::Rows { indices: a, values: b, entries }, Self::Rows { indices: c, values: d, .. }) => {
                Self::Rows { indices: Tensor::cat(&[a, c], 1), values: Tensor::cat(&[b, d], 1), entries }
            }
            (one, other) => Self::plain(one.materialised() + other.materialised()),
        }
    }
}

/// `left^T right` of every record, `[n, groups a b]`.
fn formed(left: &Tensor, right: &Tensor) -> Tensor {
    let n = left.size()[0];
    left.flatten(0, 1).transpose(1, 2).bmm(&right.flatten(0, 1)).reshape([n, -1])
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
    x.norm_scalaropt_dim(2.0, [-1].as_slice(), false)
}

/// The sum of `products`, `[n, ..., t, t]`, and not less than `lengths`, `[n, ..., t]`, allow; in
/// the kind of these.
fn at_least_its_parts(products: &Tensor, lengths: &Tensor) -> Tensor {
    let parts = lengths.flatten(1, -1).sum_dim_intlist(1, false, None) * CANCELLATION;
    let norms = products.flatten(1, -1).sum_dim_intlist(1, false, None).to_kind(lengths.kind());
    norms.maximum(&(&parts * &parts))
}

/// Values whose squares are added up in one go: libtorch's norm is fast, but over a million values
/// it is off by 1e-4.
const IN_ONE_GO: i64 = 1024;

fn squares(x: &Tensor) -> Tensor {
    let x = x.flatten(1, -1);
    let pieces = x.size()[1] / IN_ONE_GO;
    let (whole, rest) = (pieces * IN_ONE_GO, x.size()[1] - pieces * IN_ONE_GO);
    let norms = |x: Tensor| x.norm_scalaropt_dim(2.0, [-1].as_slice(), false);
    let of_pieces = norms(x.narrow(1, 0, whole).view([x.size()[0], pieces, IN_ONE_GO]));
    let of_all = Tensor::cat(&[of_pieces, norms(x.narrow(1, whole, rest)).unsqueeze(1)], 1);
    (&of_all * &of_all).sum_dim_intlist(1, false, None)
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
    let per_output = |rows: Tensor| Share::plain(records(rows).sum_dim_intlist(1, false, None));
    let bias = |rows: fn(&Tensor) -> Tensor| used.layer.bias().map(|_| per_output(rows(e)));
    match &used.layer {
        Layer::Linear(_) => {
            (linear(&records(tokens(e)).unsqueeze(1), &records(tokens(x)).unsqueeze(1), keep), bias(tokens))
        }
        Layer::Conv2d(layer) => (conv(e, x, layer.window(), views, keep), bias(pixels)),
        // The same with the roles of input and output changed.
        Layer::ConvTranspose2d(layer) => (conv(x, e, layer.window(), views, keep), bias(pixels)),
        Layer::GroupNorm(layer) => {
            let sums = |of: &Tensor| records(pixels(of)).sum_dim_intlist(1, false, None);
            let of_bias = sums(e);
            let weight = match layer.inverse() {
                // What was normalised is (y - bias) / weight, and need not be made again.
                Some((weight, bias)) => (sums(&(e * &used.output)) - &of_bias * bias) / weight,
                None => sums(&(e * layer.normalised(x))),
            };
            (Share::plain(weight), used.layer.bias().map(|_| Share::plain(of_bias)))
        }
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

fn linear(outputs: &Tensor, inputs: &Tensor, keep: fn(&Sizes) -> bool) -> Share {
    let (output, c) = (outputs.size(), inputs.size()[3]);
    let (t, r) = (output[2], output[3]);
    let (left, right, order) = pair(outputs, inputs, 1, &Order::own(c));
    if keep(&Sizes { t, r, c }) {
        Share::Formed { gradients: formed(&left, &right), order }
    } else {
        Share::Product { left, right, order }
    }
}

/// The factors of a product with the shorter side first, which matrix products are fastest for, and
/// what follows for its order.
fn pair(outputs: &Tensor, inputs: &Tensor, groups: i64, own: &Order) -> (Tensor, Tensor, Order) {
    let (r, c) = (outputs.size()[3], inputs.size()[3]);
    let order = Order::of_product(groups, r, own, c < r);
    let (outputs, inputs) = (outputs.shallow_clone(), inputs.shallow_clone());
    if c < r { (inputs, outputs, order) } else { (outputs, inputs, order) }
}

/// Values of unfolded windows that are worked on at once: so many stay in the cache between being
/// written and read, a megabyte.
const AT_ONCE: i64 = 1 << 18;

/// The weight's gradients of a convolution that saw windows of `seen` at the places of `maps`.
fn conv(maps: &Tensor, seen: &Tensor, window: Window, views: i64, keep: fn(&Sizes) -> bool) -> Share {
    let size = maps.size();
    let unfolded = Unfolded::new(seen, window, [size[2], size[3]], views);
    let maps = pixels(maps).reshape([-1, views * size[2] * size[3], window.groups, size[1] / window.groups]);
    let maps = maps.transpose(1, 2); // [n, groups, t, r]
    let (n, t, r, c) = (maps.size()[0], maps.size()[2], maps.size()[3], unfolded.numel());
    if !keep(&Sizes { t, r, c }) {
        let (left, right, order) = pair(&maps, &unfolded.records(0, n), window.groups, &unfolded.order);
        return Share::Product { left, right, order };
    }
    let order = Order::of_product(window.groups, r, &unfolded.order, c < r);
    let gradients = Tensor::empty([n, window.groups * r * c], (maps.kind(), maps.device()));
    let at_once = if maps.device() == Device::Cpu { (AT_ONCE / (window.groups * t * c)).max(1) } else { n };
    let mut first = 0;
    while first < n {
        let count = at_once.min(n - first);
        let (left, right, _) = pair(
            &maps.narrow(0, first, count),
            &unfolded.records(first, count),
            window.groups,
            &unfolded.order,
        );
        let (left, right) = (left.flatten(0, 1), right.flatten(0, 1));
        let part = gradients.narrow(0, first, count).view([left.size()[0], left.size()[2], right.size()[2]]);
        let _ = left.transpose(1, 2).bmm_out(&part, &right);
        first += count;
    }
    Share::Formed { gradients, order }
}

/// The windows of images, to be copied out.
struct Unfolded {
    /// `[n, groups, views, h', w', ...]` without a copy: windows overlap.
    windows: Tensor,
    /// Of a window's values.
    order: Order,
}

/// Values that are worth copying as one piece.
const PIECE: i64 = 16;

impl Unfolded {
    /// `x` `[rows, groups c, h, w]`, of which there are windows at `places`.
    fn new(x: &Tensor, window: Window, places: [i64; 2], views: i64) -> Self {
        let Window { size: [height, width], stride, padding, dilation, groups } = window;
        let mut x = x.shallow_clone();
        if padding != [0; 2] {
            x = x.constant_pad_nd([padding[1], padding[1], padding[0], padding[0]]);
        }
        let [rows, channels, h, w] = x.size()[..] else { unreachable!("images have four axes") };
        let x = x.permute([0, 2, 3, 1]).contiguous();
        let row = w * channels;
        if groups == 1 && width * channels < PIECE && height > 1 {
            // In two steps: windows of one column first, which lie side by side then.
            let columns = x
                .as_strided(
                    [rows, places[0], w, height, channels],
                    [h * row, stride[0] * row, channels, dilation[0] * row, 1],
                    None,
                )
                .contiguous();
            let (column, row) = (height * channels, w * height * channels);
            let windows = columns.as_strided(
                [rows / views, 1, views, places[0], places[1], width, height, channels],
                [
                    views * places[0] * row,
                    1,
                    places[0] * row,
                    row,
                    stride[1] * column,
                    dilation[1] * column,
                    channels,
                    1,
                ],
                None,
            );
            return Self {
                windows,
                order: Order { shape: vec![width, height, channels], axes: vec![2, 1, 0] },
            };
        }
        let own = channels / groups;
        let windows = x.as_strided(
            [rows / views, groups, views, places[0], places[1], height, width, own],
            [
                views * h * row,
                own,
                h * row,
                stride[0] * row,
                stride[1] * channels,
                dilation[0] * row,
                dilation[1] * channels,
                1,
            ],
            None,
        );
        Self { windows, order: Order { shape: vec![height, width, own], axes: vec![2, 0, 1] } }
    }

    /// Values of a window.
    fn numel(&self) -> i64 {
        self.order.shape.iter().product()
    }

    /// Those of some records, `[n, groups, views t, c k k']`.
    fn records(&self, first: i64, n: i64) -> Tensor {
        let size = self.windows.size();
        self.windows.narrow(0, first, n).reshape([n, size[1], size[2] * size[3] * size[4], self.numel()])
    }
}
