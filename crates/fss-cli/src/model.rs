//! Which model, as the command line and the weight file say it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use fss_core::backbone::{
    DeepStemResNetConfig, ModuleFile, OutputStride, TapBackboneConfig, TapNetwork, WeightsSummary,
    inspect_weights,
};
use fss_core::generalized::{GeneralizedMethod, GeneralizedOptions};
use fss_core::heads::{
    AmpConfig, AnyModel, CanetConfig, DenetConfig, FirstMask, HsnetConfig, ImrConfig, PgnetConfig,
    SupportMask,
};
use fss_core::{Depth, Device, ModelOptions, Precision, Refine, load_model_in};

use crate::failure::Failure;

/// Which model, and where its weights lie.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// The method [default: what the weights say, else ssp]
    #[arg(long, value_enum)]
    pub model: Option<Method>,
    /// The backbone that the weights were trained with [default: what their shapes show]
    #[arg(long, value_name = "NAME", value_parser = backbones())]
    pub backbone: Option<String>,
    /// Channels of the backbone's first stage [default: what the weights say; 64 is published]
    #[arg(long, value_name = "N")]
    pub width: Option<usize>,
    /// SSP: run the self-support step a second time, as the published tables do
    #[arg(long)]
    pub refine: bool,
    /// HSNet: leave the features of supports unmasked, for weights of the paper's ablation without it
    #[arg(long)]
    pub unmasked: bool,
    /// IMR: how often query and support refine each other [default: what the weights say, else 3 for
    /// coco and 2]
    #[arg(long, value_name = "N")]
    pub stages: Option<usize>,
    /// A checkpoint of the whole model: .pth or .pt of the official code, .safetensors or .bpk
    #[arg(long, value_name = "FILE")]
    pub weights: PathBuf,
    /// Let the backbone compute in float16, or bfloat16, on a GPU that has it: sooner, with features rounded
    #[arg(long)]
    pub half: bool,
}

/// What only models of generalized segmentation have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Model")]
pub struct GeneralizedArgs {
    /// POP, PSPNet: image pixels per position of the features: 8, 16 or 32 [default: what the weights say,
    /// else 8]
    #[arg(long, value_name = "N")]
    pub output_stride: Option<OutputStride>,
    /// POP, PSPNet: the side of the square that images are brought to [default: what the weights say, else
    /// 473]
    #[arg(long, value_name = "PIXELS")]
    pub image_side: Option<usize>,
    /// POP, PSPNet: names of the classes, base first [default: what the weights say, else numbers]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub names: Option<Vec<String>>,
}

/// The methods that can be named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// Self-support matching (ECCV 2022)
    #[default]
    Ssp,
    /// Mining latent classes, the baseline (ICCV 2021)
    Mlc,
    /// Hypercorrelation squeeze (ICCV 2021)
    Hsnet,
    /// Segmentation from image-label text (IJCAI 2022)
    Imr,
    /// Dynamic extension nets (ACM MM 2020)
    Denet,
    /// Adaptive masked proxies (ICCV 2019), as DENet's code has it
    Amp,
    /// Dense comparison (CVPR 2019), as DENet's code has it
    Canet,
    /// Graph attention (ICCV 2019), as DENet's code has it
    Pgnet,
    /// Orthogonal prototypes, generalized (CVPR 2023): all base and novel classes at once
    Pop,
    /// The baseline of POP's code
    Pspnet,
}

impl Method {
    /// The method of generalized segmentation that it is, if it is one.
    fn generalized(self) -> Option<GeneralizedMethod> {
        match self {
            Self::Pop => Some(GeneralizedMethod::Pop),
            Self::Pspnet => Some(GeneralizedMethod::Pspnet),
            _ => None,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ssp => "ssp",
            Self::Mlc => "mlc",
            Self::Hsnet => "hsnet",
            Self::Imr => "imr",
            Self::Denet => "denet",
            Self::Amp => "amp",
            Self::Canet => "canet",
            Self::Pgnet => "pgnet",
            Self::Pop => "pop",
            Self::Pspnet => "pspnet",
        })
    }
}

