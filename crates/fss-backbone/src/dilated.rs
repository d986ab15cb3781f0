//! The deep-stem ResNet of POP: all four layers, dilation in place of stride, norms that may learn.

mod config;
mod identify;
mod network;
mod official;

pub use config::{DilatedResNetConfig, OutputStride};
pub use network::{DilatedFeatures, DilatedResNet};

pub(crate) use identify::{describe_generalized, dilated_of, generalized_method};
