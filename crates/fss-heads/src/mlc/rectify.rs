//! Rectified prototypes: a global background, and regions of further images for the foreground.
//!
//! The paper names both rectifications (a moving average over the backgrounds of the training set;
//! prototypes of regions in additional samples) without code to read the details from. The numbers
//! here, and how the foreground's regions are found, are this library's reading, and therefore
//! options.

use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use fss_backbone::{BackboneError, NamedTensor, params};
use fss_kernels::{Corners, masked_average_pool_at_mask_size, resize_bilinear};

use crate::model::Statistic;
use crate::prototypes::{similarity, single_tap};
use crate::{Features, HeadError};

/// Keys of the rectification's tensors start with this.
pub const RECTIFICATION_PREFIX: &str = "rectification.";
const BACKGROUND_KEY: &str = "rectification.background";
const BLEND_KEY: &str = "rectification.blend";

/// How the background prototype is rectified.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BackgroundConfig {
    /// How much of the global prototype each training step keeps.
    pub momentum: f64,
    /// The support's own share of the rectified prototype; the rest is the global one's.
    pub blend: f64,
}

impl Default for BackgroundConfig {
    /// 0.99 and 0.5, our choice: an average over some hundred steps, and equal shares.
    fn default() -> Self {
        Self { momentum: 0.99, blend: 0.5 }
    }
}

/// A background prototype of the whole training set, kept as a moving average, that widens the one
/// of a support set.
#[derive(Module, Debug)]
pub struct BackgroundRectifier {
    /// The global prototype `[C]`, a buffer; zero until the first training step.
    pub global: Param<Tensor<1>>,
    #[module(skip)]
    config: BackgroundConfig,
    #[module(skip)]
    started: bool,
}

impl BackgroundRectifier {
    /// One that has seen nothing yet, for features of `channels` channels.
    pub fn new(config: BackgroundConfig, channels: usize, device: &Device) -> Self {
        Self { global: params::buffer(0.0, channels, device), config, started: false }
    }

    /// How it rectifies.
    pub fn config(&self) -> BackgroundConfig {
        self.config
    }

    /// Whether it has seen a training step, without which it changes nothing.
    pub fn is_started(&self) -> bool {
        self.started
    }

    /// Background prototypes `[B, C]`, blended with the global one.
    pub fn rectify(&self, background: Tensor<2>) -> Tensor<2> {
        if !self.started {
            return background;
        }
        let global = self.global.val().detach();
        let global = if background.is_autodiff() { global } else { global.without_autodiff() };
        let blend = self.config.blend;
        background * blend + global.unsqueeze::<2>() * (1.0 - blend)
    }

    /// The mean of a training batch's background prototypes `[B, C]`, without gradient. Samples
    /// without background are left out; `None` if no other remain.
    pub fn observe(background: &Tensor<2>) -> Option<Statistic> {
        let prototypes = background.clone().without_autodiff();
        let shown = prototypes.clone().abs().sum_dim(1).greater_elem(0.0).float();
        let count = shown.sum().into_scalar::<f32>();
        (count > 0.0).then(|| {
            let mean = prototypes.sum_dim(0).squeeze_dim::<1>(0) / f64::from(count);
            Statistic::new("background", mean)
        })
    }

    /// Moves the global prototype towards that of a batch; the first one becomes it.
    pub(super) fn absorb(&mut self, statistic: &Statistic) {
        let new = if self.started {
            let kept = self.global.val().without_autodiff() * self.config.momentum;
            kept + statistic.value.clone() * (1.0 - self.config.momentum)
        } else {
            statistic.value.clone()
        };
        self.global = params::replaced(&self.global, new);
        self.started = true;
    }

    /// The global prototype and the blend, under keys that start with [`RECTIFICATION_PREFIX`]: all
    /// that inference needs.
    ///
    /// # Errors
    /// [`BackboneError::Device`] if they cannot be read back.
    pub fn named_tensors(&self) -> Result<Vec<NamedTensor>, BackboneError> {
        let blend = NamedTensor {
            key: BLEND_KEY.into(),
            shape: vec![1],
            values: vec![self.config.blend as f32],
        };
        Ok(vec![params::read(BACKGROUND_KEY, &self.global)?, blend])
    }

    /// Takes over one of the tensors that [`named_tensors`](Self::named_tensors) gave. The blend in
    /// force stays: it is a setting.
    ///
    /// # Errors
    /// If it is none of them, of another shape, or not finite; `origin` names its place.
    pub fn set_tensor(&mut self, tensor: NamedTensor, origin: &Path) -> Result<(), BackboneError> {
        match tensor.key.as_str() {
            BACKGROUND_KEY => {
                self.started = tensor.values.iter().any(|value| *value != 0.0);
                params::write(&mut self.global, tensor, origin)
            }
            BLEND_KEY => Ok(()),
            _ => Err(super::unknown_tensor(tensor.key, origin)),
        }
    }