/// The model that was asked for, and what the weight file says of itself.
pub struct Asked {
    pub options: ModelOptions,
    pub metadata: BTreeMap<String, String>,
}

impl ModelArgs {
    /// The model for inference, its weights read.
    pub fn load(
        &self,
        options: &ModelOptions,
        device: &Device,
    ) -> Result<Box<dyn AnyModel>, Failure> {
        Ok(load_model_in(self.precision(), options, &self.weights, device)?.0)
    }

    /// The precision that was asked for.
    pub fn precision(&self) -> Precision {
        match self.half {
            true => Precision::Half,
            false => Precision::Full,
        }
    }

    /// Refuses half precision where there is none.
    pub fn refuse_half(&self, what: &str) -> Result<(), Failure> {
        if !self.half {
            return Ok(());
        }
        Err(Failure::request(format!("--half does not reach {what} yet"), "leave it out"))
    }

    /// The model that was asked for. What was not said is as the weight file says or the shapes in it
    /// show, else as published.
    pub fn options(&self) -> Result<ModelOptions, Failure> {
        Ok(self.read()?.options)
    }

    /// The model that was asked for, and what the weight file says of itself.
    pub fn read(&self) -> Result<Asked, Failure> {
        // Whatever is wrong with the file shows when it is loaded.
        let summary = inspect_weights(&self.weights).ok();
        let metadata = summary.as_ref().map(|found| found.metadata.clone()).unwrap_or_default();
        let parts = summary
            .as_ref()
            .and_then(|found| found.correlating.or(found.generalized).or(found.extending));
        let method = self.method(&metadata, parts);
        if self.refine && method != Method::Ssp {
            return Err(Failure::request(
                format!("--refine belongs to SSP; {method} has no such step"),
                "leave it out, or give --model ssp",
            ));
        }
        if self.unmasked && method != Method::Hsnet {
            return Err(Failure::request(
                format!("--unmasked belongs to HSNet; {method} has no such step"),
                "leave it out, or give --model hsnet",
            ));
        }
        if self.stages.is_some() && method != Method::Imr {
            return Err(Failure::request(
                format!("--stages belongs to IMR; {method} has none"),
                "leave it out, or give --model imr",
            ));
        }
        let options = match method {
            Method::Ssp | Method::Mlc => self.deep_stem(method, summary.as_ref(), &metadata)?,
            Method::Hsnet => {
                let mut config = HsnetConfig::new(self.taps(method, summary.as_ref())?);
                if let Some(side) = number(&metadata, "fss.side") {
                    config = config.with_side(side);
                }
                let stored =
                    metadata.get("fss.support_mask").is_some_and(|mask| mask == "unmasked");
                if self.unmasked || stored {
                    config = config.with_support_mask(SupportMask::Unmasked);
                }
                ModelOptions::Hsnet(config)
            }
            Method::Imr => ModelOptions::Imr(self.imr(summary.as_ref(), &metadata)?),
            Method::Denet => {
                let config = self.extending(method, DenetConfig::of_file)?;
                ModelOptions::Denet(sided(config, &metadata, DenetConfig::with_side))
            }
            Method::Amp => {
                let config = self.extending(method, AmpConfig::of_file)?;
                ModelOptions::Amp(sided(config, &metadata, AmpConfig::with_side))
            }
            Method::Canet => {
                let mut config = self.extending(method, CanetConfig::of_file)?;
                if let Some(refinements) = number(&metadata, "fss.refinements") {
                    config = config.with_refinements(refinements);
                }
                ModelOptions::Canet(sided(config, &metadata, CanetConfig::with_side))
            }
            Method::Pgnet => {
                let config = self.extending(method, PgnetConfig::of_file)?;
                ModelOptions::Pgnet(sided(config, &metadata, PgnetConfig::with_side))
            }
            Method::Pop | Method::Pspnet => {
                return Err(Failure::request(
                    format!(
                        "{method} is no model of episodes: it labels all of its classes at once"
                    ),
                    "use `fss predict` or `fss eval` without examples, or `fss learn` to teach it more",
                ));
            }
        };
        Ok(Asked { options, metadata })
    }

