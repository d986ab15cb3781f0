//! From a few annotated images to masks of any other image.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use fss_data::resize::{Filter, resize_rgb};
use fss_data::transform::{HsnetPreprocess, IgnoredPixels, normalise};
use fss_heads::{
    AnyModel, AnySupport, Features, FewShotModel, HeadError, Shot, image_tensor, mask_tensor,
};
use fss_kernels::{Corners, resize_bilinear};
use image::RgbImage;
use ndarray::{Array2, Array3};

use crate::cam::CamMaker;
use crate::{Error, ModelOptions, Precision, annotation, load_model_in};

/// The longest side of an image that the network sees, unless another one is set.
///
/// The work of matching grows with the fourth power of the side: at 1,500 pixels it is a hundred
/// times that of a PASCAL image.
pub const DEFAULT_MAX_SIDE: usize = 1500;

/// How many classes a mask of 8 bits has room for, beside background and ignored pixels.
const MAX_WAYS: usize = 254;

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

/// An image of which only the text is known that says what it shows.
#[derive(Debug, Clone)]
pub struct Unlabelled {
    /// What to call it in messages, usually its file name.
    pub name: String,
    /// The image.
    pub image: RgbImage,
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
    /// Label of each pixel `[H, W]`: 0 background, 1 foreground; of several ways the number of the way,
    /// from 1.
    pub mask: Array2<u8>,
    /// Logits `[1 + ways, H, W]`, background first.
    pub logits: Array3<f32>,
    /// By how much the query was shrunk before the network saw it; 1 if it was not.
    pub scale: f64,
}

