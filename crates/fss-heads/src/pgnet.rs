//! PGNet: pyramid graph networks with connection attention (Zhang, Lin, Liu, Guo, Wu, Yao, ICCV 2019), as
//! DENet's code re-implements it.
//!
//! Every position of the query gathers what is connected to it among all positions of all supports, at
//! three sizes of the query's map and once with equal weights ([`attention`]); the sum is refined and
//! classified.

pub mod attention;
mod official;
mod training;

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use fss_backbone::{
    BackboneError, ComputePrecision, ImagenetBackbone, ImagenetConfig, ImagenetFeatures,
    LoadReport, ModuleFile, Strictness,
};
use fss_kernels::{Activation, Corners, resize_bilinear, resize_nearest};
use serde::{Deserialize, Serialize};

pub use attention::{GraphAttention, Layout, SupportGraph};

use crate::dropout::Dropout;
use crate::layers::Convolution;
use crate::prototypes::single_tap;
use crate::reg_aspp::{CHANNELS, RegAspp};
use crate::siblings::{
    DROPOUT, IMAGE_SIDE, Residual, check_backbone, check_features, check_shots, classifier, embed,
    embedding, foreground, smallest_side,
};
use crate::{Features, FewShotModel, HeadError, Shot};

/// Stands in the features of a support where the object is not, and is added where it is.
const ABSENT: f64 = 5e-4;

/// Positions along each axis that the features of a query must have, so that the coarsest map has one.
const COARSEST: usize = 4;

/// What flows back through the unit with equal weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EqualWeights {
    /// The weights are constants: no gradient reaches the features through them.
    #[default]
    Constant,
    /// As published, where the weights are written over the result of a softmax behind autograd's back:
    /// features get a further gradient that belongs to no output and can dominate all others.
    Published,
}

/// What a [`Pgnet`] is built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PgnetConfig {
    /// The backbone: a ResNet or DenseNet-121.
    pub backbone: ImagenetConfig,
    /// How gathered features are laid out; no shape depends on it.
    pub layout: Layout,
    /// What flows back through the unit with equal weights.
    pub equal_weights: EqualWeights,
    /// The side of the square images that it is made for; it takes others, too. 321 is published.
    pub side: usize,
}

impl PgnetConfig {
    /// The published settings for a backbone, but with a sound gradient.
    pub fn new(backbone: ImagenetConfig) -> Self {
        let (layout, equal_weights) = (Layout::default(), EqualWeights::default());
        Self { backbone, layout, equal_weights, side: IMAGE_SIDE }
    }

    /// Sets how gathered features are laid out.
    #[must_use]
    pub fn with_layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// Sets what flows back through the unit with equal weights.
    #[must_use]
    pub fn with_equal_weights(mut self, equal_weights: EqualWeights) -> Self {
        self.equal_weights = equal_weights;
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
        file.shape("gau_1.phi.weight")?;
        Some(Self::new(ImagenetConfig::of_file(file, "backbone.")?))
    }

    /// Checks values that may come from a user's file.
    ///
    /// # Errors
    /// [`HeadError::Setting`] for a backbone that it cannot read.
    pub fn validate(&self) -> Result<(), HeadError> {
        check_backbone("PGNet", &self.backbone)
    }

    /// Builds the model with random weights that follow from `seed` alone.
    pub fn init(&self, device: &Device, seed: u64) -> Pgnet {
        self.init_with(self.backbone.init(device, seed), device, seed)
    }

    /// Builds the model around a backbone, the rest with random weights.
    pub fn init_with(&self, backbone: ImagenetBackbone, device: &Device, seed: u64) -> Pgnet {
        let units = (1..=4).map(|i| GraphAttention::new(&format!("gau_{i}"), seed, device));
        let residuals = (1..=3).map(|i| Residual::new(&format!("residual{i}"), seed, device));
        Pgnet {
            backbone,
            embedding: embedding(&self.backbone, seed, device),
            values: Convolution::new("g.0", [CHANNELS, CHANNELS, 1], seed, device),
            units: units.collect(),
            residuals: residuals.collect(),
            aspp: RegAspp::new("aspp.", seed, device),
            classifier: classifier(seed, device),
            config: *self,
            dropout_rate: DROPOUT,
            dropout_seed: seed,
        }
    }
}

/// The PGNet model. The backbone is frozen, but its norms move in training; the rest learns.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fss_backbone::{ImagenetConfig, ImagenetNetwork};
/// use fss_heads::{FewShotModel, PgnetConfig};
///
/// let device = Device::flex();
/// let backbone = ImagenetConfig::new(ImagenetNetwork::Resnet50).with_width(4);
/// let model = PgnetConfig::new(backbone).init(&device, 0).fold();
/// let image = Tensor::ones([1, 3, 33, 49], &device);
/// let support = model.encode_support_images(&[(image.clone(), Tensor::ones([1, 33, 49], &device))])?;
/// assert_eq!(model.segment_images(&support, image)?.dims(), [1, 2, 33, 49]);
/// # Ok::<(), fss_heads::HeadError>(())
/// ```
#[derive(Module, Debug)]
pub struct Pgnet {
    /// The backbone.
    pub backbone: ImagenetBackbone,
    /// Mixes two levels of the backbone.
    pub embedding: Convolution,
    /// Makes what is gathered, of supports and query alike (published name: g).
    pub values: Convolution,
    /// The units over a quarter, a half and the whole of the query's map, and the one with equal weights.
    pub units: Vec<GraphAttention>,
    /// Three residual blocks.
    pub residuals: Vec<Residual>,
    /// Looks around at several distances.
    pub aspp: RegAspp,
    /// Makes logits.
    pub classifier: Convolution,
    #[module(skip)]
    config: PgnetConfig,
    #[module(skip)]
    dropout_rate: f64,
    #[module(skip)]
    dropout_seed: u64,
}

