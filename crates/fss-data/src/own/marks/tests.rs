use std::path::PathBuf;

use super::*;
use crate::test_tree::{Tree, write_mask};

/// A PNG of two rows with raw bytes as given.
fn png_file(tree: &Tree, kind: ColorType, depth: BitDepth, width: u32, data: &[u8]) -> PathBuf {
    palette_file(tree, kind, depth, width, data, &[])
}

fn palette_file(
    tree: &Tree,
    kind: ColorType,
    depth: BitDepth,
    width: u32,
    data: &[u8],
    palette: &[u8],
) -> PathBuf {
    let path = tree.file("mask.png", b"");
    let mut encoder = png::Encoder::new(std::fs::File::create(&path).unwrap(), width, 2);
    encoder.set_color(kind);
    encoder.set_depth(depth);
    if !palette.is_empty() {
        encoder.set_palette(palette.to_vec());
    }
    encoder.write_header().unwrap().write_image_data(data).unwrap();
    path
}

fn marks(path: &Path, value: MaskValue, ignored: Option<u8>) -> Vec<u8> {
    read_marks(path, value, ignored).unwrap().into_iter().collect()
}

fn message(path: &Path, value: MaskValue) -> String {
    read_marks(path, value, None).unwrap_err().to_string()
}

const NON_ZERO: MaskValue = MaskValue::NonZero;

#[test]
fn grey_masks_of_all_depths() {
    let tree = Tree::empty();
    let grey = ColorType::Grayscale;
    let eight = png_file(&tree, grey, BitDepth::Eight, 2, &[0, 1, 255, 7]);
    assert_eq!(marks(&eight, NON_ZERO, None), [0, 1, 1, 1]);
    assert_eq!(marks(&eight, NON_ZERO, Some(255)), [0, 1, 255, 1]);
    assert_eq!(marks(&eight, MaskValue::Value(7), Some(255)), [0, 0, 255, 1]);
    assert_eq!(marks(&eight, MaskValue::Colour([7; 3]), None), [0, 0, 0, 1]);
    let one = png_file(&tree, grey, BitDepth::One, 2, &[0b0100_0000, 0b1100_0000]);
    assert_eq!(marks(&one, NON_ZERO, None), [0, 1, 1, 1]);
    assert_eq!(marks(&one, MaskValue::Value(1), None), [0, 1, 1, 1]);
    assert_eq!(marks(&one, MaskValue::Colour([255; 3]), None), [0, 1, 1, 1]);
    // A value that is lost where 16 bits are cut to 8.
    let deep = png_file(&tree, grey, BitDepth::Sixteen, 2, &[0, 0, 0, 1, 1, 0, 0, 255]);
    assert_eq!(marks(&deep, NON_ZERO, Some(255)), [0, 1, 1, 255]);
}

#[test]
fn palettes_go_by_index_and_colours_can_be_named() {
    let tree = Tree::empty();
    let path = tree.path("own.png");
    write_mask(&path, 2, &[0, 1, 9, 255]);
    assert_eq!(marks(&path, NON_ZERO, Some(255)), [0, 1, 1, 255]);
    assert_eq!(marks(&path, MaskValue::Value(9), None), [0, 0, 1, 0]);
    let colours = [0, 0, 0, 255, 0, 0, 0, 0, 255];
    let path = palette_file(&tree, ColorType::Indexed, BitDepth::Eight, 2, &[0, 1, 2, 1], &colours);
    assert_eq!(marks(&path, "#0000ff".parse().unwrap(), None), [0, 0, 1, 0]);
    // The background is not where the rule looks for it.
    let turned = [255, 255, 255, 0, 0, 0];
    let path = palette_file(&tree, ColorType::Indexed, BitDepth::Eight, 2, &[1, 1, 0, 1], &turned);
    assert!(message(&path, NON_ZERO).contains("index 1 of its palette is black"));
    assert_eq!(marks(&path, MaskValue::Value(0), None), [0, 0, 1, 0]);
}

#[test]
fn colours_and_transparency() {
    let tree = Tree::empty();
    let rgb = [0, 0, 0, 0, 0, 4, 255, 0, 0, 255, 255, 255];
    let path = png_file(&tree, ColorType::Rgb, BitDepth::Eight, 2, &rgb);
    assert_eq!(marks(&path, NON_ZERO, Some(255)), [0, 1, 1, 255]);
    assert_eq!(marks(&path, "#ff0000".parse().unwrap(), None), [0, 0, 1, 0]);
    assert!(message(&path, MaskValue::Value(1)).contains("#ff0000"));
    let rgba = [9, 9, 9, 0, 9, 9, 9, 255, 0, 0, 0, 255, 9, 8, 7, 1];
    let path = png_file(&tree, ColorType::Rgba, BitDepth::Eight, 2, &rgba);
    assert_eq!(marks(&path, NON_ZERO, None), [0, 1, 0, 1]);
    let grey = [5, 0, 5, 255, 0, 255, 7, 9];
    let path = png_file(&tree, ColorType::GrayscaleAlpha, BitDepth::Eight, 2, &grey);
    assert_eq!(marks(&path, MaskValue::Value(5), None), [0, 1, 0, 0]);
    image::RgbImage::from_raw(2, 2, rgb.to_vec()).unwrap().save(tree.path("mask.bmp")).unwrap();
    assert_eq!(marks(&tree.path("mask.bmp"), NON_ZERO, None), [0, 1, 1, 1]);
}

#[test]
fn lossy_and_broken_files_are_refused() {
    let tree = Tree::empty();
    tree.image_at("mask.jpg", 4, 4);
    assert!(message(&tree.path("mask.jpg"), NON_ZERO).contains("save the masks as PNG"));
    let path = png_file(&tree, ColorType::Rgb, BitDepth::Eight, 2, &[1; 12]);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 20]).unwrap();
    assert!(message(&path, NON_ZERO).contains("cannot be decoded"));
    assert!(message(&tree.file("empty.png", b""), NON_ZERO).contains("empty"));
    assert!(message(&tree.path("none.png"), NON_ZERO).contains("none.png"));
}

#[test]
fn values_as_text() {
    for text in ["nonzero", "0", "255", "#00ff7f"] {
        let value: MaskValue = text.parse().unwrap();
        assert_eq!(value.to_string(), text);
        let json = serde_json::to_string(&value).unwrap();
        assert_eq!(serde_json::from_str::<MaskValue>(&json).unwrap(), value);
    }
    for text in ["", "256", "-1", "#fff", "#gggggg", "#ffffff0", "red"] {
        assert!(text.parse::<MaskValue>().is_err(), "{text}");
    }
}
