//! Bodies for CubeCL runtimes (CUDA, Vulkan, wgpu), where composition wastes bandwidth.
//!
//! | kernel | composed of operations | here |
//! |---|---|---|
//! | cosine maps | squares, two sums, two roots, a product, two divisions | each feature is read once |
//! | blended cosine map | the blend and its square are made | nothing but the map is written |
//! | weights of the self-support step | scaled scores, biased scores, softmax | scores are read, weights written |
//! | resize | two products with matrices that travel to the device | one pass |
//! | resize and argmax | the enlarged logits are made | labels are written, nothing else |
//! | correlation | product, ReLU, transposition | product, then one pass |
//!
//! Where the environment says `FSS_CUBECL_KERNELS=0`, the composed bodies run instead, to compare the two:
//! `.ci/gpu` runs golden cases on a driver in software, `benches/gpu.sh` all of them on a GPU, both ways.
//!
//! All compute in float32 and take float32, float16 and bfloat16; anything else runs composed. Under
//! Burn's fusion they are one opaque operation each.

mod correlation;
mod cosine;
mod launch;
mod resize;
mod softmax;

use std::sync::OnceLock;

use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;

use crate::backend::MatchingBackend;
use crate::conv::Residual;
use crate::resize::Corners;

type Float = FloatTensor<CubeBackend>;

/// Whether these kernels run.
fn enabled() -> bool {
    static ENABLED: OnceLock<bool> = OnceLock::new();
    *ENABLED.get_or_init(|| std::env::var("FSS_CUBECL_KERNELS").map_or(true, |value| value != "0"))
}

/// What a kernel gives, if kernels run and it takes its operands.
fn tried(kernel: impl FnOnce() -> Option<Float>) -> Option<Float> {
    enabled().then(kernel).flatten()
}

impl MatchingBackend for CubeBackend {
    fn resize_bilinear(x: Float, size: [usize; 2], corners: Corners) -> Float {
        match tried(|| resize::bilinear(&x, size, corners)) {
            Some(resized) => resized,
            None => crate::resize::bilinear_by_products::<Self>(x, size, corners),
        }
    }

    fn cosine_maps(features: Float, prototypes: Float) -> Float {
        match tried(|| cosine::maps(&features, &prototypes)) {
            Some(maps) => maps,
            None => crate::cosine::maps_by_product::<Self>(features, prototypes),
        }
    }

    fn cosine_map_dense(features: Float, prototype_map: Float) -> Float {
        match tried(|| cosine::blended(&features, None, (&prototype_map, 1.0), None)) {
            Some(map) => map,
            None => crate::cosine::dense_by_product::<Self>(features, prototype_map),
        }
    }

    fn cosine_maps_blend(
        features: Float,
        prototypes: Float,
        map: Float,
        second: Residual<Self>,
        weights: [f32; 2],
    ) -> Float {
        crate::cosine::first_and_others::<Self>(features, prototypes, |features, prototype| {
            let other = match &second {
                Residual::None => None,
                Residual::Add(other) => Some((other, weights[1])),
            };
            match tried(|| cosine::blended(&features, Some(&prototype), (&map, weights[0]), other))
            {
                Some(map) => map,
                None => {
                    let maps = (map, second, weights);
                    crate::cosine::dense_of_blend::<Self>(features, prototype, maps)
                }
            }
        })
    }

    fn masked_softmax(scores: Float, members: Float, temperature: f32) -> Float {
        match tried(|| softmax::masked(&scores, &members, temperature)) {
            Some(weights) => weights,
            None => crate::self_support::softmax_by_steps::<Self>(scores, members, temperature),
        }
    }

    fn correlation(query: Float, support: Float) -> Float {
        match enabled() {
            true => correlation::correlation(query, support),
            false => crate::correlation::correlation_by_product::<Self>(query, support),
        }
    }

    fn enlarged_argmax(
        logits: Float,
        size: [usize; 2],
        window: [usize; 2],
        corners: Corners,
    ) -> Float {
        match tried(|| resize::argmax(&logits, size, window, corners)) {
            Some(labels) => labels,
            None => crate::enlarged::argmax_by_steps::<Self>(logits, size, window, corners),
        }
    }
}