    /// How the weights are to be read, if they are (or are asked for as) those of a model of
    /// generalized segmentation.
    pub fn generalized(
        &self,
        args: &GeneralizedArgs,
    ) -> Result<Option<GeneralizedOptions>, Failure> {
        let summary = inspect_weights(&self.weights).ok();
        let stored = summary.as_ref().and_then(|found| found.generalized);
        let method = match (self.model, stored) {
            (Some(asked), _) => asked.generalized(),
            (None, Some(stored)) => GeneralizedMethod::by_name(stored),
            (None, None) => None,
        };
        let Some(method) = method else {
            if *args == GeneralizedArgs::default() {
                return Ok(None);
            }
            return Err(Failure::request(
                "--output-stride, --image-side and --names belong to pop and pspnet",
                "leave them out, or give --model pop and its weights",
            ));
        };
        let name = method.name();
        if self.refine || self.unmasked || self.stages.is_some() || self.width.is_some() {
            return Err(Failure::request(
                format!("--refine, --unmasked, --stages and --width do not belong to {name}"),
                "leave them out: the weights show what the network is",
            ));
        }
        let depth = match self.backbone.as_deref().map(str::parse::<Depth>) {
            Some(Ok(depth)) => Some(depth),
            Some(Err(_)) => {
                let asked = self.backbone.as_deref().unwrap_or_default();
                return Err(Failure::request(
                    format!("{name} has no backbone {asked}"),
                    "choose one of resnet50, resnet101, resnet152",
                ));
            }
            None => None,
        };
        let GeneralizedArgs { output_stride, image_side, names } = args;
        Ok(Some(GeneralizedOptions {
            method: Some(method),
            depth,
            output_stride: *output_stride,
            side: *image_side,
            names: names.clone(),
        }))
    }

