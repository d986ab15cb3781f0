//! Features of images, computed once and kept within a memory budget.

mod lru;
mod spill;

use std::path::PathBuf;

use burn::tensor::{Device, Tensor};
use fss_heads::Features;

use crate::TrainError;
use lru::Lru;
use spill::SpillFolder;

/// Whether the features of an image are kept for the episodes to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeatureReuse {
    /// Each image passes through the backbone once, as long as memory or disk holds its features.
    On {
        /// How many bytes of features may lie in memory.
        budget_bytes: usize,
        /// What happens to features that memory cannot hold.
        spill: Spill,
    },
    /// Every image of every episode passes through the backbone, as in the published code.
    Off,
}

/// What happens to features that memory cannot hold. The least recently used ones go first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spill {
    /// They are written to a folder of their own in this directory (raw float32), and read back.
    /// The folder is deleted afterwards.
    Disk(PathBuf),
    /// They are dropped, and computed again when they are needed.
    Recompute,
}

impl Default for FeatureReuse {
    /// Up to 2 GiB in memory, the rest in the system's folder for temporary files.
    fn default() -> Self {
        Self::On { budget_bytes: 2 << 30, spill: Spill::Disk(std::env::temp_dir()) }
    }
}

impl FeatureReuse {
    /// The part of one of so many devices, which share the memory.
    pub(crate) fn share(&self, devices: usize) -> Self {
        match self {
            Self::Off => Self::Off,
            Self::On { budget_bytes, spill } => {
                Self::On { budget_bytes: budget_bytes / devices.max(1), spill: spill.clone() }
            }
        }
    }
}

/// What a [`FeatureCache`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct CacheCounts {
    /// Features that were found in memory.
    pub from_memory: u64,
    /// Features that were read back from disk.
    pub from_disk: u64,
    /// Features that had to be computed.
    pub computed: u64,
}

/// Keeps the features of images under their position in a data set.
///
/// What comes out is bit for bit what went in, wherever it lay meanwhile.
#[derive(Debug)]
pub struct FeatureCache {
    memory: Option<Lru<Features>>,
    disk: Option<SpillFolder>,
    device: Device,
    counts: CacheCounts,
}

impl FeatureCache {
    /// An empty cache; features read back from disk are put on `device`.
    ///
    /// # Errors
    /// [`TrainError::Io`] if the folder for spilled features cannot be made.
    pub fn new(reuse: &FeatureReuse, device: &Device) -> Result<Self, TrainError> {
        let (memory, disk) = match reuse {
            FeatureReuse::Off => (None, None),
            FeatureReuse::On { budget_bytes, spill } => {
                let disk = match spill {
                    Spill::Disk(parent) => Some(SpillFolder::new(parent)?),
                    Spill::Recompute => None,
                };
                (Some(Lru::new(*budget_bytes)), disk)
            }
        };
        Ok(Self { memory, disk, device: device.clone(), counts: CacheCounts::default() })
    }

    /// The features of image `key`, from the cache or else from `compute`.
    ///
    /// # Errors
    /// Those of `compute`, and [`TrainError::Io`] for a full or unreadable disk.
    pub fn get_or_compute(
        &mut self,
        key: usize,
        compute: impl FnOnce() -> Result<Features, TrainError>,
    ) -> Result<Features, TrainError> {
        let Some(memory) = &mut self.memory else {
            self.counts.computed += 1;
            return compute();
        };
        if let Some(features) = memory.get(key) {
            self.counts.from_memory += 1;
            return Ok(features.clone());
        }
        let spilled = match &self.disk {
            Some(disk) => disk.read(key, &self.device)?,
            None => None,
        };
        let features = match spilled {
            Some(features) => {
                self.counts.from_disk += 1;
                features
            }
            None => {
                let features = compute()?;
                self.counts.computed += 1;
                features
            }
        };
        for (key, evicted) in memory.insert(key, features.clone(), bytes(&features)) {
            if let Some(disk) = &mut self.disk {
                disk.write(key, &evicted)?;
            }
        }
        Ok(features)
    }

    /// What the cache did so far.
    pub fn counts(&self) -> CacheCounts {
        self.counts
    }

    /// Bytes of features that lie in memory now.
    pub fn bytes_in_memory(&self) -> usize {
        self.memory.as_ref().map_or(0, Lru::bytes)
    }
}

fn bytes(features: &Features) -> usize {
    features.0.iter().map(|tap: &Tensor<4>| tap.shape().num_elements() * size_of::<f32>()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(key: usize) -> Features {
        let values: Vec<f32> = (0..24).map(|i| ((key * 31 + i) as f32).sin()).collect();
        let device = Device::flex();
        let tensor = Tensor::<1>::from_data(values.as_slice(), &device);
        Features(vec![tensor.clone().reshape([1, 2, 3, 4]), tensor.reshape([1, 6, 2, 2])])
    }

    fn bits(features: &Features) -> Vec<u32> {
        features
            .0
            .iter()
            .flat_map(|tap| tap.to_data().try_into_vec::<f32>().unwrap())
            .map(f32::to_bits)
            .collect()
    }

    /// Walks over 5 images three times with room for two of them.
    fn walk(reuse: &FeatureReuse) -> CacheCounts {
        let mut cache = FeatureCache::new(reuse, &Device::flex()).unwrap();
        for _ in 0..3 {
            for key in 0..5 {
                let got = cache.get_or_compute(key, || Ok(make(key))).unwrap();
                assert_eq!(bits(&got), bits(&make(key)));
                assert_eq!(got.0[1].dims(), [1, 6, 2, 2]);
                assert!(cache.bytes_in_memory() <= 2 * 192);
            }
        }
        cache.counts()
    }

    #[test]
    fn spilled_features_come_back_to_the_bit_and_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let spill = Spill::Disk(folder.path().to_path_buf());
        let counts = walk(&FeatureReuse::On { budget_bytes: 2 * 192, spill });
        assert_eq!(counts, CacheCounts { from_memory: 0, from_disk: 10, computed: 5 });
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn without_disk_they_are_computed_again() {
        let on = |budget_bytes| FeatureReuse::On { budget_bytes, spill: Spill::Recompute };
        assert_eq!(walk(&on(2 * 192)).computed, 15);
        assert_eq!(walk(&FeatureReuse::Off).computed, 15);
    }

    #[test]
    fn enough_memory_computes_once() {
        let mut cache = FeatureCache::new(&FeatureReuse::default(), &Device::flex()).unwrap();
        for key in [1, 2, 1, 1, 2] {
            cache.get_or_compute(key, || Ok(make(key))).unwrap();
        }
        assert_eq!(cache.counts(), CacheCounts { from_memory: 3, from_disk: 0, computed: 2 });
    }

    #[test]
    fn a_folder_that_does_not_exist_is_named() {
        let spill = Spill::Disk("/nowhere/at/all".into());
        let reuse = FeatureReuse::On { budget_bytes: 1, spill };
        let error = FeatureCache::new(&reuse, &Device::flex()).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all"), "{error}");
    }
}
