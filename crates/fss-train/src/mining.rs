//! Mining latent classes: pseudo masks for the images of a training list, made before training.
//!
//! An encoder that stays as it is gives one prototype for every region of a base class and one for
//! every background; the regions' are clustered to N latent classes, and every pixel of every image
//! is labelled by the nearest of these and the mean background (MLC, ICCV 2021; no code of this part
//! was published). What the choices are is said at [`LabelOptions`].

mod annotate;
mod clusters;
mod images;
mod kmeans;
mod options;
mod points;
mod prototypes;
mod regions;
mod store;

use std::path::PathBuf;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Device;
use fss_backbone::DeepStemResNet;
use fss_data::SegmentationDataset;
use fss_data::folds::Fold;
use fss_data::loader::LoaderOptions;
use fss_heads::Mlc;

pub use annotate::Annotator;
pub use clusters::{Clusters, Origin, encoder_fingerprint};
pub use kmeans::{Clustering, KMeansOptions, kmeans};
pub use options::{FeatureSign, GroundTruth, LabelOptions, PrototypeLength, Region};
pub use points::{BlockVisitor, PointFile, PointSlice, Points};
pub use store::{EncoderCheck, PseudoMasks};

use crate::recipe::Recipe;
use crate::trainer::initial_model_for;
use crate::{EpisodeData, Stop, TrainError};
use store::Layout;

/// The parts of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MiningPhase {
    /// Prototypes of all regions; counted in images.
    Prototypes,
    /// Clustering; counted in rounds, of which there may be fewer than announced.
    Clustering,
    /// Pseudo masks; counted in images, those that were there already included.
    Masks,
}

/// Receives what mining does. All methods do nothing unless overridden.
pub trait MiningObserver {
    /// A part starts.
    fn phase_started(&mut self, _phase: MiningPhase, _total: usize) {}

    /// So much of the part is done.
    fn advanced(&mut self, _done: usize) {}
}

impl MiningObserver for crate::observer::Silent {}

/// What is to be mined, and where it goes.
#[derive(Debug, Clone)]
pub struct MiningRun {
    /// The images, with masks of which only the base classes are looked at.
    pub dataset: Arc<SegmentationDataset>,
    /// The fold.
    pub fold: Fold,
    /// The settings.
    pub options: LabelOptions,
    /// A folder of further images without annotation, which are labelled, too.
    pub extra: Option<PathBuf>,
    /// Where latent classes and masks go; see [`PseudoMasks`].
    pub folder: PathBuf,
    /// Where the encoder runs.
    pub device: Device,
    /// Threads that read images. They have no influence on the result.
    pub loader: LoaderOptions,
}

/// Where a recipe's pseudo masks go, and how they are made.
#[derive(Debug, Clone)]
pub struct MiningPlace {
    /// See [`MiningRun::folder`].
    pub folder: PathBuf,
    /// See [`MiningRun::extra`].
    pub extra: Option<PathBuf>,
    /// See [`MiningRun::device`].
    pub device: Device,
    /// See [`MiningRun::loader`].
    pub loader: LoaderOptions,
}

/// Mines with the encoder that a recipe's training starts from, as the paper does.
///
/// The encoder is the recipe's `init`: a file of weights, or random ones with calibrated norms.
///
/// # Errors
/// [`TrainError::Setting`] if the recipe has no mining branch, else as [`mine`].
pub fn mine_for_recipe(
    recipe: &Recipe,
    train: &EpisodeData,
    place: MiningPlace,
    observer: &mut dyn MiningObserver,
    stop: &Stop,
) -> Result<PseudoMasks, TrainError> {
    recipe.check()?;
    let settings = recipe.model.mining().ok_or_else(|| {
        TrainError::setting(
            format!("recipe {} trains without a mining branch", recipe.name),
            "use a recipe with `model.mining.kind = \"joint\"`, such as mlc-full-pascal",
        )
    })?;
    let MiningPlace { folder, extra, device, loader } = place;
    let training = device.clone().autodiff();
    let model: Mlc = initial_model_for(recipe, train, loader, &training)?;
    let run = MiningRun {
        dataset: Arc::clone(&train.dataset),
        fold: train.fold.clone(),
        options: settings.labels.clone(),
        extra,
        folder,
        device,
        loader,
    };
    mine(&model.backbone, &run, observer, stop)
}

