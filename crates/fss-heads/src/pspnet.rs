//! PSPNet, the baseline of generalized few-shot segmentation in POP's code: one linear classifier on
//! the decoder's features, and an auxiliary one on those of layer3.
//!
//! Stage 1 and evaluation exist; the published code cannot run its stage 2.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor};
use fss_backbone::{
    BackboneError, ComputePrecision, ConvUnit, DilatedResNet, DilatedResNetConfig, LoadReport,
    ModuleFile, NormSource, OfficialKeys, Strictness, TrainingPass, params,
};
use fss_kernels::{Activation, ConvGeometry, conv2d_fused};

use crate::generalized::{ClassCount, GeneralizedModel, LabelledBatch, segmentation_loss};
use crate::layers::Convolution;
use crate::pop::DECODER_CHANNELS;
use crate::pop::training::{check, check_norms, moments, statistics};
use crate::psp::{PspModule, field_names, unit_key};
use crate::{HeadError, Losses, Statistic};

/// Weight of the auxiliary loss.
const AUXILIARY_WEIGHT: f64 = 0.4;

/// Channels inside the auxiliary classifier, in units of the backbone's width.
const AUXILIARY_CHANNELS: usize = 4;

/// What a [`Pspnet`] is built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PspnetConfig {
    /// The backbone.
    pub network: DilatedResNetConfig,
    /// The classes. With novel ones it is the form for evaluation, without auxiliary classifier.
    pub classes: ClassCount,
}

impl PspnetConfig {
    /// A model of stage 1.
    pub fn new(network: DilatedResNetConfig, base: usize) -> Self {
        Self { network, classes: ClassCount { base, novel: 0 } }
    }

    /// Sets the number of novel classes.
    #[must_use]
    pub fn with_novel(mut self, novel: usize) -> Self {
        self.classes.novel = novel;
        self
    }

    /// Builds the model with random weights that follow from `seed` alone.
    pub fn init(&self, device: &Device, seed: u64) -> Pspnet {
        let width = self.network.width.max(1);
        let channels = DECODER_CHANNELS * width;
        let ClassCount { base, novel } = self.classes;
        let bound = 1.0 / (channels as f64).sqrt();
        let linear = |key: &str, outputs| {
            params::uniform(key, [outputs, channels, 1, 1], bound, seed, device)
        };
        let auxiliary = || {
            let (inner, spatial) = (
                AUXILIARY_CHANNELS * width,
                ConvGeometry { padding: 1, ..ConvGeometry::POINTWISE },
            );
            let shape = [self.network.middle_channels(), inner, 3];
            Auxiliary {
                unit: ConvUnit::uniform("aux_classifier.0.weight", shape, spatial, seed, device),
                last: Convolution::new("aux_classifier.3", [inner, 1 + base, 1], seed, device),
            }
        };
        Pspnet {
            backbone: self.network.init(device, seed),
            decoder: PspModule::new(self.network.channels(), channels, seed, device),
            classifier: linear("classifier.weight", 1 + base),
            auxiliary: (novel == 0).then(auxiliary),
            novel: (novel > 0).then(|| linear("classifier_n.weight", novel)),
            network: self.network,
            norms: NormSource::Batch,
            precision: ComputePrecision::Full,
        }
    }
}

/// The auxiliary classifier of stage 1.
#[derive(Module, Debug)]
pub struct Auxiliary {
    /// 3x3 convolution and norm.
    pub unit: ConvUnit,
    /// 1x1 convolution with bias.
    pub last: Convolution,
}

impl Auxiliary {
    fn forward_training(&self, x: Tensor<4>, pass: &mut TrainingPass) -> Tensor<4> {
        let hidden = self.unit.forward_training(x, None, Activation::Relu, pass);
        self.last.forward(hidden, Activation::None)
    }
}

/// The baseline.
#[derive(Module, Debug)]
pub struct Pspnet {
    /// The backbone.
    pub backbone: DilatedResNet,
    /// The decoder.
    pub decoder: PspModule,
    /// Background and base classes, `[1 + Kb, C, 1, 1]`.
    pub classifier: Param<Tensor<4>>,
    /// The auxiliary classifier, in stage 1 only.
    pub auxiliary: Option<Auxiliary>,
    /// Novel classes, `[Kn, C, 1, 1]`.
    pub novel: Option<Param<Tensor<4>>>,
    #[module(skip)]
    network: DilatedResNetConfig,
    #[module(skip)]
    norms: NormSource,
    #[module(skip)]
    precision: ComputePrecision,
}

