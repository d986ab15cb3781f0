//! Which class has which index.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::folds::{Fold, FoldScheme};
use crate::{ClassId, DataError, IGNORE_INDEX};

/// In which order novel classes get their indices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NovelOrder {
    /// By ascending class id.
    #[default]
    Ascending,
    /// As Python 3.6 walks through a set of the ids. It differs on COCO-20i alone, where official
    /// stage-2 checkpoints and few-shot lists may have it.
    Python36,
}

/// The order of COCO-20i's novel classes under Python 3.6, by fold.
const PYTHON36_COCO: [[ClassId; 20]; 4] = [
    [1, 33, 65, 5, 37, 69, 9, 41, 73, 13, 45, 77, 17, 49, 61, 21, 53, 25, 29, 57],
    [2, 34, 58, 66, 6, 38, 70, 10, 42, 74, 14, 46, 78, 18, 50, 22, 54, 62, 26, 30],
    [3, 35, 67, 7, 39, 59, 71, 11, 43, 75, 15, 47, 79, 19, 51, 55, 23, 27, 63, 31],
    [32, 64, 4, 36, 68, 8, 40, 72, 12, 44, 60, 76, 16, 48, 80, 20, 52, 24, 56, 28],
];

/// Which classes keep their indices in labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Base and novel ones.
    All,
    /// Base ones; novel ones become background.
    Base,
    /// Novel ones, with indices from 1; base ones become background.
    Novel,
}

/// Base and novel classes in the order of the network's indices: 0 background, then base classes, then
/// novel ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GfssClasses {
    base: Vec<ClassId>,
    novel: Vec<ClassId>,
}

impl GfssClasses {
    /// The classes of a fold; base classes by ascending id.
    ///
    /// # Errors
    /// If a class is both, or there are more than 254.
    pub fn of_fold(fold: &Fold, order: NovelOrder) -> Result<Self, DataError> {
        let mut novel = fold.novel_classes();
        let scrambled = order == NovelOrder::Python36
            && fold.scheme() == FoldScheme::Interleaved
            && fold.classes() == 80;
        if scrambled && let Some(order) = PYTHON36_COCO.get(fold.index()) {
            novel = order.to_vec();
        }
        Self::new(fold.base_classes(), novel)
    }

    /// Classes in the order of their indices.
    ///
    /// # Errors
    /// If a class is listed twice, is 0, or there are more than 254.
    pub fn new(base: Vec<ClassId>, novel: Vec<ClassId>) -> Result<Self, DataError> {
        let refuse = |what: String, remedy: &str| {
            Err(DataError::Setting { what, remedy: remedy.to_owned() })
        };
        let mut sorted = [base.clone(), novel.clone()].concat();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            let both = base.contains(&pair[0]) && novel.contains(&pair[0]);
            let how = if both { "both base and novel" } else { "listed twice" };
            return refuse(format!("class {} is {how}", pair[0]), "list each class once");
        }
        if sorted.first() == Some(&0) || base.is_empty() {
            return refuse(
                "a list of classes without a base class, or with class 0 (the background)".into(),
                "number classes from 1 and name at least one base class",
            );
        }
        if sorted.len() >= usize::from(IGNORE_INDEX) {
            return refuse(
                format!("{} classes do not fit into 8-bit labels", sorted.len()),
                "use at most 254",
            );
        }
        Ok(Self { base, novel })
    }

    /// Base classes: `base()[i]` has index i + 1.
    pub fn base(&self) -> &[ClassId] {
        &self.base
    }

    /// Novel classes: `novel()[i]` has index `base().len() + i + 1`.
    pub fn novel(&self) -> &[ClassId] {
        &self.novel
    }

    /// The index of a class; none if it is neither base nor novel.
    pub fn index_of(&self, class: ClassId) -> Option<u8> {
        let all = self.base.iter().chain(&self.novel);
        all.zip(1..).find(|(known, _)| **known == class).map(|(_, index)| index)
    }

    /// Labels with the network's indices, of a mask with class ids (or one in which 1 means the class
    /// `only`). `what` names the mask in messages.
    ///
    /// # Errors
    /// [`DataError::Setting`] for a label of no class.
    pub fn labels(
        &self,
        mask: &Array2<u8>,
        only: Option<ClassId>,
        shown: Shown,
        what: &str,
    ) -> Result<Array2<u8>, DataError> {
        let base = self.base.len() as u8;
        let table: Vec<Option<u8>> = (0..=u8::MAX)
            .map(|value| match value {
                0 | IGNORE_INDEX => Some(value),
                _ => {
                    let index = self.index_of(only.unwrap_or(ClassId::from(value)))?;
                    Some(match shown {
                        Shown::All => index,
                        Shown::Base if index <= base => index,
                        Shown::Novel if index > base => index - base,
                        Shown::Base | Shown::Novel => 0,
                    })
                }
            })
            .collect();
        if let Some(value) = mask.iter().find(|value| table[usize::from(**value)].is_none()) {
            return Err(DataError::Setting {
                what: format!("{what}: label {value} is neither a base nor a novel class"),
                remedy: "masks hold class ids as grey values or palette indices; `fss data check` lists \
                         masks with others"
                    .into(),
            });
        }
        Ok(mask.mapv(|value| table[usize::from(value)].unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn labels_become_ranks() {
        let classes = GfssClasses::new(vec![2, 7], vec![9, 1]).unwrap();
        let mask = array![[0, 2, 7], [9, 1, 255]];
        let labels = |shown| classes.labels(&mask, None, shown, "m.png").unwrap();
        assert_eq!(labels(Shown::All), array![[0, 1, 2], [3, 4, 255]]);
        assert_eq!(labels(Shown::Base), array![[0, 1, 2], [0, 0, 255]]);
        assert_eq!(labels(Shown::Novel), array![[0, 0, 0], [1, 2, 255]]);
        let one = classes.labels(&array![[0, 1, 255]], Some(9), Shown::All, "m.png").unwrap();
        assert_eq!(one, array![[0, 3, 255]]);
        let error = classes.labels(&array![[3]], None, Shown::All, "m.png").unwrap_err();
        assert!(error.to_string().contains("m.png: label 3"), "{error}");
    }

    #[test]
    fn classes_that_overlap_are_refused() {
        let message = |base: &[ClassId], novel: &[ClassId]| {
            GfssClasses::new(base.to_vec(), novel.to_vec()).unwrap_err().to_string()
        };
        assert!(message(&[1, 2], &[2]).contains("class 2 is both base and novel"));
        assert!(message(&[1, 1], &[2]).contains("class 1 is listed twice"));
        assert!(message(&[], &[2]).contains("without a base class"));
    }
}
