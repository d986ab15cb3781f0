//! The fill rule: weights that follow from a parameter's name and shape alone.
//!
//! Golden cases were made with the official networks under these weights, so that none need storing.

/// The value of parameter `name` of the given shape, in row-major order.
///
/// An FNV-1a hash of the name keys a SplitMix64 stream over the element index; the name's ending
/// chooses the range (norm statistics, bias, norm scale, or `±sqrt(6 / fan_in)` for a kernel).
pub fn fill(name: &str, shape: &[usize]) -> Vec<f32> {
    let count: usize = shape.iter().product();
    let key = fnv1a(name);
    let uniform = |index: usize| (mix(key, index) >> 40) as f64 / (1u64 << 24) as f64;
    let value: Box<dyn Fn(f64) -> f64> = if name.ends_with("num_batches_tracked") {
        Box::new(|_| 0.0)
    } else if name.ends_with("running_mean") || name.ends_with("bias") {
        Box::new(|u| 0.1 * (2.0 * u - 1.0))
    } else if name.ends_with("running_var") {
        Box::new(|u| 0.75 + 0.5 * u)
    } else if name.ends_with("weight") && shape.len() == 1 {
        Box::new(|u| 0.5 + 0.4 * u)
    } else if shape.len() >= 2 {
        let fan_in: usize = shape[1..].iter().product();
        let bound = (6.0 / fan_in as f64).sqrt();
        Box::new(move |u| (2.0 * u - 1.0) * bound)
    } else {
        Box::new(|u| 2.0 * u - 1.0)
    };
    (0..count).map(|index| value(uniform(index)) as f32).collect()
}

fn fnv1a(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

fn mix(key: u64, index: usize) -> u64 {
    let mut z = key.wrapping_add((index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn values_depend_on_name_and_index_only() {
        let kernel = fill("layer1.0.conv1.weight", &[2, 2, 1, 1]);
        assert_eq!(kernel.len(), 4);
        assert_eq!(kernel, fill("layer1.0.conv1.weight", &[2, 2, 1, 1]));
        assert_ne!(kernel, fill("layer1.1.conv1.weight", &[2, 2, 1, 1]));
        assert!(fill("bn1.weight", &[3]).iter().all(|v| (0.5..0.9).contains(v)));
        assert!(fill("bn1.num_batches_tracked", &[1]).iter().all(|v| *v == 0.0));
    }
}
