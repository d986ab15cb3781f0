//! Whether the classes tested are new to a model.

use std::collections::BTreeMap;
use std::fmt;

use fss_data::folds::{Fold, FoldScheme};
use fss_data::{Benchmark, ClassId};
use serde::{Deserialize, Serialize};

use crate::TrainError;

/// How it is known which classes a model was trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KnownFrom {
    /// The weights say so.
    Weights,
    /// The user says so.
    Stated,
    /// Nobody says so; models of this kind are published that way.
    Assumed,
}

impl fmt::Display for KnownFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Weights => "as the weights say",
            Self::Stated => "as was stated",
            Self::Assumed => "as is assumed for weights that do not say",
        })
    }
}

/// The fold that a model was trained by: it has seen the base classes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainedFold {
    /// The data set; `None` if that is not known, and taken to be the one tested on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub benchmark: Option<Benchmark>,
    /// The fold.
    pub fold: Fold,
    /// How it is known.
    pub known: KnownFrom,
}

impl fmt::Display for TrainedFold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(benchmark) = self.benchmark {
            write!(f, "{}, ", benchmark.title())?;
        }
        write!(f, "{}, {}", self.fold, self.known)
    }
}

/// What is done about a model that was trained on classes it is tested on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeenClasses {
    /// It is not measured.
    #[default]
    Refuse,
    /// It is measured, and the result carries a warning.
    Allow,
}

/// Whether the classes tested are new to a model. Part of every result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Novelty {
    /// It is not known what the model was trained on.
    Unknown,
    /// It was trained on other classes.
    Novel {
        /// The fold of its training.
        trained: TrainedFold,
    },
    /// It was trained on another data set, whose classes cannot be compared by number.
    OtherDataset {
        /// The fold of its training.
        trained: TrainedFold,
    },
    /// It was trained on some of the classes tested, so its score is none on novel classes.
    Seen {
        /// The fold of its training.
        trained: TrainedFold,
        /// The classes that it has seen, ascending.
        classes: Vec<ClassId>,
        /// How many classes are tested in all.
        tested: usize,
    },
}

impl Novelty {
    /// Compares what a model was trained on with the classes `tested` of a fold of `benchmark`.
    pub fn of(
        trained: Option<&TrainedFold>,
        benchmark: Option<Benchmark>,
        fold: &Fold,
        tested: &[ClassId],
    ) -> Self {
        let Some(trained) = trained.cloned() else { return Self::Unknown };
        let other = match (trained.benchmark, benchmark) {
            (Some(one), Some(other)) => one != other,
            _ => false,
        };
        if other || trained.fold.classes() != fold.classes() {
            return Self::OtherDataset { trained };
        }
        let classes: Vec<ClassId> =
            tested.iter().copied().filter(|&class| !trained.fold.is_novel(class)).collect();
        match classes.is_empty() {
            true => Self::Novel { trained },
            false => Self::Seen { trained, classes, tested: tested.len() },
        }
    }

    /// What must stand beside a number, if anything.
    pub fn warning(&self) -> Option<String> {
        match self {
            Self::Unknown | Self::Novel { .. } => None,
            Self::OtherDataset { trained } => Some(format!(
                "the model was trained on other data ({trained}); whether it has seen the classes \
                 tested is not known"
            )),
            Self::Seen { trained, classes, tested } => Some(format!(
                "{} of the {tested} classes tested were base classes in training ({trained}); this \
                 is no score on novel classes",
                classes.len()
            )),
        }
    }

    /// Refuses what `rule` does not allow.
    pub(crate) fn check(&self, rule: SeenClasses) -> Result<(), TrainError> {
        match (self, rule) {
            (Self::Seen { trained, classes, tested }, SeenClasses::Refuse) => {
                Err(TrainError::SeenClasses {
                    seen: classes.len(),
                    tested: *tested,
                    trained: trained.to_string(),
                })
            }
            _ => Ok(()),
        }
    }
}

/// Entries of weight files.
pub(crate) mod entries {
    pub(crate) const DATASET: &str = "fss.dataset";
    pub(crate) const CLASSES: &str = "fss.classes";
    pub(crate) const FOLD: &str = "fss.fold";
    pub(crate) const SCHEME: &str = "fss.fold_scheme";
    pub(crate) const NOVEL: &str = "fss.novel_classes";
}

