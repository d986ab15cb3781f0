//! The losses of DENet's code.

use burn::tensor::{Int, Tensor};
use fss_kernels::{Corners, resize_bilinear, resize_nearest};

use crate::IGNORE_INDEX;
use crate::loss::{cross_entropy_map, valid_cross_entropy, weighted_cross_entropy};

/// Weights of background and foreground in the focal loss.
const FOCAL_WEIGHTS: [f32; 2] = [0.25, 0.75];

/// Logits and target of one size. Where the target is the larger one in some direction the logits are
/// enlarged to it (bilinear, corners aligned), else the target is enlarged (nearest).
///
/// # Shapes
/// - logits: `[n, c, h, w]`
/// - target: `[n, H, W]`
pub fn fitted(logits: Tensor<4>, target: Tensor<3, Int>) -> (Tensor<4>, Tensor<3, Int>) {
    let ([_, _, height, width], [_, rows, columns]) = (logits.dims(), target.dims());
    if (height, width) == (rows, columns) {
        return (logits, target);
    }
    if rows > height || columns > width {
        return (resize_bilinear(logits, [rows, columns], Corners::Aligned), target);
    }
    let target = resize_nearest(target.float().unsqueeze_dim::<4>(1), [height, width]);
    (logits, target.squeeze_dim::<3>(1).int())
}

/// Cross entropy of logits that are brought to their target's size first ([`fitted`]), over the pixels that
/// are not 255; with class weights the weighted sum over the sum of the weights. `None` if no pixel counts.
///
/// # Shapes
/// - logits: `[n, c, h, w]`
/// - target: `[n, H, W]`
/// - weights: `[c]`
pub fn fitted_cross_entropy(
    logits: Tensor<4>,
    target: Tensor<3, Int>,
    weights: Option<Tensor<1>>,
) -> Option<Tensor<1>> {
    let (logits, target) = fitted(logits, target);
    match weights {
        None => valid_cross_entropy(logits, target),
        Some(weights) => {
            let counted = target.clone().not_equal_elem(IGNORE_INDEX).int().sum();
            (counted.into_scalar::<i64>() > 0)
                .then(|| weighted_cross_entropy(logits, target, weights))
        }
    }
}

/// Focal loss of two channels (exponent 2, weights 0.25 and 0.75), brought to their target's size first
/// ([`fitted`]): the sum over the pixels that are not 255, divided by the sum of their weights. `None` if no
/// pixel counts.
///
/// Unlike the published code, which takes the logarithm of a softmax, it stays finite where a probability
/// underflows.
///
/// # Shapes
/// - logits: `[n, 2, h, w]`
/// - target: `[n, H, W]` of 0, 1 and 255
pub fn binary_focal_loss(logits: Tensor<4>, target: Tensor<3, Int>) -> Option<Tensor<1>> {
    let (logits, target) = fitted(logits, target);
    let foreground = target.clone().equal_elem(1).float();
    let background = target.clone().equal_elem(0).float();
    let weights = background * FOCAL_WEIGHTS[0] + foreground * FOCAL_WEIGHTS[1];
    let total = weights.clone().sum();
    if total.clone().into_scalar::<f32>() == 0.0 {
        return None;
    }
    let loss = cross_entropy_map(logits, target);
    let missing = loss.clone().neg().exp().neg() + 1.0;
    Some((missing.square() * loss * weights).sum() / total)
}

/// The mean over the samples of the cross entropy of full logits, each over the pixels of its own full mask;
/// the class of the episode weighs `lambda`, all others 1. Samples without a pixel that counts are left out;
/// `None` if none is left.
///
/// # Shapes
/// - logits: `[N, C, h, w]`, brought to the masks' size
/// - target: `[N, H, W]` of classes and 255
/// - classes: the class of each sample
pub fn knowledge_loss(
    logits: Tensor<4>,
    target: &Tensor<3, Int>,
    classes: &[usize],
    lambda: f64,
) -> Option<Tensor<1>> {
    let rows = logits.dims()[1];
    let device = logits.device();
    let per_sample = classes.iter().enumerate().filter_map(|(sample, &class)| {
        let one = logits.clone().narrow(0, sample, 1);
        let mask = target.clone().narrow(0, sample, 1);
        if lambda == 1.0 {
            // The same, without enlarged logits where these are the smaller.
            let ([_, _, height, width], [_, h, w]) = (one.dims(), mask.dims());
            if h >= height && w >= width {
                return crate::generalized::segmentation_loss(one, &mask);
            }
            return fitted_cross_entropy(one, mask, None);
        }
        let mut weights = vec![1.0f32; rows];
        weights[class] = lambda as f32;
        fitted_cross_entropy(one, mask, Some(Tensor::from_data(weights.as_slice(), &device)))
    });
    let losses: Vec<Tensor<1>> = per_sample.collect();
    let count = losses.len() as f64;
    losses.into_iter().reduce(|sum, loss| sum + loss).map(|sum| sum / count)
}
