//! Prototypes of all regions of a data set, one image at a time, resumable.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData, activation::relu};
use fss_backbone::DeepStemResNet;
use fss_data::io::write_atomic;
use fss_data::loader::OrderedLoader;
use fss_data::transform::normalise;
use fss_kernels::masked_average_pool_at_mask_size;
use ndarray::Array3;
use serde::{Deserialize, Serialize};

use super::MiningRun;
use super::clusters::Origin;
use super::options::{FeatureSign, PrototypeLength};
use super::points::PointFile;
use super::regions::{RegionMask, regions};
use crate::digest::fingerprint;
use crate::tensor::image_tensor;
use crate::{Stop, TrainError};

const POINTS: &str = "prototypes.part.bin";
const STATE: &str = "prototypes.part.json";
/// Images between two notes of where the work stands.
const RHYTHM: usize = 64;

/// How far the work is; sums are kept to the bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct State {
    /// Fingerprint of all that the prototypes depend on.
    origin: String,
    images: usize,
    regions: usize,
    backgrounds: usize,
    background_sum: Vec<f64>,
}

/// The prototypes of all regions, and the mean background.
#[derive(Debug)]
pub(super) struct Prototypes {
    pub points: PointFile,
    pub background: Vec<f32>,
    folder: PathBuf,
}

impl Prototypes {
    /// Removes the files; what they were for is done.
    pub(super) fn remove(self) -> Result<(), TrainError> {
        for name in [POINTS, STATE] {
            let path = self.folder.join(name);
            std::fs::remove_file(&path).map_err(|e| TrainError::io("remove", &path, e))?;
        }
        Ok(())
    }
}

/// An image with its regions, from the reading threads.
struct Input {
    image: Array3<f32>,
    regions: Vec<RegionMask>,
    background: RegionMask,
}

/// Computes the prototypes of all images of a run, in order. What an earlier call has done in its
/// folder, with the same origin, is taken over. Only one image and its features are in memory.
pub(super) fn collect(
    encoder: &DeepStemResNet,
    run: &MiningRun,
    origin: &Origin,
    progress: &mut dyn FnMut(usize),
    stop: &Stop,
) -> Result<Prototypes, TrainError> {
    let MiningRun { dataset, folder, device, loader, .. } = run;
    let channels = encoder.channels();
    // The number of clusters and their seed say nothing about prototypes.
    let mut relevant = origin.clone();
    relevant.options.clusters = 0;
    relevant.options.iterations = 0;
    relevant.options.seed = 0;
    let key = fingerprint(&serde_json::to_vec(&relevant).unwrap_or_default());
    let (path, note) = (folder.join(POINTS), folder.join(STATE));
    let mut state = resumed(&note, &key, channels, dataset.len());
    let mut file = open(&path, (state.regions * channels * 4) as u64)?;

    let (base, options) = (origin.fold.base_classes(), origin.options.clone());
    let (region, min_pixels) = (options.region, options.min_pixels);
    let reading = Arc::clone(dataset);
    let work = move |position: usize| {
        let sample = reading.load(position)?;
        let (regions, background) =
            regions(&reading, position, &sample.mask, &base, region, min_pixels);
        Ok(Input { image: normalise(&sample.image), regions, background })
    };
    progress(state.images);
    for input in OrderedLoader::new((state.images..dataset.len()).map(Ok), *loader, work)? {
        if stop.is_requested() {
            save(&mut file, &path, &note, &state)?;
            return Err(TrainError::Interrupted { what: "the collection of prototypes" });
        }
        let Input { image, regions, background } = input?;
        let features = features(encoder, image_tensor(image.view(), device), options.features);
        for region in &regions {
            let prototype = prototype(&features, region, options.prototypes)?;
            let bytes: Vec<u8> = prototype.iter().flat_map(|v| v.to_le_bytes()).collect();
            file.write_all(&bytes).map_err(|e| TrainError::io("write prototypes", &path, e))?;
            state.regions += 1;
        }
        if background.pixels >= min_pixels.max(1) {
            let prototype = prototype(&features, &background, options.prototypes)?;
            for (sum, value) in state.background_sum.iter_mut().zip(prototype) {
                *sum += f64::from(value);
            }
            state.backgrounds += 1;
        }
        state.images += 1;
        if state.images.is_multiple_of(RHYTHM) {
            save(&mut file, &path, &note, &state)?;
        }
        progress(state.images);
    }
    save(&mut file, &path, &note, &state)?;
    if state.backgrounds == 0 {
        return Err(TrainError::setting(
            format!("no image of {} has {min_pixels} pixels of background", dataset.name),
            "lower `min_pixels`, or check the masks",
        ));
    }
    let mean = |sum: &f64| (sum / state.backgrounds as f64) as f32;
    Ok(Prototypes {
        background: state.background_sum.iter().map(mean).collect(),
        points: PointFile { path, count: state.regions, channels },
        folder: folder.clone(),
    })
}

/// Features `[1, C, h, w]` of an image `[1, 3, H, W]`.
pub(super) fn features(encoder: &DeepStemResNet, image: Tensor<4>, sign: FeatureSign) -> Tensor<4> {
    let features = encoder.forward(image);
    match sign {
        FeatureSign::Signed => features,
        FeatureSign::Positive => relu(features),
    }
}

/// The prototype `[C]` of a region, pooled as the head pools (at the mask's size).
pub(super) fn prototype(
    features: &Tensor<4>,
    region: &RegionMask,
    length: PrototypeLength,
) -> Result<Vec<f32>, TrainError> {
    let (height, width) = region.mask.dim();
    let values: Vec<f32> = region.mask.iter().map(|v| f32::from(*v)).collect();
    let data = TensorData::new(values, [1, 1, height, width]);
    let mask = Tensor::from_data(data, &features.device());
    let pooled = masked_average_pool_at_mask_size(features.clone(), mask);
    let mut values = pooled.try_into_vec_as::<f32>().map_err(|e| {
        TrainError::setting(
            format!("the device did not return a prototype ({e})"),
            "try --device cpu",
        )
    })?;
    if length == PrototypeLength::Unit {
        let norm = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        if norm > 0.0 {
            values.iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
        }
    }
    Ok(values)
}

/// What an earlier call left, if it fits and its files are there; else the start.
fn resumed(note: &Path, key: &str, channels: usize, images: usize) -> State {
    let kept = std::fs::read(note).ok().and_then(|text| serde_json::from_slice(&text).ok());
    kept.filter(|state: &State| {
        let written = std::fs::metadata(note.with_file_name(POINTS)).map_or(0, |m| m.len());
        state.origin == key
            && state.background_sum.len() == channels
            && state.images <= images
            && written >= (state.regions * channels * 4) as u64
    })
    .unwrap_or_else(|| State {
        origin: key.to_owned(),
        images: 0,
        regions: 0,
        backgrounds: 0,
        background_sum: vec![0.0; channels],
    })
}

/// The file of the points, cut to what is noted.
fn open(path: &Path, bytes: u64) -> Result<File, TrainError> {
    let open = || -> std::io::Result<File> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        file.set_len(bytes)?;
        file.seek(SeekFrom::End(0))?;
        Ok(file)
    };
    open().map_err(|source| TrainError::io("write prototypes", path, source))
}

/// Points first, then the note of how many count.
fn save(file: &mut File, path: &Path, note: &Path, state: &State) -> Result<(), TrainError> {
    file.sync_data().map_err(|source| TrainError::io("write prototypes", path, source))?;
    let text = serde_json::to_vec(state).unwrap_or_default();
    Ok(write_atomic(note, &text)?)
}
