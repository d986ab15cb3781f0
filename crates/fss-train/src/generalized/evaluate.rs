//! Base, novel and total mean IoU over whole images.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use fss_data::gfss::Shown;
use fss_data::loader::{LoaderOptions, OrderedLoader};
use fss_data::transform::FitSquare;
use fss_heads::{ClassCount, GeneralizedModel};
use fss_metrics::{GeneralizedMetric, GeneralizedScores, Spread};
use ndarray::{Array2, Array3};
use serde::{Deserialize, Serialize};

use super::data::GfssData;
use super::observer::GfssObserver;
use crate::tensor::{enlarged_labels, image_tensor};
use crate::{Stop, TrainError};

/// The evaluation of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GfssSeed {
    /// The seed of its stage 2, if that is known.
    pub seed: Option<u64>,
    /// All counts.
    pub metric: GeneralizedMetric,
    /// What they come to.
    pub scores: GeneralizedScores,
}

/// The evaluation of the models of one or several seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GfssEvaluation {
    /// What was measured, for reports.
    pub model: String,
    /// The data set, fold and split.
    pub data: String,
    /// Images measured.
    pub images: usize,
    /// Names of the classes in the order of their indices, base first.
    pub names: Vec<String>,
    /// One for each seed.
    pub seeds: Vec<GfssSeed>,
}

impl GfssEvaluation {
    /// Mean and deviation over the seeds of one score.
    pub fn spread(&self, score: fn(&GeneralizedScores) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.seeds.iter().filter_map(|seed| score(&seed.scores)))
    }
}

/// Labels of an image from its logits as the published evaluation makes them: enlarged (corners aligned)
/// to the square of the image's longer side, the largest taken.
///
/// # Shapes
/// - logits: `[1, channels, h, w]`
/// - size: height and width of the image
///
/// # Errors
/// [`TrainError::Setting`] if the device does not return the labels.
pub fn original_size_labels(logits: Tensor<4>, size: [usize; 2]) -> Result<Array2<u8>, TrainError> {
    enlarged_labels(logits, [size[0].max(size[1]); 2], size)
}

/// An image ready to be measured.
struct Measured {
    image: Array3<f32>,
    truth: Array2<u8>,
}

/// Where labels are compared.
#[derive(Clone, Copy, PartialEq)]
enum CompareAt {
    /// At the image's own size (the evaluation program).
    Image,
    /// At the size that the network sees (validation in training).
    Network,
}

/// The published evaluation: every image of the validation part, brought to a square of `side` pixels,
/// labels compared at the image's own size; one confusion matrix over all.
///
/// # Errors
/// [`TrainError`] for files that cannot be read, labels of no class, a model of other classes than the data;
/// [`TrainError::Interrupted`] if `stop` was requested.
pub fn evaluate_generalized<M: GeneralizedModel>(
    model: &M,
    data: &GfssData,
    side: usize,
    loader: LoaderOptions,
    device: &Device,
    observer: &mut dyn GfssObserver,
    stop: &Stop,
) -> Result<GeneralizedMetric, TrainError> {
    measure(model, data, [side; 2], CompareAt::Image, loader, device, observer, stop)
}

/// The validation in training: as [`evaluate_generalized`], but labels are brought to the square, too, and
/// compared there. Its numbers differ slightly.
///
/// # Errors
/// As there.
pub fn evaluate_at_network_size<M: GeneralizedModel>(
    model: &M,
    data: &GfssData,
    side: usize,
    loader: LoaderOptions,
    device: &Device,
    observer: &mut dyn GfssObserver,
    stop: &Stop,
) -> Result<GeneralizedMetric, TrainError> {
    measure(model, data, [side; 2], CompareAt::Network, loader, device, observer, stop)
}

#[allow(clippy::too_many_arguments)] // one private function behind two public ones
fn measure<M: GeneralizedModel>(
    model: &M,
    data: &GfssData,
    side: [usize; 2],
    compare: CompareAt,
    loader: LoaderOptions,
    device: &Device,
    observer: &mut dyn GfssObserver,
    stop: &Stop,
) -> Result<GeneralizedMetric, TrainError> {
    let ClassCount { base, novel } = model.classes();
    let known = data.count();
    let fits = base == known.base && (novel == 0 || novel == known.novel);
    if !fits {
        return Err(TrainError::setting(
            format!("the model has {}, the data {known}", model.classes()),
            "evaluate on the data set and fold that it was trained for",
        ));
    }
    let shown = if novel == 0 { Shown::Base } else { Shown::All };
    let (dataset, classes) = (Arc::clone(&data.val.dataset), data.classes.clone());
    let fit = FitSquare::rectangle(side);
    let read = move |position: usize| {
        let sample = dataset.load(position)?;
        let what = dataset.mask_path(position).display().to_string();
        let only = dataset.only_class(position);
        let truth = classes.labels(&sample.mask, only, shown, &what)?;
        let truth = if compare == CompareAt::Network { fit.labels(&truth)? } else { truth };
        Ok(Measured { image: fit.image(&sample.image)?, truth })
    };
    let count = data.val.dataset.len();
    observer.measuring(count);
    let mut metric = GeneralizedMetric::new(base, novel);
    for measured in OrderedLoader::new((0..count).map(Ok), loader, read)? {
        if stop.is_requested() {
            return Err(TrainError::Interrupted { what: "the evaluation" });
        }
        let Measured { image, truth } = measured?;
        let logits = model.logits(image_tensor(image.view(), device));
        let size = [truth.nrows(), truth.ncols()];
        let found = match compare {
            CompareAt::Image => original_size_labels(logits, size)?,
            CompareAt::Network => enlarged_labels(logits, size, size)?,
        };
        let flat = |map: Array2<u8>| -> Vec<u8> { map.into_iter().collect() };
        metric.add(&flat(found), &flat(truth))?;
        observer.image_measured();
    }
    Ok(metric)
}
