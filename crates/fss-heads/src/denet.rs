//! DENet: dynamic extension nets (Liu, Cao, Liu, Liu, Lin, ACM MM 2020).
//!
//! A linear classifier of pixels has a row for each class of the data set. In an episode a *weight estimator*
//! makes the rows of its novel classes from the support set (paper, section 3.2), guided by an attention on
//! the object (section 3.3); the query is then classified among all rows at once. A class is where its logit
//! is larger than that of every other row.

pub mod deeplab;
pub mod estimator;
pub mod losses;
mod official;
mod training;

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use fss_backbone::{
    BackboneError, ImagenetBackbone, ImagenetConfig, ImagenetFeatures, LoadReport, ModuleFile,
    Strictness, params,
};
use fss_kernels::{Activation, Corners, resize_bilinear};

pub use deeplab::DeepLabHead;
pub use estimator::{Repeated, SeenClasses, WeightEstimator};
pub use training::FullLabels;

use crate::amp::binary_logits;
use crate::dropout::Dropout;
use crate::layers::Convolution;
use crate::prototypes::{for_batch, query_tap, single_tap};
use crate::reg_aspp::CHANNELS;
use crate::siblings::{DROPOUT, IMAGE_SIDE, check_backbone, check_shots, smallest_side};
use crate::{Features, FewShotModel, HeadError, Shot};

/// What a [`Denet`] is built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenetConfig {
    /// The backbone: a ResNet or DenseNet-121.
    pub backbone: ImagenetConfig,
    /// Rows C of the classifier, background included: 21 for PASCAL VOC, 81 for COCO.
    pub classes: usize,
    /// The side of the square images that it is made for; it takes others, too. 321 is published.
    pub side: usize,
}

impl DenetConfig {
    /// The published settings for a backbone and a number of classes, background included.
    pub fn new(backbone: ImagenetConfig, classes: usize) -> Self {
        Self { backbone, classes, side: IMAGE_SIDE }
    }

    /// Sets the side of the images that it is made for.
    #[must_use]
    pub fn with_side(mut self, side: usize) -> Self {
        self.side = side;
        self
    }

    /// The model that a weight file holds, if it is one, with all else as published.
    pub fn of_file(file: &ModuleFile) -> Option<Self> {
        let classes = *file.shape("estimator.weight")?.first()?;
        Some(Self::new(ImagenetConfig::of_file(file, "backbone.")?, classes))
    }

    /// Checks values that may come from a user's file.
    ///
    /// # Errors
    /// [`HeadError::Setting`] for a backbone that it cannot read, or less than one class beside the
    /// background.
    pub fn validate(&self) -> Result<(), HeadError> {
        check_backbone("DENet", &self.backbone)?;
        if self.classes < 2 {
            return Err(HeadError::Setting {
                problem: format!("DENet with {} rows knows no class", self.classes),
                remedy: "count the background and at least one class (21 for PASCAL VOC)".into(),
            });
        }
        Ok(())
    }

    /// Builds the model with random weights that follow from `seed` alone.
    pub fn init(&self, device: &Device, seed: u64) -> Denet {
        self.init_with(self.backbone.init(device, seed), device, seed)
    }

    /// Builds the model around a backbone, the rest with random weights.
    pub fn init_with(&self, backbone: ImagenetBackbone, device: &Device, seed: u64) -> Denet {
        let [_, _, deep] = self.backbone.channels();
        Denet {
            backbone,
            embedding: Convolution::new("embedding.0", [deep, CHANNELS, 3], seed, device),
            head: DeepLabHead::new(seed, device),
            estimator: WeightEstimator::new(self.classes, seed, device),
            config: *self,
            dropout_rate: DROPOUT,
            dropout_seed: seed,
        }
    }
}

/// The DENet model. The backbone is frozen, but its norms move in training; the rest learns.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fss_backbone::{ImagenetConfig, ImagenetNetwork};
/// use fss_heads::{DenetConfig, FewShotModel};
///
/// let device = Device::flex();
/// let backbone = ImagenetConfig::new(ImagenetNetwork::Resnet50).with_width(4);
/// let model = DenetConfig::new(backbone, 21).init(&device, 0).fold();
/// let image = Tensor::ones([1, 3, 33, 49], &device);
/// let support = model.encode_support_images(&[(image.clone(), Tensor::ones([1, 33, 49], &device))])?;
/// assert_eq!(model.segment_images(&support, image.clone())?.dims(), [1, 2, 33, 49]);
/// let ways = [support.clone(), support];
/// let features = model.features(image);
/// assert_eq!(model.segment_ways(&ways, &features, [33, 49])?.dims(), [1, 3, 33, 49]);
/// # Ok::<(), fss_heads::HeadError>(())
/// ```
#[derive(Module, Debug)]
pub struct Denet {
    /// The backbone.
    pub backbone: ImagenetBackbone,
    /// Narrows the third level of the backbone.
    pub embedding: Convolution,
    /// Looks around at several distances.
    pub head: DeepLabHead,
    /// The classifier, and what makes rows of it.
    pub estimator: WeightEstimator,
    #[module(skip)]
    config: DenetConfig,
    #[module(skip)]
    dropout_rate: f64,
    #[module(skip)]
    dropout_seed: u64,
}

