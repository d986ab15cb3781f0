//! One picture of a whole episode.

use image::RgbImage;
use ndarray::Array2;

use super::colours;
use super::overlay::{Colours, OverlayStyle, check_size, confusion_map, overlay};
use super::tile::{
    GAP, Tile, below, beside, fitted, framed, legend, mask_like, rounded, stack, text_line,
};
use crate::DataError;

/// The images and masks of an episode, each mask `[H, W]` at the size of its image.
#[derive(Clone, Copy, Debug)]
pub struct EpisodeView<'a> {
    /// A line above everything, such as the class and the IoU; empty for none.
    pub title: &'a str,
    /// The supports with their masks.
    pub supports: &'a [(RgbImage, Array2<u8>)],
    /// The query.
    pub query: &'a RgbImage,
    /// Its annotated mask, where there is one.
    pub truth: Option<&'a Array2<u8>>,
    /// Its predicted mask.
    pub prediction: &'a Array2<u8>,
}

/// How the prediction is compared with the truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Comparison {
    /// By eye: both are shown.
    #[default]
    SideBySide,
    /// A further tile shows the errors, with a legend.
    Errors,
}

/// How a panel looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PanelStyle {
    /// Height of the tiles in pixels; images are enlarged or reduced to it.
    pub tile_height: u32,
    /// How the prediction is compared with the truth.
    pub comparison: Comparison,
    /// How masks are laid over images. The colours are chosen by the panel.
    pub overlay: OverlayStyle,
}

impl Default for PanelStyle {
    /// Tiles of 224 pixels.
    fn default() -> Self {
        Self {
            tile_height: 224,
            comparison: Comparison::default(),
            overlay: OverlayStyle { alpha: 0.45, ..OverlayStyle::default() },
        }
    }
}

/// The supports with their masks, the query, the truth (if there is one) and the prediction side
/// by side, with captions. Several supports share the place of one.
///
/// # Errors
/// [`DataError::Setting`] where a mask has another size than its image.
pub fn episode_panel(view: &EpisodeView<'_>, style: &PanelStyle) -> Result<RgbImage, DataError> {
    let painter = Painter { style };
    let mut tiles = Vec::new();
    if !view.supports.is_empty() {
        let caption = match view.supports.len() {
            1 => "support".to_string(),
            shots => format!("{shots} supports"),
        };
        tiles.push(Tile::new(painter.supports(view.supports)?, caption));
    }
    let query = painter.fit(view.query, painter.height());
    tiles.push(Tile::new(rounded(query.clone()), "query"));
    let masked = |mask: &Array2<u8>, colours: Colours| {
        check_size("mask", mask, (view.query.height() as usize, view.query.width() as usize))?;
        painter.masked(&query, mask, colours)
    };
    if let Some(truth) = view.truth {
        tiles.push(Tile::new(masked(truth, Colours::Single(colours::TRUTH))?, "ground truth"));
    }
    let drawn = masked(view.prediction, Colours::Single(colours::PREDICTION))?;
    tiles.push(Tile::new(drawn, "prediction"));
    let errors = view.truth.filter(|_| style.comparison == Comparison::Errors);
    if let Some(truth) = errors {
        let map = confusion_map(view.prediction, truth)?;
        tiles.push(Tile::new(masked(&map, Colours::Confusion)?, "errors"));
    }

    let row = beside(&tiles);
    let mut panel = if view.title.is_empty() {
        framed(&row)
    } else {
        framed(&below(&[text_line(view.title, row.width()), row], GAP))
    };
    if errors.is_some() {
        panel = stack(&[panel, error_legend()]);
    }
    Ok(panel)
}

fn error_legend() -> RgbImage {
    legend(&[
        (colours::TRUE_POSITIVE, "found"),
        (colours::FALSE_POSITIVE, "too much"),
        (colours::FALSE_NEGATIVE, "missed"),
    ])
}

struct Painter<'a> {
    style: &'a PanelStyle,
}

impl Painter<'_> {
    fn height(&self) -> u32 {
        self.style.tile_height.clamp(16, 4096)
    }

    /// The image at the given height; flat images at most three times as wide as high.
    fn fit(&self, image: &RgbImage, height: u32) -> RgbImage {
        fitted(image, [3 * height, height])
    }

    /// Lays a mask over an image that was fitted already.
    fn masked(
        &self,
        image: &RgbImage,
        mask: &Array2<u8>,
        colours: Colours,
    ) -> Result<RgbImage, DataError> {
        let style = OverlayStyle { colours, ..self.style.overlay };
        overlay(image, &mask_like(mask, image), &style).map(rounded)
    }

    /// All supports in the height of one tile, in as many rows as columns or one less.
    fn supports(&self, supports: &[(RgbImage, Array2<u8>)]) -> Result<RgbImage, DataError> {
        let columns = (1..).find(|n| n * n >= supports.len()).unwrap_or(1);
        let rows = supports.len().div_ceil(columns) as u32;
        let height = (self.height().saturating_sub(GAP / 2 * (rows - 1)) / rows).max(8);
        let mut lines = Vec::new();
        for line in supports.chunks(columns) {
            let mut tiles = Vec::new();
            for (image, mask) in line {
                let size = (image.height() as usize, image.width() as usize);
                check_size("support mask", mask, size)?;
                let fitted = self.fit(image, height);
                let drawn = self.masked(&fitted, mask, Colours::Single(colours::SUPPORT))?;
                tiles.push(Tile::new(drawn, ""));
            }
            lines.push(beside(&tiles));
        }
        Ok(below(&lines, GAP / 2))
    }
}
