//! The official names of the parameters.

use std::collections::BTreeMap;

use fss_backbone::{ImagenetBackbone, OfficialKeys};

use super::Canet;
use crate::reg_aspp::RegAspp;
use crate::siblings::{backbone_looks, residual_key};

impl OfficialKeys for Canet {
    fn official_key(path: &str) -> String {
        let (part, rest) = path.split_once('.').unwrap_or((path, ""));
        match part {
            "backbone" => format!("backbone.{}", ImagenetBackbone::official_key(rest)),
            "embedding" => format!("embedding.0.{rest}"),
            "fuse" => format!("fuse.0.{rest}"),
            "history" => match rest.split_once('.') {
                Some(("0", rest)) => format!("fuse_history.0.{rest}"),
                Some((_, rest)) => format!("fuse_history.2.{rest}"),
                None => path.to_owned(),
            },
            "residuals" => residual_key(rest).unwrap_or_else(|| path.to_owned()),
            "aspp" => format!("aspp.{}", RegAspp::official_key(rest)),
            _ => path.to_owned(),
        }
    }

    fn describe(&self) -> String {
        format!("CANet with {}", self.config().backbone)
    }

    fn looks_like_another(&self, shapes: &BTreeMap<&str, &[usize]>) -> Option<String> {
        if !shapes.contains_key("fuse_history.0.weight") {
            return Some(
                "weights without CANet's comparison (no fuse_history.0.weight)".to_owned(),
            );
        }
        backbone_looks(&self.backbone, shapes).map(|other| format!("CANet with {other}"))
    }

    fn is_folded(&self) -> bool {
        self.backbone.is_folded()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn official_keys() {
        let key = Canet::official_key;
        assert_eq!(key("embedding.weight"), "embedding.0.weight");
        assert_eq!(key("history.1.bias"), "fuse_history.2.bias");
        assert_eq!(key("residuals.1.second.weight"), "residual2.2.weight");
        assert_eq!(key("aspp.mean.bias"), "aspp.convs.4.1.bias");
        assert_eq!(key("classifier.bias"), "classifier.bias");
    }
}