/// What is kept of a support set: the row of its class.
#[derive(Debug, Clone)]
pub struct DenetSupport {
    /// `[B, 256]`.
    pub row: Tensor<2>,
    /// The row of the classifier that it stands for in each sample; `None` if it is a class that the model
    /// does not know, for which no row is left out.
    pub classes: Option<Vec<usize>>,
}

/// Logits of a batch of episodes, at the features' size.
#[derive(Debug, Clone)]
pub struct EpisodeLogits {
    /// Of all rows, `[N, C, h, w]`.
    pub full: Tensor<4>,
    /// For each way of each sample the largest logit of all other rows and that of its class,
    /// `[N * ways, 2, h, w]`, samples outside ways.
    pub pairs: Tensor<4>,
}

impl Denet {
    /// What the model was made from.
    pub fn config(&self) -> &DenetConfig {
        &self.config
    }

    /// The model for inference: every norm is merged into its convolution.
    #[must_use]
    pub fn fold(self) -> Self {
        Self { backbone: self.backbone.fold(), head: self.head.fold(), ..self }
    }

    /// Fills the model from a checkpoint: one of the official code or one of ours, both strictly.
    ///
    /// # Errors
    /// [`BackboneError`] if the file is missing, broken, of another network or of another number of
    /// classes.
    pub fn load(self, path: &Path) -> Result<(Self, LoadReport), BackboneError> {
        let mut file = ModuleFile::open(path)?;
        self.config.backbone.expect_in(&file, "backbone.")?;
        file.load(self, "", Strictness::Strict)
    }

    /// [`FewShotModel::encode_support`] for classes that the model knows: `classes`, one id a sample, say
    /// which rows of the classifier the new ones stand for, so that the old ones do not compete with them.
    ///
    /// # Errors
    /// As [`FewShotModel::encode_support`]; [`HeadError::Setting`] for an id that is 0 (the background) or
    /// not below the number of rows, [`HeadError::Shape`] for another number of ids than samples.
    pub fn encode_support_of(
        &self,
        shots: &[Shot],
        classes: &[usize],
    ) -> Result<DenetSupport, HeadError> {
        let support = DenetSupport { row: self.row(shots)?, classes: Some(classes.to_vec()) };
        self.check_known(&support)?;
        Ok(support)
    }

    fn row(&self, shots: &[Shot]) -> Result<Tensor<2>, HeadError> {
        check_shots(shots)?;
        let shots = shots
            .iter()
            .map(|shot| Ok((single_tap(&shot.features, "a support image")?, &shot.mask)));
        let shots = shots.collect::<Result<Vec<_>, HeadError>>()?;
        Ok(self.estimator.row(&shots, &mut Dropout::off()))
    }

    /// Logits of episodes with known classes: the rows of `labels`, the classes of the ways of each sample,
    /// are replaced by `rows`.
    ///
    /// # Shapes
    /// - rows: for each way `[N, 256]`
    /// - labels: for each sample one class a way
    /// - query: features `[N, 256, h, w]`
    ///
    /// # Errors
    /// [`HeadError::NoSupport`] without ways; [`HeadError::Shape`] for another number of samples or ways;
    /// [`HeadError::Setting`] for classes that the model does not have, or that a sample names twice if
    /// `repeated` refuses it.
    pub fn episode_logits(
        &self,
        rows: &[Tensor<2>],
        labels: &[Vec<usize>],
        query: &Tensor<4>,
        repeated: Repeated,
    ) -> Result<EpisodeLogits, HeadError> {
        let weights = self.estimator.extended(rows, labels, repeated, &mut Dropout::off())?;
        Ok(pairs_of(estimator::classified(query, weights), labels))
    }

    /// Embedded features `[B, 256, h, w]` of a backbone's, as inference has it.
    pub fn embed(&self, levels: ImagenetFeatures) -> Tensor<4> {
        let level3 = params::beside(levels.level3, &self.embedding.weight);
        let x = self.embedding.forward_dilated(level3, 2, Activation::Relu);
        self.head.forward(x)
    }