/// What is kept of a support set: all positions of all shots, as each unit reads them.
#[derive(Debug, Clone)]
pub struct PgnetSupport {
    /// One for each unit.
    pub graphs: Vec<SupportGraph>,
}

impl Pgnet {
    /// What the model was made from.
    pub fn config(&self) -> &PgnetConfig {
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

    /// All positions of shots, from embedded features `[B, 256, h, w]` and masks `[B, H, W]` each. Where the
    /// object is not, features become a small constant; the positions stay.
    pub fn graphs(&self, shots: &[(&Tensor<4>, &Tensor<3, Int>)]) -> PgnetSupport {
        let shots: Vec<(Tensor<4>, Tensor<4>)> = shots
            .iter()
            .map(|(features, mask)| {
                let [_, _, height, width] = features.dims();
                let mask = resize_nearest(foreground(mask), [height, width]);
                let masked = (*features).clone() * mask + ABSENT;
                let values = self.values.forward(masked.clone(), Activation::Relu);
                (masked, values)
            })
            .collect();
        let graph = |unit: &GraphAttention| unit.support(&shots);
        PgnetSupport { graphs: self.units.iter().map(graph).collect() }
    }

    /// Refuses maps of which a quarter is nothing.
    pub(super) fn check_size(&self, [height, width]: [usize; 2]) -> Result<(), HeadError> {
        if height.min(width) >= COARSEST {
            return Ok(());
        }
        Err(HeadError::ImageSize {
            what: "a query".into(),
            problem: format!(
                "its features are {height} x {width}, and a quarter of that is nothing"
            ),
            remedy: format!(
                "use images of {} pixels or more a side",
                smallest_side(&self.config.backbone, COARSEST)
            ),
        })
    }

    /// What each unit gathers for embedded query features `[B, 256, h, w]`, at the size of its map: a quarter,
    /// a half and the whole of the query's, and the whole again with equal weights.
    pub fn gathered(&self, query: &Tensor<4>, support: &PgnetSupport) -> Vec<Tensor<4>> {
        let [_, _, height, width] = query.dims();
        let values = self.values.forward(query.clone(), Activation::Relu);
        let last = self.units.len() - 1;
        let maps = [4, 2, 1, 1].map(|part| [(height / part).max(1), (width / part).max(1)]);
        let units = self.units.iter().zip(&support.graphs).zip(maps).enumerate();
        units
            .map(|(i, ((unit, graph), size))| {
                let (query, values) =
                    (attention::pooled(query, size), attention::pooled(&values, size));
                let found = match i == last {
                    false => unit.attend(&query, graph),
                    true => unit.equally(&query, graph, self.config.equal_weights),
                };
                unit.joined(found, values, self.config.layout)
            })
            .collect()
    }

    /// Logits `[B, 2, h, w]` of embedded query features `[B, 256, h, w]`.
    pub fn attended(
        &self,
        query: &Tensor<4>,
        support: &PgnetSupport,
        dropout: &mut Dropout,
    ) -> Tensor<4> {
        let [_, _, height, width] = query.dims();
        let parts = self.gathered(query, support).into_iter();
        let parts = parts.map(|part| resize_bilinear(part, [height, width], Corners::HalfPixel));
        let sum = parts.reduce(|sum, part| sum + part);
        let sum = sum.unwrap_or_else(|| unreachable!("the model has units"));
        let x = self.residuals.iter().fold(sum, |x, block| block.forward(x));
        self.classifier.forward(self.aspp.forward(x, dropout), Activation::None)
    }
}

impl FewShotModel for Pgnet {
    type Support = PgnetSupport;

    fn image_side(&self) -> Option<usize> {
        Some(self.config.side)
    }

    /// One tap, the embedding of two levels: `[B, 256, h, w]`. Images whose map would have less than 4
    /// positions along an axis (below 25 pixels with a ResNet) are enlarged.
    fn features(&self, images: Tensor<4>) -> Features {
        let images = crate::hsnet::at_least(images, smallest_side(&self.config.backbone, COARSEST));
        Features::single(self.embed(self.backbone.forward(images)))
    }

    /// Supports may have any size, and other ones than each other and the query.
    fn encode_support(&self, shots: &[Shot]) -> Result<PgnetSupport, HeadError> {
        check_shots(shots)?;
        let taps = shots
            .iter()
            .map(|shot| Ok((single_tap(&shot.features, "a support image")?, &shot.mask)));
        Ok(self.graphs(&taps.collect::<Result<Vec<_>, HeadError>>()?))
    }

    fn segment(
        &self,
        support: &PgnetSupport,
        query: &Features,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        let graph = support.graphs.first().ok_or(HeadError::NoSupport)?;
        check_features(query, "a query", Some(graph.batch()))?;
        let tap = single_tap(query, "a query")?;
        let [_, _, height, width] = tap.dims();
        self.check_size([height, width])?;
        let logits = self.attended(tap, support, &mut Dropout::off());
        Ok(resize_bilinear(logits, size, Corners::Aligned))
    }
}
