//! The self-support step for one query and many support sets.
//!
//! How alike the positions of a query are does not depend on the support set. What follows from it alone is
//! computed once; a support set then costs what its background set differs from a set whose sums are known.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Scalar, TensorMetadata};
use burn::tensor::Tensor;

use crate::backend::MatchingBackend;
use crate::ops::{dims, float_dtype, narrow, norms, reshape, scale};
use crate::self_support::{SelfSupport, SelfSupportConfig, UNIT_EPS, mean_of_members, memberships};

/// The weights of all pairs of a query may take this many bytes.
const MOST_BYTES: usize = 128 << 20;

/// Beyond this the smallest weight, `exp(-2 |t|)`, leaves the range of float32.
pub(crate) const MOST_TEMPERATURE: f32 = 40.0;

/// All pairs of positions of a query, weighed; serves any number of support sets.
#[derive(Clone, Debug)]
pub struct QueryPairs {
    config: SelfSupportConfig,
    /// `[B, C, h, w]`.
    features: Tensor<4>,
    /// `exp(temperature · cos - |temperature|)`, `[B, N, N]`.
    weights: Tensor<3>,
    /// A set of positions, `[B, 1, N]` (0 or 1) ...
    members: Tensor<3>,
    /// ... and its weighted sums of features and of ones, `[B, C + 1, N]`.
    sums: Tensor<3>,
}

impl QueryPairs {
    /// Weighs all pairs of positions of features `[B, C, h, w]`; `None` for maps so large that the weights would
    /// fill the memory, and temperatures so high that they leave the range of numbers.
    pub fn new(features: Tensor<4>, config: &SelfSupportConfig) -> Option<Self> {
        let [b, _, h, w] = features.dims();
        let bytes = (h * w).checked_pow(2)?.checked_mul(size_of::<f32>() * b)?;
        if bytes == 0 || bytes > MOST_BYTES || config.temperature.abs() > MOST_TEMPERATURE {
            return None;
        }
        let (weights, sums) = <Dispatch as MatchingBackend>::query_pairs(
            features.clone().into_dispatch(),
            config.temperature,
        );
        let (weights, sums): (Tensor<3>, Tensor<3>) =
            (Tensor::from_dispatch(weights), Tensor::from_dispatch(sums));
        let members = Tensor::ones([b, 1, h * w], (&features.device(), features.dtype()));
        Some(Self { config: *config, features, weights, members, sums })
    }

    /// The self-support step as [`self_support`](crate::self_support) makes it, up to rounding; what it gives depends on
    /// `logits` `[B, 2, h, w]` alone. Beside it the same pairs with sums over the background set found, from
    /// which a further step is quick if its background is similar.
    ///
    /// # Panics
    /// If the shapes do not fit each other, or `top_k` is 0.
    pub fn self_support(&self, logits: Tensor<4>) -> (SelfSupport, Self) {
        let [b, _, h, w] = self.features.dims();
        assert_eq!(
            logits.dims(),
            [b, 2, h, w],
            "self-support of features {:?} needs logits [{b}, 2, {h}, {w}]",
            self.features.dims()
        );
        assert!(self.config.top_k > 0, "self-support needs top_k of at least 1");
        let (fg, bg, adaptive, members, sums) = <Dispatch as MatchingBackend>::self_support_among(
            self.features.clone().into_dispatch(),
            self.weights.clone().into_dispatch(),
            self.members.clone().into_dispatch(),
            self.sums.clone().into_dispatch(),
            logits.into_dispatch(),
            self.config,
        );
        let found = SelfSupport {
            fg_prototype: Tensor::from_dispatch(fg),
            bg_prototype: Tensor::from_dispatch(bg),
            bg_adaptive: Tensor::from_dispatch(adaptive),
        };
        let (members, sums) = (Tensor::from_dispatch(members), Tensor::from_dispatch(sums));
        (found, Self { members, sums, ..self.clone() })
    }
}

/// Weights and sums of all pairs, composed of differentiable operations.
pub(crate) fn weigh_by_steps<B: Backend>(
    features: FloatTensor<B>,
    temperature: f32,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let [b, c, h, w] = dims(&features);
    let features = reshape::<B, 3>(features, [b, c, h * w]);
    let unit = B::float_div(features.clone(), norms::<B>(features.clone(), 1, UNIT_EPS));
    let cosines = B::float_matmul(B::float_swap_dims(unit.clone(), 1, 2), unit);
    let least = Scalar::Float(-f64::from(temperature.abs()));
    let weights = B::float_exp(B::float_add_scalar(scale::<B>(cosines, temperature), least));
    let sums = B::float_matmul(with_ones::<B>(features), weights.clone());
    (weights, sums)
}

/// [`MatchingBackend::self_support_among`] composed of differentiable operations, all sums anew.
#[allow(clippy::type_complexity, reason = "three prototypes, and a set with its sums")]
pub(crate) fn among_by_steps<B: MatchingBackend>(
    features: FloatTensor<B>,
    weights: FloatTensor<B>,
    logits: FloatTensor<B>,
    config: SelfSupportConfig,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let [b, c, h, w] = dims(&features);
    let (fg, bg) = memberships::<B>(logits, &config);
    let features = reshape::<B, 3>(features, [b, c, h * w]);
    let fg_prototype = mean_of_members::<B>(features.clone(), fg);
    let bg_prototype = mean_of_members::<B>(features.clone(), bg.clone());
    let values = B::float_mul(with_ones::<B>(features), bg.clone());
    let sums = B::float_matmul(values, weights);
    let totals = narrow::<B>(sums.clone(), 1, c, c + 1);
    let adaptive = B::float_div(narrow::<B>(sums.clone(), 1, 0, c), totals);
    (fg_prototype, bg_prototype, reshape::<B, 4>(adaptive, [b, c, h, w]), bg, sums)
}

/// `[B, C, N]` with one more channel of ones.
fn with_ones<B: Backend>(features: FloatTensor<B>) -> FloatTensor<B> {
    let [b, _, n] = dims(&features);
    let ones = B::float_ones([b, 1, n].into(), &features.device(), float_dtype(&features));
    B::float_cat(vec![features, ones], 1)
}
