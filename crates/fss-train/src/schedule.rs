//! Learning-rate schedules.

use serde::{Deserialize, Serialize};

/// How the learning rate follows from the iteration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// The base rate throughout.
    Constant,
    /// Divided by `divisor` after iteration floor(T k / parts) for every k in `1..parts`, T being
    /// the number of iterations. Three parts and a divisor of 10 are SSP's and MLC's schedule.
    StepDecay {
        /// Into how many equal parts training falls.
        parts: u64,
        /// What the rate is divided by after each part but the last.
        divisor: f64,
    },
    /// As `step-decay`, after the iterations named (the number of iterations done by then).
    StepDecayAt {
        /// Numbers of finished iterations.
        after: Vec<u64>,
        /// What the rate is divided by after each.
        divisor: f64,
    },
    /// `base * (1 - iteration / T) ^ power`.
    Poly {
        /// The exponent; 0.9 is usual.
        power: f64,
    },
}

impl Schedule {
    /// The published schedule of SSP and MLC: a tenth after each third.
    pub fn thirds() -> Self {
        Self::StepDecay { parts: 3, divisor: 10.0 }
    }

    /// The learning rate of the iteration before which `done` of `total` iterations were finished.
    ///
    /// Step decays divide repeatedly, as the published code does, so that the rates are equal to
    /// the last bit.
    pub fn rate(&self, base: f64, done: u64, total: u64) -> f64 {
        let decayed = |times: usize, divisor: f64| (0..times).fold(base, |rate, _| rate / divisor);
        match self {
            Self::Constant => base,
            Self::StepDecay { parts, divisor } => {
                let passed = (1..*parts)
                    .map(|k| u128::from(total) * u128::from(k) / u128::from(*parts))
                    .filter(|&after| after > 0 && u128::from(done) >= after)
                    .count();
                decayed(passed, *divisor)
            }
            Self::StepDecayAt { after, divisor } => {
                decayed(after.iter().filter(|&&after| done >= after).count(), *divisor)
            }
            Self::Poly { power } => base * (1.0 - done as f64 / total as f64).max(0.0).powf(*power),
        }
    }

    /// What is wrong with the settings, if anything: the key, and the problem.
    pub(crate) fn problem(&self) -> Option<(&'static str, String)> {
        let divisor_problem = |divisor: f64| {
            (!divisor.is_finite() || divisor <= 0.0)
                .then(|| ("divisor", format!("{divisor} is not a positive number")))
        };
        match self {
            Self::Constant => None,
            Self::StepDecay { parts: 0, .. } => Some(("parts", "0 parts make no schedule".into())),
            Self::StepDecay { divisor, .. } | Self::StepDecayAt { divisor, .. } => {
                divisor_problem(*divisor)
            }
            Self::Poly { power } => (!power.is_finite() || *power < 0.0)
                .then(|| ("power", format!("{power} is not a number of at least 0"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    #[test]
    fn published_thirds_change_after_2000_and_4000_of_6000() {
        let schedule = Schedule::thirds();
        let rate = |done| schedule.rate(1e-3, done, 6000);
        assert_eq!(rate(0), 1e-3);
        assert_eq!(rate(1999), 1e-3);
        assert_eq!(rate(2000), 1e-3 / 10.0);
        assert_eq!(rate(3999), 1e-3 / 10.0);
        assert_eq!(rate(4000), 1e-3 / 10.0 / 10.0);
        assert_eq!(rate(5999), 1e-3 / 10.0 / 10.0);
    }

    #[test]
    fn uneven_totals_are_rounded_down() {
        // floor(10 / 3) = 3, floor(20 / 3) = 6.
        let schedule = Schedule::thirds();
        let changes: Vec<u64> = (1..10)
            .filter(|&d| schedule.rate(1.0, d, 10) != schedule.rate(1.0, d - 1, 10))
            .collect();
        assert_eq!(changes, [3, 6]);
    }

    #[test]
    fn poly_ends_at_zero() {
        let schedule = Schedule::Poly { power: 0.9 };
        assert_eq!(schedule.rate(0.5, 0, 10), 0.5);
        assert_eq!(schedule.rate(0.5, 10, 10), 0.0);
    }

    #[test]
    fn senseless_settings_are_named() {
        assert!(Schedule::thirds().problem().is_none());
        let zero = Schedule::StepDecay { parts: 3, divisor: 0.0 };
        assert_eq!(zero.problem().map(|p| p.0), Some("divisor"));
        assert_eq!(Schedule::Poly { power: f64::NAN }.problem().map(|p| p.0), Some("power"));
    }
}
