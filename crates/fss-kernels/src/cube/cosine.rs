//! Cosine maps in one pass over the features.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::launch::{MOST_CUBES, output, ready};
use crate::cosine::NORM_EPS;
use crate::ops::dims;

/// A cube compares so many positions, and shares out their channels to so many slices of units.
const LANES: u32 = 32;
const SLICES: u32 = 8;

/// Prototypes that a cube compares with at once, no more than [`SLICES`].
const TILE: usize = 4;

/// Cosine of each position with `tile` prototypes: `[B, C, N], [B, K, C] -> [B, K, N]`.
#[cube(launch_unchecked)]
fn maps_kernel<F: Float>(
    features: &Tensor<F>,
    prototypes: &Tensor<F>,
    maps: &mut Tensor<F>,
    #[comptime] tile: usize,
    least: f32,
) {
    let lanes = comptime!(LANES as usize);
    let slices = comptime!(SLICES as usize);
    let channels = features.shape(1);
    let positions = features.shape(2);
    let count = prototypes.shape(1);
    let batch = CUBE_POS_Z as usize;
    let first = CUBE_POS_Y as usize * tile;
    let lane = UNIT_POS_X as usize;
    let slice = UNIT_POS_Y as usize;
    let position = CUBE_POS_X as usize * lanes + lane;

    // Sums of squares of features, then for each prototype its products and squares.
    let values = comptime!(1 + 2 * tile);
    let mut sums = Array::<f32>::new(values);
    #[unroll]
    for value in 0..values {
        sums[value] = 0.0f32;
    }
    if position < positions {
        let mut channel = slice;
        while channel < channels {
            let feature =
                f32::cast_from(features[(batch * channels + channel) * positions + position]);
            sums[0] += feature * feature;
            #[unroll]
            for k in 0..tile {
                let index = first + k;
                if index < count {
                    let weight =
                        f32::cast_from(prototypes[(batch * count + index) * channels + channel]);
                    sums[1 + k] += feature * weight;
                    sums[1 + tile + k] += weight * weight;
                }
            }
            channel += slices;
        }
    }
    let mut shared =
        Shared::<[f32]>::new_slice(comptime!((1 + 2 * tile) * (LANES * SLICES) as usize));
    #[unroll]
    for value in 0..values {
        shared[(value * slices + slice) * lanes + lane] = sums[value];
    }
    sync_cube();
    // One slice of units for each prototype.
    let index = first + slice;
    if slice < tile && index < count && position < positions {
        let mut squares = 0.0f32;
        let mut product = 0.0f32;
        let mut lengths = 0.0f32;
        for part in 0..slices {
            squares += shared[part * lanes + lane];
            product += shared[((1 + slice) * slices + part) * lanes + lane];
            lengths += shared[((1 + tile + slice) * slices + part) * lanes + lane];
        }
        let bound = squares.sqrt().max(least) * lengths.sqrt().max(least);
        maps[(batch * count + index) * positions + position] = F::cast_from(product / bound);
    }
}

/// Cosine of each position with a blend of its own, of `prototype + w · map + w' · second`:
/// `[B, C, N], [B, C], [B, C, N], [B, C, N] -> [B, 1, N]`.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments, reason = "a kernel takes its operands one by one")]
fn blended_kernel<F: Float>(
    features: &Tensor<F>,
    prototype: &Tensor<F>,
    map: &Tensor<F>,
    second: &Tensor<F>,
    cosines: &mut Tensor<F>,
    weight: f32,
    second_weight: f32,
    #[comptime] has_prototype: bool,
    #[comptime] has_second: bool,
    least: f32,
) {
    let lanes = comptime!(LANES as usize);
    let slices = comptime!(SLICES as usize);
    let channels = features.shape(1);
    let positions = features.shape(2);
    let batch = CUBE_POS_Y as usize;
    let lane = UNIT_POS_X as usize;
    let slice = UNIT_POS_Y as usize;
    let position = CUBE_POS_X as usize * lanes + lane;

    let mut squares = 0.0f32;
    let mut product = 0.0f32;
    let mut lengths = 0.0f32;
    if position < positions {
        let mut channel = slice;
        while channel < channels {
            let place = (batch * channels + channel) * positions + position;
            let feature = f32::cast_from(features[place]);
            let mut blend = weight * f32::cast_from(map[place]);
            if has_prototype {
                blend += f32::cast_from(prototype[batch * channels + channel]);
            }
            if has_second {
                blend += second_weight * f32::cast_from(second[place]);
            }
            squares += feature * feature;
            product += feature * blend;
            lengths += blend * blend;
            channel += slices;
        }
    }
    let mut shared = Shared::<[f32]>::new_slice(comptime!(3 * (LANES * SLICES) as usize));
    shared[slice * lanes + lane] = squares;
    shared[(slices + slice) * lanes + lane] = product;
    shared[(2 * slices + slice) * lanes + lane] = lengths;
    sync_cube();
    if slice == 0 && position < positions {
        let mut squares = 0.0f32;
        let mut product = 0.0f32;
        let mut lengths = 0.0f32;
        for part in 0..slices {
            squares += shared[part * lanes + lane];
            product += shared[(slices + part) * lanes + lane];
            lengths += shared[(2 * slices + part) * lanes + lane];
        }
        let bound = squares.sqrt().max(least) * lengths.sqrt().max(least);
        cosines[batch * positions + position] = F::cast_from(product / bound);
    }
}

