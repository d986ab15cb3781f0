//! Arithmetic that gives the same bits on every platform.
//!
//! Only operations that IEEE 754 defines exactly are used (no `sin` or `powf` of the system's
//! library), so a seed gives the same pictures everywhere.

use crate::rng::KeyedRandom;

/// Sine of an angle in turns, to about 1e-9.
pub(super) fn sin_turns(turns: f64) -> f64 {
    // To [-1/2, 1/2), then by symmetry to [-1/4, 1/4].
    let mut t = turns - (turns + 0.5).floor();
    if t > 0.25 {
        t = 0.5 - t;
    } else if t < -0.25 {
        t = -0.5 - t;
    }
    let x = t * std::f64::consts::TAU;
    let y = x * x;
    const TERMS: [f64; 6] =
        [-1.0 / 39_916_800.0, 1.0 / 362_880.0, -1.0 / 5040.0, 1.0 / 120.0, -1.0 / 6.0, 1.0];
    x * TERMS.iter().fold(0.0, |sum, term| sum * y + term)
}

/// Cosine of an angle in turns.
pub(super) fn cos_turns(turns: f64) -> f64 {
    sin_turns(turns + 0.25)
}

/// The unit vector at an angle in turns.
pub(super) fn direction(turns: f64) -> [f64; 2] {
    [cos_turns(turns), sin_turns(turns)]
}

/// Length of a vector.
pub(super) fn length(v: [f64; 2]) -> f64 {
    (v[0] * v[0] + v[1] * v[1]).sqrt()
}

/// The part after the point, in `[0, 1)`, also of negative numbers.
pub(super) fn fract(x: f64) -> f64 {
    x - x.floor()
}

/// `a` at 0, `b` at 1.
pub(super) fn mix(a: f64, b: f64, t: f64) -> f64 {
    a + (b - a) * t
}

/// A number in `[0, 1)` for a cell of the plane.
pub(super) fn cell_hash(seed: u64, cell: [i64; 2]) -> f64 {
    let key = (cell[0] as u64).wrapping_mul(0x1_0000_0001).wrapping_add((cell[1] as u64) << 20);
    KeyedRandom::new(seed, key).next_f64()
}

/// Smooth noise in `[0, 1]` with one random value a unit cell.
pub(super) fn value_noise(seed: u64, at: [f64; 2]) -> f64 {
    smooth(at, |cell| cell_hash(seed, cell))
}

/// Goes smoothly between the values at the corners of the unit cell.
fn smooth(at: [f64; 2], corner: impl Fn([i64; 2]) -> f64) -> f64 {
    let [x, y] = at.map(|x| x.floor() as i64);
    let ease = |x: f64| x * x * (3.0 - 2.0 * x);
    let [tx, ty] = at.map(|x| ease(fract(x)));
    let upper = mix(corner([x, y]), corner([x + 1, y]), tx);
    let lower = mix(corner([x, y + 1]), corner([x + 1, y + 1]), tx);
    mix(upper, lower, ty)
}

/// [`value_noise`] over a picture, its random values computed once.
pub(super) struct NoiseField {
    cell: f64,
    columns: usize,
    values: Vec<f64>,
}

impl NoiseField {
    /// Noise with cells of `cell` pixels over a picture of `size` pixels.
    pub(super) fn new(seed: u64, size: [u32; 2], cell: f64) -> Self {
        let [columns, rows] = size.map(|n| (f64::from(n) / cell) as usize + 2);
        let values = (0..columns * rows)
            .map(|i| cell_hash(seed, [(i % columns) as i64, (i / columns) as i64]))
            .collect();
        Self { cell, columns, values }
    }

    /// The noise in `[0, 1]` at a position within the picture.
    pub(super) fn at(&self, at: [f64; 2]) -> f64 {
        smooth(at.map(|x| x / self.cell), |[x, y]| {
            self.values[y as usize * self.columns + x as usize]
        })
    }
}

/// Random numbers for one purpose.
pub(super) struct Draw(KeyedRandom);

impl Draw {
    pub(super) fn new(seed: u64, index: u64) -> Self {
        Self(KeyedRandom::new(seed, index))
    }

    /// A number in `[low, high)`.
    pub(super) fn range(&mut self, low: f64, high: f64) -> f64 {
        mix(low, high, self.0.next_f64())
    }

    /// A whole number in `low..=high`.
    pub(super) fn whole(&mut self, low: u32, high: u32) -> u32 {
        low + self.0.below((high - low) as usize + 1) as u32
    }

    /// True in `percent` of a hundred cases.
    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.whole(1, 100) <= percent
    }

    /// One of the given values.
    pub(super) fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.0.below(values.len())]
    }

    /// Puts the values in random order.
    pub(super) fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            values.swap(last, self.0.below(last + 1));
        }
    }

    /// A seed for something that draws on its own.
    pub(super) fn seed(&mut self) -> u64 {
        self.0.next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sine_and_cosine_are_right() {
        for step in -4000..4000 {
            let turns = f64::from(step) / 777.0;
            let angle = turns * std::f64::consts::TAU;
            assert!((sin_turns(turns) - angle.sin()).abs() < 1e-7, "{turns}");
            assert!((cos_turns(turns) - angle.cos()).abs() < 1e-7, "{turns}");
        }
    }

    #[test]
    fn noise_is_continuous_and_bounded() {
        for step in -200..200 {
            let x = f64::from(step) * 0.37;
            let (a, b) = (value_noise(7, [x, -x]), value_noise(7, [x + 1e-6, -x]));
            assert!((0.0..=1.0).contains(&a) && (a - b).abs() < 1e-4, "{x}: {a} {b}");
        }
        // Just left and right of a cell's edge.
        assert!((value_noise(3, [5.0 - 1e-9, 0.5]) - value_noise(3, [5.0, 0.5])).abs() < 1e-6);
    }

    #[test]
    fn a_noise_field_is_the_noise_of_its_seed() {
        let field = NoiseField::new(9, [31, 17], 4.3);
        for (x, y) in [(0.0, 0.0), (30.9, 16.9), (12.5, 8.5), (4.3, 4.3)] {
            assert_eq!(field.at([x, y]), value_noise(9, [x / 4.3, y / 4.3]));
        }
    }

    #[test]
    fn draws_stay_in_their_ranges() {
        let mut draw = Draw::new(1, 2);
        for _ in 0..500 {
            assert!((2.0..3.0).contains(&draw.range(2.0, 3.0)));
            assert!((4..=6).contains(&draw.whole(4, 6)));
            assert!([1, 5].contains(&draw.one_of(&[1, 5])));
            assert!(draw.chance(100) && !draw.chance(0));
        }
    }
}
