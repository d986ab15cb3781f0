//! Torchvision's bottleneck ResNets: 7x7 stem, four layers, the stride on the 3x3 convolution.

use burn::module::Module;
use burn::tensor::{Device, Tensor, activation::relu};
use fss_kernels::{Activation, ConvGeometry};

use crate::block::{BlockPlan, ConvUnit, ResidualBlock, Route, layer, run};
use crate::calibrate::{calibrate_block, calibrate_unit};
use crate::config::BlockKind;
use crate::init::Init;
use crate::resnet::max_pool;

/// A ResNet whose blocks from layer2 on are tapped.
#[derive(Module, Debug)]
pub(super) struct TapResNet {
    stem: ConvUnit,
    layer1: Vec<ResidualBlock>,
    layer2: Vec<ResidualBlock>,
    layer3: Vec<ResidualBlock>,
    layer4: Vec<ResidualBlock>,
}

impl TapResNet {
    pub(super) fn new(init: &Init<'_>, width: usize, blocks: [usize; 4]) -> Self {
        let kind = BlockKind::Bottleneck;
        let layer = |number: usize| {
            let planes = width << (number - 1);
            let (c_in, stride) = match number {
                1 => (width, 1),
                _ => (planes / 2 * kind.expansion(), 2),
            };
            let activation = Activation::Relu;
            let plan = BlockPlan { kind, c_in, planes, stride, dilation: 1, activation };
            layer(init, &format!("layer{number}"), &plan, 1, blocks[number - 1])
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

    /// The sum of branch and shortcut of every block of layer2, layer3 and layer4.
    pub(super) fn taps(&self, images: Tensor<4>, route: Route) -> Vec<Tensor<4>> {
        let x = max_pool(self.stem.forward(images, None, Activation::Relu, route));
        let mut x = run(&self.layer1, x, route);
        let tapped = self.layer2.iter().chain(&self.layer3).chain(&self.layer4);
        let mut taps: Vec<Tensor<4>> = Vec::new();
        for block in tapped {
            if let Some(last) = taps.last() {
                x = relu(last.clone());
            }
            taps.push(block.forward_with(x.clone(), Activation::None, route));
        }
        taps
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

    /// See [`DeepStemResNet::calibrate_norms`](crate::DeepStemResNet::calibrate_norms).
    pub(super) fn calibrate(mut self, images: Tensor<4>) -> Self {
        let mut x = max_pool(calibrate_unit(&mut self.stem, images, None, Activation::Relu));
        for layer in [&mut self.layer1, &mut self.layer2, &mut self.layer3, &mut self.layer4] {
            for block in layer {
                x = calibrate_block(block, x);
            }
        }
        self
    }

    pub(super) fn is_folded(&self) -> bool {
        matches!(self.stem, ConvUnit::Folded(_))
    }

    pub(super) fn device(&self) -> Device {
        self.stem.kernel().lazy_device()
    }
}
