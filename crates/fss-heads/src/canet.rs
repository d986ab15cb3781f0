//! CANet: class-agnostic segmentation by dense comparison (Zhang, Lin, Liu, Yao, Shen, CVPR 2019), as
//! DENet's code re-implements it.
//!
//! The mean feature of a support's object is laid beside every feature of the query (section 3.2 of the
//! paper), and what the comparison gives is refined by looking at its own last result again (section 3.3).
//! Unlike the paper, the last result comes as raw logits, all refinements run in training too, and several
//! shots are averaged.

mod official;
mod training;

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use fss_backbone::{
    BackboneError, ComputePrecision, ImagenetBackbone, ImagenetConfig, ImagenetFeatures,
    LoadReport, ModuleFile, Strictness,
};
use fss_kernels::{Activation, ConvGeometry, Corners, conv2d_fused, resize_bilinear};

use crate::dropout::Dropout;
use crate::layers::Convolution;
use crate::prototypes::{for_batch, single_tap};
use crate::reg_aspp::{CHANNELS, RegAspp};
use crate::siblings::{
    DROPOUT, IMAGE_SIDE, Residual, check_backbone, check_features, check_shots, classifier, embed,
    embedding, foreground, smallest_side,
};
use crate::{Features, FewShotModel, HeadError, Shot};

/// How often the published model refines its result.
pub const REFINEMENTS: usize = 3;

/// Keeps an empty mask from dividing by zero; its vector is then zero.
const AREA_EPS: f64 = 5e-4;

/// Geometry of a 3x3 convolution.
const SPATIAL: ConvGeometry = ConvGeometry { stride: 1, padding: 1, dilation: 1 };

/// What a [`Canet`] is built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanetConfig {
    /// The backbone: a ResNet or DenseNet-121.
    pub backbone: ImagenetConfig,
    /// How often the result is refined, at least once; no weight depends on it.
    pub refinements: usize,
    /// The side of the square images that it is made for; it takes others, too. 321 is published.
    pub side: usize,
}

impl CanetConfig {
    /// The published settings for a backbone.
    pub fn new(backbone: ImagenetConfig) -> Self {
        Self { backbone, refinements: REFINEMENTS, side: IMAGE_SIDE }
    }

    /// Sets how often the result is refined; 0 counts as 1.
    #[must_use]
    pub fn with_refinements(mut self, refinements: usize) -> Self {
        self.refinements = refinements.max(1);
        self
    }

    /// Sets the side of the images that it is made for.
    #[must_use]
    pub fn with_side(mut self, side: usize) -> Self {
        self.side = side;
        self
    }

    /// The model that a weight file holds, if it is one, with all else as published.
    pub fn of_file(file: &ModuleFile) -> Option<Self> {
        file.shape("fuse_history.0.weight")?;
        Some(Self::new(ImagenetConfig::of_file(file, "backbone.")?))
    }

    /// Checks values that may come from a user's file.
    ///
    /// # Errors
    /// [`HeadError::Setting`] for a backbone that it cannot read, or no refinement.
    pub fn validate(&self) -> Result<(), HeadError> {
        if self.refinements == 0 {
            return Err(HeadError::Setting {
                problem: "a CANet that makes no result".into(),
                remedy: format!("refine it at least once (published: {REFINEMENTS} times)"),
            });
        }
        check_backbone("CANet", &self.backbone)
    }

    /// Builds the model with random weights that follow from `seed` alone.
    pub fn init(&self, device: &Device, seed: u64) -> Canet {
        self.init_with(self.backbone.init(device, seed), device, seed)
    }

