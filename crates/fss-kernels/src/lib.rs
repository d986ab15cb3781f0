//! Matching kernels for few-shot semantic segmentation on Burn.
//!
//! Everything that compares a support set with a query and is not a plain network layer lives here:
//! resizing with exact corner rules, masked average pooling, cosine-similarity maps, the
//! self-support step of SSP, POP's decomposition along prototypes, correlations of all pairs of positions and the 4D convolutions over them, and
//! the fused convolution and the pooling that folded backbones run on.
//!
//! Each kernel exists at two levels. The functions of this module take [`Tensor`](burn::Tensor)s and
//! pick the back end at run time. The functions of [`primitive`] are generic over
//! `B:` [`MatchingBackend`], for code that itself names its back end.
//!
//! [`MatchingBackend`] is the seam: its default bodies compose differentiable operations that every
//! Burn back end has, and a back end overrides those for which it has something faster.
//!
//! # Features
//!
//! `flex` (default) is the CPU; `cuda`, `wgpu` and `vulkan` add Burn's CubeCL runtimes, with Burn's fusion of
//! operations and its choice among kernels by measuring; `cuda-plain`, `wgpu-plain` and `vulkan-plain` do so without.

mod autodiff;
mod backend;
mod conv;
mod conv4d;
mod correlation;
mod cosine;
#[cfg(feature = "flex")]
pub(crate) mod cpu;
#[cfg(feature = "cube")]
mod cube;
mod enlarged;
#[cfg(feature = "flex")]
mod flex;
mod group_norm;
mod ops;
mod orthogonal;
mod pairs;
mod pool;
mod pooling;
pub mod primitive;
mod resize;
mod self_support;

pub use backend::MatchingBackend;
pub use conv::{Activation, ConvGeometry, Residual, conv2d_fused};
pub use conv4d::{
    PivotGeometry, PivotWeights, center_pivot_collapse, center_pivot_conv4d, correlation_conv4d,
};
pub use correlation::{correlation, unit_features};
pub use cosine::{cosine_map_dense, cosine_maps, cosine_maps_blend};
pub use enlarged::{enlarged_argmax, enlarged_cross_entropy};
pub use group_norm::group_norm_relu;
pub use orthogonal::{Decomposition, orthogonal_decompose, projections, residual, unit_prototypes};
pub use pairs::QueryPairs;
pub use pool::{avg_pool2d, max_pool2d};
pub use pooling::{masked_average_pool, masked_average_pool_at_mask_size};
pub use resize::{Corners, bilinear_matrix, nearest_indices, resize_bilinear, resize_nearest};
pub use self_support::{SelfSupport, SelfSupportConfig, self_support, self_support_ways};
