//! The latent classes, and the file that keeps them.

use std::collections::BTreeMap;
use std::path::Path;

use fss_backbone::weights::write_safetensors;
use fss_backbone::{DeepStemResNet, NamedTensor};
use fss_data::SegmentationDataset;
use fss_data::folds::Fold;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::options::LabelOptions;
use crate::TrainError;
use crate::digest::fingerprint;

/// The metadata entry that all but tensors lies in.
const ENTRY: &str = "fss";
const FORMAT: &str = "fss-latent-classes";
const VERSION: u32 = 1;

/// All that latent classes depend on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Fingerprint of the encoder's weights; see [`encoder_fingerprint`].
    pub encoder: String,
    /// Whose base classes gave the regions.
    pub fold: Fold,
    /// The list of images, for messages.
    pub dataset: String,
    /// How many images it has.
    pub images: usize,
    /// Fingerprint of their ids.
    pub listing: String,
    /// The settings.
    pub options: LabelOptions,
}

impl Origin {
    /// The origin of latent classes that are to be made.
    ///
    /// # Errors
    /// If the encoder's weights cannot be read back.
    pub fn new(
        encoder: &DeepStemResNet,
        dataset: &SegmentationDataset,
        fold: &Fold,
        options: &LabelOptions,
    ) -> Result<Self, TrainError> {
        Ok(Self {
            encoder: encoder_fingerprint(encoder)?,
            fold: fold.clone(),
            dataset: dataset.name.clone(),
            images: dataset.len(),
            listing: listing_fingerprint(dataset),
            options: options.clone(),
        })
    }

    /// What differs in another origin, as `what: ours | theirs`.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let values = |origin: &Self| match serde_json::to_value(origin).unwrap_or_default() {
            serde_json::Value::Object(mut map) => {
                if let Some(serde_json::Value::Object(options)) = map.remove("options") {
                    map.extend(options);
                }
                map
            }
            _ => serde_json::Map::new(),
        };
        let (ours, theirs) = (values(self), values(other));
        ours.iter()
            .filter_map(|(key, value)| {
                let other = theirs.get(key).cloned().unwrap_or_default();
                // The name of a list is for people; its fingerprint counts.
                (key != "dataset" && *value != other).then(|| format!("{key}: {value} | {other}"))
            })
            .collect()
    }
}

/// A fingerprint of a backbone's weights and norms, to the bit.
///
/// # Errors
/// If they cannot be read back, or were folded.
pub fn encoder_fingerprint(encoder: &DeepStemResNet) -> Result<String, TrainError> {
    let mut bytes = Vec::new();
    for NamedTensor { key, values, .. } in encoder.named_tensors()? {
        bytes.extend_from_slice(key.as_bytes());
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    Ok(fingerprint(&bytes))
}

/// A fingerprint of the ids of a dataset, in order.
pub(super) fn listing_fingerprint(dataset: &SegmentationDataset) -> String {
    fingerprint(dataset.ids.join("\n").as_bytes())
}

/// The mean background and the centres of the latent classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Clusters {
    /// The mean background prototype `[C]`: label 0.
    pub background: Vec<f32>,
    /// The centres `[N, C]`, row by row: labels 1..=N.
    pub centres: Vec<f32>,
    /// What they were made from.
    pub origin: Origin,
    /// How many regions each has.
    pub sizes: Vec<usize>,
    /// Rounds of k-means.
    pub iterations: usize,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    origin: Origin,
    sizes: Vec<usize>,
    iterations: usize,
}

impl Clusters {
    /// N, the number of latent classes.
    pub fn count(&self) -> usize {
        self.sizes.len()
    }

    /// C, the numbers of each vector.
    pub fn channels(&self) -> usize {
        self.background.len()
    }

    /// A fingerprint of the vectors and of what they were made from.
    pub fn fingerprint(&self) -> String {
        let mut bytes = serde_json::to_vec(&self.origin).unwrap_or_default();
        let values = self.background.iter().chain(&self.centres);
        bytes.extend(values.flat_map(|value| value.to_le_bytes()));
        fingerprint(&bytes)
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// [`TrainError::Backbone`] naming it.
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        let header = Header {
            format: FORMAT.into(),
            version: VERSION,
            origin: self.origin.clone(),
            sizes: self.sizes.clone(),
            iterations: self.iterations,
        };
        let header = serde_json::to_string(&header).map_err(|e| {
            TrainError::labels(path, format!("it cannot be written ({e})"), "report this as a bug")
        })?;
        let tensors = [
            NamedTensor {
                key: "background".into(),
                shape: vec![self.channels()],
                values: self.background.clone(),
            },
            NamedTensor {
                key: "centres".into(),
                shape: vec![self.count(), self.channels()],
                values: self.centres.clone(),
            },
        ];
        let metadata = BTreeMap::from([(ENTRY.to_owned(), header)]);
        Ok(write_safetensors(path, &tensors, &metadata)?)
    }

    /// Reads a file that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// [`TrainError::Io`] if it cannot be read, [`TrainError::Labels`] if it is damaged or something
    /// else.
    pub fn load(path: &Path) -> Result<Self, TrainError> {
        let bytes =
            std::fs::read(path).map_err(|e| TrainError::io("read latent classes", path, e))?;
        let refuse = |problem: String| {
            TrainError::labels(path, problem, "remove the file and run `fss mine` again")
        };
        let damaged = |e: safetensors::SafeTensorError| {
            refuse(format!("it is truncated or no safetensors file ({e})"))
        };
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(damaged)?;
        let entry = metadata.metadata().as_ref().and_then(|entries| entries.get(ENTRY));
        let header: Header = entry
            .and_then(|entry| serde_json::from_str(entry).ok())
            .filter(|header: &Header| header.format == FORMAT && header.version == VERSION)
            .ok_or_else(|| refuse("it holds no latent classes of this version".into()))?;
        let values = |name: &str| -> Result<Vec<f32>, TrainError> {
            let view = tensors.tensor(name).map_err(damaged)?;
            if view.dtype() != Dtype::F32 {
                return Err(refuse(format!("its tensor {name:?} is no float32")));
            }
            Ok(view.data().as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect())
        };
        let clusters = Self {
            background: values("background")?,
            centres: values("centres")?,
            origin: header.origin,
            sizes: header.sizes,
            iterations: header.iterations,
        };
        let fits = clusters.count() == clusters.origin.options.clusters
            && clusters.channels() > 0
            && clusters.centres.len() == clusters.count() * clusters.channels();
        if fits { Ok(clusters) } else { Err(refuse("its tensors do not fit each other".into())) }
    }
}
