//! Coarse maps of where a class may be in an image, for models that read them
//! ([`FewShotModel::cam_grid`](fss_heads::FewShotModel::cam_grid)).

use std::fmt;
use std::sync::Arc;

use fss_data::cam::CamFolder;
use fss_data::{ClassId, SegmentationDataset};
use ndarray::Array2;

use crate::TrainError;

/// Where coarse maps come from: files, or whatever makes them.
pub trait CamSource: fmt::Debug + Send + Sync {
    /// The map `[grid, grid]` of `class` in image `position` of `dataset`, its values from 0 to 1.
    ///
    /// # Errors
    /// If there is none, it cannot be read, or it has another size.
    fn cam(
        &self,
        dataset: &SegmentationDataset,
        position: usize,
        class: ClassId,
        grid: usize,
    ) -> Result<Array2<f32>, TrainError>;

    /// Makes sure, before work of hours begins, that the maps of all `pairs` of an image's position
    /// and a class are there.
    ///
    /// # Errors
    /// If some are not; says how many, and names a few.
    fn check(
        &self,
        dataset: &SegmentationDataset,
        pairs: &[(usize, ClassId)],
        grid: usize,
    ) -> Result<(), TrainError>;
}

/// Files, as `fss cam` or the published code made them.
impl CamSource for CamFolder {
    fn cam(
        &self,
        dataset: &SegmentationDataset,
        position: usize,
        class: ClassId,
        grid: usize,
    ) -> Result<Array2<f32>, TrainError> {
        Ok(self.read(dataset, position, class, grid)?)
    }

    fn check(
        &self,
        dataset: &SegmentationDataset,
        pairs: &[(usize, ClassId)],
        _grid: usize,
    ) -> Result<(), TrainError> {
        Ok(CamFolder::check(self, dataset, pairs.iter().copied())?)
    }
}

/// A shared [`CamSource`]. Two are equal if they are the same one.
#[derive(Debug, Clone)]
pub struct Cams(Arc<dyn CamSource>);

impl Cams {
    /// Shares a source.
    pub fn new(source: impl CamSource + 'static) -> Self {
        Self(Arc::new(source))
    }
}

impl From<Arc<dyn CamSource>> for Cams {
    fn from(source: Arc<dyn CamSource>) -> Self {
        Self(source)
    }
}

impl PartialEq for Cams {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// A source with the size of map that a model reads.
#[derive(Debug, Clone)]
pub(crate) struct CamReader {
    cams: Cams,
    grid: usize,
}

impl CamReader {
    /// The reader for a model whose [`cam_grid`](fss_heads::FewShotModel::cam_grid) is `grid`; `None`
    /// for one that reads no maps. `work` says what they are for.
    ///
    /// # Errors
    /// If the model reads maps and there is no source.
    pub(crate) fn new(
        grid: Option<usize>,
        cams: Option<&Cams>,
        work: &str,
    ) -> Result<Option<Self>, TrainError> {
        match (grid, cams) {
            (None, _) => Ok(None),
            (Some(grid), Some(cams)) => Ok(Some(Self { cams: cams.clone(), grid })),
            (Some(grid), None) => Err(TrainError::setting(
                format!(
                    "the model reads coarse maps (CAMs) of {grid} x {grid}, and {work} was given none"
                ),
                "name the folder of the maps of these images",
            )),
        }
    }

    /// See [`CamSource::check`]; the pairs may come in any order, and several times.
    pub(crate) fn check(
        &self,
        dataset: &SegmentationDataset,
        mut pairs: Vec<(usize, ClassId)>,
    ) -> Result<(), TrainError> {
        pairs.sort_unstable();
        pairs.dedup();
        self.cams.0.check(dataset, &pairs, self.grid)
    }

    /// The map of one image, of the right size and without NaN.
    pub(crate) fn read(
        &self,
        dataset: &SegmentationDataset,
        position: usize,
        class: ClassId,
    ) -> Result<Array2<f32>, TrainError> {
        let map = self.cams.0.cam(dataset, position, class, self.grid)?;
        let problem = if map.dim() != (self.grid, self.grid) {
            let (height, width) = map.dim();
            format!("has {height} x {width} values, not {0} x {0}", self.grid)
        } else if map.iter().any(|value| !value.is_finite()) {
            "holds values that are not finite".to_owned()
        } else {
            return Ok(map);
        };
        Err(TrainError::setting(
            format!(
                "the coarse map of {} in image {:?} {problem}",
                dataset.class_name(class),
                dataset.ids.get(position).map_or("", String::as_str)
            ),
            "make the maps again, in the size that the model reads",
        ))
    }

    /// The maps of a query and its supports.
    pub(crate) fn read_all(
        &self,
        dataset: &SegmentationDataset,
        query: usize,
        supports: &[usize],
        class: ClassId,
    ) -> Result<Vec<Array2<f32>>, TrainError> {
        std::iter::once(&query)
            .chain(supports)
            .map(|&position| self.read(dataset, position, class))
            .collect()
    }
}
