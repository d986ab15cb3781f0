//! The weight estimator: a classifier of pixels, and what makes rows of it from supports (paper, sections
//! 3.2 and 3.3).

use burn::module::{Module, Param};
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Int, Tensor, TensorData};
use fss_backbone::params;
use fss_kernels::{Activation, resize_nearest};

use crate::HeadError;
use crate::dropout::Dropout;
use crate::layers::Convolution;
use crate::reg_aspp::CHANNELS;
use crate::siblings::foreground;

/// Keeps an empty mask from dividing by zero.
const AREA_EPS: f64 = 1e-3;

/// What happens when a sample names a class in two of its ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Repeated {
    /// It is an error.
    #[default]
    Refused,
    /// The last way's row stays, as in the published code.
    LastWins,
}

/// Classes whose rows were made already ([`WeightEstimator::extend_once`]); one flag for each row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenClasses(pub Vec<bool>);

/// A linear classifier of pixels without bias, and what makes new rows of it.
#[derive(Module, Debug)]
pub struct WeightEstimator {
    /// Rows `[C, 256]`; row 0 is the background's.
    pub weight: Param<Tensor<2>>,
    /// Two 1x1 convolutions of the guided attention.
    pub gate: Vec<Convolution>,
    /// The 1x1 convolution that makes a row of a mean feature.
    pub linear: Convolution,
}

impl WeightEstimator {
    /// Starting values as the published code's (uniform, Kaiming with a = √5), from `seed` alone.
    pub(super) fn new(classes: usize, seed: u64, device: &Device) -> Self {
        let bound = 1.0 / (CHANNELS as f64).sqrt();
        let conv = |key: &str| {
            Convolution::new(&format!("estimator.{key}"), [CHANNELS, CHANNELS, 1], seed, device)
        };
        let key = "estimator.weight";
        Self {
            weight: params::uniform(key, [classes, CHANNELS], bound, seed, device),
            gate: vec![conv("gam.gate.0"), conv("gam.gate.2")],
            linear: conv("map.linear"),
        }
    }

    /// The rows `[C, 256]`, outside autodiff.
    pub fn rows(&self) -> Tensor<2> {
        self.weight.val().without_autodiff()
    }

    /// The device of the rows.
    pub fn device(&self) -> Device {
        self.weight.lazy_device()
    }

    /// The guided attention's gate `[n, 256]` for features `[n, 256, h, w]` under masks `[n, H, W]`: of the
    /// mean of the masked features over *all* positions. Values are dropped before the sigmoid, as published.
    pub fn gate(
        &self,
        features: &Tensor<4>,
        mask: &Tensor<3, Int>,
        dropout: &mut Dropout,
    ) -> Tensor<2> {
        let [_, _, height, width] = features.dims();
        let (sum, _) = masked_sum(features, mask);
        self.gate_of(sum / (height * width) as f64, dropout)
    }

    fn gate_of(&self, mean: Tensor<2>, dropout: &mut Dropout) -> Tensor<2> {
        let hidden = pointwise(&self.gate[0], mean, Activation::Relu);
        sigmoid(dropout.values(pointwise(&self.gate[1], hidden, Activation::None)))
    }

    /// Mean features `[n, 256]` of objects, without attention and projection; zero for an empty mask.
    pub fn pooled(features: &Tensor<4>, mask: &Tensor<3, Int>) -> Tensor<2> {
        let (sum, area) = masked_sum(features, mask);
        sum / (area + AREA_EPS)
    }

    /// A mean feature made a row, `[n, 256]` both.
    pub fn projected(&self, mean: Tensor<2>) -> Tensor<2> {
        pointwise(&self.linear, mean, Activation::None)
    }

    /// The row `[N, 256]` of each sample from its shots, features `[N, 256, h, w]` and masks `[N, H, W]` each: the
    /// mean of the shots' rows.
    ///
    /// The gate is the same at every position, so that the mean feature of gated features is the gated
    /// mean feature: neither masked nor gated maps are made.
    ///
    /// # Panics
    /// Without shots.
    pub fn row(&self, shots: &[(&Tensor<4>, &Tensor<3, Int>)], dropout: &mut Dropout) -> Tensor<2> {
        let count = shots.len() as f64;
        let rows = shots.iter().map(|(features, mask)| {
            let [_, _, height, width] = features.dims();
            let (sum, area) = masked_sum(features, mask);
            let gate = self.gate_of(sum.clone() / (height * width) as f64, dropout);
            self.projected(gate * sum / (area + AREA_EPS))
        });
        let sum = rows.reduce(|sum, row| sum + row);
        sum.unwrap_or_else(|| panic!("a row of no shot")) / count
    }