/// Finds latent classes with `encoder` (not folded) and labels all images with them.
///
/// Every part can be interrupted (by `stop`, or by killing the process) and goes on where it was
/// when called again: prototypes from a note of the images done, masks from those that are there.
/// The result is the same. One image at a time is in memory, whatever the size of the data set.
///
/// # Errors
/// [`TrainError::Labels`] if the folder holds latent classes of another origin;
/// [`TrainError::Interrupted`]; [`TrainError::Setting`] for more clusters than regions; and for
/// images and masks that cannot be read or written.
pub fn mine(
    encoder: &DeepStemResNet,
    run: &MiningRun,
    observer: &mut dyn MiningObserver,
    stop: &Stop,
) -> Result<PseudoMasks, TrainError> {
    check(run)?;
    std::fs::create_dir_all(&run.folder)
        .map_err(|e| TrainError::io("create folder", &run.folder, e))?;
    let origin = Origin::new(encoder, &run.dataset, &run.fold, &run.options)?;
    let encoder = encoder.valid().fold();
    let layout = Layout(run.folder.clone());
    let clusters = if layout.clusters().exists() {
        existing(&layout, &origin)?
    } else {
        cluster(&encoder, run, &layout, origin, observer, stop)?
    };
    images::annotate_all(&encoder, &clusters, run, &layout, observer, stop)?;
    PseudoMasks::open(&run.folder, &run.dataset)
}

fn check(run: &MiningRun) -> Result<(), TrainError> {
    let most = usize::from(fss_data::io::WIDE_IGNORE) - 1;
    let clusters = run.options.clusters;
    if clusters == 0 || clusters > most {
        return Err(TrainError::setting(
            format!("{clusters} latent classes"),
            format!("ask for 1 to {most}"),
        ));
    }
    Ok(())
}

/// Latent classes that are there, if they are those that are to be made.
fn existing(layout: &Layout, origin: &Origin) -> Result<Clusters, TrainError> {
    let clusters = Clusters::load(&layout.clusters())?;
    let differences = origin.differences(&clusters.origin);
    if differences.is_empty() {
        return Ok(clusters);
    }
    let problem = format!(
        "the folder holds latent classes of something else (wanted | there): {}",
        differences.join(", ")
    );
    Err(TrainError::labels(&layout.0, problem, "use another folder, or remove this one"))
}

fn cluster(
    encoder: &DeepStemResNet,
    run: &MiningRun,
    layout: &Layout,
    origin: Origin,
    observer: &mut dyn MiningObserver,
    stop: &Stop,
) -> Result<Clusters, TrainError> {
    observer.phase_started(MiningPhase::Prototypes, run.dataset.len());
    let prototypes =
        prototypes::collect(encoder, run, &origin, &mut |done| observer.advanced(done), stop)?;
    tracing::info!(regions = prototypes.points.count, "prototypes are there");
    let LabelOptions { clusters, iterations, seed, .. } = run.options;
    observer.phase_started(MiningPhase::Clustering, iterations);
    let options = KMeansOptions { clusters, iterations, seed };
    let found = kmeans(&prototypes.points, &options, &mut |done| observer.advanced(done), stop)?;
    if !found.converged {
        tracing::warn!(iterations, "the clustering ended before it converged");
    }
    let clusters = Clusters {
        background: prototypes.background.clone(),
        centres: found.centres.iter().map(|value| *value as f32).collect(),
        origin,
        sizes: found.sizes,
        iterations: found.iterations,
    };
    clusters.save(&layout.clusters())?;
    prototypes.remove()?;
    Ok(clusters)
}
