//! `fss predict`: masks of a folder of images from a few annotated ones, or with a model that knows its
//! classes.

mod generalized;
mod legend;
pub mod queries;
mod results;
mod support_set;
mod supports;
mod text;

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use fss_core::{
    DEFAULT_MAX_SIDE, ModelOptions, Segmentation, Segmenter, Support, Unlabelled, data, train::Stop,
};
use image::RgbImage;
use indicatif::ProgressBar;

use crate::args::Global;
use crate::failure::{Failure, describe};
use crate::model::{GeneralizedArgs, ModelArgs};
use crate::own::OwnFiles;
use crate::progress::Screen;
use crate::{interrupt, output};

use legend::Legend;
use queries::Query;
use results::{Results, Save};
use supports::{Pair, Way};
use text::TextArgs;

/// Segment images after a few annotated examples
///
/// Every image keeps its size. A query `photo.jpg` gives `photo.mask.png` (8-bit palette indices, 0
/// background, 1 foreground), `photo.overlay.png` and, if asked for, `photo.logits.npy` (float32
/// `[classes, height, width]`, background first). Exit code 1 if any query failed.
///
/// Several classes at once: name them, as in `--support cat=a.jpg:a.png --support dog=b.jpg:b.png`. Masks
/// then hold 1 for the class that is named first, 2 for the next, and `legend.json` says so. Each pixel
/// gets the class that is surest of it, background where none is.
///
/// Models of generalized segmentation (pop, pspnet) take no examples: they label every class that
/// they know. Masks then hold the numbers of classes, `legend.json` says what they mean, and logits have
/// the size of the features.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("examples").args(["supports", "support_set"])))]
pub struct PredictArgs {
    /// An annotated example: the image and its mask, joined by a colon (with --text the image alone);
    /// repeat for more examples; NAME=IMG:MASK for examples of several classes
    #[arg(long = "support", value_name = "[NAME=]IMG:MASK")]
    supports: Vec<String>,
    /// Examples from a data set: class folders, a CSV table, COCO JSON or a folder of LabelMe files
    #[arg(long, value_name = "PATH")]
    support_set: Option<PathBuf>,
    /// Of --support: the label in the masks that is the object [default: every value but 0 and 255]; of
    /// --support-set: the name of the class; repeat it for several classes at once
    #[arg(long, value_name = "ID|NAME")]
    class: Vec<String>,
    /// How many examples to take of --support-set: those with the largest objects [default: all]
    #[arg(long, value_name = "K", conflicts_with = "supports")]
    shots: Option<usize>,
    /// An image, or a folder of images (its sub-folders are not searched)
    #[arg(long, value_name = "FILE|DIR")]
    query: PathBuf,
    /// The folder for the results; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What to write for each query
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "LIST",
        default_value = "mask,overlay"
    )]
    save: Vec<Save>,
    /// Shrink larger images to this longest side for the network; results keep the image's size
    #[arg(long, value_name = "PIXELS", default_value_t = DEFAULT_MAX_SIDE)]
    max_side: usize,
    /// Leave out queries whose results are all there already
    #[arg(long)]
    skip_done: bool,
    #[command(flatten)]
    files: OwnFiles,
    #[command(flatten)]
    text: TextArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    generalized: GeneralizedArgs,
}

impl PredictArgs {
    fn ways(&self, screen: &Screen) -> Result<Vec<Way>, Failure> {
        if let Some(set) = &self.support_set {
            return support_set::read(set, &self.class, self.shots, &self.files.options(), screen);
        }
        if self.files != OwnFiles::default() {
            return Err(Failure::request(
                "--images, --mask-value, --ignore-value and --skip-bad belong to --support-set",
                "name the data set with --support-set, or choose a label of --support with --class",
            ));
        }
        let class = match self.class.as_slice() {
            [] => None,
            [class] => Some(supports::label(class)?),
            _ => {
                return Err(Failure::request(
                    "of --support, --class chooses one label of the masks",
                    "name several classes before their examples, as in --support cat=cat.jpg:cat.png",
                ));
            }
        };
        let pairs: Vec<Pair> =
            self.supports.iter().map(|text| Pair::parse(text)).collect::<Result<_, _>>()?;
        supports::ways(&pairs, class)
    }
}

