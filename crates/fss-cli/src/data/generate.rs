//! `fss data generate`: a data set drawn by machine.

use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use fss_core::data::DataError;
use fss_core::data::synthetic::{Origin, SyntheticConfig, generate};

use crate::failure::Failure;
use crate::progress::Screen;
use crate::{interrupt, output};

/// Draw a data set of textured shapes in the layout of PASCAL VOC
///
/// 20 classes, several objects an image, borders marked as ignored. The same options give the same
/// files.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// The new folder
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Images of the training list
    #[arg(long, value_name = "N", default_value_t = SyntheticConfig::default().train_images)]
    images: usize,
    /// Images of the validation list [default: half of --images]
    #[arg(long, value_name = "N")]
    val_images: Option<usize>,
    /// Seed of everything that is drawn
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Width and height in pixels: one number, or the range they are drawn from
    #[arg(long, value_name = "N|MIN..MAX", default_value = "96..128", value_parser = range)]
    size: [u32; 2],
}

fn range(text: &str) -> Result<[u32; 2], String> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    let number =
        |text: &str| text.parse::<u32>().map_err(|_| "write it as in 128 or 96..128".to_owned());
    Ok([number(low)?, number(high)?])
}

pub fn run(args: &GenerateArgs, screen: &Screen) -> Result<(), Failure> {
    let config = SyntheticConfig {
        seed: args.seed,
        train_images: args.images,
        val_images: args.val_images.unwrap_or(args.images.div_ceil(2)),
        side: args.size,
        ..SyntheticConfig::default()
    };
    let stop = interrupt::install("removing what was drawn")?;
    let bar = screen.bar(config.train_images.saturating_add(config.val_images), "images");
    let made = generate(&args.out, &config, |progress| {
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
    output::print(&format!(
        "{} {origin}: {} training and {} validation images\n\
         its objects are small: use --min-pixels {} where episodes are drawn from it\n",
        args.out.display(),
        summary.train.images,
        summary.val.images,
        config.min_object_pixels()
    ))
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn sizes() {
        assert_eq!(range("128"), Ok([128, 128]));
        assert_eq!(range("96..128"), Ok([96, 128]));
        assert!(range("96x128").is_err());
        assert!(range("..").is_err());
    }
}
