//! From a few annotated images to masks of any other image.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use fss_data::resize::{Filter, resize_rgb};
use fss_data::transform::normalise;
use fss_heads::{AnyModel, AnySupport, FewShotModel, image_tensor, mask_tensor};
use image::RgbImage;
use ndarray::{Array2, Array3};

use crate::{Error, ModelOptions, annotation, load_model};

/// The longest side of an image that the network sees, unless another one is set.
///
/// The work of matching grows with the fourth power of the side: at 1,500 pixels it is a hundred
/// times that of a PASCAL image.
pub const DEFAULT_MAX_SIDE: usize = 1500;

/// An image with a mask of what it shows.
#[derive(Debug, Clone)]
pub struct Annotated {
    /// What to call it in messages, usually its file name.
    pub name: String,
    /// The image.
    pub image: RgbImage,
    /// Its mask `[H, W]`: 0 background, 1 foreground, 255 ignored.
    pub mask: Array2<u8>,
}

/// A support set, ready for any number of queries.
#[derive(Debug)]
pub struct Support {
    encoded: AnySupport,
    shots: usize,
}

impl Support {
    /// How many annotated images it was made from.
    pub fn shots(&self) -> usize {
        self.shots
    }
}

/// The segmentation of one query, at the query's own size.
#[derive(Debug, Clone)]
pub struct Segmentation {
    /// Label of each pixel `[H, W]`: 0 background, 1 foreground.
    pub mask: Array2<u8>,
    /// Logits `[1 + ways, H, W]`, background first.
    pub logits: Array3<f32>,
    /// By how much the query was shrunk before the network saw it; 1 if it was not.
    pub scale: f64,
}

/// A loaded model that segments images.
///
/// Networks take images at their own size; only those with a side beyond
/// [`max_side`](Self::with_max_side) are shrunk for the network, and their logits enlarged again.
pub struct Segmenter {
    model: Box<dyn AnyModel>,
    device: Device,
    max_side: usize,
}

impl std::fmt::Debug for Segmenter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segmenter")
            .field("device", &self.device)
            .field("max_side", &self.max_side)
            .finish_non_exhaustive()
    }
}

impl Segmenter {
    /// Builds a model and loads its weights: a whole checkpoint of the official code (`.pth`), or
    /// one of ours (`.safetensors`, burnpack).
    ///
    /// # Errors
    /// [`Error::Backbone`] if the file is missing, broken, or of another model: loading is strict.
    pub fn load(options: &ModelOptions, weights: &Path, device: &Device) -> Result<Self, Error> {
        let (model, _) = load_model(options, weights, device)?;
        Ok(Self::from_model(model, device))
    }

    /// Takes a model that is built already, best in its form for inference
    /// ([`Ssp::fold`](fss_heads::Ssp::fold), [`Mlc::fold`](fss_heads::Mlc::fold)).
    pub fn from_model(model: Box<dyn AnyModel>, device: &Device) -> Self {
        Self { model, device: device.clone(), max_side: DEFAULT_MAX_SIDE }
    }

    /// Sets the longest side, in pixels, of an image that the network sees.
    ///
    /// # Errors
    /// [`Error::Options`] if it is 0.
    pub fn with_max_side(mut self, pixels: usize) -> Result<Self, Error> {
        if pixels == 0 {
            return Err(Error::Options {
                problem: "the longest side of an image is 0".into(),
                remedy: format!("use a number of pixels such as {DEFAULT_MAX_SIDE}"),
            });
        }
        self.max_side = pixels;
        Ok(self)
    }

    /// Learns from K annotated images what to look for.
    ///
    /// # Errors
    /// [`Error::Head`] if there is no image; [`Error::Support`] if a mask has another size than its
    /// image, holds other values than 0, 1 and 255, or shows no foreground.
    pub fn support(&self, annotated: &[Annotated]) -> Result<Support, Error> {
        let mut shots = Vec::with_capacity(annotated.len());
        for one in annotated {
            annotation::check(one)?;
            let (image, scale) = self.tensor(&one.image)?;
            if scale < 1.0 {
                tracing::warn!(support = %one.name, scale, "the image is large and was shrunk");
            }
            let (height, width) = one.mask.dim();
            let labels: Vec<u8> = one.mask.iter().copied().collect();
            shots.push((image, mask_tensor(&labels, [height, width], &self.device)));
        }
        let encoded = self.model.encode_support_images(&shots)?;
        Ok(Support { encoded, shots: shots.len() })
    }

    /// Finds in an image what the support set shows.
    ///
    /// # Errors
    /// [`Error::Head`] if the support set was made by another kind of model.
    pub fn segment(&self, support: &Support, image: &RgbImage) -> Result<Segmentation, Error> {
        let (tensor, scale) = self.tensor(image)?;
        let size = [image.height() as usize, image.width() as usize];
        let mut logits = self.model.segment_images(&support.encoded, tensor)?;
        if scale < 1.0 {
            logits = fss_kernels::resize_bilinear(logits, size, fss_kernels::Corners::HalfPixel);
        }
        let logits = to_array(logits, size)?;
        Ok(Segmentation { mask: argmax(&logits), logits, scale })
    }

    /// The normalised image `[1, 3, h, w]` and the factor by which it was shrunk.
    fn tensor(&self, image: &RgbImage) -> Result<(Tensor<4>, f64), Error> {
        let longest = image.width().max(image.height()) as usize;
        if longest <= self.max_side {
            return Ok((self.normalised(image), 1.0));
        }
        let scale = self.max_side as f64 / longest as f64;
        let shrink = |side: u32| ((f64::from(side) * scale).round() as usize).max(1);
        let size = [shrink(image.height()), shrink(image.width())];
        let small = resize_rgb(image, size, Filter::Bilinear)?;
        Ok((self.normalised(&small), scale))
    }

    fn normalised(&self, image: &RgbImage) -> Tensor<4> {
        let values = normalise(image);
        let (_, height, width) = values.dim();
        image_tensor(values.into_iter().collect(), [height, width], &self.device)
    }
}

fn to_array(logits: Tensor<4>, [height, width]: [usize; 2]) -> Result<Array3<f32>, Error> {
    let [_, classes, ..] = logits.dims();
    let values =
        logits.into_data().convert::<f32>().try_to_vec::<f32>().map_err(|e| Error::Options {
            problem: format!("the device did not return the logits: {e:?}"),
            remedy: "try --device cpu".into(),
        })?;
    Array3::from_shape_vec((classes, height, width), values).map_err(|e| Error::Options {
        problem: format!("logits of another size than the image: {e}"),
        remedy: "segment one image at a time".into(),
    })
}

/// The label with the largest logit; of equal ones the lowest, so that a tie is background.
fn argmax(logits: &Array3<f32>) -> Array2<u8> {
    let (classes, height, width) = logits.dim();
    Array2::from_shape_fn((height, width), |(y, x)| {
        let mut best = 0;
        for class in 1..classes {
            if logits[[class, y, x]] > logits[[best, y, x]] {
                best = class;
            }
        }
        best as u8
    })
}
