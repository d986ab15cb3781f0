//! Matrix products over slices: a checked front of our own products for large matrices, and of the `gemm` crate
//! for all others.

use gemm::Parallelism;

use crate::cpu::{Factor, Product};

/// A matrix inside a slice.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    data: &'a [f32],
    layout: Layout,
    /// Which rows are meant, if not all of them in order.
    picked: Option<&'a [usize]>,
}

/// A matrix inside a slice that is written to.
pub(super) struct ViewMut<'a> {
    data: &'a mut [f32],
    layout: Layout,
}

#[derive(Clone, Copy, Debug)]
struct Layout {
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl Layout {
    fn row_major(rows: usize, columns: usize) -> Self {
        Self { rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// How many elements the slice must have at least.
    fn extent(&self) -> usize {
        if self.rows == 0 || self.columns == 0 {
            return 0;
        }
        (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride + 1
    }
}

impl<'a> View<'a> {
    /// All of a row-major matrix.
    pub(super) fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self { data, layout: Layout::row_major(rows, columns), picked: None }
    }

    /// Some rows of a row-major matrix, in the order given, as the right factor of a product.
    ///
    /// # Panics
    /// If a row does not exist.
    pub(super) fn picked(data: &'a [f32], rows: &'a [usize], columns: usize) -> Self {
        let last = rows.iter().max().map_or(0, |row| row + 1);
        assert!(last * columns <= data.len(), "row {last} of {columns} in {}", data.len());
        let layout = Layout::row_major(rows.len(), columns);
        Self { data, layout, picked: Some(rows) }
    }

    /// The columns `start..end`.
    pub(super) fn columns(self, start: usize, end: usize) -> Self {
        let layout = Layout { columns: end - start, ..self.layout };
        Self { data: &self.data[start * self.layout.column_stride..], layout, ..self }
    }

    /// The rows `start..end`.
    pub(super) fn rows(self, start: usize, end: usize) -> Self {
        let layout = Layout { rows: end - start, ..self.layout };
        match self.picked {
            Some(rows) => Self { layout, picked: Some(&rows[start..end]), ..self },
            None => {
                Self { data: &self.data[start * self.layout.row_stride..], layout, picked: None }
            }
        }
    }

    /// # Panics
    /// If rows are picked.
    pub(super) fn transposed(self) -> Self {
        assert!(self.picked.is_none(), "the transpose of picked rows");
        let Layout { rows, columns, row_stride, column_stride } = self.layout;
        let layout = Layout {
            rows: columns,
            columns: rows,
            row_stride: column_stride,
            column_stride: row_stride,
        };
        Self { layout, ..self }
    }
}

impl<'a> ViewMut<'a> {
    /// All of a row-major matrix.
    pub(super) fn new(data: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self { data, layout: Layout::row_major(rows, columns) }
    }

    /// The columns `start..end`.
    pub(super) fn columns(self, start: usize, end: usize) -> Self {
        let layout = Layout { columns: end - start, ..self.layout };
        Self { data: &mut self.data[start * self.layout.column_stride..], layout }
    }
}

/// What a product does with what stands in its destination.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    /// Writes over it.
    Replace,
    /// Adds to it.
    Add,
}

/// `target = left · right`, or `target += left · right`.
///
/// # Panics
/// If the sizes do not fit, or a view reaches out of its slice.
pub(super) fn product(target: ViewMut, left: View, right: View, write: Write) {
    let (t, l, r) = (target.layout, left.layout, right.layout);
    assert!(
        t.rows == l.rows && t.columns == r.columns && l.columns == r.rows && l.columns > 0,
        "product of {l:?} and {r:?} into {t:?}"
    );
    assert!(t.extent() <= target.data.len(), "target of {t:?} in {}", target.data.len());
    assert!(l.extent() <= left.data.len(), "left of {l:?} in {}", left.data.len());
    let all_rows = right.picked.is_none();
    assert!(!all_rows || r.extent() <= right.data.len(), "right of {r:?} in {}", right.data.len());
    if t.extent() == 0 {
        return;
    }
    assert!(left.picked.is_none(), "rows are picked of the right factor");
    let factor = |data: &[f32], layout: Layout| Factor {
        start: data.as_ptr(),
        row_stride: layout.row_stride,
        column_stride: layout.column_stride,
    };
    let large = Product {
        rows: t.rows,
        columns: t.columns,
        depth: l.columns,
        left: factor(left.data, l),
        right: factor(right.data, r),
        picked: right.picked,
        target: target.data.as_mut_ptr(),
        pitch: t.row_stride,
        add: write == Write::Add,
    };
    if large.is_large() {
        // SAFETY: the assertions above keep every element that is touched inside its slice, and the target is
        // borrowed exclusively. A view is a range of a row-major matrix or of its transpose: one stride is 1. Rows
        // that are picked were checked when they were.
        #[allow(unsafe_code)]
        return unsafe { large.run() };
    }
    if let Some(rows) = right.picked {
        let gathered: Vec<f32> = rows
            .iter()
            .flat_map(|row| &right.data[row * r.columns..][..r.columns])
            .copied()
            .collect();
        return product(target, left, View::new(&gathered, r.rows, r.columns), write);
    }
    let operations = t.rows * t.columns * l.columns;
    let parallelism = if operations < 1 << 16 { Parallelism::None } else { Parallelism::Rayon(0) };
    // `alpha` scales what is already there, `beta` the product.
    let (read, alpha) = match write {
        Write::Replace => (false, 0.0),
        Write::Add => (true, 1.0),
    };
    // SAFETY: as above: indices of a
    // matrix run up to `extent() - 1`. The target is borrowed exclusively, so it overlaps neither
    // operand, and its own elements do not overlap, since a `ViewMut` is a range of columns of a
    // row-major matrix.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            t.rows,
            t.columns,
            l.columns,
            target.data.as_mut_ptr(),
            t.column_stride as isize,
            t.row_stride as isize,
            read,
            left.data.as_ptr(),
            l.column_stride as isize,
            l.row_stride as isize,
            right.data.as_ptr(),
            r.column_stride as isize,
            r.row_stride as isize,
            alpha,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_parts_and_transposes() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let b = [1.0, 0.0, 2.0, -1.0];
        let mut out = [10.0; 6];
        // The last two columns of the 2x3 matrix, transposed, times b.
        let left = View::new(&a, 2, 3).columns(1, 3).transposed();
        product(ViewMut::new(&mut out, 2, 3).columns(1, 3), left, View::new(&b, 2, 2), Write::Add);
        assert_eq!(out, [10.0, 22.0, 5.0, 10.0, 25.0, 4.0]);
        product(ViewMut::new(&mut out[..4], 2, 2), left, View::new(&b, 2, 2), Write::Replace);
        assert_eq!(out[..4], [12.0, -5.0, 15.0, -6.0]);
        // The second row alone.
        let right = View::new(&b, 2, 2).rows(1, 2);
        product(ViewMut::new(&mut out[..4], 2, 2), left.columns(1, 2), right, Write::Replace);
        assert_eq!(out[..4], [10.0, -5.0, 12.0, -6.0]);
        // Both rows the other way round.
        let right = View::picked(&b, &[1, 0], 2);
        product(ViewMut::new(&mut out[..4], 2, 2), left, right, Write::Replace);
        assert_eq!(out[..4], [9.0, -2.0, 12.0, -3.0]);
        product(
            ViewMut::new(&mut out[..4], 2, 2),
            left.columns(0, 1),
            right.rows(1, 2),
            Write::Replace,
        );
        assert_eq!(out[..4], [2.0, 0.0, 3.0, 0.0]);
    }

    #[test]
    #[should_panic(expected = "product of")]
    fn sizes_that_do_not_fit_are_refused() {
        let a = [0.0; 6];
        let mut out = [0.0; 4];
        product(
            ViewMut::new(&mut out, 2, 2),
            View::new(&a, 2, 3),
            View::new(&a, 2, 3),
            Write::Replace,
        );
    }
}
