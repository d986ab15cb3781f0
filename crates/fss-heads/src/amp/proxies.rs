//! Proxies: what a support set makes of the classifiers' rows.

use burn::tensor::{Bool, Int, Tensor, TensorData};
use fss_kernels::resize_nearest;

use crate::HeadError;

/// How far one support image moves the background's row.
pub const ALPHA: f64 = 0.25821;

/// Keeps an empty mask from dividing by zero; its proxy is then zero.
const AREA_EPS: f64 = 1e-3;

/// Smallest norm that a proxy is divided by.
const NORM_EPS: f64 = 1e-12;

/// What is remembered of the background from one support set to the next: a row for each level.
#[derive(Debug, Clone)]
pub struct AmpMemory {
    /// `[c]` each, shallow to deep.
    pub rows: Vec<Tensor<1>>,
}

impl AmpMemory {
    /// Refuses a memory of another model.
    pub(super) fn check(&self, channels: &[usize]) -> Result<(), HeadError> {
        let got: Vec<usize> = self.rows.iter().map(|row| row.dims()[0]).collect();
        if got == channels {
            return Ok(());
        }
        Err(HeadError::Shape {
            what: "a memory of backgrounds".into(),
            got: format!("rows of {got:?} channels"),
            want: format!("rows of {channels:?} channels"),
        })
    }
}

/// What is kept of a support set: the rows that a query is compared with.
#[derive(Debug, Clone)]
pub struct AmpSupport {
    /// `[B, rows, c]` for each level, shallow to deep.
    pub levels: Vec<Tensor<3>>,
    /// The object's row in each sample.
    pub objects: Vec<usize>,
}

impl AmpSupport {
    /// How many samples it has.
    pub fn batch(&self) -> usize {
        self.objects.len()
    }

    /// The object's row in each of `batch` samples; a single one serves all.
    pub(super) fn objects_of(&self, batch: usize) -> Vec<usize> {
        match self.objects[..] {
            [object] => vec![object; batch],
            _ => self.objects.clone(),
        }
    }
}

/// The proxies of one level.
#[derive(Debug, Clone)]
pub struct LevelProxies {
    /// The background's row behind the last shot of each sample, `[B, c]`.
    pub background: Tensor<2>,
    /// The background's row behind all supports of the batch, `[c]`.
    pub updated: Tensor<1>,
    /// The object's row in each sample, `[B, c]`: the mean of the unit mean features of its shots.
    pub foreground: Tensor<2>,
}

impl LevelProxies {
    /// Proxies of shots, each with its features `[B, c, h, w]` and masks `[B, H, W]` (0 / 1 / 255;
    /// ignored pixels belong to neither side), from the background's row `[c]` before them.
    ///
    /// # Panics
    /// Without shots, or if their shapes do not fit each other.
    pub fn new(row: Tensor<1>, shots: &[(&Tensor<4>, &Tensor<3, Int>)]) -> Self {
        assert!(!shots.is_empty(), "proxies of no shot");
        let of_label = |label: i64| -> Vec<Tensor<2>> {
            let pooled = shots.iter().map(|(features, mask)| unit_mean(features, mask, label));
            pooled.collect()
        };
        let backgrounds = of_label(0);
        let [samples, channels] = backgrounds[0].dims();
        let mut updated = row.without_autodiff().reshape([1, channels]);
        let mut background = Vec::with_capacity(samples);
        for sample in 0..samples {
            for shot in &backgrounds {
                let seen = shot.clone().narrow(0, sample, 1);
                updated = seen.mul_scalar(ALPHA) + updated.mul_scalar(1.0 - ALPHA);
            }
            background.push(updated.clone());
        }
        let foreground =
            Tensor::stack::<3>(of_label(1), 0).mean_dim(0).reshape([samples, channels]);
        Self {
            background: Tensor::cat(background, 0),
            updated: updated.reshape([channels]),
            foreground,
        }
    }

    /// The rows of a classifier `[C, c]` for each sample, with the background's row moved and the
    /// object's in the place of that of its class, or behind all others: `[B, C, c]` or
    /// `[B, C + 1, c]`. All samples share the row that the last one left.
    ///
    /// # Panics
    /// If a class id is 0 or not below C, or there are not as many as samples.
    pub fn among(&self, rows: Tensor<2>, classes: Option<&[usize]>) -> Tensor<3> {
        let ([count, channels], [samples, _]) = (rows.dims(), self.foreground.dims());
        let background = self.updated.clone().reshape([1, channels]);
        let per_sample = (0..samples).map(|sample| {
            let object = self.foreground.clone().narrow(0, sample, 1);
            let class = classes.map_or(count, |classes| classes[sample]);
            assert!((1..=count).contains(&class), "a class id of {class} among {count} rows");
            let mut parts = vec![background.clone()];
            for (from, to) in [(1, class), (class + 1, count)] {
                if to > from {
                    parts.push(rows.clone().narrow(0, from, to - from));
                }
            }
            parts.insert(if class > 1 { 2 } else { 1 }, object);
            Tensor::cat(parts, 0)
        });
        Tensor::stack(per_sample.collect(), 0)
    }

    /// The rows of background and object alone, `[B, 2, c]`, each sample's background as its own last
    /// shot left it.
    pub fn pair(&self) -> Tensor<3> {
        Tensor::stack(vec![self.background.clone(), self.foreground.clone()], 1)
    }
}

/// The mean of features `[B, c, h, w]` over the pixels of a mask `[B, H, W]` that have `label`, brought
/// to the features' size (nearest), and divided by its norm: `[B, c]`. Zero without such pixels.
fn unit_mean(features: &Tensor<4>, mask: &Tensor<3, Int>, label: i64) -> Tensor<2> {
    let [batch, channels, height, width] = features.dims();
    let mask = mask.clone().equal_elem(label).float().unsqueeze_dim::<4>(1).without_autodiff();
    let mask = resize_nearest(mask, [height, width]).reshape([batch, height * width, 1]);
    let area = mask.clone().sum_dim(1).reshape([batch, 1]);
    let features = features.clone().without_autodiff();
    let features = features.reshape([batch, channels, height * width]);
    let sum = features.matmul(mask).reshape([batch, channels]);
    let mean = sum / (area + AREA_EPS);
    let norm = mean.clone().square().sum_dim(1).sqrt();
    mean / norm.clamp_min(NORM_EPS)
}

/// Two channels from many: the largest of all rows but the object's, and the object's.
///
/// # Shapes
/// - logits: `[B, rows, h, w]`
/// - objects: the object's row in each sample
/// - output: `[B, 2, h, w]`
///
/// # Panics
/// If there are not as many objects as samples, or one is no row.
pub fn binary_logits(logits: Tensor<4>, objects: &[usize]) -> Tensor<4> {
    let [batch, rows, ..] = logits.dims();
    assert_eq!(objects.len(), batch, "an object for each sample");
    let is_object: Vec<bool> = objects
        .iter()
        .flat_map(|&object| {
            assert!(object < rows, "row {object} of {rows}");
            (0..rows).map(move |row| row == object)
        })
        .collect();
    let is_object = TensorData::new(is_object, [batch, rows, 1, 1]);
    let is_object = Tensor::<4, Bool>::from_data(is_object, &logits.device());
    let is_object = is_object.expand(logits.dims());
    let others = logits.clone().mask_fill(is_object.clone(), f32::NEG_INFINITY).max_dim(1);
    let object = logits.mask_fill(is_object.bool_not(), f32::NEG_INFINITY).max_dim(1);
    Tensor::cat(vec![others, object], 1)
}
