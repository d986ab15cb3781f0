//! What the masks of a fold show.

use ndarray::Array2;

use crate::folds::Fold;
use crate::{ClassId, IGNORE_INDEX};

/// What becomes of pixels that an annotator left undecided (255).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Void {
    /// They are background, as published.
    #[default]
    Background,
    /// They stay ignored.
    Ignored,
}

/// A mask of a training image: held-out classes are 255. `None` if nothing but background and held-out
/// classes is left, so that the image teaches nothing.
pub fn training_mask(mask: &Array2<u8>, fold: &Fold, void: Void) -> Option<Array2<u8>> {
    let mask = test_mask(mask, fold, void)
        .mapv(|label| if fold.is_novel(ClassId::from(label)) { IGNORE_INDEX } else { label });
    mask.iter().any(|label| *label != 0 && *label != IGNORE_INDEX).then_some(mask)
}

/// A mask of a test image: all classes stay. Labels of no class are background.
pub fn test_mask(mask: &Array2<u8>, fold: &Fold, void: Void) -> Array2<u8> {
    mask.mapv(|label| match label {
        IGNORE_INDEX if void == Void::Ignored => label,
        label if usize::from(label) > fold.classes() => 0,
        label => label,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn held_out_classes_are_ignored_in_training() {
        let fold = Fold::pascal(0).unwrap();
        let mask = array![[0, 3], [255, 9]];
        assert_eq!(training_mask(&mask, &fold, Void::Background), Some(array![[0, 255], [0, 9]]));
        assert_eq!(training_mask(&mask, &fold, Void::Ignored), Some(array![[0, 255], [255, 9]]));
        assert_eq!(training_mask(&array![[0, 3]], &fold, Void::Background), None);
        assert_eq!(test_mask(&array![[77, 3]], &fold, Void::Background), array![[0, 3]]);
    }
}