/// `[B, C, h, w], [B, K, C] -> [B, K, h, w]`, if the kernel takes these.
pub(super) fn maps(features: &CubeTensor, prototypes: &CubeTensor) -> Option<CubeTensor> {
    let ([b, c, h, w], [_, k, _]) = (dims(features), dims(prototypes));
    let [features, prototypes] = ready([features, prototypes])?;
    let grid = [(h * w).div_ceil(LANES as usize), k.div_ceil(TILE), b];
    let count = cubes(grid)?;
    let features = flat(features, [b, c, h * w]);
    let maps = output(&features, [b, k, h * w]);
    let client = features.client.clone();
    super::launch::by_type!(
        features,
        maps_kernel,
        (
            &client,
            count,
            CubeDim::new_2d(LANES, SLICES),
            features.into_tensor_arg(),
            prototypes.into_tensor_arg(),
            maps.clone().into_tensor_arg(),
            TILE.min(k),
            NORM_EPS as f32,
        )
    );
    Some(flat(maps, [b, k, h, w]))
}

/// `[B, C, h, w]` with a blend of maps of that shape and a prototype `[B, C]` to `[B, 1, h, w]`, if the kernel
/// takes these.
pub(super) fn blended(
    features: &CubeTensor,
    prototype: Option<&CubeTensor>,
    (map, weight): (&CubeTensor, f32),
    second: Option<(&CubeTensor, f32)>,
) -> Option<CubeTensor> {
    let [b, c, h, w] = dims(features);
    // What is absent is not read; something must stand in its place.
    let (other, second_weight) = second.unwrap_or((map, 0.0));
    let [features, vector, map, other] =
        ready([features, prototype.unwrap_or(features), map, other])?;
    let count = cubes([(h * w).div_ceil(LANES as usize), b, 1])?;
    let features = flat(features, [b, c, h * w]);
    let cosines = output(&features, [b, 1, h, w]);
    let client = features.client.clone();
    super::launch::by_type!(
        features,
        blended_kernel,
        (
            &client,
            count,
            CubeDim::new_2d(LANES, SLICES),
            features.into_tensor_arg(),
            vector.into_tensor_arg(),
            map.into_tensor_arg(),
            other.into_tensor_arg(),
            cosines.clone().into_tensor_arg(),
            weight,
            second_weight,
            prototype.is_some(),
            second.is_some(),
            NORM_EPS as f32,
        )
    );
    Some(cosines)
}

/// The same values, row-major, under another shape.
fn flat<const D: usize>(tensor: CubeTensor, shape: [usize; D]) -> CubeTensor {
    let CubeTensor { client, handle, device, dtype, .. } = tensor;
    CubeTensor::new_contiguous(client, device, shape.into(), handle, dtype)
}

/// A grid of cubes, none of whose axes is empty or longer than every runtime takes.
fn cubes([x, y, z]: [usize; 3]) -> Option<CubeCount> {
    let fits = [x, y, z].iter().all(|&axis| (1..=MOST_CUBES).contains(&axis));
    fits.then(|| CubeCount::Static(x as u32, y as u32, z as u32))
}
