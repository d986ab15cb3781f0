//! PyTorch's default CPU generator.

use serde::{Deserialize, Serialize};

use super::Mt19937;

/// The stream of PyTorch's CPU generator after `manual_seed(n)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TorchGenerator {
    core: Mt19937,
}

impl TorchGenerator {
    /// `manual_seed(seed)`: only the low 32 bits matter.
    pub fn seed(seed: u64) -> Self {
        Self { core: Mt19937::from_word(seed as u32) }
    }

    /// The next 32-bit output.
    pub fn next_u32(&mut self) -> u32 {
        self.core.next_u32()
    }

    /// A random 64-bit integer as PyTorch draws it: not negative, 63 random bits.
    ///
    /// A data loader takes one as the base seed of its workers each time it is iterated.
    pub fn next_int64(&mut self) -> u64 {
        let high = u64::from(self.core.next_u32());
        let low = u64::from(self.core.next_u32());
        (high << 32 | low) & (u64::MAX >> 1)
    }

    /// A number in [0, 1) with 24 random bits, as `rand` draws float32.
    pub fn next_f32(&mut self) -> f32 {
        (self.core.next_u32() & 0x00ff_ffff) as f32 / 16_777_216.0
    }

    /// `randperm(n)`: the numbers `0..n` in random order (for less than 2^32 of them).
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in 0..n.saturating_sub(1) {
            let offset = self.core.next_u32() as usize % (n - i);
            order.swap(i, i + offset);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_low_32_bits_of_the_seed_matter() {
        assert_eq!(TorchGenerator::seed(7), TorchGenerator::seed(7 | 1 << 32));
    }

    #[test]
    fn base_seeds_of_the_five_published_runs() {
        let bases: Vec<u64> = (0..5).map(|seed| TorchGenerator::seed(seed).next_int64()).collect();
        let published = [
            900_450_186_894_289_455,
            7_692_698_082_559_361_259,
            8_042_686_386_972_756_495,
            937_055_941_807_507_096,
            8_615_179_906_827_886_766,
        ];
        assert_eq!(bases, published);
    }
}
