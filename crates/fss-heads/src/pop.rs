//! POP: generalized few-shot segmentation by projection onto orthogonal prototypes (Liu, Zhang, Qiu,
//! Zhang, CVPR 2023).
//!
//! Features are decomposed along one prototype a class; a small classifier turns what lies along each
//! into a logit, and what is left over into that of the background. New classes get prototypes of
//! their own, orthogonal to the old ones, which stay as they are.

mod classifier;
mod head;
mod init;
mod official;
pub(crate) mod training;

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use fss_backbone::{
    BackboneError, ComputePrecision, DilatedResNet, DilatedResNetConfig, LoadReport, ModuleFile,
    NormSource, Strictness,
};

pub use classifier::MapClassifier;
pub use head::{NovelPart, PopHead};

use crate::generalized::{ClassCount, GeneralizedModel};
use crate::psp::PspModule;

/// Channels of decoder features, in units of the backbone's width: 512 at the published width of 64.
pub(crate) const DECODER_CHANNELS: usize = 8;

/// What a [`Pop`] is built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PopConfig {
    /// The backbone.
    pub network: DilatedResNetConfig,
    /// The classes. Without novel ones it is a model of stage 1.
    pub classes: ClassCount,
}

impl PopConfig {
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

    /// Channels C of decoder features: 512 at the published width.
    pub fn channels(&self) -> usize {
        DECODER_CHANNELS * self.network.width.max(1)
    }

    /// Builds the model with random weights that follow from `seed` alone. In stage 1 everything
    /// learns; in stage 2 the novel prototypes and their classifier.
    pub fn init(&self, device: &Device, seed: u64) -> Pop {
        let backbone = self.network.init(device, seed);
        let decoder = PspModule::new(self.network.channels(), self.channels(), seed, device);
        let head = PopHead::new(self.channels(), self.classes.base, seed, device);
        let mode = Mode { norms: NormSource::Batch, precision: ComputePrecision::Full };
        let model = Pop { backbone, decoder, head, network: self.network, mode };
        match self.classes.novel {
            0 => model,
            novel => model.extended(novel, seed),
        }
    }
}

/// The POP model, of stage 1 (base classes) or stage 2 (base and novel classes).
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fss_backbone::{Depth, DilatedResNetConfig};
/// use fss_heads::{GeneralizedModel, PopConfig};
///
/// let device = Device::flex();
/// let network = DilatedResNetConfig::new(Depth::R50).with_width(4);
/// let base = PopConfig::new(network, 3).init(&device, 0);
/// let model = base.extended(2, 1).fold();
/// assert_eq!(model.logits(Tensor::zeros([1, 3, 65, 49], &device)).dims(), [1, 6, 9, 7]);
/// ```
#[derive(Module, Debug)]
pub struct Pop {
    /// The backbone.
    pub backbone: DilatedResNet,
    /// Makes the features that are decomposed.
    pub decoder: PspModule,
    /// Prototypes and classifiers.
    pub head: PopHead,
    #[module(skip)]
    network: DilatedResNetConfig,
    #[module(skip)]
    mode: Mode,
}

/// How stage 1 computes.
#[derive(Debug, Clone, Copy)]
struct Mode {
    norms: NormSource,
    precision: ComputePrecision,
}

impl Pop {
    /// What the model was made from.
    pub fn config(&self) -> PopConfig {
        PopConfig { network: self.network, classes: self.classes() }
    }

    /// Decoder features under the running statistics, outside autodiff.
    ///
    /// # Shapes
    /// - images: `[B, 3, H, W]`
    /// - output: `[B, C, h, w]`
    pub fn features(&self, images: Tensor<4>) -> Tensor<4> {
        let images = images.without_autodiff();
        self.decoder.forward(self.backbone.forward(images).layer4)
    }

    /// The model of stage 2 made of one of stage 1: `novel` random orthogonal prototypes that follow
    /// from `seed`, and a copy of the classifier for them. Only these learn from here on.
    ///
    /// A model of stage 2 loses the novel classes that it had.
    #[must_use]
    pub fn extended(self, novel: usize, seed: u64) -> Self {
        Self {
            backbone: self.backbone.no_grad(),
            decoder: self.decoder.no_grad(),
            head: self.head.extended(novel, seed),
            network: self.network,
            mode: self.mode,
        }
    }

    /// Keeps the backbone's weights, and has all norms use (and keep) their running statistics in
    /// training (`--freeze-backbone` of the published code).
    #[must_use]
    pub fn freeze_backbone(self) -> Self {
        let mode = Mode { norms: NormSource::Running, ..self.mode };
        Self { backbone: self.backbone.no_grad(), mode, ..self }
    }

    /// Sets in which precision training convolves.
    #[must_use]
    pub fn with_precision(self, precision: ComputePrecision) -> Self {
        Self { mode: Mode { precision, ..self.mode }, ..self }
    }

    /// The model for inference: every norm is merged into its convolution.
    #[must_use]
    pub fn fold(self) -> Self {
        Self { backbone: self.backbone.fold(), decoder: self.decoder.fold(), ..self }
    }

    /// Fills the model from a checkpoint of its stage, strictly.
    ///
    /// # Errors
    /// [`BackboneError`] if the file is missing, broken, of another network, of other numbers of
    /// classes or of the other stage.
    pub fn load(self, path: &Path) -> Result<(Self, LoadReport), BackboneError> {
        ModuleFile::open(path)?.load(self, "", Strictness::Strict)
    }
}

impl GeneralizedModel for Pop {
    fn classes(&self) -> ClassCount {
        self.head.classes()
    }

    fn logits(&self, images: Tensor<4>) -> Tensor<4> {
        self.head.logits(self.features(images)).without_autodiff()
    }
}
