//! Coarse maps of named things: CLIP's Grad-CAM, from an image and a list of names.

mod generate;

use std::io::Read;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use fss_backbone::clip::{
    CamPair, CamTarget, Clip, ClipTokenizer, Overlong, load_clip, prompt as prompt_of,
};
use fss_data::cam::{CAM_GRID, CamNote, CamSizes};
use fss_data::coco;
use fss_data::transform::{ClipPreprocess, ClipView};
use image::RgbImage;
use ndarray::{Array1, Array2, Array3, Axis};
use sha2::{Digest, Sha256};

use crate::Error;

pub use generate::{Generated, generate};

/// How maps are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CamOptions {
    /// What of an image CLIP sees; the centre, as published, or the whole.
    pub view: ClipView,
    /// What the map explains; the probability of a name among all names, as published, or its score.
    pub target: CamTarget,
    /// What happens to a text with more tokens than CLIP reads.
    pub overlong: Overlong,
}

impl CamOptions {
    /// What the map explains, as files name it.
    fn target_name(self) -> &'static str {
        match self.target {
            CamTarget::Probability => "probability",
            CamTarget::Logit => "score",
        }
    }
}

/// Makes coarse maps. The names' text features are computed once.
pub struct CamMaker {
    clip: Clip,
    /// `[P, E]`
    text: Tensor<2>,
    names: Vec<String>,
    prompts: Vec<String>,
    options: CamOptions,
    device: Device,
    weights: String,
}

impl std::fmt::Debug for CamMaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CamMaker")
            .field("names", &self.names)
            .field("options", &self.options)
            .field("weights", &self.weights)
            .finish_non_exhaustive()
    }
}

/// What CLIP sees of a name in an image.
#[derive(Debug, Clone)]
pub struct NamedCam {
    /// The map `[G, G]`, from 0 to 1.
    pub map: Array2<f32>,
    /// The probability of the name among all names, from 0 to 1.
    pub probability: f32,
}

impl NamedCam {
    /// Whether nothing in the image speaks for the name. A model that reads such a map sees nothing of
    /// the image either.
    pub fn is_empty(&self) -> bool {
        self.map.iter().all(|value| *value == 0.0)
    }
}

impl CamMaker {
    /// Loads CLIP with a ResNet: OpenAI's `RN50.pt` as it is, or a state dict. `names` compete for the
    /// image; published are all class names of a data set, base and novel.
    ///
    /// A text that is cut because CLIP reads only 77 tokens is told in the log
    /// ([`Overlong::Truncate`]).
    ///
    /// # Errors
    /// [`Error::Backbone`] for a file that is missing, broken or of another network, a name that is
    /// empty, or one that is too long and not to be cut; [`Error::Options`] without names.
    pub fn load(
        weights: &Path,
        names: &[String],
        options: CamOptions,
        device: &Device,
    ) -> Result<Self, Error> {
        let (clip, _) = load_clip(weights, device)?;
        let fingerprint = fingerprint(weights)?;
        Self::new(clip, names, options, device, fingerprint)
    }

