//! Dropout whose draws follow from a seed alone.

use burn::tensor::Tensor;
use fss_backbone::params;

/// Drops values in a training pass; in inference, [`Dropout::off`], it leaves everything as it is.
///
/// What is dropped follows from the seed and the order of the draws alone, whatever the device and
/// whatever else draws random numbers, so that a resumed run drops what an uninterrupted one would.
/// Values that stay are divided by the share that stays, as PyTorch does.
#[derive(Debug)]
pub struct Dropout {
    seed: Option<u64>,
    rate: f64,
    draws: u64,
}

impl Dropout {
    /// Drops nothing.
    pub fn off() -> Self {
        Self { seed: None, rate: 0.0, draws: 0 }
    }

    /// Drops the share `rate` (0 to below 1) of values or channels; a new seed for each step.
    pub fn new(rate: f64, seed: u64) -> Self {
        let rate = rate.clamp(0.0, 1.0 - f64::EPSILON);
        Self { seed: (rate > 0.0).then_some(seed), rate, draws: 0 }
    }

    /// Drops whole channels of single samples (PyTorch's Dropout2d).
    ///
    /// # Shapes
    /// - x: `[B, C, h, w]`
    pub fn channels(&mut self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, ..] = x.dims();
        self.drop(x, [batch, channels, 1, 1])
    }

    /// Drops single values.
    pub fn values<const D: usize>(&mut self, x: Tensor<D>) -> Tensor<D> {
        let shape = x.dims();
        self.drop(x, shape)
    }

    /// Drops by a mask of `shape`, whose sides are those of `x` or 1.
    fn drop<const D: usize>(&mut self, x: Tensor<D>, shape: [usize; D]) -> Tensor<D> {
        let Some(seed) = self.seed else { return x };
        let device = x.device();
        let drawn = params::uniform(&format!("dropout {}", self.draws), shape, 1.0, seed, &device);
        self.draws += 1;
        // Uniform from -1 to 1: the share `rate` lies below this.
        let kept = drawn.val().detach().greater_equal_elem(2.0 * self.rate - 1.0).float();
        let kept = kept / (1.0 - self.rate);
        x * kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ones(shape: [usize; 4]) -> Tensor<4> {
        Tensor::ones(shape, &burn::tensor::Device::flex())
    }

    fn values(x: Tensor<4>) -> Vec<f32> {
        x.try_into_vec_as().expect("float values")
    }

    #[test]
    fn whole_channels_are_dropped_and_the_rest_grows() {
        let mut dropout = Dropout::new(0.5, 3);
        let found = values(dropout.channels(ones([8, 64, 2, 3])));
        let planes: Vec<&[f32]> = found.chunks(6).collect();
        assert!(planes.iter().all(|plane| plane.iter().all(|v| *v == plane[0])));
        let kept = planes.iter().filter(|plane| plane[0] == 2.0).count();
        let dropped = planes.iter().filter(|plane| plane[0] == 0.0).count();
        assert_eq!(kept + dropped, 512);
        assert!((200..=312).contains(&kept), "{kept} of 512");
    }

    #[test]
    fn equal_seeds_drop_the_same_and_draws_differ() {
        let draw = |seed, rate| {
            let mut dropout = Dropout::new(rate, seed);
            [0, 1].map(|_| values(dropout.values(ones([1, 10, 10, 10]))))
        };
        let [first, second] = draw(7, 0.25);
        assert_eq!([first.clone(), second.clone()], draw(7, 0.25));
        assert_ne!(first, second);
        assert_ne!(first, draw(8, 0.25)[0]);
        let kept = first.iter().filter(|v| **v > 0.0).count();
        assert!((700..=800).contains(&kept), "{kept} of 1000");
        assert!(first.iter().all(|v| *v == 0.0 || (*v - 4.0 / 3.0).abs() < 1e-6));
    }

    #[test]
    fn nothing_is_dropped_without_a_rate() {
        let x = ones([1, 2, 3, 4]);
        assert_eq!(values(Dropout::off().channels(x.clone())), values(x.clone()));
        assert_eq!(values(Dropout::new(0.0, 1).values(x.clone())), values(x));
    }
}
