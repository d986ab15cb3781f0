//! [`Lanes`] for AVX-512 and for AVX2 with FMA.

use std::arch::x86_64::*;

use super::gemm::RegisterTile;
use super::lanes::{Kernel, Lanes, PANEL_VECTORS};
use super::tile_avx2;

/// AVX-512 (foundation): 16 lanes, 32 registers.
#[derive(Clone, Copy)]
pub(super) struct Avx512;

/// AVX2 with FMA: 8 lanes, 16 registers.
#[derive(Clone, Copy)]
pub(super) struct Avx2;

/// # Safety
/// As [`Kernel::run`], and AVX-512 exists.
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn enter_avx512<K: Kernel>(kernel: K) {
    // SAFETY: the instructions are on; the rest is the caller's.
    unsafe { kernel.run::<Avx512>() }
}

/// # Safety
/// As [`Kernel::run`], and AVX2 and FMA exist.
#[target_feature(enable = "avx2,fma")]
unsafe fn enter_avx2<K: Kernel>(kernel: K) {
    // SAFETY: the instructions are on; the rest is the caller's.
    unsafe { kernel.run::<Avx2>() }
}

/// The lane of the sequence `a, b` that goes into lane `i` of its even (`odd = 0`) or odd half.
const fn split_source(width: usize, unit: usize, odd: usize, i: usize) -> i32 {
    let at = (i / unit * 2 + odd) * unit + i % unit;
    debug_assert!(at < 2 * width);
    at as i32
}

/// The lane of the sequence `even, odd` that goes into lane `i` of the merged sequence's half `half`.
const fn merge_source(width: usize, unit: usize, half: usize, i: usize) -> i32 {
    let unit_index = (half * width + i) / unit;
    ((unit_index % 2) * width + unit_index / 2 * unit + i % unit) as i32
}

/// The lane of the sequence `a, next` that goes into lane `i` of [`Lanes::advance`].
const fn advance_source(width: usize, unit: usize, which: usize, i: usize) -> i32 {
    let at = i + unit;
    (if at < width { at } else { at + which * unit }) as i32
}

/// A table of source lanes for each of the two results of a two-vector permutation.
macro_rules! tables {
    ($name:ident, $source:ident, $width:literal) => {
        struct $name<const UNIT: usize>;
        impl<const UNIT: usize> $name<UNIT> {
            const LANES: [[i32; $width]; 2] = {
                let mut lanes = [[0; $width]; 2];
                let mut i = 0;
                while i < $width {
                    lanes[0][i] = $source($width, UNIT, 0, i);
                    lanes[1][i] = $source($width, UNIT, 1, i);
                    i += 1;
                }
                lanes
            };
        }
    };
}
tables!(Split16, split_source, 16);
tables!(Merge16, merge_source, 16);
tables!(Advance16, advance_source, 16);
tables!(Split8, split_source, 8);
tables!(Merge8, merge_source, 8);
tables!(Advance8, advance_source, 8);

// SAFETY (all blocks of this file): the trait's functions are called inside `enter` only, where the
// instructions are on, and the caller vouches for the memory. Tables are arrays of one vector's size.

#[inline(always)]
unsafe fn pick16(a: __m512, b: __m512, lanes: &[i32; 16]) -> __m512 {
    // SAFETY: as above.
    unsafe { _mm512_permutex2var_ps(a, _mm512_loadu_si512(lanes.as_ptr().cast()), b) }
}

#[inline(always)]
unsafe fn pick8(a: __m256, b: __m256, lanes: &[i32; 8]) -> __m256 {
    // SAFETY: as above. The permutation uses the low three bits of an index; bit 3, which names the
    // second vector, is moved to the sign for the blend.
    unsafe {
        let lanes = _mm256_loadu_si256(lanes.as_ptr().cast());
        let from_b = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(lanes));
        let a = _mm256_permutevar8x32_ps(a, lanes);
        let b = _mm256_permutevar8x32_ps(b, lanes);
        _mm256_blendv_ps(a, b, from_b)
    }
}

