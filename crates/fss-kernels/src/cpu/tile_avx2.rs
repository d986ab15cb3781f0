//! The register tile of AVX2, where 12 sums, three vectors and a weight take all 16 registers.
//!
//! Compilers tend to keep a second weight and to spill a sum for it, whose way through memory then takes twice as long
//! as all multiplications of the step. Hence the assembly. Four steps at a time take a cache line of weights and few
//! instructions besides multiplications, which counts where two threads share a core.

use std::arch::asm;
use std::arch::x86_64::{_mm256_setzero_ps, _mm256_storeu_ps};

use super::gemm::{RegisterTile, WEIGHTS_AHEAD};

/// Rows of the tile.
pub(super) const ROWS: usize = 4;
/// Numbers of a vector.
const WIDTH: usize = 8;

/// One step, whose pixels and weights are so many bytes further on.
macro_rules! step {
    ($pixels:literal, $weights:literal) => {
        concat!(
            step!(load "ymm12", $pixels, 0),
            step!(load "ymm13", $pixels, 32),
            step!(load "ymm14", $pixels, 64),
            step!(row $weights, 0, "ymm0", "ymm1", "ymm2"),
            step!(row $weights, 4, "ymm3", "ymm4", "ymm5"),
            step!(row $weights, 8, "ymm6", "ymm7", "ymm8"),
            step!(row $weights, 12, "ymm9", "ymm10", "ymm11"),
        )
    };
    (load $to:literal, $pixels:literal, $offset:literal) => {
        concat!("vmovups ", $to, ", [{pixels} + ", $pixels, " + ", $offset, "]\n")
    };
    (row $weights:literal, $offset:literal, $a:literal, $b:literal, $c:literal) => {
        concat!(
            "vbroadcastss ymm15, [{weights} + ", $weights, " + ", $offset, "]\n",
            "vfmadd231ps ", $a, ", ymm15, ymm12\n",
            "vfmadd231ps ", $b, ", ymm15, ymm13\n",
            "vfmadd231ps ", $c, ", ymm15, ymm14\n",
        )
    };
}

/// [`RegisterTile::run`] for a tile of four rows and three vectors.
///
/// # Safety
/// As there; AVX2 and FMA exist.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn sum(tile: RegisterTile) {
    let mut sums = [_mm256_setzero_ps(); 3 * ROWS];
    {
        let [s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11] = &mut sums;
        // SAFETY: reads `k` steps of weights and pixels, which the caller vouches for, and writes nothing; a prefetch
        // accepts any address.
        unsafe {
            asm!(
                "test {fours}, {fours}",
                "jz 3f",
                "2:",
                step!(0, 0),
                step!(96, 16),
                step!(192, 32),
                step!(288, 48),
                "prefetcht0 [{weights} + {weights_ahead}]",
                "prefetcht1 [{ahead}]",
                "add {pixels}, 384",
                "add {weights}, 64",
                "add {ahead}, {ahead_step}",
                "dec {fours}",
                "jnz 2b",
                "3:",
                "test {rest}, {rest}",
                "jz 5f",
                "4:",
                step!(0, 0),
                "add {pixels}, 96",
                "add {weights}, 16",
                "dec {rest}",
                "jnz 4b",
                "5:",
                pixels = inout(reg) tile.pixels => _,
                weights = inout(reg) tile.weights => _,
                ahead = inout(reg) tile.ahead => _,
                fours = inout(reg) tile.k / 4 => _,
                rest = inout(reg) tile.k % 4 => _,
                ahead_step = in(reg) 4 * tile.ahead_step * size_of::<f32>(),
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
