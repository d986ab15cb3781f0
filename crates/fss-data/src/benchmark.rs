//! The benchmarks of the field by name: PASCAL-5i, COCO-20i, FSS-1000; and data sets of one's own.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::coco::CocoRoot;
use crate::folds::{Fold, FoldScheme};
use crate::fss1000::FssRoot;
use crate::own::{OwnData, OwnOptions};
use crate::pascal::PascalRoot;
use crate::{DataError, SegmentationDataset, Split, coco, lists, pascal};

/// A data set whose classes are divided for few-shot segmentation.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Benchmark {
    /// PASCAL-5i: VOC 2012 with 20 classes in 4 folds; see [`crate::pascal`].
    #[default]
    Pascal,
    /// COCO-20i: 80 classes in 4 folds; see [`crate::coco`].
    Coco,
    /// FSS-1000: 1,000 categories, 520 for training; see [`crate::fss1000`].
    Fss1000,
    /// Annotated images of one's own in one of several forms; see [`crate::own`].
    Own,
}

/// What else there is to say about where things lie.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenOptions {
    /// The folder of published lists, where they are not in the tree itself; see
    /// [`lists::find`] for what may be given.
    ///
    /// PASCAL-5i: the images are those of `train.txt` or `val.txt` there, else of all four fold lists
    /// of the HSNet protocol. FSS-1000: the categories of each split. COCO-20i takes its images from
    /// the tree in any case.
    pub splits: Option<PathBuf>,
    /// How [`Benchmark::Own`] is read; others pass it over.
    pub own: OwnOptions,
}

impl Benchmark {
    /// The published benchmarks.
    pub const PUBLISHED: [Self; 3] = [Self::Pascal, Self::Coco, Self::Fss1000];
    /// All that can be named.
    pub const ALL: [Self; 4] = [Self::Pascal, Self::Coco, Self::Fss1000, Self::Own];

