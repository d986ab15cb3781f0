//! Reading and writing of images and label masks.
//!
//! Images come in as [`image::RgbImage`], label masks as [`ndarray::Array2<u8>`] `[H, W]` that hold
//! one label a pixel: 0 background, 1..n classes, [`IGNORE_INDEX`](crate::IGNORE_INDEX) ignore.
//! All files are written atomically: a reader sees the old file or the whole new one.

mod jpeg;
mod mask;
mod palette;
mod picture;
mod wide;
mod write;

use std::path::Path;

use crate::DataError;

pub(crate) use mask::write_grey_mask_fast;
pub use mask::{mask_size, read_binary_mask, read_mask, write_grey_mask, write_mask};
pub use palette::voc_palette;
pub(crate) use picture::decode_image;
pub use picture::{image_size, read_image, write_jpeg, write_png};
pub use wide::{WIDE_IGNORE, mask_note, read_wide_mask, write_wide_mask};
pub(crate) use write::write_atomic_unflushed;
pub use write::{write_atomic, write_atomic_with};

/// The largest width or height, in pixels, that is read.
pub const MAX_SIDE: u32 = 32_768;

/// The largest number of pixels (width times height) that is read: room for 6000 x 6000 and more,
/// but a damaged header cannot ask for all memory.
pub const MAX_PIXELS: u64 = 1 << 27;

/// The extension of files that are still being written.
pub(crate) const TEMP_SUFFIX: &str = ".part";

/// Refuses sizes of 0 and sizes beyond [`MAX_SIDE`] and [`MAX_PIXELS`].
pub(crate) fn check_size_limits(path: &Path, width: u32, height: u32) -> Result<(), DataError> {
    if width == 0 || height == 0 {
        return Err(DataError::invalid(
            path,
            format!("the picture is {width}x{height} pixels, that is empty"),
            "replace the file",
        ));
    }
    let pixels = u64::from(width) * u64::from(height);
    if width > MAX_SIDE || height > MAX_SIDE || pixels > MAX_PIXELS {
        return Err(DataError::invalid(
            path,
            format!(
                "the header says {width}x{height} pixels, more than the {MAX_SIDE} a side and \
                 {MAX_PIXELS} in all that are read"
            ),
            "shrink or cut the picture, or replace the file if its header is damaged",
        ));
    }
    Ok(())
}

/// Checks that an image and its mask have one size (both given as width, height).
///
/// # Errors
/// [`DataError::Invalid`] for the mask's file; it names both files and both sizes.
pub fn check_same_size(
    image: &Path,
    image_size: (u32, u32),
    mask: &Path,
    mask_size: (u32, u32),
) -> Result<(), DataError> {
    if image_size == mask_size {
        return Ok(());
    }
    Err(DataError::invalid(
        mask,
        format!(
            "the mask is {}x{} pixels, but its image {} is {}x{}",
            mask_size.0,
            mask_size.1,
            image.display(),
            image_size.0,
            image_size.1
        ),
        "use the mask that was drawn on this very image, or resize it with nearest neighbour",
    ))
}

/// Reads a whole file.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, DataError> {
    std::fs::read(path).map_err(|source| DataError::io("read", path, source))
}
