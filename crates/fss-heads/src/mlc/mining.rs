//! The mining branch: a second task for the backbone that is only there while it learns.
//!
//! The paper trains the encoder jointly on episodes and on pseudo masks of latent classes (section
//! "joint training"; the overview figure). Its code was never published. That there is a lightweight
//! decoder on the shared encoder, and that both losses are added, is the paper's; the layers of the
//! decoder are this library's choice, and therefore options.

use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor};
use fss_backbone::{BackboneError, NamedTensor, params};
use fss_kernels::{Activation, ConvGeometry, Corners, conv2d_fused, resize_bilinear};

use crate::HeadError;
use crate::loss::cross_entropy_without;
use crate::model::{PSEUDO_IGNORE, PseudoBatch, Statistic};

/// The running statistics' share of each new batch, as in PyTorch.
const STATISTICS_MOMENTUM: f64 = 0.1;
/// Added to variances.
const EPSILON: f64 = 1e-5;
/// Side of the first convolution's kernel.
const KERNEL: usize = 3;

/// Keys of the decoder's tensors start with this.
pub const DECODER_PREFIX: &str = "decoder.";

/// What a [`MiningDecoder`] is built from.
#[derive(Debug, Clone, PartialEq)]
pub struct MiningConfig {
    /// Labels of the pseudo masks: the background and N latent classes, so N + 1.
    pub labels: usize,
    /// Channels between its two convolutions. 256 is our choice: a quarter of the features'.
    pub channels: usize,
    /// Weight of its loss beside the episodes'. 1 is the paper's plain sum.
    pub weight: f64,
    /// Seed of its first weights.
    pub seed: u64,
}

impl MiningConfig {
    /// A decoder for the background and `clusters` latent classes.
    pub fn new(clusters: usize) -> Self {
        Self { labels: clusters + 1, channels: 256, weight: 1.0, seed: 0 }
    }
}

/// The decoder of the mining branch: a 3x3 convolution, batch normalisation with the statistics of
/// the training batch, ReLU, a 1x1 convolution to the labels, and a resize to the crop (bilinear,
/// aligned corners).
#[derive(Module, Debug)]
pub struct MiningDecoder {
    /// Kernel `[channels, C, 3, 3]`.
    pub reduce: Param<Tensor<4>>,
    /// Scale of the norm, `[channels]`.
    pub norm_weight: Param<Tensor<1>>,
    /// Shift of the norm, `[channels]`.
    pub norm_bias: Param<Tensor<1>>,
    /// Running mean of the norm, `[channels]`, a buffer.
    pub running_mean: Param<Tensor<1>>,
    /// Running variance of the norm, `[channels]`, a buffer.
    pub running_var: Param<Tensor<1>>,
    /// Kernel `[labels, channels, 1, 1]`.
    pub classify: Param<Tensor<4>>,
    /// Bias `[labels]`.
    pub classify_bias: Param<Tensor<1>>,
    #[module(skip)]
    weight: f64,
}

/// Which statistics normalise a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Normalise {
    Batch,
    Running,
}

impl MiningDecoder {
    /// A decoder for features of `features` channels, on `device`.
    ///
    /// The first convolution starts as the backbone's do (Kaiming-normal, fan-out). The second keeps
    /// the scale of what comes in, so that no label is favoured by much at the start.
    pub fn new(config: &MiningConfig, features: usize, device: &Device) -> Self {
        let MiningConfig { labels, channels, weight, seed } = *config;
        let reduce = [channels, features, KERNEL, KERNEL];
        let deviation = (1.0 / channels.max(1) as f64).sqrt();
        Self {
            reduce: params::kaiming_normal("decoder.reduce.weight", reduce, seed, device),
            norm_weight: params::filled(1.0, channels, device),
            norm_bias: params::filled(0.0, channels, device),
            running_mean: params::buffer(0.0, channels, device),
            running_var: params::buffer(1.0, channels, device),
            classify: params::normal(
                "decoder.classify.weight",
                [labels, channels, 1, 1],
                deviation,
                seed,
                device,
            ),
            classify_bias: params::filled(0.0, labels, device),
            weight,
        }
    }

    /// How many labels it tells apart, the background included.
    pub fn labels(&self) -> usize {
        self.classify_bias.lazy_shape()[0]
    }

    /// Weight of its loss in the total.
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// Logits `[B, labels, H, W]` of features `[B, C, h, w]`, with the running statistics.
    ///
    /// # Errors
    /// [`HeadError::Shape`] for features of another number of channels.
    pub fn forward(&self, features: Tensor<4>, size: [usize; 2]) -> Result<Tensor<4>, HeadError> {
        Ok(self.logits(features, size, Normalise::Running)?.0)
    }

