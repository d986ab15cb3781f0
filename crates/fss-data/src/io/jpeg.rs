//! JPEG files.
//!
//! Decoded by `zune-jpeg`. Its values differ from libjpeg-turbo's (which Pillow uses) by rounding in
//! the inverse transform and the chroma upsampling: with 4:2:0 chroma, as photographs mostly have,
//! by 0.4 of 255 on average and 7 at most, with full chroma by 0.02 on average.
//!
//! A file that ends too early is an error, as in Pillow. Damage within the compressed data is one
//! only where it breaks the code; what still decodes is taken, as by every decoder.

use std::path::Path;

use image::RgbImage;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::{MAX_SIDE, check_size_limits};
use crate::DataError;

const REMEDY: &str = "fetch or save the file again";

/// Whether a file begins as a JPEG.
pub(super) fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xFF, 0xD8, 0xFF])
}

/// Decodes a JPEG to RGB. Grey is spread over the three channels, CMYK and YCCK are converted.
/// The EXIF orientation is not looked at.
pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<RgbImage, DataError> {
    check_complete(path, bytes)?;
    match decode_with(path, bytes, true) {
        // Stray bytes between two headers harm nothing: every other decoder skips them.
        Err(Failure::Decoder(error)) if error.to_string().contains("Extra bytes") => {
            decode_with(path, bytes, false)
        }
        result => result,
    }
    .map_err(|failure| match failure {
        Failure::Decoder(error) => undecodable(path, &error),
        Failure::Data(error) => error,
    })
}

enum Failure {
    Decoder(DecodeErrors),
    Data(DataError),
}

impl From<DecodeErrors> for Failure {
    fn from(error: DecodeErrors) -> Self {
        Self::Decoder(error)
    }
}

fn decode_with(path: &Path, bytes: &[u8], strict: bool) -> Result<RgbImage, Failure> {
    let options = DecoderOptions::default()
        .set_strict_mode(strict)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers()?;
    let (width, height) = decoder.dimensions().unwrap_or((0, 0));
    let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).min(MAX_SIDE + 1);
    let (width, height) = (side(width), side(height));
    check_size_limits(path, width, height).map_err(Failure::Data)?;
    let grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let wanted = if grey { ColorSpace::Luma } else { ColorSpace::RGB };
    decoder.set_options(options.jpeg_set_out_colorspace(wanted));
    let mut pixels = decoder.decode()?;
    if grey {
        pixels = pixels.iter().flat_map(|&value| [value; 3]).collect();
    }
    RgbImage::from_raw(width, height, pixels).ok_or_else(|| {
        Failure::Data(DataError::invalid(
            path,
            "the JPEG has an unusual number of colour channels",
            "save it as an RGB or grey JPEG or PNG",
        ))
    })
}

fn undecodable(path: &Path, error: &DecodeErrors) -> DataError {
    DataError::invalid(path, format!("the JPEG cannot be decoded ({error})"), REMEDY)
}

/// Walks over the segments of a JPEG and checks that its end marker is there. A decoder that meets
/// the end of the file too early may well fill the rest with grey and say nothing.
fn check_complete(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    if find_end_marker(bytes).is_some() {
        return Ok(());
    }
    Err(DataError::invalid(
        path,
        format!("the JPEG is truncated: its {} bytes end before the picture does", bytes.len()),
        REMEDY,
    ))
}

/// The position behind the end-of-image marker, if the file reaches it.
fn find_end_marker(bytes: &[u8]) -> Option<usize> {
    let mut at = 2;
    loop {
        // To the next marker: 0xFF and a code that is neither stuffing nor a restart.
        at += bytes.get(at..)?.iter().position(|&byte| byte == 0xFF)?;
        let code = *bytes.get(at + 1)?;
        match code {
            0xFF => at += 1,
            0x00 | 0x01 | 0xD0..=0xD8 => at += 2,
            0xD9 => return Some(at + 2),
            _ => {
                let high = *bytes.get(at + 2)?;
                let low = *bytes.get(at + 3)?;
                at += 2 + usize::from(u16::from_be_bytes([high, low])).max(2);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::find_end_marker;

    #[test]
    fn stuffing_restarts_and_segments_are_skipped() {
        let mut bytes = vec![0xFF, 0xD8];
        // A comment segment that holds what looks like an end marker.
        bytes.extend([0xFF, 0xFE, 0x00, 0x04, 0xFF, 0xD9]);
        // Scan header (no parameters here), data with stuffing, restart and fill bytes.
        bytes.extend([0xFF, 0xDA, 0x00, 0x02, 1, 2, 0xFF, 0x00, 3, 0xFF, 0xD0, 4, 0xFF, 0xFF]);
        assert_eq!(find_end_marker(&bytes), None);
        bytes.extend([0xFF, 0xD9]);
        assert_eq!(find_end_marker(&bytes), Some(bytes.len()));
    }
}
