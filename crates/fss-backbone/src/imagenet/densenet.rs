//! DenseNet-121 up to its third dense block.

use burn::module::Module;
use burn::tensor::{Device, Tensor, activation::relu};
use fss_kernels::{Activation, ConvGeometry, avg_pool2d, conv2d_fused};

use super::network::ImagenetFeatures;
use crate::block::{Conv2d, ConvUnit};
use crate::init::Init;
use crate::norm::FrozenBatchNorm2d;
use crate::pass::TrainingPass;
use crate::resnet::max_pool;

/// Layers of the dense blocks.
pub(super) const LAYERS: [usize; 3] = [6, 12, 24];

/// Channels of a layer's inner maps as multiples of the growth.
const BOTTLENECK: usize = 4;

const POINTWISE: ConvGeometry = ConvGeometry { stride: 1, padding: 0, dilation: 1 };

/// A DenseNet whose features are the concatenations that leave its dense blocks, neither normalised
/// nor rectified. The pooling between the second and the third block is left out.
#[derive(Module, Debug)]
pub(super) struct ImagenetDenseNet {
    stem: ConvUnit,
    block1: Vec<DenseLayer>,
    transition1: Transition,
    block2: Vec<DenseLayer>,
    transition2: Transition,
    block3: Vec<DenseLayer>,
}

/// Norm, ReLU, 1x1 convolution, norm, ReLU, 3x3 convolution: what a layer adds to its input.
#[derive(Module, Debug)]
struct DenseLayer {
    norm: FrozenBatchNorm2d,
    /// The 1x1 convolution and the norm behind it.
    reduce: ConvUnit,
    grow: Conv2d,
}

/// Norm, ReLU and a 1x1 convolution to half of the channels.
#[derive(Module, Debug)]
struct Transition {
    norm: FrozenBatchNorm2d,
    conv: Conv2d,
}

impl ImagenetDenseNet {
    /// `width` must be even.
    pub(super) fn new(init: &Init<'_>, width: usize) -> Self {
        let growth = width / 2;
        let mut channels = width;
        let mut block = |number: usize| {
            let count = LAYERS[number - 1];
            let layers = (0..count).map(|i| {
                let key = format!("denseblock{number}.denselayer{}", i + 1);
                DenseLayer::new(init, &key, channels + i * growth, growth)
            });
            let layers: Vec<DenseLayer> = layers.collect();
            channels += count * growth;
            let transition = Transition::new(init, &format!("transition{number}"), channels);
            channels /= 2;
            (layers, transition)
        };
        let (block1, transition1) = block(1);
        let (block2, transition2) = block(2);
        let (block3, _) = block(3); // the transition behind it leads to what was cut off
        let stem = ConvGeometry { stride: 2, padding: 3, dilation: 1 };
        let stem = ConvUnit::new(init, "conv0.weight", [3, width, 7], stem);
        Self { stem, block1, transition1, block2, transition2, block3 }
    }

    pub(super) fn forward(&self, images: Tensor<4>) -> ImagenetFeatures {
        let run = |block: &[DenseLayer], x| grown(block, x, |layer, x| layer.forward(x));
        let x = max_pool(self.stem.apply(images, None, Activation::Relu));
        let level1 = run(&self.block1, x);
        let x = halved(relu(self.transition1.norm.forward(level1.clone())));
        let level2 = run(&self.block2, convolved(&self.transition1.conv, x));
        let x = relu(self.transition2.norm.forward(level2.clone()));
        let level3 = run(&self.block3, convolved(&self.transition2.conv, x));
        ImagenetFeatures { level1, level2, level3 }
    }

    pub(super) fn forward_training(
        &self,
        images: Tensor<4>,
        pass: &mut TrainingPass,
    ) -> ImagenetFeatures {
        let x = max_pool(self.stem.forward_training(images, None, Activation::Relu, pass));
        let level1 = grown(&self.block1, x, |layer, x| layer.forward_training(x, pass));
        let x = halved(relu(pass.normalise(&self.transition1.norm, level1.clone())));
        let x = convolved_in(pass, &self.transition1.conv, x);
        let level2 = grown(&self.block2, x, |layer, x| layer.forward_training(x, pass));
        let x = relu(pass.normalise(&self.transition2.norm, level2.clone()));
        let x = convolved_in(pass, &self.transition2.conv, x);
        let level3 = grown(&self.block3, x, |layer, x| layer.forward_training(x, pass));
        ImagenetFeatures { level1, level2, level3 }
    }

