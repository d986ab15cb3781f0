//! Recipes: all that a training run is set to.
//!
//! A recipe is a TOML file. Together with the data set and the files it names it determines every
//! bit of a run on the CPU. A file may start from a built-in recipe and name only what differs:
//!
//! ```
//! use fss_train::recipe::Recipe;
//!
//! let recipe = Recipe::from_toml(
//!     r#"
//!     extends = "ssp-pascal"
//!     [data]
//!     fold = 2
//!     [episodes]
//!     shot = 5
//!     "#,
//!     "my.toml",
//! )?;
//! assert_eq!(recipe.data.fold, 2);
//! assert_eq!(recipe.optim.lr, 1e-3);
//! # Ok::<(), fss_train::TrainError>(())
//! ```

mod backbone;
mod builtin;
mod check;
pub(crate) mod diff;
mod hsnet;
mod mlc;
mod optim;
pub(crate) mod parse;
mod settings;

pub use backbone::BackboneSettings;
pub use builtin::BUILTIN_NAMES;
pub use hsnet::{BorderPixels, CamSettings, HsnetSettings, ImrSettings};
pub use mlc::{
    BackgroundRectification, BackgroundSettings, DecoderExport, ForegroundRectification,
    JointSettings, Mining, MlcSettings, PoolSettings, Rectification,
};
pub use optim::OptimSettings;
pub use settings::{
    CheckpointSettings, DataSettings, EpisodeSettings, EvaluationSettings, Init, ModelSettings,
    Recipe, Sampling, SelectionRule, SspSettings, TrainSettings, ValidationSettings,
};
