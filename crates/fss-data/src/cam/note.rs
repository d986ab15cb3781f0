//! Where a coarse map comes from.

use std::collections::{BTreeMap, HashMap};

use crate::transform::ClipView;

/// The entry that says that the others are there, and in which version.
const VERSION_KEY: &str = "fss.cam";
const VERSION: &str = "1";

/// What a coarse map was made of; kept in the files of this library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CamNote {
    /// The name of the class.
    pub class: String,
    /// The text that stood for it.
    pub prompt: String,
    /// The image, as files name it.
    pub image: String,
    /// Which part of the image was seen.
    pub view: ClipView,
    /// What the map explains: the `probability` of the class or its `score`.
    pub target: String,
    /// A fingerprint of the weights of the image and text model.
    pub weights: String,
}

impl CamNote {
    pub(super) fn to_metadata(&self) -> BTreeMap<&'static str, &str> {
        BTreeMap::from([
            (VERSION_KEY, VERSION),
            ("class", self.class.as_str()),
            ("prompt", self.prompt.as_str()),
            ("image", self.image.as_str()),
            ("view", self.view.name()),
            ("target", self.target.as_str()),
            ("weights", self.weights.as_str()),
        ])
    }

    /// None if the entries are not those of a note of this version.
    pub(super) fn from_metadata(entries: &HashMap<String, String>) -> Option<Self> {
        let text = |key: &str| entries.get(key).cloned();
        (entries.get(VERSION_KEY)? == VERSION).then_some(())?;
        Some(Self {
            class: text("class")?,
            prompt: text("prompt")?,
            image: text("image")?,
            view: entries.get("view")?.parse().ok()?,
            target: text("target")?,
            weights: text("weights")?,
        })
    }
}
