//! What heads share that match a query with one foreground and one background prototype.

use burn::tensor::{Int, Tensor};
use fss_backbone::DeepStemResNet;
use fss_kernels::cosine_maps;

use crate::{EpisodeBatch, Features, HeadError, Shot};

/// Cosine similarities are scaled by this before the softmax (SSP and MLC alike).
pub(crate) const SIMILARITY_SCALE: f64 = 10.0;

/// A foreground and a background prototype, both `[B, C]`.
pub(crate) struct Prototypes {
    pub foreground: Tensor<2>,
    pub background: Tensor<2>,
}

impl Prototypes {
    /// Pools features `[B, C, h, w]` under a mask `[B, H, W]` (0 / 1 / 255; ignored pixels belong to
    /// neither) by `pool`, which takes the features and a mask `[B, 1, H, W]` of zeros and ones.
    pub fn pooled(
        features: &Tensor<4>,
        mask: &Tensor<3, Int>,
        pool: impl Fn(Tensor<4>, Tensor<4>) -> Tensor<2>,
    ) -> Self {
        let pool = |label: i64| {
            let mask = mask.clone().equal_elem(label).float().unsqueeze_dim::<4>(1);
            pool(features.clone(), mask)
        };
        Self { foreground: pool(1), background: pool(0) }
    }

    /// The means over all shots. Every shot counts the same, whatever the size of its object; one
    /// without foreground adds zero, which leaves the direction of the mean as it is.
    pub fn mean_of(
        shots: &[Shot],
        channels: usize,
        pool: impl Fn(&Tensor<4>, &Tensor<3, Int>) -> Self,
    ) -> Result<Self, HeadError> {
        let mut sum: Option<Self> = None;
        for shot in shots {
            let tap = shot_tap(shot, channels)?;
            let one = pool(tap, &shot.mask);
            sum = Some(match sum {
                None => one,
                Some(sum) => Self {
                    foreground: sum.foreground + one.foreground,
                    background: sum.background + one.background,
                },
            });
        }
        let count = shots.len() as f64;
        sum.map(|sum| Self {
            foreground: sum.foreground / count,
            background: sum.background / count,
        })
        .ok_or(HeadError::NoSupport)
    }
}

/// Logits `[B, 2, h, w]`, background first, of features `[B, C, h, w]` from prototypes `[B, C]`.
pub(crate) fn similarity(
    query: &Tensor<4>,
    foreground: &Tensor<2>,
    background: &Tensor<2>,
) -> Tensor<4> {
    let prototypes = Tensor::stack::<3>(vec![background.clone(), foreground.clone()], 1);
    cosine_maps(query.clone(), prototypes) * SIMILARITY_SCALE
}

/// A prototype `[B, C]`, or `[1, C]` for all samples of the batch, as `[batch, C]`.
pub(crate) fn for_batch(prototype: &Tensor<2>, batch: usize) -> Tensor<2> {
    let [own, channels] = prototype.dims();
    if own == batch { prototype.clone() } else { prototype.clone().expand([batch, channels]) }
}

/// The only tap of the features of `what`.
pub(crate) fn single_tap<'a>(
    features: &'a Features,
    what: &str,
) -> Result<&'a Tensor<4>, HeadError> {
    match features.0.as_slice() {
        [tap] => Ok(tap),
        taps => Err(HeadError::Shape {
            what: format!("the features of {what}"),
            got: format!("{} taps", taps.len()),
            want: "1 tap".into(),
        }),
    }
}

/// The only tap of a query's features, if it fits a prototype `[B, C]` or `[1, C]`.
pub(crate) fn query_tap<'a>(
    query: &'a Features,
    prototype: &Tensor<2>,
) -> Result<&'a Tensor<4>, HeadError> {
    let tap = single_tap(query, "a query")?;
    let ([batch, channels, ..], [own, want]) = (tap.dims(), prototype.dims());
    if channels != want {
        return Err(HeadError::Shape {
            what: "the tap of a query".into(),
            got: format!("{channels} channels"),
            want: format!("{want} channels"),
        });
    }
    if own != batch && own != 1 {
        return Err(HeadError::Shape {
            what: "the tap of a query".into(),
            got: format!("a batch of {batch}"),
            want: format!("a batch of {own}, as its support set"),
        });
    }
    Ok(tap)
}

