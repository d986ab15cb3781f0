//! The masks of SBD (Semantic Boundaries Dataset).

use std::path::Path;

use ndarray::{Array2, ShapeBuilder};

use super::mat::MatFile;
use crate::{DataError, io};

/// Reads the label mask `[H, W]` of a file of SBD's folder `cls`: the field `Segmentation` of the
/// struct `GTcls`.
///
/// MATLAB files of version 5 are read, packed or not, of either byte order.
///
/// # Errors
/// [`DataError`] naming the file: missing, no such MATLAB file, without that field, truncated or
/// damaged, with values that are no labels.
pub fn read_sbd_mask(path: &Path) -> Result<Array2<u8>, DataError> {
    let bytes = io::read_file(path)?;
    let damaged = |problem: String| {
        DataError::invalid(
            path,
            problem,
            "unpack SBD's archive again, and give its folder `cls` of class masks",
        )
    };
    let file = MatFile::parse(&bytes).map_err(damaged)?;
    let labels = file.variable("GTcls").and_then(|it| it.field("Segmentation")).map_err(damaged)?;
    let &[height, width] = labels.dimensions() else {
        let problem = format!("its masks have {} dimensions, not 2", labels.dimensions().len());
        return Err(damaged(problem));
    };
    let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    io::check_size_limits(path, side(width), side(height))?;
    let columns = labels.bytes().map_err(damaged)?.into_owned();
    let mask = Array2::from_shape_vec((height, width).f(), columns)
        .map_err(|error| damaged(error.to_string()))?;
    Ok(mask.as_standard_layout().into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::mat::build::{Style, sbd};
    use super::*;

    #[test]
    fn masks_stand_upright() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mat");
        for style in [Style::PLAIN, Style::PACKED, Style::BIG] {
            std::fs::write(&path, sbd(style, 3, &[0, 1, 2, 20, 255, 5])).unwrap();
            let mask = read_sbd_mask(&path).unwrap();
            assert_eq!(mask, ndarray::array![[0, 1, 2], [20, 255, 5]]);
            assert!(mask.is_standard_layout());
        }
        for (bytes, expected) in [
            (sbd(Style::PLAIN, 3, &[]), "empty"),
            (b"MATLAB".to_vec(), "shorter than a header"),
            (Style::PLAIN.file(&[]), "GTcls"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = read_sbd_mask(&path).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("a.mat"), "{error}");
        }
        let error = read_sbd_mask(&folder.path().join("b.mat")).unwrap_err().to_string();
        assert!(error.contains("b.mat"), "{error}");
    }
}
