//! Mask files of one class, whatever program wrote them.

use std::fmt;
use std::io::Cursor;
use std::path::Path;
use std::str::FromStr;

use ndarray::Array2;
use png::{BitDepth, ColorType, Decoder, Transformations};
use serde::{Deserialize, Serialize};

use crate::io::{self, MAX_PIXELS, check_size_limits, read_file};
use crate::{DataError, IGNORE_INDEX};

/// Which pixels of a mask file show the class.
///
/// As text: `nonzero`, a number, or `#rrggbb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum MaskValue {
    /// All whose value is not 0: 0/1 and 0/255 masks, palettes (by index), colours other than black.
    /// Fully transparent pixels are background.
    #[default]
    NonZero,
    /// Those of this grey value or palette index.
    Value(u8),
    /// Those of this RGB colour.
    Colour([u8; 3]),
}

impl fmt::Display for MaskValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NonZero => f.write_str("nonzero"),
            Self::Value(value) => write!(f, "{value}"),
            Self::Colour([r, g, b]) => write!(f, "#{r:02x}{g:02x}{b:02x}"),
        }
    }
}

impl FromStr for MaskValue {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let colour = |digits: &str| {
            let number = u32::from_str_radix(digits, 16).ok()?;
            let [_, r, g, b] = number.to_be_bytes();
            (digits.len() == 6 && digits.is_ascii()).then_some(Self::Colour([r, g, b]))
        };
        let parsed = match text.strip_prefix('#') {
            Some(digits) => colour(digits),
            None if text == "nonzero" => Some(Self::NonZero),
            None => text.parse().ok().map(Self::Value),
        };
        parsed.ok_or_else(|| DataError::Setting {
            what: format!("{text:?} is no value of a mask"),
            remedy: "use a grey value or palette index (0 to 255), a colour as in #ff0000, or \
                     nonzero"
                .into(),
        })
    }
}

impl TryFrom<String> for MaskValue {
    type Error = DataError;

    fn try_from(text: String) -> Result<Self, DataError> {
        text.parse()
    }
}

impl From<MaskValue> for String {
    fn from(value: MaskValue) -> Self {
        value.to_string()
    }
}

/// Reads a mask file `[H, W]`: 1 where it shows the class, 255 where its value is `ignored` (of a
/// coloured file: where all three channels have that value), else 0.
///
/// PNG of every kind (1 to 16 bits; grey, palette, colour, with or without alpha), BMP, TIFF and GIF.
///
/// # Errors
/// [`DataError`] naming the file: missing, no such picture, damaged, of a lossy format, coloured
/// where a grey value is asked for, or a palette whose black is not its first colour where any value
/// but 0 is asked for.
pub fn read_marks(
    path: &Path,
    value: MaskValue,
    ignored: Option<u8>,
) -> Result<Array2<u8>, DataError> {
    let bytes = read_file(path)?;
    match image::guess_format(&bytes) {
        Ok(image::ImageFormat::Png) => read_png(path, &bytes, value, ignored),
        Ok(format @ (image::ImageFormat::Jpeg | image::ImageFormat::WebP)) => {
            Err(DataError::invalid(
                path,
                format!("this mask is {format:?}, which blurs the values of a mask"),
                "save the masks as PNG",
            ))
        }
        // Through 8-bit colours: these formats hold no labels that would be lost.
        _ => {
            let picture = io::read_image(path)?;
            let size = (picture.height() as usize, picture.width() as usize);
            let rgb = picture.pixels().map(|pixel| mark_of(pixel.0.map(u16::from), value, ignored));
            let marks = rgb.collect::<Option<Vec<u8>>>().ok_or_else(|| coloured(path, value))?;
            Ok(Array2::from_shape_vec(size, marks).expect("one value a pixel"))
        }
    }
}

