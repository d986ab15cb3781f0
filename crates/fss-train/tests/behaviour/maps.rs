//! A model that reads coarse maps and nothing else, and maps that tell what they belong to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use fss_backbone::weights::write_safetensors;
use fss_backbone::{ComputePrecision, NamedTensor};
use fss_data::{ClassId, SegmentationDataset};
use fss_heads::{
    EpisodeBatch, Features, FewShotModel, HeadError, Losses, Shot, ShotRule, TrainableModel,
};
use fss_train::TrainError;
use fss_train::cams::CamSource;
use fss_train::recipe::{Init, Recipe};
use fss_train::trainer::RecipeModel;
use ndarray::Array2;

/// Side of the maps.
pub const GRID: usize = 7;

/// Which image a map is of, its class, and the source it came from.
pub type Code = (usize, ClassId, usize);

/// Maps whose first values are the image, the class and a number of the source.
#[derive(Debug)]
pub struct Coded(pub usize);

impl CamSource for Coded {
    fn cam(
        &self,
        _dataset: &SegmentationDataset,
        position: usize,
        class: ClassId,
        grid: usize,
    ) -> Result<Array2<f32>, TrainError> {
        let code = [position, usize::from(class), self.0];
        Ok(Array2::from_shape_fn((grid, grid), |(y, x)| {
            code.get(y * grid + x).map_or(0.0, |&value| value as f32)
        }))
    }

    fn check(
        &self,
        _dataset: &SegmentationDataset,
        pairs: &[(usize, ClassId)],
        _grid: usize,
    ) -> Result<(), TrainError> {
        assert!(!pairs.is_empty() && pairs.windows(2).all(|pair| pair[0] < pair[1]));
        Ok(())
    }
}

/// Maps that are the truth, coarsely.
#[derive(Debug)]
pub struct Truth;

impl CamSource for Truth {
    fn cam(
        &self,
        dataset: &SegmentationDataset,
        position: usize,
        class: ClassId,
        grid: usize,
    ) -> Result<Array2<f32>, TrainError> {
        let mask = dataset.class_mask(position, &dataset.load_mask(position)?, class);
        let (height, width) = mask.dim();
        let middle = |i: usize, side: usize| (2 * i + 1) * side / (2 * grid);
        Ok(Array2::from_shape_fn((grid, grid), |(y, x)| {
            f32::from(u8::from(mask[[middle(y, height), middle(x, width)]] == 1))
        }))
    }

    fn check(
        &self,
        _dataset: &SegmentationDataset,
        _pairs: &[(usize, ClassId)],
        _grid: usize,
    ) -> Result<(), TrainError> {
        Ok(())
    }
}

/// Maps of which some are missing, or are of the wrong size.
#[derive(Debug)]
pub enum Broken {
    /// `check` finds it.
    Missing,
    /// Only `cam` does.
    Small,
}

impl CamSource for Broken {
    fn cam(
        &self,
        _dataset: &SegmentationDataset,
        _position: usize,
        _class: ClassId,
        grid: usize,
    ) -> Result<Array2<f32>, TrainError> {
        Ok(Array2::zeros((grid, grid - 1)))
    }

    fn check(
        &self,
        _dataset: &SegmentationDataset,
        pairs: &[(usize, ClassId)],
        _grid: usize,
    ) -> Result<(), TrainError> {
        match self {
            Self::Small => Ok(()),
            Self::Missing => Err(TrainError::Setting {
                what: format!("1 of {} maps is missing", pairs.len()),
                remedy: "make it".into(),
            }),
        }
    }
}

thread_local! {
    /// What the models of this thread were shown: the query's map, then those of the supports.
    static SEEN: RefCell<Vec<Vec<Code>>> = const { RefCell::new(Vec::new()) };
    /// Largest label of the masks that a batch held.
    static LABELS: RefCell<Vec<i64>> = const { RefCell::new(Vec::new()) };
}

/// Takes what was seen since the last call.
pub fn seen() -> Vec<Vec<Code>> {
    SEEN.take()
}

/// Takes the largest labels of the batches since the last call.
pub fn labels() -> Vec<i64> {
    LABELS.take()
}

fn codes(maps: &Tensor<4>) -> Vec<Code> {
    let [batch, channels, height, width] = maps.dims();
    assert_eq!([channels, height, width], [1, GRID, GRID]);
    let values: Vec<f32> = maps.to_data().try_into_vec().expect("floats");
    let map = |b: usize| &values[b * GRID * GRID..];
    let code = |map: &[f32]| (map[0] as usize, map[1] as ClassId, map[2] as usize);
    (0..batch).map(|b| code(map(b))).collect()
}

