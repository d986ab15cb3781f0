//! The command line: what all commands share.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use fss_core::Device;
use fss_core::data::benchmark::{Benchmark, BenchmarkRoot, OpenOptions};
use fss_core::train::evaluate::Protocol;

use crate::failure::Failure;
use crate::own::OwnArgs;
use crate::{cam, data, eval, learn, merge, mine, predict, train, weights};

/// Few-shot semantic segmentation: from a few annotated images to masks of any other image.
#[derive(Debug, Parser)]
#[command(name = "fss", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Predict(predict::PredictArgs),
    Learn(learn::LearnArgs),
    Eval(eval::EvalArgs),
    Merge(merge::MergeArgs),
    Mine(mine::MineArgs),
    Train(train::TrainArgs),
    Cam(cam::CamArgs),
    Data(data::DataArgs),
    Weights(weights::WeightsArgs),
}

/// Options that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Where to compute, as [`fss_core::parse_device`] reads it.
    #[arg(
        long,
        global = true,
        default_value = "cpu",
        value_name = "DEVICE",
        help = "Where to compute: cpu, cuda[:N], vulkan[:N] or wgpu[:N]; train and eval: several, by commas"
    )]
    pub device: String,
    /// How many CPU threads to use [default: all cores]
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Say more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Say nothing but warnings and errors, and show no progress
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// How much is said on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Warnings and errors.
    Quiet,
    /// Notes as well.
    Normal,
    /// What each step does.
    Detailed,
    /// The libraries below as well.
    All,
}

impl Global {
    /// How much is said on standard error.
    pub fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            (false, 1) => Verbosity::Detailed,
            (false, _) => Verbosity::All,
        }
    }

    /// The device that was chosen.
    pub fn device(&self) -> Result<Device, Failure> {
        Ok(fss_core::parse_device(&self.device)?)
    }

    /// The devices that were chosen, for commands that share work out.
    pub fn devices(&self) -> Result<Vec<Device>, Failure> {
        self.device.split(',').map(|name| Ok(fss_core::parse_device(name.trim())?)).collect()
    }
}

/// Where a data set lies.
#[derive(Debug, Args)]
#[command(next_help_heading = "Data")]
pub struct DatasetArgs {
    /// The folder of the data set (own: a folder or a file)
    #[arg(long, value_name = "DIR")]
    pub data_root: PathBuf,
    /// What data set it is: pascal, coco, fss1000 or own
    #[arg(long, value_name = "NAME", default_value_t)]
    pub dataset: Benchmark,
    /// A folder of published lists (`splits` of the HSNet code) [default: those in the tree, else
    /// they are built]
    #[arg(long, value_name = "DIR")]
    pub splits: Option<PathBuf>,
    /// The smallest object, in pixels, that can be a query or a support [default: 2048; lists of
    /// POP: 16384; fss1000, own, coco under hsnet: 1]
    #[arg(long, value_name = "N")]
    pub min_pixels: Option<u64>,
    #[command(flatten)]
    pub own: OwnArgs,
}

impl DatasetArgs {
    /// Recognises the layout of the data set.
    pub fn detect(&self) -> Result<BenchmarkRoot, Failure> {
        if self.dataset != Benchmark::Own && !self.own.is_default() {
            return Err(Failure::request(
                format!("options of own data were given for --dataset {}", self.dataset),
                "give --dataset own, or leave them out",
            ));
        }
        let options = OpenOptions { splits: self.splits.clone(), own: self.own.options() };
        Ok(self.dataset.detect(&self.data_root, &options)?)
    }

    /// The smallest object, in pixels, that can be a query or a support.
    pub fn min_pixels(&self, protocol: Protocol) -> u64 {
        self.min_pixels.unwrap_or_else(|| protocol.min_pixels(self.dataset))
    }
}

/// An amount of memory, as in `512MiB`, `2GiB` or `1000000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            _ => return Err(format!("unknown unit {unit:?}; write it as in 512MiB or 2GiB")),
        };
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| "not an amount of memory; write it as in 512MiB or 2GiB".to_owned())
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 1 << 30 && n % (1 << 30) == 0 => write!(f, "{}GiB", n >> 30),
            n if n >= 1 << 20 && n % (1 << 20) == 0 => write!(f, "{}MiB", n >> 20),
            n => write!(f, "{n}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn memory_sizes() {
        for (text, bytes) in
            [("0", 0), ("7", 7), ("2GiB", 2 << 30), ("512 MiB", 512 << 20), ("3gb", 3_000_000_000)]
        {
            assert_eq!(text.parse::<ByteSize>().unwrap(), ByteSize(bytes), "{text}");
        }
        for text in ["", "GiB", "2TB", "-1", "99999999999999999999", "99999999999GiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        assert_eq!(ByteSize(2 << 30).to_string(), "2GiB");
    }
}