impl Pspnet {
    /// What the model was made from.
    pub fn config(&self) -> PspnetConfig {
        PspnetConfig { network: self.network, classes: self.classes() }
    }

    /// Logits from decoder features: `[B, C, h, w]` to `[B, 1 + Kb + Kn, h, w]`.
    pub fn classify(&self, features: Tensor<4>) -> Tensor<4> {
        let linear = |weight: &Param<Tensor<4>>| {
            let weight = weight.val();
            let weight = if features.is_autodiff() { weight } else { weight.without_autodiff() };
            let bias = Tensor::zeros([weight.dims()[0]], &features.device());
            let geometry = ConvGeometry::POINTWISE;
            conv2d_fused(features.clone(), weight, bias, None, geometry, Activation::None)
        };
        let mut logits = vec![linear(&self.classifier)];
        logits.extend(self.novel.as_ref().map(linear));
        Tensor::cat(logits, 1)
    }

    /// Auxiliary logits `[B, 1 + Kb, h, w]` from layer3's features under the running statistics;
    /// `None` without an auxiliary classifier.
    pub fn classify_auxiliary(&self, layer3: Tensor<4>) -> Option<Tensor<4>> {
        let auxiliary = self.auxiliary.as_ref()?;
        let mut pass = TrainingPass::new(NormSource::Running, ComputePrecision::Full);
        Some(auxiliary.forward_training(layer3, &mut pass))
    }

    /// The losses of a step of stage 1.
    ///
    /// # Errors
    /// As [`Pop::base_losses`](crate::Pop::base_losses); [`HeadError::Setting`] for a model without
    /// auxiliary classifier.
    pub fn base_losses(&self, batch: &LabelledBatch) -> Result<Losses, HeadError> {
        check(batch)?;
        check_norms(self.norms, batch)?;
        let mut pass = TrainingPass::new(self.norms, self.precision);
        let maps = self.backbone.forward_training(batch.images.clone(), &mut pass);
        let features = self.decoder.forward_training(maps.layer4, &mut pass);
        let (mut losses, mut pass) =
            self.losses_from(features, maps.layer3, &batch.labels, pass)?;
        losses.statistics = statistics(std::mem::take(&mut pass));
        Ok(losses)
    }

    /// The losses from decoder features and those of layer3, and what all norms saw.
    fn losses_from(
        &self,
        features: Tensor<4>,
        layer3: Tensor<4>,
        labels: &Tensor<3, Int>,
        mut pass: TrainingPass,
    ) -> Result<(Losses, Vec<fss_backbone::BatchMoments>), HeadError> {
        let Some(auxiliary) = &self.auxiliary else {
            return Err(HeadError::Setting {
                problem: "a PSPNet with novel classes has no training".into(),
                remedy: "train stage 1, or learn novel classes with POP".into(),
            });
        };
        let mut losses = Losses::none(&features.device());
        losses.add("main", 1.0, segmentation_loss(self.classify(features), labels));
        let logits = auxiliary.forward_training(layer3, &mut pass);
        losses.add("aux", AUXILIARY_WEIGHT, segmentation_loss(logits, labels));
        Ok((losses, pass.into_moments()))
    }

    /// The losses of stage 1 from decoder features `[B, C, h, w]` and layer3's features, with the norm
    /// of the auxiliary classifier on the batch.
    ///
    /// # Errors
    /// [`HeadError::Setting`] for a model without auxiliary classifier.
    pub fn head_losses(
        &self,
        features: Tensor<4>,
        layer3: Tensor<4>,
        labels: &Tensor<3, Int>,
    ) -> Result<Losses, HeadError> {
        let pass = TrainingPass::new(NormSource::Batch, self.precision);
        let (mut losses, seen) = self.losses_from(features, layer3, labels, pass)?;
        losses.statistics = statistics(seen);
        Ok(losses)
    }

