//! Gradients.
//!
//! The default bodies are differentiable as they stand. Three things are done better here: what tracks no
//! gradient runs on the inner back end's own kernels; the adaptive prototype has a backward step that
//! makes its weights again instead of keeping an N x N matrix between the passes; and a fused convolution runs
//! as such in both directions, keeping no more than the gradients that are asked for need.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, TensorMetadata};
use burn::tensor::Shape;

use crate::backend::MatchingBackend;
use crate::conv::{Activation, ConvGeometry, Residual};
use crate::conv4d::{self, PivotGeometry};
use crate::ops::{dims, float_dtype, reshape};
use crate::resize::{self, Corners};
use crate::self_support::{self, SelfSupportConfig};
use crate::{correlation, cosine, group_norm, pairs, pool};

impl<B: MatchingBackend, C: CheckpointStrategy> MatchingBackend for Autodiff<B, C> {
    fn resize_bilinear(
        x: FloatTensor<Self>,
        size: [usize; 2],
        corners: Corners,
    ) -> FloatTensor<Self> {
        if x.is_tracked() {
            return resize::bilinear_by_products::<Self>(x, size, corners);
        }
        FloatTensor::<Self>::new(B::resize_bilinear(x.into_primitive(), size, corners))
    }

    fn resize_nearest(x: FloatTensor<Self>, size: [usize; 2]) -> FloatTensor<Self> {
        if x.is_tracked() {
            return resize::nearest_by_select::<Self>(x, size);
        }
        FloatTensor::<Self>::new(B::resize_nearest(x.into_primitive(), size))
    }

    fn cosine_maps(
        features: FloatTensor<Self>,
        prototypes: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        if features.is_tracked() || prototypes.is_tracked() {
            return cosine::maps_by_product::<Self>(features, prototypes);
        }
        let maps = B::cosine_maps(features.into_primitive(), prototypes.into_primitive());
        FloatTensor::<Self>::new(maps)
    }

    fn cosine_map_dense(
        features: FloatTensor<Self>,
        prototype_map: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        if features.is_tracked() || prototype_map.is_tracked() {
            return cosine::dense_by_product::<Self>(features, prototype_map);
        }
        let map = B::cosine_map_dense(features.into_primitive(), prototype_map.into_primitive());
        FloatTensor::<Self>::new(map)
    }

    fn cosine_maps_blend(
        features: FloatTensor<Self>,
        prototypes: FloatTensor<Self>,
        map: FloatTensor<Self>,
        second: Residual<Self>,
        weights: [f32; 2],
    ) -> FloatTensor<Self> {
        if features.is_tracked()
            || prototypes.is_tracked()
            || map.is_tracked()
            || second.is_tracked()
        {
            let maps = (map, second, weights);
            return cosine::blend_by_product::<Self>(features, prototypes, maps);
        }
        FloatTensor::<Self>::new(B::cosine_maps_blend(
            features.into_primitive(),
            prototypes.into_primitive(),
            map.into_primitive(),
            second.into_primitive(),
            weights,
        ))
    }

    fn self_support_ways(
        features: FloatTensor<Self>,
        logits: FloatTensor<Self>,
        config: SelfSupportConfig,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        if features.is_tracked() {
            return self_support::each_way::<Self>(features, logits, config);
        }
        let (fg, bg, adaptive) =
            B::self_support_ways(features.into_primitive(), logits.into_primitive(), config);
        (
            FloatTensor::<Self>::new(fg),
            FloatTensor::<Self>::new(bg),
            FloatTensor::<Self>::new(adaptive),
        )
    }

    fn self_support(
        features: FloatTensor<Self>,
        logits: FloatTensor<Self>,
        config: SelfSupportConfig,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        // Logits only choose positions: whether they are tracked makes no difference.
        if features.is_tracked() {
            return self_support::steps::<Self>(features, logits, config);
        }
        let (fg, bg, adaptive) =
            B::self_support(features.into_primitive(), logits.into_primitive(), config);
        (
            FloatTensor::<Self>::new(fg),
            FloatTensor::<Self>::new(bg),
            FloatTensor::<Self>::new(adaptive),
        )
    }

