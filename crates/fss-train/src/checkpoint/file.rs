//! A checkpoint as a file.

use std::collections::BTreeMap;
use std::path::Path;

use fss_backbone::NamedTensor;
use fss_backbone::weights::write_safetensors;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::{Checkpoint, Position};
use crate::TrainError;

/// The metadata entry that all state but tensors lies in.
const ENTRY: &str = "fss";
/// Counts up when a change makes old files unreadable.
const VERSION: u32 = 1;
/// Prefixes of the tensor names.
const PARTS: [&str; 3] = ["model", "best", "optim"];

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    #[serde(default)]
    fingerprint: String,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

impl<P: Position> Checkpoint<P> {
    /// Writes the checkpoint, whole or not at all.
    ///
    /// # Errors
    /// [`TrainError::Backbone`] naming the file, for example when the disk is full.
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        let refuse =
            |problem: String| TrainError::checkpoint(path, problem, "report this as a bug");
        let Ok(serde_json::Value::Object(rest)) = serde_json::to_value(&self.progress) else {
            return Err(refuse("its state cannot be written as JSON".into()));
        };
        let header = Header {
            format: P::FORMAT.into(),
            version: VERSION,
            fingerprint: self.progress.fingerprint(),
            rest,
        };
        let header = serde_json::to_string(&header).map_err(|e| refuse(e.to_string()))?;
        let parts = [&self.model, &self.best_model, &self.optimizer];
        let tensors: Vec<NamedTensor> = PARTS
            .iter()
            .zip(parts)
            .flat_map(|(part, tensors)| {
                tensors.iter().map(move |tensor| NamedTensor {
                    key: format!("{part}.{}", tensor.key),
                    ..tensor.clone()
                })
            })
            .collect();
        let metadata = BTreeMap::from([(ENTRY.to_owned(), header)]);
        Ok(write_safetensors(path, &tensors, &metadata)?)
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// [`TrainError::Io`] if the file cannot be read, [`TrainError::Checkpoint`] if it is
    /// truncated, no checkpoint, or one of another version.
    pub fn load(path: &Path) -> Result<Self, TrainError> {
        let bytes = std::fs::read(path)
            .map_err(|source| TrainError::io("read checkpoint", path, source))?;
        let refuse = |problem: String, remedy: &str| TrainError::checkpoint(path, problem, remedy);
        let damaged = |e: safetensors::SafeTensorError| {
            refuse(
                format!("the file is truncated or no safetensors file ({e})"),
                "resume from an earlier checkpoint of the run",
            )
        };
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(damaged)?;
        let foreign = |problem: &str| {
            refuse(
                problem.to_owned(),
                "name a checkpoint that a training run of this library has written; weights alone \
                 go into `init.path` of the recipe",
            )
        };
        let entry = metadata.metadata().as_ref().and_then(|entries| entries.get(ENTRY));
        let entry =
            entry.ok_or_else(|| foreign("the file holds tensors, but no training state"))?;
        let header: Header = serde_json::from_str(entry)
            .map_err(|_| foreign("its training state cannot be understood"))?;
        if header.format != P::FORMAT {
            return Err(foreign(&format!("the file is a {:?}, no {}", header.format, P::FORMAT)));
        }
        if header.version != VERSION {
            return Err(refuse(
                format!("its format has version {}, this library reads {VERSION}", header.version),
                "resume with the version of the library that wrote it",
            ));
        }
        let state = serde_json::Value::Object(header.rest);
        let progress: P = serde_json::from_value(state).map_err(|e| {
            refuse(format!("its training state cannot be understood ({e})"), "use another one")
        })?;
        let mut parts: [Vec<NamedTensor>; 3] = Default::default();
        for (name, view) in tensors.iter() {
            let (part, key) = name.split_once('.').unwrap_or((name, ""));
            let index = PARTS.iter().position(|known| *known == part);
            let (Some(index), Dtype::F32) = (index, view.dtype()) else {
                return Err(foreign(&format!("its tensor {name:?} belongs to no part of a run")));
            };
            let values =
                view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            parts[index].push(NamedTensor {
                key: key.to_owned(),
                shape: view.shape().to_vec(),
                values: values.collect(),
            });
        }
        // The order in the file says nothing; loading goes by key.
        for part in &mut parts {
            part.sort_by(|a, b| a.key.cmp(&b.key));
        }
        let [model, best_model, optimizer] = parts;
        Ok(Self { progress, model, best_model, optimizer })
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
