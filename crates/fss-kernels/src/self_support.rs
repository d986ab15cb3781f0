//! The self-support step of SSP (Fan et al., ECCV 2022, sections 3.2 and 3.3).
//!
//! A first prediction on the query names positions that are surely foreground or background. Their
//! features give prototypes of the query's own: one vector each, and for the background also one per
//! position, a mean over the background set weighted by similarity. (The paper's code computes the same
//! for the foreground and never reads it; here it is not computed.)

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Scalar, TensorMetadata, get_or_init_device_settings};
use burn::tensor::{FloatDType, Tensor};

use crate::backend::MatchingBackend;
use crate::ops::{dims, float_dtype, narrow, norms, reshape, scale};

/// Thresholds and sizes of the self-support step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SelfSupportConfig {
    /// A position belongs to the foreground set if its foreground probability is greater.
    pub fg_threshold: f32,
    /// A position belongs to the background set if its background probability is greater.
    pub bg_threshold: f32,
    /// How many of the most probable positions stand in for a set that would be empty (at least 1).
    pub top_k: usize,
    /// Factor on the cosines before the softmax over the background set.
    pub temperature: f32,
}

impl Default for SelfSupportConfig {
    /// The values of the paper's code: 0.7, 0.6, 12 and 2.
    fn default() -> Self {
        Self { fg_threshold: 0.7, bg_threshold: 0.6, top_k: 12, temperature: 2.0 }
    }
}

/// Prototypes that a query gives for itself.
#[derive(Clone, Debug)]
pub struct SelfSupport {
    /// Mean feature of the foreground set, `[B, C]`.
    pub fg_prototype: Tensor<2>,
    /// Mean feature of the background set, `[B, C]`.
    pub bg_prototype: Tensor<2>,
    /// For each position the mean of the background set weighted by `softmax(temperature · cos)`,
    /// `[B, C, h, w]`.
    pub bg_adaptive: Tensor<4>,
}

/// Prototypes from a query's own features, chosen by a first prediction on it.
///
/// Each sample of the batch is treated by itself. A set whose threshold no position passes is made of
/// the `min(top_k, h·w)` most probable positions, the earlier one first among equals. The choice of
/// positions passes no gradient; the prototypes are differentiable in `features`.
///
/// # Shapes
/// - `features`: `[B, C, h, w]`
/// - `logits`: `[B, 2, h, w]`, background first
///
/// # Panics
/// If the shapes do not fit each other, a map is empty, or `config.top_k` is 0.
pub fn self_support(
    features: Tensor<4>,
    logits: Tensor<4>,
    config: &SelfSupportConfig,
) -> SelfSupport {
    let [b, _, h, w] = features.dims();
    assert_eq!(
        logits.dims(),
        [b, 2, h, w],
        "self-support of features {:?} needs logits [{b}, 2, {h}, {w}]",
        features.dims()
    );
    assert!(h * w > 0, "self-support needs at least one position");
    assert!(config.top_k > 0, "self-support needs top_k of at least 1");
    let (fg, bg, adaptive) = <Dispatch as MatchingBackend>::self_support(
        features.into_dispatch(),
        logits.into_dispatch(),
        *config,
    );
    SelfSupport {
        fg_prototype: Tensor::from_dispatch(fg),
        bg_prototype: Tensor::from_dispatch(bg),
        bg_adaptive: Tensor::from_dispatch(adaptive),
    }
}