    /// Refuses classes that the model does not have, or of another number than samples.
    fn check_known(&self, support: &DenetSupport) -> Result<(), HeadError> {
        let Some(classes) = &support.classes else { return Ok(()) };
        let samples = support.row.dims()[0];
        if classes.len() != samples {
            return Err(HeadError::Shape {
                what: "the classes of a support set".into(),
                got: format!("{} ids", classes.len()),
                want: format!("{samples}, one for each sample"),
            });
        }
        self.estimator.check_classes(classes)
    }

    /// The rows of the classifier that classes of ways do not stand for, as a mask `[B, C, 1, 1]` of zeros, and
    /// minus infinity elsewhere.
    fn rivals(&self, supports: &[DenetSupport], batch: usize) -> Tensor<4> {
        let rows = self.config.classes;
        let mut values = vec![0.0f32; batch * rows];
        for support in supports {
            let Some(classes) = &support.classes else { continue };
            for sample in 0..batch {
                let class = classes[if classes.len() == 1 { 0 } else { sample }];
                values[sample * rows + class] = f32::NEG_INFINITY;
            }
        }
        let data = burn::tensor::TensorData::new(values, [batch, rows, 1, 1]);
        Tensor::from_data(data, &self.estimator.device())
    }

    /// The largest logit of the rows that compete with the ways, then that of each way, at the features' size.
    fn rows_of(&self, supports: &[DenetSupport], query: &Features) -> Result<Tensor<4>, HeadError> {
        let first = supports.first().ok_or(HeadError::NoSupport)?;
        let tap = query_tap(query, &first.row)?;
        let [batch, channels, height, width] = tap.dims();
        let known = self.estimator.rows().unsqueeze::<3>();
        let [_, count, _] = known.dims();
        let mut rows = vec![known.expand([batch, count, channels])];
        for support in supports {
            query_tap(query, &support.row)?;
            self.check_known(support)?;
            rows.push(for_batch(&support.row, batch).unsqueeze_dim(1));
        }
        let logits = estimator::classified(tap, Tensor::cat(rows, 1));
        let ways = logits.clone().narrow(1, count, supports.len());
        let known = logits.narrow(1, 0, count);
        let known = match supports.iter().all(|support| support.classes.is_none()) {
            true => known,
            false => known + self.rivals(supports, batch),
        };
        debug_assert_eq!(known.dims(), [batch, count, height, width]);
        Ok(Tensor::cat(vec![known.max_dim(1), ways], 1))
    }
}

/// The pairs of each way out of full logits.
pub(crate) fn pairs_of(full: Tensor<4>, labels: &[Vec<usize>]) -> EpisodeLogits {
    let [samples, rows, height, width] = full.dims();
    let ways = labels.first().map_or(0, Vec::len);
    let per_way = full
        .clone()
        .unsqueeze_dim::<5>(1)
        .expand([samples, ways, rows, height, width])
        .reshape([samples * ways, rows, height, width]);
    let objects: Vec<usize> = labels.iter().flatten().copied().collect();
    EpisodeLogits { full, pairs: binary_logits(per_way, &objects) }
}

impl FewShotModel for Denet {
    type Support = DenetSupport;

    fn image_side(&self) -> Option<usize> {
        Some(self.config.side)
    }

    /// One tap, what the classifier reads: `[B, 256, h, w]`. Images that are too small are enlarged.
    fn features(&self, images: Tensor<4>) -> Features {
        let images = crate::hsnet::at_least(images, smallest_side(&self.config.backbone, 1));
        Features::single(self.embed(self.backbone.forward(images)))
    }

    /// The class is none that the model knows: all of its rows compete with the new one.
    /// [`Denet::encode_support_of`] is for classes that it has a row for. An empty mask gives the row that
    /// the estimator makes of nothing.
    fn encode_support(&self, shots: &[Shot]) -> Result<DenetSupport, HeadError> {
        Ok(DenetSupport { row: self.row(shots)?, classes: None })
    }

    /// The class's logit against the largest of all other rows.
    fn segment(
        &self,
        support: &DenetSupport,
        query: &Features,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        self.segment_ways(std::slice::from_ref(support), query, size)
    }

    /// All classes compete at once, among each other and with the rows that the model has: the background is
    /// the largest logit of these.
    fn segment_ways(
        &self,
        supports: &[DenetSupport],
        query: &Features,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        Ok(resize_bilinear(self.rows_of(supports, query)?, size, Corners::Aligned))
    }
}
