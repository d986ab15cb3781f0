//! The official names of the parameters.

use std::collections::BTreeMap;

use fss_backbone::{ImagenetBackbone, OfficialKeys};

use super::{GraphAttention, Pgnet};
use crate::reg_aspp::RegAspp;
use crate::siblings::{backbone_looks, residual_key};

impl OfficialKeys for Pgnet {
    fn official_key(path: &str) -> String {
        let (part, rest) = path.split_once('.').unwrap_or((path, ""));
        match part {
            "backbone" => format!("backbone.{}", ImagenetBackbone::official_key(rest)),
            "embedding" => format!("embedding.0.{rest}"),
            "values" => format!("g.0.{rest}"),
            "units" => unit_key(rest).unwrap_or_else(|| path.to_owned()),
            "residuals" => residual_key(rest).unwrap_or_else(|| path.to_owned()),
            "aspp" => format!("aspp.{}", RegAspp::official_key(rest)),
            _ => path.to_owned(),
        }
    }

    fn describe(&self) -> String {
        format!("PGNet with {}", self.config().backbone)
    }

    fn looks_like_another(&self, shapes: &BTreeMap<&str, &[usize]>) -> Option<String> {
        if !shapes.contains_key("gau_1.phi.weight") {
            return Some("weights without PGNet's attention (no gau_1.phi.weight)".to_owned());
        }
        backbone_looks(&self.backbone, shapes).map(|other| format!("PGNet with {other}"))
    }

    fn is_folded(&self) -> bool {
        self.backbone.is_folded()
    }
}

/// The official name of `units.<i>.<rest>`.
fn unit_key(rest: &str) -> Option<String> {
    let (index, inner) = rest.split_once('.')?;
    let index: usize = index.parse().ok()?;
    Some(format!("gau_{}.{}", index + 1, GraphAttention::official_key(inner)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn official_keys() {
        let key = Pgnet::official_key;
        assert_eq!(key("values.bias"), "g.0.bias");
        assert_eq!(key("units.3.joined.weight"), "gau_4.Phi.0.weight");
        assert_eq!(key("units.0.theta.bias"), "gau_1.theta.bias");
        assert_eq!(key("residuals.2.first.weight"), "residual3.0.weight");
    }
}
