//! The backbone over its three families.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::config::{ImagenetConfig, ImagenetNetwork};
use super::densenet::ImagenetDenseNet;
use super::official::vgg_places;
use super::resnet::ImagenetResNet;
use super::vgg::ImagenetVgg;
use crate::calibrate::SMALLEST_VARIANCE;
use crate::init::Init;
use crate::norm::FrozenBatchNorm2d;
use crate::pass::{BatchMoments, ComputePrecision, NormSource, TrainingPass};
use crate::weights::module_shapes;

/// A classifier of torchvision without its classifier part, as DENet, CANet, PGNet and AMP read it
/// (Liu et al., "Dynamic Extension Nets for Few-shot Semantic Segmentation", ACM MM 2020).
///
/// Convolutions, scales and shifts are frozen for good, and nothing is recorded for a gradient. The
/// running statistics of its norms are not: in training the published code normalises by the batch,
/// and they move; see [`Self::forward_training`].
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fss_backbone::{ImagenetConfig, ImagenetNetwork};
///
/// # #[cfg(feature = "flex")] {
/// let device = Device::flex();
/// let config = ImagenetConfig::new(ImagenetNetwork::Densenet121).with_width(4);
/// let features = config.init(&device, 0).fold().forward(Tensor::zeros([1, 3, 65, 49], &device));
/// assert_eq!(features.level1.dims(), [1, 16, 17, 13]);
/// assert_eq!(features.level3.dims(), [1, 64, 8, 6]);
/// # }
/// ```
#[derive(Module, Debug)]
pub struct ImagenetBackbone {
    network: Family,
    #[module(skip)]
    config: ImagenetConfig,
    #[module(skip)]
    precision: ComputePrecision,
}

#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // one of them holds the whole network
enum Family {
    Resnet(ImagenetResNet),
    Densenet(ImagenetDenseNet),
    Vgg(ImagenetVgg),
}

/// Three levels of features `[B, C, h, w]`, shallow to deep; see [`ImagenetConfig::channels`] and
/// [`ImagenetConfig::feature_sizes`].
#[derive(Debug, Clone)]
pub struct ImagenetFeatures {
    /// layer1 of a ResNet, the first dense block of DenseNet, pool3 of VGG.
    pub level1: Tensor<4>,
    /// layer2 of a ResNet, the second dense block of DenseNet, pool4 of VGG.
    pub level2: Tensor<4>,
    /// layer3 of a ResNet, the third dense block of DenseNet, pool5 of VGG.
    pub level3: Tensor<4>,
}

impl ImagenetConfig {
    /// Builds the network with starting values made from `seed` alone: convolutions Kaiming-normal
    /// (fan-out, ReLU gain), biases 0, norms with scale 1, shift 0, mean 0 and variance 1.
    pub fn init(&self, device: &Device, seed: u64) -> ImagenetBackbone {
        let init = Init { seed, device };
        let width = self.base_width();
        let resnet = |layer3| Family::Resnet(ImagenetResNet::new(&init, width, [3, 4, layer3, 3]));
        let vgg = |norms| Family::Vgg(ImagenetVgg::new(&init, width, vgg_places(norms), norms));
        let network = match self.network {
            ImagenetNetwork::Resnet50 => resnet(6),
            ImagenetNetwork::Resnet101 => resnet(23),
            ImagenetNetwork::Densenet121 => Family::Densenet(ImagenetDenseNet::new(&init, width)),
            ImagenetNetwork::Vgg16 => vgg(false),
            ImagenetNetwork::Vgg16Bn => vgg(true),
        };
        ImagenetBackbone { network, config: *self, precision: ComputePrecision::Full }.no_grad()
    }
}

impl ImagenetBackbone {
    /// Features of a batch of normalised images under the running statistics.
    ///
    /// Those of ResNets and VGG are rectified, those of DenseNet are raw concatenations. The result
    /// lies outside autodiff, whatever device the network is on. On the CPU a batch gives each image
    /// the numbers that it gets alone.
    ///
    /// # Shapes
    /// - images: `[B, 3, H, W]`
    ///
    /// # Panics
    /// If the image is smaller than [`ImagenetConfig::check_image`] allows.
    pub fn forward(&self, images: Tensor<4>) -> ImagenetFeatures {
        let images = images.without_autodiff();
        match &self.network {
            Family::Resnet(network) => network.forward(images),
            Family::Densenet(network) => network.forward(images),
            Family::Vgg(network) => network.forward(images),
        }
    }

    /// What layer4 of a ResNet makes of [`ImagenetFeatures::level3`], under the running statistics; no
    /// head reads it. `None` for the other networks.
    ///
    /// # Shapes
    /// - level3: `[B, 1024, h, w]`
    /// - output: `[B, 2048, h, w]`
    pub fn layer4(&self, level3: Tensor<4>) -> Option<Tensor<4>> {
        match &self.network {
            Family::Resnet(network) => Some(network.layer4(level3.without_autodiff())),
            Family::Densenet(_) | Family::Vgg(_) => None,
        }
    }

