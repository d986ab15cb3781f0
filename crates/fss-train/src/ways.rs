//! DENet's code: training and tests of DENet, AMP, CANet and PGNet, by episodes of one way or several
//! (ACM MM 2020).
//!
//! A [`WaysRecipe`] says all that a run is set to, and [`train_ways`] runs it, saves it and continues it at
//! any iteration. [`evaluate_ways`] is the published test, for every model: a [`WayTester`] says how a model
//! takes part in it. Lists and episodes are those of [`fss_data::ways`].

mod builtin;
mod check;
mod data;
mod devices;
mod evaluate;
mod load;
mod model;
mod observer;
mod panels;
mod protocol;
mod recipe;
mod report;
mod result;
mod run;
mod session;
mod tester;

pub use builtin::WAYS_BUILTIN_NAMES;
pub use data::{TestData, WaysData};
pub use devices::evaluate_ways_on;
pub use evaluate::evaluate_ways;
pub use model::{WaysBatch, WaysModel};
pub use observer::{WayOutcome, WaysObserver, WaysValidation};
pub use panels::WayPanels;
pub use protocol::{WaysPlan, WaysProtocol, WaysTest};
pub use recipe::{
    WaysDataSettings, WaysEpisodes, WaysEvaluationSettings, WaysInit, WaysMethod,
    WaysModelSettings, WaysRecipe, WaysTrainSettings, WaysValidationSettings,
};
pub use report::{ways_json, ways_table};
pub use result::{DrawnWay, WayClass, WayRecord, WaysEvaluation, WaysRunScores};
pub use run::{WaysOutcome, WaysRun, initial_ways_model, train_ways};
pub use tester::{PerWay, TestEpisode, WayLogits, WayTester};
