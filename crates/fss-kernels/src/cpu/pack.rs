//! Rows of weights next to each other, as the register tile reads them.

use super::lanes::{Lanes, MAX_ROWS};

/// The rows of one group of `ROWS` output channels in weights `[outputs][depth]`. Rows behind the last
/// channel repeat it: their sums are not used.
pub(super) fn group_rows<S: Lanes>(
    weight: &[f32],
    [outputs, depth]: [usize; 2],
    group: usize,
) -> [&[f32]; MAX_ROWS] {
    std::array::from_fn(|r| {
        let o = (group * S::ROWS + r).min(outputs - 1);
        &weight[o * depth..][..depth]
    })
}

/// Writes the numbers `from..from + count` of `ROWS` rows as `[count][ROWS]`.
///
/// # Safety
/// Inside [`Lanes::enter`]; `to` has room for `count * ROWS` numbers.
///
/// # Panics
/// If a row is shorter than `from + count`.
#[inline(always)]
pub(super) unsafe fn pack<S: Lanes>(
    rows: &[&[f32]; MAX_ROWS],
    from: usize,
    count: usize,
    to: *mut f32,
) {
    let rows = rows.map(|row| row[from..][..count].as_ptr());
    // SAFETY: the rows were cut to `count` numbers; the rest is the caller's.
    unsafe { interleave::<S>(rows, count, to) }
}

/// [`pack`] of the first `count` numbers of rows that start at `rows`.
///
/// # Safety
/// As [`pack`], and the rows have so many numbers.
#[inline(always)]
pub(super) unsafe fn interleave<S: Lanes>(
    rows: [*const f32; MAX_ROWS],
    count: usize,
    to: *mut f32,
) {
    for k in (0..count).step_by(S::WIDTH) {
        let length = (count - k).min(S::WIDTH);
        // SAFETY: masks admit numbers of the rows only, and as many numbers of the target.
        unsafe {
            let mask = S::mask(0, length);
            let mut block = [S::splat(0.0); MAX_ROWS];
            for (v, row) in block.iter_mut().zip(rows).take(S::ROWS) {
                *v = S::load_masked(row.wrapping_add(k), mask);
            }
            let block = shuffle::<S, MAX_ROWS>(block, S::ROWS);
            let to = to.wrapping_add(k * S::ROWS);
            for (i, v) in block.into_iter().enumerate().take(S::ROWS) {
                let room = (length * S::ROWS).saturating_sub(i * S::WIDTH).min(S::WIDTH);
                S::store_masked(to.wrapping_add(i * S::WIDTH), S::mask(0, room), v);
            }
        }
    }
}

/// The numbers of a block of `count` vectors (a power of two), column by column: its first half is shuffled into its
/// second, like cards, once for each bit of a row's number.
///
/// # Safety
/// Inside [`Lanes::enter`].
#[inline(always)]
unsafe fn shuffle<S: Lanes, const N: usize>(
    mut block: [S::Vector; N],
    count: usize,
) -> [S::Vector; N] {
    for _ in 0..count.ilog2() {
        let cards = block;
        for i in 0..count / 2 {
            // SAFETY: the caller's.
            let (low, high) = unsafe { S::interleave::<1>(cards[i], cards[i + count / 2]) };
            block[2 * i] = low;
            block[2 * i + 1] = high;
        }
    }
    block
}

/// The most lanes of a vector.
const MAX_WIDTH: usize = 16;

/// Writes `depth` numbers of up to `WIDTH` rows, `stride` apart, as columns of a panel `[depth][PANEL]`. Columns
/// behind the last one repeat it.
///
/// # Safety
/// Inside [`Lanes::enter`]; the rows can be read, and `depth` vectors `PANEL` apart written at `to`.
#[inline(always)]
pub(super) unsafe fn transpose<S: Lanes>(
    from: *const f32,
    stride: usize,
    rows: usize,
    depth: usize,
    to: *mut f32,
) {
    const { assert!(S::WIDTH <= MAX_WIDTH) };
    for k in (0..depth).step_by(S::WIDTH) {
        let length = (depth - k).min(S::WIDTH);
        // SAFETY: masks admit numbers of the rows only, and as many vectors are stored.
        unsafe {
            let mask = S::mask(0, length);
            let mut block = [S::splat(0.0); MAX_WIDTH];
            for (r, v) in block.iter_mut().enumerate().take(S::WIDTH) {
                *v = S::load_masked(from.wrapping_add(r.min(rows - 1) * stride + k), mask);
            }
            let block = shuffle::<S, MAX_WIDTH>(block, S::WIDTH);
            for (i, v) in block.into_iter().enumerate().take(length) {
                S::store(to.wrapping_add((k + i) * S::PANEL), v);
            }
        }
    }
}
