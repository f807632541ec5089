//! The inception score: how sure a classifier is of each image, and how many classes there are.

use serde::Serialize;
use tch::{Kind, Tensor};

use crate::{Error, Result};

/// A mean over parts of a set, and how far the parts lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct InceptionScore {
    /// Mean over the parts; from 1 (all images alike to the classifier) to the number of classes.
    pub mean: f64,
    /// Standard deviation of the parts, with their number as the divisor.
    pub std: f64,
    /// Parts of equal size that the rows were cut into, in their order; what is left over is not
    /// counted.
    pub splits: i64,
}

/// `exp(mean over rows of KL(p_i || mean p))` of a classifier's probabilities.
///
/// Salimans et al., "Improved techniques for training GANs" (2016), there with an Inception network
/// and 10 splits. It looks at no real image: high scores come from sure answers of all classes,
/// whatever the images look like.
///
/// # Shapes
/// `[n, classes]`, rows that add up to 1, n at least `splits`.
///
/// # Errors
/// Fewer rows than splits, values that are no probabilities.
pub fn inception_score(probabilities: &Tensor, splits: i64) -> Result<InceptionScore> {
    let size = probabilities.size();
    if size.len() != 2 || splits < 1 || size[0] < splits {
        return Err(Error::invalid(format!(
            "an inception score of {size:?} in {splits} splits is not defined; give [rows, classes] with a row for each split"
        )));
    }
    super::check_finite(probabilities)?;
    let _guard = tch::no_grad_guard();
    let p = probabilities.f_to_kind(Kind::Double)?;
    if p.f_min()?.f_double_value(&[])? < 0.0 {
        return Err(Error::invalid("probabilities below 0 have no inception score"));
    }
    let n = size[0] / splits;
    let mut scores = Vec::with_capacity(splits as usize);
    for split in 0..splits {
        let part = p.f_narrow(0, split * n, n)?;
        let mean = part.f_mean_dim([0i64].as_slice(), false, Kind::Double)?;
        // The mean of KL(p_i || m) is H(m) less the mean of H(p_i), with 0 ln 0 = 0.
        let spread = mean.f_special_entr()?.f_sum(Kind::Double)?;
        let doubt = part.f_special_entr()?.f_sum(Kind::Double)? / n as f64;
        scores.push((spread - doubt).f_exp()?.f_double_value(&[])?);
    }
    let mean = scores.iter().sum::<f64>() / splits as f64;
    let variance = scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / splits as f64;
    Ok(InceptionScore { mean, std: variance.sqrt(), splits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_the_classes_that_a_classifier_is_sure_of() {
        let sure = Tensor::eye(4, (Kind::Float, tch::Device::Cpu)).repeat([5, 1]);
        let score = inception_score(&sure, 1).unwrap();
        assert!((score.mean - 4.0).abs() < 1e-12 && score.std < 1e-12, "{score:?}");
        let unsure = Tensor::full([8, 4], 0.25, (Kind::Float, tch::Device::Cpu));
        assert!((inception_score(&unsure, 2).unwrap().mean - 1.0).abs() < 1e-12);
        assert!(inception_score(&unsure, 9).is_err());
        assert!(inception_score(&(unsure * f64::NAN), 1).is_err());
    }
}
