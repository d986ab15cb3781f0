//! MLC: mining latent classes for few-shot segmentation (Yang, Zhuo, Qi, Shi, Gao, ICCV 2021).
//!
//! The published baseline: prototypes of the support set's foreground and background, pooled at the
//! masks' own size, are compared with every position of the query. Unlike in SSP the whole backbone
//! learns, and the query takes no part in the prototypes.
//!
//! The paper's full method adds a mining branch to training ([`MiningDecoder`]) and rectifies the
//! prototypes ([`BackgroundRectifier`], [`ForegroundPool`]); its code was never published, and each
//! part is off unless it is asked for.

mod mining;
mod rectify;
mod training;

use std::path::Path;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use fss_backbone::{
    BackboneError, ComputePrecision, DeepStemResNet, DeepStemResNetConfig, KeyList, NamedTensor,
    read_tensors,
};
use fss_kernels::{Corners, masked_average_pool_at_mask_size, resize_bilinear};

use crate::prototypes::{Prototypes, for_batch, query_tap, similarity};
use crate::ways::{compete, margin};
use crate::{Features, FewShotModel, HeadError, Shot};

pub use mining::{DECODER_PREFIX, MiningConfig, MiningDecoder};
pub use rectify::{
    BackgroundConfig, BackgroundRectifier, ForegroundConfig, ForegroundPool, RECTIFICATION_PREFIX,
};

/// What an [`Mlc`] is built from.
#[derive(Debug, Clone)]
pub struct MlcConfig {
    /// The backbone.
    pub backbone: DeepStemResNetConfig,
    /// The mining branch, for training only; `None` is the published baseline.
    pub mining: Option<MiningConfig>,
    /// Rectification of the background prototype; `None` is the published baseline.
    pub background: Option<BackgroundConfig>,
}

impl MlcConfig {
    /// The published settings for a backbone.
    pub fn new(backbone: DeepStemResNetConfig) -> Self {
        Self { backbone, mining: None, background: None }
    }

    /// Builds the model with random weights that follow from `seed` alone.
    pub fn init(&self, device: &Device, seed: u64) -> Mlc {
        self.init_with(self.backbone.init(device, seed))
    }

    /// Builds the model around a backbone.
    pub fn init_with(&self, backbone: DeepStemResNet) -> Mlc {
        let (device, channels) = (backbone.device(), backbone.channels());
        let decoder = self.mining.as_ref();
        Mlc {
            decoder: decoder.map(|config| MiningDecoder::new(config, channels, &device)),
            rectification: self
                .background
                .map(|config| BackgroundRectifier::new(config, channels, &device)),
            backbone,
            pool: None,
        }
    }
}

/// The MLC model. The baseline's only parameters are those of the backbone.
#[derive(Module, Debug)]
pub struct Mlc {
    /// The backbone, a dilated ResNet with a deep stem.
    pub backbone: DeepStemResNet,
    /// The mining branch, if the model is trained with one. It takes no part in segmentation.
    pub decoder: Option<MiningDecoder>,
    /// What rectifies background prototypes, if anything does.
    pub rectification: Option<BackgroundRectifier>,
    #[module(skip)]
    pool: Option<Arc<ForegroundPool>>,
}

/// The mean prototypes of a support set.
#[derive(Debug, Clone)]
pub struct MlcSupport {
    /// Foreground prototype `[B, C]`; zero if no support shows foreground, and then every query is
    /// background wherever it resembles the support's background at all.
    pub foreground: Tensor<2>,
    /// Background prototype `[B, C]`; zero if no support shows background.
    pub background: Tensor<2>,
}

impl Mlc {
    /// Sets in which precision the backbone convolves until the model is folded; matching and the mining branch
    /// stay in full precision.
    #[must_use]
    pub fn with_precision(self, precision: ComputePrecision) -> Self {
        Self { backbone: self.backbone.with_precision(precision), ..self }
    }

    /// The model for inference: every norm is folded into its convolution.
    pub fn fold(self) -> Self {
        Self { backbone: self.backbone.fold(), decoder: None, ..self }
    }

    /// Rectifies foreground prototypes by regions of these images from now on; `None` leaves them as
    /// they are. The features must be those of this very model in its form for inference.
    pub fn with_pool(mut self, pool: Option<ForegroundPool>) -> Self {
        self.pool = pool.map(Arc::new);
        self
    }

    /// Takes over the background rectification that a file of weights keeps beside the backbone, as
    /// the full method writes it; files of the baseline have none.
    ///
    /// # Errors
    /// If the file cannot be read, or its tensors do not fit.
    pub fn with_stored_rectification(mut self, weights: &Path) -> Result<Self, BackboneError> {
        let tensors = read_tensors(weights, RECTIFICATION_PREFIX)?;
        let (channels, device) = (self.backbone.channels(), self.backbone.device());
        self.rectification = BackgroundRectifier::stored(tensors, channels, &device, weights)?;
        Ok(self)
    }

    /// What the model has beside its backbone, by key: the mining branch and the global background.
    ///
    /// # Errors
    /// [`BackboneError::Device`] if it cannot be read back.
    pub fn further_tensors(&self) -> Result<Vec<NamedTensor>, BackboneError> {
        let mut tensors = Vec::new();
        if let Some(decoder) = &self.decoder {
            tensors.extend(decoder.named_tensors()?);
        }
        if let Some(rectification) = &self.rectification {
            tensors.extend(rectification.named_tensors()?);
        }
        Ok(tensors)
    }

