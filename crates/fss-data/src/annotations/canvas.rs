//! A label mask while it is being drawn: column after column, as runs are counted.

use ndarray::Array2;

/// The labels of an image, column-major: a run is one piece of memory.
pub(super) struct Canvas {
    height: usize,
    width: usize,
    columns: Vec<u8>,
}

impl Canvas {
    /// A canvas of zeros.
    pub(super) fn new(height: u32, width: u32) -> Self {
        let (height, width) = (height as usize, width as usize);
        Self { height, width, columns: vec![0; height * width] }
    }

    /// Gives the pixels `[start, end)`, counted down the columns, a label.
    pub(super) fn fill(&mut self, (start, end): (u32, u32), label: u8) {
        self.columns[start as usize..end as usize].fill(label);
    }

    /// Gives one pixel a label.
    pub(super) fn set(&mut self, y: usize, x: usize, label: u8) {
        self.columns[x * self.height + y] = label;
    }

    /// The mask `[H, W]`.
    pub(super) fn into_mask(self) -> Array2<u8> {
        let Self { height, width, columns } = self;
        let mut rows = vec![0; height * width];
        for left in (0..width).step_by(TILE) {
            for top in (0..height).step_by(TILE) {
                let (right, bottom) = ((left + TILE).min(width), (top + TILE).min(height));
                if (right - left, bottom - top) == (TILE, TILE) {
                    turn_tile(&columns, &mut rows, (height, width), (top, left));
                    continue;
                }
                for y in top..bottom {
                    for x in left..right {
                        rows[y * width + x] = columns[x * height + y];
                    }
                }
            }
        }
        Array2::from_shape_vec((height, width), rows).expect("one value a pixel, by construction")
    }
}

/// The side of a tile: the bytes of a word.
const TILE: usize = 8;

/// Copies a tile of columns to rows that are still zero, one word a column.
fn turn_tile(
    columns: &[u8],
    rows: &mut [u8],
    (height, width): (usize, usize),
    (top, left): (usize, usize),
) {
    let mut words = [0u64; TILE];
    for (i, word) in words.iter_mut().enumerate() {
        let start = (left + i) * height + top;
        let bytes = &columns[start..start + TILE];
        *word = u64::from_le_bytes(bytes.try_into().expect("the bytes of a word"));
    }
    if words == [0; TILE] {
        return;
    }
    // Blocks of 1, 2 and 4 bytes change places across the diagonal.
    for (step, mask) in
        [(1, 0x00ff_00ff_00ff_00ff_u64), (2, 0x0000_ffff_0000_ffff), (4, 0x0000_0000_ffff_ffff)]
    {
        for i in (0..TILE).filter(|i| i & step == 0) {
            let change = ((words[i] >> (8 * step)) ^ words[i + step]) & mask;
            words[i + step] ^= change;
            words[i] ^= change << (8 * step);
        }
    }
    for (i, word) in words.into_iter().enumerate() {
        let start = (top + i) * width + left;
        rows[start..start + TILE].copy_from_slice(&word.to_le_bytes());
    }
}