/// [`self_support`] for several first predictions (ways) on the same query: what depends on the features alone
/// serves all of them.
///
/// # Shapes
/// - `features`: `[B, C, h, w]`
/// - `logits`: `[B, W, 2, h, w]`, background first
/// - output: one for each way
///
/// # Panics
/// As [`self_support`].
pub fn self_support_ways(
    features: Tensor<4>,
    logits: Tensor<5>,
    config: &SelfSupportConfig,
) -> Vec<SelfSupport> {
    let [b, c, h, w] = features.dims();
    let [_, ways, ..] = logits.dims();
    assert_eq!(
        logits.dims(),
        [b, ways, 2, h, w],
        "self-support of features {:?} needs logits [{b}, ways, 2, {h}, {w}]",
        features.dims()
    );
    assert!(h * w > 0 && ways > 0, "self-support needs at least one position and one way");
    assert!(config.top_k > 0, "self-support needs top_k of at least 1");
    let (fg, bg, adaptive) = <Dispatch as MatchingBackend>::self_support_ways(
        features.into_dispatch(),
        logits.into_dispatch(),
        *config,
    );
    let (fg, bg): (Tensor<3>, Tensor<3>) = (Tensor::from_dispatch(fg), Tensor::from_dispatch(bg));
    let adaptive: Tensor<5> = Tensor::from_dispatch(adaptive);
    let of = |way: usize| SelfSupport {
        fg_prototype: fg.clone().narrow(1, way, 1).reshape([b, c]),
        bg_prototype: bg.clone().narrow(1, way, 1).reshape([b, c]),
        bg_adaptive: adaptive.clone().narrow(1, way, 1).reshape([b, c, h, w]),
    };
    (0..ways).map(of).collect()
}

/// [`self_support_ways`] one way after the other.
pub(crate) fn each_way<B: MatchingBackend>(
    features: FloatTensor<B>,
    logits: FloatTensor<B>,
    config: SelfSupportConfig,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let [b, c, h, w] = dims(&features);
    let [_, ways, ..] = dims::<5>(&logits);
    let (mut fgs, mut bgs, mut maps) = (Vec::new(), Vec::new(), Vec::new());
    for way in 0..ways {
        let logits = narrow::<B>(logits.clone(), 1, way, way + 1);
        let logits = reshape::<B, 4>(logits, [b, 2, h, w]);
        let (fg, bg, adaptive) = B::self_support(features.clone(), logits, config);
        fgs.push(reshape::<B, 3>(fg, [b, 1, c]));
        bgs.push(reshape::<B, 3>(bg, [b, 1, c]));
        maps.push(reshape::<B, 5>(adaptive, [b, 1, c, h, w]));
    }
    (B::float_cat(fgs, 1), B::float_cat(bgs, 1), B::float_cat(maps, 1))
}

/// Norms below this do not occur; it only keeps a zero feature from becoming NaN.
pub(crate) const UNIT_EPS: f64 = 1e-12;

/// Weights of one tile may take this many bytes.
const TILE_BYTES: usize = 16 << 20;

/// How many query positions are matched at once against `positions` others in a batch of `batch`.
pub(crate) fn tile_for(batch: usize, positions: usize) -> usize {
    (TILE_BYTES / (size_of::<f32>() * (batch * positions).max(1))).clamp(1, positions.max(1))
}

/// [`self_support`] composed of differentiable operations; the result is
/// `([B, C], [B, C], [B, C, h, w])`.
pub(crate) fn steps<B: MatchingBackend>(
    features: FloatTensor<B>,
    logits: FloatTensor<B>,
    config: SelfSupportConfig,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let [b, c, h, w] = dims(&features);
    let positions = h * w;
    let features = reshape::<B, 3>(features, [b, c, positions]);
    let (fg, bg) = memberships::<B>(logits, &config);

    let fg_prototype = mean_of_members::<B>(features.clone(), fg);
    let bg_prototype = mean_of_members::<B>(features.clone(), bg.clone());
    let unit = B::float_div(features.clone(), norms::<B>(features.clone(), 1, UNIT_EPS));
    let tile = tile_for(b, positions);
    let adaptive = B::adaptive_prototype(features, unit, bg, config.temperature, tile);
    (fg_prototype, bg_prototype, reshape::<B, 4>(adaptive, [b, c, h, w]))
}

/// Foreground and background sets of `[B, 2, h, w]` logits as `[B, 1, N]` maps of 0 and 1.
pub(crate) fn memberships<B: Backend>(
    logits: FloatTensor<B>,
    config: &SelfSupportConfig,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let [b, _, h, w] = dims(&logits);
    let logits = reshape::<B, 3>(B::float_detach(logits), [b, 2, h * w]);
    let probabilities = B::softmax(logits, 1);
    let bg = narrow::<B>(probabilities.clone(), 1, 0, 1);
    let fg = narrow::<B>(probabilities, 1, 1, 2);
    (
        members::<B>(fg, config.fg_threshold, config.top_k),
        members::<B>(bg, config.bg_threshold, config.top_k),
    )
}