fn shot_tap(shot: &Shot, channels: usize) -> Result<&Tensor<4>, HeadError> {
    let tap = single_tap(&shot.features, "a support image")?;
    if tap.dims()[1] != channels {
        return Err(HeadError::Shape {
            what: "the tap of a support image".into(),
            got: format!("{} channels", tap.dims()[1]),
            want: format!("{channels} channels"),
        });
    }
    if shot.mask.dims()[0] != tap.dims()[0] {
        return Err(HeadError::Shape {
            what: "the masks of a shot".into(),
            got: format!("a batch of {}", shot.mask.dims()[0]),
            want: format!("a batch of {}", tap.dims()[0]),
        });
    }
    Ok(tap)
}

/// Features of the query and of all shots of a training batch.
///
/// All images pass through the backbone at once: it is faster than one pass for each, with the same
/// result.
pub(crate) fn batch_features(
    backbone: &DeepStemResNet,
    batch: &EpisodeBatch,
) -> Result<(Features, Vec<Shot>), HeadError> {
    let (query, shots, _) = joint_features(backbone, batch, None)?;
    Ok((query, shots))
}

/// [`batch_features`] and those of `extra` images `[E, 3, H, W]`, in the same pass.
pub(crate) fn joint_features(
    backbone: &DeepStemResNet,
    batch: &EpisodeBatch,
    extra: Option<&Tensor<4>>,
) -> Result<(Features, Vec<Shot>, Option<Tensor<4>>), HeadError> {
    check_batch(batch)?;
    let samples = batch.query.dims()[0];
    let mut images = vec![batch.query.clone()];
    images.extend(batch.supports.iter().map(|(image, _)| image.clone()));
    if let Some(extra) = extra {
        let (got, want) = (extra.dims(), batch.query.dims());
        if got[1..] != want[1..] {
            return Err(HeadError::Shape {
                what: "the images with pseudo masks".into(),
                got: format!("{got:?}"),
                want: format!("[any, {}, {}, {}]", want[1], want[2], want[3]),
            });
        }
        images.push(extra.clone());
    }
    let features = backbone.forward(Tensor::cat(images, 0));
    let part =
        |index: usize| Features::single(features.clone().narrow(0, index * samples, samples));
    let shots: Vec<Shot> = batch
        .supports
        .iter()
        .enumerate()
        .map(|(k, (_, mask))| Shot { features: part(k + 1), mask: mask.clone() })
        .collect();
    let further =
        extra.map(|extra| features.clone().narrow(0, (1 + shots.len()) * samples, extra.dims()[0]));
    Ok((part(0), shots, further))
}

/// In training all images and masks have one size.
pub(crate) fn check_batch(batch: &EpisodeBatch) -> Result<(), HeadError> {
    if batch.supports.is_empty() {
        return Err(HeadError::NoSupport);
    }
    let shape = batch.query.dims();
    let [samples, _, height, width] = shape;
    let wrong = |what: String, got: &[usize], want: &[usize]| HeadError::Shape {
        what,
        got: format!("{got:?}"),
        want: format!("{want:?}"),
    };
    let mask_shape = [samples, height, width];
    if batch.query_mask.dims() != mask_shape {
        return Err(wrong("the query mask".into(), &batch.query_mask.dims(), &mask_shape));
    }
    for (k, (image, mask)) in batch.supports.iter().enumerate() {
        if image.dims() != shape {
            return Err(wrong(format!("the image of shot {}", k + 1), &image.dims(), &shape));
        }
        if mask.dims() != mask_shape {
            return Err(wrong(format!("the mask of shot {}", k + 1), &mask.dims(), &mask_shape));
        }
    }
    Ok(())
}
