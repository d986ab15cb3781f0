//! Torchvision's bottleneck ResNets with dilation in place of the strides of layer3 and layer4.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use fss_kernels::{Activation, ConvGeometry};

use super::network::ImagenetFeatures;
use crate::block::{BlockPlan, ConvUnit, ResidualBlock, Route, layer, run};
use crate::config::BlockKind;
use crate::init::Init;
use crate::norm::FrozenBatchNorm2d;
use crate::pass::{NormSource, TrainingPass};
use crate::resnet::max_pool;

/// Stride of the first block, its dilation, and the dilation of all further blocks, of each layer.
const GEOMETRY: [(usize, usize, usize); 4] = [(1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 2, 4)];

/// A ResNet whose features are those of its first three layers.
#[derive(Module, Debug)]
pub(super) struct ImagenetResNet {
    stem: ConvUnit,
    layer1: Vec<ResidualBlock>,
    layer2: Vec<ResidualBlock>,
    layer3: Vec<ResidualBlock>,
    layer4: Vec<ResidualBlock>,
}

impl ImagenetResNet {
    pub(super) fn new(init: &Init<'_>, width: usize, blocks: [usize; 4]) -> Self {
        let kind = BlockKind::Bottleneck;
        let layer = |number: usize| {
            let planes = width << (number - 1);
            let c_in = if number == 1 { width } else { planes / 2 * kind.expansion() };
            let (stride, dilation, later) = GEOMETRY[number - 1];
            let activation = Activation::Relu;
            let plan = BlockPlan { kind, c_in, planes, stride, dilation, activation };
            layer(init, &format!("layer{number}"), &plan, later, blocks[number - 1])
        };
        let stem = ConvGeometry { stride: 2, padding: 3, dilation: 1 };
        Self {
            stem: ConvUnit::new(init, "conv1.weight", [3, width, 7], stem),
            layer1: layer(1),
            layer2: layer(2),
            layer3: layer(3),
            layer4: layer(4),
        }
    }

    pub(super) fn forward(&self, images: Tensor<4>) -> ImagenetFeatures {
        let x = max_pool(self.stem.apply(images, None, Activation::Relu));
        let level1 = run(&self.layer1, x, Route::Merged);
        let level2 = run(&self.layer2, level1.clone(), Route::Merged);
        let level3 = run(&self.layer3, level2.clone(), Route::Merged);
        ImagenetFeatures { level1, level2, level3 }
    }

    pub(super) fn layer4(&self, level3: Tensor<4>) -> Tensor<4> {
        run(&self.layer4, level3, Route::Merged)
    }

    pub(super) fn forward_training(
        &self,
        images: Tensor<4>,
        pass: &mut TrainingPass,
    ) -> ImagenetFeatures {
        let x = max_pool(self.stem.forward_training(images, None, Activation::Relu, pass));
        let mut run =
            |blocks: &[ResidualBlock], x| blocks.iter().fold(x, |x, b| b.forward_training(x, pass));
        let level1 = run(&self.layer1, x);
        let level2 = run(&self.layer2, level1.clone());
        let level3 = run(&self.layer3, level2.clone());
        if pass.norms() == NormSource::Batch {
            // Nobody reads layer4, but its statistics move all the same.
            let _ = self.layer4.iter().fold(level3.clone(), |x, b| b.forward_training(x, pass));
        }
        ImagenetFeatures { level1, level2, level3 }
    }

    /// All norms in the order in which [`Self::forward_training`] meets them.
    pub(super) fn norms_mut(&mut self) -> Vec<&mut FrozenBatchNorm2d> {
        let layers = [&mut self.layer1, &mut self.layer2, &mut self.layer3, &mut self.layer4];
        let blocks = layers.into_iter().flatten();
        let units = [&mut self.stem].into_iter().chain(blocks.flat_map(ResidualBlock::passed_mut));
        units.filter_map(ConvUnit::norm_mut).collect()
    }

    pub(super) fn fold(self) -> Self {
        let fold = |layer: Vec<ResidualBlock>| layer.into_iter().map(ResidualBlock::fold).collect();
        Self {
            stem: self.stem.fold(),
            layer1: fold(self.layer1),
            layer2: fold(self.layer2),
            layer3: fold(self.layer3),
            layer4: fold(self.layer4),
        }
    }

    pub(super) fn is_folded(&self) -> bool {
        self.stem.is_folded()
    }

    pub(super) fn device(&self) -> Device {
        self.stem.kernel().lazy_device()
    }
}
