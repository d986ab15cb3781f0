//! The official names of the parameters.

use std::collections::BTreeMap;

use fss_backbone::{ImagenetBackbone, OfficialKeys};

use super::Amp;

/// The classifiers of the three levels.
pub(super) const CLASSIFIERS: [&str; 3] =
    ["level1_classifier.weight", "level2_classifier.weight", "level3_classifier.weight"];

/// The reduction of the deepest level, and its name inside the level.
const REDUCE: &str = "fully_conv.0.";
const SECOND_REDUCE: &str = "level3.2.0.";

impl OfficialKeys for Amp {
    fn official_key(path: &str) -> String {
        let (part, rest) = path.split_once('.').unwrap_or((path, ""));
        match part {
            "backbone" => ImagenetBackbone::official_key(rest),
            "reduce" => format!("{REDUCE}{rest}"),
            "classifiers" => {
                let index = rest.split('.').next().and_then(|index| index.parse::<usize>().ok());
                let key = index.and_then(|index| CLASSIFIERS.get(index));
                key.map_or_else(|| path.to_owned(), |key| (*key).to_owned())
            }
            _ => path.to_owned(),
        }
    }

    fn resolve(&self, key: &str) -> Option<String> {
        match key.strip_prefix(SECOND_REDUCE) {
            Some(name) => Some(format!("{REDUCE}{name}")),
            None => self.backbone.resolve(key),
        }
    }

    fn describe(&self) -> String {
        describe(&self.config().backbone.to_string(), self.config().classes)
    }

    fn looks_like_another(&self, shapes: &BTreeMap<&str, &[usize]>) -> Option<String> {
        let rows = shapes.get(CLASSIFIERS[0]).and_then(|shape| shape.first().copied());
        let backbone = self.backbone.looks_like_another(shapes);
        match (rows, backbone) {
            (None, Some(other)) => Some(other),
            (None, None) => {
                Some("weights without AMP's classifiers (no level1_classifier.weight)".to_owned())
            }
            (Some(rows), Some(other)) => Some(describe(&other, rows)),
            (Some(rows), None) if rows != self.config().classes => {
                Some(describe(&self.config().backbone.to_string(), rows))
            }
            _ => None,
        }
    }

    fn is_folded(&self) -> bool {
        self.backbone.is_folded()
    }
}

fn describe(backbone: &str, rows: usize) -> String {
    format!("AMP with {backbone} and {rows} rows, background included")
}

/// The second name that the checkpoints have for a tensor.
pub(super) fn second_key(key: &str) -> Option<String> {
    match key.strip_prefix(REDUCE) {
        Some(name) => Some(format!("{SECOND_REDUCE}{name}")),
        None => ImagenetBackbone::second_key(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn official_keys() {
        let key = Amp::official_key;
        assert_eq!(key("reduce.bias"), "fully_conv.0.bias");
        assert_eq!(key("classifiers.1.weight"), "level2_classifier.weight");
        assert_eq!(second_key("fully_conv.0.bias").unwrap(), "level3.2.0.bias");
        assert_eq!(second_key("conv3.14.weight").unwrap(), "level1.4.14.weight");
        assert_eq!(second_key("level1_classifier.weight"), None);
    }
}
