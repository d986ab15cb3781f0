//! Prediction with a model that knows its classes.

use fss_core::{GeneralizedOptions, GeneralizedSegmentation, GeneralizedSegmenter};
use image::RgbImage;

use super::legend::Legend;
use super::queries::Query;
use super::results::Results;
use super::{PredictArgs, Predictor, all};
use crate::args::Global;
use crate::failure::Failure;
use crate::interrupt;
use crate::progress::Screen;

/// Labels all queries.
pub fn run(
    args: &PredictArgs,
    options: &GeneralizedOptions,
    queries: &[Query],
    results: Results<'_>,
    global: &Global,
    screen: &Screen,
) -> Result<(), Failure> {
    let device = global.device()?;
    let stop = interrupt::install("finishing the current image")?;
    args.model.refuse_half("pop and pspnet")?;
    let segmenter = GeneralizedSegmenter::load(&args.model.weights, options, &device)?;
    let legend = legend(&segmenter);
    legend.write(&results)?;
    all(&Generalized { segmenter, legend }, queries, args, &results, screen, &stop)
}

fn legend(segmenter: &GeneralizedSegmenter) -> Legend {
    let base = segmenter.classes().base;
    let kind = |index: usize| if index < base { "base" } else { "novel" };
    let names = segmenter.names().iter().enumerate();
    Legend::new(names.map(|(index, name)| (name.as_str(), kind(index))))
}

struct Generalized {
    segmenter: GeneralizedSegmenter,
    legend: Legend,
}

impl Predictor for Generalized {
    type Found = GeneralizedSegmentation;

    fn segment(&self, _: &Query, image: &RgbImage) -> Result<GeneralizedSegmentation, Failure> {
        Ok(self.segmenter.segment(image)?)
    }

    fn write(
        &self,
        results: &Results<'_>,
        stem: &str,
        image: &RgbImage,
        found: &GeneralizedSegmentation,
    ) -> Result<(), Failure> {
        let draw = || self.legend.overlay(image, &found.labels);
        results.write_parts(stem, &found.labels, &found.logits, draw)
    }

    fn describe(&self, found: &GeneralizedSegmentation) -> String {
        self.legend.shares(&found.labels)
    }
}
