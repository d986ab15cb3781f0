//! How a run of either stage tells what it does.

use std::path::Path;

use fss_metrics::GeneralizedScores;

use crate::observer::{IterationReport, Silent};

/// One finished validation.
#[derive(Debug, Clone)]
pub struct GfssValidation {
    /// The epoch before it, from 0.
    pub epoch: u64,
    /// Its scores, at the size that the network sees.
    pub scores: GeneralizedScores,
    /// Whether the model is kept.
    pub kept: bool,
}

/// Receives what a run does. All methods do nothing unless overridden.
pub trait GfssObserver {
    /// The run of a seed starts, or continues after `done` iterations.
    fn seed_started(&mut self, _seed: u64, _done: u64, _iterations: u64) {}

    /// An iteration is done.
    fn iteration_finished(&mut self, _report: &IterationReport) {}

    /// Whole images are about to be measured.
    fn measuring(&mut self, _images: usize) {}

    /// An image was measured.
    fn image_measured(&mut self) {}

    /// A validation is done.
    fn validation_finished(&mut self, _validation: &GfssValidation) {}

    /// A checkpoint was written.
    fn checkpoint_written(&mut self, _path: &Path) {}
}

impl GfssObserver for Silent {}