    /// The name that commands and recipes use: `pascal`, `coco`, `fss1000`, `own`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pascal => "pascal",
            Self::Coco => "coco",
            Self::Fss1000 => "fss1000",
            Self::Own => "own",
        }
    }

    /// The name in papers, as in `COCO-20i`.
    pub fn title(self) -> &'static str {
        match self {
            Self::Pascal => "PASCAL-5i",
            Self::Coco => "COCO-20i",
            Self::Fss1000 => "FSS-1000",
            Self::Own => "own data",
        }
    }

    /// The lists of images that it has; a data set of one's own may lack some
    /// ([`BenchmarkRoot::splits`]).
    pub fn splits(self) -> &'static [Split] {
        match self {
            Self::Pascal | Self::Coco => &Split::TRAIN_VAL,
            Self::Fss1000 | Self::Own => &Split::ALL,
        }
    }

    /// The split that published results are measured on.
    pub fn evaluation_split(self) -> Split {
        match self {
            Self::Pascal | Self::Coco | Self::Own => Split::Val,
            Self::Fss1000 => Split::Test,
        }
    }

    /// How classes are dealt to folds unless a protocol says otherwise: as SSP and MLC do.
    pub fn default_scheme(self) -> FoldScheme {
        match self {
            Self::Pascal | Self::Coco => FoldScheme::Contiguous,
            Self::Fss1000 | Self::Own => FoldScheme::Listed,
        }
    }

    /// How the HSNet protocol deals classes to folds.
    ///
    /// COCO-20i differs from [`default_scheme`](Self::default_scheme): of the 20 novel classes of a
    /// fold of one scheme, 15 are base classes of the same fold of the other.
    pub fn hsnet_scheme(self) -> FoldScheme {
        match self {
            Self::Pascal => FoldScheme::Contiguous,
            Self::Coco => FoldScheme::Interleaved,
            Self::Fss1000 | Self::Own => FoldScheme::Listed,
        }
    }

    /// How many classes the published data set has; 0 for data of one's own.
    pub fn classes(self) -> usize {
        match self {
            Self::Pascal => pascal::CLASS_NAMES.len(),
            Self::Coco => coco::CLASS_NAMES.len(),
            Self::Fss1000 => 1000,
            Self::Own => 0,
        }
    }

    /// How many folds it has: 4, or 1 where the novel classes are listed.
    pub fn folds(self) -> usize {
        match self {
            Self::Pascal | Self::Coco => crate::folds::FOLDS,
            Self::Fss1000 | Self::Own => 1,
        }
    }

    /// A fold of the published data set. A tree of another number of classes has its own:
    /// [`BenchmarkRoot::fold`].
    ///
    /// # Errors
    /// [`DataError::Setting`] if there is no such fold, or the scheme does not fit the benchmark.
    pub fn fold(self, index: usize, scheme: FoldScheme) -> Result<Fold, DataError> {
        match self {
            Self::Pascal | Self::Coco => {
                self.check_scheme(scheme)?;
                Fold::new(index, self.classes(), scheme)
            }
            Self::Fss1000 => {
                self.check_scheme(scheme)?;
                only_fold(self, index)?;
                Ok(Fold::fss1000())
            }
            Self::Own => Err(DataError::Setting {
                what: "the classes of own data are not known by themselves".into(),
                remedy: "open the data set and ask it for its fold".into(),
            }),
        }
    }

    /// Recognises the layout of the tree at `root`.
    ///
    /// # Errors
    /// [`DataError`] that lists what was looked for.
    pub fn detect(self, root: &Path, options: &OpenOptions) -> Result<BenchmarkRoot, DataError> {
        let splits = options.splits.as_deref();
        let kind = match self {
            Self::Pascal => Kind::Pascal(PascalRoot::detect(root)?),
            Self::Coco => Kind::Coco(CocoRoot::detect(root)?),
            Self::Fss1000 => Kind::Fss1000(FssRoot::detect(root, splits)?),
            Self::Own => Kind::Own(OwnData::read(root, &options.own)?),
        };
        Ok(BenchmarkRoot { benchmark: self, kind, splits: options.splits.clone() })
    }

    /// The images of a split of the tree at `root`.
    ///
    /// # Errors
    /// As [`detect`](Self::detect) and [`BenchmarkRoot::dataset`].
    pub fn open(
        self,
        root: &Path,
        split: Split,
        options: &OpenOptions,
    ) -> Result<SegmentationDataset, DataError> {
        self.detect(root, options)?.dataset(split)
    }

    fn check_scheme(self, scheme: FoldScheme) -> Result<(), DataError> {
        let (fits, remedy) = match self {
            Self::Pascal | Self::Coco => {
                (scheme != FoldScheme::Listed, "use contiguous or interleaved folds")
            }
            Self::Fss1000 => {
                (scheme == FoldScheme::Listed, "use listed: whole categories are held out")
            }
            Self::Own => {
                (scheme == FoldScheme::Listed, "use listed, and name the novel classes (--novel)")
            }
        };
        if fits {
            return Ok(());
        }
        Err(DataError::Setting {
            what: format!("{} has no {scheme} folds", self.title()),
            remedy: remedy.into(),
        })
    }
}

fn only_fold(benchmark: Benchmark, index: usize) -> Result<(), DataError> {
    match index {
        0 => Ok(()),
        _ => Err(DataError::Setting {
            what: format!("{} has no fold {index}", benchmark.title()),
            remedy: "use fold 0, the only one".into(),
        }),
    }
}

impl fmt::Display for Benchmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Benchmark {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Self, DataError> {
        Self::ALL.into_iter().find(|benchmark| benchmark.name() == name).ok_or_else(|| {
            DataError::Setting {
                what: format!("unknown benchmark {name:?}"),
                remedy: format!("use {}", Self::ALL.map(Self::name).join(", ")),
            }
        })
    }
}

/// A tree whose layout was recognised.
#[derive(Debug, Clone)]
pub struct BenchmarkRoot {
    benchmark: Benchmark,
    kind: Kind,
    splits: Option<PathBuf>,
}

#[derive(Debug, Clone)]
enum Kind {
    Pascal(PascalRoot),
    Coco(CocoRoot),
    Fss1000(FssRoot),
    Own(OwnData),
}

impl BenchmarkRoot {
    /// Which benchmark it is.
    pub fn benchmark(&self) -> Benchmark {
        self.benchmark
    }