    fn query_pairs(
        features: FloatTensor<Self>,
        temperature: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        if features.is_tracked() {
            return pairs::weigh_by_steps::<Self>(features, temperature);
        }
        let (weights, sums) = B::query_pairs(features.into_primitive(), temperature);
        (FloatTensor::<Self>::new(weights), FloatTensor::<Self>::new(sums))
    }

    fn self_support_among(
        features: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        members: FloatTensor<Self>,
        sums: FloatTensor<Self>,
        logits: FloatTensor<Self>,
        config: SelfSupportConfig,
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
    ) {
        if features.is_tracked() || weights.is_tracked() {
            return pairs::among_by_steps::<Self>(features, weights, logits, config);
        }
        let (fg, bg, adaptive, members, sums) = B::self_support_among(
            features.into_primitive(),
            weights.into_primitive(),
            members.into_primitive(),
            sums.into_primitive(),
            logits.into_primitive(),
            config,
        );
        (
            FloatTensor::<Self>::new(fg),
            FloatTensor::<Self>::new(bg),
            FloatTensor::<Self>::new(adaptive),
            FloatTensor::<Self>::new(members),
            FloatTensor::<Self>::new(sums),
        )
    }

    fn conv2d_fused(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: Residual<Self>,
        geometry: ConvGeometry,
        activation: Activation,
    ) -> FloatTensor<Self> {
        if x.is_tracked() || weight.is_tracked() || bias.is_tracked() || residual.is_tracked() {
            return tracked_conv::<B, C>(x, weight, bias, residual, geometry, activation);
        }
        FloatTensor::<Self>::new(B::conv2d_fused(
            x.into_primitive(),
            weight.into_primitive(),
            bias.into_primitive(),
            residual.into_primitive(),
            geometry,
            activation,
        ))
    }

