//! How data sets of one's own are named on the command line.

use std::path::PathBuf;

use clap::Args;
use fss_core::data::annotations::BadEntries;
use fss_core::data::own::{MaskValue, OwnOptions};

/// How the files of a data set of one's own are read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
#[command(next_help_heading = "Own data")]
pub struct OwnFiles {
    /// The folder that the image names of annotations start from [default: looked for beside them]
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// What is foreground in mask files: nonzero, a grey value or palette index, or a #rrggbb colour
    #[arg(long, value_name = "VALUE", default_value_t)]
    pub mask_value: MaskValue,
    /// The value in mask files that is neither foreground nor background, often 255
    #[arg(long, value_name = "VALUE")]
    pub ignore_value: Option<u8>,
    /// Leave out entries that cannot be used, and list them
    #[arg(long)]
    pub skip_bad: bool,
}

impl OwnFiles {
    /// The options of the library.
    pub fn options(&self) -> OwnOptions {
        OwnOptions {
            images: self.images.clone(),
            mask_value: self.mask_value,
            ignored: self.ignore_value,
            bad: if self.skip_bad { BadEntries::Skip } else { BadEntries::Refuse },
            ..OwnOptions::default()
        }
    }
}

/// A data set of one's own to train on and to evaluate with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
#[command(next_help_heading = "Own data")]
pub struct OwnArgs {
    /// Names of the novel classes [default: those that only the evaluation images show, else all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub novel: Vec<String>,
    /// A second data set, to evaluate with; the first one is for training alone
    #[arg(long, value_name = "PATH")]
    pub val_root: Option<PathBuf>,
    #[command(flatten)]
    pub files: OwnFiles,
}

impl OwnArgs {
    /// The options of the library.
    pub fn options(&self) -> OwnOptions {
        OwnOptions { novel: self.novel.clone(), val: self.val_root.clone(), ..self.files.options() }
    }

    /// Whether nothing was said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
