//! Generalized few-shot segmentation: background, base classes and novel classes in one pass.
//!
//! There are no episodes here. A model learns its base classes from full data (stage 1), then novel
//! ones from a few images each (stage 2), and from then on labels every pixel with any of them.

use burn::tensor::{Device, Int, Tensor};
use fss_kernels::{Corners, enlarged_cross_entropy};

use crate::IGNORE_INDEX;

/// How many classes a model knows, background not included.
///
/// The network's index of a class is 0 for the background, `1..=base` for base classes and
/// `base + 1..=base + novel` for novel ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClassCount {
    /// Classes of stage 1.
    pub base: usize,
    /// Classes of stage 2; 0 before it.
    pub novel: usize,
}

impl ClassCount {
    /// All indices, background included.
    pub fn channels(self) -> usize {
        1 + self.base + self.novel
    }
}

impl std::fmt::Display for ClassCount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} base and {} novel classes", self.base, self.novel)
    }
}

/// A network that labels every pixel with background or one of its classes.
pub trait GeneralizedModel {
    /// The classes it knows.
    fn classes(&self) -> ClassCount;

    /// Logits at the resolution of the features, outside autodiff.
    ///
    /// # Shapes
    /// - images: `[B, 3, H, W]`, normalised
    /// - output: `[B, 1 + base + novel, h, w]`
    fn logits(&self, images: Tensor<4>) -> Tensor<4>;
}

impl<M: GeneralizedModel + ?Sized> GeneralizedModel for Box<M> {
    fn classes(&self) -> ClassCount {
        (**self).classes()
    }

    fn logits(&self, images: Tensor<4>) -> Tensor<4> {
        (**self).logits(images)
    }
}

/// Images with labels, all of one size.
#[derive(Debug, Clone)]
pub struct LabelledBatch {
    /// Images `[B, 3, H, W]`, normalised.
    pub images: Tensor<4>,
    /// Labels `[B, H, W]`: the network's indices of classes, 255 ignored.
    pub labels: Tensor<3, Int>,
}

/// Cross entropy of logits enlarged to their labels' size (corners aligned, as published), over the
/// pixels of the batch that count; `None` if none does.
///
/// # Shapes
/// - logits: `[B, channels, h, w]`
/// - labels: `[B, H, W]`
pub fn segmentation_loss(logits: Tensor<4>, labels: &Tensor<3, Int>) -> Option<Tensor<1>> {
    let counted = labels.clone().not_equal_elem(IGNORE_INDEX).int().sum().into_scalar::<i64>();
    if counted == 0 {
        return None;
    }
    let ignore = IGNORE_INDEX as u8;
    let sum = enlarged_cross_entropy(logits, labels.clone(), ignore, Corners::Aligned);
    Some(sum / counted as f32)
}

/// Mean magnitude of what lies strictly above the diagonal (`column > row`) of cosine similarities;
/// 0 if nothing does, as with a single prototype.
///
/// # Shapes
/// - similarity: `[rows, columns]`
/// - output: `[1]`
pub fn orthogonality_loss(similarity: Tensor<2>) -> Tensor<1> {
    let [rows, columns] = similarity.dims();
    let (mask, count) = strictly_above(rows, columns, &similarity.device());
    (similarity.abs() * mask).sum() / count.max(1) as f32
}

fn strictly_above(rows: usize, columns: usize, device: &Device) -> (Tensor<2>, usize) {
    let values: Vec<f32> =
        (0..rows).flat_map(|i| (0..columns).map(move |j| f32::from(u8::from(j > i)))).collect();
    let count = values.iter().filter(|value| **value > 0.0).count();
    let data = burn::tensor::TensorData::new(values, [rows, columns]);
    (Tensor::from_data(data, &device.clone().inner()), count)
}

/// Metadata entries of weight files.
pub mod entries {
    /// The method: `pop` or `pspnet`.
    pub const MODEL: &str = "fss.model";
    /// Names of the classes in the order of their indices, base first: a JSON list.
    pub const CLASSES: &str = "fss.classes";
    /// The side of the square that images are brought to.
    pub const SIDE: &str = "fss.side";
    /// The backbone's output stride.
    pub const OUTPUT_STRIDE: &str = "fss.output_stride";
}
