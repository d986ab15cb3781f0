//! `fss cam`: coarse maps of where named things are, by CLIP.

mod benchmark;
mod heat;
mod texts;

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use fss_core::backbone::clip::{CamTarget, Overlong};
use fss_core::cam::CamOptions;
use fss_core::data::transform::ClipView;

use crate::args::Global;
use crate::failure::Failure;
use crate::progress::Screen;

/// Show where CLIP sees named things in images, as coarse maps
///
/// Of texts and images: an image `photo.jpg` gives `photo.cam.safetensors` (a map of 50 x 50 values from
/// 0 to 1) and `photo.cam.png` (the map over the image, dark to bright; what CLIP did not see is grey).
/// With several texts, the names hold the text as well, as in `photo.a-dog.cam.png`.
///
/// Of a whole data set: the maps of every image and every class in it, as IMR is trained and evaluated
/// with. Work that was stopped, by Ctrl-C or otherwise, goes on when the same command is run again.
#[derive(Debug, Args)]
pub struct CamArgs {
    /// CLIP's weights: OpenAI's RN50.pt, or its state dict
    #[arg(long, value_name = "FILE")]
    clip: PathBuf,
    /// The folder for the maps; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What CLIP sees of an image: the square in its middle, as published, or all of it, squeezed
    #[arg(long, value_name = "VIEW", value_parser = views(), default_value_t)]
    view: ClipView,
    /// What a map explains
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    target: Target,
    /// What happens to texts that are longer than CLIP reads
    #[arg(long, value_enum, value_name = "HOW", default_value_t)]
    long_text: LongText,
    /// Go on after images that cannot be read, and list them (of data sets: own alone)
    #[arg(long)]
    skip_bad: bool,
    #[command(flatten)]
    texts: texts::TextArgs,
    #[command(flatten)]
    set: benchmark::SetArgs,
}

/// What a map explains.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Target {
    /// The probability of a name among all, as published; where a name is certain, the map fades
    #[default]
    Probability,
    /// Its score, whatever the other names are
    Score,
}

/// What happens to texts that are longer than CLIP reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum LongText {
    /// An error
    Refuse,
    /// They are cut, with a warning that shows what is left
    #[default]
    Truncate,
}

fn views() -> impl TypedValueParser<Value = ClipView> {
    PossibleValuesParser::new(ClipView::ALL.map(ClipView::name))
        .try_map(|name| name.parse::<ClipView>())
}

impl CamArgs {
    fn options(&self) -> CamOptions {
        CamOptions {
            view: self.view,
            target: match self.target {
                Target::Probability => CamTarget::Probability,
                Target::Score => CamTarget::Logit,
            },
            overlong: match self.long_text {
                LongText::Refuse => Overlong::Refuse,
                LongText::Truncate => Overlong::Truncate,
            },
        }
    }
}

/// Makes maps of texts and images, or of a data set.
pub fn run(args: &CamArgs, global: &Global, screen: &Screen) -> Result<(), Failure> {
    match (args.texts.texts.is_empty(), &args.set.data_root) {
        (true, None) => Err(Failure::request(
            "there is nothing to look for",
            "give --text and --images, or --dataset and --data-root for the classes of a data set",
        )),
        (false, Some(_)) => Err(Failure::request(
            "--text and --data-root were given together",
            "leave out --data-root to look for a text in --images, or --text to make the maps of a data \
             set",
        )),
        (false, None) => texts::run(args, global, screen),
        (true, Some(root)) => benchmark::run(args, root, global, screen),
    }
}

/// Makes the folder for the maps, before work of hours begins.
fn make_folder(args: &CamArgs) -> Result<(), Failure> {
    std::fs::create_dir_all(&args.out).map_err(|e| Failure::io("make folder", &args.out, e))
}
