//! What all launches share.

use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;

/// The largest number of cubes along an axis that every runtime takes (WebGPU's limit).
pub(super) const MOST_CUBES: usize = 65_535;

/// The units of a cube; every runtime takes as many (WebGPU's limit).
pub(super) const UNITS: u32 = 256;

/// The tensors in row-major order, if they are of one type that the kernels take.
pub(super) fn ready<const N: usize>(tensors: [&CubeTensor; N]) -> Option<[CubeTensor; N]> {
    let dtype = tensors[0].dtype;
    let taken = matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
        && tensors.iter().all(|tensor| {
            tensor.dtype == dtype && tensor.qparams.is_none() && !tensor.meta.is_tiled()
        });
    taken.then(|| tensors.map(|tensor| into_contiguous(tensor.clone())))
}

/// A tensor like `like` of another shape, for a kernel to fill.
pub(super) fn output<const D: usize>(like: &CubeTensor, shape: [usize; D]) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_contiguous_dtype(client, device, Shape::from(shape), like.dtype)
}

/// As many cubes of [`UNITS`] as so many units take, in up to two dimensions; `None` beyond what every runtime
/// takes.
pub(super) fn cubes_for(units: usize) -> Option<CubeCount> {
    let cubes = units.div_ceil(UNITS as usize);
    let columns = cubes.clamp(1, MOST_CUBES);
    let rows = cubes.div_ceil(columns);
    (rows <= MOST_CUBES).then(|| CubeCount::Static(columns as u32, rows.max(1) as u32, 1))
}

/// Launches a kernel for the element type of a tensor that is [`ready`].
///
/// Kernels check no index by themselves: each of them bounds what it reads and writes by the shapes of its operands,
/// which its launch function makes fit each other.
macro_rules! by_type {
    ($tensor:expr, $kernel:ident, ($($argument:expr),* $(,)?)) => {{
        let dtype = $tensor.dtype;
        // SAFETY: operands are row-major (`ready`, `output`) and of the shapes that the kernel's documentation
        // names; units beyond them do nothing.
        #[allow(unsafe_code)]
        unsafe {
            match dtype {
                burn::tensor::DType::F16 => $kernel::launch_unchecked::<half::f16>($($argument),*),
                burn::tensor::DType::BF16 => $kernel::launch_unchecked::<half::bf16>($($argument),*),
                _ => $kernel::launch_unchecked::<f32>($($argument),*),
            }
        }
    }};
}
pub(super) use by_type;