/// Segments all queries.
pub fn run(args: &PredictArgs, global: &Global, screen: &Screen) -> Result<(), Failure> {
    let queries = queries::find("--query", &args.query, &args.out)?;
    let generalized = args.model.generalized(&args.generalized)?;
    let given = args.supports.len() + usize::from(args.support_set.is_some());
    match (&generalized, given) {
        (Some(_), 1..) => {
            return Err(Failure::request(
                "this model knows its classes and takes no examples",
                "leave --support and --support-set out; `fss learn` teaches it new classes from them",
            ));
        }
        (None, 0) => {
            return Err(Failure::request(
                "there is no example of what to look for",
                "give --support IMG:MASK (repeat it for more examples) or --support-set",
            ));
        }
        _ => {}
    }
    let results = Results::new(&args.out, &args.save)?;
    if let Some(options) = generalized {
        return generalized::run(args, &options, &queries, results, global, screen);
    }
    let model = args.model.options()?;
    let examples = match args.text.unlabelled(&model, &args.supports)? {
        Some(images) => Examples::Text(images),
        None => Examples::Masks(args.ways(screen)?),
    };
    if let (Examples::Masks(ways), ModelOptions::Imr(_)) = (&examples, &model)
        && ways.len() > 1
    {
        return Err(Failure::request(
            format!("{} classes for imr, which looks for one at a time, by its text", ways.len()),
            "run it once for each class, or use ssp, mlc or hsnet",
        ));
    }
    let device = global.device()?;
    let stop = interrupt::install("finishing the current image")?;
    let segmenter =
        Segmenter::load_in(args.model.precision(), &model, &args.model.weights, &device)?
            .with_max_side(args.max_side)?;
    let segmenter = args.text.apply(segmenter, &device)?;
    let supports = match &examples {
        Examples::Text(images) => vec![segmenter.support_by_text(images)?],
        Examples::Masks(ways) => ways
            .iter()
            .map(|way| segmenter.support(&way.examples))
            .collect::<Result<Vec<_>, _>>()?,
    };
    let legend = examples.legend();
    if let Some(legend) = &legend {
        legend.write(&results)?;
    }
    let model = Episodic { segmenter, supports, legend };
    all(&model, &queries, args, &results, screen, &stop)
}

/// What labels queries, and how its results are written and told.
trait Predictor {
    type Found;

    fn segment(&self, query: &Query, image: &RgbImage) -> Result<Self::Found, Failure>;

    fn write(
        &self,
        results: &Results<'_>,
        stem: &str,
        image: &RgbImage,
        found: &Self::Found,
    ) -> Result<(), Failure>;

    /// What was found, for a line on standard output.
    fn describe(&self, found: &Self::Found) -> String;
}

/// Labels all queries and reports how it went.
fn all<P: Predictor>(
    model: &P,
    queries: &[Query],
    args: &PredictArgs,
    results: &Results<'_>,
    screen: &Screen,
    stop: &Stop,
) -> Result<(), Failure> {
    let bar = screen.bar(queries.len(), "images");
    let mut run = Run { model, results, screen, bar, tally: Tally::default() };
    let outcome = run.all(queries, args, stop);
    run.bar.finish_and_clear();
    let tally = run.tally;
    outcome?;
    tracing::info!("{tally}; results in {}", args.out.display());
    if tally.failed > 0 {
        return Err(Failure::Problems(format!(
            "{} of {} queries failed, as reported above; mend or remove them and run again with \
             --skip-done",
            tally.failed,
            queries.len()
        )));
    }
    Ok(())
}

/// A model and its support sets, one a class.
struct Episodic {
    segmenter: Segmenter,
    supports: Vec<Support>,
    /// What labels mean; `None` for a single class without a name.
    legend: Option<Legend>,
}