    /// The classifier of each sample, `[N, C, 256]`: the rows, of which training drops values anew for each
    /// sample, with those of the sample's classes replaced.
    ///
    /// # Shapes
    /// - rows: for each way `[N, 256]`
    /// - labels: for each sample one class a way
    ///
    /// # Errors
    /// As [`Denet::episode_logits`](super::Denet::episode_logits).
    pub fn extended(
        &self,
        rows: &[Tensor<2>],
        labels: &[Vec<usize>],
        repeated: Repeated,
        dropout: &mut Dropout,
    ) -> Result<Tensor<3>, HeadError> {
        let weight = match rows.first().is_some_and(Tensor::is_autodiff) {
            true => self.weight.val(),
            false => self.rows(),
        };
        let copies = labels.iter().map(|_| dropout.values(weight.clone())).collect();
        self.extend(Tensor::stack(copies, 0), rows, labels, repeated)
    }

    /// [`Self::extended`] from classifiers `[N, C, 256]` that are given.
    ///
    /// # Errors
    /// As [`Self::extended`].
    pub fn extend(
        &self,
        weights: Tensor<3>,
        rows: &[Tensor<2>],
        labels: &[Vec<usize>],
        repeated: Repeated,
    ) -> Result<Tensor<3>, HeadError> {
        let [samples, classes, _] = weights.dims();
        let ways = rows.len();
        if ways == 0 || samples == 0 {
            return Err(HeadError::NoSupport);
        }
        for row in rows {
            if row.dims()[0] != samples || labels.len() != samples {
                return Err(HeadError::Shape {
                    what: "the rows of a way".into(),
                    got: format!("a batch of {}, and {} of labels", row.dims()[0], labels.len()),
                    want: format!("{samples}"),
                });
            }
        }
        let mut place = vec![0.0f32; samples * classes * ways];
        for (sample, labels) in labels.iter().enumerate() {
            if labels.len() != ways {
                return Err(HeadError::Shape {
                    what: format!("the classes of sample {}", sample + 1),
                    got: format!("{} of them", labels.len()),
                    want: format!("{ways}, one for each way"),
                });
            }
            self.check_classes(labels)?;
            for (way, &class) in labels.iter().enumerate() {
                if let Some(later) = labels[way + 1..].iter().position(|other| *other == class) {
                    if repeated == Repeated::Refused {
                        return Err(HeadError::Setting {
                            problem: format!(
                                "class {class} is that of way {} and of way {}",
                                way + 1,
                                way + 2 + later
                            ),
                            remedy: "give all examples of a class to one way".into(),
                        });
                    }
                    continue;
                }
                place[(sample * classes + class) * ways + way] = 1.0;
            }
        }
        let place = TensorData::new(place, [samples, classes, ways]);
        let place = Tensor::<3>::from_data(place, &weights.device());
        let kept = place.clone().sum_dim(2).neg() + 1.0;
        let new = rows.iter().map(|row| row.clone().unsqueeze_dim::<3>(1));
        let new = Tensor::cat(new.collect(), 1);
        Ok(weights * kept + place.matmul(new))
    }

    /// Refuses classes that are no row, or the background.
    pub(super) fn check_classes(&self, classes: &[usize]) -> Result<(), HeadError> {
        let count = self.weight.lazy_shape()[0];
        match classes.iter().find(|class| !(1..count).contains(*class)) {
            None => Ok(()),
            Some(class) => Err(HeadError::Setting {
                problem: format!("class {class} of a model with the classes 1 to {}", count - 1),
                remedy: "use weights that were made for more classes, or leave the class out"
                    .into(),
            }),
        }
    }

