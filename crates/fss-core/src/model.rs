//! Models by name, and their weights.

use std::path::Path;

use burn::tensor::Device;
use fss_backbone::{DeepStemResNetConfig, Depth, LoadReport, load_weights};
use fss_data::Benchmark;
use fss_data::folds::FoldScheme;
use fss_heads::{AnyModel, MlcConfig, Refine, SspConfig};

use crate::Error;

/// Which model to build.
///
/// ```
/// use fss_core::{Depth, ModelOptions, Refine};
/// let options = ModelOptions::ssp(Depth::R50).with_refine(Refine::On);
/// assert_eq!(options.to_string(), "ssp with resnet50, refined");
/// assert_eq!(ModelOptions::mlc(Depth::R101).to_string(), "mlc with resnet101");
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ModelOptions {
    /// SSP (self-support matching).
    Ssp(SspConfig),
    /// MLC (mining latent classes).
    Mlc(MlcConfig),
}

impl ModelOptions {
    /// SSP with a backbone of the given depth and the published width, without refinement.
    pub fn ssp(depth: Depth) -> Self {
        Self::Ssp(SspConfig::new(DeepStemResNetConfig::new(depth)))
    }

    /// The MLC baseline with a backbone of the given depth and the published width.
    pub fn mlc(depth: Depth) -> Self {
        Self::Mlc(MlcConfig::new(DeepStemResNetConfig::new(depth)))
    }

    /// Sets whether SSP runs its self-support step twice. Other models have no such step and stay
    /// as they are.
    pub fn with_refine(self, refine: Refine) -> Self {
        match self {
            Self::Ssp(config) => Self::Ssp(config.with_refine(refine)),
            other => other,
        }
    }

    /// Sets the width of the backbone's first stage (published: 64).
    pub fn with_width(mut self, width: usize) -> Self {
        let backbone = self.backbone_mut();
        *backbone = backbone.with_width(width);
        self
    }

    /// Sets the whole backbone.
    pub fn with_backbone(mut self, backbone: DeepStemResNetConfig) -> Self {
        *self.backbone_mut() = backbone;
        self
    }

    /// The backbone.
    pub fn backbone(&self) -> &DeepStemResNetConfig {
        match self {
            Self::Ssp(config) => &config.backbone,
            Self::Mlc(config) => &config.backbone,
        }
    }

    /// How the classes of a benchmark were dealt to folds when the published weights of this model
    /// were trained; `None` where there are none, or no such folds.
    ///
    /// Both models were trained with classes in a row, on COCO-20i too. Evaluating them with the
    /// interleaved folds of the HSNet protocol tests 15 base classes of 20.
    pub fn published_folds(&self, benchmark: Benchmark) -> Option<FoldScheme> {
        match (self, benchmark) {
            (Self::Ssp(_) | Self::Mlc(_), Benchmark::Pascal | Benchmark::Coco) => {
                Some(FoldScheme::Contiguous)
            }
            (_, Benchmark::Fss1000 | Benchmark::Own) => None,
        }
    }

    fn backbone_mut(&mut self) -> &mut DeepStemResNetConfig {
        match self {
            Self::Ssp(config) => &mut config.backbone,
            Self::Mlc(config) => &mut config.backbone,
        }
    }
}

impl std::fmt::Display for ModelOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let depth = self.backbone().depth;
        match self {
            Self::Ssp(config) if config.refine == Refine::On => {
                write!(f, "ssp with {depth}, refined")
            }
            Self::Ssp(_) => write!(f, "ssp with {depth}"),
            Self::Mlc(_) => write!(f, "mlc with {depth}"),
        }
    }
}

/// Builds a model for inference, every norm folded into its convolution, with the weights of a whole
/// checkpoint: one of the official code (`.pth`) or one of ours (`.safetensors`, burnpack).
///
/// Checkpoints of SSP and of the MLC baseline hold the same tensors under other names; either loads
/// into either. What MLC's full method keeps beside its backbone is taken over if it is there.
///
/// # Errors
/// [`Error::Backbone`] if the file is missing, broken, or of another network: loading is strict.
pub fn load_model(
    options: &ModelOptions,
    weights: &Path,
    device: &Device,
) -> Result<(Box<dyn AnyModel>, LoadReport), Error> {
    let (backbone, report) = load_weights(options.backbone().init(device, 0), weights)?;
    let model: Box<dyn AnyModel> = match options {
        ModelOptions::Ssp(config) => Box::new(config.init_with(backbone).fold()),
        ModelOptions::Mlc(config) => {
            let model = config.init_with(backbone).with_stored_rectification(weights)?;
            Box::new(model.fold())
        }
    };
    Ok((model, report))
}
