//! Prediction with a model that knows its classes.

use fss_core::data::draw::{OverlayStyle, legend, overlay, stack, voc_palette};
use fss_core::{GeneralizedOptions, GeneralizedSegmentation, GeneralizedSegmenter, data};
use image::RgbImage;
use serde::Serialize;

use super::queries::Query;
use super::results::Results;
use super::{PredictArgs, Predictor, all};
use crate::args::Global;
use crate::failure::Failure;
use crate::progress::Screen;
use crate::{interrupt, output};

/// The file that says what labels mean.
const LEGEND: &str = "legend.json";

/// Classes in a line of an overlay's legend.
const LEGEND_COLUMNS: usize = 4;

/// One class of the legend.
#[derive(Debug, Serialize)]
struct Entry<'a> {
    /// Its number in masks.
    label: usize,
    name: &'a str,
    /// `background`, `base` or `novel`.
    kind: &'static str,
    /// Its colour in masks and overlays.
    rgb: [u8; 3],
}

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
    let segmenter = GeneralizedSegmenter::load(&args.model.weights, options, &device)?;
    let model = Generalized { segmenter };
    let entries = serde_json::to_string_pretty(&model.legend()).map_err(|e| {
        Failure::request(format!("the legend cannot be written ({e})"), "choose other --names")
    })?;
    let path = results.folder().join(LEGEND);
    data::io::write_atomic(&path, format!("{entries}\n").as_bytes())?;
    all(&model, queries, args, &results, screen, &stop)
}

struct Generalized {
    segmenter: GeneralizedSegmenter,
}

impl Generalized {
    fn legend(&self) -> Vec<Entry<'_>> {
        let base = self.segmenter.classes().base;
        let palette = voc_palette();
        let names = self.segmenter.names().iter().map(String::as_str);
        std::iter::once("background")
            .chain(names)
            .enumerate()
            .map(|(label, name)| {
                let kind = match label {
                    0 => "background",
                    label if label <= base => "base",
                    _ => "novel",
                };
                Entry { label, name, kind, rgb: palette[label] }
            })
            .collect()
    }

    /// The classes in a mask, background left out, with their pixels; the largest first.
    fn present(&self, found: &GeneralizedSegmentation) -> Vec<(usize, usize)> {
        let mut counts = [0usize; 256];
        found.labels.iter().for_each(|label| counts[usize::from(*label)] += 1);
        let mut present: Vec<(usize, usize)> =
            counts.into_iter().enumerate().skip(1).filter(|(_, count)| *count > 0).collect();
        present.sort_by_key(|(label, count)| (std::cmp::Reverse(*count), *label));
        present
    }
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
        results.write_parts(stem, &found.labels, &found.logits, || {
            let drawn = overlay(image, &found.labels, &OverlayStyle::default())?;
            let all = self.legend();
            let present = self.present(found);
            if present.is_empty() {
                return Ok(drawn);
            }
            let entries: Vec<_> =
                present.iter().map(|(label, _)| (all[*label].rgb, all[*label].name)).collect();
            let lines = entries.chunks(LEGEND_COLUMNS).map(legend);
            Ok(stack(&std::iter::once(drawn).chain(lines).collect::<Vec<_>>()))
        })
    }

    fn describe(&self, found: &GeneralizedSegmentation) -> String {
        let names = self.segmenter.names();
        let share = |count: usize| Some(count as f64 / found.labels.len() as f64);
        let parts: Vec<String> = self
            .present(found)
            .into_iter()
            .map(|(label, count)| {
                format!("{} % {}", output::percent(share(count)), names[label - 1])
            })
            .collect();
        match parts.is_empty() {
            true => "background alone".to_owned(),
            false => parts.join(", "),
        }
    }
}