/// A loaded model that segments images.
///
/// SSP and MLC take images at their own size; only those with a side beyond
/// [`max_side`](Self::with_max_side) are shrunk for the network, and their logits enlarged again. HSNet and
/// IMR see every image squeezed to the square that they were made for
/// ([`FewShotModel::image_side`](fss_heads::FewShotModel::image_side)); masks and logits come back at
/// the image's own size all the same.
///
/// A model that reads coarse maps (IMR) needs to know what is looked for as text:
/// [`with_text`](Self::with_text).
pub struct Segmenter {
    model: Box<dyn AnyModel>,
    device: Device,
    max_side: usize,
    text: Option<(CamMaker, usize)>,
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
        Self::load_in(Precision::Full, options, weights, device)
    }

    /// [`load`](Self::load) in a precision.
    ///
    /// # Errors
    /// As there.
    pub fn load_in(
        precision: Precision,
        options: &ModelOptions,
        weights: &Path,
        device: &Device,
    ) -> Result<Self, Error> {
        let (model, _) = load_model_in(precision, options, weights, device)?;
        Ok(Self::from_model(model, device))
    }

    /// Takes a model that is built already, best in its form for inference
    /// ([`Ssp::fold`](fss_heads::Ssp::fold), [`Mlc::fold`](fss_heads::Mlc::fold)).
    pub fn from_model(model: Box<dyn AnyModel>, device: &Device) -> Self {
        Self { model, device: device.clone(), max_side: DEFAULT_MAX_SIDE, text: None }
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

    /// Sets what is looked for as text, for models that read coarse maps: number `name` of the names of
    /// `maker`, which makes a map of every image. Other models do not look at it.
    ///
    /// # Errors
    /// [`Error::Options`] if there is no such name.
    pub fn with_text(mut self, maker: CamMaker, name: usize) -> Result<Self, Error> {
        if name >= maker.names().len() {
            return Err(Error::Options {
                problem: format!("name {name} of {}", maker.names().len()),
                remedy: "numbers start at 0".into(),
            });
        }
        self.text = Some((maker, name));
        Ok(self)
    }

    /// Learns from K annotated images what to look for. A model that reads coarse maps takes the masks
    /// in their place.
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
            let mask = match self.model.image_side() {
                Some(side) => {
                    HsnetPreprocess { side }.mask(&one.mask, 1, IgnoredPixels::Background)?
                }
                None => one.mask.clone(),
            };
            if !mask.iter().any(|label| *label == 1) {
                tracing::warn!(support = %one.name, "its object is too small: nothing of it is left");
            }
            let size = [mask.nrows(), mask.ncols()];
            let labels: Vec<u8> = mask.into_iter().collect();
            let mask = mask_tensor(&labels, size, &self.device);
            let mut features = self.model.features(image);
            if let Some(grid) = self.model.cam_grid() {
                let drawn = mask.clone().equal_elem(1).float().unsqueeze_dim::<4>(1);
                features = features.with_cam(resize_bilinear(drawn, [grid; 2], Corners::Aligned));
            }
            shots.push(Shot { features, mask });
        }
        self.encode(&shots)
    }

    /// Learns from K images of which only the text is known ([`with_text`](Self::with_text)).
    ///
    /// # Errors
    /// [`Error::Head`] if there is no image; [`Error::Options`] for a model that learns from masks alone,
    /// or without a text.
    pub fn support_by_text(&self, images: &[Unlabelled]) -> Result<Support, Error> {
        if self.model.cam_grid().is_none() {
            return Err(Error::Options {
                problem: "this model learns from masks, not from text".into(),
                remedy: "give masks, or use imr".into(),
            });
        }
        let mut shots = Vec::with_capacity(images.len());
        for one in images {
            let features = self.features(&one.image, &one.name)?.0;
            let [_, _, height, width] = features.0[0].dims();
            let mask = Tensor::zeros([1, height, width], &self.device);
            shots.push(Shot { features, mask });
        }
        self.encode(&shots)
    }

    fn encode(&self, shots: &[Shot]) -> Result<Support, Error> {
        Ok(Support { encoded: self.model.encode_support(shots)?, shots: shots.len() })
    }

    /// Finds in an image what the support set shows.
    ///
    /// # Errors
    /// [`Error::Head`] if the support set was made by another kind of model; [`Error::Options`] if the
    /// model needs a text and there is none.
    pub fn segment(&self, support: &Support, image: &RgbImage) -> Result<Segmentation, Error> {
        self.labelled(image, |features, size| self.model.segment(&support.encoded, features, size))
    }

    /// Finds in an image what several support sets show, each one class (a way), and labels each pixel
    /// with one of them: 0 background, then 1 for the first of `ways`. The network sees the image once.
    ///
    /// All ways share the background: a pixel is of the class whose foreground exceeds its background
    /// most, and background where none does (see [`FewShotModel::segment_ways`]). Objects of different
    /// ways may overlap in a support image, since each way has a mask of its own.
    ///
    /// ```
    /// use fss_core::{Annotated, Depth, ModelOptions, Segmenter, parse_device};
    /// use image::RgbImage;
    /// use ndarray::Array2;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let device = parse_device("cpu")?;
    /// # let ModelOptions::Ssp(config) = ModelOptions::ssp(Depth::R18).with_width(8) else { return Ok(()) };
    /// # let segmenter = Segmenter::from_model(Box::new(config.init(&device, 0)), &device);
    /// let example = |left: bool| Annotated {
    ///     name: "an example".into(),
    ///     image: RgbImage::new(48, 32),
    ///     mask: Array2::from_shape_fn((32, 48), |(_, x)| u8::from((x < 20) == left)),
    /// };
    /// let ways = [segmenter.support(&[example(true)])?, segmenter.support(&[example(false)])?];
    /// let found = segmenter.segment_ways(&ways, &RgbImage::new(40, 30))?;
    /// assert_eq!(found.logits.dim(), (3, 30, 40));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Head`] without ways, for support sets of another kind of model, and for several ways of a
    /// model that reads coarse maps (IMR), which looks for one class at a time; [`Error::Options`] for
    /// more than 254 ways, or if the model needs a text and there is none.
    pub fn segment_ways(&self, ways: &[Support], image: &RgbImage) -> Result<Segmentation, Error> {
        if ways.len() > MAX_WAYS {
            return Err(Error::Options {
                problem: format!("{} classes at once; a mask has room for {MAX_WAYS}", ways.len()),
                remedy: "segment them in parts".into(),
            });
        }
        let encoded: Vec<AnySupport> = ways.iter().map(|way| way.encoded.clone()).collect();
        self.labelled(image, |features, size| self.model.segment_ways(&encoded, features, size))
    }

    /// Logits of an image by `segment`, which takes features and the size that they are wanted at, and
    /// what they say.
    fn labelled(
        &self,
        image: &RgbImage,
        segment: impl Fn(&Features, [usize; 2]) -> Result<Tensor<4>, HeadError>,
    ) -> Result<Segmentation, Error> {
        let (features, scale) = self.features(image, "the query")?;
        let size = [image.height() as usize, image.width() as usize];
        let logits = match self.model.image_side() {
            Some(_) => segment(&features, size)?,
            None => {
                let seen = size.map(|side| shrunk(side, scale));
                let logits = segment(&features, seen)?;
                if scale < 1.0 { resize_bilinear(logits, size, Corners::HalfPixel) } else { logits }
            }
        };
        let logits = to_array(logits, size)?;
        Ok(Segmentation { mask: argmax(&logits), logits, scale })
    }

    /// Features of an image, with its coarse map if the model reads one, and the factor by which it was
    /// shrunk.
    fn features(&self, image: &RgbImage, what: &str) -> Result<(Features, f64), Error> {
        let (tensor, scale) = self.tensor(image)?;
        let features = self.model.features(tensor);
        let Some(grid) = self.model.cam_grid() else { return Ok((features, scale)) };
        let Some((maker, name)) = &self.text else {
            return Err(Error::Options {
                problem: "this model looks for a thing by its name, and none was given".into(),
                remedy: "name it and give CLIP's weights".into(),
            });
        };
        let mut found = maker.maps(image, &[*name], grid)?;
        let found = found.remove(0);
        if found.is_empty() {
            tracing::warn!("{what}: CLIP sees nothing of {:?} in it", maker.names()[*name]);
        }
        let map: Vec<f32> = found.map.into_iter().collect();
        let map = Tensor::from_data(TensorData::new(map, [1, 1, grid, grid]), &self.device);
        Ok((features.with_cam(map), scale))
    }

    /// The normalised image `[1, 3, h, w]` and the factor by which it was shrunk.
    fn tensor(&self, image: &RgbImage) -> Result<(Tensor<4>, f64), Error> {
        if let Some(side) = self.model.image_side() {
            return Ok((self.normalised(&resize_rgb(image, [side; 2], Filter::Bilinear)?), 1.0));
        }
        let longest = image.width().max(image.height()) as usize;
        if longest <= self.max_side {
            return Ok((self.normalised(image), 1.0));
        }
        let scale = self.max_side as f64 / longest as f64;
        let size = [image.height(), image.width()].map(|side| shrunk(side as usize, scale));
        let small = resize_rgb(image, size, Filter::Bilinear)?;
        Ok((self.normalised(&small), scale))
    }

    fn normalised(&self, image: &RgbImage) -> Tensor<4> {
        let values = normalise(image);
        let (_, height, width) = values.dim();
        image_tensor(values.into_iter().collect(), [height, width], &self.device)
    }
}

/// A side in pixels, shrunk by a factor.
fn shrunk(side: usize, scale: f64) -> usize {
    ((side as f64 * scale).round() as usize).max(1)
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
