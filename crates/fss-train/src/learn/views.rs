//! Views of images with the features of the frozen part of the model.

use burn::tensor::{Device, Tensor};
use fss_data::rng::KeyedRandom;
use fss_data::transform::{FitSquare, flip_horizontal};
use fss_heads::Pop;
use fss_kernels::{Corners, enlarged_argmax};
use image::RgbImage;
use ndarray::Array2;

use super::{Background, LearnEvent, LearnSet, LearnSettings};
use crate::tensor::image_tensor;
use crate::{Stop, TrainError};

/// Memory that features may take, in bytes.
const BUDGET: usize = 2 << 30;

/// Scales and mirroring of views, in the order in which they are taken.
const KINDS: [(f64, bool); 8] = [
    (1.0, false),
    (1.0, true),
    (0.8, false),
    (0.8, true),
    (0.9, true),
    (0.9, false),
    (0.7, true),
    (0.7, false),
];

/// One view of an image.
#[derive(Debug)]
pub(super) struct View {
    /// Decoder features `[1, C, h, w]`, outside autodiff.
    pub features: Tensor<4>,
    /// Labels `[S, S]`.
    pub labels: Array2<u8>,
}

/// All views, one list an image.
#[derive(Debug)]
pub(super) struct Views {
    supports: Vec<Vec<View>>,
    base: Vec<Vec<View>>,
}

impl Views {
    /// A view of an annotated image, all images being equally likely.
    pub(super) fn novel(&self, random: &mut KeyedRandom) -> &View {
        let views = &self.supports[random.below(self.supports.len())];
        &views[random.below(views.len())]
    }

    /// A view of a base image, if there are some.
    pub(super) fn base(&self, random: &mut KeyedRandom) -> Option<&View> {
        if self.base.is_empty() {
            return None;
        }
        let views = &self.base[random.below(self.base.len())];
        Some(&views[random.below(views.len())])
    }
}

/// Makes the features of all views.
pub(super) fn prepare(
    model: &Pop,
    set: &LearnSet,
    settings: &LearnSettings,
    device: &Device,
    observer: &mut dyn FnMut(LearnEvent),
    stop: &Stop,
) -> Result<Views, TrainError> {
    let images = set.supports.len() + set.base.len();
    let kinds = views_that_fit(model, settings, images);
    let total = kinds.len() * images;
    let mut maker = Maker { model: model.clone().fold(), settings, device, kinds, done: 0 };
    let mut report = |done| observer(LearnEvent::Prepared { done, total });
    let mut supports = Vec::with_capacity(set.supports.len());
    for support in &set.supports {
        let labels = Some((&support.labels, set.background));
        supports.push(maker.views(&support.image, labels, &mut report, stop)?);
    }
    let mut base = Vec::with_capacity(set.base.len());
    for (_, image) in &set.base {
        base.push(maker.views(image, None, &mut report, stop)?);
    }
    Ok(Views { supports, base })
}

fn views_that_fit(model: &Pop, settings: &LearnSettings, images: usize) -> &'static [(f64, bool)] {
    let [height, width] = model.config().network.feature_size([settings.side; 2]);
    let bytes = 4 * model.config().channels() * height * width * images;
    let fitting = (BUDGET / bytes.max(1)).max(1);
    let wanted = settings.views.min(KINDS.len());
    if fitting < wanted {
        tracing::warn!(
            "{fitting} instead of {wanted} views of each image: the features of {images} images take \
             {} MiB a view",
            bytes >> 20
        );
    }
    &KINDS[..wanted.min(fitting)]
}

struct Maker<'a> {
    model: Pop,
    settings: &'a LearnSettings,
    device: &'a Device,
    kinds: &'static [(f64, bool)],
    done: usize,
}

impl Maker<'_> {
    /// The views of an image; without labels the model makes them.
    fn views(
        &mut self,
        image: &RgbImage,
        labels: Option<(&Array2<u8>, Background)>,
        report: &mut dyn FnMut(usize),
        stop: &Stop,
    ) -> Result<Vec<View>, TrainError> {
        let size = (image.height() as usize, image.width() as usize);
        let blank = Array2::zeros(size);
        let (given, background) = labels.unwrap_or((&blank, Background::ByModel));
        let mut views = Vec::with_capacity(self.kinds.len());
        for (scale, mirrored) in self.kinds {
            if stop.is_requested() {
                return Err(TrainError::Interrupted { what: "learning" });
            }
            let side = self.settings.side;
            let content = ((side as f64 * scale).round() as usize).max(1);
            let fit = FitSquare::new(side).with_content(content);
            let (image, labels) = match mirrored {
                true => flip_horizontal(image, given),
                false => (image.clone(), given.clone()),
            };
            let features =
                self.model.features(image_tensor(fit.image(&image)?.view(), self.device));
            let mut labels = fit.labels(&labels)?;
            if background == Background::ByModel {
                self.fill_background(&features, &mut labels)?;
            }
            views.push(View { features, labels });
            self.done += 1;
            report(self.done);
        }
        Ok(views)
    }

    /// Replaces label 0 by what the model sees.
    fn fill_background(
        &self,
        features: &Tensor<4>,
        labels: &mut Array2<u8>,
    ) -> Result<(), TrainError> {
        let logits = self.model.head.logits(features.clone()).without_autodiff();
        let size = [labels.nrows(), labels.ncols()];
        let seen = enlarged_argmax(logits, size, size, Corners::Aligned);
        let seen: Vec<u8> = seen.try_into_vec_as().map_err(|error| {
            TrainError::setting(
                format!("the device did not return the labels ({error:?})"),
                "use --device cpu",
            )
        })?;
        for (label, seen) in labels.iter_mut().zip(seen) {
            if *label == 0 {
                *label = seen;
            }
        }
        Ok(())
    }
}
