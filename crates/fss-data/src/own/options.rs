//! What can be said about a data set of one's own.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::MaskValue;
use crate::annotations::{BadEntries, Crowds};

/// How a data set of one's own is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OwnOptions {
    /// The names of the novel classes; all others are base classes. Empty: those classes that the
    /// evaluation images show and the training images do not, or if there is none, all.
    pub novel: Vec<String>,
    /// Which values of a mask file are foreground, unless the table says so itself.
    pub mask_value: MaskValue,
    /// The value of mask files that is neither foreground nor background (often 255); none: every
    /// value is one of the two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignored: Option<u8>,
    /// What crowds of a COCO file are. [`Crowds::Paint`] by default, unlike in the benchmark:
    /// annotation tools write every brushed mask as a crowd.
    pub crowds: Crowds,
    /// The folder that the image names of an annotation file start from. None: it is looked for
    /// beside the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<PathBuf>,
    /// A second data set, for evaluation; the first one is then for training alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub val: Option<PathBuf>,
    /// What to do with entries that cannot be used.
    pub bad: BadEntries,
}

impl Default for OwnOptions {
    fn default() -> Self {
        Self {
            novel: Vec::new(),
            mask_value: MaskValue::NonZero,
            ignored: None,
            crowds: Crowds::Paint,
            images: None,
            val: None,
            bad: BadEntries::Refuse,
        }
    }
}
