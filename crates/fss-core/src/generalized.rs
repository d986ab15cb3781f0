//! Generalized few-shot segmentation: every base and novel class of a model in one pass.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use fss_backbone::{
    BackboneError, Depth, DilatedResNetConfig, OutputStride, WeightsSummary, inspect_weights,
};
use fss_data::transform::FitSquare;
use fss_heads::generalized::entries;
use fss_heads::{ClassCount, GeneralizedModel, PopConfig, PspnetConfig};
use fss_kernels::{Corners, enlarged_argmax};
use image::RgbImage;
use ndarray::{Array2, Array3};

use crate::Error;

/// The side of the square that images are brought to, as published.
pub const DEFAULT_SIDE: usize = 473;

/// A method of generalized few-shot segmentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GeneralizedMethod {
    /// Projection onto orthogonal prototypes (CVPR 2023).
    Pop,
    /// The PSPNet baseline of its code.
    Pspnet,
}

impl GeneralizedMethod {
    /// The name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pop => "pop",
            Self::Pspnet => "pspnet",
        }
    }

    /// The method of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Pop, Self::Pspnet].into_iter().find(|method| method.name() == name)
    }
}

/// What a weight file does not say of itself, or is to be overruled in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GeneralizedOptions {
    /// The method; else the one whose parts the file holds.
    pub method: Option<GeneralizedMethod>,
    /// Depth of the backbone; else the one that the file shows.
    pub depth: Option<Depth>,
    /// Output stride of the backbone; else what the file says, or 8.
    pub output_stride: Option<OutputStride>,
    /// The side of the square that images are brought to; else what the file says, or 473.
    pub side: Option<usize>,
    /// Names of the classes, base first; else those in the file, or numbers.
    pub names: Option<Vec<String>>,
}

/// What is known of a file of generalized weights before they are loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct GeneralizedFile {
    /// The method.
    pub method: GeneralizedMethod,
    /// The backbone.
    pub network: DilatedResNetConfig,
    /// How many classes.
    pub classes: ClassCount,
    /// Their names, base first, as many as there are classes.
    pub names: Vec<String>,
    /// The side of the square that images are brought to.
    pub side: usize,
    /// Text entries beside the tensors.
    pub metadata: BTreeMap<String, String>,
}

impl GeneralizedFile {
    /// Looks into a weight file: one of the official code, of either stage, or one of ours.
    ///
    /// # Errors
    /// [`Error::Backbone`] if it is missing, broken, or of another kind; [`Error::Options`] if the options
    /// do not fit it.
    pub fn inspect(path: &Path, options: &GeneralizedOptions) -> Result<Self, Error> {
        let summary = inspect_weights(path)?;
        let method = options
            .method
            .or_else(|| GeneralizedMethod::by_name(summary.generalized?))
            .ok_or_else(|| other_kind(path, &summary, "pop or pspnet"))?;
        if summary.generalized != Some(method.name()) {
            return Err(other_kind(path, &summary, method.name()));
        }
        let mut network = summary
            .dilated
            .ok_or_else(|| other_kind(path, &summary, "a deep-stem ResNet with layer4"))?;
        if let Some(depth) = options.depth {
            network.depth = depth;
        }
        if let Some(stride) = options.output_stride {
            network.output_stride = stride;
        }
        network.validate()?;
        let rows = |key: &str| {
            let found = summary.tensors.iter().find(|tensor| {
                tensor.key.strip_prefix(summary.prefix.as_str()).is_some_and(|rest| rest == key)
            });
            found.map_or(0, |tensor| tensor.shape.first().copied().unwrap_or(0))
        };
        let classes = match method {
            GeneralizedMethod::Pop => {
                ClassCount { base: rows("base_emb"), novel: rows("novel_emb") }
            }
            GeneralizedMethod::Pspnet => ClassCount {
                base: rows("classifier.weight").saturating_sub(1),
                novel: rows("classifier_n.weight"),
            },
        };
        let metadata = summary.metadata;
        let names = names(classes, options.names.as_deref(), &metadata)?;
        let stored = metadata.get(entries::SIDE).and_then(|text| text.parse().ok());
        let side = options.side.or(stored).unwrap_or(DEFAULT_SIDE);
        if side == 0 {
            return Err(Error::Options {
                problem: "images are to be brought to a side of 0 pixels".into(),
                remedy: format!("use {DEFAULT_SIDE}, as published"),
            });
        }
        Ok(Self { method, network, classes, names, side, metadata })
    }
}

/// That a file holds something else than was asked for.
fn other_kind(path: &Path, summary: &WeightsSummary, asked: &str) -> Error {
    let (path, found) = (path.to_owned(), summary.contents.clone());
    Error::Backbone(BackboneError::OtherBackbone { path, found, asked: asked.to_owned() })
}

