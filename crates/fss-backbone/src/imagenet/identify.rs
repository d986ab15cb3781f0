//! Which network and method a file holds, told from keys and shapes.

use std::collections::BTreeMap;

use super::config::{ImagenetConfig, ImagenetNetwork};
use super::densenet::LAYERS;
use super::official::{amp_key, vgg_file};
use crate::error::BackboneError;
use crate::taps::{TapBackboneConfig, TapNetwork, describe_other_taps, vgg_kernels};
use crate::weights::ModuleFile;
use crate::weights::identify::Shapes;

/// Where DENet, CANet and PGNet keep their backbone. AMP's lies at the root.
const BACKBONE: &str = "backbone.";

/// The tensor that tells a method, its name, and how it is written.
const METHODS: [(&str, &str, &str); 4] = [
    ("estimator.weight", "denet", "DENet"),
    ("fuse_history.0.weight", "canet", "CANet (DENet's code)"),
    ("gau_1.theta.weight", "pgnet", "PGNet (DENet's code)"),
    ("level1_classifier.weight", "amp", "AMP (DENet's code)"),
];

impl ImagenetConfig {
    /// The network that tensors of these keys and shapes belong to: torchvision's names or those of the
    /// checkpoints of DENet's code, with nothing in front. Other keys play no role.
    pub fn identify<'a>(
        shapes: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    ) -> Option<ImagenetConfig> {
        of_shapes(&shapes.into_iter().collect())
    }

    /// [`Self::identify`] of the tensors of a file whose keys start with `prefix`, such as
    /// `"backbone."`, or of all with `""`.
    pub fn of_file(file: &ModuleFile, prefix: &str) -> Option<ImagenetConfig> {
        Self::identify(
            file.shapes().filter_map(|(k, shape)| Some((k.strip_prefix(prefix)?, shape))),
        )
    }

    /// Refuses a file whose tensors under `prefix` are those of another network.
    ///
    /// # Errors
    /// [`BackboneError::OtherBackbone`] that names both.
    pub fn expect_in(&self, file: &ModuleFile, prefix: &str) -> Result<(), BackboneError> {
        match Self::of_file(file, prefix) {
            Some(found) if found != *self => Err(BackboneError::OtherBackbone {
                path: file.path().to_owned(),
                found: found.to_string(),
                asked: self.to_string(),
            }),
            _ => Ok(()),
        }
    }
}

fn of_shapes(shapes: &Shapes<'_>) -> Option<ImagenetConfig> {
    let config = resnet(shapes).or_else(|| densenet(shapes)).or_else(|| vgg(shapes))?;
    config.validate().is_ok().then_some(config)
}

fn resnet(shapes: &Shapes<'_>) -> Option<ImagenetConfig> {
    let TapBackboneConfig { network, width } =
        TapBackboneConfig::identify(shapes.iter().map(|(key, shape)| (*key, *shape)))?;
    let network = match network {
        TapNetwork::Resnet50 => ImagenetNetwork::Resnet50,
        TapNetwork::Resnet101 => ImagenetNetwork::Resnet101,
        TapNetwork::Vgg16 => return None,
    };
    Some(ImagenetConfig { network, width })
}

fn densenet(shapes: &Shapes<'_>) -> Option<ImagenetConfig> {
    let stem = shapes.get("features.conv0.weight").or_else(|| shapes.get("conv0.weight"))?;
    let &[width, 3, 7, 7] = *stem else { return None };
    let network = ImagenetNetwork::Densenet121;
    (dense_layers(shapes) == LAYERS).then_some(ImagenetConfig { network, width })
}

/// Numbers of layers of the first three dense blocks; 0 where there is none.
fn dense_layers(shapes: &Shapes<'_>) -> [usize; 3] {
    [1, 2, 3].map(|block| {
        let prefix = format!("denseblock{block}.denselayer");
        let numbers = shapes.keys().filter_map(|key| {
            let key = key.strip_prefix("features.").unwrap_or(key);
            key.strip_prefix(&prefix)?.split('.').next()?.parse::<usize>().ok()
        });
        numbers.max().unwrap_or(0)
    })
}

fn vgg(shapes: &Shapes<'_>) -> Option<ImagenetConfig> {
    let first = shapes.get("conv1.0.weight").or_else(|| shapes.get("features.0.weight"))?;
    let &[width, 3, 3, 3] = *first else { return None };
    let networks = [ImagenetNetwork::Vgg16, ImagenetNetwork::Vgg16Bn];
    let configs = networks.map(|network| ImagenetConfig { network, width });
    configs.into_iter().find(|config| config.validate().is_ok() && holds(shapes, config))
}

