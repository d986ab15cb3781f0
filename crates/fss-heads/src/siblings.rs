//! What CANet and PGNet share as DENet's code has them: an embedding of two levels of the backbone, residual
//! blocks, and losses of background against foreground.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use fss_backbone::{
    ComputePrecision, ImagenetBackbone, ImagenetConfig, ImagenetFeatures, ImagenetNetwork,
    OfficialKeys, TrainingPass, params,
};
use fss_kernels::{Activation, Corners, resize_bilinear};

use crate::dropout::Dropout;
use crate::layers::Convolution;
use crate::loss::valid_cross_entropy;
use crate::prototypes::{check_batch, single_tap};
use crate::reg_aspp::CHANNELS;
use crate::{EpisodeBatch, Features, HeadError, Losses, Shot};

/// The side of the published images.
pub(crate) const IMAGE_SIDE: usize = 321;

/// The share of channels and values that training drops.
pub(crate) const DROPOUT: f64 = 0.5;

/// A 3x3 convolution with dilation 2 over the second and third level of a backbone, with ReLU.
pub(crate) fn embedding(config: &ImagenetConfig, seed: u64, device: &Device) -> Convolution {
    let [_, middle, deep] = config.channels();
    Convolution::new("embedding.0", [middle + deep, CHANNELS, 3], seed, device)
}

/// The embedding `[B, 256, h, w]` of two levels.
pub(crate) fn embed(
    convolution: &Convolution,
    levels: ImagenetFeatures,
    dropout: &mut Dropout,
    precision: ComputePrecision,
) -> Tensor<4> {
    let both = Tensor::cat(vec![levels.level2, levels.level3], 1);
    let both = params::beside(both, &convolution.weight);
    dropout.channels(convolution.forward_in(precision, both, 2, Activation::Relu))
}

/// Refuses backbones that do not have two levels of one size.
pub(crate) fn check_backbone(what: &str, config: &ImagenetConfig) -> Result<(), HeadError> {
    let known =
        [ImagenetNetwork::Resnet50, ImagenetNetwork::Resnet101, ImagenetNetwork::Densenet121];
    if known.contains(&config.network) {
        return Ok(());
    }
    Err(HeadError::Setting {
        problem: format!("{what} reads a ResNet or DenseNet-121, not {config}"),
        remedy: "choose resnet50, resnet101 or densenet121".into(),
    })
}

/// The smallest side of an image whose features have `wanted` positions along each axis.
pub(crate) fn smallest_side(config: &ImagenetConfig, wanted: usize) -> usize {
    let fits = |side: &usize| config.feature_sizes([*side; 2])[2][0] >= wanted;
    (config.smallest_side()..).find(fits).unwrap_or_default()
}

/// Two 3x3 convolutions around a shortcut: `ReLU(x + conv(ReLU(conv(x))))`.
#[derive(Module, Debug)]
pub struct Residual {
    /// The inner convolution.
    pub first: Convolution,
    /// The outer one.
    pub second: Convolution,
}

impl Residual {
    pub(crate) fn new(key: &str, seed: u64, device: &Device) -> Self {
        let shape = [CHANNELS, CHANNELS, 3];
        Self {
            first: Convolution::new(&format!("{key}.0"), shape, seed, device),
            second: Convolution::new(&format!("{key}.2"), shape, seed, device),
        }
    }

    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let inner = self.first.forward(x.clone(), Activation::Relu);
        self.second.forward_beside(inner, Some(x), 1, Activation::Relu)
    }

    /// The official name of a parameter inside the block.
    pub(crate) fn official_key(path: &str) -> String {
        match path.split_once('.') {
            Some(("first", rest)) => format!("0.{rest}"),
            Some(("second", rest)) => format!("2.{rest}"),
            _ => path.to_owned(),
        }
    }
}

/// The official name of `residuals.<i>.<rest>`: `residual<i + 1>.<rest>`.
pub(crate) fn residual_key(rest: &str) -> Option<String> {
    let (index, inner) = rest.split_once('.')?;
    let index: usize = index.parse().ok()?;
    Some(format!("residual{}.{}", index + 1, Residual::official_key(inner)))
}

