//! The sizes of a convolution, and the walk along rows of a map that is cut into panels.

use super::Epilogue;
use crate::ConvGeometry;

/// The sizes of a convolution of one input `[B, C, h, w]` with one kernel `[O, C, kh, kw]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConvShape {
    /// `[B, C, h, w]`
    pub input: [usize; 4],
    /// `[O, C, kh, kw]`
    pub weight: [usize; 4],
    /// Stride, padding, dilation.
    pub geometry: ConvGeometry,
}

impl ConvShape {
    /// `[B, O, H, W]`; zero where the kernel does not fit.
    pub(crate) fn output_dims(&self) -> [usize; 4] {
        let [b, _, h, w] = self.input;
        let [o, _, kh, kw] = self.weight;
        [b, o, self.geometry.output_length(h, kh), self.geometry.output_length(w, kw)]
    }

    /// Pixels of one channel of the input.
    pub(super) fn input_pixels(&self) -> usize {
        self.input[2] * self.input[3]
    }

    /// Pixels of one channel of the output.
    pub(super) fn output_pixels(&self) -> usize {
        let [_, _, h, w] = self.output_dims();
        h * w
    }

    /// All that the unsafe code below relies on.
    pub(super) fn check(&self, x: &[f32], weight: &[f32], epilogue: &Epilogue<'_>) {
        let Self { input, weight: kernel, geometry } = *self;
        assert!(geometry.stride > 0 && geometry.dilation > 0, "stride and dilation start at 1");
        let output = self.output_dims();
        assert_eq!(input[1], kernel[1], "input {input:?} and weight {kernel:?} differ in channels");
        assert_eq!(x.len(), input.iter().product::<usize>(), "the input is not {input:?}");
        assert_eq!(weight.len(), kernel.iter().product::<usize>(), "the weight is not {kernel:?}");
        assert_eq!(epilogue.bias.len(), kernel[0], "one bias for each of {kernel:?}");
        if let Some(residual) = epilogue.residual {
            let length = output.iter().product::<usize>();
            assert_eq!(residual.len(), length, "the residual is not {output:?}");
        }
    }
}

/// A run of neighbours within one row of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// The row.
    pub row: usize,
    /// Where in the row the run starts.
    pub column: usize,
    /// Where in the panel the run starts.
    pub at: usize,
    /// Its length.
    pub length: usize,
}

/// Cuts the positions `start..start + count` of a row-major map into runs that stay in one row and are no
/// longer than `longest`.
pub(super) fn pieces(
    start: usize,
    count: usize,
    row_length: usize,
    longest: usize,
) -> impl Iterator<Item = Piece> {
    let mut at = 0;
    std::iter::from_fn(move || {
        (at < count).then(|| {
            let (row, column) = ((start + at) / row_length, (start + at) % row_length);
            let length = (row_length - column).min(count - at).min(longest);
            let piece = Piece { row, column, at, length };
            at += length;
            piece
        })
    })
}

/// The part of `width` neighbours, of which the first is at `x` (which may be negative), that lies in
/// `0..length`: from and to.
pub(super) fn inside(x: isize, width: usize, length: usize) -> (usize, usize) {
    let clamp = |v: isize| v.clamp(0, width as isize) as usize;
    let (from, to) = (clamp(-x), clamp(length as isize - x));
    (from.min(to), to)
}
