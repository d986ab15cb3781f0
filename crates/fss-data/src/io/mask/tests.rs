use std::path::PathBuf;

use ndarray::array;
use proptest::prelude::*;

use super::*;

/// Writes a PNG with the `png` crate alone: `data` are packed lines.
fn raw_png(
    path: &Path,
    (width, height): (u32, u32),
    colour: ColorType,
    depth: BitDepth,
    data: &[u8],
) {
    let file = std::fs::File::create(path).unwrap();
    let mut encoder = png::Encoder::new(file, width, height);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    if colour == ColorType::Indexed {
        // Colours that tell nothing about the index: all alike.
        encoder.set_palette(vec![9; 3 << depth as usize]);
    }
    encoder.write_header().unwrap().write_image_data(data).unwrap();
}

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mask.png");
    (folder, path)
}

fn message(path: &Path) -> String {
    let error = read_mask(path).unwrap_err().to_string();
    assert!(error.contains(&path.display().to_string()), "no file name in {error:?}");
    error
}

#[test]
fn palette_masks_give_indices_not_colours() {
    let (_folder, path) = scratch();
    raw_png(&path, (3, 2), ColorType::Indexed, BitDepth::Eight, &[0, 1, 20, 255, 15, 7]);
    assert_eq!(read_mask(&path).unwrap(), array![[0, 1, 20], [255, 15, 7]]);
    assert_eq!(mask_size(&path).unwrap(), (3, 2));
}

#[test]
fn narrow_palettes_and_greys_are_not_scaled() {
    let (_folder, path) = scratch();
    for colour in [ColorType::Indexed, ColorType::Grayscale] {
        raw_png(&path, (3, 2), colour, BitDepth::Four, &[0x1F, 0x20, 0x03, 0xE0]);
        assert_eq!(read_mask(&path).unwrap(), array![[1, 15, 2], [0, 3, 14]]);
        raw_png(&path, (5, 2), colour, BitDepth::Two, &[0b00_01_10_11, 0b01 << 6, 0xFF, 0]);
        assert_eq!(read_mask(&path).unwrap(), array![[0, 1, 2, 3, 1], [3, 3, 3, 3, 0]]);
        raw_png(&path, (9, 1), colour, BitDepth::One, &[0b1010_0110, 0b1000_0000]);
        assert_eq!(read_mask(&path).unwrap(), array![[1, 0, 1, 0, 0, 1, 1, 0, 1]]);
    }
    raw_png(&path, (2, 1), ColorType::Grayscale, BitDepth::Eight, &[5, 255]);
    assert_eq!(read_mask(&path).unwrap(), array![[5, 255]]);
}

#[test]
fn interlaced_masks_are_put_in_order() {
    // 2x2, 8-bit grey, Adam7: pass 1 has (0,0), pass 6 (1,0), pass 7 (0,1) and (1,1); each line
    // is preceded by its filter byte. Stored (not compressed) in zlib.
    let lines = [0, 1, 0, 2, 0, 3, 4];
    let mut zlib = vec![0x78, 0x01, 0x01, 7, 0, 0xF8, 0xFF];
    zlib.extend(lines);
    let (mut a, mut b) = (1u32, 0u32);
    for byte in lines {
        a += u32::from(byte);
        b += a;
    }
    zlib.extend((b << 16 | a).to_be_bytes());
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8], data: &[u8]| {
        file.extend((data.len() as u32).to_be_bytes());
        let body = [kind, data].concat();
        let mut crc = !0u32;
        for &byte in &body {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
            }
        }
        file.extend(&body);
        file.extend((!crc).to_be_bytes());
    };
    chunk(b"IHDR", &[0, 0, 0, 2, 0, 0, 0, 2, 8, 0, 0, 0, 1]);
    chunk(b"IDAT", &zlib);
    chunk(b"IEND", &[]);
    let (_folder, path) = scratch();
    std::fs::write(&path, file).unwrap();
    assert_eq!(read_mask(&path).unwrap(), array![[1, 2], [3, 4]]);
}

