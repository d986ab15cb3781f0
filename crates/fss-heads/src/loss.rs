//! Cross entropy over label maps with ignored pixels.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Bool, Int, Tensor};

use crate::IGNORE_INDEX;

/// Cross entropy, averaged over all pixels of the batch that count.
///
/// The mean runs over the whole batch together, not image by image. Without any pixel that counts
/// the loss is NaN, as in the published code, and carries no gradient.
///
/// # Shapes
/// - `logits`: `[B, classes, H, W]`
/// - `target`: `[B, H, W]` with labels below `classes`, or 255 for ignored pixels
/// - output: `[1]`
///
/// # Panics
/// If the shapes do not fit.
pub fn cross_entropy(logits: Tensor<4>, target: Tensor<3, Int>) -> Tensor<1> {
    let device = logits.device();
    valid_cross_entropy(logits, target).unwrap_or_else(|| Tensor::full([1], f32::NAN, &device))
}

/// [`cross_entropy`], or `None` without any pixel that counts.
///
/// # Panics
/// If the shapes do not fit.
pub fn valid_cross_entropy(logits: Tensor<4>, target: Tensor<3, Int>) -> Option<Tensor<1>> {
    cross_entropy_without(logits, target, IGNORE_INDEX)
}

/// [`valid_cross_entropy`] with another label for ignored pixels, for targets in which 255 is a
/// label as any other.
///
/// # Panics
/// If the shapes do not fit.
pub fn cross_entropy_without(
    logits: Tensor<4>,
    target: Tensor<3, Int>,
    ignore: i64,
) -> Option<Tensor<1>> {
    let ignored = target.clone().equal_elem(ignore);
    let valid = ignored.clone().bool_not().float().sum();
    if valid.clone().into_scalar::<f32>() == 0.0 {
        return None;
    }
    Some(map(logits, target, ignored).sum() / valid)
}

/// [`cross_entropy`] in which every pixel weighs as much as its class: the weighted sum divided by
/// the sum of the weights of the pixels that count.
///
/// # Shapes
/// - `weights`: `[classes]`
///
/// # Panics
/// If the shapes do not fit.
pub fn weighted_cross_entropy(
    logits: Tensor<4>,
    target: Tensor<3, Int>,
    weights: Tensor<1>,
) -> Tensor<1> {
    let valid = valid_pixels(&target);
    if valid.clone().sum().into_scalar::<f32>() == 0.0 {
        return Tensor::full([1], f32::NAN, &logits.device());
    }
    let [batch, height, width] = target.dims();
    let labels = target.clone().mask_fill(ignored(&target), 0).reshape([batch * height * width]);
    let weight_map = weights.select(0, labels).reshape([batch, height, width]) * valid;
    let total = weight_map.clone().sum();
    (cross_entropy_map(logits, target) * weight_map).sum() / total
}

/// Cross entropy of every pixel, 0 where it is ignored.
///
/// # Shapes
/// - `logits`: `[B, classes, H, W]`
/// - `target`: `[B, H, W]`
/// - output: `[B, H, W]`
///
/// # Panics
/// If the shapes do not fit.
pub fn cross_entropy_map(logits: Tensor<4>, target: Tensor<3, Int>) -> Tensor<3> {
    let ignored = ignored(&target);
    map(logits, target, ignored)
}

fn map(logits: Tensor<4>, target: Tensor<3, Int>, ignored: Tensor<3, Bool>) -> Tensor<3> {
    let [batch, _, height, width] = logits.dims();
    assert_eq!(
        target.dims(),
        [batch, height, width],
        "a target [B, H, W] must fit its logits [B, classes, H, W]"
    );
    let labels = target.mask_fill(ignored.clone(), 0).unsqueeze_dim::<4>(1);
    log_softmax(logits, 1).gather(1, labels).squeeze_dim::<3>(1).neg().mask_fill(ignored, 0.0)
}

fn ignored(target: &Tensor<3, Int>) -> Tensor<3, Bool> {
    target.clone().equal_elem(IGNORE_INDEX)
}

fn valid_pixels(target: &Tensor<3, Int>) -> Tensor<3> {
    ignored(target).bool_not().float()
}
