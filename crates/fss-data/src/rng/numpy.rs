//! NumPy's legacy global generator.

use serde::{Deserialize, Serialize};

use super::Mt19937;

/// The stream of `numpy.random` after `numpy.random.seed(n)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NumpyLegacy {
    core: Mt19937,
}

impl NumpyLegacy {
    /// `numpy.random.seed(seed)`.
    pub fn seed(seed: u32) -> Self {
        Self { core: Mt19937::from_word(seed) }
    }

    /// The generator underneath, for its state.
    pub fn core(&self) -> &Mt19937 {
        &self.core
    }

    /// The next 32-bit output.
    pub fn next_u32(&mut self) -> u32 {
        self.core.next_u32()
    }

    /// `random_sample()`: a number in [0, 1).
    pub fn random_sample(&mut self) -> f64 {
        self.core.next_f64()
    }

    /// The index of `choice(n, 1, replace=False)`.
    ///
    /// NumPy shuffles all of `0..n` for it and takes the first element, so one choice consumes
    /// at least `n - 1` outputs; out of one element it consumes none.
    ///
    /// # Panics
    /// If `n` is 0 or above 2^32.
    pub fn choice_one(&mut self, n: usize) -> usize {
        assert!(n > 0, "there is nothing to choose from");
        self.permutation(n)[0]
    }

    /// `permutation(n)`: the numbers `0..n` in random order.
    ///
    /// # Panics
    /// If `n` is above 2^32.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }

    /// `shuffle(items)`.
    ///
    /// # Panics
    /// If there are more than 2^32 items.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.up_to(u32::try_from(i).expect("at most 2^32 items")) as usize;
            items.swap(i, j);
        }
    }

    /// `randint(low, high)`: the upper end is excluded.
    ///
    /// # Panics
    /// If the range is empty or has more than 2^32 values.
    pub fn randint(&mut self, low: i64, high: i64) -> i64 {
        assert!(low < high, "randint needs a range that is not empty, got {low}..{high}");
        let last = u32::try_from(high.abs_diff(low) - 1).expect("at most 2^32 values");
        low + i64::from(self.up_to(last))
    }

    /// A number in `0..=last`: masked outputs until one fits; nothing is drawn for `last == 0`.
    fn up_to(&mut self, last: u32) -> u32 {
        if last == 0 {
            return 0;
        }
        let mask = u32::MAX >> last.leading_zeros();
        loop {
            let drawn = self.core.next_u32() & mask;
            if drawn <= last {
                return drawn;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_choices_after_seed_0() {
        let choices = |n: usize, count: usize| {
            let mut random = NumpyLegacy::seed(0);
            (0..count).map(|_| random.choice_one(n)).collect::<Vec<_>>()
        };
        assert_eq!(choices(10, 8), [2, 3, 2, 6, 5, 1, 3, 0]);
        assert_eq!(choices(20, 6), [18, 11, 15, 18, 7, 12]);
        assert_eq!(choices(80, 6), [50, 4, 77, 45, 70, 66]);
    }

    #[test]
    fn one_out_of_one_draws_nothing() {
        let mut random = NumpyLegacy::seed(0);
        assert_eq!(random.choice_one(1), 0);
        assert_eq!(random, NumpyLegacy::seed(0));
    }

    #[test]
    fn the_full_range_of_a_word_can_be_drawn() {
        let mut random = NumpyLegacy::seed(0);
        assert_eq!(random.randint(0, 1 << 32), 2_357_136_044);
    }
}
