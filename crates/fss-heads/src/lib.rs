//! Few-shot segmentation heads on Burn, behind one trait.
//!
//! A head reads the backbone's features of a support set and of a query and gives logits. Every
//! head implements [`FewShotModel`]; those that train implement [`TrainableModel`] as well.
//!
//! Models of generalized few-shot segmentation ([`pop`], [`pspnet`]) know no episodes: they label every
//! pixel with any of their base and novel classes, and implement [`GeneralizedModel`].
#![forbid(unsafe_code)]

pub mod amp;
pub mod canet;
pub mod denet;
mod dropout;
mod erased;
mod error;
pub mod generalized;
mod half;
pub mod hsnet;
pub mod imr;
mod layers;
pub mod loss;
pub mod mlc;
mod model;
pub mod pgnet;
pub mod pop;
mod prototypes;
pub mod psp;
pub mod pspnet;
mod pyramid;
pub mod reg_aspp;
mod siblings;
pub mod ssp;
mod tensors;
mod ways;

pub use amp::{Amp, AmpConfig, AmpMemory, AmpSupport};
pub use canet::{Canet, CanetConfig, CanetSupport};
pub use denet::{Denet, DenetConfig, DenetSupport};
pub use dropout::Dropout;
pub use erased::{AnyModel, AnySupport};
pub use error::HeadError;
pub use generalized::{ClassCount, GeneralizedModel, LabelledBatch};
pub use half::{HalfBackbone, half_type};
pub use hsnet::{Hsnet, HsnetConfig, HsnetSupport, SupportMask};
pub use imr::{FirstMask, Imr, ImrConfig, ImrSupport, SupportLabels};
pub use layers::{Convolution, GroupNorm};
pub use loss::cross_entropy;
pub use mlc::{
    BackgroundConfig, BackgroundRectifier, ForegroundConfig, ForegroundPool, MiningConfig,
    MiningDecoder, Mlc, MlcConfig, MlcSupport,
};
pub use model::{
    CamBatch, EpisodeBatch, Features, FewShotModel, LossTerm, Losses, PSEUDO_IGNORE, PreparedQuery,
    PseudoBatch, Shot, ShotRule, Statistic, TrainableModel,
};
pub use pgnet::{Pgnet, PgnetConfig, PgnetSupport};
pub use pop::{MapClassifier, NovelPart, Pop, PopConfig, PopHead};
pub use psp::PspModule;
pub use pspnet::{Pspnet, PspnetConfig};
pub use siblings::Residual;
pub use ssp::{Refine, Ssp, SspConfig, SspSupport};
pub use tensors::{image_tensor, mask_tensor};
pub use ways::{merge_ways, rival_ways};

/// The label of pixels that count neither as foreground nor as background.
pub const IGNORE_INDEX: i64 = 255;
