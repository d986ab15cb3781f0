//! Pseudo masks: every pixel labelled by the nearest of background and latent classes.

use burn::tensor::{Device, Tensor, TensorData};
use fss_backbone::DeepStemResNet;
use fss_data::io::WIDE_IGNORE;
use fss_kernels::{Corners, cosine_maps, resize_bilinear};
use ndarray::{Array2, Array3};

use super::clusters::Clusters;
use super::options::{GroundTruth, LabelOptions};
use super::prototypes::{features, prototype};
use super::regions::RegionMask;
use crate::TrainError;
use crate::tensor::image_tensor;

/// Maps that are enlarged at a time; bounds the memory, whatever the number of latent classes.
const MAPS: usize = 16;

/// What is known of an image from its annotation.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Pixels that are ignored, `[H, W]`; none in an image without annotation.
    pub ignored: Option<Array2<bool>>,
    /// Regions of base classes, where ground truth is to override.
    pub regions: Vec<RegionMask>,
}

/// Labels images with latent classes.
#[derive(Debug)]
pub struct Annotator<'a> {
    encoder: &'a DeepStemResNet,
    /// `[1, N + 1, C]`, the background first.
    vectors: Tensor<3>,
    options: LabelOptions,
    device: Device,
}

impl<'a> Annotator<'a> {
    /// Labels by the features of `encoder`, in its form for inference, on `device`.
    ///
    /// # Errors
    /// [`TrainError::Setting`] if the latent classes are of another number of channels.
    pub fn new(
        encoder: &'a DeepStemResNet,
        clusters: &Clusters,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let (labels, channels) = (clusters.count() + 1, clusters.channels());
        if channels != encoder.channels() {
            return Err(TrainError::setting(
                format!(
                    "latent classes of {channels} channels for features of {}",
                    encoder.channels()
                ),
                "use the encoder that they were made with",
            ));
        }
        let values: Vec<f32> =
            clusters.background.iter().chain(&clusters.centres).copied().collect();
        let vectors = Tensor::from_data(TensorData::new(values, [1, labels, channels]), device);
        let options = clusters.origin.options.clone();
        Ok(Self { encoder, vectors, options, device: device.clone() })
    }

    /// The pseudo mask `[H, W]` of a normalised image `[3, H, W]`: 0 background, 1..=N latent
    /// classes. The N + 1 maps of cosine similarity are enlarged (bilinear, aligned corners) before
    /// the largest is taken; of equal ones the lowest label.
    ///
    /// # Errors
    /// [`TrainError::Setting`] if the device does not return the maps.
    pub fn annotate(&self, image: &Array3<f32>) -> Result<Array2<u16>, TrainError> {
        self.annotate_known(image, &Known::default())
    }

    pub(super) fn annotate_known(
        &self,
        image: &Array3<f32>,
        known: &Known,
    ) -> Result<Array2<u16>, TrainError> {
        let (_, height, width) = image.dim();
        let image = image_tensor(image.view(), &self.device);
        let features = features(self.encoder, image, self.options.features);
        let mut mask = self.nearest(&features, [height, width])?;
        if self.options.ground_truth == GroundTruth::Regions {
            for region in &known.regions {
                let label = self.region_label(&features, region)?;
                mask.zip_mut_with(&region.mask, |m, inside| {
                    if *inside == 1 {
                        *m = label;
                    }
                });
            }
        }
        if let Some(ignored) = &known.ignored {
            mask.zip_mut_with(ignored, |m, ignored| {
                if *ignored {
                    *m = WIDE_IGNORE;
                }
            });
        }
        Ok(mask)
    }

    fn nearest(
        &self,
        features: &Tensor<4>,
        [height, width]: [usize; 2],
    ) -> Result<Array2<u16>, TrainError> {
        let labels = self.vectors.dims()[1];
        let maps = cosine_maps(features.clone(), self.vectors.clone());
        let mut best = vec![f32::NEG_INFINITY; height * width];
        let mut mask = Array2::<u16>::zeros((height, width));
        for first in (0..labels).step_by(MAPS) {
            let count = MAPS.min(labels - first);
            let part = maps.clone().narrow(1, first, count);
            let large = resize_bilinear(part, [height, width], Corners::Aligned);
            let values = read_back(large)?;
            for (offset, map) in values.chunks_exact(height * width).enumerate() {
                let label = (first + offset) as u16;
                for ((best, value), place) in best.iter_mut().zip(map).zip(mask.iter_mut()) {
                    if value > best {
                        *best = *value;
                        *place = label;
                    }
                }
            }
        }
        Ok(mask)
    }

    /// The latent class nearest to the prototype of a region; never the background.
    fn region_label(&self, features: &Tensor<4>, region: &RegionMask) -> Result<u16, TrainError> {
        let values = prototype(features, region, self.options.prototypes)?;
        let channels = values.len();
        let data = TensorData::new(values, [1, channels, 1, 1]);
        let own = Tensor::<4>::from_data(data, &self.device);
        let cosines = read_back(cosine_maps(own, self.vectors.clone()))?;
        let mut best = 1;
        for label in 2..cosines.len() {
            if cosines[label] > cosines[best] {
                best = label;
            }
        }
        Ok(best as u16)
    }
}

fn read_back(tensor: Tensor<4>) -> Result<Vec<f32>, TrainError> {
    tensor.try_into_vec_as::<f32>().map_err(|e| {
        TrainError::setting(
            format!("the device did not return a similarity map ({e})"),
            "try --device cpu",
        )
    })
}
