//! A generator without history: its stream follows from a seed and an index alone.

/// SplitMix64 (Steele, Lea and Flood, 2014) started from a mixture of a seed and an index.
///
/// Streams of different indices are independent for all practical purposes, so item `i` of a
/// list can be drawn without drawing the items before it. The mapping is part of the library's
/// promise: the same seed and index give the same numbers in later versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedRandom {
    state: u64,
}

const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of SplitMix64: a bijection in which every bit depends on every other.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl KeyedRandom {
    /// The stream of item `index` under `seed`.
    pub fn new(seed: u64, index: u64) -> Self {
        // The seed is mixed first: otherwise (seed, index + 1) and (seed + 1, index) would share
        // numbers.
        let key = mix(seed.wrapping_add(INCREMENT));
        Self { state: mix(key ^ mix(index.wrapping_mul(INCREMENT).wrapping_add(1))) }
    }

    /// The next 64-bit output.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(INCREMENT);
        mix(self.state)
    }

    /// A number in [0, 1) with 53 random bits.
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / 9_007_199_254_740_992.0
    }

    /// A number below `n`, without bias.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "there is nothing to choose from");
        let n = n as u64;
        // The low half of the product tells which outputs would make some results likelier.
        let reject_below = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if product as u64 >= reject_below {
                return (product >> 64) as usize;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_fixed() {
        // Guards the promise that recorded seeds keep their meaning.
        let mut random = KeyedRandom::new(0, 0);
        assert_eq!(random.next_u64(), 2_952_671_057_175_321_964);
        assert_eq!(random.next_u64(), 8_418_120_359_087_841_644);
        assert_eq!(KeyedRandom::new(7, 1 << 40).next_u64(), 15_941_203_703_794_534_379);
    }

    #[test]
    fn seeds_and_indices_do_not_share_streams() {
        let mut seen = std::collections::HashSet::new();
        for seed in 0..50 {
            for index in 0..50 {
                assert!(seen.insert(KeyedRandom::new(seed, index).next_u64()));
            }
        }
    }

    #[test]
    fn numbers_below_n_are_even() {
        let mut counts = [0usize; 7];
        for index in 0..7000 {
            counts[KeyedRandom::new(1, index).below(7)] += 1;
        }
        // Six standard deviations of a fair die over 7000 throws.
        assert!(counts.iter().all(|&count| count.abs_diff(1000) < 176), "{counts:?}");
    }
}