/// Whether all tensors of a VGG are there, under torchvision's names or those of AMP.
fn holds(shapes: &Shapes<'_>, config: &ImagenetConfig) -> bool {
    let batch_norm = config.network == ImagenetNetwork::Vgg16Bn;
    let renamed = shapes.iter().map(|(key, shape)| {
        (vgg_file(key, batch_norm).unwrap_or_else(|| (*key).to_owned()), *shape)
    });
    let found: BTreeMap<String, &[usize]> = renamed.collect();
    vgg_kernels(config.width).into_iter().enumerate().all(|(i, kernel)| {
        let has = |norm, name: &str, shape: &[usize]| {
            amp_key(i, norm, name, batch_norm).is_some_and(|key| found.get(&key) == Some(&shape))
        };
        let vector = &kernel[..1];
        let names = ["weight", "bias", "running_mean", "running_var"];
        has(false, "weight", &kernel)
            && has(false, "bias", vector)
            && (!batch_norm || names.into_iter().all(|name| has(true, name, vector)))
    })
}

/// What the tensors look like, if they are of another network than the one asked for. Files with
/// holes look like nothing: there, the missing keys say more.
pub(super) fn describe_other(shapes: &Shapes<'_>, asked: &ImagenetConfig) -> Option<String> {
    if let Some(config) = of_shapes(shapes) {
        return (config != *asked).then(|| config.to_string());
    }
    let is_vgg = matches!(asked.network, ImagenetNetwork::Vgg16 | ImagenetNetwork::Vgg16Bn);
    let any = |prefix: &str| shapes.keys().any(|key| key.starts_with(prefix));
    if any("conv1.0.") && any("conv5.") {
        return (!is_vgg).then(|| "a VGG network under AMP's names".to_owned());
    }
    let layers @ [a, b, c] = dense_layers(shapes);
    if a > 0 {
        let hole = asked.network == ImagenetNetwork::Densenet121
            && layers.iter().zip(LAYERS).all(|(found, wanted)| *found <= wanted);
        return (!hole).then(|| format!("a DenseNet with blocks of {a}, {b} and {c} layers"));
    }
    if asked.network == ImagenetNetwork::Vgg16Bn && shapes.contains_key("features.0.weight") {
        let normed = shapes.keys().any(|key| key.ends_with("running_mean"));
        let known = |key: &&str| !key.ends_with(".weight") || vgg_file(key, true).is_some();
        return match (normed, shapes.keys().all(known)) {
            (true, true) => None,
            (true, false) => Some("a VGG network of another depth than 16".to_owned()),
            (false, _) => Some("a VGG network without batch norm".to_owned()),
        };
    }
    // The words for what is left depend on whether a ResNet was asked for, and on nothing else.
    let network = match asked.network {
        ImagenetNetwork::Resnet50 => TapNetwork::Resnet50,
        ImagenetNetwork::Resnet101 => TapNetwork::Resnet101,
        _ => TapNetwork::Vgg16,
    };
    describe_other_taps(shapes, &TapBackboneConfig { network, width: asked.width })
}

fn inner<'a>(shapes: &Shapes<'a>) -> Shapes<'a> {
    shapes.iter().filter_map(|(key, shape)| Some((key.strip_prefix(BACKBONE)?, *shape))).collect()
}

/// The network in a file, by itself or as the backbone of a model.
pub(crate) fn imagenet_of(shapes: &Shapes<'_>) -> Option<ImagenetConfig> {
    of_shapes(&inner(shapes)).or_else(|| of_shapes(shapes))
}

/// Which method the head in a file belongs to, if it is one of DENet's code.
pub(crate) fn extending_method(shapes: &Shapes<'_>) -> Option<&'static str> {
    METHODS.iter().find(|(key, ..)| shapes.contains_key(key)).map(|(_, method, _)| *method)
}

/// The whole model that a file holds, in words, if it is one of DENet's code, or a network that only
/// its heads read.
pub(crate) fn describe_extending(shapes: &Shapes<'_>) -> Option<String> {
    let config = imagenet_of(shapes);
    let Some((key, _, words)) = METHODS.iter().find(|(key, ..)| shapes.contains_key(key)) else {
        // What others read, too, has its words there.
        let tapped = TapBackboneConfig::identify(shapes.iter().map(|(k, shape)| (*k, *shape)));
        let config = of_shapes(shapes).filter(|_| tapped.is_none())?;
        return Some(format!("torchvision's {config}"));
    };
    let network = config.map_or("an unknown backbone".to_owned(), |config| config.to_string());
    let classes = match (*key, shapes[key].first()) {
        ("estimator.weight" | "level1_classifier.weight", Some(rows)) => {
            format!(": {rows} classes with the background")
        }
        _ => String::new(),
    };
    Some(format!("{words} with {network}{classes}"))
}
