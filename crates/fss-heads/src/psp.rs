//! The pyramid pooling decoder of PSPNet (CVPR 2017) as POP has it.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation::relu};
use fss_backbone::{BatchMoments, ConvUnit, OfficialKeys, TrainingPass};
use fss_kernels::{Activation, ConvGeometry, conv2d_fused};

use crate::layers::Convolution;
use crate::pyramid;

/// Sides of the pooled maps.
pub const POOL_SIDES: [usize; 4] = [1, 2, 3, 6];

/// Geometry of the bottleneck.
const SPATIAL: ConvGeometry = ConvGeometry { stride: 1, padding: 1, dilation: 1 };

/// Pools features to maps of 1x1, 2x2, 3x3 and 6x6, narrows each, and mixes them, enlarged again,
/// with the features themselves.
///
/// The published form enlarges the pooled maps, concatenates them with the features and convolves the
/// whole. Here the convolution is taken apart: over the features it is an ordinary one; over an
/// enlarged map of s x s values it is a linear map of these few values, which costs next to nothing.
/// The concatenation is never made, and half of the products are saved. The sums are the same.
#[derive(Module, Debug)]
pub struct PspModule {
    /// One narrowing convolution (1x1) a pooled map.
    pub stages: Vec<ConvUnit>,
    /// The 3x3 convolution over pooled maps and features.
    pub bottleneck: Bottleneck,
    /// The 1x1 convolution at the end, with bias and without activation.
    pub last: Convolution,
    #[module(skip)]
    sides: Vec<usize>,
}

/// The 3x3 convolution of a [`PspModule`], with its norm.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // there is one
pub enum Bottleneck {
    /// As files have it: kernel `[O, 4 O + C, 3, 3]`, the pooled maps' channels first.
    Whole(ConvUnit),
    /// Taken apart and merged with the norm, for inference.
    Split(SplitBottleneck),
}

/// A [`Bottleneck`] taken apart.
#[derive(Module, Debug)]
pub struct SplitBottleneck {
    /// Kernel over the features `[O, C, 3, 3]`.
    features: Param<Tensor<4>>,
    /// Kernels over the pooled maps, see [`pyramid::tap_matrix`].
    maps: Vec<Param<Tensor<2>>>,
    /// Bias `[O]`.
    bias: Param<Tensor<1>>,
}

impl PspModule {
    /// PyTorch's starting values, from `seed` alone: C channels of features to `outputs`.
    pub fn new(features: usize, outputs: usize, seed: u64, device: &Device) -> Self {
        Self::with_sides(&POOL_SIDES, features, outputs, seed, device)
    }

    /// [`Self::new`] with pooled maps of other sides than the published ones.
    pub fn with_sides(
        sides: &[usize],
        features: usize,
        outputs: usize,
        seed: u64,
        device: &Device,
    ) -> Self {
        let unit = |key: &str, shape, geometry| {
            ConvUnit::uniform(&format!("decoder.{key}.weight"), shape, geometry, seed, device)
        };
        let stage = |i: usize| {
            unit(&format!("stages.{i}.1"), [features, outputs, 1], ConvGeometry::POINTWISE)
        };
        let mixed = sides.len() * outputs + features;
        Self {
            stages: (0..sides.len()).map(stage).collect(),
            bottleneck: Bottleneck::Whole(unit("bottleneck.0", [mixed, outputs, 3], SPATIAL)),
            last: Convolution::new("decoder.bottleneck.3", [outputs, outputs, 1], seed, device),
            sides: sides.to_vec(),
        }
    }

