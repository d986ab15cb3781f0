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
    members: Members,
    /// What differs for them.
    pub settings: GroupSettings,
}

/// Which parameters belong to a group.
#[derive(Debug, Clone, PartialEq)]
enum Members {
    Prefix(String),
    Containing(String),
}

impl Group {
    /// The parameters whose path contains `part`.
    pub fn containing(part: impl Into<String>) -> Self {
        Self { members: Members::Containing(part.into()), settings: GroupSettings::default() }
    }

    /// The parameters whose path is `prefix` or starts with `prefix.`; the empty prefix means all.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self { members: Members::Prefix(prefix.into()), settings: GroupSettings::default() }
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
        match &self.members {
            Members::Containing(part) => path.contains(part.as_str()),
            Members::Prefix(prefix) => {
                let rest = path.strip_prefix(prefix.as_str());
                prefix.is_empty()
                    || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            }
        }
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
        assert!(Group::containing("bias").contains("decoder.last.bias"));
        assert!(!Group::containing("bias").contains("decoder.last.weight"));
    }
}
