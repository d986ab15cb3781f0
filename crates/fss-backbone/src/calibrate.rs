//! Running statistics from data, for training without pretrained weights.

use burn::tensor::Tensor;
use fss_kernels::Activation;

use crate::block::{ConvNorm, ConvUnit, ResidualBlock, Route, finish};
use crate::resnet::{DeepStemResNet, max_pool};

/// Channels that vary less than this over the calibration images are left at variance 1: dividing
/// by nearly nothing would blow up whatever other images put there.
pub(crate) const SMALLEST_VARIANCE: f32 = 1e-8;

impl DeepStemResNet {
    /// Sets all running means and variances from a batch of normalised images, layer by layer:
    /// every norm then sees zero mean and unit variance on these images.
    ///
    /// The norms never learn their statistics in training, so a network that starts from random
    /// convolutions needs this once before it is trained. Variances are those of the batch
    /// itself (divided by n). Scale and shift stay as they are. A folded network has no norms left
    /// and comes back unchanged, with a warning in the log.
    ///
    /// # Shapes
    /// - images: `[B, 3, H, W]`, B >= 1
    #[must_use]
    pub fn calibrate_norms(mut self, images: Tensor<4>) -> Self {
        if self.is_folded() {
            tracing::warn!("calibrate_norms: the backbone is folded, nothing to calibrate");
            return self;
        }
        let mut x = images.without_autodiff();
        for unit in &mut self.stem {
            x = calibrate_unit(unit, x, None, Activation::Relu);
        }
        x = max_pool(x);
        for layer in [&mut self.layer1, &mut self.layer2, &mut self.layer3] {
            for block in layer {
                x = calibrate_block(block, x);
            }
        }
        self
    }
}

pub(crate) fn calibrate_block(block: &mut ResidualBlock, x: Tensor<4>) -> Tensor<4> {
    let shortcut = match &mut block.projection {
        Some(unit) => calibrate_unit(unit, x.clone(), None, Activation::None),
        None => x.clone(),
    };
    let x =
        block.branch.iter_mut().fold(x, |x, unit| calibrate_unit(unit, x, None, Activation::Relu));
    calibrate_unit(&mut block.last, x, Some(shortcut), block.activation)
}

pub(crate) fn calibrate_unit(
    unit: &mut ConvUnit,
    x: Tensor<4>,
    residual: Option<Tensor<4>>,
    activation: Activation,
) -> Tensor<4> {
    match unit {
        ConvUnit::Separate(ConvNorm { conv, norm }) => {
            let y = conv.forward(x);
            let (mean, var) = channel_statistics(&y);
            norm.set_statistics(mean, var);
            finish(norm.forward(y), residual, activation)
        }
        folded => folded.forward(x, residual, activation, Route::Merged),
    }
}

/// Mean and variance of every channel of `[B, C, h, w]`, both `[C]`.
fn channel_statistics(y: &Tensor<4>) -> (Tensor<1>, Tensor<1>) {
    let channels = y.dims()[1];
    let average = |t: Tensor<4>| t.mean_dim(3).mean_dim(2).mean_dim(0);
    let mean = average(y.clone());
    let var = average((y.clone() - mean.clone()).square()).reshape([channels]);
    let still = var.clone().lower_elem(SMALLEST_VARIANCE);
    (mean.reshape([channels]), var.mask_fill(still, 1.0))
}
