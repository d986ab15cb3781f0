//! Surface patterns.

use super::class::Texture;
use super::math::{cell_hash, fract, length, sin_turns, value_noise};

/// How much of the second colour shows at a point, in `[0, 1]`.
///
/// `at` is the position on the object relative to its centre, `shifted` the same moved by the
/// object's random phase; both in periods of the pattern.
pub(super) fn second_colour(texture: Texture, at: [f64; 2], shifted: [f64; 2], seed: u64) -> f64 {
    let [u, v] = shifted;
    let second = match texture {
        Texture::Stripes => fract(u) < 0.5,
        Texture::Checks => ((1.6 * u).floor() + (1.6 * v).floor()).rem_euclid(2.0) < 0.5,
        Texture::Dots => {
            let row = v.floor();
            let centred = [fract(u + 0.5 * row) - 0.5, fract(v) - 0.5];
            length(centred) < 0.33
        }
        Texture::Waves => fract(u + 0.33 * sin_turns(0.42 * v)) < 0.5,
        Texture::Rings => fract(length(at)) < 0.5,
        Texture::Blotches => {
            let coarse = value_noise(seed, [1.5 * u, 1.5 * v]);
            let fine = value_noise(seed ^ 1, [3.1 * u, 3.1 * v]);
            0.75 * coarse + 0.25 * fine > 0.5
        }
        Texture::Bricks => {
            let row = (1.5 * v).floor();
            fract(1.5 * v) < 0.26 || fract(0.75 * u + 0.5 * row) < 0.14
        }
        Texture::Zigzag => fract(u + (2.0 * fract(0.7 * v) - 1.0).abs()) < 0.5,
        Texture::Net => {
            let line = |x: f64| fract(x) < 0.24;
            line(0.9 * u) || line(0.9 * v)
        }
        Texture::Mosaic => {
            let cell = [2.0 * u, 2.0 * v].map(|x| x.floor() as i64);
            return cell_hash(seed, cell);
        }
    };
    f64::from(u8::from(second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_shows_both_colours() {
        for texture in [
            Texture::Stripes,
            Texture::Checks,
            Texture::Dots,
            Texture::Waves,
            Texture::Rings,
            Texture::Blotches,
            Texture::Bricks,
            Texture::Zigzag,
            Texture::Net,
            Texture::Mosaic,
        ] {
            let mut sum = 0.0;
            for i in 0..10_000 {
                let at = [f64::from(i % 100) / 16.0 - 3.1, f64::from(i / 100) / 16.0 - 3.1];
                let value = second_colour(texture, at, [at[0] + 0.3, at[1] + 0.7], 5);
                assert!((0.0..=1.0).contains(&value));
                sum += value;
            }
            assert!((2500.0..=7500.0).contains(&sum), "{texture:?}: {sum}");
        }
    }
}