    /// The estimator that keeps new rows for good (published: mode "deploy"): its classifier becomes the mean
    /// of those of the samples. With several samples of different classes a new row is therefore mixed with
    /// the old one; give one sample at a time to avoid it.
    ///
    /// # Errors
    /// As [`Self::extended`].
    pub fn deploy(
        mut self,
        rows: &[Tensor<2>],
        labels: &[Vec<usize>],
        repeated: Repeated,
    ) -> Result<Self, HeadError> {
        let weights = self.extended(rows, labels, repeated, &mut Dropout::off())?;
        let [_, classes, channels] = weights.dims();
        self.weight =
            params::replaced(&self.weight, weights.mean_dim(0).reshape([classes, channels]));
        Ok(self)
    }

    /// The estimator that keeps the first row that it sees of each class (published: support-free mode), and
    /// the classifier `[N, C, 256]` of each sample. Samples are looked at in order, so that a later one uses
    /// the rows of earlier ones. What training drops is never kept.
    ///
    /// # Errors
    /// As [`Self::extended`]; [`HeadError::Shape`] for flags of another number of classes.
    pub fn extend_once(
        mut self,
        rows: &[Tensor<2>],
        labels: &[Vec<usize>],
        seen: &mut SeenClasses,
    ) -> Result<(Self, Tensor<3>), HeadError> {
        let count = self.weight.lazy_shape()[0];
        if seen.0.len() != count {
            return Err(HeadError::Shape {
                what: "the flags of seen classes".into(),
                got: format!("{}", seen.0.len()),
                want: format!("{count}"),
            });
        }
        let mut all = Vec::with_capacity(labels.len());
        for (sample, labels) in labels.iter().enumerate() {
            for (way, &class) in labels.iter().enumerate() {
                self.check_classes(&[class])?;
                if std::mem::replace(&mut seen.0[class], true) {
                    continue;
                }
                let row = rows.get(way).ok_or(HeadError::NoSupport)?.clone().narrow(0, sample, 1);
                self = self.deploy(&[row], &[vec![class]], Repeated::Refused)?;
            }
            all.push(self.rows());
        }
        Ok((self, Tensor::stack(all, 0)))
    }
}

/// Logits `[N, C, h, w]` of features `[N, 256, h, w]` by classifiers `[N, C, 256]`.
pub fn classified(features: &Tensor<4>, weights: Tensor<3>) -> Tensor<4> {
    let [batch, channels, height, width] = features.dims();
    let [_, classes, _] = weights.dims();
    weights
        .matmul(features.clone().reshape([batch, channels, height * width]))
        .reshape([batch, classes, height, width])
}

/// Two channels from many: the background's row and the object's. (The published code's other rule,
/// `base=False`; [`binary_logits`](crate::amp::binary_logits) is the one that it uses.)
///
/// # Shapes
/// - logits: `[B, rows, h, w]`
/// - objects: the object's row in each sample
/// - output: `[B, 2, h, w]`
///
/// # Panics
/// If there are not as many objects as samples, or one is no row.
pub fn against_background(logits: Tensor<4>, objects: &[usize]) -> Tensor<4> {
    assert_eq!(objects.len(), logits.dims()[0], "an object for each sample");
    let pairs = objects.iter().enumerate().map(|(sample, &object)| {
        let one = logits.clone().narrow(0, sample, 1);
        Tensor::cat(vec![one.clone().narrow(1, 0, 1), one.narrow(1, object, 1)], 1)
    });
    Tensor::cat(pairs.collect(), 0)
}

/// The sum of features over the object `[n, C]`, and its area `[n, 1]`, in positions; masks are brought to the
/// features' size (nearest), where a small object can vanish.
fn masked_sum(features: &Tensor<4>, mask: &Tensor<3, Int>) -> (Tensor<2>, Tensor<2>) {
    let [batch, channels, height, width] = features.dims();
    let mask = resize_nearest(foreground(mask), [height, width]);
    let mask = mask.reshape([batch, height * width, 1]);
    let area = mask.clone().sum_dim(1).reshape([batch, 1]);
    let features = features.clone().reshape([batch, channels, height * width]);
    (features.matmul(mask).reshape([batch, channels]), area)
}

/// A 1x1 convolution of single positions: `[n, C]` to `[n, O]`.
fn pointwise(convolution: &Convolution, x: Tensor<2>, activation: Activation) -> Tensor<2> {
    let [batch, channels] = x.dims();
    let y = convolution.forward(x.reshape([batch, channels, 1, 1]), activation);
    let outputs = y.dims()[1];
    y.reshape([batch, outputs])
}
