//! `fss data generate`: a data set drawn by machine.

use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use fss_core::data::DataError;
use fss_core::data::synthetic::{
    CocoConfig, Fss1000Config, Origin, Progress, Summary, SyntheticConfig, generate, generate_coco,
    generate_fss1000,
};

use crate::failure::Failure;
use crate::progress::Screen;
use crate::{interrupt, output};

/// Draw a data set of textured shapes
///
/// Several objects an image, colours at random. The same options give the same files.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// The new folder
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How files and annotations lie in it
    #[arg(long, default_value = "pascal")]
    layout: Layout,
    /// Images of the training list [default: 300; coco: 600]
    #[arg(long, value_name = "N")]
    images: Option<usize>,
    /// Images of the validation list [default: half of --images; coco: two thirds]
    #[arg(long, value_name = "N")]
    val_images: Option<usize>,
    /// fss1000: categories for training, validation and testing, ten images each [default: 60,15,25]
    #[arg(long, value_name = "N,N,N", value_parser = categories)]
    categories: Option<[usize; 3]>,
    /// Seed of everything that is drawn
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Width and height in pixels: one number, or the range they are drawn from [default: 96..128;
    /// fss1000: 112]
    #[arg(long, value_name = "N|MIN..MAX", value_parser = range)]
    size: Option<[u32; 2]>,
}

/// The benchmark whose tree of files is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Layout {
    /// PASCAL VOC: 20 classes, label masks, borders marked as ignored
    Pascal,
    /// COCO 2014: 80 classes, JSON with polygons, runs and crowds
    Coco,
    /// FSS-1000: a folder of ten images with binary masks for each category
    Fss1000,
}

/// What is to be drawn.
enum Set {
    Pascal(SyntheticConfig),
    Coco(CocoConfig),
    Fss1000(Fss1000Config),
}

fn range(text: &str) -> Result<[u32; 2], String> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    let number =
        |text: &str| text.parse::<u32>().map_err(|_| "write it as in 128 or 96..128".to_owned());
    Ok([number(low)?, number(high)?])
}

fn categories(text: &str) -> Result<[usize; 3], String> {
    let numbers: Result<Vec<usize>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    let numbers = numbers.ok().and_then(|numbers| numbers.try_into().ok());
    numbers.ok_or_else(|| "write three numbers, as in 60,15,25".to_owned())
}

impl Set {
    fn of(args: &GenerateArgs) -> Result<Self, Failure> {
        let misplaced = |option: &str, remedy: &str| {
            let layout = args.layout.to_possible_value();
            let layout = layout.as_ref().map_or("this layout", |value| value.get_name());
            Err(Failure::request(format!("{option} does not go with --layout {layout}"), remedy))
        };
        let fss1000 = args.layout == Layout::Fss1000;
        if fss1000 && (args.images.is_some() || args.val_images.is_some()) {
            return misplaced("a number of images", "give --categories; each has ten images");
        }
        if !fss1000 && args.categories.is_some() {
            return misplaced("--categories", "give --images and --val-images");
        }
        let shaped = |defaults: SyntheticConfig| SyntheticConfig {
            seed: args.seed,
            side: args.size.unwrap_or(defaults.side),
            ..defaults
        };
        Ok(match args.layout {
            Layout::Pascal => {
                let defaults = shaped(SyntheticConfig::default());
                let train_images = args.images.unwrap_or(defaults.train_images);
                let val_images = args.val_images.unwrap_or(train_images.div_ceil(2));
                Self::Pascal(SyntheticConfig { train_images, val_images, ..defaults })
            }
            Layout::Coco => {
                let coco = CocoConfig::default();
                let defaults = shaped(coco.pictures.clone());
                let train_images = args.images.unwrap_or(defaults.train_images);
                let val_images = args.val_images.unwrap_or(train_images - train_images / 3);
                let pictures = SyntheticConfig { train_images, val_images, ..defaults };
                Self::Coco(CocoConfig { pictures, ..coco })
            }
            Layout::Fss1000 => {
                let defaults = Fss1000Config::default();
                let side = match args.size {
                    None => defaults.side,
                    Some([low, high]) if low == high => low,
                    Some(_) => {
                        return misplaced("a range of sizes", "give one number, as in --size 112");
                    }
                };
                let categories = args.categories.unwrap_or(defaults.categories);
                Self::Fss1000(Fss1000Config { seed: args.seed, side, categories, ..defaults })
            }
        })
    }

    fn images(&self) -> usize {
        let listed =
            |config: &SyntheticConfig| config.train_images.saturating_add(config.val_images);
        match self {
            Self::Pascal(config) => listed(config),
            Self::Coco(config) => listed(&config.pictures),
            Self::Fss1000(config) => {
                config.categories.iter().fold(0, |sum: usize, &n| sum.saturating_add(n)) * 10
            }
        }
    }

    fn make(
        &self,
        args: &GenerateArgs,
        progress: impl Fn(Progress) -> ControlFlow<()> + Sync,
    ) -> Result<Summary, DataError> {
        match self {
            Self::Pascal(config) => generate(&args.out, config, progress),
            Self::Coco(config) => generate_coco(&args.out, config, progress),
            Self::Fss1000(config) => generate_fss1000(&args.out, config, progress),
        }
    }

    /// What to know before using it.
    fn hint(&self) -> String {
        match self {
            Self::Pascal(config) | Self::Coco(CocoConfig { pictures: config, .. }) => format!(
                "its objects are small: use --min-pixels {} where episodes are drawn from it\n",
                config.min_object_pixels()
            ),
            Self::Fss1000(_) => String::new(),
        }
    }
}

pub fn run(args: &GenerateArgs, screen: &Screen) -> Result<(), Failure> {
    let set = Set::of(args)?;
    let stop = interrupt::install("removing what was drawn")?;
    let bar = screen.bar(set.images(), "images");
    let made = set.make(args, |progress| {
        bar.set_position(progress.done as u64);
        if stop.is_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    let summary = made.map_err(|error| match error {
        DataError::Io { source, .. } if source.kind() == std::io::ErrorKind::Interrupted => {
            Failure::Interrupted {
                done: "nothing was kept".into(),
                next: "run the same command again".into(),
            }
        }
        other => other.into(),
    })?;
    let origin = match summary.origin {
        Origin::Generated => "made",
        Origin::Reused => "was there already",
    };
    let counts = match summary.test.images {
        0 => format!(
            "{} training and {} validation images",
            summary.train.images, summary.val.images
        ),
        test => format!(
            "{} training, {} validation and {test} test images",
            summary.train.images, summary.val.images
        ),
    };
    output::print(&format!("{} {origin}: {counts}\n{}", args.out.display(), set.hint()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(range("128"), Ok([128, 128]));
        assert_eq!(range("96..128"), Ok([96, 128]));
        assert!(range("96x128").is_err());
        assert!(range("..").is_err());
    }

    #[test]
    fn numbers_of_categories() {
        assert_eq!(categories("520, 240,240"), Ok([520, 240, 240]));
        for bad in ["", "1,2", "1,2,3,4", "1,2,-3"] {
            assert!(categories(bad).is_err(), "{bad}");
        }
    }
}
