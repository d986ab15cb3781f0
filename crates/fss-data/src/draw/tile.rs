//! Captioned tiles, their arrangement, and legends.

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use ndarray::Array2;

use super::colours;
use super::font::{LINE, draw_text, fit, text_width};
use super::overlay::blend;

/// Space between tiles and around pictures, in pixels.
pub(super) const GAP: u32 = 12;
/// Space between a caption and what it stands above.
const CAPTION_GAP: u32 = 6;
/// Radius of the corners of tiles.
const CORNER: f32 = 6.0;

/// A picture with a caption above it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tile {
    /// The picture.
    pub image: RgbImage,
    /// One line of ASCII text; cut if it is wider than the picture. Empty for no caption.
    pub caption: String,
}

impl Tile {
    /// A tile with its caption.
    pub fn new(image: RgbImage, caption: impl Into<String>) -> Self {
        Self { image, caption: caption.into() }
    }

    /// The same with its picture at another size, that of its own proportions which fits into a square.
    #[must_use]
    pub fn fitted(self, side: u32) -> Self {
        Self { image: fitted(&self.image, [side; 2]), ..self }
    }
}

/// Arranges tiles in rows on white paper; within a row, pictures begin at the same height.
pub fn grid(rows: &[Vec<Tile>]) -> RgbImage {
    let drawn: Vec<RgbImage> = rows.iter().map(|row| beside(row)).collect();
    framed(&below(&drawn, GAP))
}

/// Pictures beneath each other on white paper, from the left.
pub fn stack(pictures: &[RgbImage]) -> RgbImage {
    below(pictures, 0)
}

/// What the colours mean, in one line: a patch of each colour and its name.
pub fn legend(entries: &[([u8; 3], &str)]) -> RgbImage {
    let patches: Vec<RgbImage> = entries
        .iter()
        .map(|&(colour, name)| {
            let mut entry = paper(LINE + CAPTION_GAP + text_width(name), LINE);
            let patch = rounded(RgbImage::from_pixel(LINE, LINE, Rgb(colour)));
            imageops::replace(&mut entry, &patch, 0, 0);
            draw_text(&mut entry, LINE + CAPTION_GAP, 1, name, colours::INK);
            entry
        })
        .collect();
    let width = spaced(patches.iter().map(RgbImage::width), 2 * GAP);
    let mut line = paper(width, LINE);
    let mut x = 0;
    for patch in &patches {
        imageops::replace(&mut line, patch, x, 0);
        x += i64::from(patch.width() + 2 * GAP);
    }
    framed(&line)
}

/// A line of text as a picture.
pub(super) fn text_line(text: &str, width: u32) -> RgbImage {
    let text = fit(text, width);
    let mut line = paper(text_width(&text), LINE);
    draw_text(&mut line, 0, 0, &text, colours::INK);
    line
}

/// Tiles side by side, without a margin.
pub(super) fn beside(tiles: &[Tile]) -> RgbImage {
    let captioned = tiles.iter().any(|tile| !tile.caption.is_empty());
    let top = if captioned { LINE + CAPTION_GAP } else { 0 };
    let height = tiles.iter().map(|tile| tile.image.height()).max().unwrap_or(0);
    let mut row = paper(spaced(tiles.iter().map(|tile| tile.image.width()), GAP), top + height);
    let mut x = 0;
    for tile in tiles {
        let caption = fit(&tile.caption, tile.image.width());
        draw_text(&mut row, x, 0, &caption, colours::INK);
        imageops::replace(&mut row, &tile.image, x.into(), top.into());
        x += tile.image.width() + GAP;
    }
    row
}

/// Pictures beneath each other, from the left, without a margin.
pub(super) fn below(pictures: &[RgbImage], gap: u32) -> RgbImage {
    let width = pictures.iter().map(RgbImage::width).max().unwrap_or(0);
    let mut column = paper(width, spaced(pictures.iter().map(RgbImage::height), gap));
    let mut y = 0;
    for picture in pictures {
        imageops::replace(&mut column, picture, 0, y.into());
        y += picture.height() + gap;
    }
    column
}

/// A picture with a margin around it.
pub(super) fn framed(picture: &RgbImage) -> RgbImage {
    let mut frame = paper(picture.width() + 2 * GAP, picture.height() + 2 * GAP);
    imageops::replace(&mut frame, picture, GAP.into(), GAP.into());
    frame
}

/// The image at the largest size of its own proportions that fits into `width` x `height`.
pub(super) fn fitted(image: &RgbImage, [width, height]: [u32; 2]) -> RgbImage {
    let [from_width, from_height] = [image.width().max(1), image.height().max(1)].map(f64::from);
    let scale = (f64::from(width) / from_width).min(f64::from(height) / from_height);
    let side = |n: f64| ((n * scale).round() as u32).max(1);
    // A smooth filter for photographs in both directions.
    imageops::resize(image, side(from_width), side(from_height), FilterType::CatmullRom)
}

/// The mask at the size of an image, by nearest neighbour.
pub(super) fn mask_like(mask: &Array2<u8>, image: &RgbImage) -> Array2<u8> {
    let (from_height, from_width) = mask.dim();
    let (height, width) = (image.height() as usize, image.width() as usize);
    let nearest = |at: usize, to: usize, from: usize| (2 * at + 1) * from / (2 * to);
    Array2::from_shape_fn((height, width), |(y, x)| {
        mask[[nearest(y, height, from_height), nearest(x, width, from_width)]]
    })
}

/// The picture with rounded corners on white paper.
pub(super) fn rounded(mut picture: RgbImage) -> RgbImage {
    let [width, height] = [picture.width(), picture.height()].map(|n| n as f32);
    let radius = CORNER.min(width / 4.0).min(height / 4.0);
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let out = |at: u32, side: f32| {
            let at = at as f32 + 0.5;
            (radius - at).max(at - (side - radius)).max(0.0)
        };
        let beyond = out(x, width).hypot(out(y, height)) - radius;
        *pixel = blend(*pixel, colours::PAPER, (beyond + 0.5).clamp(0.0, 1.0));
    }
    picture
}

fn paper(width: u32, height: u32) -> RgbImage {
    RgbImage::from_pixel(width, height, Rgb(colours::PAPER))
}

/// The sum of the sides with gaps between them.
fn spaced(sides: impl ExactSizeIterator<Item = u32>, gap: u32) -> u32 {
    let gaps = sides.len().saturating_sub(1) as u32 * gap;
    sides.sum::<u32>() + gaps
}
