//! Python's `random` module.

use serde::{Deserialize, Serialize};

use super::Mt19937;

/// The stream of Python's `random` after `random.seed(n)`, the same in Python 3.7 to 3.13.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PythonRandom {
    core: Mt19937,
}

impl PythonRandom {
    /// `random.seed(seed)`: all bits of the integer count.
    ///
    /// Loader workers are seeded with a 63-bit base plus their number, which may need 64 bits;
    /// hence an integer wider than that.
    pub fn seed(seed: u128) -> Self {
        let words: Vec<u32> = (0..4).map(|i| (seed >> (32 * i)) as u32).collect();
        Self::seed_words(&words)
    }

    /// Seeds with an integer of any size, given as 32-bit words, least significant first.
    ///
    /// Zero words at the end do not count, as in the integer they stand for.
    pub fn seed_words(words: &[u32]) -> Self {
        let used = words.iter().rposition(|&word| word != 0).map_or(1, |last| last + 1);
        Self { core: Mt19937::from_words(&words[..used.min(words.len())]) }
    }

    /// The generator underneath, for its state.
    pub fn core(&self) -> &Mt19937 {
        &self.core
    }

    /// `getrandbits(bits)`; no bits give 0 and draw nothing.
    ///
    /// # Panics
    /// For more than 128 bits.
    pub fn getrandbits(&mut self, bits: u32) -> u128 {
        assert!(bits <= 128, "getrandbits draws at most 128 bits here, {bits} were asked for");
        let mut value = 0;
        let mut drawn = 0;
        while drawn < bits {
            let wanted = (bits - drawn).min(32);
            value |= u128::from(self.core.next_u32() >> (32 - wanted)) << drawn;
            drawn += wanted;
        }
        value
    }

    /// The index that `choice` picks in a sequence of `n` elements.
    ///
    /// As many bits as `n` itself has are drawn until they are below `n`, so that even the
    /// choice of one out of one consumes numbers.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn choice_index(&mut self, n: usize) -> usize {
        assert!(n > 0, "there is nothing to choose from");
        self.below(n as u64) as usize
    }

    /// `randint(low, high)`, both ends included.
    ///
    /// # Panics
    /// If `low` is above `high`, or if the range has 2^64 values.
    pub fn randint(&mut self, low: i64, high: i64) -> i64 {
        assert!(low <= high, "randint needs a range that is not empty, got {low}..={high}");
        let span = high.abs_diff(low).checked_add(1).expect("randint draws below 2^64 values");
        low.wrapping_add(self.below(span) as i64)
    }

    /// `random()`: a number in [0, 1).
    pub fn random(&mut self) -> f64 {
        self.core.next_f64()
    }

    /// `shuffle(items)`.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.choice_index(i + 1);
            items.swap(i, j);
        }
    }

    /// The indices that `sample` picks, without repetition, in a sequence of `n` elements.
    ///
    /// # Panics
    /// If `count` is above `n`.
    pub fn sample_indices(&mut self, n: usize, count: usize) -> Vec<usize> {
        assert!(count <= n, "cannot sample {count} of {n} without repetition");
        // Python chooses the cheaper of two methods, and they draw differently.
        if n <= pool_limit(count) {
            let mut pool: Vec<usize> = (0..n).collect();
            return (0..count)
                .map(|taken| {
                    let j = self.choice_index(n - taken);
                    let picked = pool[j];
                    pool[j] = pool[n - taken - 1];
                    picked
                })
                .collect();
        }
        let mut seen = std::collections::HashSet::with_capacity(count);
        (0..count)
            .map(|_| {
                loop {
                    let j = self.choice_index(n);
                    if seen.insert(j) {
                        return j;
                    }
                }
            })
            .collect()
    }

    fn below(&mut self, n: u64) -> u64 {
        let bits = u64::BITS - n.leading_zeros();
        loop {
            let drawn = self.getrandbits(bits) as u64;
            if drawn < n {
                return drawn;
            }
        }
    }
}

/// Up to this length `sample` copies the sequence; above it, it remembers what it has picked.
fn pool_limit(count: usize) -> usize {
    if count <= 5 {
        return 21;
    }
    let mut power = 1usize;
    while power < 3 * count {
        power *= 4;
    }
    21 + power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_the_seed_counts() {
        let first = |seed: u128| PythonRandom::seed(seed).getrandbits(32);
        let base = 900_450_186_894_289_455u128;
        let workers: Vec<u128> = (0..4).map(|w| first(base + w)).collect();
        assert_eq!(workers, [915_486_900, 3_321_668_219, 4_114_524_599, 2_563_754_387]);
        assert_ne!(first(1), first(1 | 1 << 100));
    }

    #[test]
    fn words_and_integers_agree() {
        let mut a = PythonRandom::seed(1 << 40);
        let mut b = PythonRandom::seed_words(&[0, 256, 0, 0, 0]);
        assert_eq!(a.getrandbits(128), b.getrandbits(128));
        assert_eq!(PythonRandom::seed(0), PythonRandom::seed_words(&[]));
    }

    #[test]
    fn one_out_of_one_draws() {
        let mut random = PythonRandom::seed(0);
        assert_eq!(random.choice_index(1), 0);
        assert_ne!(random, PythonRandom::seed(0));
    }

    #[test]
    fn ranges_reach_both_ends_and_may_be_negative() {
        let mut random = PythonRandom::seed(9);
        let drawn: Vec<i64> = (0..100).map(|_| random.randint(-1, 1)).collect();
        assert!((-1..=1).all(|value| drawn.contains(&value)));
        assert!(drawn.iter().all(|value| (-1..=1).contains(value)));
    }

    #[test]
    fn samples_do_not_repeat_by_either_method() {
        for (n, count) in [(30, 5), (1000, 5), (30, 30), (1000, 100)] {
            let mut picked = PythonRandom::seed(4).sample_indices(n, count);
            picked.sort_unstable();
            picked.dedup();
            assert_eq!(picked.len(), count);
            assert!(picked.iter().all(|&i| i < n));
        }
    }
}