    /// The rectifier that a file of weights keeps, from its tensors with [`RECTIFICATION_PREFIX`];
    /// `None` if there are none.
    ///
    /// # Errors
    /// As [`set_tensor`](Self::set_tensor).
    pub fn stored(
        tensors: Vec<NamedTensor>,
        channels: usize,
        device: &Device,
        origin: &Path,
    ) -> Result<Option<Self>, BackboneError> {
        if tensors.is_empty() {
            return Ok(None);
        }
        let mut config = BackgroundConfig::default();
        let blend = tensors.iter().find(|tensor| tensor.key == BLEND_KEY);
        if let Some(&[blend]) = blend.map(|tensor| tensor.values.as_slice()) {
            config.blend = f64::from(blend);
        }
        let mut rectifier = Self::new(config, channels, device);
        for tensor in tensors {
            rectifier.set_tensor(tensor, origin)?;
        }
        Ok(Some(rectifier))
    }
}

/// How the foreground prototype is rectified.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ForegroundConfig {
    /// The smallest region, in pixels of its image, that gives a prototype. 2048 is the limit for
    /// supports.
    pub min_pixels: usize,
    /// How many regions are used, at most: the most similar ones.
    pub keep: usize,
    /// The smallest cosine similarity of a region's prototype with the support's.
    pub similarity: f64,
    /// Regions are weighted by the softmax of this times their similarity.
    pub sharpness: f64,
    /// The support's own share of the rectified prototype; the rest is the regions'.
    pub blend: f64,
}

impl Default for ForegroundConfig {
    /// Our choice: 5 regions of at least 2048 pixels above 0.8, in equal shares with the support.
    fn default() -> Self {
        Self { min_pixels: 2048, keep: 5, similarity: 0.8, sharpness: 10.0, blend: 0.5 }
    }
}

/// Images without annotation in which a support's class is looked for; what is found sharpens its
/// foreground prototype. Never fill it from the list that a model is tested on.
#[derive(Debug, Clone)]
pub struct ForegroundPool {
    config: ForegroundConfig,
    images: Vec<(Tensor<4>, [usize; 2])>,
}

impl ForegroundPool {
    /// A pool without images, which changes nothing.
    pub fn new(config: ForegroundConfig) -> Self {
        Self { config, images: Vec::new() }
    }

