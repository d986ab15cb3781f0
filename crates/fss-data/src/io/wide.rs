//! Label masks of more labels than a byte holds, with a note of where they come from.

use std::io::Cursor;
use std::path::Path;

use ndarray::Array2;
use png::{BitDepth, ColorType, Decoder, Transformations};

use super::{MAX_PIXELS, check_size_limits, read_file, write_atomic};
use crate::{DataError, IGNORE_INDEX};

/// The ignored label of masks with 16 bits a pixel.
pub const WIDE_IGNORE: u16 = u16::MAX;

/// How many labels (from 0 on, the ignored one not counted) fit into 8 bits.
const BYTE_LABELS: usize = IGNORE_INDEX as usize;

/// Writes a label mask `[H, W]` of labels below `labels` or [`WIDE_IGNORE`] as grey PNG, atomically:
/// with 8 bits a pixel where `labels` is at most 255 (ignored pixels are then 255), else with 16.
/// `note` goes into the file as text under `key`.
///
/// # Errors
/// [`DataError`] naming the file when it cannot be written, the mask is empty, a label is too large
/// or the note is not plain text.
pub fn write_wide_mask(
    path: &Path,
    mask: &Array2<u16>,
    labels: usize,
    (key, note): (&str, &str),
) -> Result<(), DataError> {
    if let Some(label) = mask.iter().find(|&&l| l != WIDE_IGNORE && usize::from(l) >= labels) {
        return Err(DataError::invalid(
            path,
            format!("label {label} in a mask of {labels} labels"),
            "write it with the number of labels that it has",
        ));
    }
    let bytes = encode(mask, labels, key, note).map_err(|error| {
        DataError::invalid(
            path,
            format!("the mask cannot be encoded ({error})"),
            "give a mask of at least 1x1 pixels",
        )
    })?;
    write_atomic(path, &bytes)
}

fn encode(
    mask: &Array2<u16>,
    labels: usize,
    key: &str,
    note: &str,
) -> Result<Vec<u8>, png::EncodingError> {
    let (height, width) = mask.dim();
    let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side(width), side(height));
    encoder.set_color(ColorType::Grayscale);
    encoder.add_text_chunk(key.to_owned(), note.to_owned())?;
    // Flat areas of equal labels compress best unfiltered.
    encoder.set_filter(png::Filter::NoFilter);
    let values: Vec<u8> = if labels <= BYTE_LABELS {
        encoder.set_depth(BitDepth::Eight);
        mask.iter().map(|&l| u8::try_from(l).unwrap_or(IGNORE_INDEX)).collect()
    } else {
        encoder.set_depth(BitDepth::Sixteen);
        mask.iter().flat_map(|l| l.to_be_bytes()).collect()
    };
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&values)?;
    writer.finish()?;
    Ok(bytes)
}

/// Reads a mask `[H, W]` that [`write_wide_mask`] wrote; ignored pixels are [`WIDE_IGNORE`].
///
/// # Errors
/// [`DataError`] naming the file: missing, damaged, or not a grey PNG of 8 or 16 bits.
pub fn read_wide_mask(path: &Path) -> Result<Array2<u16>, DataError> {
    let bytes = read_file(path)?;
    let damaged = |error: png::DecodingError| {
        DataError::invalid(
            path,
            format!("the mask cannot be decoded ({error})"),
            "remove the file and let it be made again",
        )
    };
    let limits = png::Limits { bytes: 4 * MAX_PIXELS as usize };
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes.as_slice()), limits);
    decoder.set_transformations(Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(damaged)?;
    let info = reader.info();
    let (width, height) = (info.width, info.height);
    let (colour, depth) = (info.color_type, info.bit_depth);
    check_size_limits(path, width, height)?;
    let bytes_each = match (colour, depth) {
        (ColorType::Grayscale, BitDepth::Eight) => 1,
        (ColorType::Grayscale, BitDepth::Sixteen) => 2,
        _ => {
            return Err(DataError::invalid(
                path,
                format!("this is a PNG of the kind {colour:?} with {depth:?} bits"),
                "give a grey one of 8 or 16 bits",
            ));
        }
    };
    let (rows, columns) = (height as usize, width as usize);
    let mut values = vec![0; rows * columns * bytes_each];
    reader.next_frame(&mut values).map_err(damaged)?;
    let labels: Vec<u16> = if bytes_each == 1 {
        let wide = |v: &u8| if *v == IGNORE_INDEX { WIDE_IGNORE } else { u16::from(*v) };
        values.iter().map(wide).collect()
    } else {
        values.as_chunks::<2>().0.iter().map(|&pair| u16::from_be_bytes(pair)).collect()
    };
    Ok(Array2::from_shape_vec((rows, columns), labels).expect("one value a pixel"))
}

/// The note under `key` in a PNG and its size (width, height), from its head alone; `None` if the
/// file is not there, no PNG, or has no such note.
pub fn mask_note(path: &Path, key: &str) -> Option<(String, (u32, u32))> {
    let file = std::fs::File::open(path).ok()?;
    let reader = Decoder::new(std::io::BufReader::new(file)).read_info().ok()?;
    let info = reader.info();
    let chunk = info.uncompressed_latin1_text.iter().find(|chunk| chunk.keyword == key)?;
    Some((chunk.text.clone(), (info.width, info.height)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_depths_keep_labels_ignored_pixels_and_note() {
        let folder = tempfile::tempdir().unwrap();
        for (labels, top) in [(255, 254), (256, 255), (400, 399)] {
            let path = folder.path().join(format!("{labels}.png"));
            let mask = ndarray::array![[0, top, WIDE_IGNORE], [7, 1, 2]];
            write_wide_mask(&path, &mask, labels, ("origin", "abc")).unwrap();
            assert_eq!(read_wide_mask(&path).unwrap(), mask);
            assert_eq!(mask_note(&path, "origin"), Some(("abc".into(), (3, 2))));
            assert_eq!(mask_note(&path, "other"), None);
        }
        let path = folder.path().join("x.png");
        let error = write_wide_mask(&path, &ndarray::array![[9]], 9, ("a", "b")).unwrap_err();
        assert!(error.to_string().contains("label 9"), "{error}");
        std::fs::write(&path, "no picture").unwrap();
        assert!(read_wide_mask(&path).is_err() && mask_note(&path, "a").is_none());
    }

    #[test]
    fn an_eight_bit_file_is_half_the_size_of_a_wide_one() {
        let folder = tempfile::tempdir().unwrap();
        let mask =
            Array2::from_shape_fn((64, 64), |(y, x)| ((x * 7919 + y * 104_729) % 254) as u16);
        let size = |labels| {
            let path = folder.path().join("m.png");
            write_wide_mask(&path, &mask, labels, ("a", "b")).unwrap();
            std::fs::metadata(&path).unwrap().len()
        };
        assert!(size(255) < size(300));
    }
}
