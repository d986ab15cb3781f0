//! The backbone over its two families.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::config::{TapBackboneConfig, TapNetwork};
use super::resnet::TapResNet;
use super::vgg::TapVgg;
use crate::block::Route;
use crate::init::Init;
use crate::pass::ComputePrecision;
use crate::weights::module_shapes;

/// A classifier of torchvision without its classifier part, tapped at every depth that HSNet and IMR
/// look at. It is frozen for good: norms use their running statistics, and nothing is recorded for
/// a gradient.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fss_backbone::{TapBackboneConfig, TapNetwork};
///
/// # #[cfg(feature = "flex")] {
/// let device = Device::flex();
/// let config = TapBackboneConfig::new(TapNetwork::Resnet50).with_width(4);
/// let taps = config.init(&device, 0).fold().forward(Tensor::zeros([1, 3, 65, 49], &device));
/// assert_eq!(taps.len(), 13);
/// assert_eq!(taps[0].dims(), [1, 32, 9, 7]);
/// assert_eq!(taps[12].dims(), [1, 128, 3, 2]);
/// # }
/// ```
#[derive(Module, Debug)]
pub struct TapBackbone {
    network: Family,
    #[module(skip)]
    config: TapBackboneConfig,
    #[module(skip)]
    precision: ComputePrecision,
}

#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // one of them holds the whole network
enum Family {
    Resnet(TapResNet),
    Vgg(TapVgg),
}

impl TapBackboneConfig {
    /// Builds the network with starting values made from `seed` alone: convolutions Kaiming-normal
    /// (fan-out, ReLU gain), biases 0, norms with scale 1, shift 0, mean 0 and variance 1.
    pub fn init(&self, device: &Device, seed: u64) -> TapBackbone {
        let init = Init { seed, device };
        let width = self.base_width();
        let network = match self.network.blocks() {
            Some(blocks) => Family::Resnet(TapResNet::new(&init, width, blocks)),
            None => Family::Vgg(TapVgg::new(&init, width)),
        };
        TapBackbone { network, config: *self, precision: ComputePrecision::Full }.no_grad()
    }
}

impl TapBackbone {
    /// All taps, shallow to deep, of a batch of normalised images: [`TapNetwork::taps`] says how
    /// many each pyramid level has.
    ///
    /// A ResNet's tap is a block's output plus its shortcut before the block's last ReLU. VGG's taps
    /// are the convolutions of its last two groups before their ReLU, and the last max-pooling
    /// (of rectified values).
    ///
    /// The result lies outside autodiff, whatever device the network is on. On the CPU a batch gives
    /// each image the numbers that it gets alone.
    ///
    /// # Shapes
    /// - images: `[B, 3, H, W]`
    /// - each tap: `[B, C, h, w]`, see [`TapBackboneConfig::channels`] and
    ///   [`TapBackboneConfig::feature_sizes`]
    ///
    /// # Panics
    /// If the image is smaller than [`TapBackboneConfig::check_image`] allows.
    pub fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        let images = images.without_autodiff();
        match &self.network {
            Family::Resnet(network) => network.taps(images, Route::MergedIn(self.precision)),
            Family::Vgg(network) => network.taps(images, self.precision),
        }
    }

    /// Merges every norm into its convolution: the same numbers up to rounding, sooner. A folded
    /// ResNet cannot be saved or loaded any more. VGG has no norms and stays as it is, but computes in
    /// full precision, too.
    #[must_use]
    pub fn fold(self) -> Self {
        let network = match self.network {
            Family::Resnet(network) => Family::Resnet(network.fold()),
            vgg @ Family::Vgg(_) => vgg,
        };
        Self { network, config: self.config, precision: ComputePrecision::Full }
    }

    /// Sets in which precision it convolves.
    /// [`Self::fold`] sets it back.
    #[must_use]
    pub fn with_precision(mut self, precision: ComputePrecision) -> Self {
        self.precision = precision;
        self
    }

    /// In which precision it convolves.
    pub fn precision(&self) -> ComputePrecision {
        self.precision
    }

    /// Sets the running means and variances of all norms from a batch of normalised images, for a
    /// network of random convolutions; see
    /// [`DeepStemResNet::calibrate_norms`](crate::DeepStemResNet::calibrate_norms). VGG has no norms,
    /// and a folded network none left: both come back unchanged.
    ///
    /// # Shapes
    /// - images: `[B, 3, H, W]`, B >= 1
    #[must_use]
    pub fn calibrate_norms(self, images: Tensor<4>) -> Self {
        if self.is_folded() {
            tracing::warn!("calibrate_norms: the backbone is folded, nothing to calibrate");
            return self;
        }
        let network = match self.network {
            Family::Resnet(network) => Family::Resnet(network.calibrate(images.without_autodiff())),
            vgg @ Family::Vgg(_) => vgg,
        };
        Self { network, ..self }
    }

    /// Whether norms were merged by [`TapBackbone::fold`].
    pub fn is_folded(&self) -> bool {
        match &self.network {
            Family::Resnet(network) => network.is_folded(),
            Family::Vgg(_) => false,
        }
    }

    /// What the network was made from.
    pub fn config(&self) -> &TapBackboneConfig {
        &self.config
    }

    /// Which classifier it is.
    pub fn network(&self) -> TapNetwork {
        self.config.network
    }

    /// The device that the parameters are on.
    pub fn device(&self) -> Device {
        match &self.network {
            Family::Resnet(network) => network.device(),
            Family::Vgg(network) => network.device(),
        }
    }

    /// Number of values that are not buffers: 23.508 M for ResNet-50, 42.500 M for ResNet-101 and
    /// 14.715 M for VGG-16.
    pub fn parameter_count(&self) -> usize {
        let shapes = module_shapes(self).into_iter();
        let trained = shapes.filter(|(key, _)| !key.contains(".running_"));
        trained.map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }
}
