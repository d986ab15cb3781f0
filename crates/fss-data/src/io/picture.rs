//! Colour images.

use std::io::Cursor;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::{ColorType, DynamicImage, ImageEncoder, ImageReader, Limits, Rgb, RgbImage};

use super::{MAX_PIXELS, MAX_SIDE, check_size_limits, jpeg, read_file, write_atomic};
use crate::DataError;

/// Reads an image as 8-bit RGB `[H, W, 3]`: JPEG, PNG, BMP, WebP, TIFF or the first frame of a GIF,
/// told apart by content, not by name.
///
/// Grey is spread over the three channels, palettes are resolved, an alpha channel is dropped (not
/// blended), 16-bit values keep their high byte, CMYK is converted. The EXIF orientation is
/// deliberately **not** applied: Pillow's `open`, by which the published numbers were made, does
/// not either, and masks are drawn on the stored pixels.
///
/// # Errors
/// [`DataError`] naming the file: missing, not an image, damaged or truncated, of a floating-point
/// format, or larger than [`MAX_SIDE`] and [`MAX_PIXELS`].
pub fn read_image(path: &Path) -> Result<RgbImage, DataError> {
    decode_image(path, &read_file(path)?)
}

/// As [`read_image`], from memory; messages name `path`.
pub(crate) fn decode_image(path: &Path, bytes: &[u8]) -> Result<RgbImage, DataError> {
    if jpeg::is_jpeg(bytes) {
        return jpeg::decode(path, bytes);
    }
    let (width, height) = size_of(path, bytes)?;
    check_size_limits(path, width, height)?;
    let mut reader = reader(path, bytes)?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    // Eight bytes a pixel: 16-bit RGB with alpha.
    limits.max_alloc = Some(8 * MAX_PIXELS);
    reader.limits(limits);
    let decoded = reader.decode().map_err(|error| undecodable(path, &error))?;
    to_rgb(path, decoded)
}

/// The width and height of an image in pixels, from its header alone.
///
/// # Errors
/// [`DataError`] naming the file when it is missing or not an image.
pub fn image_size(path: &Path) -> Result<(u32, u32), DataError> {
    let file = std::fs::File::open(path).map_err(|source| DataError::io("read", path, source))?;
    ImageReader::new(std::io::BufReader::new(file))
        .with_guessed_format()
        .map_err(|source| DataError::io("read", path, source))?
        .into_dimensions()
        .map_err(|error| undecodable(path, &error))
}

fn size_of(path: &Path, bytes: &[u8]) -> Result<(u32, u32), DataError> {
    reader(path, bytes)?.into_dimensions().map_err(|error| undecodable(path, &error))
}

fn reader<'a>(path: &Path, bytes: &'a [u8]) -> Result<ImageReader<Cursor<&'a [u8]>>, DataError> {
    let reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|source| DataError::io("read", path, source))?;
    if reader.format().is_none() {
        let problem = if bytes.is_empty() { "the file is empty" } else { "this is not an image" };
        return Err(DataError::invalid(path, problem, "give a JPEG, PNG, BMP, WebP or TIFF file"));
    }
    Ok(reader)
}

fn undecodable(path: &Path, error: &image::ImageError) -> DataError {
    DataError::invalid(
        path,
        format!("the image cannot be decoded ({error})"),
        "fetch the file again or save it anew as JPEG or PNG",
    )
}

fn to_rgb(path: &Path, decoded: DynamicImage) -> Result<RgbImage, DataError> {
    let high = |value: u16| (value >> 8) as u8;
    let (width, height) = (decoded.width(), decoded.height());
    let rgb = match decoded {
        DynamicImage::ImageRgb8(pixels) => pixels,
        DynamicImage::ImageLuma16(p) => {
            RgbImage::from_fn(width, height, |x, y| Rgb([high(p.get_pixel(x, y).0[0]); 3]))
        }
        DynamicImage::ImageLumaA16(p) => {
            RgbImage::from_fn(width, height, |x, y| Rgb([high(p.get_pixel(x, y).0[0]); 3]))
        }
        DynamicImage::ImageRgb16(p) => {
            RgbImage::from_fn(width, height, |x, y| Rgb(p.get_pixel(x, y).0.map(high)))
        }
        DynamicImage::ImageRgba16(p) => RgbImage::from_fn(width, height, |x, y| {
            let [r, g, b, _] = p.get_pixel(x, y).0.map(high);
            Rgb([r, g, b])
        }),
        other @ (DynamicImage::ImageLuma8(_)
        | DynamicImage::ImageLumaA8(_)
        | DynamicImage::ImageRgba8(_)) => other.into_rgb8(),
        other => {
            return Err(DataError::invalid(
                path,
                format!("images of the kind {:?} have no fixed range of values", other.color()),
                "save it as an 8-bit JPEG or PNG",
            ));
        }
    };
    Ok(rgb)
}

/// Writes an image as 8-bit RGB PNG, atomically.
///
/// # Errors
/// [`DataError::Io`] naming the file when it cannot be written.
pub fn write_png(path: &Path, image: &RgbImage) -> Result<(), DataError> {
    let mut bytes = Vec::new();
    image::codecs::png::PngEncoder::new(&mut bytes)
        .write_image(image, image.width(), image.height(), ColorType::Rgb8.into())
        .map_err(|error| not_encoded(path, &error))?;
    write_atomic(path, &bytes)
}

/// Writes an image as JPEG of the given quality (1 to 100), atomically.
///
/// # Errors
/// [`DataError`] naming the file when it cannot be written or the image is empty.
pub fn write_jpeg(path: &Path, image: &RgbImage, quality: u8) -> Result<(), DataError> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality.clamp(1, 100))
        .encode_image(image)
        .map_err(|error| not_encoded(path, &error))?;
    write_atomic(path, &bytes)
}

fn not_encoded(path: &Path, error: &image::ImageError) -> DataError {
    DataError::invalid(
        path,
        format!("the image cannot be encoded ({error})"),
        "give an image of at least 1x1 pixels",
    )
}

#[cfg(test)]
mod tests;
