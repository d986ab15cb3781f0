//! Starting values that depend on a seed and on nothing else.

use burn::module::{Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};

/// Makes the starting value of every parameter from the parameter's key and the seed.
///
/// The numbers are made on the host by a counter-based generator, so they are the same on every
/// device, in every thread, and whatever else draws random numbers.
pub(crate) struct Init<'a> {
    pub seed: u64,
    pub device: &'a Device,
}

impl Init<'_> {
    /// Kaiming-normal kernel `[C_out, C_in, k, k]`: fan-out, ReLU gain, i.e. standard deviation
    /// `sqrt(2 / (C_out * k * k))`.
    pub(crate) fn kaiming_normal(&self, key: &str, shape: [usize; 4]) -> Param<Tensor<4>> {
        let [c_out, _, kh, kw] = shape;
        self.normal(key, shape, (2.0 / (c_out * kh * kw) as f64).sqrt())
    }

    /// Normal numbers of mean 0 and a given standard deviation.
    pub(crate) fn normal<const D: usize>(
        &self,
        key: &str,
        shape: [usize; D],
        std: f64,
    ) -> Param<Tensor<D>> {
        self.values(key, shape, move |stream, i| std * normal(stream, i))
    }

    /// Uniform numbers from `-bound` to `bound`.
    pub(crate) fn uniform<const D: usize>(
        &self,
        key: &str,
        shape: [usize; D],
        bound: f64,
    ) -> Param<Tensor<D>> {
        self.values(key, shape, move |stream, i| bound * (2.0 * uniform(stream, i) - 1.0))
    }

    /// The values are made when they are first looked at: a network that is filled from a file
    /// never needs them.
    fn values<const D: usize>(
        &self,
        key: &str,
        shape: [usize; D],
        value: impl Fn(u64, u64) -> f64 + Send + Sync + 'static,
    ) -> Param<Tensor<D>> {
        let stream = mix(self.seed ^ mix(hash(key)));
        let make = move |device: &Device, require_grad: bool| {
            let values: Vec<f32> = (0..shape.iter().product::<usize>() as u64)
                .map(|i| value(stream, i) as f32)
                .collect();
            let tensor = Tensor::from_data(TensorData::new(values, shape), device);
            if require_grad { tensor.require_grad() } else { tensor }
        };
        Param::uninitialized(ParamId::new(), make, self.device.clone(), true, shape.into())
    }
}

/// FNV-1a, 64 bits.
fn hash(key: &str) -> u64 {
    key.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The finaliser of SplitMix64: a bijection whose outputs look random for consecutive inputs.
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Number `i` of a stream of numbers that are uniform in `0..1`.
fn uniform(stream: u64, i: u64) -> f64 {
    const STEP: f64 = 1.0 / (1u64 << 53) as f64;
    (mix(stream.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15))) >> 11) as f64 * STEP
}

/// Number `i` of a stream of standard normal numbers (Box-Muller, the cosine half).
fn normal(stream: u64, i: u64) -> f64 {
    let radius = (-2.0 * (1.0 - uniform(stream, 2 * i)).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(stream, 2 * i + 1)).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_mean_zero_and_variance_one() {
        let n = 100_000;
        let values: Vec<f64> = (0..n).map(|i| normal(mix(7), i)).collect();
        let mean = values.iter().sum::<f64>() / n as f64;
        let var = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.02, "mean {mean}");
        assert!((var - 1.0).abs() < 0.02, "variance {var}");
    }

    #[test]
    fn streams_of_different_keys_differ() {
        assert_ne!(normal(mix(hash("a")), 0), normal(mix(hash("b")), 0));
    }
}
