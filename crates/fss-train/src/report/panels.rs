//! Pictures of episodes: supports with masks, query, truth, prediction.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use fss_data::draw::{Comparison, EpisodeView, PanelStyle, episode_panel, stack};
use fss_data::episode::Episode;
use fss_data::io::write_png;
use fss_data::transform::Role;
use fss_heads::FewShotModel;
use fss_metrics::BinaryCounts;
use image::RgbImage;
use ndarray::Array2;

use super::{Panel, PanelImage};
use crate::evaluate::{EpisodeRecord, Evaluation, EvaluationPlan, predict_episode};
use crate::{EpisodeData, Stop, TrainError};

/// Segments the first `each` episodes of every class under a plan's first seed, and writes a panel
/// `<class>-<number>.png` of each into `folder`, and `overview.png` with the first of every class.
/// Images are drawn in the size in which they are compared.
///
/// # Errors
/// [`TrainError`] if episodes cannot be drawn or read, or a file cannot be written.
pub fn save_panels<M: FewShotModel>(
    model: &M,
    data: &EpisodeData,
    plan: &EvaluationPlan,
    each: usize,
    folder: &Path,
    device: &Device,
) -> Result<Vec<Panel>, TrainError> {
    std::fs::create_dir_all(folder).map_err(|e| TrainError::io("create folder", folder, e))?;
    let seed = plan.seeds.first().copied().unwrap_or_default();
    let drawn = plan.draw(data, seed)?;
    let (mut panels, mut overview) = (Vec::new(), Vec::new());
    for class in data.tested(plan.protocol) {
        let episodes = drawn.iter().filter(|episode| episode.class == class).take(each);
        for (number, episode) in episodes.enumerate() {
            let name = data.dataset.class_name(class);
            let path = folder.join(format!("{name}-{}.png", number + 1));
            let (picture, caption) = panel(model, data, plan, episode, device)?;
            write_png(&path, &picture)?;
            if number == 0 {
                overview.push(picture);
            }
            let png = std::fs::read(&path).map_err(|e| TrainError::io("read", &path, e))?;
            panels.push(Panel { image: PanelImage::Png(png), caption });
        }
    }
    write_png(&folder.join("overview.png"), &stack(&overview))?;
    Ok(panels)
}

/// Which episodes of an evaluation are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    First,
    Best,
    Worst,
}

impl Shown {
    const ALL: [(Self, &'static str); 3] =
        [(Self::First, "first"), (Self::Best, "best"), (Self::Worst, "worst")];

    /// The places of `count` episodes in the order in which they were drawn. Episodes without an IoU
    /// (neither truth nor prediction has foreground) are neither good nor bad.
    fn places(self, drawn: &[EpisodeRecord], count: usize) -> Vec<usize> {
        let mut places: Vec<(usize, f64)> = match self {
            Self::First => (0..drawn.len()).map(|place| (place, 0.0)).collect(),
            _ => drawn.iter().enumerate().filter_map(|(i, one)| Some((i, one.iou?))).collect(),
        };
        match self {
            Self::First => {}
            Self::Best => places.sort_by(|a, b| b.1.total_cmp(&a.1)),
            Self::Worst => places.sort_by(|a, b| a.1.total_cmp(&b.1)),
        }
        places.into_iter().take(count).map(|(place, _)| place).collect()
    }
}

/// Writes pictures of an evaluation's first seed into `folder`: of the `each` first episodes, the `each`
/// with the best foreground IoU and the `each` with the worst, as `<first|best|worst>-<number>-<class>-<query>.png`.
/// Images are drawn in the size in which they are compared.
///
/// `model`, `data` and `plan` are those that the evaluation was made with.
///
/// # Errors
/// [`TrainError`] if episodes cannot be drawn or read, or a file cannot be written;
/// [`TrainError::Interrupted`] once `stop` is requested.
#[allow(
    clippy::too_many_arguments,
    reason = "what an evaluation is made with, and where pictures go"
)]
pub fn save_evaluation_panels<M: FewShotModel>(
    model: &M,
    data: &EpisodeData,
    plan: &EvaluationPlan,
    evaluation: &Evaluation,
    each: usize,
    folder: &Path,
    device: &Device,
    stop: &Stop,
) -> Result<Vec<PathBuf>, TrainError> {
    std::fs::create_dir_all(folder).map_err(|e| TrainError::io("create folder", folder, e))?;
    let Some(run) = evaluation.runs.first() else { return Ok(Vec::new()) };
    let drawn = evaluation.shard.pick(plan.draw(data, run.seed)?);
    let mut files = Vec::new();
    for (shown, word) in Shown::ALL {
        for (number, place) in shown.places(&run.drawn, each).into_iter().enumerate() {
            if stop.is_requested() {
                return Err(TrainError::Interrupted { what: "drawing pictures of episodes" });
            }
            let (picture, _) = panel(model, data, plan, &drawn[place], device)?;
            let record = &run.drawn[place];
            let name = format!(
                "{word}-{}-{}-{}.png",
                number + 1,
                data.dataset.class_name(record.class),
                record.query
            );
            // Names of one's own classes and images may hold what paths are made of.
            let path = folder.join(name.replace(['/', '\\', ':'], "_"));
            write_png(&path, &picture)?;
            files.push(path);
        }
    }
    Ok(files)
}

/// One panel and its caption.
fn panel<M: FewShotModel>(
    model: &M,
    data: &EpisodeData,
    plan: &EvaluationPlan,
    episode: &Episode,
    device: &Device,
) -> Result<(RgbImage, String), TrainError> {
    let prediction = predict_episode(model, data, plan, episode, device)?;
    let transform = plan.protocol.transform(data.benchmark());
    let view = |position: usize, role| -> Result<(RgbImage, Array2<u8>), TrainError> {
        let sample = data.dataset.load(position)?;
        let labels = transform.mask(&sample.mask, role)?;
        let mask = data.dataset.class_mask(position, &labels, episode.class);
        Ok((transform.picture(&sample.image, role)?, mask))
    };
    let (query, truth) = view(episode.query, Role::Query)?;
    let supports = episode
        .supports
        .iter()
        .map(|&position| view(position, Role::Support))
        .collect::<Result<Vec<_>, TrainError>>()?;
    let counts = BinaryCounts::compare_maps(prediction.view(), truth.view())?;
    let iou = counts.iou().map_or("none".into(), |iou| format!("{:.1} %", 100.0 * iou));
    let title = format!("{}, IoU {iou}", data.dataset.class_name(episode.class));
    let view = EpisodeView {
        title: &title,
        supports: &supports,
        query: &query,
        truth: Some(&truth),
        prediction: &prediction,
    };
    let style = PanelStyle { comparison: Comparison::Errors, ..PanelStyle::default() };
    Ok((
        episode_panel(&view, &style)?,
        format!("{title}, query {}", data.dataset.ids[episode.query]),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_and_the_worst() {
        let one = |iou| EpisodeRecord {
            class: 1,
            query: "q".into(),
            supports: Vec::new(),
            iou,
            counts: Default::default(),
        };
        let drawn = [one(Some(0.4)), one(None), one(Some(0.9)), one(Some(0.1)), one(Some(0.4))];
        assert_eq!(Shown::First.places(&drawn, 2), [0, 1]);
        assert_eq!(Shown::Best.places(&drawn, 3), [2, 0, 4]);
        assert_eq!(Shown::Worst.places(&drawn, 9), [3, 0, 4, 2]);
    }
}
