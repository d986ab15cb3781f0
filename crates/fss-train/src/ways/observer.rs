//! How a run tells what it does.

use std::path::Path;

use ndarray::Array2;

use super::WayRecord;
use crate::observer::{IterationReport, Silent};

/// One finished validation.
#[derive(Debug, Clone, PartialEq)]
pub struct WaysValidation {
    /// Iterations that the model was trained for.
    pub iteration: u64,
    /// B-IOU, a fraction.
    pub b_iou: Option<f64>,
    /// F-IOU, a fraction, from models that know all classes.
    pub f_iou: Option<f64>,
    /// Whether it is the best model so far.
    pub is_best: bool,
}

/// One segmented episode.
#[derive(Debug)]
pub struct WayOutcome<'a> {
    /// Its place in the run.
    pub number: usize,
    /// What was drawn and scored.
    pub record: &'a WayRecord,
    /// For each way the prediction `[side, side]`: 0 / 1.
    pub predictions: &'a [Array2<u8>],
    /// The class of every pixel `[side, side]`, from models that know all classes.
    pub full: Option<&'a Array2<u8>>,
    /// B-IOU of the run so far, a fraction.
    pub running: Option<f64>,
}

/// Receives what a run or a test does. All methods do nothing unless overridden.
pub trait WaysObserver {
    /// Training starts, or continues after `done` iterations.
    fn training_started(&mut self, _done: u64, _iterations: u64) {}

    /// An iteration is done.
    fn iteration_finished(&mut self, _report: &IterationReport) {}

    /// The episodes of a seed are about to be segmented.
    fn test_started(&mut self, _seed: u32, _episodes: usize) {}

    /// An episode was segmented.
    fn episode_finished(&mut self, _outcome: &WayOutcome<'_>) {}

    /// A validation is done.
    fn validation_finished(&mut self, _validation: &WaysValidation) {}

    /// A checkpoint was written.
    fn checkpoint_written(&mut self, _path: &Path) {}
}

impl WaysObserver for Silent {}
