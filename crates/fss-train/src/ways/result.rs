//! What a test of DENet's code gives.

use fss_data::ClassId;
use fss_data::folds::Fold;
use fss_metrics::{AbsentWays, FullIou, MetricError, Spread, WayIou};
use serde::{Deserialize, Serialize};

use super::WaysProtocol;
use crate::TrainError;
use crate::evaluate::{FeatureUse, Novelty};
use crate::shard::{Shard, interleave, same};

/// The scores of a model, with all that they depend on. Every IoU is a fraction in `[0, 1]`.
///
/// Nothing in it depends on time or machine: the same test gives the same JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaysEvaluation {
    /// How it was measured.
    pub protocol: WaysProtocol,
    /// What was measured, if it was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Whether the classes were new to the model.
    pub novelty: Novelty,
    /// The images.
    pub dataset: String,
    /// The fold whose novel classes were segmented.
    pub fold: Fold,
    /// The share of the episodes that was measured, if not all.
    #[serde(default, skip_serializing_if = "Shard::is_whole")]
    pub shard: Shard,
    /// B-IOU over the seeds, the published mIoU: the mean over the classes that came up of the IoU pooled over
    /// the episodes of a class. Ways whose class the query does not show count nothing.
    pub b_iou: Option<Spread>,
    /// The same, with all ways counted: what is found of a class that is not there is wrong.
    pub b_iou_strict: Option<Spread>,
    /// F-IOU over the seeds, from models that know all classes: the mean over all classes, those that never
    /// occur counting 0, as published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub f_iou: Option<Spread>,
    /// The same over the classes that occur.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub f_iou_met: Option<Spread>,
    /// The novel classes that came up.
    pub classes: Vec<WayClass>,
    /// How often the backbone ran.
    pub features: FeatureUse,
    /// One run for each seed.
    pub runs: Vec<WaysRunScores>,
}

impl WaysEvaluation {
    /// Puts together what several processes or devices measured, all the parts of `shard` of the same test.
    ///
    /// The result is that of one process that measured all of it, to the last bit; only
    /// [`features`](Self::features) tells of the backbone passes that were really made.
    ///
    /// # Errors
    /// [`TrainError::Setting`] if shards are missing, there twice, or belong to different tests.
    pub fn merge(shard: Shard, parts: Vec<Self>) -> Result<Self, TrainError> {
        let parts = parts.into_iter().map(|part| (part.shard, part)).collect();
        let parts = Shard::join(shard, parts)?;
        let first = &parts[0];
        for part in &parts {
            same(&part.protocol, &first.protocol, "the protocol")?;
            same(&part.model, &first.model, "the model")?;
            same(&part.novelty, &first.novelty, "what the model was trained on")?;
            same(&part.dataset, &first.dataset, "the data set")?;
            same(&part.fold, &first.fold, "the fold")?;
            let seeds = |of: &Self| of.runs.iter().map(|run| run.seed).collect::<Vec<_>>();
            same(&seeds(part), &seeds(first), "the seeds")?;
        }
        let features = parts.iter().map(|part| part.features).fold(FeatureUse::NONE, |a, b| a + b);
        let seeds = 0..first.runs.len();
        let runs = seeds.map(|run| WaysRunScores::merge(parts.iter().map(|part| &part.runs[run])));
        let runs = runs.collect::<Result<Vec<_>, _>>()?;
        let name = |class: ClassId| {
            let all = parts.iter().flat_map(|part| &part.classes);
            all.clone().find(|met| met.class == class).map_or(String::new(), |met| met.name.clone())
        };
        Ok(Self { shard, features, ..first.clone() }.scored(runs, name))
    }

    /// Fills in all scores from the runs.
    pub(super) fn scored(
        mut self,
        runs: Vec<WaysRunScores>,
        name: impl Fn(ClassId) -> String,
    ) -> Self {
        self.b_iou = spread(&runs, |run| run.b_iou);
        self.b_iou_strict = spread(&runs, |run| run.b_iou_strict);
        self.f_iou = spread(&runs, |run| run.f_iou);
        self.f_iou_met = spread(&runs, |run| run.full.as_ref().and_then(FullIou::mean));
        self.classes = classes(&runs, name);
        self.runs = runs;
        self
    }
}

