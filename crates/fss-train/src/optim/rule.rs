//! The arithmetic of an update, on flat tensors.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};

/// An update rule, with its settings.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// Stochastic gradient descent: `v = momentum * v + g + weight_decay * p`, the first step
    /// setting `v` without the momentum term, then `p -= rate * v`. The rate stays outside the
    /// velocity, so a change of it acts at once. No dampening, no Nesterov momentum.
    Sgd {
        /// How much of the velocity is kept.
        momentum: f64,
        /// L2 penalty, added to the gradient.
        weight_decay: f64,
    },
    /// Bias-corrected Adam, weight decay added to the gradient.
    Adam {
        /// Decay of the first moment.
        beta1: f64,
        /// Decay of the second moment.
        beta2: f64,
        /// Added to the root of the second moment.
        epsilon: f64,
        /// L2 penalty, added to the gradient.
        weight_decay: f64,
    },
    /// Adam with decoupled weight decay: `p *= 1 - rate * weight_decay` before the step.
    AdamW {
        /// Decay of the first moment.
        beta1: f64,
        /// Decay of the second moment.
        beta2: f64,
        /// Added to the root of the second moment.
        epsilon: f64,
        /// Decoupled penalty.
        weight_decay: f64,
    },
    /// RMSprop: `s = alpha * s + (1 - alpha) * g^2`, then `p -= rate * g / (sqrt(s) + epsilon)`, weight
    /// decay added to the gradient. Not centred, no momentum.
    RmsProp {
        /// How much of the mean square is kept.
        alpha: f64,
        /// Added to the root of the mean square.
        epsilon: f64,
        /// L2 penalty, added to the gradient.
        weight_decay: f64,
    },
}

/// What a rule remembers of one parameter.
#[derive(Debug, Clone)]
pub(super) enum Slots {
    Velocity(Tensor<1>),
    Moments { first: Tensor<1>, second: Box<Tensor<1>>, steps: u32 },
    MeanSquare(Tensor<1>),
}

impl Rule {
    /// SGD as the published recipes use it.
    pub fn sgd(momentum: f64, weight_decay: f64) -> Self {
        Self::Sgd { momentum, weight_decay }
    }

    /// One update: the new parameter and the new state.
    pub(super) fn update(
        &self,
        rate: f64,
        weight_decay: Option<f64>,
        parameter: Tensor<1>,
        gradient: Tensor<1>,
        state: Option<Slots>,
    ) -> (Tensor<1>, Slots) {
        match *self {
            Self::Sgd { momentum, weight_decay: default } => {
                let gradient = decayed(gradient, &parameter, weight_decay.unwrap_or(default));
                let velocity = match state {
                    Some(Slots::Velocity(velocity)) => velocity.mul_scalar(momentum) + gradient,
                    _ => gradient,
                };
                let updated = parameter - velocity.clone().mul_scalar(rate);
                (updated, Slots::Velocity(velocity))
            }
            Self::Adam { beta1, beta2, epsilon, weight_decay: default } => {
                let gradient = decayed(gradient, &parameter, weight_decay.unwrap_or(default));
                adam([beta1, beta2, epsilon], rate, parameter, gradient, state)
            }
            Self::AdamW { beta1, beta2, epsilon, weight_decay: default } => {
                let kept = 1.0 - rate * weight_decay.unwrap_or(default);
                adam([beta1, beta2, epsilon], rate, parameter.mul_scalar(kept), gradient, state)
            }
            Self::RmsProp { alpha, epsilon, weight_decay: default } => {
                let gradient = decayed(gradient, &parameter, weight_decay.unwrap_or(default));
                let square = gradient.clone().square().mul_scalar(1.0 - alpha);
                let mean = match state {
                    Some(Slots::MeanSquare(mean)) => mean.mul_scalar(alpha) + square,
                    _ => square,
                };
                let root = mean.clone().sqrt().add_scalar(epsilon);
                (parameter - (gradient / root).mul_scalar(rate), Slots::MeanSquare(mean))
            }
        }
    }

    /// State slots from named values.
    pub(super) fn load(
        &self,
        mut slots: BTreeMap<String, Vec<f32>>,
        device: &Device,
    ) -> Result<Slots, String> {
        let mut take = |slot: &str| {
            slots.remove(slot).ok_or_else(|| format!("the tensor {slot:?} is missing"))
        };
        let loaded = match self {
            Self::Sgd { .. } => Slots::Velocity(flat(take("velocity")?, device)),
            Self::RmsProp { .. } => Slots::MeanSquare(flat(take("mean_square")?, device)),
            Self::Adam { .. } | Self::AdamW { .. } => {
                let (first, second) = (take("moment1")?, take("moment2")?);
                let steps = take("steps")?;
                if first.len() != second.len() || steps.len() != 1 {
                    return Err("its tensors differ in size".to_owned());
                }
                Slots::Moments {
                    first: flat(first, device),
                    second: Box::new(flat(second, device)),
                    steps: steps[0] as u32,
                }
            }
        };
        match slots.keys().next() {
            Some(slot) => Err(format!("the tensor {slot:?} is no part of this optimiser's state")),
            None => Ok(loaded),
        }
    }
}

impl Slots {
    /// How many values the parameter has.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Velocity(values)
            | Self::MeanSquare(values)
            | Self::Moments { first: values, .. } => values.dims()[0],
        }
    }

    pub(super) fn values(&self) -> Vec<(&'static str, Vec<f32>)> {
        let read = |tensor: &Tensor<1>| tensor.to_data().iter::<f32>().collect();
        match self {
            Self::Velocity(velocity) => vec![("velocity", read(velocity))],
            Self::MeanSquare(mean) => vec![("mean_square", read(mean))],
            Self::Moments { first, second, steps } => vec![
                ("moment1", read(first)),
                ("moment2", read(second)),
                // Exact up to 2^24 steps.
                ("steps", vec![*steps as f32]),
            ],
        }
    }
}

fn flat(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

fn decayed(gradient: Tensor<1>, parameter: &Tensor<1>, weight_decay: f64) -> Tensor<1> {
    if weight_decay == 0.0 {
        return gradient;
    }
    gradient + parameter.clone().mul_scalar(weight_decay)
}

fn adam(
    [beta1, beta2, epsilon]: [f64; 3],
    rate: f64,
    parameter: Tensor<1>,
    gradient: Tensor<1>,
    state: Option<Slots>,
) -> (Tensor<1>, Slots) {
    let first = gradient.clone().mul_scalar(1.0 - beta1);
    let second = gradient.square().mul_scalar(1.0 - beta2);
    let (first, second, steps) = match state {
        Some(Slots::Moments { first: m, second: v, steps }) => {
            (m.mul_scalar(beta1) + first, v.mul_scalar(beta2) + second, steps + 1)
        }
        _ => (first, second, 1),
    };
    let power = f64::from(steps);
    let size = rate / (1.0 - beta1.powf(power));
    let scale = (1.0 - beta2.powf(power)).sqrt();
    let root = second.clone().sqrt().div_scalar(scale).add_scalar(epsilon);
    let updated = parameter - (first.clone() / root).mul_scalar(size);
    (updated, Slots::Moments { first, second: Box::new(second), steps })
}
