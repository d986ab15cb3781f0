//! What is learnt from.

use fss_data::IGNORE_INDEX;
use image::RgbImage;
use ndarray::Array2;

use crate::TrainError;

/// What pixels without a label are in annotated images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Background {
    /// Whatever base class the model sees there, else background: for images in which only the new
    /// classes were annotated.
    #[default]
    ByModel,
    /// Background: for images whose labels are complete, as in the published lists.
    AsLabelled,
}

/// An annotated image.
#[derive(Debug, Clone)]
pub struct LearnImage {
    /// What to call it in messages, usually its file name.
    pub name: String,
    /// The image.
    pub image: RgbImage,
    /// Indices `[H, W]`: 0 background, `1..=base` base classes, then novel classes; 255 ignored.
    pub labels: Array2<u8>,
}

/// The images of a handful of new classes.
#[derive(Debug, Clone)]
pub struct LearnSet {
    /// How many new classes there are.
    pub novel: usize,
    /// Their names, for messages.
    pub names: Vec<String>,
    /// Annotated images of them.
    pub supports: Vec<LearnImage>,
    /// What pixels without a label are in these.
    pub background: Background,
    /// Images without annotations, with their names, that keep the new classes from spreading over old ones:
    /// best such as the model was trained on. The model labels their base classes itself.
    pub base: Vec<(String, RgbImage)>,
}

impl LearnSet {
    /// Refuses what cannot be learnt from, for a model of `base` base classes.
    pub(super) fn check(&self, base: usize) -> Result<(), TrainError> {
        let refuse = |what: String, remedy: &str| Err(TrainError::setting(what, remedy));
        if self.novel == 0 || self.supports.is_empty() {
            return refuse(
                "there is nothing to learn: no new class, or no annotated image".into(),
                "give at least one annotated image of at least one new class",
            );
        }
        let count = base + self.novel;
        if count > usize::from(IGNORE_INDEX) - 1 {
            return refuse(
                format!("{base} base and {} new classes do not fit into 8-bit labels", self.novel),
                "learn fewer classes, at most 254 in all",
            );
        }
        let mut pixels = vec![0usize; count + 1];
        for LearnImage { name, image, labels } in &self.supports {
            let (width, height) = image.dimensions();
            if labels.dim() != (height as usize, width as usize) {
                return refuse(
                    format!(
                        "{name}: its mask is {}x{} pixels, its image {width}x{height}",
                        labels.ncols(),
                        labels.nrows()
                    ),
                    "give the mask that was drawn for this very image",
                );
            }
            let mut shows_novel = false;
            for label in labels.iter().filter(|label| **label != IGNORE_INDEX) {
                let label = usize::from(*label);
                if label > count {
                    return refuse(
                        format!(
                            "{name}: label {label} in its mask, but there are {base} base and {} new \
                             classes",
                            self.novel
                        ),
                        "use the indices of classes: base first, then new ones",
                    );
                }
                pixels[label] += 1;
                shows_novel |= label > base;
            }
            if !shows_novel {
                return refuse(
                    format!("{name}: its mask shows no pixel of a new class"),
                    "annotate the object, or leave the image out",
                );
            }
        }
        if let Some(missing) = (base + 1..=count).find(|index| pixels[*index] == 0) {
            let number = missing - base;
            let name = self.names.get(number - 1).map_or_else(String::new, |n| format!(" ({n})"));
            return refuse(
                format!("no annotated image shows new class {number}{name}"),
                "annotate at least one image of every new class",
            );
        }
        Ok(())
    }
}