    fn max_pool2d(
        x: FloatTensor<Self>,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self> {
        if x.is_tracked() {
            return pool::max_by_burn::<Self>(x, kernel, stride, padding);
        }
        let pooled =
            <B as MatchingBackend>::max_pool2d(x.into_primitive(), kernel, stride, padding);
        FloatTensor::<Self>::new(pooled)
    }

    fn avg_pool2d(x: FloatTensor<Self>, kernel: usize, stride: usize) -> FloatTensor<Self> {
        if x.is_tracked() {
            return pool::avg_by_burn::<Self>(x, kernel, stride);
        }
        let pooled = <B as MatchingBackend>::avg_pool2d(x.into_primitive(), kernel, stride);
        FloatTensor::<Self>::new(pooled)
    }

    fn unit_features(features: FloatTensor<Self>) -> FloatTensor<Self> {
        if features.is_tracked() {
            return correlation::unit_by_steps::<Self>(features);
        }
        FloatTensor::<Self>::new(B::unit_features(features.into_primitive()))
    }

    fn correlation(query: FloatTensor<Self>, support: FloatTensor<Self>) -> FloatTensor<Self> {
        if query.is_tracked() || support.is_tracked() {
            return correlation::correlation_by_product::<Self>(query, support);
        }
        let maps = B::correlation(query.into_primitive(), support.into_primitive());
        FloatTensor::<Self>::new(maps)
    }

    fn center_pivot_conv4d(
        x: FloatTensor<Self>,
        query_kernel: FloatTensor<Self>,
        support_kernel: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        geometry: PivotGeometry,
    ) -> FloatTensor<Self> {
        let inputs = [&x, &query_kernel, &support_kernel, &bias];
        if inputs.iter().any(|input| input.is_tracked()) {
            return conv4d::pivot_by_steps::<Self>(x, query_kernel, support_kernel, bias, geometry);
        }
        FloatTensor::<Self>::new(B::center_pivot_conv4d(
            x.into_primitive(),
            query_kernel.into_primitive(),
            support_kernel.into_primitive(),
            bias.into_primitive(),
            geometry,
        ))
    }

    fn correlation_conv4d(
        query: FloatTensor<Self>,
        support: FloatTensor<Self>,
        query_kernel: FloatTensor<Self>,
        support_kernel: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
    ) -> FloatTensor<Self> {
        let inputs = [&query, &support, &query_kernel, &support_kernel, &bias];
        if inputs.iter().any(|input| input.is_tracked()) {
            return conv4d::correlation_pivot_by_steps::<Self>(
                query,
                support,
                query_kernel,
                support_kernel,
                bias,
                stride,
            );
        }
        FloatTensor::<Self>::new(B::correlation_conv4d(
            query.into_primitive(),
            support.into_primitive(),
            query_kernel.into_primitive(),
            support_kernel.into_primitive(),
            bias.into_primitive(),
            stride,
        ))
    }

    fn group_norm_relu(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: usize,
    ) -> FloatTensor<Self> {
        if x.is_tracked() || weight.is_tracked() || bias.is_tracked() {
            return group_norm::norm_by_steps::<Self>(x, weight, bias, groups);
        }
        FloatTensor::<Self>::new(B::group_norm_relu(
            x.into_primitive(),
            weight.into_primitive(),
            bias.into_primitive(),
            groups,
        ))
    }

    fn adaptive_prototype(
        features: FloatTensor<Self>,
        unit: FloatTensor<Self>,
        members: FloatTensor<Self>,
        temperature: f32,
        tile: usize,
    ) -> FloatTensor<Self> {
        let nodes = [features.node(), unit.node()];
        let (features, unit) = (features.into_primitive(), unit.into_primitive());
        let members = members.into_primitive();
        let prepared = AdaptivePrototype { temperature, tile }.prepare::<C>(nodes);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let state = (features.clone(), unit.clone(), members.clone());
                let output = B::adaptive_prototype(features, unit, members, temperature, tile);
                prepared.finish(state, output)
            }
            OpsKind::UnTracked(prepared) => {
                prepared.finish(B::adaptive_prototype(features, unit, members, temperature, tile))
            }
        }
    }

    fn enlarged_argmax(
        logits: FloatTensor<Self>,
        size: [usize; 2],
        window: [usize; 2],
        corners: Corners,
    ) -> FloatTensor<Self> {
        let labels = B::enlarged_argmax(logits.into_primitive(), size, window, corners);
        FloatTensor::<Self>::new(labels)
    }

    fn enlarged_cross_entropy(
        logits: FloatTensor<Self>,
        labels: FloatTensor<Self>,
        ignore: f32,
        corners: Corners,
    ) -> FloatTensor<Self> {
        let node = logits.node();
        let (logits, labels) = (logits.into_primitive(), labels.into_primitive());
        let prepared = EnlargedCrossEntropy { ignore, corners }.prepare::<C>([node]);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let state = (logits.clone(), labels.clone());
                prepared.finish(state, B::enlarged_cross_entropy(logits, labels, ignore, corners))
            }
            OpsKind::UnTracked(prepared) => {
                prepared.finish(B::enlarged_cross_entropy(logits, labels, ignore, corners))
            }
        }
    }
}

impl<B: MatchingBackend, C: CheckpointStrategy> Residual<Autodiff<B, C>> {
    fn is_tracked(&self) -> bool {
        match self {
            Self::None => false,
            Self::Add(map) => map.is_tracked(),
        }
    }

    fn into_primitive(self) -> Residual<B> {
        match self {
            Self::None => Residual::None,
            Self::Add(map) => Residual::Add(map.into_primitive()),
        }
    }
}

/// A fused convolution whose backward step runs on the back end's own kernels.
fn tracked_conv<B: MatchingBackend, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    bias: FloatTensor<Autodiff<B, C>>,
    residual: Residual<Autodiff<B, C>>,
    geometry: ConvGeometry,
    activation: Activation,
) -> FloatTensor<Autodiff<B, C>> {
    let [learns, passes] = [weight.is_tracked(), x.is_tracked()];
    let parents = [x.node(), weight.node(), bias.node()];
    let (x, weight, bias) = (x.into_primitive(), weight.into_primitive(), bias.into_primitive());
    let conv = |residual: Residual<B>| {
        B::conv2d_fused(x.clone(), weight.clone(), bias.clone(), residual, geometry, activation)
    };
    let state = |output: &FloatTensor<B>| ConvState {
        shapes: [x.shape(), weight.shape()],
        x: learns.then(|| x.clone()),
        weight: passes.then(|| weight.clone()),
        output: (activation == Activation::Relu).then(|| output.clone()),
    };
    let step = ConvStep { geometry };
    match residual {
        Residual::None => match step.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let output = conv(Residual::None);
                prepared.finish(state(&output), output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(conv(Residual::None)),
        },
        Residual::Add(map) => {
            let [x, weight, bias] = parents;
            let parents = [x, weight, bias, map.node()];
            let map = map.into_primitive();
            match step.prepare::<C>(parents).compute_bound().stateful() {
                OpsKind::Tracked(prepared) => {
                    let output = conv(Residual::Add(map));
                    prepared.finish(state(&output), output)
                }
                OpsKind::UnTracked(prepared) => prepared.finish(conv(Residual::Add(map))),
            }
        }
    }
}

