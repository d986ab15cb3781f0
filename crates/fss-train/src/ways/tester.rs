//! How a model takes part in a test of DENet's code.

use burn::tensor::Tensor;
use fss_heads::amp::binary_logits;
use fss_heads::denet::Repeated;
use fss_heads::{
    Amp, AmpMemory, Denet, Features, FewShotModel, HeadError, Shot, ShotRule, rival_ways,
};
use fss_kernels::{Corners, resize_bilinear};

use crate::TrainError;

/// An episode whose features are at hand, each a batch of one.
#[derive(Debug, Clone)]
pub struct TestEpisode {
    /// The supports of each way.
    pub ways: Vec<Vec<Shot>>,
    /// The class of each way.
    pub classes: Vec<usize>,
    /// The image to segment.
    pub query: Features,
}

/// What a model says of a query: logits of any size, which the test enlarges (bilinear, corners aligned).
#[derive(Debug, Clone)]
pub struct WayLogits {
    /// For each way, of all else and of its class, `[1, 2, h, w]`.
    pub pairs: Vec<Tensor<4>>,
    /// Of all classes of the data set, background first, `[1, C, h, w]`, from models that know them.
    pub full: Option<Tensor<4>>,
}

/// A model under the protocol of DENet's code.
pub trait WayTester {
    /// What it carries on from one batch of episodes to the next.
    type Memory;

    /// What it carries when a test starts.
    fn memory(&self) -> Self::Memory;

    /// Whether scores depend on which episodes are segmented together.
    fn sees_batches(&self) -> bool {
        false
    }

    /// Refuses tests that it cannot take part in.
    ///
    /// # Errors
    /// [`TrainError::Setting`] that says why.
    fn check(&self, classes: usize, shot: usize) -> Result<(), TrainError>;

    /// Runs the backbone on images `[B, 3, H, W]`.
    fn features(&self, images: Tensor<4>) -> Features;

    /// Segments a batch of episodes, whose labels have the given size.
    ///
    /// # Errors
    /// [`HeadError`] for features of another model, or classes that the model does not have.
    fn segment(
        &self,
        episodes: &[TestEpisode],
        memory: &mut Self::Memory,
        size: [usize; 2],
    ) -> Result<Vec<WayLogits>, HeadError>;
}

/// Refuses a model that knows other classes than those of the data.
fn check_rows(rows: usize, classes: usize) -> Result<(), TrainError> {
    if rows == classes + 1 {
        return Ok(());
    }
    Err(TrainError::setting(
        format!(
            "the model has rows for the background and {} classes, the data {classes}",
            rows - 1
        ),
        "test it on the data set that it was trained on",
    ))
}

impl WayTester for Denet {
    type Memory = ();

    fn memory(&self) -> Self::Memory {}

    fn check(&self, classes: usize, _shot: usize) -> Result<(), TrainError> {
        check_rows(self.config().classes, classes)
    }

    fn features(&self, images: Tensor<4>) -> Features {
        FewShotModel::features(self, images)
    }

    fn segment(
        &self,
        episodes: &[TestEpisode],
        _memory: &mut (),
        _size: [usize; 2],
    ) -> Result<Vec<WayLogits>, HeadError> {
        let one = |episode: &TestEpisode| {
            let rows = episode.ways.iter().zip(&episode.classes).map(|(shots, class)| {
                Ok(self.encode_support_of(shots, std::slice::from_ref(class))?.row)
            });
            let rows = rows.collect::<Result<Vec<_>, HeadError>>()?;
            let query = episode.query.0.first().ok_or(HeadError::NoSupport)?;
            let labels = [episode.classes.clone()];
            let logits = self.episode_logits(&rows, &labels, query, Repeated::Refused)?;
            let pair = |way: usize| logits.pairs.clone().narrow(0, way, 1);
            Ok(WayLogits { pairs: (0..rows.len()).map(pair).collect(), full: Some(logits.full) })
        };
        episodes.iter().map(one).collect()
    }
}

impl WayTester for Amp {
    type Memory = AmpMemory;

    fn memory(&self) -> AmpMemory {
        Amp::memory(self)
    }

    fn sees_batches(&self) -> bool {
        true
    }

    fn check(&self, classes: usize, _shot: usize) -> Result<(), TrainError> {
        check_rows(self.config().classes, classes)
    }

