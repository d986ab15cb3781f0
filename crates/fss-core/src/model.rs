//! Models by name, and their weights.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, FloatDType};
use fss_backbone::{
    DeepStemResNetConfig, Depth, ImagenetConfig, LoadReport, TapBackboneConfig, TapNetwork,
    load_weights,
};
use fss_data::Benchmark;
use fss_data::folds::FoldScheme;
use fss_heads::{
    AmpConfig, AnyModel, CanetConfig, DenetConfig, FewShotModel, HalfBackbone, HsnetConfig,
    ImrConfig, MlcConfig, PgnetConfig, Refine, SspConfig, half_type,
};

use crate::Error;

/// Which model to build.
///
/// ```
/// use fss_core::backbone::TapNetwork;
/// use fss_core::{Depth, ModelOptions, Refine};
/// let options = ModelOptions::ssp(Depth::R50).with_refine(Refine::On);
/// assert_eq!(options.to_string(), "ssp with resnet50, refined");
/// assert_eq!(ModelOptions::mlc(Depth::R101).to_string(), "mlc with resnet101");
/// assert_eq!(ModelOptions::hsnet(TapNetwork::Vgg16).to_string(), "hsnet with vgg16");
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ModelOptions {
    /// SSP (self-support matching).
    Ssp(SspConfig),
    /// MLC (mining latent classes).
    Mlc(MlcConfig),
    /// HSNet (hypercorrelation squeeze).
    Hsnet(HsnetConfig),
    /// IMR-HSNet (segmentation from image-label text).
    Imr(ImrConfig),
    /// DENet (dynamic extension nets).
    Denet(DenetConfig),
    /// AMP (adaptive masked proxies), as DENet's code has it.
    Amp(AmpConfig),
    /// CANet (dense comparison), as DENet's code has it.
    Canet(CanetConfig),
    /// PGNet (graph attention), as DENet's code has it.
    Pgnet(PgnetConfig),
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

    /// HSNet with a backbone of the published width.
    pub fn hsnet(network: TapNetwork) -> Self {
        Self::Hsnet(HsnetConfig::new(TapBackboneConfig::new(network)))
    }

    /// IMR-HSNet with a backbone of the published width and 2 stages.
    pub fn imr(network: TapNetwork) -> Self {
        Self::Imr(ImrConfig::new(TapBackboneConfig::new(network)))
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
        match &mut self {
            Self::Ssp(SspConfig { backbone, .. }) | Self::Mlc(MlcConfig { backbone, .. }) => {
                backbone.width = width;
            }
            Self::Hsnet(HsnetConfig { backbone, .. }) | Self::Imr(ImrConfig { backbone, .. }) => {
                backbone.width = width;
            }
            Self::Denet(DenetConfig { backbone, .. })
            | Self::Amp(AmpConfig { backbone, .. })
            | Self::Canet(CanetConfig { backbone, .. })
            | Self::Pgnet(PgnetConfig { backbone, .. }) => backbone.width = width,
        }
        self
    }

    /// Sets the whole backbone of a model with a deep-stem ResNet; others stay as they are.
    pub fn with_deep_stem(mut self, network: DeepStemResNetConfig) -> Self {
        if let Self::Ssp(SspConfig { backbone, .. }) | Self::Mlc(MlcConfig { backbone, .. }) =
            &mut self
        {
            *backbone = network;
        }
        self
    }

    /// The backbone, if it is a deep-stem ResNet (SSP, MLC).
    pub fn deep_stem(&self) -> Option<&DeepStemResNetConfig> {
        match self {
            Self::Ssp(config) => Some(&config.backbone),
            Self::Mlc(config) => Some(&config.backbone),
            _ => None,
        }
    }

    /// The backbone, if it is a classifier with taps (HSNet, IMR).
    pub fn taps(&self) -> Option<&TapBackboneConfig> {
        match self {
            Self::Hsnet(config) => Some(&config.backbone),
            Self::Imr(config) => Some(&config.backbone),
            _ => None,
        }
    }

    /// The backbone, if it is one of DENet's code (DENet, AMP, CANet, PGNet).
    pub fn imagenet(&self) -> Option<&ImagenetConfig> {
        match self {
            Self::Denet(config) => Some(&config.backbone),
            Self::Amp(config) => Some(&config.backbone),
            Self::Canet(config) => Some(&config.backbone),
            Self::Pgnet(config) => Some(&config.backbone),
            _ => None,
        }
    }

    /// The side of the square images that it is made for, if it is made for such.
    pub fn image_side(&self) -> Option<usize> {
        match self {
            Self::Ssp(_) | Self::Mlc(_) => None,
            Self::Hsnet(config) => Some(config.side),
            Self::Imr(config) => Some(config.image_side()),
            Self::Denet(config) => Some(config.side),
            Self::Amp(config) => Some(config.side),
            Self::Canet(config) => Some(config.side),
            Self::Pgnet(config) => Some(config.side),
        }
    }

    /// How the classes of a benchmark were dealt to folds when the published weights of this model
    /// were trained; `None` where there are none, or no such folds.
    ///
    /// On COCO-20i SSP and MLC were trained with classes in a row, all others with interleaved ones.
    /// Evaluating a model with the folds of the others tests 15 base classes of 20.
    pub fn published_folds(&self, benchmark: Benchmark) -> Option<FoldScheme> {
        match (self, benchmark) {
            (_, Benchmark::Pascal) => Some(FoldScheme::Contiguous),
            (Self::Ssp(_) | Self::Mlc(_), Benchmark::Coco) => Some(FoldScheme::Contiguous),
            (_, Benchmark::Coco) => Some(FoldScheme::Interleaved),
            (_, Benchmark::Fss1000 | Benchmark::Own) => None,
        }
    }
}