    /// Builds the model around a backbone, the rest with random weights.
    pub fn init_with(&self, backbone: ImagenetBackbone, device: &Device, seed: u64) -> Canet {
        let conv =
            |key: &str, inputs, side| Convolution::new(key, [inputs, CHANNELS, side], seed, device);
        Canet {
            backbone,
            embedding: embedding(&self.backbone, seed, device),
            fuse: conv("fuse.0", 2 * CHANNELS, 3),
            history: vec![
                conv("fuse_history.0", CHANNELS + 2, 3),
                conv("fuse_history.2", CHANNELS, 3),
            ],
            residuals: (1..=2)
                .map(|i| Residual::new(&format!("residual{i}"), seed, device))
                .collect(),
            aspp: RegAspp::new("aspp.", seed, device),
            classifier: classifier(seed, device),
            config: *self,
            dropout_rate: DROPOUT,
            dropout_seed: seed,
        }
    }
}

/// The CANet model. The backbone is frozen, but its norms move in training; the rest learns.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fss_backbone::{ImagenetConfig, ImagenetNetwork};
/// use fss_heads::{CanetConfig, FewShotModel};
///
/// let device = Device::flex();
/// let backbone = ImagenetConfig::new(ImagenetNetwork::Resnet50).with_width(4);
/// let model = CanetConfig::new(backbone).init(&device, 0).fold();
/// let image = Tensor::ones([1, 3, 33, 49], &device);
/// let support = model.encode_support_images(&[(image.clone(), Tensor::ones([1, 33, 49], &device))])?;
/// assert_eq!(model.segment_images(&support, image)?.dims(), [1, 2, 33, 49]);
/// # Ok::<(), fss_heads::HeadError>(())
/// ```
#[derive(Module, Debug)]
pub struct Canet {
    /// The backbone.
    pub backbone: ImagenetBackbone,
    /// Mixes two levels of the backbone.
    pub embedding: Convolution,
    /// Compares query and support.
    pub fuse: Convolution,
    /// Two convolutions over the comparison and the last result.
    pub history: Vec<Convolution>,
    /// Two residual blocks.
    pub residuals: Vec<Residual>,
    /// Looks around at several distances.
    pub aspp: RegAspp,
    /// Makes logits.
    pub classifier: Convolution,
    #[module(skip)]
    config: CanetConfig,
    #[module(skip)]
    dropout_rate: f64,
    #[module(skip)]
    dropout_seed: u64,
}

/// What is kept of a support set: the mean feature of each shot's object.
#[derive(Debug, Clone)]
pub struct CanetSupport {
    /// `[B, 256]` each; zero for a mask without foreground.
    pub vectors: Vec<Tensor<2>>,
}

impl Canet {
    /// What the model was made from.
    pub fn config(&self) -> &CanetConfig {
        &self.config
    }

    /// The model for inference: every norm of the backbone is merged into its convolution.
    #[must_use]
    pub fn fold(self) -> Self {
        Self { backbone: self.backbone.fold(), ..self }
    }

    /// Fills the model from a checkpoint: one of the official code or one of ours, both strictly.
    ///
    /// # Errors
    /// [`BackboneError`] if the file is missing, broken or of another network.
    pub fn load(self, path: &Path) -> Result<(Self, LoadReport), BackboneError> {
        let mut file = ModuleFile::open(path)?;
        self.config.backbone.expect_in(&file, "backbone.")?;
        file.load(self, "", Strictness::Strict)
    }

    /// The embedding `[B, 256, h, w]` of a backbone's features, as inference has it.
    pub fn embed(&self, levels: ImagenetFeatures) -> Tensor<4> {
        embed(&self.embedding, levels, &mut Dropout::off(), ComputePrecision::Full)
    }

    /// The mean of embedded features `[B, 256, h, w]` over the object, whose mask `[B, H, W]` is brought to
    /// their size with soft borders (bilinear, corners aligned): `[B, 256]`.
    pub fn vector(features: &Tensor<4>, mask: &Tensor<3, Int>) -> Tensor<2> {
        let [batch, channels, height, width] = features.dims();
        let mask = resize_bilinear(foreground(mask), [height, width], Corners::Aligned);
        let mask = mask.reshape([batch, height * width, 1]);
        let area = mask.clone().sum_dim(1).reshape([batch, 1]);
        let features = features.clone().reshape([batch, channels, height * width]);
        features.matmul(mask).reshape([batch, channels]) / (area + AREA_EPS)
    }

