//! Cross-validation folds: which classes are novel (held out of training) and which are base.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{DataError, IGNORE_INDEX};

/// How many folds the classes of a data set are cut into.
pub const FOLDS: usize = 4;

/// How classes are dealt to the folds.
///
/// The same data set is cut in both ways in the literature; a model trained under one scheme
/// has seen novel classes of the other, so results across schemes are meaningless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FoldScheme {
    /// Fold f holds the labels `n/4*f + 1 ..= n/4*(f + 1)`: PASCAL-5i everywhere, COCO-20i in
    /// some protocols.
    Contiguous,
    /// Fold f holds the labels `f + 1, f + 5, f + 9, ..`: COCO-20i in the HSNet protocol.
    Interleaved,
}

impl fmt::Display for FoldScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Contiguous => "contiguous",
            Self::Interleaved => "interleaved",
        })
    }
}

impl FromStr for FoldScheme {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        match text {
            "contiguous" => Ok(Self::Contiguous),
            "interleaved" => Ok(Self::Interleaved),
            _ => Err(DataError::Setting {
                what: format!("there is no fold scheme {text:?}"),
                remedy: "use contiguous or interleaved".into(),
            }),
        }
    }
}

/// The two sides of a fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subset {
    /// The classes that a model is trained on.
    Base,
    /// The classes that are held out of training and tested.
    Novel,
}

/// One fold of a data set whose classes have the labels `1..=classes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawFold", into = "RawFold")]
pub struct Fold {
    index: usize,
    classes: usize,
    scheme: FoldScheme,
}

#[derive(Serialize, Deserialize)]
struct RawFold {
    index: usize,
    classes: usize,
    scheme: FoldScheme,
}

impl TryFrom<RawFold> for Fold {
    type Error = DataError;

    fn try_from(raw: RawFold) -> Result<Self, DataError> {
        Self::new(raw.index, raw.classes, raw.scheme)
    }
}

impl From<Fold> for RawFold {
    fn from(fold: Fold) -> Self {
        Self { index: fold.index, classes: fold.classes, scheme: fold.scheme }
    }
}

impl Fold {
    /// Fold `index` (`0..4`) of `classes` classes.
    ///
    /// # Errors
    /// If the index is above 3, or if the number of classes is 0, no multiple of 4 or above 254
    /// (label 255 is the ignored one).
    pub fn new(index: usize, classes: usize, scheme: FoldScheme) -> Result<Self, DataError> {
        if index >= FOLDS {
            return Err(DataError::Setting {
                what: format!("there is no fold {index}"),
                remedy: format!("folds are numbered 0 to {}", FOLDS - 1),
            });
        }
        if classes == 0 || !classes.is_multiple_of(FOLDS) || classes >= usize::from(IGNORE_INDEX) {
            return Err(DataError::Setting {
                what: format!("{classes} classes cannot be cut into {FOLDS} equal folds"),
                remedy: format!(
                    "give a multiple of {FOLDS} below {IGNORE_INDEX}, as 20 (PASCAL) or 80 (COCO)"
                ),
            });
        }
        Ok(Self { index, classes, scheme })
    }

    /// Fold `index` of PASCAL-5i: 20 classes, contiguous.
    ///
    /// # Errors
    /// If the index is above 3.
    pub fn pascal(index: usize) -> Result<Self, DataError> {
        Self::new(index, 20, FoldScheme::Contiguous)
    }

    /// The number of the fold, `0..4`.
    pub fn index(&self) -> usize {
        self.index
    }

    /// How many classes the data set has, background not counted.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How the classes are dealt.
    pub fn scheme(&self) -> FoldScheme {
        self.scheme
    }

    /// Whether the label belongs to a novel class.
    pub fn is_novel(&self, label: u8) -> bool {
        let label = usize::from(label);
        (1..=self.classes).contains(&label) && self.fold_of(label) == self.index
    }

    /// The labels of the novel classes, ascending.
    pub fn novel_classes(&self) -> Vec<u8> {
        self.labels(Subset::Novel)
    }

    /// The labels of the base classes, ascending.
    pub fn base_classes(&self) -> Vec<u8> {
        self.labels(Subset::Base)
    }

    /// The labels of one side of the fold, ascending.
    pub fn labels(&self, subset: Subset) -> Vec<u8> {
        // `classes` is below 255, so every label fits.
        (1..=self.classes as u8)
            .filter(|&label| self.is_novel(label) == (subset == Subset::Novel))
            .collect()
    }

    fn fold_of(&self, label: usize) -> usize {
        match self.scheme {
            FoldScheme::Contiguous => (label - 1) / (self.classes / FOLDS),
            FoldScheme::Interleaved => (label - 1) % FOLDS,
        }
    }
}

impl fmt::Display for Fold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fold {} of {} classes ({})", self.index, self.classes, self.scheme)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contiguous_folds_of_pascal() {
        let fold = Fold::pascal(1).unwrap();
        assert_eq!(fold.novel_classes(), [6, 7, 8, 9, 10]);
        assert_eq!(fold.base_classes().len(), 15);
        assert!(!fold.is_novel(0) && !fold.is_novel(21) && !fold.is_novel(255));
    }

    #[test]
    fn both_schemes_of_coco() {
        let contiguous = Fold::new(1, 80, FoldScheme::Contiguous).unwrap();
        assert_eq!(contiguous.novel_classes(), (21..=40).collect::<Vec<u8>>());
        let interleaved = Fold::new(1, 80, FoldScheme::Interleaved).unwrap();
        assert_eq!(interleaved.novel_classes(), (0..20).map(|i| 4 * i + 2).collect::<Vec<u8>>());
    }

    #[test]
    fn every_class_is_novel_in_exactly_one_fold() {
        for scheme in [FoldScheme::Contiguous, FoldScheme::Interleaved] {
            for classes in [4, 20, 80, 252] {
                let mut novel: Vec<u8> = (0..FOLDS)
                    .flat_map(|index| Fold::new(index, classes, scheme).unwrap().novel_classes())
                    .collect();
                novel.sort_unstable();
                assert_eq!(novel, (1..=classes as u8).collect::<Vec<u8>>());
            }
        }
    }

    #[test]
    fn impossible_folds_are_refused() {
        for (index, classes) in [(4, 20), (0, 0), (0, 21), (0, 256)] {
            assert!(Fold::new(index, classes, FoldScheme::Contiguous).is_err());
        }
        let text = r#"{"index":9,"classes":20,"scheme":"contiguous"}"#;
        let error = serde_json::from_str::<Fold>(text).unwrap_err().to_string();
        assert!(error.contains("no fold 9"), "{error}");
    }

    #[test]
    fn schemes_have_names() {
        for scheme in [FoldScheme::Contiguous, FoldScheme::Interleaved] {
            assert_eq!(scheme.to_string().parse::<FoldScheme>().unwrap(), scheme);
        }
        assert!("diagonal".parse::<FoldScheme>().is_err());
    }
}