/// Positions above the threshold, or the `top_k` largest if there are none, without asking the device.
fn members<B: Backend>(
    probabilities: FloatTensor<B>,
    threshold: f32,
    top_k: usize,
) -> FloatTensor<B> {
    let [b, _, positions] = dims(&probabilities);
    let shape = probabilities.shape();
    let dtype = float_dtype(&probabilities);
    let bool_dtype = get_or_init_device_settings::<B>(&probabilities.device()).bool_dtype;
    let as_float = |mask| B::bool_into_float(mask, dtype);
    let top_k = top_k.min(positions);

    let threshold = Scalar::Float(f64::from(threshold));
    let passing = as_float(B::float_greater_elem(probabilities.clone(), threshold, bool_dtype));
    let any =
        B::float_greater_elem(B::float_sum_dim(passing.clone(), 2), Scalar::Float(0.0), bool_dtype);
    let any = B::float_expand(as_float(any), shape.clone());

    // The k largest: all that exceed the k-th largest value, and of those that equal it the first
    // few. A sort alone would leave the order of equal values to the device.
    let largest = B::float_topk(probabilities.clone(), 2, top_k);
    let kth = B::float_expand(B::float_min_dim(largest, 2), shape.clone());
    let above = as_float(B::float_greater(probabilities.clone(), kth.clone(), bool_dtype));
    let equal = as_float(B::float_equal(probabilities, kth, bool_dtype));
    let missing = B::float_add_scalar(
        B::float_neg(B::float_sum_dim(above.clone(), 2)),
        Scalar::Float(top_k as f64),
    );
    let rank = B::float_cumsum(equal.clone(), 2);
    let early = as_float(B::float_lower_equal(rank, B::float_expand(missing, shape), bool_dtype));
    let top = B::float_add(above, B::float_mul(equal, early));

    let none = B::float_add_scalar(B::float_neg(any.clone()), Scalar::Float(1.0));
    let members = B::float_add(B::float_mul(passing, any), B::float_mul(top, none));
    reshape::<B, 3>(members, [b, 1, positions])
}

/// `[B, C, N]` features and `[B, 1, N]` memberships to `[B, C]` means.
pub(crate) fn mean_of_members<B: Backend>(
    features: FloatTensor<B>,
    members: FloatTensor<B>,
) -> FloatTensor<B> {
    let [b, c, positions] = dims(&features);
    let count = reshape::<B, 2>(B::float_sum_dim(members.clone(), 2), [b, 1]);
    let sums = B::float_matmul(features, reshape::<B, 3>(members, [b, positions, 1]));
    B::float_div(reshape::<B, 2>(sums, [b, c]), count)
}

/// Body of [`MatchingBackend::adaptive_prototype`]: one tile of query positions at a time.
pub(crate) fn adaptive_by_tiles<B: MatchingBackend>(
    features: FloatTensor<B>,
    unit: FloatTensor<B>,
    members: FloatTensor<B>,
    temperature: f32,
    tile: usize,
) -> FloatTensor<B> {
    let [_, _, positions] = dims(&features);
    let tiles = tiles(positions, tile)
        .map(|(start, end)| {
            let weights = tile_weights::<B>(unit.clone(), members.clone(), temperature, start, end);
            B::float_matmul(features.clone(), B::float_swap_dims(weights, 1, 2))
        })
        .collect::<Vec<_>>();
    concatenate::<B>(tiles)
}

