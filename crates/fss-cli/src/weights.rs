//! `fss weights`: looking into weight files, and from one format to another.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use fss_core::Device;
use fss_core::backbone::{self, FileFormat, KeyStyle, inspect_weights};

use crate::failure::Failure;
use crate::output;

/// Look into weight files and convert them
#[derive(Debug, Args)]
pub struct WeightsArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show format, keys, shapes, metadata and which network a file seems to hold
    Inspect {
        /// .pth, .pt, .safetensors or .bpk
        file: PathBuf,
    },
    /// Convert a weight file; the ending of OUT chooses the format
    ///
    /// Keys keep the official names, so that the original PyTorch code loads the safetensors file.
    /// What loading leaves out by rule (classifier, layer4) is left out.
    Convert {
        /// .pth, .pt, .safetensors or .bpk
        input: PathBuf,
        /// The new file: .safetensors or .bpk
        output: PathBuf,
        /// The names of the keys [default: those of the input]
        #[arg(long, value_enum)]
        keys: Option<Keys>,
    },
}

/// The official key layouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Keys {
    /// layer0.0.0.weight, as SSP's checkpoints
    Ssp,
    /// backbone.conv1.0.weight, as MLC's checkpoints
    Mlc,
    /// conv1.0.weight, as ImageNet files of the deep-stem ResNet
    Imagenet,
}

impl From<Keys> for KeyStyle {
    fn from(keys: Keys) -> Self {
        match keys {
            Keys::Ssp => Self::Ssp,
            Keys::Mlc => Self::Mlc,
            Keys::Imagenet => Self::ImageNet,
        }
    }
}

/// Runs one of the actions.
pub fn run(args: &WeightsArgs) -> Result<(), Failure> {
    match &args.action {
        Action::Inspect { file } => inspect(file),
        Action::Convert { input, output, keys } => convert(input, output, *keys),
    }
}

fn inspect(file: &Path) -> Result<(), Failure> {
    output::print(&inspect_weights(file)?.to_string())
}

fn convert(input: &Path, output: &Path, keys: Option<Keys>) -> Result<(), Failure> {
    let ending = output.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    let target = match ending.as_deref() {
        Some("safetensors") => FileFormat::Safetensors,
        Some("bpk") => FileFormat::Burnpack,
        _ => {
            return Err(Failure::request(
                format!("{}: no format is known by this ending", output.display()),
                "end the name in .safetensors or .bpk",
            ));
        }
    };
    let summary = inspect_weights(input)?;
    let Some(config) = summary.config() else {
        return Err(Failure::request(
            format!("{} holds {}, not a deep-stem ResNet", input.display(), summary.contents),
            "see `fss weights inspect` for what is in it",
        ));
    };
    let style = keys.map(KeyStyle::from).or(summary.style).unwrap_or(KeyStyle::Ssp);
    let (network, report) = backbone::load_weights(config.init(&Device::default(), 0), input)?;
    match target {
        FileFormat::Burnpack => {
            backbone::save_burnpack(&network, output, style, &summary.metadata)?
        }
        _ => backbone::save_safetensors(&network, output, style, &summary.metadata)?,
    }
    output::print(&format!(
        "{}: {} tensors of {config} under {style} keys\n",
        output.display(),
        report.loaded
    ))
}
