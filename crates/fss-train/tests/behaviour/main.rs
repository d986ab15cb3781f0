//! Whole runs on a small generated data set: training, resuming, evaluating, failing.

mod bad_input;
mod cams;
mod evaluation;
mod fixture;
mod hsnet;
mod maps;
mod mining;
mod mlc;
mod resume;