/// Body of [`MatchingBackend::adaptive_prototype_backward`]: the weights of each tile are made again, so
/// that no more than one tile of them is ever held.
pub(crate) fn adaptive_backward_by_tiles<B: MatchingBackend>(
    features: FloatTensor<B>,
    unit: FloatTensor<B>,
    members: FloatTensor<B>,
    grad: FloatTensor<B>,
    temperature: f32,
    tile: usize,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let [_, _, positions] = dims(&features);
    let mut grad_features: Option<FloatTensor<B>> = None;
    let mut grad_keys: Option<FloatTensor<B>> = None;
    let mut grad_queries = Vec::new();
    for (start, end) in tiles(positions, tile) {
        let weights = tile_weights::<B>(unit.clone(), members.clone(), temperature, start, end);
        let grad = narrow::<B>(grad.clone(), 2, start, end);
        add_to::<B>(&mut grad_features, B::float_matmul(grad.clone(), weights.clone()));

        // Through the softmax: dS = W * (dW - sum(dW * W)).
        let grad_weights = B::float_matmul(B::float_swap_dims(grad, 1, 2), features.clone());
        let pull = B::float_mul(grad_weights, weights.clone());
        let total = B::float_sum_dim(pull.clone(), 2);
        let grad_scores = B::float_sub(pull, B::float_mul(weights, total));
        let grad_scores = scale::<B>(grad_scores, temperature);

        let queries = narrow::<B>(unit.clone(), 2, start, end);
        add_to::<B>(&mut grad_keys, B::float_matmul(queries, grad_scores.clone()));
        grad_queries.push(B::float_matmul(unit.clone(), B::float_swap_dims(grad_scores, 1, 2)));
    }
    let grad_queries = concatenate::<B>(grad_queries);
    let grad_unit = match grad_keys {
        Some(keys) => B::float_add(grad_queries, keys),
        None => grad_queries,
    };
    (grad_features.expect("at least one tile"), grad_unit)
}

fn tiles(positions: usize, tile: usize) -> impl Iterator<Item = (usize, usize)> {
    let tile = tile.max(1);
    (0..positions).step_by(tile).map(move |start| (start, (start + tile).min(positions)))
}

fn concatenate<B: Backend>(mut tiles: Vec<FloatTensor<B>>) -> FloatTensor<B> {
    if tiles.len() == 1 { tiles.remove(0) } else { B::float_cat(tiles, 2) }
}

fn add_to<B: Backend>(sum: &mut Option<FloatTensor<B>>, term: FloatTensor<B>) {
    *sum = Some(match sum.take() {
        Some(sum) => B::float_add(sum, term),
        None => term,
    });
}

/// [`MatchingBackend::masked_softmax`] composed of differentiable operations.
pub(crate) fn softmax_by_steps<B: Backend>(
    scores: FloatTensor<B>,
    members: FloatTensor<B>,
    temperature: f32,
) -> FloatTensor<B> {
    // For all but members a score so low that its weight is exactly zero. It is finite, so that nothing turns
    // into NaN, and float16 has it, too: cosines are at most 1.
    let least = match float_dtype(&scores) {
        FloatDType::F16 => 3e4,
        _ => 1e30,
    };
    let bias = B::float_add_scalar(members, Scalar::Float(-1.0));
    let bias = B::float_mul_scalar(bias, Scalar::Float(least));
    B::softmax(B::float_add(scale::<B>(scores, temperature), bias), 2)
}

