//! Settings of HSNet and IMR.

use std::path::{Path, PathBuf};

use fss_data::transform::IgnoredPixels;
use fss_heads::{FirstMask, SupportMask};
use serde::{Deserialize, Serialize};

use super::ModelSettings;

/// Settings of HSNet. The default is what is published.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HsnetSettings {
    /// Whether features of supports are masked.
    pub support_mask: SupportMask,
    /// What border pixels are in training.
    pub ignore: BorderPixels,
    /// Seed of the head's random weights, which no file of backbone weights has.
    pub seed: u64,
}

/// What pixels with label 255 (PASCAL's borders of objects) are in training.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BorderPixels {
    /// Background, as published.
    #[default]
    Background,
    /// They do not count.
    Ignored,
}

/// Settings of IMR. The default is what is published for PASCAL-5i, but for the coarse maps, whose
/// place must be given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImrSettings {
    /// How often query and support refine each other: 2 in PASCAL-5i, 3 in COCO-20i.
    pub stages: usize,
    /// Whose coarse map masks the features before the first stage.
    pub first_mask: FirstMask,
    /// What border pixels are in training.
    pub ignore: BorderPixels,
    /// Seed of the head's random weights, which no file of backbone weights has.
    pub seed: u64,
    /// Where the coarse maps lie.
    pub cams: CamSettings,
}

impl Default for ImrSettings {
    fn default() -> Self {
        Self {
            stages: 2,
            first_mask: FirstMask::default(),
            ignore: BorderPixels::default(),
            seed: 0,
            cams: CamSettings::default(),
        }
    }
}

/// Folders of coarse maps. They only say where something lies, so a run may be resumed with others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CamSettings {
    /// Of the training images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<PathBuf>,
    /// Of the images of validation and test; those of training, if it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub val: Option<PathBuf>,
}

impl CamSettings {
    /// The folder of the validation images.
    pub fn val(&self) -> Option<&Path> {
        self.val.as_deref().or(self.train.as_deref())
    }
}

impl ImrSettings {
    /// Numbers that must be positive, by key.
    pub(super) fn counts(&self) -> Vec<(&'static str, usize)> {
        vec![("model.stages", self.stages)]
    }
}

impl ModelSettings {
    /// What becomes of ignored pixels in training on whole images. SSP and MLC leave them out.
    pub fn ignored_pixels(&self) -> IgnoredPixels {
        match self {
            Self::Hsnet(HsnetSettings { ignore: BorderPixels::Background, .. })
            | Self::Imr(ImrSettings { ignore: BorderPixels::Background, .. }) => {
                IgnoredPixels::Background
            }
            _ => IgnoredPixels::Kept,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_have_a_default_and_are_written() {
        let read = |text: &str| toml::from_str::<ModelSettings>(text);
        let hsnet = read("kind = \"hsnet\"").unwrap();
        assert_eq!(hsnet, ModelSettings::Hsnet(HsnetSettings::default()));
        assert_eq!(hsnet.ignored_pixels(), IgnoredPixels::Background);
        let text = toml::to_string(&hsnet).unwrap();
        assert!(text.contains("support_mask = \"masked\"") && text.contains("\"background\""));
        let own = "kind = \"imr\"\nstages = 3\nfirst_mask = \"own\"\nignore = \"ignored\"\n\
                   [cams]\ntrain = \"maps\"\n";
        let imr = read(own).unwrap();
        let ModelSettings::Imr(settings) = &imr else { panic!("{imr:?}") };
        assert_eq!((settings.stages, settings.first_mask), (3, FirstMask::Own));
        assert_eq!(settings.cams.val(), Some(Path::new("maps")));
        assert_eq!(imr.ignored_pixels(), IgnoredPixels::Kept);
        for settings in [&hsnet, &imr] {
            let text = toml::to_string(settings).unwrap();
            assert_eq!(read(&text).unwrap(), *settings, "{text}");
        }
        // The section is written though it is empty, so that it can be filled by name.
        let plain = toml::to_string(&ModelSettings::Imr(ImrSettings::default())).unwrap();
        assert!(plain.contains("[cams]") && !plain.contains("train"), "{plain}");
        assert!(read("kind = \"hsnet\"\nstages = 2").unwrap_err().to_string().contains("stages"));
    }
}