    /// Adds one image by its features (a batch of one) and its size `[H, W]`.
    ///
    /// # Errors
    /// [`HeadError::Shape`] for another number of taps than 1, or another batch than 1.
    pub fn add(&mut self, features: &Features, size: [usize; 2]) -> Result<(), HeadError> {
        let tap = single_tap(features, "an image of the pool")?;
        if tap.dims()[0] != 1 {
            return Err(HeadError::Shape {
                what: "the features of an image of the pool".into(),
                got: format!("a batch of {}", tap.dims()[0]),
                want: "a batch of 1".into(),
            });
        }
        self.images.push((tap.clone(), size));
        Ok(())
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Foreground prototypes `[B, C]`, each blended with those of the regions that it and its
    /// background prototype (`[B, C]`) find in the images. Where none is found it stays as it is.
    pub fn rectify(&self, foreground: Tensor<2>, background: &Tensor<2>) -> Tensor<2> {
        if self.images.is_empty() || self.config.keep == 0 {
            return foreground;
        }
        let [batch, _] = foreground.dims();
        let one = |t: &Tensor<2>, sample: usize| t.clone().narrow(0, sample, 1);
        let rectified = (0..batch)
            .map(|sample| self.rectify_one(one(&foreground, sample), &one(background, sample)));
        Tensor::cat(rectified.collect(), 0)
    }

    fn rectify_one(&self, foreground: Tensor<2>, background: &Tensor<2>) -> Tensor<2> {
        let (mut regions, mut areas) = (Vec::new(), Vec::new());
        for (features, size) in &self.images {
            let logits = similarity(features, &foreground, background);
            let logits = resize_bilinear(logits, *size, Corners::Aligned);
            let found = logits.clone().narrow(1, 1, 1).greater(logits.narrow(1, 0, 1)).float();
            areas.push(found.clone().sum());
            regions.push(masked_average_pool_at_mask_size(features.clone(), found));
        }
        // One reading back for all images.
        let regions = Tensor::cat(regions, 0);
        let cosines = cosine(regions.clone(), foreground.clone());
        let (Ok(areas), Ok(cosines)) =
            (Tensor::cat(areas, 0).try_into_vec_as::<f32>(), cosines.try_into_vec_as::<f32>())
        else {
            return foreground;
        };
        let weights = self.weights(&areas, &cosines);
        let Some(mean) = weights
            .into_iter()
            .map(|(index, weight)| regions.clone().narrow(0, index, 1) * weight)
            .reduce(|sum, region| sum + region)
        else {
            return foreground;
        };
        let blend = self.config.blend;
        foreground * blend + mean * (1.0 - blend)
    }

    /// The images whose region is used, with its weight.
    fn weights(&self, areas: &[f32], cosines: &[f32]) -> Vec<(usize, f64)> {
        let ForegroundConfig { min_pixels, keep, similarity, sharpness, .. } = self.config;
        let mut kept: Vec<(usize, f64)> = areas
            .iter()
            .zip(cosines)
            .enumerate()
            .filter(|(_, (area, cosine))| {
                f64::from(**area) >= min_pixels.max(1) as f64 && f64::from(**cosine) > similarity
            })
            .map(|(index, (_, cosine))| (index, f64::from(*cosine)))
            .collect();
        // The sort is stable: of equal ones the earlier image comes first.
        kept.sort_by(|a, b| b.1.total_cmp(&a.1));
        kept.truncate(keep);
        let best = kept.first().map_or(0.0, |(_, cosine)| *cosine);
        let raw: Vec<f64> = kept.iter().map(|(_, c)| (sharpness * (c - best)).exp()).collect();
        let sum: f64 = raw.iter().sum();
        kept.iter().zip(raw).map(|((index, _), weight)| (*index, weight / sum)).collect()
    }
}

/// Cosine similarities `[R, 1]` of regions `[R, C]` with a prototype `[1, C]`.
fn cosine(regions: Tensor<2>, prototype: Tensor<2>) -> Tensor<2> {
    let norm = |t: Tensor<2>| t.square().sum_dim(1).sqrt().clamp_min(1e-8);
    let product = (regions.clone() * prototype.clone()).sum_dim(1);
    product / (norm(regions) * norm(prototype))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_similar_large_regions_are_weighted() {
        let pool = ForegroundPool::new(ForegroundConfig {
            min_pixels: 10,
            keep: 2,
            ..ForegroundConfig::default()
        });
        let weights = pool.weights(&[50.0, 9.0, 50.0, 50.0, 50.0], &[0.85, 0.99, 0.9, 0.79, 0.82]);
        let indices: Vec<usize> = weights.iter().map(|(index, _)| *index).collect();
        assert_eq!(indices, [2, 0]);
        let (first, second) = (weights[0].1, weights[1].1);
        assert!((first + second - 1.0).abs() < 1e-12);
        // softmax(9.0, 8.5): similarities are read back as f32.
        assert!((first / second - 0.5f64.exp()).abs() < 1e-5, "{first} {second}");
        assert!(pool.weights(&[9.0], &[0.99]).is_empty());
    }

    #[test]
    fn the_average_starts_with_the_first_batch() {
        let device = Device::flex();
        let config = BackgroundConfig { momentum: 0.75, blend: 0.5 };
        let mut rectifier = BackgroundRectifier::new(config, 2, &device);
        let own = Tensor::<2>::from_data([[1.0, 0.0]], &device);
        let value = |t: Tensor<2>| t.try_into_vec_as::<f32>().unwrap();
        assert_eq!(value(rectifier.rectify(own.clone())), [1.0, 0.0]);

        // A sample without background does not count.
        let batch = Tensor::<2>::from_data([[2.0, 4.0], [0.0, 0.0], [4.0, 0.0]], &device);
        rectifier.absorb(&BackgroundRectifier::observe(&batch).unwrap());
        assert_eq!(value(rectifier.rectify(own.clone())), [2.0, 1.0]);
        let empty = Tensor::<2>::zeros([3, 2], &device);
        assert!(BackgroundRectifier::observe(&empty).is_none());

        let next = Tensor::<2>::from_data([[7.0, 6.0]], &device);
        rectifier.absorb(&BackgroundRectifier::observe(&next).unwrap());
        // 0.75 * [3, 2] + 0.25 * [7, 6] = [4, 3]
        let global = rectifier.global.val().try_into_vec_as::<f32>().unwrap();
        assert_eq!(global, [4.0, 3.0]);

        let stored = rectifier.named_tensors().unwrap();
        let origin = Path::new("here");
        let again = BackgroundRectifier::stored(stored, 2, &device, origin).unwrap().unwrap();
        assert_eq!(value(again.rectify(own.clone())), value(rectifier.rectify(own)));
    }
}
