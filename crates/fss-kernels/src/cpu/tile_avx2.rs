//! The register tile of AVX2, where 12 sums, three vectors and a weight take all 16 registers.
//!
//! Compilers tend to keep a second weight and to spill a sum for it, whose way through memory then takes twice as long
//! as all multiplications of the step. Hence the assembly.

use std::arch::asm;
use std::arch::x86_64::{_mm256_setzero_ps, _mm256_storeu_ps};

use super::gemm::{RegisterTile, WEIGHTS_AHEAD};

/// Rows of the tile.
pub(super) const ROWS: usize = 4;
/// Numbers of a vector.
const WIDTH: usize = 8;

/// [`RegisterTile::run`] for a tile of four rows and three vectors.
///
/// # Safety
/// As there; AVX2 and FMA exist.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn sum(tile: RegisterTile) {
    let mut sums = [_mm256_setzero_ps(); 3 * ROWS];
    if tile.k > 0 {
        let [s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11] = &mut sums;
        // SAFETY: reads `k` steps of weights and pixels, which the caller vouches for, and writes nothing; a prefetch
        // accepts any address.
        unsafe {
            asm!(
                "2:",
                "vmovups ymm12, [{pixels}]",
                "vmovups ymm13, [{pixels} + 32]",
                "vmovups ymm14, [{pixels} + 64]",
                "vbroadcastss ymm15, [{weights}]",
                "vfmadd231ps ymm0, ymm15, ymm12",
                "vfmadd231ps ymm1, ymm15, ymm13",
                "vfmadd231ps ymm2, ymm15, ymm14",
                "vbroadcastss ymm15, [{weights} + 4]",
                "vfmadd231ps ymm3, ymm15, ymm12",
                "vfmadd231ps ymm4, ymm15, ymm13",
                "vfmadd231ps ymm5, ymm15, ymm14",
                "vbroadcastss ymm15, [{weights} + 8]",
                "vfmadd231ps ymm6, ymm15, ymm12",
                "vfmadd231ps ymm7, ymm15, ymm13",
                "vfmadd231ps ymm8, ymm15, ymm14",
                "vbroadcastss ymm15, [{weights} + 12]",
                "vfmadd231ps ymm9, ymm15, ymm12",
                "vfmadd231ps ymm10, ymm15, ymm13",
                "vfmadd231ps ymm11, ymm15, ymm14",
                "prefetcht0 [{weights} + {weights_ahead}]",
                "prefetcht1 [{ahead}]",
                "add {pixels}, 96",
                "add {weights}, 16",
                "add {ahead}, {step}",
                "dec {k}",
                "jnz 2b",
                pixels = inout(reg) tile.pixels => _,
                weights = inout(reg) tile.weights => _,
                ahead = inout(reg) tile.ahead => _,
                k = inout(reg) tile.k => _,
                step = in(reg) tile.ahead_step * size_of::<f32>(),
                weights_ahead = const WEIGHTS_AHEAD * size_of::<f32>(),
                inout("ymm0") *s0, inout("ymm1") *s1, inout("ymm2") *s2,
                inout("ymm3") *s3, inout("ymm4") *s4, inout("ymm5") *s5,
                inout("ymm6") *s6, inout("ymm7") *s7, inout("ymm8") *s8,
                inout("ymm9") *s9, inout("ymm10") *s10, inout("ymm11") *s11,
                out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
                options(nostack, readonly),
            );
        }
    }
    for (r, row) in sums.chunks_exact(3).enumerate() {
        for (v, sum) in row.iter().enumerate() {
            let to = tile.sums.wrapping_add(r * tile.pitch + v * WIDTH);
            // SAFETY: the caller vouches for the sums' rows.
            unsafe { _mm256_storeu_ps(to, *sum) }
        }
    }
}