    /// Decoder features under the running statistics; recorded for a gradient if `x` is under
    /// autodiff.
    ///
    /// # Shapes
    /// - x: `[B, C, h, w]`
    /// - output: `[B, O, h, w]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let pooled = pyramid::pool(x.clone(), &self.sides);
        let narrowed: Vec<Tensor<4>> = pooled
            .into_iter()
            .zip(&self.stages)
            .map(|(map, unit)| unit.apply(map, None, Activation::Relu))
            .collect();
        let [_, _, height, width] = x.dims();
        let size = [height, width];
        let mixed = match &self.bottleneck {
            Bottleneck::Split(split) => {
                let maps = split.maps.iter().map(|map| map.val().without_autodiff());
                let enlarged = pyramid::convolve_enlarged(narrowed, maps.collect(), size);
                let weight = split.features.val().without_autodiff();
                let bias = split.bias.val().without_autodiff();
                conv2d_fused(x, weight, bias, Some(enlarged), SPATIAL, Activation::Relu)
            }
            Bottleneck::Whole(unit) => {
                let (weight, bias) = unit.merged();
                let (weight, bias) = (beside(weight, &x), beside(bias, &x));
                let (maps, weight) = taken_apart(weight, &narrowed);
                let enlarged = pyramid::convolve_enlarged(narrowed, maps, size);
                conv2d_fused(x, weight, bias, Some(enlarged), SPATIAL, Activation::Relu)
            }
        };
        let weight = beside(self.last.weight.val(), &mixed);
        let bias = beside(self.last.bias.val(), &mixed);
        conv2d_fused(mixed, weight, bias, None, ConvGeometry::POINTWISE, Activation::None)
    }

    /// [`Self::forward`] as training has it: norms and precision as the pass says. A folded decoder
    /// has nothing to train and computes as ever.
    pub fn forward_training(&self, x: Tensor<4>, pass: &mut TrainingPass) -> Tensor<4> {
        let Bottleneck::Whole(ConvUnit::Separate(unit)) = &self.bottleneck else {
            return self.forward(x);
        };
        let pooled = pyramid::pool(x.clone(), &self.sides);
        let narrowed: Vec<Tensor<4>> = pooled
            .into_iter()
            .zip(&self.stages)
            .map(|(map, unit)| unit.forward_training(map, None, Activation::Relu, pass))
            .collect();
        let [_, _, height, width] = x.dims();
        let (maps, weight) = taken_apart(unit.conv.weight.val(), &narrowed);
        let enlarged = pyramid::convolve_enlarged(narrowed, maps, [height, width]);
        let sum = pass.convolve(x, weight, SPATIAL) + enlarged;
        let mixed = relu(pass.normalise(&unit.norm, sum));
        self.last.forward(mixed, Activation::None)
    }

    /// Moves the running statistics towards the moments that [`Self::forward_training`] left in a
    /// pass.
    pub fn absorb(&mut self, moments: &mut impl Iterator<Item = BatchMoments>) {
        self.stages.iter_mut().for_each(|unit| unit.absorb(moments));
        if let Bottleneck::Whole(unit) = &mut self.bottleneck {
            unit.absorb(moments);
        }
    }

    /// The decoder for inference: norms merged, the bottleneck taken apart. It cannot be trained,
    /// saved or loaded any more.
    #[must_use]
    pub fn fold(self) -> Self {
        let Bottleneck::Whole(unit) = self.bottleneck else { return self };
        let stages: Vec<ConvUnit> = self.stages.into_iter().map(ConvUnit::fold).collect();
        let (weight, bias) = unit.merged();
        let (weight, bias) = (weight.without_autodiff(), bias.without_autodiff());
        let constant = |x: Tensor<2>| Param::from_tensor(x).set_require_grad(false);
        let outputs = weight.dims()[0];
        let parts = (0..stages.len()).map(|i| weight.clone().narrow(1, i * outputs, outputs));
        let maps = parts.map(|part| constant(pyramid::tap_matrix(part))).collect();
        let offset = stages.len() * outputs;
        let features = weight.clone().narrow(1, offset, weight.dims()[1] - offset);
        let features = Param::from_tensor(features).set_require_grad(false);
        let bias = Param::from_tensor(bias).set_require_grad(false);
        let bottleneck = Bottleneck::Split(SplitBottleneck { features, maps, bias });
        Self { stages, bottleneck, ..self }
    }

    /// Whether [`Self::fold`] was called.
    pub fn is_folded(&self) -> bool {
        matches!(self.bottleneck, Bottleneck::Split(_))
    }

    /// Channels C of the features that it reads.
    pub fn inputs(&self) -> usize {
        let kernel = match &self.stages[0] {
            ConvUnit::Separate(unit) => unit.conv.weight.lazy_shape(),
            ConvUnit::Folded(conv) => conv.weight.lazy_shape(),
        };
        kernel[1]
    }
}

impl OfficialKeys for PspModule {
    /// Keys as the official files have them after `decoder.`.
    fn official_key(path: &str) -> String {
        let key = match field_names(path)[..] {
            ["stages", i, ref rest @ ..] => unit_key(&format!("stages.{i}."), 1, rest),
            ["bottleneck", ref rest @ ..] => unit_key("bottleneck.", 0, rest),
            ["last", name] => Some(format!("bottleneck.3.{name}")),
            _ => None,
        };
        key.unwrap_or_else(|| path.to_owned())
    }

    fn describe(&self) -> String {
        format!("a PSP decoder of {} channels", self.inputs())
    }

    fn is_folded(&self) -> bool {
        Self::is_folded(self)
    }
}

/// The names of fields and indices in a path; variants of enums are states of a network and no names
/// in a file.
pub(crate) fn field_names(path: &str) -> Vec<&str> {
    path.split('.').filter(|name| !name.starts_with(char::is_uppercase)).collect()
}

/// A parameter of a convolution with number `i` of a sequence and the norm after it.
pub(crate) fn unit_key(place: &str, i: usize, names: &[&str]) -> Option<String> {
    match names {
        ["conv", name] => Some(format!("{place}{i}.{name}")),
        ["norm", name] => Some(format!("{place}{}.{name}", i + 1)),
        _ => None,
    }
}

/// A bottleneck's kernel `[O, 4 O + C, 3, 3]` as one matrix for each pooled map, and the kernel over
/// the features `[O, C, 3, 3]`.
fn taken_apart(weight: Tensor<4>, narrowed: &[Tensor<4>]) -> (Vec<Tensor<2>>, Tensor<4>) {
    let mut offset = 0;
    let mut maps = Vec::with_capacity(narrowed.len());
    for map in narrowed {
        let channels = map.dims()[1];
        maps.push(pyramid::tap_matrix(weight.clone().narrow(1, offset, channels)));
        offset += channels;
    }
    let rest = weight.dims()[1] - offset;
    (maps, weight.narrow(1, offset, rest))
}

/// `parameter` outside autodiff if `x` is, so that nothing is recorded.
fn beside<const D: usize>(parameter: Tensor<D>, x: &Tensor<4>) -> Tensor<D> {
    if x.is_autodiff() { parameter } else { parameter.without_autodiff() }
}