fn read_png(
    path: &Path,
    bytes: &[u8],
    value: MaskValue,
    ignored: Option<u8>,
) -> Result<Array2<u8>, DataError> {
    let undecodable = |error: &png::DecodingError| {
        DataError::invalid(
            path,
            format!("the mask cannot be decoded ({error})"),
            "fetch or save the file again",
        )
    };
    let limits = png::Limits { bytes: 8 * MAX_PIXELS as usize };
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(Transformations::IDENTITY);
    decoder.set_ignore_text_chunk(true);
    let header = decoder.read_header_info().map_err(|error| undecodable(&error))?;
    let (colour, depth) = (header.color_type, header.bit_depth);
    let (width, height) = (header.width, header.height);
    check_size_limits(path, width, height)?;
    let mut reader = decoder.read_info().map_err(|error| undecodable(&error))?;
    let palette = reader.info().palette.as_ref().map(|colours| colours.to_vec());

    if matches!(colour, ColorType::Indexed | ColorType::Grayscale) && depth != BitDepth::Sixteen {
        let labels = io::read_mask(path)?;
        return match (palette.filter(|_| colour == ColorType::Indexed), value) {
            (Some(palette), MaskValue::NonZero) => {
                check_palette(path, &labels, &palette)?;
                Ok(of_labels(&labels, |label| label != 0, ignored))
            }
            (Some(palette), MaskValue::Colour(wanted)) => {
                let colour = |index: u8| palette.chunks_exact(3).nth(usize::from(index));
                let matching: Vec<bool> =
                    (0..=255).map(|index| colour(index).is_some_and(|c| c == wanted)).collect();
                Ok(of_labels(&labels, |label| matching[usize::from(label)], ignored))
            }
            (None, MaskValue::Colour(wanted)) => {
                Ok(of_labels(&labels, |label| wanted == [scaled(label, depth); 3], ignored))
            }
            (_, MaskValue::NonZero) => Ok(of_labels(&labels, |label| label != 0, ignored)),
            (_, MaskValue::Value(wanted)) => {
                Ok(of_labels(&labels, |label| label == wanted, ignored))
            }
        };
    }

    let deep = depth == BitDepth::Sixteen;
    let (channels, alpha) = match colour {
        ColorType::Grayscale | ColorType::Indexed => (1, false),
        ColorType::GrayscaleAlpha => (1, true),
        ColorType::Rgb => (3, false),
        ColorType::Rgba => (3, true),
    };
    let samples = channels + usize::from(alpha);
    let pixel_bytes = samples * if deep { 2 } else { 1 };
    let mut raw = vec![0; pixel_bytes * width as usize * height as usize];
    reader.next_frame(&mut raw).map_err(|error| undecodable(&error))?;
    let marks = raw.chunks_exact(pixel_bytes).map(|pixel| {
        let sample = |channel: usize| match deep {
            true => u16::from_be_bytes([pixel[2 * channel], pixel[2 * channel + 1]]),
            false => u16::from(pixel[channel]),
        };
        if alpha && sample(channels) == 0 {
            return Some(0);
        }
        match channels {
            1 => Some(grey_mark(sample(0), value, ignored)),
            _ => mark_of([sample(0), sample(1), sample(2)], value, ignored),
        }
    });
    let marks = marks.collect::<Option<Vec<u8>>>().ok_or_else(|| coloured(path, value))?;
    Ok(Array2::from_shape_vec((height as usize, width as usize), marks).expect("one a pixel"))
}

/// A grey value of 1, 2 or 4 bits as one of 8.
fn scaled(value: u8, depth: BitDepth) -> u8 {
    match depth {
        BitDepth::One => value * 255,
        BitDepth::Two => value * 85,
        BitDepth::Four => value * 17,
        _ => value,
    }
}

fn of_labels(labels: &Array2<u8>, shows: impl Fn(u8) -> bool, ignored: Option<u8>) -> Array2<u8> {
    labels.mapv(|label| if Some(label) == ignored { IGNORE_INDEX } else { u8::from(shows(label)) })
}

fn grey_mark(grey: u16, value: MaskValue, ignored: Option<u8>) -> u8 {
    if ignored.is_some_and(|ignored| u16::from(ignored) == grey) {
        return IGNORE_INDEX;
    }
    u8::from(match value {
        MaskValue::NonZero => grey != 0,
        MaskValue::Value(wanted) => grey == u16::from(wanted),
        MaskValue::Colour(wanted) => wanted.map(u16::from) == [grey; 3],
    })
}

/// The mark of a coloured pixel; none if it has no grey value, but one is asked for.
fn mark_of([r, g, b]: [u16; 3], value: MaskValue, ignored: Option<u8>) -> Option<u8> {
    let grey = r == g && g == b;
    match value {
        _ if grey => Some(grey_mark(r, value, ignored)),
        MaskValue::NonZero => Some(1),
        MaskValue::Value(_) => None,
        MaskValue::Colour(wanted) => Some(u8::from(wanted.map(u16::from) == [r, g, b])),
    }
}

fn coloured(path: &Path, value: MaskValue) -> DataError {
    DataError::invalid(
        path,
        format!("value {value} is asked for, but the mask is a colour picture"),
        "name the colour of the class, as in #ff0000",
    )
}

/// Programs that sort palettes may give the background another index than 0. Where the colours say
/// so, "not 0" would turn the mask inside out.
fn check_palette(path: &Path, labels: &Array2<u8>, palette: &[u8]) -> Result<(), DataError> {
    let black = |index: usize| palette.chunks_exact(3).nth(index).is_some_and(|c| c == [0, 0, 0]);
    let mut used = [false; 256];
    labels.iter().for_each(|&label| used[usize::from(label)] = true);
    match (1..256).find(|&index| used[index] && black(index)) {
        Some(index) if !black(0) => Err(DataError::invalid(
            path,
            format!("index {index} of its palette is black and index 0 is not"),
            "name the index or the colour of the foreground (mask value)",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
