//! The official names of the parameters.

use std::collections::BTreeMap;

use fss_backbone::{DilatedResNet, OfficialKeys};

use super::{Pop, PopHead};
use crate::generalized::{ClassCount, GeneralizedModel};
use crate::psp::{PspModule, field_names};

impl OfficialKeys for Pop {
    fn official_key(path: &str) -> String {
        match path.split_once('.') {
            Some(("backbone", rest)) => format!("backbone.{}", DilatedResNet::official_key(rest)),
            Some(("decoder", rest)) => format!("decoder.{}", PspModule::official_key(rest)),
            Some(("head", rest)) => PopHead::official_key(rest),
            _ => path.to_owned(),
        }
    }

    fn describe(&self) -> String {
        describe(self.classes(), &self.network.to_string())
    }

    fn looks_like_another(&self, shapes: &BTreeMap<&str, &[usize]>) -> Option<String> {
        let rows = |key: &str| shapes.get(key).and_then(|shape| shape.first().copied());
        let Some(base) = rows("base_emb") else {
            let backbone_alone = shapes.contains_key("layer1.0.conv1.weight");
            return Some(match (backbone_alone, shapes.contains_key("aux_classifier.0.weight")) {
                (true, _) => "weights of a backbone alone (no base_emb)".to_owned(),
                (_, true) => "PSPNet, the baseline (no base_emb)".to_owned(),
                _ => "a network without POP's prototypes (no base_emb)".to_owned(),
            });
        };
        let found = ClassCount { base, novel: rows("novel_emb").unwrap_or(0) };
        let inner = shapes
            .iter()
            .filter_map(|(key, shape)| Some((key.strip_prefix("backbone.")?, *shape)))
            .collect();
        let network = self.backbone.looks_like_another(&inner);
        match network {
            Some(network) => Some(describe(found, &network)),
            None if found != self.classes() => Some(describe(found, &self.network.to_string())),
            None => None,
        }
    }

    fn is_folded(&self) -> bool {
        self.backbone.is_folded()
    }
}

impl OfficialKeys for PopHead {
    fn official_key(path: &str) -> String {
        let key = match field_names(path)[..] {
            ["novel", "emb"] => Some("novel_emb".to_owned()),
            ["classifier", layer] => layer_key("classifier", layer),
            ["novel", "classifier", layer] => layer_key("classifier_n", layer),
            _ => None,
        };
        key.unwrap_or_else(|| path.to_owned())
    }

    fn describe(&self) -> String {
        format!("a POP head of {}", self.classes())
    }
}

fn describe(classes: ClassCount, network: &str) -> String {
    let stage = if classes.novel == 0 { "stage 1" } else { "stage 2" };
    format!("POP of {stage} ({classes}) with {network}")
}

fn layer_key(place: &str, layer: &str) -> Option<String> {
    let number = match layer {
        "first" => 0,
        "second" => 2,
        "last" => 4,
        _ => return None,
    };
    Some(format!("{place}.{number}.weight"))
}
