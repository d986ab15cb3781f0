//! From a class activation map to the coarse map that is kept.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::CAM_GRID;
use crate::DataError;
use crate::resize::resize_linear;

/// What keeps the normalisation from dividing by zero.
const EPSILON: f32 = 1e-7;

/// The sizes that a class activation map goes through. Everything is in float32 and in the order of
/// the published code, two normalisations and two resizes without antialiasing included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CamSizes {
    /// Side of the image that the network saw, in pixels.
    pub network: usize,
    /// Side of the coarse map, in cells.
    pub grid: usize,
}

impl Default for CamSizes {
    fn default() -> Self {
        Self { network: 224, grid: CAM_GRID }
    }
}

/// A map on its way to the coarse map.
#[derive(Debug, Clone, PartialEq)]
pub struct CamStages {
    /// Without negative values, normalised once and enlarged: `[network, network]`.
    pub first_scaled: Array2<f32>,
    /// Normalised again, `[network, network]`: the map to show over the image.
    pub full: Array2<f32>,
    /// The coarse map `[grid, grid]`, values in [0, 1).
    pub coarse: Array2<f32>,
}

impl CamSizes {
    /// The coarse map `[grid, grid]` of an activation map `[h, w]`, the sum over the channels of
    /// activation times weight, negative values included.
    ///
    /// Nothing positive gives zeros. A faint map is stretched to the whole range, down to a maximum
    /// of about 1e-13, below which it fades.
    ///
    /// # Errors
    /// [`DataError::Setting`] if the map or a size is empty, or a value is not finite.
    pub fn coarse(&self, raw: &Array2<f32>) -> Result<Array2<f32>, DataError> {
        self.stages(raw).map(|stages| stages.coarse)
    }

    /// The map on the scale of the image that the network saw, `[network, network]`.
    ///
    /// # Errors
    /// As [`coarse`](Self::coarse).
    pub fn full(&self, raw: &Array2<f32>) -> Result<Array2<f32>, DataError> {
        Ok(normalise(self.first_scaled(raw)?))
    }

    /// All of it.
    ///
    /// # Errors
    /// As [`coarse`](Self::coarse).
    pub fn stages(&self, raw: &Array2<f32>) -> Result<CamStages, DataError> {
        let first_scaled = self.first_scaled(raw)?;
        let full = normalise(first_scaled.clone());
        let coarse = resize_linear(&full, [self.grid; 2])?;
        Ok(CamStages { first_scaled, full, coarse })
    }

    fn first_scaled(&self, raw: &Array2<f32>) -> Result<Array2<f32>, DataError> {
        if let Some(value) = raw.iter().find(|value| !value.is_finite()) {
            return Err(DataError::Setting {
                what: format!("an activation map holds {value}"),
                remedy: "check the weights and the image; compute in float32".into(),
            });
        }
        resize_linear(&normalise(raw.clone()), [self.network; 2])
    }
}

/// Sets negative values to 0 and stretches the rest from 0 to just below 1. The largest value is
/// that after the smallest was subtracted.
fn normalise(map: Array2<f32>) -> Array2<f32> {
    let map = map.mapv_into(|value| value.max(0.0));
    let least = map.iter().copied().fold(f32::INFINITY, f32::min);
    let most = map.iter().map(|&value| value - least).fold(0.0, f32::max);
    map.mapv_into(|value| (value - least) / (EPSILON + most))
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use proptest::prelude::*;

    use super::*;

    const SMALL: CamSizes = CamSizes { network: 16, grid: 10 };

    #[test]
    fn nothing_positive_gives_zeros() {
        for raw in [Array2::zeros((7, 7)), Array2::from_elem((7, 7), -3.0), array![[0.0]]] {
            let stages = SMALL.stages(&raw).unwrap();
            assert_eq!(stages.full, Array2::<f32>::zeros((16, 16)));
            assert_eq!(stages.coarse, Array2::<f32>::zeros((10, 10)));
        }
    }

    #[test]
    fn a_constant_map_gives_zeros_too() {
        // The smallest value is subtracted first.
        let coarse = SMALL.coarse(&Array2::from_elem((3, 3), 5.0)).unwrap();
        assert_eq!(coarse, Array2::<f32>::zeros((10, 10)));
    }

    #[test]
    fn negative_values_count_as_nothing() {
        let with = SMALL.coarse(&array![[-9.0, 1.0], [0.0, 2.0]]).unwrap();
        let without = SMALL.coarse(&array![[0.0, 1.0], [-1.0, 2.0]]).unwrap();
        assert_eq!(with, without);
        assert!(with.iter().all(|v| (0.0..1.0).contains(v)));
        assert!(with[[9, 9]] > 0.999 && with[[0, 0]] == 0.0);
    }

    #[test]
    fn faint_maps_are_stretched_until_they_fade() {
        let most = |peak: f32| {
            let raw = array![[0.0, 0.0], [0.0, peak]];
            SMALL.full(&raw).unwrap().iter().copied().fold(0.0, f32::max)
        };
        assert!((most(1e-12) - 0.99).abs() < 0.001);
        assert!((most(1e-14) - 0.5).abs() < 0.001);
        assert!((most(1e-15) - 0.09).abs() < 0.002);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = SMALL.coarse(&array![[0.0, value]]).unwrap_err().to_string();
            assert!(error.contains("float32"), "{error}");
        }
        assert!(SMALL.coarse(&Array2::zeros((0, 3))).is_err());
        assert!(CamSizes { grid: 0, ..SMALL }.coarse(&array![[1.0]]).is_err());
        assert!(CamSizes { network: 0, ..SMALL }.full(&array![[1.0]]).is_err());
    }

    proptest! {
        #[test]
        fn the_scale_of_the_map_does_not_matter(
            values in proptest::collection::vec(-1f32..1.0, 49), factor in 1f32..1000.0,
        ) {
            let raw = Array2::from_shape_vec((7, 7), values).unwrap();
            prop_assume!(raw.iter().copied().fold(0.0, f32::max) > 0.1);
            let coarse = SMALL.coarse(&raw).unwrap();
            prop_assert!(coarse.iter().all(|v| (0.0..1.0).contains(v)));
            let scaled = SMALL.coarse(&(raw * factor)).unwrap();
            let worst = (&coarse - &scaled).iter().fold(0f32, |m, d| m.max(d.abs()));
            prop_assert!(worst < 1e-4, "{}", worst);
        }
    }
}