/// Two channels of every position, without activation.
pub(crate) fn classifier(seed: u64, device: &Device) -> Convolution {
    Convolution::new("classifier", [CHANNELS, 2, 1], seed, device)
}

/// Zero or one for every pixel of a mask `[B, H, W]` (0 / 1 / 255), `[B, 1, H, W]`.
pub(crate) fn foreground(mask: &Tensor<3, Int>) -> Tensor<4> {
    mask.clone().equal_elem(1).float().unsqueeze_dim::<4>(1).without_autodiff()
}

/// Cross entropy of two-channel logits, enlarged to the mask's size (corners aligned).
pub(crate) fn losses(logits: Tensor<4>, mask: &Tensor<3, Int>) -> Losses {
    let [_, height, width] = mask.dims();
    let mut losses = Losses::none(&logits.device());
    let logits = resize_bilinear(logits, [height, width], Corners::Aligned);
    losses.add("query", 1.0, valid_cross_entropy(logits, mask.clone()));
    losses
}

/// Refuses features of another model, or of a batch that does not fit that of the support set.
pub(crate) fn check_features(
    features: &Features,
    what: &str,
    batch: Option<usize>,
) -> Result<(), HeadError> {
    let tap = single_tap(features, what)?;
    let [samples, channels, ..] = tap.dims();
    if channels != CHANNELS {
        return Err(HeadError::Shape {
            what: format!("the features of {what}"),
            got: format!("{channels} channels"),
            want: format!("{CHANNELS} channels"),
        });
    }
    match batch {
        Some(own) if own != samples && own != 1 => Err(HeadError::Shape {
            what: format!("the features of {what}"),
            got: format!("a batch of {samples}"),
            want: format!("a batch of {own}, as its support set"),
        }),
        _ => Ok(()),
    }
}

/// Refuses an empty support set, and shots whose batches differ.
pub(crate) fn check_shots(shots: &[Shot]) -> Result<(), HeadError> {
    let Some(first) = shots.first() else { return Err(HeadError::NoSupport) };
    let samples = first.features.batch();
    for shot in shots {
        check_features(&shot.features, "a support image", None)?;
        let (features, masks) = (shot.features.batch(), shot.mask.dims()[0]);
        if features != samples || masks != samples {
            return Err(HeadError::Shape {
                what: "a shot".into(),
                got: format!("{features} images and {masks} masks"),
                want: format!("{samples} of both, as the first shot"),
            });
        }
    }
    Ok(())
}

/// Features of a training batch: the query's, then those of all shots in one pass, as published. What
/// norms look at, and the precision, is in the pass.
pub(crate) fn training_features(
    backbone: &ImagenetBackbone,
    convolution: &Convolution,
    batch: &EpisodeBatch,
    pass: &mut TrainingPass,
    dropout: &mut Dropout,
) -> Result<(Tensor<4>, Vec<Tensor<4>>), HeadError> {
    check_batch(batch)?;
    let query = backbone.forward_training(batch.query.clone(), pass);
    let query = embed(convolution, query, dropout, pass.precision());
    let images = batch.supports.iter().map(|(images, _)| images.clone()).collect();
    let supports = backbone.forward_training(Tensor::cat(images, 0), pass);
    let supports = embed(convolution, supports, dropout, pass.precision());
    let samples = batch.query.dims()[0];
    let of_shot = |shot: usize| supports.clone().narrow(0, shot * samples, samples);
    Ok((query, (0..batch.supports.len()).map(of_shot).collect()))
}

/// What else the tensors below `backbone.` look like, if not like those of this backbone.
pub(crate) fn backbone_looks(
    backbone: &ImagenetBackbone,
    shapes: &BTreeMap<&str, &[usize]>,
) -> Option<String> {
    let inner =
        shapes.iter().filter_map(|(key, shape)| Some((key.strip_prefix("backbone.")?, *shape)));
    backbone.looks_like_another(&inner.collect())
}