fn record(query: &Tensor<4>, supports: &[Tensor<4>]) {
    let supports: Vec<Vec<Code>> = supports.iter().map(codes).collect();
    let episodes = codes(query).into_iter().enumerate().map(|(b, query)| {
        std::iter::once(query).chain(supports.iter().map(|support| support[b])).collect()
    });
    SEEN.with_borrow_mut(|seen| seen.extend(episodes));
}

/// Foreground is where the query's map is above a learnt level.
#[derive(Module, Debug)]
pub struct Threshold {
    pub level: Param<Tensor<1>>,
}

impl Threshold {
    pub fn new(device: &Device) -> Self {
        Self { level: Param::from_data([0.5], device) }
    }
}

impl FewShotModel for Threshold {
    type Support = Vec<Tensor<4>>;

    fn shot_rule(&self) -> ShotRule {
        ShotRule::Vote
    }

    fn cam_grid(&self) -> Option<usize> {
        Some(GRID)
    }

    fn features(&self, images: Tensor<4>) -> Features {
        Features(vec![images.clone().mean_dim(1), images])
    }

    fn encode_support(&self, shots: &[Shot]) -> Result<Self::Support, HeadError> {
        if shots.is_empty() {
            return Err(HeadError::NoSupport);
        }
        let last = |shot: &Shot| {
            assert_eq!(shot.features.0.len(), 3, "two taps and the map");
            shot.features.0[2].clone()
        };
        Ok(shots.iter().map(last).collect())
    }

    fn segment(
        &self,
        support: &Self::Support,
        query: &Features,
        [height, width]: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        assert_eq!(query.0.len(), 3, "two taps and the map");
        let map = query.0[2].clone();
        record(&map, support);
        let [batch, ..] = map.dims();
        let values: Vec<f32> = map.to_data().try_into_vec().expect("floats");
        let near = |place: usize| {
            let (y, x) = (place / width % height * GRID / height, place % width * GRID / width);
            values[place / (height * width) * GRID * GRID + y * GRID + x]
        };
        let large: Vec<f32> = (0..batch * height * width).map(near).collect();
        let device = map.device();
        let large = Tensor::from_data(TensorData::new(large, [batch, 1, height, width]), &device);
        let level = self.level.val().reshape([1, 1, 1, 1]).repeat(&[batch, 1, height, width]);
        Ok(Tensor::cat(vec![level, large], 1))
    }
}

impl TrainableModel for Threshold {
    fn losses(&self, batch: &EpisodeBatch) -> Result<Losses, HeadError> {
        let cams = batch.cams.as_ref().expect("coarse maps");
        assert_eq!(cams.supports.len(), batch.supports.len());
        record(&cams.query, &cams.supports);
        let masks = std::iter::once(&batch.query_mask).chain(batch.supports.iter().map(|s| &s.1));
        let largest = masks.map(|mask| mask.clone().max().into_data().iter::<i64>().next());
        LABELS.with_borrow_mut(|labels| labels.push(largest.flatten().max().expect("a label")));
        let mut losses = Losses::none(&batch.query.device());
        let target = (cams.query.clone().mean() * 1e-4 + batch.query.clone().mean()).detach();
        losses.add("level", 1.0, Some((self.level.val() - target).square()));
        Ok(losses)
    }
}

impl RecipeModel for Threshold {
    type Inference = Self;

    fn build(recipe: &Recipe, device: &Device) -> Result<Self, TrainError> {
        recipe.tap_network()?;
        Ok(Self::new(device))
    }

    fn initialise(self, _: &Init, _: Option<Tensor<4>>) -> Result<Self, TrainError> {
        Ok(self)
    }

    fn in_precision(self, _: ComputePrecision) -> Self {
        self
    }

    fn named_tensors(&self) -> Result<Vec<NamedTensor>, TrainError> {
        let values = self.level.val().to_data().try_into_vec().expect("floats");
        Ok(vec![NamedTensor { key: "level".into(), shape: vec![1], values }])
    }

    fn load_named(self, tensors: Vec<NamedTensor>, _: &Path) -> Result<Self, TrainError> {
        let device = self.level.val().device();
        let level = TensorData::new(tensors[0].values.clone(), [1]);
        Ok(Self { level: Param::from_data(level, &device) })
    }

    fn save_weights(
        &self,
        path: &Path,
        _: &Recipe,
        metadata: &BTreeMap<String, String>,
    ) -> Result<(), TrainError> {
        Ok(write_safetensors(path, &self.named_tensors()?, metadata)?)
    }

    fn inference(&self) -> Self {
        self.valid()
    }
}
