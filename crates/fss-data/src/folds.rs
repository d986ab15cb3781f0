//! Cross-validation folds: which classes are novel (held out of training) and which are base.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{ClassId, DataError, IGNORE_INDEX};

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
    /// The novel classes are listed one by one: FSS-1000, where whole categories are held out, and
    /// data sets of one's own. There is one fold, number 0.
    Listed,
}

impl fmt::Display for FoldScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Contiguous => "contiguous",
            Self::Interleaved => "interleaved",
            Self::Listed => "listed",
        })
    }
}

impl FromStr for FoldScheme {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        match text {
            "contiguous" => Ok(Self::Contiguous),
            "interleaved" => Ok(Self::Interleaved),
            "listed" => Ok(Self::Listed),
            _ => Err(DataError::Setting {
                what: format!("there is no fold scheme {text:?}"),
                remedy: "use contiguous, interleaved or listed".into(),
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

/// One fold of a data set whose classes have the numbers `1..=classes`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawFold", into = "RawFold")]
pub struct Fold {
    index: usize,
    classes: usize,
    scheme: FoldScheme,
    /// Only with [`FoldScheme::Listed`]; ascending.
    listed: Arc<[ClassId]>,
}

#[derive(Serialize, Deserialize)]
struct RawFold {
    index: usize,
    classes: usize,
    scheme: FoldScheme,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    novel: Vec<ClassId>,
}

impl TryFrom<RawFold> for Fold {
    type Error = DataError;

    fn try_from(raw: RawFold) -> Result<Self, DataError> {
        match raw.scheme {
            FoldScheme::Listed => Self::listed(raw.classes, raw.novel),
            scheme => Self::new(raw.index, raw.classes, scheme),
        }
    }
}

impl From<Fold> for RawFold {
    fn from(fold: Fold) -> Self {
        let Fold { index, classes, scheme, listed } = fold;
        Self { index, classes, scheme, novel: listed.to_vec() }
    }
}

impl Fold {
    /// Fold `index` (`0..4`) of `classes` classes.
    ///
    /// # Errors
    /// If the index is above 3, if the number of classes is 0, no multiple of 4 or above 254 (label
    /// 255 is the ignored one), or if the scheme is [`FoldScheme::Listed`], which takes a list.
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
        if scheme == FoldScheme::Listed {
            return Err(DataError::Setting {
                what: "a fold of listed classes without a list".into(),
                remedy: "name the novel classes, or use contiguous or interleaved".into(),
            });
        }
        Ok(Self { index, classes, scheme, listed: Arc::new([]) })
    }

    /// The only fold of `classes` classes, of which these are novel and all others base classes.
    ///
    /// # Errors
    /// If there is no class or more than 65,535, or a novel one is 0, above `classes` or given twice.
    pub fn listed(
        classes: usize,
        novel: impl IntoIterator<Item = ClassId>,
    ) -> Result<Self, DataError> {
        let refuse = |what: String| {
            let remedy = format!("give different class numbers from 1 to {classes}");
            Err(DataError::Setting { what, remedy })
        };
        if classes == 0 || classes > usize::from(ClassId::MAX) {
            return Err(DataError::Setting {
                what: format!("a data set of {classes} classes"),
                remedy: format!("give 1 to {} classes", ClassId::MAX),
            });
        }
        let mut listed: Vec<ClassId> = novel.into_iter().collect();
        listed.sort_unstable();
        if let Some(pair) = listed.windows(2).find(|pair| pair[0] == pair[1]) {
            return refuse(format!("novel class {} is given twice", pair[0]));
        }
        if let Some(class) = listed.iter().find(|c| !(1..=classes).contains(&usize::from(**c))) {
            return refuse(format!("novel class {class} does not exist"));
        }
        Ok(Self { index: 0, classes, scheme: FoldScheme::Listed, listed: listed.into() })
    }

    /// The classes of FSS-1000: 520 for training (1 to 520), 240 for validation (521 to 760) and
    /// 240 for testing (761 to 1000); the last two are novel.
    pub fn fss1000() -> Self {
        Self { index: 0, classes: 1000, scheme: FoldScheme::Listed, listed: (521..=1000).collect() }
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
    pub fn is_novel(&self, class: ClassId) -> bool {
        let number = usize::from(class);
        (1..=self.classes).contains(&number)
            && match self.scheme {
                FoldScheme::Contiguous => (number - 1) / (self.classes / FOLDS) == self.index,
                FoldScheme::Interleaved => (number - 1) % FOLDS == self.index,
                FoldScheme::Listed => self.listed.binary_search(&class).is_ok(),
            }
    }

    /// The labels of the novel classes, ascending.
    pub fn novel_classes(&self) -> Vec<ClassId> {
        self.labels(Subset::Novel)
    }

    /// The labels of the base classes, ascending.
    pub fn base_classes(&self) -> Vec<ClassId> {
        self.labels(Subset::Base)
    }

    /// The labels of one side of the fold, ascending.
    pub fn labels(&self, subset: Subset) -> Vec<ClassId> {
        // Every constructor checks that the number of classes fits.
        (1..=self.classes as ClassId)
            .filter(|&class| self.is_novel(class) == (subset == Subset::Novel))
            .collect()
    }
}

impl fmt::Display for Fold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            FoldScheme::Listed => {
                write!(f, "{} novel of {} classes", self.listed.len(), self.classes)
            }
            scheme => write!(f, "fold {} of {} classes ({scheme})", self.index, self.classes),
        }
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
        assert_eq!(contiguous.novel_classes(), (21..=40).collect::<Vec<ClassId>>());
        let interleaved = Fold::new(1, 80, FoldScheme::Interleaved).unwrap();
        assert_eq!(
            interleaved.novel_classes(),
            (0..20).map(|i| 4 * i + 2).collect::<Vec<ClassId>>()
        );
    }

    #[test]
    fn every_class_is_novel_in_exactly_one_fold() {
        for scheme in [FoldScheme::Contiguous, FoldScheme::Interleaved] {
            for classes in [4, 20, 80, 252] {
                let mut novel: Vec<ClassId> = (0..FOLDS)
                    .flat_map(|index| Fold::new(index, classes, scheme).unwrap().novel_classes())
                    .collect();
                novel.sort_unstable();
                assert_eq!(novel, (1..=classes as ClassId).collect::<Vec<ClassId>>());
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
    fn listed_classes_are_novel_and_survive_json() {
        let fold = Fold::listed(5, [4, 2]).unwrap();
        assert_eq!((fold.novel_classes(), fold.base_classes()), (vec![2, 4], vec![1, 3, 5]));
        let text = serde_json::to_string(&fold).unwrap();
        assert_eq!(serde_json::from_str::<Fold>(&text).unwrap(), fold);
        assert_eq!(fold.to_string(), "2 novel of 5 classes");
        for novel in [vec![0], vec![6], vec![3, 3]] {
            assert!(Fold::listed(5, novel).is_err());
        }
        assert_eq!(Fold::fss1000().base_classes().len(), 520);
        assert!(Fold::new(0, 20, FoldScheme::Listed).is_err());
    }

    #[test]
    fn schemes_have_names() {
        for scheme in [FoldScheme::Contiguous, FoldScheme::Interleaved, FoldScheme::Listed] {
            assert_eq!(scheme.to_string().parse::<FoldScheme>().unwrap(), scheme);
        }
        assert!("diagonal".parse::<FoldScheme>().is_err());
    }
}