    fn deep_stem(
        &self,
        method: Method,
        summary: Option<&WeightsSummary>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<ModelOptions, Failure> {
        let stored = summary.and_then(WeightsSummary::config);
        let depth = match &self.backbone {
            Some(name) => name.parse::<Depth>().map_err(|_| no_such_backbone(method, name))?,
            None => stored.map(|config| config.depth).unwrap_or(Depth::R50),
        };
        let mut backbone = DeepStemResNetConfig::new(depth);
        if let Some(width) = self.width.or(stored.map(|config| config.width)) {
            backbone = backbone.with_width(width);
        }
        if let Some(stored) = stored {
            backbone = backbone.with_layer3(stored.layer3);
        }
        if metadata.get("fss.refine").is_some_and(|trained| trained == "on") && !self.refine {
            tracing::info!(
                "the weights were trained with refinement, which is off here; --refine turns it on"
            );
        }
        let options = match (method, self.refine) {
            (Method::Mlc, _) => ModelOptions::mlc(depth),
            (_, true) => ModelOptions::ssp(depth).with_refine(Refine::On),
            (_, false) => ModelOptions::ssp(depth),
        };
        Ok(options.with_deep_stem(backbone))
    }

    /// The tapped backbone: as named, else as the file shows, else ResNet-50.
    fn taps(
        &self,
        method: Method,
        summary: Option<&WeightsSummary>,
    ) -> Result<TapBackboneConfig, Failure> {
        let stored = summary.and_then(|summary| summary.taps);
        let network = match &self.backbone {
            Some(name) => name.parse::<TapNetwork>().map_err(|_| no_such_backbone(method, name))?,
            None => stored.map_or(TapNetwork::Resnet50, |config| config.network),
        };
        let width = self.width.or(stored.map(|config| config.width));
        let config = TapBackboneConfig::new(network);
        Ok(width.map_or(config, |width| config.with_width(width)))
    }

    fn imr(
        &self,
        summary: Option<&WeightsSummary>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<ImrConfig, Failure> {
        let mut config = ImrConfig::new(self.taps(Method::Imr, summary)?);
        if let Some(stages) = self.stages.or(number(metadata, "fss.stages")) {
            config = config.with_stages(stages);
        }
        if metadata.get("fss.first_mask").is_some_and(|first| first == "own") {
            config = config.with_first_mask(FirstMask::Own);
        }
        // The recurrent state has the size of the maps.
        let state = summary
            .into_iter()
            .flat_map(|summary| &summary.tensors)
            .find(|tensor| tensor.key == "state" || tensor.key.ends_with(".state"));
        if let Some([1, _, grid, _]) = state.map(|tensor| tensor.shape.as_slice()) {
            config = config.with_grid(*grid);
        }
        Ok(config)
    }

    /// What a model of DENet's code was made from, which its weights show.
    fn extending<C>(
        &self,
        method: Method,
        of_file: impl Fn(&ModuleFile) -> Option<C>,
    ) -> Result<C, Failure> {
        if self.backbone.is_some() || self.width.is_some() {
            return Err(Failure::request(
                format!("--backbone and --width are not for {method}: its weights show both"),
                "leave them out",
            ));
        }
        of_file(&ModuleFile::open(&self.weights)?).ok_or_else(|| {
            Failure::request(
                format!("{} holds no model of {method}", self.weights.display()),
                "look into it with `fss weights inspect`, or give --model as it says",
            )
        })
    }

    /// Whether neither the command nor the weights say how many stages IMR has.
    pub fn stages_are_unknown(&self, metadata: &BTreeMap<String, String>) -> bool {
        self.stages.is_none() && number(metadata, "fss.stages").is_none()
    }

    /// The method named, else the one that the weights were trained as, else the one whose parts they
    /// hold.
    fn method(&self, metadata: &BTreeMap<String, String>, parts: Option<&'static str>) -> Method {
        let trained = metadata.get("fss.model").map(String::as_str).or(parts);
        let stored = trained.and_then(|name| Method::from_str(name, false).ok());
        if let (Some(asked), Some(trained)) = (self.model, trained)
            && asked.to_string() != trained
        {
            tracing::warn!(
                "the weights were trained as {trained}, but run as {asked}; give --model {trained} \
                 to run them as they were trained"
            );
        }
        self.model.or(stored).unwrap_or_default()
    }
}

/// A model for images of the side that its weights name.
fn sided<C>(config: C, metadata: &BTreeMap<String, String>, with: impl Fn(C, usize) -> C) -> C {
    match number(metadata, "fss.side") {
        Some(side) => with(config, side),
        None => config,
    }
}

fn number(metadata: &BTreeMap<String, String>, key: &str) -> Option<usize> {
    metadata.get(key)?.parse().ok()
}

fn no_such_backbone(method: Method, name: &str) -> Failure {
    let names = match method {
        Method::Ssp | Method::Mlc => Depth::NAMES.join(", "),
        Method::Hsnet => TapNetwork::NAMES.join(", "),
        Method::Imr => "vgg16, resnet50".to_owned(),
        Method::Denet | Method::Canet | Method::Pgnet => "resnet50, densenet121".to_owned(),
        Method::Amp => "vgg16, vgg16_bn".to_owned(),
        Method::Pop | Method::Pspnet => "resnet50, resnet101, resnet152".to_owned(),
    };
    Failure::request(format!("{method} has no backbone {name}"), format!("choose one of {names}"))
}

/// The backbones of all methods.
fn backbones() -> PossibleValuesParser {
    let taps = TapNetwork::NAMES.into_iter().filter(|name| !Depth::NAMES.contains(name));
    PossibleValuesParser::new(Depth::NAMES.into_iter().chain(taps).collect::<Vec<_>>())
}
