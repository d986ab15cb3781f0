//! Features on disk.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use fss_heads::Features;

use crate::TrainError;

/// A folder of raw float32 files, deleted with the value.
#[derive(Debug)]
pub(super) struct SpillFolder {
    folder: tempfile::TempDir,
    /// Shapes of the taps of every file.
    shapes: HashMap<usize, Vec<[usize; 4]>>,
}

impl SpillFolder {
    pub(super) fn new(parent: &Path) -> Result<Self, TrainError> {
        let folder = tempfile::Builder::new()
            .prefix("fss-features-")
            .tempdir_in(parent)
            .map_err(|source| TrainError::io("make a folder for features in", parent, source))?;
        Ok(Self { folder, shapes: HashMap::new() })
    }

    fn path(&self, key: usize) -> PathBuf {
        self.folder.path().join(format!("{key}.f32"))
    }

    /// Writes features, unless the file is there already: an image's features never change.
    pub(super) fn write(&mut self, key: usize, features: &Features) -> Result<(), TrainError> {
        if self.shapes.contains_key(&key) {
            return Ok(());
        }
        let path = self.path(key);
        let write = || -> std::io::Result<()> {
            let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
            for tap in &features.0 {
                let data = tap.to_data().convert::<f32>();
                file.write_all(data.as_bytes())?;
            }
            file.flush()
        };
        write().map_err(|source| TrainError::io("spill features to", &path, source))?;
        self.shapes.insert(key, features.0.iter().map(Tensor::dims).collect());
        Ok(())
    }

    /// Reads features back; `None` if they were never written.
    pub(super) fn read(&self, key: usize, device: &Device) -> Result<Option<Features>, TrainError> {
        let Some(shapes) = self.shapes.get(&key) else { return Ok(None) };
        let path = self.path(key);
        let read = || -> std::io::Result<Features> {
            let mut file = std::fs::File::open(&path)?;
            let taps = shapes
                .iter()
                .map(|shape| {
                    let mut bytes = vec![0; shape.iter().product::<usize>() * size_of::<f32>()];
                    file.read_exact(&mut bytes)?;
                    // The file never leaves this process, so its byte order is the machine's own.
                    let values: Vec<f32> = bytes
                        .chunks_exact(4)
                        .map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
                        .collect();
                    Ok(Tensor::from_data(TensorData::new(values, *shape), device))
                })
                .collect::<std::io::Result<_>>()?;
            Ok(Features(taps))
        };
        read().map(Some).map_err(|source| TrainError::io("read features back from", &path, source))
    }
}
