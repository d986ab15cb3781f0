//! Scaled losses for gradients in half precision.

use serde::{Deserialize, Serialize};

/// Good steps after which the scale doubles.
const PATIENCE: u32 = 2000;

/// The factor of the loss: 65,536 at first, doubled after 2000 good steps and halved after each whose
/// gradient is not finite (PyTorch's `GradScaler`). Powers of two change no digit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LossScaler {
    scale: f64,
    good: u32,
}

impl Default for LossScaler {
    fn default() -> Self {
        Self { scale: 65_536.0, good: 0 }
    }
}

impl LossScaler {
    /// A scaler with this factor that has seen no step.
    #[cfg(test)]
    pub(crate) fn with_scale(scale: f64) -> Self {
        Self { scale, good: 0 }
    }

    /// That of a resumed run: where the loss is scaled at all, on from what was saved.
    pub(crate) fn resumed(new: Option<Self>, saved: Option<Self>) -> Option<Self> {
        new.map(|new| saved.unwrap_or(new))
    }

    /// The factor in force.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Takes note of a step's gradient norm; whether the step counts.
    pub fn update(&mut self, norm: f64) -> bool {
        if !norm.is_finite() {
            (self.scale, self.good) = (self.scale * 0.5, 0);
            return false;
        }
        self.good += 1;
        if self.good == PATIENCE {
            (self.scale, self.good) = (self.scale * 2.0, 0);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::LossScaler;

    #[test]
    fn it_doubles_after_patience_and_halves_at_once() {
        let mut scaler = LossScaler::default();
        assert!((0..1999).all(|_| scaler.update(1.0)));
        assert_eq!(scaler.scale(), 65_536.0);
        assert!(scaler.update(0.0));
        assert_eq!(scaler.scale(), 131_072.0);
        assert!(!scaler.update(f64::INFINITY));
        assert!(!scaler.update(f64::NAN));
        assert_eq!(scaler.scale(), 32_768.0);
        assert!((0..1999).all(|_| scaler.update(1.0)));
        assert_eq!(scaler.scale(), 32_768.0);
    }

    #[test]
    fn it_goes_on_from_what_was_saved_where_losses_are_scaled() {
        let mut saved = LossScaler::default();
        saved.update(f64::NAN);
        let new = Some(LossScaler::default());
        assert_eq!(LossScaler::resumed(new.clone(), Some(saved.clone())), Some(saved.clone()));
        assert_eq!(LossScaler::resumed(new.clone(), None), new);
        assert_eq!(LossScaler::resumed(None, Some(saved)), None);
    }
}