    /// [`Self::forward`] as training has it: norms and precision as the pass says. The published code normalises by
    /// the batch although nothing here is trained, and the running statistics that it keeps for
    /// evaluation drift from those of ImageNet. The moments of the batch are left in the pass, in the
    /// order in which [`Self::absorb`] takes them. A pass that normalises by the batch goes through
    /// layer4 of a ResNet, too: nobody reads it, but its statistics are in the published checkpoints.
    ///
    /// A folded network computes as ever. The result lies outside autodiff.
    ///
    /// # Shapes
    /// - images: `[B, 3, H, W]`
    pub fn forward_training(&self, images: Tensor<4>, pass: &mut TrainingPass) -> ImagenetFeatures {
        if self.is_folded() {
            return self.forward(images);
        }
        let images = images.without_autodiff();
        // With the rest of a model the parameters may have been put under autodiff.
        match self.network.valid() {
            Family::Resnet(network) => network.forward_training(images, pass),
            Family::Densenet(network) => network.forward_training(images, pass),
            Family::Vgg(network) => network.forward_training(images, pass),
        }
    }

    /// Sets in which precision training convolves: what a pass through it is to be made with. Inference
    /// ([`Self::forward`]) computes in full precision.
    #[must_use]
    pub fn with_precision(mut self, precision: ComputePrecision) -> Self {
        self.precision = precision;
        self
    }

    /// In which precision training convolves.
    pub fn precision(&self) -> ComputePrecision {
        self.precision
    }

    /// Moves the running statistics towards the moments that [`Self::forward_training`] left in a pass.
    /// A step that goes through the network twice calls this once for each, in the same order.
    pub fn absorb(&mut self, moments: &mut impl Iterator<Item = BatchMoments>) {
        for (norm, moments) in self.norms_mut().into_iter().zip(moments) {
            norm.absorb(moments);
        }
    }

    /// Sets the running means and variances of all norms from a batch of normalised images, for a
    /// network of random convolutions: every norm then sees zero mean and unit variance (divided by
    /// n - 1) on these images. VGG-16 has no norms, and a folded network none left: both come back
    /// unchanged.
    ///
    /// # Shapes
    /// - images: `[B, 3, H, W]`, B >= 1
    #[must_use]
    pub fn calibrate_norms(mut self, images: Tensor<4>) -> Self {
        if self.is_folded() {
            tracing::warn!("calibrate_norms: the backbone is folded, nothing to calibrate");
            return self;
        }
        let mut pass = TrainingPass::new(NormSource::Batch, ComputePrecision::Full);
        self.forward_training(images, &mut pass);
        for (norm, BatchMoments { mean, variance }) in
            self.norms_mut().into_iter().zip(pass.into_moments())
        {
            let still = variance.clone().lower_elem(SMALLEST_VARIANCE);
            norm.set_statistics(mean, variance.mask_fill(still, 1.0));
        }
        self
    }

    /// All norms in the order in which a pass meets them.
    fn norms_mut(&mut self) -> Vec<&mut FrozenBatchNorm2d> {
        match &mut self.network {
            Family::Resnet(network) => network.norms_mut(),
            Family::Densenet(network) => network.norms_mut(),
            Family::Vgg(network) => network.norms_mut(),
        }
    }

    /// Merges norms into the convolutions before them: the same numbers up to rounding, sooner.
    /// DenseNet keeps the norms that stand before a ReLU and its convolution. A folded network is for
    /// inference: it cannot be trained, saved or loaded any more. VGG-16 has no norms and stays as
    /// it is.
    #[must_use]
    pub fn fold(self) -> Self {
        let network = match self.network {
            Family::Resnet(network) => Family::Resnet(network.fold()),
            Family::Densenet(network) => Family::Densenet(network.fold()),
            Family::Vgg(network) => Family::Vgg(network.fold()),
        };
        Self { network, ..self }
    }

    /// Whether norms were merged by [`Self::fold`].
    pub fn is_folded(&self) -> bool {
        match &self.network {
            Family::Resnet(network) => network.is_folded(),
            Family::Densenet(network) => network.is_folded(),
            Family::Vgg(network) => {
                self.config.network == ImagenetNetwork::Vgg16Bn && !network.has_norms()
            }
        }
    }

    /// What the network was made from.
    pub fn config(&self) -> &ImagenetConfig {
        &self.config
    }

    /// Which classifier it is.
    pub fn network(&self) -> ImagenetNetwork {
        self.config.network
    }

    /// The device that the parameters are on.
    pub fn device(&self) -> Device {
        match &self.network {
            Family::Resnet(network) => network.device(),
            Family::Densenet(network) => network.device(),
            Family::Vgg(network) => network.device(),
        }
    }

    /// Number of values that are not buffers: 23.508 M for ResNet-50 (layer4 included), 4.267 M for
    /// DenseNet-121 and 14.715 M for VGG-16.
    pub fn parameter_count(&self) -> usize {
        let shapes = module_shapes(self).into_iter();
        let trained = shapes.filter(|(key, _)| !key.contains(".running_"));
        trained.map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }
}
