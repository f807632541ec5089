//! Multinomial logistic regression on features.

use serde::Serialize;
use tch::{Kind, Tensor};

use crate::base::progress::Progress;
use crate::{Error, Result};

/// How a logistic regression is fitted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LogisticPlan {
    /// Factor of half the weights' squared norm beside the mean loss.
    pub ridge: f64,
    /// Steps of the descent, each over all records.
    pub iterations: u64,
}

/// Fits `softmax(x W^T + b)` to labels from zero on, by accelerated gradient descent with restarts
/// (Nesterov 1983; O'Donoghue and Candes 2015) with a step of one over the largest curvature.
///
/// # Shapes
/// `features` `[n, d]` float32, `labels` `[n]`, or `[n, classes]` of probabilities; gives the
/// weight `[classes, d]` and the bias `[classes]`.
///
/// # Errors
/// No records, a stop.
pub fn logistic(
    features: &Tensor,
    labels: &Tensor,
    classes: i64,
    plan: &LogisticPlan,
    progress: &dyn Progress,
) -> Result<(Tensor, Tensor)> {
    let _guard = tch::no_grad_guard();
    let size = features.size();
    let (n, d) = match size[..] {
        [n, d] if n > 0 && (labels.size() == [n] || labels.size() == [n, classes]) => (n, d),
        _ => {
            return Err(Error::invalid(format!(
                "features of shape {size:?} and labels of shape {:?} cannot be learnt from",
                labels.size()
            )));
        }
    };
    let options = (features.kind(), features.device());
    let hard = labels.dim() == 1;
    let targets = if hard { labels.f_one_hot(classes)? } else { labels.shallow_clone() };
    let targets = targets.f_to_kind(features.kind())?;
    // The loss is at most half as curved as the features' second moments, with the bias among them.
    let curvature = 0.5 * (largest_moment(features)? + 1.0) + plan.ridge;
    let mut weight = Tensor::f_zeros([classes, d], options)?;
    let mut bias = Tensor::f_zeros([classes], options)?;
    let (mut ahead, mut ahead_bias) = (weight.copy(), bias.copy());
    let mut momentum = 1.0f64;
    for _ in 0..plan.iterations {
        progress.check()?;
        let p = ahead_bias.f_addmm(features, &ahead.f_tr()?)?.f_softmax(-1, None)?;
        let residual = (p - &targets) / n as f64;
        let gradient = residual.f_tr()?.f_matmul(features)? + &ahead * plan.ridge;
        let gradient_bias = residual.f_sum_dim_intlist(0, false, Kind::Float)?;
        let next = &ahead - &gradient / curvature;
        let next_bias = &ahead_bias - gradient_bias / curvature;
        let moved = &next - &weight;
        // Where the momentum points uphill it is of no more use.
        if (&gradient * &moved).f_sum(Kind::Double)?.f_double_value(&[])? > 0.0 {
            momentum = 1.0;
        }
        let after = 0.5 * (1.0 + (1.0 + 4.0 * momentum * momentum).sqrt());
        let factor = (momentum - 1.0) / after;
        momentum = after;
        ahead = &next + moved * factor;
        ahead_bias = &next_bias + (&next_bias - &bias) * factor;
        (weight, bias) = (next, next_bias);
        progress.advance(1, "");
    }
    Ok((weight, bias))
}

/// The largest eigenvalue of the second moments, by power iteration, and a little more.
fn largest_moment(features: &Tensor) -> Result<f64> {
    let n = features.size()[0] as f64;
    let mut direction = features.f_sum_dim_intlist(0, false, Kind::Float)?.f_sign()? + 1e-3;
    let mut largest = 0.0;
    for _ in 0..20 {
        let norm = direction.f_norm()?.f_double_value(&[])?;
        if norm == 0.0 {
            break;
        }
        direction /= norm;
        direction = features.f_tr()?.f_mv(&features.f_mv(&direction)?)? / n;
        largest = direction.f_norm()?.f_double_value(&[])?;
    }
    Ok(1.1 * largest)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::base::progress::Silent;
    use crate::base::rng::{Purpose, Stream};

    /// At the optimum the gradient is zero: mean residuals against the features equal the ridge's
    /// pull.
    #[test]
    fn the_fit_is_the_optimum() {
        let mut stream = Stream::new(3, Purpose::Probe, 0);
        let x = stream.normal_tensor(&[300, 6]).unwrap();
        let truth = stream.normal_tensor(&[4, 6]).unwrap();
        let labels = (x.matmul(&truth.tr()) + stream.normal_tensor(&[300, 4]).unwrap()).argmax(-1, false);
        let plan = LogisticPlan { ridge: 1e-2, iterations: 400 };
        let (weight, bias) = logistic(&x, &labels, 4, &plan, &Silent).unwrap();
        let p = (x.matmul(&weight.tr()) + &bias).softmax(-1, Kind::Double);
        let residual = (p - labels.one_hot(4).to_kind(Kind::Double)) / 300.0;
        let gradient = residual.tr().matmul(&x.to_kind(Kind::Double)) + weight.to_kind(Kind::Double) * 1e-2;
        assert!(gradient.abs().max().double_value(&[]) < 1e-5);
        let right = (x.matmul(&weight.tr()) + &bias).argmax(-1, false).eq_tensor(&labels);
        assert!(right.to_kind(Kind::Double).mean(Kind::Double).double_value(&[]) > 0.7);
        // Probabilities of a linear map of the same features: that map is found, but for what is
        // added to all classes alike.
        let soft = (x.matmul(&truth.tr()) / 10.0).softmax(-1, Kind::Float);
        let plan = LogisticPlan { ridge: 0.0, iterations: 2000 };
        let (weight, _) = logistic(&x, &soft, 4, &plan, &Silent).unwrap();
        let centred = |w: &Tensor| w - w.mean_dim([0i64].as_slice(), true, Kind::Float);
        let apart = (centred(&weight) * 10.0 - centred(&truth)).abs().max().double_value(&[]);
        assert!(apart < 0.02, "{apart}");
        let none = Tensor::zeros([0, 6], (Kind::Float, Device::Cpu));
        assert!(logistic(&none, &Tensor::zeros([0], (Kind::Int64, Device::Cpu)), 4, &plan, &Silent).is_err());
    }
}
