//! Torchvision's classifiers as backbones that are tapped at many depths, for heads that correlate a
//! pyramid of features (HSNet, IMR).

mod config;

pub use config::{TapBackboneConfig, TapNetwork};
