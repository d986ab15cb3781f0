//! Label masks.

use std::io::Cursor;
use std::path::Path;

use ndarray::Array2;
use png::{BitDepth, ColorType, Decoder, Transformations};

use super::write::write_atomic_unflushed;
use super::{MAX_PIXELS, check_size_limits, read_file, read_image, voc_palette, write_atomic};
use crate::DataError;

/// What to do with a file that is no label mask.
const SAVE_LABELS: &str = "save it as an 8-bit palette or grey PNG whose pixel values are the \
                           labels (0 background, 1..n classes, 255 ignore)";

/// Reads a label mask `[H, W]` from a PNG: of a palette file the **index** of each pixel (its
/// colour plays no part), of a grey file its raw value. 1, 2 and 4 bits a pixel are not scaled.
///
/// # Errors
/// [`DataError`] naming the file: missing, not a PNG, damaged or truncated, coloured (RGB), with an
/// alpha channel, 16 bits deep, or too large.
pub fn read_mask(path: &Path) -> Result<Array2<u8>, DataError> {
    let bytes = read_file(path)?;
    let mut decoder = Decoder::new_with_limits(
        Cursor::new(bytes.as_slice()),
        png::Limits { bytes: 2 * MAX_PIXELS as usize },
    );
    decoder.set_transformations(Transformations::IDENTITY);
    decoder.set_ignore_text_chunk(true);
    let header = decoder.read_header_info().map_err(|error| undecodable(path, &bytes, &error))?;
    let (width, height) = (header.width, header.height);
    check_kind(path, header.color_type, header.bit_depth)?;
    check_size_limits(path, width, height)?;
    let bits = header.bit_depth as usize;

    let mut reader = decoder.read_info().map_err(|error| undecodable(path, &bytes, &error))?;
    let line = (width as usize * bits).div_ceil(8);
    let mut packed = vec![0; line * height as usize];
    reader.next_frame(&mut packed).map_err(|error| undecodable(path, &bytes, &error))?;
    let labels = if bits == 8 { packed } else { unpack(&packed, line, width as usize, bits) };
    Ok(Array2::from_shape_vec((height as usize, width as usize), labels)
        .expect("one value a pixel, by construction"))
}

/// Reads a picture as a mask of one class `[H, W]`: 1 where its luma is at least `threshold`, else 0.
///
/// Luma is that of Pillow: `(19595 R + 38470 G + 7471 B + 32768) / 65536`, rounded down; of a grey
/// picture it is the grey value, of a palette file that of the colours.
///
/// # Errors
/// [`DataError`] naming the file when it is missing or no image.
pub fn read_binary_mask(path: &Path, threshold: u8) -> Result<Array2<u8>, DataError> {
    let picture = read_image(path)?;
    let values = picture.pixels().map(|&image::Rgb([r, g, b])| {
        let luma = 19_595 * u32::from(r) + 38_470 * u32::from(g) + 7_471 * u32::from(b) + 0x8000;
        u8::from(luma >> 16 >= u32::from(threshold))
    });
    let size = (picture.height() as usize, picture.width() as usize);
    Ok(Array2::from_shape_vec(size, values.collect()).expect("one value a pixel"))
}

/// The width and height of a mask file in pixels, from its header alone.
///
/// # Errors
/// [`DataError`] naming the file when it is missing or not a PNG.
pub fn mask_size(path: &Path) -> Result<(u32, u32), DataError> {
    let file = std::fs::File::open(path).map_err(|source| DataError::io("read", path, source))?;
    let mut decoder = Decoder::new(std::io::BufReader::new(file));
    let header = decoder.read_header_info().map_err(|error| undecodable(path, &[], &error))?;
    Ok((header.width, header.height))
}

/// Spreads 1, 2 or 4 bits a pixel (highest bits first, lines padded to whole bytes) to bytes.
fn unpack(packed: &[u8], line: usize, width: usize, bits: usize) -> Vec<u8> {
    let per_byte = 8 / bits;
    let low = (1u8 << bits) - 1;
    packed
        .chunks_exact(line)
        .flat_map(|row| {
            (0..width).map(move |x| row[x / per_byte] >> (8 - bits * (x % per_byte + 1)) & low)
        })
        .collect()
}

