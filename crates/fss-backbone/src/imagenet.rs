//! Torchvision's ImageNet classifiers as DENet's code changes them: dilation in place of the last
//! strides, three levels of features, batch norms that keep moving while the network is frozen.

mod config;
mod densenet;
mod identify;
mod network;
mod official;
mod resnet;
mod vgg;

pub use config::{ImagenetConfig, ImagenetNetwork};
pub(crate) use identify::{describe_extending, extending_method, imagenet_of};
pub use network::{ImagenetBackbone, ImagenetFeatures};