    fn features(&self, images: Tensor<4>) -> Features {
        FewShotModel::features(self, images)
    }

    /// The published code is not made for several ways; they are segmented one after the other in batches of
    /// a way each, and compete by the rule of its other models.
    fn segment(
        &self,
        episodes: &[TestEpisode],
        memory: &mut AmpMemory,
        size: [usize; 2],
    ) -> Result<Vec<WayLogits>, HeadError> {
        let ways = episodes.first().map_or(0, |episode| episode.ways.len());
        let mut pairs: Vec<Vec<Tensor<4>>> = vec![Vec::new(); episodes.len()];
        let mut full = vec![None; episodes.len()];
        for way in 0..ways {
            let classes: Vec<usize> = episodes.iter().map(|episode| episode.classes[way]).collect();
            let shots = batched(episodes.iter().map(|episode| &episode.ways[way]));
            let support = self.encode_adaptive(&shots, Some(&classes), memory)?;
            let queries = stacked(episodes.iter().map(|episode| &episode.query));
            let logits = self.full_logits(&support, &queries)?;
            for (sample, class) in classes.iter().enumerate() {
                let own = logits.clone().narrow(0, sample, 1);
                let pair = binary_logits(own.clone(), &[*class]);
                if ways == 1 {
                    pairs[sample].push(pair);
                    full[sample] = Some(own);
                } else {
                    pairs[sample].push(resize_bilinear(pair, size, Corners::Aligned));
                }
            }
        }
        let merged = pairs.into_iter().zip(full).map(|(pairs, full)| {
            let pairs = if ways > 1 { rival_ways(pairs)? } else { pairs };
            Ok(WayLogits { pairs, full })
        });
        merged.collect()
    }
}

/// Shots of several episodes as shots of a batch.
fn batched<'a>(episodes: impl Iterator<Item = &'a Vec<Shot>> + Clone) -> Vec<Shot> {
    let count = episodes.clone().map(Vec::len).min().unwrap_or(0);
    (0..count)
        .map(|shot| Shot {
            features: stacked(episodes.clone().map(|shots| &shots[shot].features)),
            mask: Tensor::cat(episodes.clone().map(|shots| shots[shot].mask.clone()).collect(), 0),
        })
        .collect()
}

fn stacked<'a>(samples: impl Iterator<Item = &'a Features> + Clone) -> Features {
    let taps = samples.clone().map(|features| features.0.len()).min().unwrap_or(0);
    let tap = |i: usize| Tensor::cat(samples.clone().map(|one| one.0[i].clone()).collect(), 0);
    Features((0..taps).map(tap).collect())
}

/// Any other model, which tells one class from its background: it segments each way on its own, and ways
/// compete by the rule of the published code for CANet and PGNet ([`rival_ways`]).
#[derive(Debug, Clone)]
pub struct PerWay<M>(pub M);

impl<M: FewShotModel> WayTester for PerWay<M> {
    type Memory = ();

    fn memory(&self) -> Self::Memory {}

    fn check(&self, _classes: usize, shot: usize) -> Result<(), TrainError> {
        if self.0.cam_grid().is_some() {
            return Err(TrainError::setting(
                "this model reads coarse maps, which DENet's protocol knows nothing of",
                "test it with --protocol hsnet",
            ));
        }
        if shot > 1 && self.0.shot_rule() == ShotRule::Vote {
            return Err(TrainError::setting(
                format!(
                    "the {shot} supports of this model vote, which DENet's protocol has no rule for"
                ),
                "test it with one shot, or with --protocol hsnet",
            ));
        }
        Ok(())
    }

    fn features(&self, images: Tensor<4>) -> Features {
        self.0.features(images)
    }

    fn segment(
        &self,
        episodes: &[TestEpisode],
        _memory: &mut (),
        size: [usize; 2],
    ) -> Result<Vec<WayLogits>, HeadError> {
        let one = |episode: &TestEpisode| {
            let per_way = episode
                .ways
                .iter()
                .map(|shots| self.0.segment(&self.0.encode_support(shots)?, &episode.query, size));
            let per_way = per_way.collect::<Result<Vec<_>, HeadError>>()?;
            Ok(WayLogits { pairs: rival_ways(per_way)?, full: None })
        };
        episodes.iter().map(one).collect()
    }
}
