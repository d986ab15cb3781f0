//! Pseudo masks of many images.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fss_backbone::DeepStemResNet;
use fss_data::io::{image_size, mask_note, read_image, write_atomic, write_wide_mask};
use fss_data::loader::OrderedLoader;
use fss_data::transform::normalise;
use fss_data::{DataError, IGNORE_INDEX, SegmentationDataset};
use ndarray::Array3;

use super::annotate::{Annotator, Known};
use super::clusters::Clusters;
use super::options::{GroundTruth, LabelOptions};
use super::regions::regions;
use super::store::{Index, Layout, NOTE};
use super::{MiningObserver, MiningPhase, MiningRun};
use crate::{Stop, TrainError};

/// File name extensions of images, in lower case.
const IMAGES: [&str; 8] = ["jpg", "jpeg", "png", "bmp", "webp", "tif", "tiff", "gif"];

/// An image that is to be labelled.
#[derive(Debug, Clone)]
enum Job {
    /// At a position of the training list.
    Listed(usize),
    /// A file without annotation.
    File(PathBuf),
}

/// Labels all images of the list and the further folder, but those whose mask is there and current;
/// then notes that all is done.
pub(super) fn annotate_all(
    encoder: &DeepStemResNet,
    clusters: &Clusters,
    run: &MiningRun,
    layout: &Layout,
    observer: &mut dyn MiningObserver,
    stop: &Stop,
) -> Result<(), TrainError> {
    let extra = run.extra.as_deref().map(images_in).transpose()?.unwrap_or_default();
    let fingerprint = clusters.fingerprint();
    let total = run.dataset.len() + extra.len();
    observer.phase_started(MiningPhase::Masks, total);
    let jobs: Vec<(Job, PathBuf)> = (0..run.dataset.len())
        .map(|position| (Job::Listed(position), layout.mask(&run.dataset.ids[position])))
        .chain(extra.iter().map(|path| (Job::File(path.clone()), layout.extra(path))))
        .filter(|(job, mask)| !is_current(&run.dataset, job, mask, &fingerprint))
        .collect();
    let mut done = total - jobs.len();
    observer.advanced(done);

    let annotator = Annotator::new(encoder, clusters, &run.device)?;
    let (dataset, options) = (Arc::clone(&run.dataset), run.options.clone());
    let base = run.fold.base_classes();
    let work = move |(job, mask): (Job, PathBuf)| {
        let (image, known) = read(&dataset, &job, &base, &options)?;
        Ok((image, known, mask))
    };
    for input in OrderedLoader::new(jobs.into_iter().map(Ok), run.loader, work)? {
        if stop.is_requested() {
            return Err(TrainError::Interrupted { what: "the annotation of images" });
        }
        let (image, known, path) = input?;
        let mask = annotator.annotate_known(&image, &known)?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|e| TrainError::io("create folder", folder, e))?;
        }
        write_wide_mask(&path, &mask, clusters.count() + 1, (NOTE, &fingerprint))?;
        done += 1;
        observer.advanced(done);
    }
    let index = Index {
        format: Index::FORMAT.into(),
        clusters: fingerprint,
        images: run.dataset.len(),
        extra,
    };
    let text = serde_json::to_string_pretty(&index).unwrap_or_default();
    Ok(write_atomic(&layout.index(), text.as_bytes())?)
}

/// Whether the mask is there, of these latent classes, and as large as its image.
fn is_current(dataset: &SegmentationDataset, job: &Job, mask: &Path, fingerprint: &str) -> bool {
    let Some((note, size)) = mask_note(mask, NOTE) else { return false };
    let image = match job {
        Job::Listed(position) => dataset.image_path(*position),
        Job::File(path) => path.clone(),
    };
    note == fingerprint && image_size(&image).is_ok_and(|image| image == size)
}

fn read(
    dataset: &SegmentationDataset,
    job: &Job,
    base: &[fss_data::ClassId],
    options: &LabelOptions,
) -> Result<(Array3<f32>, Known), DataError> {
    match job {
        Job::File(path) => Ok((normalise(&read_image(path)?), Known::default())),
        Job::Listed(position) => {
            let sample = dataset.load(*position)?;
            let found = match options.ground_truth {
                GroundTruth::Ignored => Vec::new(),
                GroundTruth::Regions => {
                    let LabelOptions { region, min_pixels, .. } = *options;
                    regions(dataset, *position, &sample.mask, base, region, min_pixels).0
                }
            };
            let ignored = Some(sample.mask.mapv(|label| label == IGNORE_INDEX));
            Ok((normalise(&sample.image), Known { ignored, regions: found }))
        }
    }
}

/// The images in a folder, by name.
fn images_in(folder: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let io = |source| TrainError::io("read folder", folder, source);
    // The masks are used from other places, too.
    let folder = &folder.canonicalize().map_err(io)?;
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        if path.is_file() && extension.is_some_and(|e| IMAGES.contains(&e.as_str())) {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(TrainError::setting(
            format!("there is no image in {}", folder.display()),
            format!("give a folder with files of the kinds {}", IMAGES.join(", ")),
        ));
    }
    Ok(found)
}
