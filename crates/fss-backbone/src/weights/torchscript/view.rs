//! Tensors as views of storages.

/// A storage: which, of what, how many.
#[derive(Debug, Clone)]
pub(super) struct Storage {
    /// Class below `torch`, e.g. `HalfStorage`.
    pub class: String,
    /// Name of its entry below `data/`.
    pub key: String,
    /// Number of values.
    pub values: usize,
}

/// A tensor as a view of a storage.
#[derive(Debug, Clone)]
pub(super) struct TensorView {
    pub storage: Storage,
    /// Index of the first value.
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

impl TensorView {
    /// Refuses views that reach beyond their storage or repeat its values.
    pub(super) fn check(&self) -> Result<(), String> {
        let bad = || format!("shape {:?} does not fit its storage", self.shape);
        if self.shape.len() != self.strides.len() {
            return Err(bad());
        }
        let count = self.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).ok_or_else(bad)?;
        let reach = match count {
            0 => Some(0),
            _ => {
                self.shape.iter().zip(&self.strides).try_fold(self.offset + 1, |end, (d, s)| {
                    end.checked_add((d - 1).checked_mul(*s)?)
                })
            }
        };
        match reach {
            Some(reach) if reach <= self.storage.values && count <= self.storage.values => Ok(()),
            _ => Err(bad()),
        }
    }

    pub(super) fn is_contiguous(&self) -> bool {
        let mut step = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(&length, &stride)| {
            let fits = length == 1 || stride == step;
            step *= length;
            fits
        })
    }

    /// Calls `visit` with the index of every value in its storage, row-major.
    pub(super) fn for_each_index(&self, mut visit: impl FnMut(usize)) {
        let count: usize = self.shape.iter().product();
        let mut at = vec![0; self.shape.len()];
        let mut index = self.offset;
        for _ in 0..count {
            visit(index);
            for axis in (0..at.len()).rev() {
                at[axis] += 1;
                index += self.strides[axis];
                if at[axis] < self.shape[axis] {
                    break;
                }
                index -= self.strides[axis] * self.shape[axis];
                at[axis] = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(values: usize, offset: usize, shape: &[usize], strides: &[usize]) -> TensorView {
        let storage = Storage { class: "FloatStorage".into(), key: "0".into(), values };
        TensorView { storage, offset, shape: shape.to_vec(), strides: strides.to_vec() }
    }

    fn indices(view: &TensorView) -> Vec<usize> {
        let mut indices = Vec::new();
        view.for_each_index(|index| indices.push(index));
        indices
    }

    #[test]
    fn strides_are_followed() {
        let transposed = view(7, 1, &[2, 3], &[1, 2]);
        assert!(transposed.check().is_ok() && !transposed.is_contiguous());
        assert_eq!(indices(&transposed), [1, 3, 5, 2, 4, 6]);
        let plain = view(6, 0, &[2, 1, 3], &[3, 9, 1]);
        assert!(plain.is_contiguous());
        assert_eq!(indices(&plain), [0, 1, 2, 3, 4, 5]);
        assert_eq!(indices(&view(1, 0, &[], &[])), [0]);
        assert_eq!(indices(&view(0, 0, &[0, 3], &[3, 1])), [0; 0]);
    }

    #[test]
    fn views_beyond_their_storage_are_refused() {
        for bad in [
            view(5, 0, &[2, 3], &[3, 1]),
            view(6, 1, &[2, 3], &[3, 1]),
            view(1, 0, &[1 << 30], &[0]),
            view(6, 0, &[usize::MAX, 2], &[1, 1]),
            view(6, 0, &[2], &[]),
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        assert!(view(0, 0, &[0, 3], &[3, 1]).check().is_ok());
    }
}
