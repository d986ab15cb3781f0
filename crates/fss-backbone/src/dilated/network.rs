//! The network: construction and forward passes.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use fss_kernels::{Activation, ConvGeometry};

use super::config::DilatedResNetConfig;
use crate::block::{BlockPlan, ConvUnit, ResidualBlock, Route, layer, run};
use crate::config::BlockKind;
use crate::init::Init;
use crate::norm::follow_autodiff;
use crate::pass::{BatchMoments, TrainingPass};
use crate::resnet::max_pool;

/// Blocks of layer4, whatever the depth.
const LAYER4: usize = 3;

/// A deep-stem ResNet with `layer4`, dilated in place of strided, that keeps its last ReLU
/// (published as "ResNet v2").
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fss_backbone::{Depth, DilatedResNetConfig};
///
/// # #[cfg(feature = "flex")] {
/// let device = Device::flex();
/// let backbone = DilatedResNetConfig::new(Depth::R50).with_width(8).init(&device, 0).fold();
/// let features = backbone.forward(Tensor::zeros([1, 3, 33, 41], &device));
/// assert_eq!(features.layer3.dims(), [1, 128, 5, 6]);
/// assert_eq!(features.layer4.dims(), [1, 256, 5, 6]);
/// # }
/// ```
#[derive(Module, Debug)]
pub struct DilatedResNet {
    pub(super) stem: [ConvUnit; 3],
    layer1: Vec<ResidualBlock>,
    layer2: Vec<ResidualBlock>,
    layer3: Vec<ResidualBlock>,
    layer4: Vec<ResidualBlock>,
    #[module(skip)]
    config: DilatedResNetConfig,
}

/// What heads read.
#[derive(Debug, Clone)]
pub struct DilatedFeatures {
    /// After layer2, `[B, 512, h, w]`.
    pub layer2: Tensor<4>,
    /// After layer3, `[B, 1024, h, w]`.
    pub layer3: Tensor<4>,
    /// After layer4, `[B, 2048, h, w]`.
    pub layer4: Tensor<4>,
}

impl DilatedResNetConfig {
    /// Builds the network with starting values made from `seed` alone: convolutions Kaiming-normal
    /// (fan-out, ReLU gain), norms with scale 1, shift 0, mean 0 and variance 1. On an autodiff
    /// device everything but the running statistics is ready for training.
    pub fn init(&self, device: &Device, seed: u64) -> DilatedResNet {
        let init = Init { seed, device };
        let width = self.base_width();
        let kind = BlockKind::Bottleneck;
        let spatial = |stride| ConvGeometry { stride, padding: 1, dilation: 1 };
        let [n1, n2, n3] = self.depth.blocks();
        let plan = |c_in, planes, (stride, dilation)| BlockPlan {
            kind,
            c_in,
            planes,
            stride,
            dilation,
            activation: Activation::Relu,
        };
        let out = |planes: usize| planes * kind.expansion();
        let [third, fourth] = self.output_stride.layers();
        let blocks = |name, plan: BlockPlan, count| layer(&init, name, &plan, plan.dilation, count);
        let mut network = DilatedResNet {
            stem: [
                ConvUnit::new(&init, "conv1.weight", [3, width, 3], spatial(2)),
                ConvUnit::new(&init, "conv2.weight", [width, width, 3], spatial(1)),
                ConvUnit::new(&init, "conv3.weight", [width, 2 * width, 3], spatial(1)),
            ],
            layer1: blocks("layer1", plan(2 * width, width, (1, 1)), n1),
            layer2: blocks("layer2", plan(out(width), 2 * width, (2, 1)), n2),
            layer3: blocks("layer3", plan(out(2 * width), 4 * width, third), n3),
            layer4: blocks("layer4", plan(out(4 * width), 8 * width, fourth), LAYER4),
            config: *self,
        };
        network.units_mut().for_each(ConvUnit::learn_scale_and_shift);
        network
    }
}

impl DilatedResNet {
    /// Features under the running statistics. They are recorded for a gradient if the images are
    /// under autodiff.
    ///
    /// # Shapes
    /// - images: `[B, 3, H, W]`, normalised
    pub fn forward(&self, images: Tensor<4>) -> DilatedFeatures {
        let mut x = images;
        for unit in &self.stem {
            x = unit.forward(x, None, Activation::Relu, Route::Merged);
        }
        let x = run(&self.layer1, max_pool(x), Route::Merged);
        let layer2 = run(&self.layer2, x, Route::Merged);
        let layer3 = run(&self.layer3, layer2.clone(), Route::Merged);
        let layer4 = run(&self.layer4, layer3.clone(), Route::Merged);
        DilatedFeatures { layer2, layer3, layer4 }
    }

    /// [`Self::forward`] as training has it: norms and precision as the pass says, everything
    /// recorded if the parameters are under autodiff. The moments of the batch are left in the pass,
    /// in the network's order.
    pub fn forward_training(&self, images: Tensor<4>, pass: &mut TrainingPass) -> DilatedFeatures {
        let mut x = follow_autodiff(images, &self.stem[0].kernel().val());
        for unit in &self.stem {
            x = unit.forward_training(x, None, Activation::Relu, pass);
        }
        let mut run =
            |blocks: &[ResidualBlock], x| blocks.iter().fold(x, |x, b| b.forward_training(x, pass));
        let x = run(&self.layer1, max_pool(x));
        let layer2 = run(&self.layer2, x);
        let layer3 = run(&self.layer3, layer2.clone());
        let layer4 = run(&self.layer4, layer3.clone());
        DilatedFeatures { layer2, layer3, layer4 }
    }

    /// Moves the running statistics towards the moments that [`Self::forward_training`] left in a pass.
    pub fn absorb(&mut self, moments: &mut impl Iterator<Item = BatchMoments>) {
        self.units_mut().for_each(|unit| unit.absorb(moments));
    }

    /// Merges every norm into its convolution: the same numbers up to rounding, sooner. For
    /// inference: a folded network cannot be trained, saved or loaded any more.
    #[must_use]
    pub fn fold(mut self) -> Self {
        self.stem = self.stem.map(ConvUnit::fold);
        for layer in self.layers_mut() {
            *layer = std::mem::take(layer).into_iter().map(ResidualBlock::fold).collect();
        }
        self
    }

    /// Whether [`Self::fold`] was called.
    pub fn is_folded(&self) -> bool {
        matches!(self.stem[0], ConvUnit::Folded(_))
    }

    /// What the network was made from.
    pub fn config(&self) -> &DilatedResNetConfig {
        &self.config
    }

    /// The device that the parameters are on.
    pub fn device(&self) -> Device {
        self.stem[0].kernel().lazy_device()
    }

    fn layers_mut(&mut self) -> [&mut Vec<ResidualBlock>; 4] {
        [&mut self.layer1, &mut self.layer2, &mut self.layer3, &mut self.layer4]
    }

    /// Every unit in the order in which a pass meets it.
    fn units_mut(&mut self) -> impl Iterator<Item = &mut ConvUnit> {
        let layers = [&mut self.layer1, &mut self.layer2, &mut self.layer3, &mut self.layer4];
        let blocks = layers.into_iter().flatten();
        self.stem.iter_mut().chain(blocks.flat_map(ResidualBlock::passed_mut))
    }
}