impl std::fmt::Display for ModelOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ssp(SspConfig { backbone, refine: Refine::On, .. }) => {
                write!(f, "ssp with {}, refined", backbone.depth)
            }
            Self::Ssp(SspConfig { backbone, .. }) => write!(f, "ssp with {}", backbone.depth),
            Self::Mlc(config) => write!(f, "mlc with {}", config.backbone.depth),
            Self::Hsnet(config) => write!(f, "hsnet with {}", config.backbone.network),
            Self::Imr(config) => {
                write!(f, "imr with {}, {} stages", config.backbone.network, config.stages)
            }
            Self::Denet(config) => write!(f, "denet with {}", config.backbone),
            Self::Amp(config) => write!(f, "amp with {}", config.backbone),
            Self::Canet(config) => write!(f, "canet with {}", config.backbone),
            Self::Pgnet(config) => write!(f, "pgnet with {}", config.backbone),
        }
    }
}

/// In which precision the backbone of a model computes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// float32.
    #[default]
    Full,
    /// float16, else bfloat16, where the device computes in either; elsewhere (the CPU) float32, with a warning in
    /// the log.
    Half,
}

impl Precision {
    /// The type that it means on a device; `None` for float32.
    fn half_on(self, device: &Device) -> Option<FloatDType> {
        if self == Self::Full {
            return None;
        }
        let half = half_type(device);
        if half.is_none() {
            tracing::warn!("this device does not compute in half precision; float32 it is");
        }
        half
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
/// [`Error::Head`] for settings that make no model.
pub fn load_model(
    options: &ModelOptions,
    weights: &Path,
    device: &Device,
) -> Result<(Box<dyn AnyModel>, LoadReport), Error> {
    load_model_in(Precision::Full, options, weights, device)
}

/// A model behind one face, its backbone rounded to `half` if that is given.
fn boxed<M>(model: M, half: Option<FloatDType>) -> Box<dyn AnyModel>
where
    M: FewShotModel + Module + Send + 'static,
    M::Support: Send + Sync + 'static,
{
    match half {
        None => Box::new(model),
        Some(dtype) => Box::new(HalfBackbone::new(model, dtype)),
    }
}

/// [`load_model`] in a precision.
///
/// # Errors
/// As there.
pub fn load_model_in(
    precision: Precision,
    options: &ModelOptions,
    weights: &Path,
    device: &Device,
) -> Result<(Box<dyn AnyModel>, LoadReport), Error> {
    let half = precision.half_on(device);
    let deep_stem = |network: &DeepStemResNetConfig| load_weights(network.init(device, 0), weights);
    Ok(match options {
        ModelOptions::Ssp(config) => {
            let (backbone, report) = deep_stem(&config.backbone)?;
            (boxed(config.init_with(backbone).fold(), half), report)
        }
        ModelOptions::Mlc(config) => {
            let (backbone, report) = deep_stem(&config.backbone)?;
            let model = config.init_with(backbone).with_stored_rectification(weights)?;
            (boxed(model.fold(), half), report)
        }
        ModelOptions::Hsnet(config) => {
            let (model, report) = config.init(device, 0).load(weights)?;
            (boxed(model.fold(), half), report)
        }
        ModelOptions::Imr(config) => {
            let (model, report) = config.init(device, 0)?.load(weights)?;
            (boxed(model.fold(), half), report)
        }
        ModelOptions::Denet(config) => {
            config.validate()?;
            let (model, report) = config.init(device, 0).load(weights)?;
            (boxed(model.fold(), half), report)
        }
        ModelOptions::Canet(config) => {
            config.validate()?;
            let (model, report) = config.init(device, 0).load(weights)?;
            (boxed(model.fold(), half), report)
        }
        ModelOptions::Pgnet(config) => {
            config.validate()?;
            let (model, report) = config.init(device, 0).load(weights)?;
            (boxed(model.fold(), half), report)
        }
        ModelOptions::Amp(config) => {
            config.validate()?;
            let (model, report) = config.init(device, 0).load(weights)?;
            (boxed(model.fold(), half), report)
        }
    })
}
