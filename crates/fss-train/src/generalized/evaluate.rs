//! Base, novel and total mean IoU over whole images.

use std::sync::Arc;
use std::sync::mpsc::Sender;

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
use crate::devices::share_out;
use crate::shard::{Shard, same};
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
    /// Images of the set, those of other shards included.
    pub images: usize,
    /// The share of them that was measured, if not all.
    #[serde(default, skip_serializing_if = "Shard::is_whole")]
    pub shard: Shard,
    /// Names of the classes in the order of their indices, base first.
    pub names: Vec<String>,
    /// One for each seed.
    pub seeds: Vec<GfssSeed>,
}

impl GfssEvaluation {
    /// Puts together what several processes or devices measured, all the parts of `shard` of the same evaluation.
    ///
    /// The result is that of one process that measured all images.
    ///
    /// # Errors
    /// [`TrainError::Setting`] if shards are missing, there twice, or belong to different evaluations.
    pub fn merge(shard: Shard, parts: Vec<Self>) -> Result<Self, TrainError> {
        let parts = parts.into_iter().map(|part| (part.shard, part)).collect();
        let parts = Shard::join(shard, parts)?;
        let mut whole = Self { shard, ..parts[0].clone() };
        for part in &parts[1..] {
            same(&part.model, &whole.model, "the model")?;
            same(&part.data, &whole.data, "the data set")?;
            same(&part.images, &whole.images, "the number of images")?;
            same(&part.names, &whole.names, "the classes")?;
            let seeds = |of: &Self| of.seeds.iter().map(|seed| seed.seed).collect::<Vec<_>>();
            same(&seeds(part), &seeds(&whole), "the seeds")?;
            for (sum, more) in whole.seeds.iter_mut().zip(&part.seeds) {
                sum.metric.merge(&more.metric)?;
                sum.scores = sum.metric.scores();
            }
        }
        Ok(whole)
    }

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

/// How images are read and shown to the network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measure {
    /// Side of the square that they are brought to, in pixels.
    pub side: usize,
    /// Threads that read images ahead. The scores do not depend on them.
    pub loader: LoaderOptions,
    /// The share of the images that is measured.
    pub shard: Shard,
}

impl Measure {
    /// All images, in squares of `side` pixels.
    pub fn all(side: usize, loader: LoaderOptions) -> Self {
        Self { side, loader, shard: Shard::WHOLE }
    }
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

/// The published evaluation: every image of the validation part, brought to a square,
/// labels compared at the image's own size; one confusion matrix over all.
///
/// # Errors
/// [`TrainError`] for files that cannot be read, labels of no class, a model of other classes than the data;
/// [`TrainError::Interrupted`] if `stop` was requested.
pub fn evaluate_generalized<M: GeneralizedModel>(
    model: &M,
    data: &GfssData,
    how: Measure,
    device: &Device,
    observer: &mut dyn GfssObserver,
    stop: &Stop,
) -> Result<GeneralizedMetric, TrainError> {
    measure(model, data, how, CompareAt::Image, device, observer, stop)
}

/// As [`evaluate_generalized`], on several devices at once: each has a copy of the model, a thread, and every
/// so-many-th image.
///
/// # Errors
/// As there.
pub fn evaluate_generalized_on<M: GeneralizedModel + Send>(
    models: Vec<(M, Device)>,
    data: &GfssData,
    how: Measure,
    observer: &mut dyn GfssObserver,
    stop: &Stop,
) -> Result<GeneralizedMetric, TrainError> {
    if let [(model, device)] = models.as_slice() {
        return evaluate_generalized(model, data, how, device, observer, stop);
    }
    observer.measuring(how.shard.count(data.val.dataset.len()));
    let shards = how.shard.split(models.len());
    let work = |((model, device), shard): ((M, Device), Shard), sender, stop: &Stop| {
        let how = Measure { shard, ..how };
        evaluate_generalized(&model, data, how, &device, &mut Told(sender), stop)
    };
    let workers = models.into_iter().zip(shards).collect();
    let parts = share_out(workers, stop, work, |()| observer.image_measured())?;
    let empty = GeneralizedMetric::new(data.count().base, parts[0].novel());
    parts.iter().try_fold(empty, |mut sum, part| {
        sum.merge(part)?;
        Ok(sum)
    })
}

/// Says when a device has measured an image.
struct Told(Sender<()>);

impl GfssObserver for Told {
    fn image_measured(&mut self) {
        // Nobody listens any more if the evaluation has failed elsewhere.
        let _ = self.0.send(());
    }
}

/// The validation in training: as [`evaluate_generalized`], but labels are brought to the square, too, and
/// compared there. Its numbers differ slightly.
///
/// # Errors
/// As there.
pub fn evaluate_at_network_size<M: GeneralizedModel>(
    model: &M,
    data: &GfssData,
    how: Measure,
    device: &Device,
    observer: &mut dyn GfssObserver,
    stop: &Stop,
) -> Result<GeneralizedMetric, TrainError> {
    measure(model, data, how, CompareAt::Network, device, observer, stop)
}

fn measure<M: GeneralizedModel>(
    model: &M,
    data: &GfssData,
    Measure { side, loader, shard }: Measure,
    compare: CompareAt,
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
    let fit = FitSquare::rectangle([side; 2]);
    let read = move |position: usize| {
        let sample = dataset.load(position)?;
        let what = dataset.mask_path(position).display().to_string();
        let only = dataset.only_class(position);
        let truth = classes.labels(&sample.mask, only, shown, &what)?;
        let truth = if compare == CompareAt::Network { fit.labels(&truth)? } else { truth };
        Ok(Measured { image: fit.image(&sample.image)?, truth })
    };
    let positions = shard.pick((0..data.val.dataset.len()).collect());
    observer.measuring(positions.len());
    let mut metric = GeneralizedMetric::new(base, novel);
    for measured in OrderedLoader::new(positions.into_iter().map(Ok), loader, read)? {
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