/// `[B, t, N]` softmax weights of the query positions `start..end`.
fn tile_weights<B: MatchingBackend>(
    unit: FloatTensor<B>,
    members: FloatTensor<B>,
    temperature: f32,
    start: usize,
    end: usize,
) -> FloatTensor<B> {
    let queries = B::float_swap_dims(narrow::<B>(unit.clone(), 2, start, end), 1, 2);
    B::masked_softmax(B::float_matmul(queries, unit), members, temperature)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::Flex;
    use burn::backend::ops::FloatTensorOps;
    use burn::tensor::{TensorData, read_sync};
    use fss_support::fill;
    use fss_support::golden::assert_close;

    use super::*;
    use crate::ops::constant;

    fn read(tensor: FloatTensor<Flex>) -> Vec<f32> {
        let data = read_sync(Flex::float_into_data(tensor)).expect("the values can be read");
        data.try_to_vec().expect("float32 values")
    }

    /// Features, unit features, members and a gradient for two samples of 4 channels and 10 positions.
    fn inputs() -> [FloatTensor<Flex>; 4] {
        let device = Default::default();
        let load = |name: &str| {
            Flex::float_from_data(TensorData::new(fill(name, &[80]), [2, 4, 10]), &device)
        };
        let features = load("features");
        let unit = Flex::float_div(features.clone(), norms::<Flex>(features.clone(), 1, UNIT_EPS));
        let members = (0..20).map(|i| f32::from(u8::from(i % 3 != 0))).collect();
        let members = constant::<Flex, 3>(members, [2, 1, 10], &features);
        [features, unit, members, load("grad")]
    }

    #[test]
    fn tiles_of_any_size_give_the_same_prototypes() {
        let [features, unit, members, _] = inputs();
        let run = |tile, body: fn(_, _, _, f32, usize) -> FloatTensor<Flex>| {
            read(body(features.clone(), unit.clone(), members.clone(), 2.0, tile))
        };
        let whole = run(10, adaptive_by_tiles::<Flex>);
        for tile in [1, 3, 7, 10, 99] {
            assert_close("composed", &run(tile, adaptive_by_tiles::<Flex>), &whole, 1e-6);
            assert_close("on slices", &run(tile, Flex::adaptive_prototype), &whole, 1e-6);
        }
    }

    #[test]
    fn tiles_of_any_size_give_the_same_gradients() {
        let [features, unit, members, grad] = inputs();
        type Body = fn(
            FloatTensor<Flex>,
            FloatTensor<Flex>,
            FloatTensor<Flex>,
            FloatTensor<Flex>,
            f32,
            usize,
        ) -> (FloatTensor<Flex>, FloatTensor<Flex>);
        let run = |tile, body: Body| {
            let (unit, members) = (unit.clone(), members.clone());
            let (a, b) = body(features.clone(), unit, members, grad.clone(), 2.0, tile);
            (read(a), read(b))
        };
        let whole = run(10, adaptive_backward_by_tiles::<Flex>);
        for tile in [1, 3, 7, 10, 99] {
            for body in [adaptive_backward_by_tiles::<Flex>, Flex::adaptive_prototype_backward] {
                let (for_features, for_unit) = run(tile, body);
                assert_close("features", &for_features, &whole.0, 2e-6);
                assert_close("unit", &for_unit, &whole.1, 2e-6);
            }
        }
    }

    #[test]
    fn host_and_device_choose_the_same_positions() {
        let device = Default::default();
        for (name, spread) in [("a", 0.2), ("b", 2.0), ("c", 0.0)] {
            let logits: Vec<f32> = fill(name, &[2 * 2 * 12]).iter().map(|v| v * spread).collect();
            let load = |shape: [usize; 4]| {
                Flex::float_from_data(TensorData::new(logits.clone(), shape), &device)
            };
            let config = SelfSupportConfig { top_k: 5, ..SelfSupportConfig::default() };
            let (fg, bg) = memberships::<Flex>(load([2, 2, 3, 4]), &config);
            // One-hot features turn the prototypes into the sets themselves.
            let one_hot = (0..2 * 12 * 12).map(|i| f32::from(u8::from(i / 12 % 12 == i % 12)));
            let features = TensorData::new(one_hot.collect::<Vec<f32>>(), [2, 12, 3, 4]);
            let features = Flex::float_from_data(features, &device);
            let found = Flex::self_support(features, load([2, 2, 3, 4]), config);
            for (members, prototype) in [(fg, found.0), (bg, found.1)] {
                let chosen = read(prototype).into_iter().map(|v| f32::from(u8::from(v > 0.0)));
                assert_eq!(chosen.collect::<Vec<_>>(), read(members), "{name}");
            }
        }
    }

    #[test]
    fn tiles_follow_the_memory_they_take() {
        assert_eq!(tile_for(1, 100), 100);
        assert_eq!(tile_for(1, 1), 1);
        let large = 250_000;
        assert!(tile_for(1, large) * large * 4 <= TILE_BYTES);
        assert_eq!(tile_for(4, 1 << 24), 1);
    }
}