    /// Takes over what the forward pass of a step measured for the running statistics.
    #[must_use]
    pub fn absorb(mut self, statistics: &[Statistic]) -> Self {
        let mut moments = moments(statistics);
        self.backbone.absorb(&mut moments);
        self.decoder.absorb(&mut moments);
        self.absorb_auxiliary(&mut moments);
        self
    }

    /// [`Self::absorb`] of [`Self::head_losses`].
    #[must_use]
    pub fn absorb_head(mut self, statistics: &[Statistic]) -> Self {
        self.absorb_auxiliary(&mut moments(statistics));
        self
    }

    fn absorb_auxiliary(&mut self, moments: &mut impl Iterator<Item = fss_backbone::BatchMoments>) {
        if let Some(auxiliary) = &mut self.auxiliary {
            auxiliary.unit.absorb(moments);
        }
    }

    /// Keeps the backbone's weights, and has all norms of backbone and decoder use (and keep) their
    /// running statistics in training.
    #[must_use]
    pub fn freeze_backbone(self) -> Self {
        Self { backbone: self.backbone.no_grad(), norms: NormSource::Running, ..self }
    }

    /// Sets in which precision training convolves.
    #[must_use]
    pub fn with_precision(self, precision: ComputePrecision) -> Self {
        Self { precision, ..self }
    }

    /// The model for inference: every norm is merged into its convolution, and the auxiliary
    /// classifier dropped.
    #[must_use]
    pub fn fold(self) -> Self {
        Self {
            backbone: self.backbone.fold(),
            decoder: self.decoder.fold(),
            auxiliary: None,
            ..self
        }
    }

    /// Fills the model from a checkpoint, strictly; the auxiliary classifier of a checkpoint is left
    /// out where the model has none.
    ///
    /// # Errors
    /// [`BackboneError`] if the file is missing, broken or of another network.
    pub fn load(self, path: &Path) -> Result<(Self, LoadReport), BackboneError> {
        let mut file = ModuleFile::open(path)?;
        if self.auxiliary.is_none() {
            file.drop_parts(&["aux_classifier."]);
        }
        file.load(self, "", Strictness::Strict)
    }
}

impl GeneralizedModel for Pspnet {
    fn classes(&self) -> ClassCount {
        let rows = |weight: &Param<Tensor<4>>| weight.lazy_shape()[0];
        ClassCount { base: rows(&self.classifier) - 1, novel: self.novel.as_ref().map_or(0, rows) }
    }

    fn logits(&self, images: Tensor<4>) -> Tensor<4> {
        let features = self.backbone.forward(images.without_autodiff()).layer4;
        self.classify(self.decoder.forward(features))
    }
}

impl OfficialKeys for Pspnet {
    fn official_key(path: &str) -> String {
        match path.split_once('.') {
            Some(("backbone", rest)) => format!("backbone.{}", DilatedResNet::official_key(rest)),
            Some(("decoder", rest)) => format!("decoder.{}", PspModule::official_key(rest)),
            _ => head_key(&field_names(path)).unwrap_or_else(|| path.to_owned()),
        }
    }

    fn describe(&self) -> String {
        format!("PSPNet ({}) with {}", self.classes(), self.network)
    }

    fn looks_like_another(&self, shapes: &BTreeMap<&str, &[usize]>) -> Option<String> {
        if shapes.contains_key("base_emb") {
            return Some("POP (it has base_emb)".to_owned());
        }
        let inner = shapes
            .iter()
            .filter_map(|(key, shape)| Some((key.strip_prefix("backbone.")?, *shape)))
            .collect();
        self.backbone.looks_like_another(&inner)
    }

    fn is_folded(&self) -> bool {
        self.backbone.is_folded()
    }
}

fn head_key(names: &[&str]) -> Option<String> {
    match names {
        ["classifier"] => Some("classifier.weight".to_owned()),
        ["novel"] => Some("classifier_n.weight".to_owned()),
        ["auxiliary", "unit", rest @ ..] => unit_key("aux_classifier.", 0, rest),
        ["auxiliary", "last", name] => Some(format!("aux_classifier.3.{name}")),
        _ => None,
    }
}