    /// Logits `[B, 2, h, w]` of embedded query features, refined: the mean over the shots.
    ///
    /// # Shapes
    /// - query: `[B, 256, h, w]`
    /// - vectors: `[B, 256]` each
    ///
    /// # Panics
    /// Without vectors.
    pub fn compared(
        &self,
        query: &Tensor<4>,
        vectors: &[Tensor<2>],
        dropout: &mut Dropout,
    ) -> Tensor<4> {
        let shots = vectors.len() as f64;
        let refined = vectors.iter().map(|vector| self.refined(query, vector, dropout));
        let sum = refined.reduce(|sum, one| sum + one);
        sum.unwrap_or_else(|| unreachable!("a support set has shots")) / shots
    }

    fn refined(&self, query: &Tensor<4>, vector: &Tensor<2>, dropout: &mut Dropout) -> Tensor<4> {
        let [batch, channels, height, width] = query.dims();
        let spread = vector
            .clone()
            .reshape([batch, channels, 1, 1])
            .expand([batch, channels, height, width]);
        let both = Tensor::cat(vec![query.clone(), spread], 1);
        let fused = dropout.channels(self.fuse.forward_dilated(both, 2, Activation::Relu));
        // The comparison is the same in every round: only the last result, two channels, is convolved anew.
        let [first, second] = [&self.history[0], &self.history[1]];
        let kernel = first.weight.val();
        let fixed = conv2d_fused(
            fused.clone(),
            kernel.clone().narrow(1, 0, CHANNELS),
            first.bias.val(),
            None,
            SPATIAL,
            Activation::None,
        );
        let of_history = kernel.narrow(1, CHANNELS, 2);
        let none = first.bias.val().zeros_like();
        let mut history: Option<Tensor<4>> = None;
        for _ in 0..self.config.refinements.max(1) {
            let x = match history {
                None => burn::tensor::activation::relu(fixed.clone()),
                Some(last) => conv2d_fused(
                    last,
                    of_history.clone(),
                    none.clone(),
                    Some(fixed.clone()),
                    SPATIAL,
                    Activation::Relu,
                ),
            };
            let x = second.forward_beside(x, Some(fused.clone()), 1, Activation::Relu);
            let x = self.residuals.iter().fold(x, |x, block| block.forward(x));
            let x = self.aspp.forward(x, dropout);
            history = Some(self.classifier.forward(x, Activation::None));
        }
        history.unwrap_or_else(|| unreachable!("at least one round"))
    }
}

impl FewShotModel for Canet {
    type Support = CanetSupport;

    fn image_side(&self) -> Option<usize> {
        Some(self.config.side)
    }

    /// One tap, the embedding of two levels: `[B, 256, h, w]`. Images that are too small are enlarged.
    fn features(&self, images: Tensor<4>) -> Features {
        let images = crate::hsnet::at_least(images, smallest_side(&self.config.backbone, 1));
        Features::single(self.embed(self.backbone.forward(images)))
    }

    /// Supports may have any size, and other ones than the query.
    fn encode_support(&self, shots: &[Shot]) -> Result<CanetSupport, HeadError> {
        check_shots(shots)?;
        let vectors = shots.iter().map(|shot| {
            Ok(Self::vector(single_tap(&shot.features, "a support image")?, &shot.mask))
        });
        Ok(CanetSupport { vectors: vectors.collect::<Result<_, HeadError>>()? })
    }

    fn segment(
        &self,
        support: &CanetSupport,
        query: &Features,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        let first = support.vectors.first().ok_or(HeadError::NoSupport)?;
        check_features(query, "a query", Some(first.dims()[0]))?;
        let tap = single_tap(query, "a query")?;
        let batch = tap.dims()[0];
        let vectors: Vec<Tensor<2>> =
            support.vectors.iter().map(|vector| for_batch(vector, batch)).collect();
        let logits = self.compared(tap, &vectors, &mut Dropout::off());
        Ok(resize_bilinear(logits, size, Corners::Aligned))
    }
}
