//! Few-shot semantic segmentation: load a model, show it a support set, segment images
#![forbid(unsafe_code)]

mod annotation;
mod device;
mod error;
mod segmenter;

pub use annotation::Foreground;
pub use device::parse_device;
pub use error::Error;
pub use segmenter::{Annotated, DEFAULT_MAX_SIDE, ModelOptions, Segmentation, Segmenter, Support, load_ssp};

pub use burn::tensor::Device;
pub use fss_backbone as backbone;
pub use fss_backbone::Depth;
pub use fss_data as data;
pub use fss_heads as heads;
pub use fss_heads::Refine;
pub use fss_kernels as kernels;
pub use fss_metrics as metrics;
#[cfg(feature = "train")]
pub use fss_train as train;
