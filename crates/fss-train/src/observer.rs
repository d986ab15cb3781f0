//! How a run tells what it does.

use crate::evaluate::{EpisodeOutcome, Evaluation};

/// One finished iteration.
#[derive(Debug, Clone, PartialEq)]
pub struct IterationReport {
    /// Its number, from 1.
    pub iteration: u64,
    /// How many there will be.
    pub iterations: u64,
    /// Learning rate.
    pub rate: f64,
    /// The total loss; `None` if no pixel counted.
    pub loss: Option<f64>,
    /// The unweighted parts of the loss by name; `None` where no pixel counted.
    pub terms: Vec<(&'static str, Option<f64>)>,
}

/// One finished validation.
#[derive(Debug, Clone)]
pub struct ValidationReport {
    /// Iterations that the model was trained for.
    pub iteration: u64,
    /// Its scores.
    pub evaluation: Evaluation,
    /// Whether it is the best model so far.
    pub is_best: bool,
}

/// Receives what an evaluation does. All methods do nothing unless overridden.
pub trait EvaluationObserver {
    /// An evaluation has so many episodes of a seed; called for every seed before the first episode.
    fn seed_started(&mut self, _seed: u64, _episodes: usize) {}

    /// An episode was segmented and scored. They come in any order, those of all seeds mixed.
    fn episode_finished(&mut self, _outcome: &EpisodeOutcome<'_>) {}
}

/// Receives what a training run does. All methods do nothing unless overridden.
pub trait TrainObserver: EvaluationObserver {
    /// Training starts, or continues after `done` iterations.
    fn training_started(&mut self, _done: u64, _iterations: u64) {}

    /// An iteration is done.
    fn iteration_finished(&mut self, _report: &IterationReport) {}

    /// A validation starts after `iteration` iterations.
    fn validation_started(&mut self, _iteration: u64) {}

    /// A validation is done.
    fn validation_finished(&mut self, _report: &ValidationReport) {}

    /// The final evaluation of the selected model starts.
    fn evaluation_started(&mut self) {}

    /// A checkpoint was written.
    fn checkpoint_written(&mut self, _path: &std::path::Path) {}
}

/// Looks at nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl EvaluationObserver for Silent {}
impl TrainObserver for Silent {}
