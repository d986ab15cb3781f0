//! The official names of the parameters.

use std::collections::BTreeMap;

use fss_backbone::{ImagenetBackbone, OfficialKeys};

use super::Denet;
use crate::psp::field_names;
use crate::reg_aspp::RegAspp;
use crate::siblings::backbone_looks;

impl OfficialKeys for Denet {
    fn official_key(path: &str) -> String {
        let (part, rest) = path.split_once('.').unwrap_or((path, ""));
        match (part, &field_names(rest)[..]) {
            ("backbone", _) => format!("backbone.{}", ImagenetBackbone::official_key(rest)),
            ("embedding", _) => format!("embedding.0.{rest}"),
            ("head", ["last", "conv", "weight"]) => "deeplab_head.conv1.weight".to_owned(),
            ("head", ["last", "norm", name]) => format!("deeplab_head.bn.{name}"),
            ("head", ["aspp", ..]) => {
                let inner = rest.split_once('.').map_or("", |(_, inner)| inner);
                format!("deeplab_head.aspp.{}", RegAspp::official_key(inner))
            }
            ("estimator", ["gate", index, name]) => match *index {
                "0" => format!("estimator.gam.gate.0.{name}"),
                _ => format!("estimator.gam.gate.2.{name}"),
            },
            ("estimator", ["linear", name]) => format!("estimator.map.linear.{name}"),
            _ => path.to_owned(),
        }
    }

    fn describe(&self) -> String {
        describe(&self.config().backbone.to_string(), self.config().classes)
    }

    fn looks_like_another(&self, shapes: &BTreeMap<&str, &[usize]>) -> Option<String> {
        let Some(rows) = shapes.get("estimator.weight").and_then(|shape| shape.first()) else {
            return Some("weights without DENet's estimator (no estimator.weight)".to_owned());
        };
        let config = self.config();
        match backbone_looks(&self.backbone, shapes) {
            Some(other) => Some(describe(&other, *rows)),
            None if *rows != config.classes => Some(describe(&config.backbone.to_string(), *rows)),
            None => None,
        }
    }

    fn is_folded(&self) -> bool {
        self.backbone.is_folded()
    }
}

fn describe(backbone: &str, rows: usize) -> String {
    format!("DENet with {backbone} and {rows} rows, background included")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn official_keys() {
        let key = Denet::official_key;
        assert_eq!(key("embedding.bias"), "embedding.0.bias");
        assert_eq!(key("head.aspp.dilated.0.weight"), "deeplab_head.aspp.convs.1.0.weight");
        assert_eq!(key("estimator.gate.1.bias"), "estimator.gam.gate.2.bias");
        assert_eq!(key("estimator.linear.weight"), "estimator.map.linear.weight");
        assert_eq!(key("estimator.weight"), "estimator.weight");
    }
}
