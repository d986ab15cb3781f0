//! Torchvision's classifiers as backbones that are tapped at many depths, for heads that correlate a
//! pyramid of features (HSNet, IMR).

mod config;
mod identify;
mod network;
mod official;
mod resnet;
mod vgg;

pub use config::{TapBackboneConfig, TapNetwork};
pub(crate) use identify::{
    correlating_method, describe_model, describe_other as describe_other_taps, taps_of,
};
pub use network::TapBackbone;
pub(crate) use official::is_classifier;
pub(crate) use vgg::{FEATURES as VGG_FEATURES, kernels as vgg_kernels};