fn names(
    classes: ClassCount,
    given: Option<&[String]>,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<String>, Error> {
    let count = classes.base + classes.novel;
    if let Some(given) = given {
        return match given.len() == count {
            true => Ok(given.to_vec()),
            false => Err(Error::Options {
                problem: format!("{} names for {classes}", given.len()),
                remedy: format!("give {count}: the base classes first, then the novel ones"),
            }),
        };
    }
    let stored: Option<Vec<String>> =
        metadata.get(entries::CLASSES).and_then(|text| serde_json::from_str(text).ok());
    if let Some(stored) = stored.filter(|stored| stored.len() == count) {
        return Ok(stored);
    }
    let numbered = (1..=count).map(|index| match index <= classes.base {
        true => format!("base {index}"),
        false => format!("novel {}", index - classes.base),
    });
    Ok(numbered.collect())
}

/// Builds the model that a file holds, every norm folded into its convolution, with its weights.
///
/// # Errors
/// [`Error::Backbone`] if the file is missing, broken or of another kind: loading is strict.
pub fn load_generalized(
    file: &GeneralizedFile,
    weights: &Path,
    device: &Device,
) -> Result<Box<dyn GeneralizedModel + Send>, Error> {
    let GeneralizedFile { method, network, classes, .. } = *file;
    Ok(match method {
        GeneralizedMethod::Pop => {
            let config = PopConfig { network, classes };
            Box::new(config.init(device, 0).load(weights)?.0.fold())
        }
        GeneralizedMethod::Pspnet => {
            let config = PspnetConfig { network, classes };
            Box::new(config.init(device, 0).load(weights)?.0.fold())
        }
    })
}

/// A loaded model that labels every pixel of an image with background or any of its classes.
///
/// An image is brought to a square as published: its longer side becomes that of the square, the rest is
/// filled up below or to the right. Labels come back at the image's own size.
pub struct GeneralizedSegmenter {
    model: Box<dyn GeneralizedModel + Send>,
    names: Vec<String>,
    side: usize,
    device: Device,
}

impl std::fmt::Debug for GeneralizedSegmenter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GeneralizedSegmenter")
            .field("names", &self.names)
            .field("side", &self.side)
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

/// The labels of one image.
#[derive(Debug, Clone)]
pub struct GeneralizedSegmentation {
    /// Index of the class of each pixel `[H, W]`: 0 background, then base, then novel classes.
    pub labels: Array2<u8>,
    /// Logits `[1 + base + novel, h, w]` at the resolution of the features, over the whole square.
    pub logits: Array3<f32>,
}

impl GeneralizedSegmenter {
    /// Builds the model that a file holds and loads it, every norm folded into its convolution.
    ///
    /// # Errors
    /// [`Error::Backbone`] if the file is missing, broken or of another kind: loading is strict;
    /// [`Error::Options`] if the options do not fit it.
    pub fn load(
        weights: &Path,
        options: &GeneralizedOptions,
        device: &Device,
    ) -> Result<Self, Error> {
        let file = GeneralizedFile::inspect(weights, options)?;
        let model = load_generalized(&file, weights, device)?;
        Self::from_model(model, file.names, file.side, device)
    }

    /// Takes a model that is built already, best folded; `names` are those of its classes, base first.
    ///
    /// # Errors
    /// [`Error::Options`] if there are not as many names as classes, more than 254 classes, or the side
    /// is 0.
    pub fn from_model(
        model: Box<dyn GeneralizedModel + Send>,
        names: Vec<String>,
        side: usize,
        device: &Device,
    ) -> Result<Self, Error> {
        let classes = model.classes();
        let count = classes.base + classes.novel;
        if names.len() != count || count > 254 || side == 0 {
            return Err(Error::Options {
                problem: format!("{} names for {classes}, a side of {side} pixels", names.len()),
                remedy: "give one name a class, at most 254 classes, and a side such as 473".into(),
            });
        }
        Ok(Self { model, names, side, device: device.clone() })
    }

    /// How many classes of which kind there are.
    pub fn classes(&self) -> ClassCount {
        self.model.classes()
    }

    /// Names of the classes: `names()[i]` is that of label i + 1.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The side of the square that images are brought to.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Labels every pixel of an image.
    ///
    /// # Errors
    /// [`Error::Data`] for an empty image; [`Error::Options`] if the device does not return the result.
    pub fn segment(&self, image: &RgbImage) -> Result<GeneralizedSegmentation, Error> {
        let size = [image.height() as usize, image.width() as usize];
        let logits = self.model.logits(self.square(image)?);
        let longest = size[0].max(size[1]);
        let labels = enlarged_argmax(logits.clone(), [longest; 2], size, Corners::Aligned);
        let labels: Vec<u8> = labels.try_into_vec_as().map_err(unread)?;
        let [_, channels, height, width] = logits.dims();
        let logits: Vec<f32> = logits.try_into_vec_as().map_err(unread)?;
        Ok(GeneralizedSegmentation {
            labels: Array2::from_shape_vec((size[0], size[1]), labels).map_err(unread)?,
            logits: Array3::from_shape_vec((channels, height, width), logits).map_err(unread)?,
        })
    }

    /// The normalised image in its square, `[1, 3, S, S]`; what is filled up has the mean colour.
    fn square(&self, image: &RgbImage) -> Result<Tensor<4>, Error> {
        let square = FitSquare::new(self.side).image(image)?;
        let data = TensorData::new(square.into_iter().collect(), [1, 3, self.side, self.side]);
        Ok(Tensor::from_data(data, &self.device))
    }
}

fn unread(error: impl std::fmt::Debug) -> Error {
    Error::Options {
        problem: format!("the device did not return the labels: {error:?}"),
        remedy: "try --device cpu".into(),
    }
}
