//! From arrays to tensors and back.

use burn::tensor::{Device, Int, Tensor, TensorData};
use fss_kernels::{Corners, enlarged_argmax};
use ndarray::{Array2, Array3, ArrayView2, ArrayView3};

use crate::TrainError;

/// A normalised image `[3, H, W]` as a batch of one `[1, 3, H, W]`.
pub fn image_tensor(image: ArrayView3<'_, f32>, device: &Device) -> Tensor<4> {
    let (_, height, width) = image.dim();
    fss_heads::image_tensor(image.iter().copied().collect(), [height, width], device)
}

/// A binary mask `[H, W]` (0 / 1 / 255) as a batch of one `[1, H, W]`.
pub fn mask_tensor(mask: ArrayView2<'_, u8>, device: &Device) -> Tensor<3, Int> {
    let (height, width) = mask.dim();
    let labels: Vec<u8> = mask.iter().copied().collect();
    fss_heads::mask_tensor(&labels, [height, width], device)
}

/// Images `[3, H, W]` of one size as a batch `[B, 3, H, W]`.
///
/// # Errors
/// [`TrainError::Setting`] for no images, or images of several sizes.
pub fn image_batch<'a>(
    images: impl IntoIterator<Item = &'a Array3<f32>>,
    device: &Device,
) -> Result<Tensor<4>, TrainError> {
    let mut images = images.into_iter().peekable();
    let Some((channels, height, width)) = images.peek().map(|image| image.dim()) else {
        return Err(empty_batch());
    };
    let (mut values, mut count) = (Vec::new(), 0);
    for image in images {
        same_size((channels, height, width), image.dim())?;
        values.extend(image.iter().copied());
        count += 1;
    }
    Ok(Tensor::from_data(TensorData::new(values, [count, channels, height, width]), device))
}

/// Binary masks `[H, W]` of one size as a batch `[B, H, W]`.
///
/// # Errors
/// [`TrainError::Setting`] for no masks, or masks of several sizes.
pub fn mask_batch<'a>(
    masks: impl IntoIterator<Item = &'a Array2<u8>>,
    device: &Device,
) -> Result<Tensor<3, Int>, TrainError> {
    let mut masks = masks.into_iter().peekable();
    let Some((height, width)) = masks.peek().map(|mask| mask.dim()) else {
        return Err(empty_batch());
    };
    let (mut values, mut count) = (Vec::<i64>::new(), 0);
    for mask in masks {
        same_size((height, width), mask.dim())?;
        values.extend(mask.iter().map(|&v| i64::from(v)));
        count += 1;
    }
    Ok(Tensor::from_data(TensorData::new(values, [count, height, width]), device))
}

/// Coarse maps `[G, G]` of one size as a batch `[B, 1, G, G]`.
///
/// # Errors
/// [`TrainError::Setting`] for no maps, or maps of several sizes.
pub fn cam_batch<'a>(
    maps: impl IntoIterator<Item = &'a Array2<f32>>,
    device: &Device,
) -> Result<Tensor<4>, TrainError> {
    let mut maps = maps.into_iter().peekable();
    let Some((height, width)) = maps.peek().map(|map| map.dim()) else {
        return Err(empty_batch());
    };
    let (mut values, mut count) = (Vec::new(), 0);
    for map in maps {
        same_size((height, width), map.dim())?;
        values.extend(map.iter().copied());
        count += 1;
    }
    Ok(Tensor::from_data(TensorData::new(values, [count, 1, height, width]), device))
}

/// The prediction of logits `[1, 2, H, W]`: 1 where the foreground's is larger, else 0 (a tie is
/// background).
///
/// # Errors
/// [`TrainError::Setting`] for logits of another shape.
pub fn prediction(logits: Tensor<4>) -> Result<Array2<u8>, TrainError> {
    let [batch, classes, height, width] = logits.dims();
    let wrong = || {
        TrainError::setting(
            format!(
                "logits [{batch}, {classes}, {height}, {width}] are not those of one binary episode"
            ),
            "give logits of the shape [1, 2, H, W]",
        )
    };
    if batch != 1 || classes != 2 {
        return Err(wrong());
    }
    let values: Vec<f32> = logits.into_data().try_into_vec().map_err(|_| wrong())?;
    let (background, foreground) = values.split_at(height * width);
    let mask = background.iter().zip(foreground).map(|(b, f)| u8::from(f > b)).collect();
    Array2::from_shape_vec((height, width), mask).map_err(|_| wrong())
}

/// Labels of logits `[1, C, h, w]` that are enlarged (corners aligned) to `enlarged`, of which the upper left
/// `size` is of interest; of equal logits the first class's.
///
/// # Errors
/// [`TrainError::Setting`] if the device does not return the labels.
pub(crate) fn enlarged_labels(
    logits: Tensor<4>,
    enlarged: [usize; 2],
    size: [usize; 2],
) -> Result<Array2<u8>, TrainError> {
    let unread = |what: String| TrainError::setting(what, "use --device cpu");
    let found = enlarged_argmax(logits, enlarged, size, Corners::Aligned);
    let found: Vec<u8> = found
        .try_into_vec_as()
        .map_err(|error| unread(format!("the device did not return the labels ({error:?})")))?;
    Array2::from_shape_vec((size[0], size[1]), found)
        .map_err(|error| unread(format!("the device returned other labels ({error})")))
}

fn same_size<T: PartialEq + std::fmt::Debug>(first: T, other: T) -> Result<(), TrainError> {
    if first == other {
        return Ok(());
    }
    Err(TrainError::setting(
        format!("a batch holds arrays of the sizes {first:?} and {other:?}"),
        "crop all images of a batch to one size",
    ))
}

fn empty_batch() -> TrainError {
    TrainError::setting("a batch without any image", "use a batch size and a shot of at least 1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tie_is_background() {
        let logits = Tensor::<4>::from_data([[[[1.0, 2.0]], [[1.0, 3.0]]]], &Device::flex());
        assert_eq!(prediction(logits).unwrap(), ndarray::array![[0u8, 1]]);
    }

    #[test]
    fn batches_keep_values_and_refuse_mixed_sizes() {
        let device = Device::flex();
        let image = Array3::from_shape_fn((3, 2, 2), |(c, y, x)| (c * 4 + y * 2 + x) as f32);
        let batch = image_batch([&image, &image], &device).unwrap();
        assert_eq!(batch.dims(), [2, 3, 2, 2]);
        let values: Vec<f32> = batch.into_data().try_into_vec().unwrap();
        assert_eq!(values[12..], values[..12]);
        assert_eq!(values[5], 5.0);

        let other = Array3::zeros((3, 2, 3));
        let error = image_batch([&image, &other], &device).unwrap_err().to_string();
        assert!(error.contains("(3, 2, 3)"), "{error}");
        assert!(mask_batch([], &device).is_err());
    }
}
