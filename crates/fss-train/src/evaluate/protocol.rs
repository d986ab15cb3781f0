//! How a published number is measured.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A protocol: how episodes are drawn, in which size images are seen, and how predictions are
/// scored. It is kept with every result, because the same weights score differently under another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Protocol {
    /// The protocol of SSP and MLC: images at their own size; a query, a class it shows and
    /// supports of at least `min_pixels` of that class, drawn as the published code does with 4
    /// loader workers; one confusion matrix a run, mean IoU over the novel classes that occur.
    Official,
}

impl Protocol {
    /// One sentence for reports.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Official => {
                "official (SSP, MLC): original sizes, mIoU pooled over the episodes of a class and \
                 averaged over the novel classes that occur"
            }
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Official => "official",
        })
    }
}

impl std::str::FromStr for Protocol {
    type Err = crate::TrainError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "official" => Ok(Self::Official),
            _ => Err(crate::TrainError::setting(
                format!("there is no protocol {name:?}"),
                "use official",
            )),
        }
    }
}
