//! Whole runs on a small generated data set: training, resuming, evaluating, failing.

mod bad_input;
mod evaluation;
mod fixture;
mod hsnet;
mod mining;
mod mlc;
mod resume;
