//! An interrupted run, to go on later.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use fss_backbone::weights::write_safetensors;
use fss_backbone::{NamedTensor, load_module_tensors, module_tensors, read_tensors};
use fss_heads::{Pop, PopHead};

use super::{LearnSet, LearnSettings, origin};
use crate::optim::NamedOptimizer;
use crate::{TrainError, digest};

/// Prefixes of tensor names in a file.
const HEAD: &str = "head.";
const OPTIM: &str = "optim.";
/// Metadata entries.
const FINGERPRINT: &str = "fss.learning";
const ITERATION: &str = "fss.iteration";

/// What is needed to go on with the very same images and settings.
#[derive(Debug, Clone, PartialEq)]
pub struct LearnState {
    iteration: u64,
    fingerprint: String,
    head: Vec<NamedTensor>,
    optimizer: Vec<NamedTensor>,
}

/// What a run depends on.
pub(super) fn fingerprint(model: &Pop, settings: &LearnSettings, set: &LearnSet) -> String {
    // More iterations of the same run are no other run.
    let settings = LearnSettings { iterations: 0, ..settings.clone() };
    let mut parts = vec![format!("{settings:?} {} {:?}", set.novel, set.background)];
    for support in &set.supports {
        let labels: Vec<u8> = support.labels.iter().copied().collect();
        parts.extend([digest::fingerprint(support.image.as_raw()), digest::fingerprint(&labels)]);
    }
    parts.extend(set.base.iter().map(|(_, image)| digest::fingerprint(image.as_raw())));
    let prototypes: Vec<u8> =
        model.head.base_emb.val().to_data().iter::<f32>().flat_map(f32::to_le_bytes).collect();
    parts.push(digest::fingerprint(&prototypes));
    digest::fingerprint(parts.join(" ").as_bytes())
}

impl LearnState {
    pub(super) fn of(
        head: &PopHead,
        optimizer: &NamedOptimizer,
        iteration: u64,
        fingerprint: &str,
    ) -> Result<Self, TrainError> {
        Ok(Self {
            iteration,
            fingerprint: fingerprint.to_owned(),
            head: module_tensors(head)?,
            optimizer: optimizer.to_tensors(),
        })
    }

    /// Updates that are done.
    pub fn iteration(&self) -> u64 {
        self.iteration
    }

    pub(super) fn restore(
        self,
        head: PopHead,
        optimizer: &mut NamedOptimizer,
        fingerprint: &str,
        device: &Device,
    ) -> Result<(PopHead, u64), TrainError> {
        if self.fingerprint != fingerprint {
            return Err(TrainError::setting(
                "the interrupted run had other settings or images",
                "give the same ones, or remove its file to start afresh",
            ));
        }
        let head = load_module_tensors(head, self.head, origin())?;
        optimizer.load_tensors(self.optimizer, device).map_err(|problem| {
            TrainError::setting(
                format!("the interrupted run cannot be continued: {problem}"),
                "remove its file to start afresh",
            )
        })?;
        Ok((head, self.iteration))
    }

    /// Writes the state as safetensors, whole or not at all.
    ///
    /// # Errors
    /// [`TrainError::Backbone`] naming the file.
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        let named = |prefix: &'static str, tensors: &[NamedTensor]| -> Vec<NamedTensor> {
            let spell = |t: &NamedTensor| format!("{prefix}{}", t.key);
            tensors.iter().map(|t| NamedTensor { key: spell(t), ..t.clone() }).collect()
        };
        let tensors = [named(HEAD, &self.head), named(OPTIM, &self.optimizer)].concat();
        let metadata = BTreeMap::from([
            (FINGERPRINT.to_owned(), self.fingerprint.clone()),
            (ITERATION.to_owned(), self.iteration.to_string()),
        ]);
        Ok(write_safetensors(path, &tensors, &metadata)?)
    }

    /// Reads a state.
    ///
    /// # Errors
    /// [`TrainError::Backbone`] if the file cannot be read, [`TrainError::Checkpoint`] if it is none of
    /// [`Self::save`].
    pub fn load(path: &Path) -> Result<Self, TrainError> {
        let metadata = fss_backbone::inspect_weights(path)?.metadata;
        let iteration = metadata.get(ITERATION).and_then(|text| text.parse().ok());
        let (Some(iteration), Some(fingerprint)) = (iteration, metadata.get(FINGERPRINT)) else {
            return Err(TrainError::checkpoint(
                path,
                "this is no interrupted run of `fss learn`",
                "remove or rename it to start afresh",
            ));
        };
        let part = |prefix: &'static str| -> Result<Vec<NamedTensor>, TrainError> {
            let tensors = read_tensors(path, prefix)?;
            let bare = |key: String| key.strip_prefix(prefix).unwrap_or(&key).to_owned();
            Ok(tensors.into_iter().map(|t| NamedTensor { key: bare(t.key), ..t }).collect())
        };
        let (head, optimizer) = (part(HEAD)?, part(OPTIM)?);
        Ok(Self { iteration, fingerprint: fingerprint.clone(), head, optimizer })
    }
}