    /// Logits as [`forward`](Self::forward) gives them, but normalised by the batch's own statistics,
    /// and what these statistics are.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_training(
        &self,
        features: Tensor<4>,
        size: [usize; 2],
    ) -> Result<(Tensor<4>, Vec<Statistic>), HeadError> {
        let (logits, statistics) = self.logits(features, size, Normalise::Batch)?;
        Ok((logits, statistics))
    }

    /// Cross entropy of the pseudo masks, `None` if all their pixels are ignored.
    ///
    /// # Errors
    /// [`HeadError::Shape`] if features or masks do not fit.
    pub fn loss(
        &self,
        features: Tensor<4>,
        batch: &PseudoBatch,
    ) -> Result<(Option<Tensor<1>>, Vec<Statistic>), HeadError> {
        let [_, _, height, width] = batch.images.dims();
        let (logits, statistics) = self.forward_training(features, [height, width])?;
        Ok((Self::loss_of(logits, batch.masks.clone()), statistics))
    }

    fn loss_of(logits: Tensor<4>, masks: Tensor<3, Int>) -> Option<Tensor<1>> {
        cross_entropy_without(logits, masks, PSEUDO_IGNORE)
    }

    fn logits(
        &self,
        features: Tensor<4>,
        size: [usize; 2],
        normalise: Normalise,
    ) -> Result<(Tensor<4>, Vec<Statistic>), HeadError> {
        let (got, want) = (features.dims()[1], self.reduce.lazy_shape()[1]);
        if got != want {
            return Err(HeadError::Shape {
                what: "the features of the mining branch".into(),
                got: format!("{got} channels"),
                want: format!("{want} channels"),
            });
        }
        let same = ConvGeometry { padding: KERNEL / 2, ..ConvGeometry::POINTWISE };
        let reduce = self.reduce.val();
        let none = Tensor::zeros([reduce.dims()[0]], &features.device());
        let x = conv2d_fused(features, reduce, none, None, same, Activation::None);
        let (x, statistics) = self.normalised(x, normalise);
        let (weight, bias) = (self.classify.val(), self.classify_bias.val());
        let point = ConvGeometry::POINTWISE;
        let logits = conv2d_fused(relu(x), weight, bias, None, point, Activation::None);
        Ok((resize_bilinear(logits, size, Corners::Aligned), statistics))
    }

    fn normalised(&self, x: Tensor<4>, normalise: Normalise) -> (Tensor<4>, Vec<Statistic>) {
        let [batch, channels, height, width] = x.dims();
        let wide = |t: Tensor<1>| t.reshape([1, channels, 1, 1]);
        let (centred, variance, statistics) = match normalise {
            Normalise::Running => {
                (x - wide(self.running_mean.val()), wide(self.running_var.val()), Vec::new())
            }
            Normalise::Batch => {
                let average = |t: Tensor<4>| t.mean_dim(3).mean_dim(2).mean_dim(0);
                let mean = average(x.clone());
                let centred = x - mean.clone();
                let variance = average(centred.clone().square());
                // Running variances are those of a sample, as in PyTorch.
                let count = (batch * height * width) as f64;
                let sample = variance.clone() * (count / (count - 1.0).max(1.0));
                let found = vec![
                    Statistic::new("decoder.mean", mean.reshape([channels])),
                    Statistic::new("decoder.var", sample.reshape([channels])),
                ];
                (centred, variance, found)
            }
        };
        let y = centred / (variance + EPSILON).sqrt();
        (y * wide(self.norm_weight.val()) + wide(self.norm_bias.val()), statistics)
    }

    /// Moves the running statistics a tenth of the way to those of a batch.
    pub(super) fn absorb(&mut self, statistic: &Statistic) {
        let running = match statistic.name {
            "decoder.mean" => &mut self.running_mean,
            "decoder.var" => &mut self.running_var,
            _ => return,
        };
        let old = running.val().without_autodiff();
        let new = old * (1.0 - STATISTICS_MOMENTUM) + statistic.value.clone() * STATISTICS_MOMENTUM;
        *running = params::replaced(running, new);
    }

    /// All parameters and buffers under keys that start with [`DECODER_PREFIX`].
    ///
    /// # Errors
    /// [`BackboneError::Device`] if they cannot be read back.
    pub fn named_tensors(&self) -> Result<Vec<NamedTensor>, BackboneError> {
        Ok(vec![
            params::read("decoder.reduce.weight", &self.reduce)?,
            params::read("decoder.norm.weight", &self.norm_weight)?,
            params::read("decoder.norm.bias", &self.norm_bias)?,
            params::read("decoder.norm.running_mean", &self.running_mean)?,
            params::read("decoder.norm.running_var", &self.running_var)?,
            params::read("decoder.classify.weight", &self.classify)?,
            params::read("decoder.classify.bias", &self.classify_bias)?,
        ])
    }

    /// Takes over one of the tensors that [`named_tensors`](Self::named_tensors) gave.
    ///
    /// # Errors
    /// If it is none of them, of another shape, or not finite; `origin` names its place.
    pub fn set_tensor(&mut self, tensor: NamedTensor, origin: &Path) -> Result<(), BackboneError> {
        match tensor.key.as_str() {
            "decoder.reduce.weight" => params::write(&mut self.reduce, tensor, origin),
            "decoder.norm.weight" => params::write(&mut self.norm_weight, tensor, origin),
            "decoder.norm.bias" => params::write(&mut self.norm_bias, tensor, origin),
            "decoder.norm.running_mean" => params::write(&mut self.running_mean, tensor, origin),
            "decoder.norm.running_var" => params::write(&mut self.running_var, tensor, origin),
            "decoder.classify.weight" => params::write(&mut self.classify, tensor, origin),
            "decoder.classify.bias" => params::write(&mut self.classify_bias, tensor, origin),
            _ => Err(super::unknown_tensor(tensor.key, origin)),
        }
    }
}
