//! Maps of numbers laid over images.

use image::{Rgb, RgbImage};
use ndarray::Array2;

use super::overlay::blend;
use crate::DataError;
use crate::resize::resize_linear;
use crate::transform::ImageArea;

/// Opacity of the first and the last colour over the greyed image: where there is little to show, the
/// image shows more.
const OPACITY: [f32; 2] = [0.45, 0.7];

/// Lightness of the first and the last colour, from 0 (black) to 1 (white).
const LIGHTNESS: [f32; 2] = [0.2, 0.95];
/// Their hues in degrees: from violet over red and orange to yellow.
const HUE: [f32; 2] = [290.0, 462.0];
/// Chroma of both, and how much more there is half-way.
const CHROMA: [f32; 2] = [0.09, 0.12];

/// The colours of the values from 0 to 1, in 256 steps.
///
/// Lightness, as people see it, rises in equal steps ("A perceptual color space for image processing",
/// Ottosson 2020), so that the map reads the same in grey and to colour-blind readers.
pub fn heat_colours() -> [[u8; 3]; 256] {
    std::array::from_fn(|step| {
        let at = step as f32 / 255.0;
        let chroma = CHROMA[0] + CHROMA[1] * 4.0 * at * (1.0 - at);
        let (sine, cosine) = between(HUE, at).to_radians().sin_cos();
        srgb(between(LIGHTNESS, at), chroma * cosine, chroma * sine)
    })
}

fn between([from, to]: [f32; 2], at: f32) -> f32 {
    from + (to - from) * at
}

/// A colour of Ottosson's space as 8-bit sRGB, cut to what a screen shows.
fn srgb(lightness: f32, a: f32, b: f32) -> [u8; 3] {
    let cones = [
        lightness + 0.396_337_78 * a + 0.215_803_76 * b,
        lightness - 0.105_561_346 * a - 0.063_854_17 * b,
        lightness - 0.089_484_18 * a - 1.291_485_5 * b,
    ]
    .map(|root| root * root * root);
    let rows = [
        [4.076_741_7, -3.307_711_6, 0.230_969_94],
        [-1.268_438, 2.609_757_4, -0.341_319_38],
        [-0.004_196_086_3, -0.703_418_6, 1.707_614_7],
    ];
    rows.map(|row: [f32; 3]| {
        let linear: f32 = std::iter::zip(row, cones).map(|(weight, cone)| weight * cone).sum();
        let linear = linear.clamp(0.0, 1.0);
        let shown = match linear <= 0.003_130_8 {
            true => 12.92 * linear,
            false => 1.055 * linear.powf(1.0 / 2.4) - 0.055,
        };
        (255.0 * shown + 0.5) as u8
    })
}

/// The image in grey under a map of values from 0 to 1, in the colours of [`heat_colours`]. `area` is
/// the part of the image that the map shows; the rest of the image stays grey. Values beyond the range
/// have the colour of its end.
///
/// # Shapes
/// - map: `[h, w]`, of any size; it is enlarged smoothly
///
/// # Errors
/// [`DataError::Setting`] if the map is empty or the area is, or lies outside the image.
pub fn heat_overlay(
    image: &RgbImage,
    map: &Array2<f32>,
    area: ImageArea,
) -> Result<RgbImage, DataError> {
    let (width, height) = image.dimensions();
    let ends = [area.left.checked_add(area.width), area.top.checked_add(area.height)];
    if std::iter::zip(ends, [width, height]).any(|(end, side)| end.is_none_or(|end| end > side)) {
        return Err(DataError::Setting {
            what: format!("{area:?} lies outside an image of {width}x{height} pixels"),
            remedy: "name a part of the image".into(),
        });
    }
    let heat = resize_linear(map, [area.height as usize, area.width as usize])?;
    let colours = heat_colours();
    let mut drawn = image.clone();
    for pixel in drawn.pixels_mut() {
        let [r, g, b] = pixel.0.map(f32::from);
        // Rec. 601, as pictures in 8 bits are made grey.
        *pixel = Rgb([(0.299 * r + 0.587 * g + 0.114 * b + 0.5) as u8; 3]);
    }
    for ((y, x), value) in heat.indexed_iter() {
        let pixel = drawn.get_pixel_mut(area.left + x as u32, area.top + y as u32);
        // A number that is none is drawn as 0.
        let step = (255.0 * value.clamp(0.0, 1.0) + 0.5) as u8;
        *pixel = mixed(*pixel, &colours, step);
    }
    Ok(drawn)
}

fn mixed(grey: Rgb<u8>, colours: &[[u8; 3]; 256], step: u8) -> Rgb<u8> {
    blend(grey, colours[usize::from(step)], between(OPACITY, f32::from(step) / 255.0))
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    fn luma([r, g, b]: [u8; 3]) -> f32 {
        let linear = |v: u8| (f32::from(v) / 255.0).powf(2.2);
        0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
    }

    #[test]
    fn colours_rise_from_dark_to_bright() {
        let colours = heat_colours();
        for pair in colours.windows(8) {
            assert!(luma(pair[7]) > luma(pair[0]), "{pair:?}");
        }
        assert!(luma(colours[0]) < 0.02 && luma(colours[255]) > 0.8, "{colours:?}");
        // Neighbours are hard to tell apart, so there is no edge where the map has none.
        for pair in colours.windows(2) {
            let far = std::iter::zip(pair[0], pair[1]).any(|(a, b)| a.abs_diff(b) > 6);
            assert!(!far, "{pair:?}");
        }
    }

    #[test]
    fn the_map_lies_over_its_part_of_the_image() {
        let image = RgbImage::from_pixel(8, 4, Rgb([200, 100, 0]));
        let area = ImageArea { left: 2, top: 0, width: 4, height: 4 };
        let drawn = heat_overlay(&image, &array![[0.0, 1.0], [0.0, f32::NAN]], area).unwrap();
        assert_eq!(drawn.dimensions(), (8, 4));
        for x in [0, 1, 6, 7] {
            assert_eq!(drawn.get_pixel(x, 2).0, [119; 3], "column {x} is not seen");
        }
        let colours = heat_colours();
        assert_eq!(*drawn.get_pixel(2, 0), mixed(Rgb([119; 3]), &colours, 0));
        assert_eq!(*drawn.get_pixel(5, 0), mixed(Rgb([119; 3]), &colours, 255));
        let beyond = ImageArea { left: 5, ..area };
        let error = heat_overlay(&image, &array![[0.0]], beyond).unwrap_err().to_string();
        assert!(error.contains("8x4"), "{error}");
        assert!(heat_overlay(&image, &Array2::zeros((0, 3)), area).is_err());
        let huge = ImageArea { left: 5, width: u32::MAX, ..area };
        assert!(heat_overlay(&image, &array![[0.0]], huge).is_err());
    }
}
