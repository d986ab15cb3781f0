//! Pictures of episodes: supports with masks, query, truth, prediction.

use std::path::Path;

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
use crate::evaluate::{EvaluationPlan, predict_episode};
use crate::{EpisodeData, TrainError};

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