fn check_kind(path: &Path, colour: ColorType, depth: BitDepth) -> Result<(), DataError> {
    let kind = match colour {
        ColorType::Indexed | ColorType::Grayscale if depth != BitDepth::Sixteen => return Ok(()),
        ColorType::Indexed | ColorType::Grayscale => "a grey picture of 16 bits",
        ColorType::GrayscaleAlpha => "a grey picture with an alpha channel",
        ColorType::Rgb => "a colour picture (RGB)",
        ColorType::Rgba => "a colour picture (RGB with alpha)",
    };
    Err(DataError::invalid(path, format!("this is {kind}, not a label mask"), SAVE_LABELS))
}

fn undecodable(path: &Path, bytes: &[u8], error: &png::DecodingError) -> DataError {
    const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
    match image::guess_format(bytes) {
        Ok(image::ImageFormat::Jpeg) => DataError::invalid(
            path,
            "this is a JPEG, not a label mask: JPEG changes the labels when it compresses",
            SAVE_LABELS,
        ),
        Ok(image::ImageFormat::Png) => DataError::invalid(
            path,
            format!("the mask cannot be decoded ({error})"),
            "fetch or save the file again",
        ),
        Ok(other) => DataError::invalid(path, format!("this is {other:?}, not PNG"), SAVE_LABELS),
        Err(_) if !bytes.is_empty() && SIGNATURE.starts_with(&bytes[..bytes.len().min(8)]) => {
            DataError::invalid(path, "the PNG is truncated", "fetch or save the file again")
        }
        Err(_) => DataError::invalid(path, "this is not a PNG", SAVE_LABELS),
    }
}

/// Writes a label mask `[H, W]` as 8-bit palette PNG with the VOC colours, atomically. The values
/// are kept as palette indices.
///
/// # Errors
/// [`DataError`] naming the file when it cannot be written or the mask is empty.
pub fn write_mask(path: &Path, mask: &Array2<u8>) -> Result<(), DataError> {
    write_labels(path, mask, ColorType::Indexed)
}

/// Writes a label mask `[H, W]` as 8-bit grey PNG (the form of `SegmentationClassAug`), atomically.
///
/// # Errors
/// [`DataError`] naming the file when it cannot be written or the mask is empty.
pub fn write_grey_mask(path: &Path, mask: &Array2<u8>) -> Result<(), DataError> {
    write_labels(path, mask, ColorType::Grayscale)
}

/// As [`write_grey_mask`], for thousands of masks that can be made again: compressed with less effort,
/// and not waited for until the disk has them. Gives back the length of the file in bytes.
///
/// # Errors
/// As [`write_grey_mask`].
pub(crate) fn write_grey_mask_fast(path: &Path, mask: &Array2<u8>) -> Result<u64, DataError> {
    let bytes = encode(mask, ColorType::Grayscale, FAST).map_err(|e| unencodable(path, &e))?;
    write_atomic_unflushed(path, &bytes)?;
    Ok(bytes.len() as u64)
}

fn write_labels(path: &Path, mask: &Array2<u8>, colour: ColorType) -> Result<(), DataError> {
    let bytes = encode(mask, colour, DENSE).map_err(|error| unencodable(path, &error))?;
    write_atomic(path, &bytes)
}

fn unencodable(path: &Path, error: &png::EncodingError) -> DataError {
    DataError::invalid(
        path,
        format!("the mask cannot be encoded ({error})"),
        "give a mask of at least 1x1 pixels",
    )
}

/// How lines are filtered and compressed.
type Effort = (png::Filter, png::DeflateCompression);

/// Flat areas of equal indices compress best unfiltered.
const DENSE: Effort = (png::Filter::NoFilter, png::DeflateCompression::Level(6));

/// Differences to the line above are 0 almost everywhere, which this method packs at once: a 16th of
/// the time of [`DENSE`] for twice the bytes (1.6 times what Pillow writes).
const FAST: Effort = (png::Filter::Up, png::DeflateCompression::FdeflateUltraFast);

fn encode(
    mask: &Array2<u8>,
    colour: ColorType,
    (filter, compression): Effort,
) -> Result<Vec<u8>, png::EncodingError> {
    let (height, width) = mask.dim();
    let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side(width), side(height));
    encoder.set_color(colour);
    encoder.set_depth(BitDepth::Eight);
    if colour == ColorType::Indexed {
        encoder.set_palette(voc_palette().concat());
    }
    encoder.set_deflate_compression(compression);
    encoder.set_filter(filter);
    let mut writer = encoder.write_header()?;
    match mask.as_slice() {
        Some(labels) => writer.write_image_data(labels)?,
        None => writer.write_image_data(&mask.iter().copied().collect::<Vec<u8>>())?,
    }
    writer.finish()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