impl TrainedFold {
    /// The fold that the metadata of a weight file names, if they name one.
    ///
    /// `classes` is the number of classes where the file does not give it.
    pub fn from_metadata(metadata: &BTreeMap<String, String>, classes: usize) -> Option<Self> {
        let number = |key| metadata.get(key)?.parse::<usize>().ok();
        let classes = number(entries::CLASSES).unwrap_or(classes);
        let scheme = metadata.get(entries::SCHEME)?.parse().ok()?;
        let fold = match scheme {
            FoldScheme::Listed => {
                let novel = metadata.get(entries::NOVEL)?.split(',').map(str::parse::<ClassId>);
                Fold::listed(classes, novel.collect::<Result<Vec<_>, _>>().ok()?)
            }
            scheme => Fold::new(number(entries::FOLD)?, classes, scheme),
        };
        Some(Self {
            benchmark: metadata.get(entries::DATASET).and_then(|name| name.parse().ok()),
            fold: fold.ok()?,
            known: KnownFrom::Weights,
        })
    }

    /// What [`from_metadata`](Self::from_metadata) reads.
    pub fn to_metadata(&self) -> BTreeMap<String, String> {
        let novel: Vec<String> =
            self.fold.novel_classes().iter().map(ToString::to_string).collect();
        let mut metadata: BTreeMap<String, String> = [
            (entries::CLASSES, self.fold.classes().to_string()),
            (entries::FOLD, self.fold.index().to_string()),
            (entries::SCHEME, self.fold.scheme().to_string()),
            (entries::NOVEL, novel.join(",")),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        if let Some(benchmark) = self.benchmark {
            metadata.insert(entries::DATASET.to_owned(), benchmark.to_string());
        }
        metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coco(index: usize, scheme: FoldScheme) -> Fold {
        Fold::new(index, 80, scheme).unwrap()
    }

    fn trained(fold: Fold) -> TrainedFold {
        TrainedFold { benchmark: Some(Benchmark::Coco), fold, known: KnownFrom::Assumed }
    }

    #[test]
    fn the_other_convention_tests_on_base_classes() {
        let tested = coco(0, FoldScheme::Interleaved);
        let novelty = |trained: &TrainedFold| {
            Novelty::of(Some(trained), Some(Benchmark::Coco), &tested, &tested.novel_classes())
        };
        let mixed = novelty(&trained(coco(0, FoldScheme::Contiguous)));
        let warning = mixed.warning().unwrap();
        assert!(warning.contains("15 of the 20 classes"), "{warning}");
        assert!(warning.contains("contiguous") && warning.contains("assumed"), "{warning}");
        let error = mixed.check(SeenClasses::Refuse).unwrap_err().to_string();
        assert!(error.contains("15 of the 20") && error.contains("allow"), "{error}");
        mixed.check(SeenClasses::Allow).unwrap();
        let text = serde_json::to_string(&mixed).unwrap();
        assert_eq!(serde_json::from_str::<Novelty>(&text).unwrap(), mixed);

        let same = novelty(&trained(tested.clone()));
        assert!(matches!(same, Novelty::Novel { .. }) && same.warning().is_none());
        let other_fold = novelty(&trained(coco(1, FoldScheme::Interleaved)));
        assert!(other_fold.warning().unwrap().contains("20 of the 20"));
    }

    #[test]
    fn what_cannot_be_compared_is_said() {
        let fold = Fold::pascal(0).unwrap();
        let tested = fold.novel_classes();
        let of = |trained: Option<&TrainedFold>| {
            Novelty::of(trained, Some(Benchmark::Pascal), &fold, &tested)
        };
        assert_eq!(of(None), Novelty::Unknown);
        let elsewhere = of(Some(&trained(coco(0, FoldScheme::Contiguous))));
        assert!(elsewhere.warning().unwrap().contains("COCO-20i"));
        elsewhere.check(SeenClasses::Refuse).unwrap();
    }

    #[test]
    fn weights_tell_their_fold() {
        for fold in [coco(3, FoldScheme::Interleaved), Fold::listed(7, [2, 5]).unwrap()] {
            let mut told = trained(fold);
            let metadata = told.to_metadata();
            told.known = KnownFrom::Weights;
            assert_eq!(TrainedFold::from_metadata(&metadata, 1).unwrap(), told);
        }
        assert_eq!(TrainedFold::from_metadata(&BTreeMap::new(), 20), None);
        let old = [("fss.fold", "2"), ("fss.fold_scheme", "contiguous")];
        let old = old.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let told = TrainedFold::from_metadata(&old, 20).unwrap();
        assert_eq!((told.fold, told.benchmark), (Fold::pascal(2).unwrap(), None));
    }
}
