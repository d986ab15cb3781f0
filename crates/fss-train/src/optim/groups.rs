//! Parameter groups.

/// What a group changes for its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupSettings {
    /// The learning rate is multiplied by this.
    pub rate_factor: f64,
    /// Weight decay in place of the rule's; `None` keeps the rule's.
    pub weight_decay: Option<f64>,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self { rate_factor: 1.0, weight_decay: None }
    }
}

/// Parameters that are updated with settings of their own.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    prefix: String,
    /// What differs for them.
    pub settings: GroupSettings,
}

impl Group {
    /// The parameters whose path is `prefix` or starts with `prefix.`; the empty prefix means all.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), settings: GroupSettings::default() }
    }

    /// Sets the factor of the learning rate.
    pub fn with_rate_factor(mut self, factor: f64) -> Self {
        self.settings.rate_factor = factor;
        self
    }

    /// Sets the weight decay.
    pub fn with_weight_decay(mut self, decay: f64) -> Self {
        self.settings.weight_decay = Some(decay);
        self
    }

    /// Whether the parameter with this path belongs to the group.
    pub fn contains(&self, path: &str) -> bool {
        self.prefix.is_empty()
            || path
                .strip_prefix(&self.prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::Group;

    #[test]
    fn a_prefix_ends_at_a_dot() {
        let group = Group::prefix("backbone.layer1");
        assert!(group.contains("backbone.layer1.0.weight"));
        assert!(!group.contains("backbone.layer10.weight"));
        assert!(Group::prefix("").contains("anything"));
    }
}
