//! Few-shot semantic segmentation: show a model one (or five) annotated images of a thing, and it
//! finds that thing in every other image.
//!
//! [`Segmenter::load`] takes a model and its weights, [`Segmenter::support`] a handful of annotated
//! images, [`Segmenter::segment`] any image. Masks and logits come back at the image's own size.
//!
//! ```
//! use fss_core::data::synthetic::{SyntheticConfig, draw_image};
//! use fss_core::data::{Split, transform::binary_mask};
//! use fss_core::{Annotated, Depth, ModelOptions, Refine, Segmenter, backbone, parse_device};
//!
//! // Weights come from a file: an official .pth, or what `fss train` wrote. Here a small network
//! // with random weights stands in for them.
//! let device = parse_device("cpu")?;
//! let options = ModelOptions::ssp(Depth::R18).with_width(8).with_refine(Refine::On);
//! let folder = tempfile::tempdir()?;
//! let weights = folder.path().join("weights.safetensors");
//! let network = options.deep_stem().ok_or("a deep stem")?.init(&device, 0);
//! backbone::save_safetensors(&network, &weights, backbone::KeyStyle::Ssp, &Default::default())?;
//!
//! let segmenter = Segmenter::load(&options, &weights, &device)?;
//!
//! // An annotated image: 0 background, 1 foreground, 255 ignored. Here it is drawn by machine.
//! let drawn = draw_image(&SyntheticConfig::default(), Split::Train, 0)?;
//! let class = drawn.mask.iter().copied().find(|label| (1..=20).contains(label)).unwrap();
//! let annotated = Annotated {
//!     name: drawn.id,
//!     image: drawn.image,
//!     mask: binary_mask(&drawn.mask, class),
//! };
//!
//! let support = segmenter.support(&[annotated])?;
//! let query = draw_image(&SyntheticConfig::default(), Split::Val, 0)?.image;
//! let found = segmenter.segment(&support, &query)?;
//! let (width, height) = query.dimensions();
//! assert_eq!(found.mask.dim(), (height as usize, width as usize));
//! assert_eq!(found.logits.dim(), (2, height as usize, width as usize));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `flex` (default) | the CPU |
//! | `cuda`, `vulkan`, `wgpu` | GPUs; [`parse_device`] picks one at run time |
//! | `train` (default) | `train`: recipes, trainer, evaluation; without it this is a lean inference library |
#![forbid(unsafe_code)]

mod annotation;
pub mod cam;
mod device;
mod error;
pub mod generalized;
mod model;
mod segmenter;

pub use annotation::Foreground;
pub use cam::{CamMaker, CamOptions};
pub use device::parse_device;
pub use error::Error;
pub use generalized::{GeneralizedOptions, GeneralizedSegmentation, GeneralizedSegmenter};
pub use model::{ModelOptions, Precision, load_model, load_model_in};
pub use segmenter::{Annotated, DEFAULT_MAX_SIDE, Segmentation, Segmenter, Support, Unlabelled};

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