    /// The tree, if it is one of PASCAL VOC.
    pub(crate) fn pascal(&self) -> Option<&PascalRoot> {
        match &self.kind {
            Kind::Pascal(root) => Some(root),
            _ => None,
        }
    }

    /// The names of the classes 1..n.
    pub fn class_names(&self) -> Vec<String> {
        match &self.kind {
            Kind::Pascal(_) => pascal::CLASS_NAMES.map(str::to_owned).to_vec(),
            Kind::Coco(root) => root.class_names().to_vec(),
            Kind::Fss1000(root) => root.class_names(),
            Kind::Own(data) => data.class_names().to_vec(),
        }
    }

    /// The splits to open and to check.
    pub fn splits(&self) -> Vec<Split> {
        match &self.kind {
            Kind::Own(data) => data.splits(),
            _ => self.benchmark.splits().to_vec(),
        }
    }

    /// One line on where things were found.
    pub fn summary(&self) -> String {
        match &self.kind {
            Kind::Pascal(root) => root.mask_choice().to_owned(),
            Kind::Coco(root) => root.summary(),
            Kind::Fss1000(root) => root.summary(),
            Kind::Own(data) => data.summary(),
        }
    }

    /// The images of a split.
    ///
    /// # Errors
    /// [`DataError`] naming what is missing or broken; also when the benchmark has no such split.
    pub fn dataset(&self, split: Split) -> Result<SegmentationDataset, DataError> {
        if !self.benchmark.splits().contains(&split) {
            let names: Vec<&str> =
                self.benchmark.splits().iter().map(|split| split.name()).collect();
            return Err(DataError::Setting {
                what: format!("{} has no {split} split", self.benchmark.title()),
                remedy: format!("use {}", names.join(" or ")),
            });
        }
        match &self.kind {
            Kind::Pascal(root) => match &self.splits {
                Some(splits) => lists::pascal_dataset(root, split, splits),
                // HSNet's tree has no list of images, but may have its fold lists beside it.
                None if root.lists().is_none() => {
                    match lists::in_tree(Benchmark::Pascal, root.root()) {
                        Some(folder) => lists::pascal_dataset(root, split, &folder),
                        None => root.dataset(split),
                    }
                }
                None => root.dataset(split),
            },
            Kind::Coco(root) => root.dataset(split),
            Kind::Fss1000(root) => root.dataset(split),
            Kind::Own(data) => data.dataset(split),
        }
    }

    /// A fold of the classes that the tree has: those of the published data set, or of a smaller set
    /// in the same layout.
    ///
    /// # Errors
    /// [`DataError::Setting`] if there is no such fold, the scheme does not fit the benchmark, or
    /// the classes cannot be dealt to four folds.
    pub fn fold(&self, index: usize, scheme: FoldScheme) -> Result<Fold, DataError> {
        self.benchmark.check_scheme(scheme)?;
        match &self.kind {
            Kind::Pascal(_) => self.benchmark.fold(index, scheme),
            Kind::Coco(root) => Fold::new(index, root.class_names().len(), scheme),
            Kind::Fss1000(root) => {
                only_fold(self.benchmark, index)?;
                root.fold()
            }
            Kind::Own(data) => {
                only_fold(self.benchmark, index)?;
                data.fold()
            }
        }
    }

    /// A fold to train with. For a data set of one's own there must be base classes; otherwise as
    /// [`fold`](Self::fold).
    ///
    /// # Errors
    /// As [`fold`](Self::fold) and [`OwnData::training_fold`].
    pub fn training_fold(&self, index: usize, scheme: FoldScheme) -> Result<Fold, DataError> {
        let fold = self.fold(index, scheme)?;
        match &self.kind {
            Kind::Own(data) => data.training_fold(),
            _ => Ok(fold),
        }
    }

    /// All folds of a scheme.
    ///
    /// # Errors
    /// As [`fold`](Self::fold).
    pub fn folds(&self, scheme: FoldScheme) -> Result<Vec<Fold>, DataError> {
        (0..self.benchmark.folds()).map(|index| self.fold(index, scheme)).collect()
    }
}

#[cfg(test)]
mod tests;