/// The parts of the implementation that differ only in the names of the intrinsics.
macro_rules! arithmetic {
    ($vector:ty, $splat:ident, $load:ident, $store:ident, $add:ident, $sub:ident, $mul:ident,
     $fma:ident, $fnma:ident, $max:ident, $zero:ident) => {
        #[inline(always)]
        unsafe fn splat(x: f32) -> $vector {
            // SAFETY: as above.
            unsafe { $splat(x) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> $vector {
            // SAFETY: as above.
            unsafe { $load(from) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, v: $vector) {
            // SAFETY: as above.
            unsafe { $store(to, v) }
        }
        #[inline(always)]
        unsafe fn prefetch(address: *const f32) {
            // SAFETY: as above; a prefetch never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
        }
        #[inline(always)]
        unsafe fn prefetch_near(address: *const f32) {
            // SAFETY: as above; a prefetch never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
        }
        #[inline(always)]
        unsafe fn add(a: $vector, b: $vector) -> $vector {
            // SAFETY: as above.
            unsafe { $add(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: $vector, b: $vector) -> $vector {
            // SAFETY: as above.
            unsafe { $sub(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: $vector, b: $vector) -> $vector {
            // SAFETY: as above.
            unsafe { $mul(a, b) }
        }
        #[inline(always)]
        unsafe fn fma(a: $vector, b: $vector, c: $vector) -> $vector {
            // SAFETY: as above.
            unsafe { $fma(a, b, c) }
        }
        #[inline(always)]
        unsafe fn fnma(a: $vector, b: $vector, c: $vector) -> $vector {
            // SAFETY: as above.
            unsafe { $fnma(a, b, c) }
        }
        #[inline(always)]
        unsafe fn relu(a: $vector) -> $vector {
            // SAFETY: as above. The instruction returns its second operand when one is NaN.
            unsafe { $max($zero(), a) }
        }
    };
}

impl Lanes for Avx512 {
    type Vector = __m512;
    type Mask = __mmask16;
    const WIDTH: usize = 16;
    const ROWS: usize = 8;

    #[inline(always)]
    unsafe fn enter<K: Kernel>(kernel: K) {
        // SAFETY: the caller's.
        unsafe { enter_avx512(kernel) }
    }

    arithmetic!(
        __m512,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_add_ps,
        _mm512_sub_ps,
        _mm512_mul_ps,
        _mm512_fmadd_ps,
        _mm512_fnmadd_ps,
        _mm512_max_ps,
        _mm512_setzero_ps
    );

    #[inline(always)]
    unsafe fn mask(from: usize, to: usize) -> __mmask16 {
        (((1u32 << to) - 1) & !((1u32 << from) - 1)) as __mmask16
    }
    #[inline(always)]
    unsafe fn load_masked(from: *const f32, mask: __mmask16) -> __m512 {
        // SAFETY: as above; masked-out lanes are not read.
        unsafe { _mm512_maskz_loadu_ps(mask, from) }
    }
    #[inline(always)]
    unsafe fn store_masked(to: *mut f32, mask: __mmask16, v: __m512) {
        // SAFETY: as above; masked-out lanes are not written.
        unsafe { _mm512_mask_storeu_ps(to, mask, v) }
    }
    #[inline(always)]
    unsafe fn deinterleave<const UNIT: usize>(a: __m512, b: __m512) -> (__m512, __m512) {
        let [even, odd] = &Split16::<UNIT>::LANES;
        // SAFETY: as above.
        unsafe { (pick16(a, b, even), pick16(a, b, odd)) }
    }
    #[inline(always)]
    unsafe fn interleave<const UNIT: usize>(even: __m512, odd: __m512) -> (__m512, __m512) {
        let [low, high] = &Merge16::<UNIT>::LANES;
        // SAFETY: as above.
        unsafe { (pick16(even, odd, low), pick16(even, odd, high)) }
    }
    #[inline(always)]
    unsafe fn advance<const UNIT: usize>(a: __m512, next: __m512, unit: usize) -> __m512 {
        // SAFETY: as above.
        unsafe { pick16(a, next, &Advance16::<UNIT>::LANES[unit]) }
    }
    #[inline(always)]
    unsafe fn register_tile(tile: RegisterTile) {
        // SAFETY: the caller's.
        unsafe { tile.run::<Self, { Self::ROWS }>() }
    }
}

impl Lanes for Avx2 {
    type Vector = __m256;
    type Mask = __m256i;
    const WIDTH: usize = 8;
    const ROWS: usize = tile_avx2::ROWS;

    #[inline(always)]
    unsafe fn enter<K: Kernel>(kernel: K) {
        // SAFETY: the caller's.
        unsafe { enter_avx2(kernel) }
    }

    arithmetic!(
        __m256,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_add_ps,
        _mm256_sub_ps,
        _mm256_mul_ps,
        _mm256_fmadd_ps,
        _mm256_fnmadd_ps,
        _mm256_max_ps,
        _mm256_setzero_ps
    );

    #[inline(always)]
    unsafe fn mask(from: usize, to: usize) -> __m256i {
        // SAFETY: as above. A lane is on when its number is at least `from` and less than `to`.
        unsafe {
            let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let below_from = _mm256_cmpgt_epi32(_mm256_set1_epi32(from as i32), lane);
            let below_to = _mm256_cmpgt_epi32(_mm256_set1_epi32(to as i32), lane);
            _mm256_andnot_si256(below_from, below_to)
        }
    }
    #[inline(always)]
    unsafe fn load_masked(from: *const f32, mask: __m256i) -> __m256 {
        // SAFETY: as above; masked-out lanes are not read.
        unsafe { _mm256_maskload_ps(from, mask) }
    }
    #[inline(always)]
    unsafe fn store_masked(to: *mut f32, mask: __m256i, v: __m256) {
        // SAFETY: as above; masked-out lanes are not written. On Zen a masked store takes as long as 24
        // multiply-adds, and nearly all masks are full.
        unsafe {
            if _mm256_movemask_ps(_mm256_castsi256_ps(mask)) == 0xff {
                _mm256_storeu_ps(to, v)
            } else {
                _mm256_maskstore_ps(to, mask, v)
            }
        }
    }
    #[inline(always)]
    unsafe fn deinterleave<const UNIT: usize>(a: __m256, b: __m256) -> (__m256, __m256) {
        let [even, odd] = &Split8::<UNIT>::LANES;
        // SAFETY: as above.
        unsafe { (pick8(a, b, even), pick8(a, b, odd)) }
    }
    #[inline(always)]
    unsafe fn interleave<const UNIT: usize>(even: __m256, odd: __m256) -> (__m256, __m256) {
        let [low, high] = &Merge8::<UNIT>::LANES;
        // SAFETY: as above.
        unsafe { (pick8(even, odd, low), pick8(even, odd, high)) }
    }
    #[inline(always)]
    unsafe fn advance<const UNIT: usize>(a: __m256, next: __m256, unit: usize) -> __m256 {
        // SAFETY: as above.
        unsafe { pick8(a, next, &Advance8::<UNIT>::LANES[unit]) }
    }
    #[inline(always)]
    unsafe fn register_tile(tile: RegisterTile) {
        // SAFETY: the caller's.
        unsafe {
            if tile.vectors < PANEL_VECTORS {
                tile.run::<Self, { Self::ROWS }>();
            } else {
                tile_avx2::sum(tile);
            }
        }
    }
}