#[test]
fn coloured_and_deep_pictures_are_refused_with_a_remedy() {
    let (_folder, path) = scratch();
    let cases: [(ColorType, BitDepth, usize, &str); 6] = [
        (ColorType::Rgb, BitDepth::Eight, 3, "RGB"),
        (ColorType::Rgba, BitDepth::Eight, 4, "alpha"),
        (ColorType::GrayscaleAlpha, BitDepth::Eight, 2, "alpha"),
        (ColorType::Grayscale, BitDepth::Sixteen, 2, "16 bits"),
        (ColorType::Rgb, BitDepth::Sixteen, 6, "RGB"),
        (ColorType::GrayscaleAlpha, BitDepth::Sixteen, 4, "alpha"),
    ];
    for (colour, depth, bytes, word) in cases {
        raw_png(&path, (2, 2), colour, depth, &vec![1; 4 * bytes]);
        let error = message(&path);
        assert!(error.contains(word), "{error}");
        assert!(error.contains("8-bit palette or grey PNG"), "no remedy in {error}");
    }
}

#[test]
fn other_files_are_named_for_what_they_are() {
    let (folder, path) = scratch();
    assert!(message(&path).contains("cannot read"));
    std::fs::write(&path, b"").unwrap();
    assert!(message(&path).contains("not a PNG"));
    std::fs::write(&path, b"labels").unwrap();
    assert!(message(&path).contains("not a PNG"));
    let jpeg = folder.path().join("mask.jpg");
    crate::io::write_jpeg(&jpeg, &image::RgbImage::new(8, 8), 90).unwrap();
    assert!(message(&jpeg).contains("JPEG changes the labels"));
    image::GrayImage::new(2, 2).save(folder.path().join("mask.bmp")).unwrap();
    assert!(message(&folder.path().join("mask.bmp")).contains("Bmp"));
    assert!(mask_size(&jpeg).is_err());
}

#[test]
fn a_mask_cut_anywhere_is_an_error() {
    let (_folder, path) = scratch();
    let labels = Array2::from_shape_fn((40, 50), |(y, x)| (x * y % 21) as u8);
    write_mask(&path, &labels).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    // Behind the image data only the end chunk of 12 bytes follows.
    for cut in (1..bytes.len() - 12).step_by(37) {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let error = message(&path);
        assert!(error.contains("again") || error.contains("save it as"), "cut {cut}: {error}");
    }
}

#[test]
fn damaged_data_is_an_error() {
    let (_folder, path) = scratch();
    let labels = Array2::from_shape_fn((40, 50), |(y, x)| (x * y % 21) as u8);
    write_mask(&path, &labels).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() - 60;
    bytes[middle] ^= 0x55;
    std::fs::write(&path, &bytes).unwrap();
    assert!(message(&path).contains("cannot be decoded"));
}

#[test]
fn written_masks_carry_the_voc_colours() {
    let (_folder, path) = scratch();
    write_mask(&path, &array![[0, 1], [15, 255]]).unwrap();
    let image = crate::io::read_image(&path).unwrap();
    let colours: Vec<[u8; 3]> = image.pixels().map(|pixel| pixel.0).collect();
    assert_eq!(colours, [[0, 0, 0], [128, 0, 0], [192, 128, 128], [224, 224, 192]]);
    write_grey_mask(&path, &array![[0, 1], [15, 255]]).unwrap();
    let image = crate::io::read_image(&path).unwrap();
    assert_eq!(image.pixels().map(|pixel| pixel.0[1]).collect::<Vec<_>>(), [0, 1, 15, 255]);
    assert_eq!(read_mask(&path).unwrap(), array![[0, 1], [15, 255]]);
}

#[test]
fn an_empty_mask_cannot_be_written() {
    let (_folder, path) = scratch();
    let error = write_mask(&path, &Array2::zeros((0, 4))).unwrap_err().to_string();
    assert!(error.contains("1x1"), "{error}");
    assert!(!path.exists());
}

proptest! {
    #[test]
    fn any_mask_comes_back(height in 1usize..20, width in 1usize..20, seed: u8) {
        let (_folder, path) = scratch();
        let labels = Array2::from_shape_fn((height, width), |(y, x)| {
            (x * 31 + y * 17) as u8 ^ seed
        });
        write_mask(&path, &labels).unwrap();
        prop_assert_eq!(&read_mask(&path).unwrap(), &labels);
        // A mask that does not lie in memory line by line.
        let turned = labels.reversed_axes();
        write_mask(&path, &turned).unwrap();
        prop_assert_eq!(read_mask(&path).unwrap(), turned);
    }
}
