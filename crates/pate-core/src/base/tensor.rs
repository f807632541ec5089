//! The border between plain numbers and libtorch: everything that could be used wrongly is checked
//! here, once.

use tch::{Device, Kind, Tensor};
use tensorfile::{Array, View};

use crate::{Error, Result};

/// Float32 tensor of `shape` from row-major `values`.
///
/// # Errors
/// Where the number of values is not the product of `shape`.
pub fn from_f32(values: &[f32], shape: &[i64]) -> Result<Tensor> {
    let numel: i64 = shape.iter().product();
    if numel != values.len() as i64 {
        return Err(Error::invalid(format!("{} values cannot have shape {shape:?}", values.len())));
    }
    Ok(Tensor::f_from_slice(values)?.f_reshape(shape)?)
}

/// Int64 tensor `[n]`.
pub fn from_i64(values: &[i64]) -> Tensor {
    Tensor::from_slice(values)
}

/// Float32 tensor of an array, whatever its type was; values as they are.
///
/// # Errors
/// Where libtorch refuses the shape.
pub fn from_array(array: Array) -> Result<Tensor> {
    let shape: Vec<i64> = array.shape().iter().map(|&n| n as i64).collect();
    from_f32(&array.into_f32(), &shape)
}

/// Row-major float32 values of any tensor.
///
/// # Errors
/// Where libtorch cannot copy it to the CPU.
pub fn to_f32(tensor: &Tensor) -> Result<Vec<f32>> {
    let flat = tensor
        .f_detach()?
        .f_to_device(Device::Cpu)?
        .f_to_kind(Kind::Float)?
        .f_contiguous()?
        .f_flatten(0, -1)?;
    let mut values = vec![0.0; flat.numel()];
    flat.f_copy_data(&mut values, flat.numel())?;
    Ok(values)
}

/// Row-major int64 values of an integer tensor.
///
/// # Errors
/// Where libtorch cannot copy it to the CPU.
pub fn to_i64(tensor: &Tensor) -> Result<Vec<i64>> {
    let flat = tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Int64)?.f_contiguous()?.f_flatten(0, -1)?;
    let mut values = vec![0; flat.numel()];
    flat.f_copy_data(&mut values, flat.numel())?;
    Ok(values)
}

/// The shape as `tensorfile` counts it.
pub fn shape_of(tensor: &Tensor) -> Vec<usize> {
    tensor.size().iter().map(|&n| n as usize).collect()
}

/// The same values laid out channels-last (NHWC in memory, NCHW by index), the layout in which
/// libtorch's CPU convolutions run fastest.
///
/// # Shapes
/// `[n, c, h, w]` in and out.
pub fn channels_last(tensor: &Tensor) -> Tensor {
    let last = tensor.permute([0, 2, 3, 1]);
    // Through a flat view: with one channel either layout is contiguous, and strides that were kept
    // would say the other one.
    last.reshape([-1]).view(last.size().as_slice()).permute([0, 3, 1, 2])
}

/// Gradients of a scalar with respect to `inputs`.
///
/// # Errors
/// Where `scalar` has no graph behind it (under a gradient guard, say): libtorch's engine would
/// read through a null pointer.
#[expect(clippy::disallowed_methods, reason = "the one place that checks for a graph first")]
pub fn gradients<T: std::borrow::Borrow<Tensor>>(scalar: &Tensor, inputs: &[T]) -> Result<Vec<Tensor>> {
    if !scalar.requires_grad() {
        return Err(Error::invalid("gradients were asked for where none are recorded"));
    }
    Ok(Tensor::f_run_backward(&[scalar], inputs, false, false)?)
}

/// Runs `body` on consecutive row ranges `(first, n)` of at most `batch` rows.
///
/// # Errors
/// The first error of `body`.
pub fn batches(rows: i64, batch: i64, mut body: impl FnMut(i64, i64) -> Result<()>) -> Result<()> {
    let mut first = 0;
    while first < rows {
        let n = batch.min(rows - first);
        body(first, n)?;
        first += n;
    }
    Ok(())
}

/// Named float32 tensors copied out for writing.
pub struct HostTensors(Vec<(String, Vec<usize>, Vec<f32>)>);

impl HostTensors {
    /// Copies `tensors` to the host.
    ///
    /// # Errors
    /// Where libtorch cannot copy one.
    pub fn of<'a>(tensors: impl IntoIterator<Item = (String, &'a Tensor)>) -> Result<Self> {
        let mut all = Vec::new();
        for (name, tensor) in tensors {
            all.push((name, shape_of(tensor), to_f32(tensor)?));
        }
        Ok(Self(all))
    }

    /// Borrowed views, in order.
    ///
    /// # Errors
    /// Never for tensors that came through [`HostTensors::of`].
    pub fn views(&self) -> Result<Vec<(&str, View<'_>)>> {
        self.0.iter().map(|(name, shape, values)| Ok((name.as_str(), View::f32(shape, values)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_slice_is_refused_not_read_past() {
        let error = from_f32(&[1.0, 2.0], &[3]).unwrap_err().to_string();
        assert!(error.contains("2 values") && error.contains("[3]"), "{error}");
    }

    #[test]
    fn gradients_without_a_graph_are_an_error_not_a_crash() {
        let x = Tensor::ones([2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let sum = (&x * 3.0).sum(Kind::Float);
        assert_eq!(to_f32(&gradients(&sum, &[&x]).unwrap()[0]).unwrap(), [3.0, 3.0]);
        let _guard = tch::no_grad_guard();
        let sum = (&x * 3.0).sum(Kind::Float);
        assert!(gradients(&sum, &[&x]).is_err());
    }

    #[test]
    fn channels_last_changes_strides_and_not_values() {
        let x = Tensor::arange(2 * 3 * 4 * 5, (Kind::Float, Device::Cpu)).reshape([2, 3, 4, 5]);
        let y = channels_last(&x);
        assert_eq!(y.stride(), [60, 1, 15, 3]);
        assert!(x.equal(&y));
        // One channel: the same places in memory, but layers follow what the strides say.
        let x = x.reshape([6, 1, 4, 5]);
        assert_eq!(channels_last(&x).stride(), [20, 1, 5, 1]);
        assert!(x.equal(&channels_last(&x)));
    }

    #[test]
    fn batches_cover_every_row_once() {
        let mut seen = Vec::new();
        batches(7, 3, |first, n| {
            seen.push((first, n));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [(0, 3), (3, 3), (6, 1)]);
    }
}
