//! Backbones for few-shot semantic segmentation on Burn, weights in and out.
//!
//! There are five families. The deep-stem ResNet is what SSP and MLC are built on: three 3x3 stem
//! convolutions, no `layer4`, dilation instead of stride in `layer3`, and no ReLU at the very end,
//! so features are signed. [`DeepStemResNetConfig`] makes one, [`load_weights`] fills it from an
//! official `.pth` file, [`DeepStemResNet::freeze`] sets what training leaves alone, and
//! [`DeepStemResNet::fold`] merges every norm into its convolution for inference.
//!
//! [`DilatedResNet`] is the deep-stem ResNet of POP, with `layer4` and a last ReLU, whose norms can
//! learn from the batch. Its weights go in and out by [`ModuleFile`], as those of all further families.
//!
//! [`TapBackbone`] is torchvision's VGG-16, ResNet-50 or ResNet-101 as HSNet and IMR use it: frozen,
//! and tapped at many depths. [`TapBackboneConfig`] makes one, [`ModuleFile`] or [`load_module`]
//! fills it from an ImageNet file or a checkpoint. [`ImagenetBackbone`] is torchvision's ResNet,
//! DenseNet-121 or VGG-16 as DENet, CANet, PGNet and AMP use it: dilated, and frozen but for the running
//! statistics. [`clip`] is CLIP with a ResNet image encoder, and
//! Grad-CAM on it.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use fss_backbone::{DeepStemResNetConfig, Depth};
//!
//! # #[cfg(feature = "flex")] {
//! let device = Device::flex();
//! let backbone = DeepStemResNetConfig::new(Depth::R50).with_width(8).init(&device, 0).fold();
//! let features = backbone.forward(Tensor::zeros([1, 3, 33, 41], &device));
//! assert_eq!(features.dims(), [1, 128, 5, 6]);
//! # }
//! ```
#![forbid(unsafe_code)]

mod block;
mod calibrate;
pub mod clip;
mod config;
mod dilated;
mod error;
mod fold;
mod freeze;
mod gradients;
mod imagenet;
mod init;
mod norm;
pub mod params;
mod pass;
mod resnet;
mod taps;
pub mod weights;

pub use block::{Conv2d, ConvNorm, ConvUnit, ResidualBlock};
pub use config::{DeepStemResNetConfig, Depth, Layer3};
pub use dilated::{DilatedFeatures, DilatedResNet, DilatedResNetConfig, OutputStride};
pub use error::{BackboneError, KeyList};
pub use fold::FoldedConv;
pub use freeze::{NormTraining, Stage};
pub use imagenet::{ImagenetBackbone, ImagenetConfig, ImagenetFeatures, ImagenetNetwork};
pub use norm::FrozenBatchNorm2d;
pub use pass::{BatchMoments, ComputePrecision, NormSource, TrainingPass};
pub use resnet::{DeepStemResNet, Stages};
pub use taps::{TapBackbone, TapBackboneConfig, TapNetwork};
pub use weights::{
    FileFormat, KeyStyle, LoadOptions, LoadReport, ModuleFile, NamedTensor, OfficialKeys,
    Strictness, TensorSummary, WeightsSummary, inspect_weights, load_module, load_module_tensors,
    load_weights, load_weights_with, module_shapes, module_tensors, read_tensors, save_burnpack,
    save_safetensors, save_safetensors_with, write_state_dict,
};