    /// Takes a network that is loaded already; `weights` names it in the files that are made.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn new(
        clip: Clip,
        names: &[String],
        options: CamOptions,
        device: &Device,
        weights: String,
    ) -> Result<Self, Error> {
        Self::prepare(clip.fold(), names, options, device, weights)
    }

    /// The same network with other names.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn with_names(&self, names: &[String]) -> Result<Self, Error> {
        let (clip, weights) = (self.clip.clone(), self.weights.clone());
        Self::prepare(clip, names, self.options, &self.device, weights)
    }

    /// `clip` is folded.
    fn prepare(
        clip: Clip,
        names: &[String],
        options: CamOptions,
        device: &Device,
        weights: String,
    ) -> Result<Self, Error> {
        if names.is_empty() {
            return Err(Error::Options {
                problem: "there is no name to make a map of".into(),
                remedy: "give at least one class name or text".into(),
            });
        }
        if names.len() == 1 && options.target == CamTarget::Probability {
            tracing::warn!(
                "a single name has no competitor, so its probability is 1 everywhere and its map empty; \
                 give other names, or explain its score instead"
            );
        }
        let tokenizer = ClipTokenizer::new();
        let context = clip.config().context;
        let mut prompts = Vec::with_capacity(names.len());
        let mut tokens = Vec::with_capacity(names.len());
        for name in names {
            let prompt = prompt_of(name)?;
            let read = tokenizer.tokenize(&prompt, context, options.overlong)?;
            if read.is_truncated() {
                tracing::warn!(
                    "a text of {} tokens is longer than the {context} that CLIP reads; kept: {:?}",
                    read.needed,
                    read.kept
                );
            }
            tokens.push(read.ids);
            prompts.push(prompt);
        }
        let text = clip.encode_text(&tokens)?;
        Ok(Self {
            clip,
            text,
            names: names.to_vec(),
            prompts,
            options,
            device: device.clone(),
            weights,
        })
    }

    /// The names, in the order of their numbers.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What of an image is seen.
    pub fn view(&self) -> ClipView {
        self.options.view
    }

    /// Maps of some of the names (by their numbers) in an image; the image is seen once.
    ///
    /// # Errors
    /// [`Error::Options`] for a number without a name; [`Error::Data`] for an image that is far too
    /// narrow.
    pub fn maps(
        &self,
        image: &RgbImage,
        names: &[usize],
        grid: usize,
    ) -> Result<Vec<NamedCam>, Error> {
        if let Some(number) = names.iter().find(|number| **number >= self.names.len()) {
            return Err(Error::Options {
                problem: format!("name {number} of {}", self.names.len()),
                remedy: "numbers start at 0".into(),
            });
        }
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let side = self.clip.config().resolution;
        let seen = ClipPreprocess { side, view: self.options.view }.image(image)?;
        let (_, height, width) = seen.dim();
        let seen: Vec<f32> = seen.into_iter().collect();
        let seen = TensorData::new(seen, [1, 3, height, width]);
        let pairs: Vec<CamPair> = names.iter().map(|&class| CamPair { image: 0, class }).collect();
        let found = self.clip.grad_cam(
            Tensor::from_data(seen, &self.device),
            self.text.clone(),
            &pairs,
            self.options.target,
        )?;
        let [count, h, w] = found.raw.dims();
        let raw = Array3::from_shape_vec((count, h, w), host(found.raw)?).map_err(shape)?;
        let probabilities = Array1::from(host(found.probabilities)?);
        let sizes = CamSizes { network: side, grid };
        names
            .iter()
            .zip(raw.axis_iter(Axis(0)))
            .map(|(&name, raw)| {
                let map = sizes.coarse(&raw.to_owned())?;
                Ok(NamedCam { map, probability: probabilities[name] })
            })
            .collect()
    }

    /// What is written beside the map of a name in an image.
    pub fn note(&self, name: usize, image: impl Into<String>) -> CamNote {
        CamNote {
            class: self.names[name].clone(),
            prompt: self.prompts[name].clone(),
            image: image.into(),
            view: self.options.view,
            target: self.options.target_name().to_owned(),
            weights: self.weights.clone(),
        }
    }
}

/// A list of names that a free text competes with, and its number in it: the text itself and the class
/// names of COCO, but for the one that it names already ("a dog", "Dog").
pub fn names_with(text: &str) -> (Vec<String>, usize) {
    names_against(text, &coco::CLASS_NAMES)
}

/// As [`names_with`] with other names than those of COCO.
pub fn names_against<S: AsRef<str>>(text: &str, others: &[S]) -> (Vec<String>, usize) {
    let bare = |text: &str| {
        let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        let skip = usize::from(words.len() > 1 && ["a", "an", "the"].contains(&words[0].as_str()));
        words[skip..].join(" ")
    };
    let wanted = bare(text);
    let others = others.iter().map(|name| name.as_ref().trim());
    let others = others.filter(|name| bare(name) != wanted);
    (std::iter::once(text.trim()).chain(others).map(str::to_owned).collect(), 0)
}

/// The first half of the SHA-256 of a file, in hexadecimal digits.
fn fingerprint(path: &Path) -> Result<String, Error> {
    let failed = |source| fss_data::DataError::io("read", path, source);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    Ok(hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect())
}

fn host<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, Error> {
    tensor.try_into_vec_as::<f32>().map_err(|e| Error::Options {
        problem: format!("the device did not return a map: {e}"),
        remedy: "try --device cpu".into(),
    })
}

fn shape(error: ndarray::ShapeError) -> Error {
    Error::Options {
        problem: format!("maps of another size than expected: {error}"),
        remedy: "give one image at a time".into(),
    }
}

/// The side of the published maps.
pub const GRID: usize = CAM_GRID;

#[cfg(test)]
mod tests {
    use super::{names_against, names_with};

    #[test]
    fn a_text_competes_with_everything_but_itself() {
        let (names, number) = names_with("a dog");
        assert_eq!((names[number].as_str(), names.len()), ("a dog", 80));
        assert!(!names.iter().any(|name| name == "dog"));
        let (names, number) = names_with(" a red cup ");
        assert_eq!((names[number].as_str(), names.len()), ("a red cup", 81));
        assert_eq!(names_with("Teddy  bear").0.len(), 80);
        assert_eq!(names_against("the cup", &["Cup", " mug", "cup"]).0, ["the cup", "mug"]);
    }
}