/// What a convolution's backward step needs; tensors that no gradient is wanted for are not kept.
#[derive(Debug, Clone)]
struct ConvState<B: MatchingBackend> {
    /// Of input and weights.
    shapes: [Shape; 2],
    x: Option<FloatTensor<B>>,
    weight: Option<FloatTensor<B>>,
    /// After the ReLU, if there is one.
    output: Option<FloatTensor<B>>,
}

/// The backward step of [`MatchingBackend::conv2d_fused`]: parents are input, weights, bias and, if there
/// is one, the residual.
#[derive(Debug)]
struct ConvStep {
    geometry: ConvGeometry,
}

impl<B: MatchingBackend, const PARENTS: usize> Backward<B, PARENTS> for ConvStep {
    type State = ConvState<B>;

    fn backward(
        self,
        ops: Ops<Self::State, PARENTS>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let ConvState { shapes, x, weight, output } = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let grad = match output {
            Some(output) => B::relu_backward(output, grad),
            None => grad,
        };
        let [x_shape, weight_shape] = shapes;
        // Stands in where only a shape is asked for.
        let shaped = |tensor: Option<FloatTensor<B>>, shape: Shape| {
            tensor.unwrap_or_else(|| {
                let one = B::float_zeros([1; 4].into(), &grad.device(), float_dtype(&grad));
                B::float_expand(one, shape)
            })
        };
        for (place, parent) in ops.parents.iter().enumerate() {
            let Some(node) = parent else { continue };
            let (x, weight) = (x.clone(), weight.clone());
            let own = match place {
                0 => {
                    let weight = shaped(weight, weight_shape.clone());
                    let x = shaped(None, x_shape.clone());
                    B::conv2d_input_grad(x, weight, grad.clone(), self.geometry)
                }
                1 => {
                    let x = shaped(x, x_shape.clone());
                    let weight = shaped(None, weight_shape.clone());
                    B::conv2d_weight_grad(x, weight, grad.clone(), self.geometry)
                }
                2 => {
                    let [_, channels, _, _] = dims::<4>(&grad);
                    let sum = B::float_sum_dim(B::float_sum_dim(grad.clone(), 3), 2);
                    reshape::<B, 1>(B::float_sum_dim(sum, 0), [channels])
                }
                _ => grad.clone(),
            };
            grads.register::<B>(node.id, own);
        }
    }
}

/// The backward step of [`MatchingBackend::adaptive_prototype`].
#[derive(Debug)]
struct AdaptivePrototype {
    temperature: f32,
    tile: usize,
}

impl<B: MatchingBackend> Backward<B, 2> for AdaptivePrototype {
    /// Features, unit features and members.
    type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let [features_node, unit_node] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let (features, unit, members) = ops.state;
        let (grad_features, grad_unit) = B::adaptive_prototype_backward(
            features,
            unit,
            members,
            grad,
            self.temperature,
            self.tile,
        );
        if let Some(node) = features_node {
            grads.register::<B>(node.id, grad_features);
        }
        if let Some(node) = unit_node {
            grads.register::<B>(node.id, grad_unit);
        }
    }
}

/// The backward step of [`MatchingBackend::enlarged_cross_entropy`].
#[derive(Debug)]
struct EnlargedCrossEntropy {
    ignore: f32,
    corners: Corners,
}

impl<B: MatchingBackend> Backward<B, 1> for EnlargedCrossEntropy {
    /// Logits and labels.
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let [node] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let (logits, labels) = ops.state;
        if let Some(node) = node {
            let of_sum =
                B::enlarged_cross_entropy_backward(logits, labels, self.ignore, self.corners);
            let grad = reshape::<B, 4>(grad, [1; 4]);
            grads.register::<B>(node.id, B::float_mul(of_sum, grad));
        }
    }
}