impl Predictor for Episodic {
    type Found = Segmentation;

    fn segment(&self, query: &Query, image: &RgbImage) -> Result<Segmentation, Failure> {
        let found = match self.supports.as_slice() {
            [support] => self.segmenter.segment(support, image)?,
            ways => self.segmenter.segment_ways(ways, image)?,
        };
        if found.scale < 1.0 {
            tracing::info!(
                "{}: shrunk to {:.1} % of its size for the network; --max-side allows more",
                query.path.display(),
                100.0 * found.scale
            );
        }
        Ok(found)
    }

    fn write(
        &self,
        results: &Results<'_>,
        stem: &str,
        image: &RgbImage,
        found: &Segmentation,
    ) -> Result<(), Failure> {
        match &self.legend {
            Some(legend) => results.write_parts(stem, &found.mask, &found.logits, || {
                legend.overlay(image, &found.mask)
            }),
            None => results.write(stem, image, found),
        }
    }

    fn describe(&self, found: &Segmentation) -> String {
        if let Some(legend) = &self.legend {
            return legend.shares(&found.mask);
        }
        let foreground = found.mask.iter().filter(|label| **label != 0).count();
        let share = foreground as f64 / found.mask.len() as f64;
        format!("{} % foreground", output::percent(Some(share)))
    }
}

/// What the model learns from.
enum Examples {
    /// Images with masks, for each class.
    Masks(Vec<Way>),
    /// Images alone.
    Text(Vec<Unlabelled>),
}

impl Examples {
    /// What labels mean, if the classes have names.
    fn legend(&self) -> Option<Legend> {
        let Self::Masks(ways) = self else { return None };
        let names: Option<Vec<&str>> = ways.iter().map(|way| way.name.as_deref()).collect();
        names.map(|names| Legend::new(names.into_iter().map(|name| (name, "way"))))
    }
}

/// How many queries came to what end.
#[derive(Debug, Default)]
struct Tally {
    done: usize,
    skipped: usize,
    failed: usize,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} segmented", self.done)?;
        if self.skipped > 0 {
            write!(f, ", {} were done already", self.skipped)?;
        }
        if self.failed > 0 {
            write!(f, ", {} failed", self.failed)?;
        }
        Ok(())
    }
}

struct Run<'a, P> {
    model: &'a P,
    results: &'a Results<'a>,
    screen: &'a Screen,
    bar: ProgressBar,
    tally: Tally,
}

impl<P: Predictor> Run<'_, P> {
    fn all(&mut self, queries: &[Query], args: &PredictArgs, stop: &Stop) -> Result<(), Failure> {
        for query in queries {
            if stop.is_requested() {
                return Err(Failure::Interrupted {
                    done: format!(
                        "{} of {} queries are done",
                        self.tally.done + self.tally.skipped,
                        queries.len()
                    ),
                    next: "run the same command with --skip-done to go on".into(),
                });
            }
            self.bar.set_message(query.name());
            if args.skip_done && self.results.are_there(&query.stem) {
                self.tally.skipped += 1;
            } else {
                self.one(query)?;
            }
            self.bar.inc(1);
        }
        Ok(())
    }

    /// Segments one query. A query that cannot be read or segmented is reported and counted; a
    /// result that cannot be written ends the run, since the next one could not be either.
    fn one(&mut self, query: &Query) -> Result<(), Failure> {
        let segmented =
            data::io::read_image(&query.path).map_err(Failure::from).and_then(|image| {
                let found = self.model.segment(query, &image)?;
                Ok((image, found))
            });
        let (image, found) = match segmented {
            Ok(segmented) => segmented,
            Err(failure) => {
                tracing::error!("{}", describe(&failure));
                self.tally.failed += 1;
                return Ok(());
            }
        };
        self.model.write(self.results, &query.stem, &image, &found)?;
        self.tally.done += 1;
        let line = format!("{}: {}\n", query.name(), self.model.describe(&found));
        self.screen.above_bars(|| output::print(&line))
    }
}