    /// Takes over what [`further_tensors`](Self::further_tensors) gave.
    ///
    /// # Errors
    /// If one is missing, unknown, of another shape or not finite; `origin` names their place.
    pub fn with_further_tensors(
        mut self,
        tensors: Vec<NamedTensor>,
        origin: &Path,
    ) -> Result<Self, BackboneError> {
        let mut missing: Vec<String> =
            self.further_tensors()?.into_iter().map(|tensor| tensor.key).collect();
        for tensor in tensors {
            missing.retain(|key| *key != tensor.key);
            match (&mut self.decoder, &mut self.rectification) {
                (Some(decoder), _) if tensor.key.starts_with(DECODER_PREFIX) => {
                    decoder.set_tensor(tensor, origin)?;
                }
                (_, Some(rectification)) if tensor.key.starts_with(RECTIFICATION_PREFIX) => {
                    rectification.set_tensor(tensor, origin)?;
                }
                _ => return Err(unknown_tensor(tensor.key, origin)),
            }
        }
        if missing.is_empty() {
            return Ok(self);
        }
        Err(key_error(missing, Vec::new(), origin))
    }

    /// Foreground and background prototypes `[B, C]` of features `[B, C, h, w]` under a mask
    /// `[B, H, W]` (0 / 1 / 255; ignored pixels belong to neither).
    ///
    /// As published the features are brought to the size of the mask, not the mask to theirs, so a
    /// mask of another size than its image is laid over the whole of it. The enlarged features, close
    /// to a gigabyte for an image of 473 x 473, are never made: see
    /// [`masked_average_pool_at_mask_size`].
    pub fn prototypes(features: &Tensor<4>, mask: &Tensor<3, Int>) -> MlcSupport {
        Prototypes::pooled(features, mask, masked_average_pool_at_mask_size).into()
    }

    /// The mean prototypes of a support set as they are, without rectification.
    ///
    /// # Errors
    /// As [`encode_support`](FewShotModel::encode_support).
    pub fn mean_prototypes(&self, shots: &[Shot]) -> Result<MlcSupport, HeadError> {
        let pool = |tap: &Tensor<4>, mask: &Tensor<3, Int>| {
            Prototypes::pooled(tap, mask, masked_average_pool_at_mask_size)
        };
        Ok(Prototypes::mean_of(shots, self.backbone.channels(), pool)?.into())
    }

    /// Prototypes rectified by all that the model has for it: the background first, because the
    /// foreground's regions are found with it.
    pub fn rectified(&self, support: MlcSupport) -> MlcSupport {
        let MlcSupport { mut foreground, mut background } = support;
        if let Some(rectification) = &self.rectification {
            background = rectification.rectify(background);
        }
        if let Some(pool) = &self.pool {
            foreground = pool.rectify(foreground, &background);
        }
        MlcSupport { foreground, background }
    }

    /// Logits `[B, 2, h, w]` at the features' size, background first (paper, section 3.2).
    ///
    /// # Errors
    /// [`HeadError::Shape`] if the features are not those of this model, or of another batch than
    /// the support set; a support set of one sample serves any batch.
    pub fn matching(&self, support: &MlcSupport, query: &Features) -> Result<Tensor<4>, HeadError> {
        let query = query_tap(query, &support.foreground)?;
        let batch = query.dims()[0];
        let foreground = for_batch(&support.foreground, batch);
        let background = for_batch(&support.background, batch);
        Ok(similarity(query, &foreground, &background))
    }
}

impl From<Prototypes> for MlcSupport {
    fn from(Prototypes { foreground, background }: Prototypes) -> Self {
        Self { foreground, background }
    }
}

impl FewShotModel for Mlc {
    type Support = MlcSupport;

    fn features(&self, images: Tensor<4>) -> Features {
        Features::single(self.backbone.forward(images))
    }

    fn encode_support(&self, shots: &[Shot]) -> Result<MlcSupport, HeadError> {
        Ok(self.rectified(self.mean_prototypes(shots)?))
    }

    fn segment(
        &self,
        support: &MlcSupport,
        query: &Features,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        Ok(resize_bilinear(self.matching(support, query)?, size, Corners::Aligned))
    }

    /// Merged at the features' size: enlarging is linear, so that margins may be enlarged in place of
    /// logits, all at once.
    fn segment_ways(
        &self,
        supports: &[MlcSupport],
        query: &Features,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        let margins = supports.iter().map(|support| Ok(margin(self.matching(support, query)?)));
        let logits = compete(margins.collect::<Result<_, _>>()?)?;
        Ok(resize_bilinear(logits, size, Corners::Aligned))
    }
}

/// A tensor that the model has no place for.
fn unknown_tensor(key: String, origin: &Path) -> BackboneError {
    key_error(Vec::new(), vec![key], origin)
}

fn key_error(missing: Vec<String>, unused: Vec<String>, origin: &Path) -> BackboneError {
    BackboneError::Keys {
        path: origin.to_owned(),
        asked: "MLC with the mining branch and the rectification that were asked for".into(),
        missing: KeyList(missing),
        unused: KeyList(unused),
    }
}