/// The IoU of one class over the seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WayClass {
    /// Its number.
    pub class: ClassId,
    /// Its name.
    pub name: String,
    /// Its binary IoU in the seeds in which it came up.
    pub iou: Option<Spread>,
    /// The same with all ways counted.
    pub strict: Option<Spread>,
}

/// The run of one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaysRunScores {
    /// The seed.
    pub seed: u32,
    /// B-IOU.
    pub b_iou: Option<f64>,
    /// B-IOU with all ways counted.
    pub b_iou_strict: Option<f64>,
    /// F-IOU as published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub f_iou: Option<f64>,
    /// Ways that counted nothing because the query does not show their class.
    pub skipped: u64,
    /// Sums of intersections and unions.
    pub binary: WayIou,
    /// The same with all ways counted.
    pub strict: WayIou,
    /// Confusion of all classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<FullIou>,
    /// The episodes drawn, in order.
    pub drawn: Vec<WayRecord>,
}

/// One episode as it was drawn and scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WayRecord {
    /// Id of the query.
    pub query: String,
    /// Its ways.
    pub ways: Vec<DrawnWay>,
}

/// One way of an episode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrawnWay {
    /// Its class.
    pub class: ClassId,
    /// Ids of its supports.
    pub supports: Vec<String>,
    /// Foreground IoU; `None` where neither truth nor prediction has foreground.
    pub iou: Option<f64>,
}

impl WayRecord {
    /// The mean IoU of its ways; `None` if none has one.
    pub fn iou(&self) -> Option<f64> {
        let ious: Vec<f64> = self.ways.iter().filter_map(|way| way.iou).collect();
        (!ious.is_empty()).then(|| ious.iter().sum::<f64>() / ious.len() as f64)
    }
}

impl WaysRunScores {
    /// One run of the shares of several processes, which are not empty and in order.
    fn merge<'a>(parts: impl Iterator<Item = &'a Self> + Clone) -> Result<Self, MetricError> {
        let mut binary = WayIou::new(AbsentWays::Skipped);
        let mut strict = WayIou::new(AbsentWays::Counted);
        let mut full: Option<FullIou> = None;
        let mut seed = 0;
        for part in parts.clone() {
            seed = part.seed;
            binary.merge(&part.binary);
            strict.merge(&part.strict);
            match (&mut full, &part.full) {
                (Some(sum), Some(more)) => sum.merge(more)?,
                (None, more) => full.clone_from(more),
                (Some(_), None) => {}
            }
        }
        let drawn = interleave(parts.map(|part| part.drawn.clone()).collect());
        Ok(Self::new(seed, binary, strict, full, drawn))
    }

    pub(super) fn new(
        seed: u32,
        binary: WayIou,
        strict: WayIou,
        full: Option<FullIou>,
        drawn: Vec<WayRecord>,
    ) -> Self {
        Self {
            seed,
            b_iou: binary.mean(),
            b_iou_strict: strict.mean(),
            f_iou: full.as_ref().map(FullIou::published_mean),
            skipped: binary.skipped(),
            binary,
            strict,
            full,
            drawn,
        }
    }
}

/// Mean and deviation of a score that every run has; `None` if one lacks it.
fn spread(runs: &[WaysRunScores], score: impl Fn(&WaysRunScores) -> Option<f64>) -> Option<Spread> {
    let values: Option<Vec<f64>> = runs.iter().map(score).collect();
    Spread::of(values?)
}

/// The classes that came up in any run, ascending.
fn classes(runs: &[WaysRunScores], name: impl Fn(ClassId) -> String) -> Vec<WayClass> {
    let mut met: Vec<usize> =
        runs.iter().flat_map(|run| run.strict.class_ious().into_keys()).collect();
    met.sort_unstable();
    met.dedup();
    let over = |class: usize, of: fn(&WaysRunScores) -> &WayIou| {
        let ious =
            runs.iter().filter_map(|run| of(run).class_ious().get(&class).copied().flatten());
        Spread::of(ious)
    };
    met.into_iter()
        .map(|class| WayClass {
            class: class as ClassId,
            name: name(class as ClassId),
            iou: over(class, |run| &run.binary),
            strict: over(class, |run| &run.strict),
        })
        .collect()
}