    /// All norms in the order in which [`Self::forward_training`] meets them.
    pub(super) fn norms_mut(&mut self) -> Vec<&mut FrozenBatchNorm2d> {
        let Self { stem, block1, transition1, block2, transition2, block3 } = self;
        let mut norms: Vec<_> = stem.norm_mut().into_iter().collect();
        norms.extend(block1.iter_mut().flat_map(DenseLayer::norms_mut));
        norms.push(&mut transition1.norm);
        norms.extend(block2.iter_mut().flat_map(DenseLayer::norms_mut));
        norms.push(&mut transition2.norm);
        norms.extend(block3.iter_mut().flat_map(DenseLayer::norms_mut));
        norms
    }

    /// Merges the norms that follow a convolution. Those in front of one, with a ReLU between, stay.
    pub(super) fn fold(self) -> Self {
        let fold = |block: Vec<DenseLayer>| {
            let layers = block.into_iter();
            layers.map(|layer| DenseLayer { reduce: layer.reduce.fold(), ..layer }).collect()
        };
        Self {
            stem: self.stem.fold(),
            block1: fold(self.block1),
            block2: fold(self.block2),
            block3: fold(self.block3),
            ..self
        }
    }

    pub(super) fn is_folded(&self) -> bool {
        self.stem.is_folded()
    }

    pub(super) fn device(&self) -> Device {
        self.stem.kernel().lazy_device()
    }
}

impl DenseLayer {
    fn new(init: &Init<'_>, key: &str, c_in: usize, growth: usize) -> Self {
        let inner = BOTTLENECK * growth;
        let spatial = ConvGeometry { stride: 1, padding: 1, dilation: 1 };
        let weight = init.kaiming_normal(&format!("{key}.conv2.weight"), [growth, inner, 3, 3]);
        let reduce = format!("{key}.conv1.weight");
        Self {
            norm: FrozenBatchNorm2d::new(c_in, init.device),
            reduce: ConvUnit::new(init, &reduce, [c_in, inner, 1], POINTWISE),
            grow: Conv2d { weight, geometry: spatial },
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = relu(self.norm.forward(x));
        convolved(&self.grow, self.reduce.apply(x, None, Activation::Relu))
    }

    fn forward_training(&self, x: Tensor<4>, pass: &mut TrainingPass) -> Tensor<4> {
        let x = relu(pass.normalise(&self.norm, x));
        let x = self.reduce.forward_training(x, None, Activation::Relu, pass);
        convolved_in(pass, &self.grow, x)
    }

    fn norms_mut(&mut self) -> impl Iterator<Item = &mut FrozenBatchNorm2d> {
        [&mut self.norm].into_iter().chain(self.reduce.norm_mut())
    }
}

impl Transition {
    fn new(init: &Init<'_>, key: &str, c_in: usize) -> Self {
        let weight = init.kaiming_normal(&format!("{key}.conv.weight"), [c_in / 2, c_in, 1, 1]);
        let norm = FrozenBatchNorm2d::new(c_in, init.device);
        Self { norm, conv: Conv2d { weight, geometry: POINTWISE } }
    }
}

/// The input of a block and behind it what each of its layers makes of everything before.
fn grown(
    block: &[DenseLayer],
    x: Tensor<4>,
    mut layer: impl FnMut(&DenseLayer, Tensor<4>) -> Tensor<4>,
) -> Tensor<4> {
    block.iter().fold(x, |x, dense| {
        let new = layer(dense, x.clone());
        Tensor::cat(vec![x, new], 1)
    })
}

/// The average pooling of a transition. It stands before the 1x1 convolution instead of behind it:
/// the two can be swapped, and the convolution then has a quarter of the positions.
fn halved(x: Tensor<4>) -> Tensor<4> {
    avg_pool2d(x, 2, 2)
}

/// A convolution without bias, for inference.
fn convolved(conv: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    let weight = conv.weight.val().without_autodiff();
    let bias = Tensor::zeros([weight.dims()[0]], &x.device());
    conv2d_fused(x, weight, bias, None, conv.geometry, Activation::None)
}

/// A convolution without bias, as the pass has it.
fn convolved_in(pass: &TrainingPass, conv: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    pass.convolve(x, conv.weight.val(), conv.geometry)
}
