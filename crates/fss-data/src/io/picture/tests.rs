use std::path::PathBuf;

use image::{GrayImage, ImageBuffer, Luma, LumaA, Rgba};
use tempfile::TempDir;

use super::*;

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// A smooth picture that JPEG keeps well.
fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let wave = |f: f32| (128.0 + 100.0 * f.sin()) as u8;
        Rgb([wave(x as f32 / 9.0), wave(y as f32 / 7.0), wave((x + y) as f32 / 11.0)])
    })
}

fn jpeg_bytes(image: &RgbImage) -> Vec<u8> {
    let place = Place::new();
    let path = place.path("a.jpg");
    write_jpeg(&path, image, 95).unwrap();
    std::fs::read(path).unwrap()
}

fn message(path: &Path) -> String {
    let error = read_image(path).map(|image| image.dimensions()).unwrap_err().to_string();
    assert!(error.contains(&path.display().to_string()), "no file name in {error:?}");
    error
}

#[test]
fn jpeg_comes_back_nearly_as_it_was() {
    let place = Place::new();
    let image = picture(61, 47);
    let read = read_image(&place.file("a.jpg", &jpeg_bytes(&image))).unwrap();
    assert_eq!(read.dimensions(), (61, 47));
    let worst = std::iter::zip(image.as_raw(), read.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(worst.unwrap() < 24, "worst difference {worst:?}");
}

#[test]
fn one_pixel_jpeg_and_png() {
    let place = Place::new();
    let image = RgbImage::from_pixel(1, 1, Rgb([200, 100, 50]));
    write_jpeg(&place.path("a.jpg"), &image, 95).unwrap();
    write_png(&place.path("a.png"), &image).unwrap();
    assert_eq!(read_image(&place.path("a.jpg")).unwrap().dimensions(), (1, 1));
    assert_eq!(read_image(&place.path("a.png")).unwrap(), image);
    assert_eq!(image_size(&place.path("a.jpg")).unwrap(), (1, 1));
}

#[test]
fn png_is_exact_and_known_by_content() {
    let place = Place::new();
    let image = picture(20, 30);
    write_png(&place.path("a.png"), &image).unwrap();
    let misnamed = place.path("b.jpg");
    std::fs::copy(place.path("a.png"), &misnamed).unwrap();
    assert_eq!(read_image(&misnamed).unwrap(), image);
    assert_eq!(image_size(&misnamed).unwrap(), (20, 30));
}

#[test]
fn grey_alpha_and_deep_pictures_become_rgb() {
    let place = Place::new();
    GrayImage::from_pixel(3, 2, Luma([77])).save(place.path("grey.png")).unwrap();
    assert_eq!(read_image(&place.path("grey.png")).unwrap().get_pixel(2, 1).0, [77; 3]);

    GrayImage::from_pixel(16, 16, Luma([77])).save(place.path("grey.jpg")).unwrap();
    assert_eq!(read_image(&place.path("grey.jpg")).unwrap().get_pixel(9, 9).0, [77; 3]);

    // Alpha is dropped: a fully transparent pixel keeps its colour.
    ImageBuffer::from_pixel(2, 2, Rgba([9u8, 8, 7, 0])).save(place.path("alpha.png")).unwrap();
    assert_eq!(read_image(&place.path("alpha.png")).unwrap().get_pixel(0, 0).0, [9, 8, 7]);

    let deep = ImageBuffer::from_pixel(2, 2, Rgb([0x12FFu16, 0x8000, 0xFFFF]));
    deep.save(place.path("deep.png")).unwrap();
    assert_eq!(read_image(&place.path("deep.png")).unwrap().get_pixel(1, 1).0, [0x12, 0x80, 0xFF]);

    let deep = ImageBuffer::from_pixel(2, 2, Luma([0x12FFu16]));
    deep.save(place.path("deep-grey.png")).unwrap();
    assert_eq!(read_image(&place.path("deep-grey.png")).unwrap().get_pixel(1, 1).0, [0x12; 3]);

    let float = ImageBuffer::from_pixel(2, 2, Rgb([0.5f32, 0.5, 0.5]));
    float.save(place.path("float.tiff")).unwrap();
    assert!(message(&place.path("float.tiff")).contains("8-bit"));
}

#[test]
fn alpha_is_dropped_from_grey_and_deep_pictures() {
    let place = Place::new();
    ImageBuffer::from_pixel(2, 2, LumaA([77u8, 0])).save(place.path("a.png")).unwrap();
    assert_eq!(read_image(&place.path("a.png")).unwrap().get_pixel(1, 1).0, [77; 3]);
    ImageBuffer::from_pixel(2, 2, LumaA([0x12FFu16, 5])).save(place.path("b.png")).unwrap();
    assert_eq!(read_image(&place.path("b.png")).unwrap().get_pixel(1, 1).0, [0x12; 3]);
    let deep = ImageBuffer::from_pixel(2, 2, Rgba([0x12FFu16, 0x8000, 0xFFFF, 5]));
    deep.save(place.path("c.png")).unwrap();
    assert_eq!(read_image(&place.path("c.png")).unwrap().get_pixel(1, 1).0, [0x12, 0x80, 0xFF]);
}

/// A PNG of one row with 4 bits a pixel, in colours of a palette or greys.
fn png_row(colour: png::ColorType, transparent: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 4, 1);
    encoder.set_color(colour);
    encoder.set_depth(png::BitDepth::Four);
    if colour == png::ColorType::Indexed {
        encoder.set_palette(vec![1, 2, 3, 40, 50, 60, 200, 0, 255]);
    }
    if let Some(alpha) = transparent {
        encoder.set_trns(alpha.to_vec());
    }
    // Entries 0, 1, 2, 1.
    encoder.write_header().unwrap().write_image_data(&[0x01, 0x21]).unwrap();
    bytes
}

#[test]
fn palettes_are_resolved_and_few_bits_stretched() {
    let place = Place::new();
    let row = |bytes: &[u8]| -> Vec<[u8; 3]> {
        let image = read_image(&place.file("row.png", bytes)).unwrap();
        image.pixels().map(|pixel| pixel.0).collect()
    };
    let colours = [[1, 2, 3], [40, 50, 60], [200, 0, 255], [40, 50, 60]];
    assert_eq!(row(&png_row(png::ColorType::Indexed, None)), colours);
    // Transparent entries keep their colour.
    assert_eq!(row(&png_row(png::ColorType::Indexed, Some(&[0, 128]))), colours);
    let greys = [[0; 3], [17; 3], [34; 3], [17; 3]];
    assert_eq!(row(&png_row(png::ColorType::Grayscale, None)), greys);
    assert_eq!(row(&png_row(png::ColorType::Grayscale, Some(&[0, 1]))), greys);

    let colours = RgbImage::from_fn(5, 3, |x, y| Rgb([(x * 50) as u8, (y * 90) as u8, 7]));
    let frame = image::Frame::new(image::DynamicImage::from(colours.clone()).into_rgba8());
    let mut gif = Vec::new();
    image::codecs::gif::GifEncoder::new(&mut gif).encode_frame(frame).unwrap();
    assert_eq!(read_image(&place.file("a.gif", &gif)).unwrap(), colours);
}

/// A JPEG of one colour with four components, as stored: its blocks hold their mean and no more.
/// `transform` is what the Adobe segment says, if there is one.
fn four_component_jpeg(values: [u8; 4], transform: Option<u8>) -> Vec<u8> {
    let mut bytes = vec![0xFF, 0xD8];
    let mut segment = |code: u8, content: &[u8]| {
        bytes.extend([0xFF, code]);
        bytes.extend((content.len() as u16 + 2).to_be_bytes());
        bytes.extend(content);
    };
    if let Some(transform) = transform {
        segment(0xEE, &[&b"Adobe\0\x64\0\0\0\0"[..], &[transform]].concat());
    }
    // The mean is stored in units of 8 / 8.
    segment(0xDB, &[&[0][..], &[8; 64]].concat());
    segment(0xC0, &[8, 0, 8, 0, 16, 4, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0, 4, 0x11, 0]);
    // Differences of 0 to 8 bits have codes of four bits each; the end of a block is one bit.
    let lengths = |place: usize, count: u8| {
        let mut lengths = [0; 16];
        lengths[place] = count;
        lengths
    };
    segment(0xC4, &[&[0][..], &lengths(3, 9), &[0, 1, 2, 3, 4, 5, 6, 7, 8]].concat());
    segment(0xC4, &[&[0x10][..], &lengths(0, 1), &[0]].concat());
    segment(0xDA, &[4, 1, 0, 2, 0, 3, 0, 4, 0, 0, 63, 0]);
    let mut bits = String::new();
    // Two blocks a component; the second is as the first.
    for difference in values.map(|value| i32::from(value) - 128).into_iter().chain([0; 4]) {
        let size = 32 - difference.unsigned_abs().leading_zeros() as usize;
        bits += &format!("{size:04b}");
        if size > 0 {
            let code = if difference < 0 { difference + (1 << size) - 1 } else { difference };
            bits += &format!("{code:0size$b}");
        }
        bits += "0";
    }
    while !bits.len().is_multiple_of(8) {
        bits += "1";
    }
    for byte in bits.as_bytes().chunks(8) {
        let byte = byte.iter().fold(0, |sum, bit| 2 * sum + (bit - b'0'));
        bytes.push(byte);
        if byte == 0xFF {
            bytes.push(0);
        }
    }
    bytes.extend([0xFF, 0xD9]);
    bytes
}

#[test]
fn cmyk_jpegs_are_converted() {
    let place = Place::new();
    // Inks are stored upside down, as all programs do that write such files: 255 is no ink.
    for (values, transform, want) in [
        ([200, 100, 50, 255], Some(0), [200, 100, 50]),
        ([200, 100, 50, 255], None, [200, 100, 50]),
        ([200, 100, 50, 128], Some(0), [100, 50, 25]),
        ([255, 255, 255, 0], Some(0), [0, 0, 0]),
        // Luma and two neutral chroma values: of the inks themselves, not of what they leave.
        ([55, 128, 128, 255], Some(2), [200, 200, 200]),
        ([55, 128, 128, 128], Some(2), [100, 100, 100]),
    ] {
        let bytes = four_component_jpeg(values, transform);
        let image = read_image(&place.file("cmyk.jpg", &bytes)).unwrap();
        assert_eq!(image.dimensions(), (16, 8));
        for pixel in image.pixels() {
            let close = std::iter::zip(pixel.0, want).all(|(got, want)| got.abs_diff(want) <= 1);
            assert!(close, "{values:?}, {transform:?}: {pixel:?}, not {want:?}");
        }
    }
}

#[test]
fn the_exif_orientation_is_not_applied() {
    let image = picture(40, 24);
    let plain = jpeg_bytes(&image);
    // Orientation 6: "turn by 90 degrees to show".
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01".to_vec();
    exif.extend([0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0]);
    let mut turned = plain[..2].to_vec();
    turned.extend([0xFF, 0xE1]);
    turned.extend((exif.len() as u16 + 2).to_be_bytes());
    turned.extend(exif);
    turned.extend(&plain[2..]);
    let place = Place::new();
    let path = place.file("turned.jpg", &turned);
    // The tag is there for those who look for it.
    use image::ImageDecoder;
    let reader = std::io::Cursor::new(&turned);
    let mut decoder = image::codecs::jpeg::JpegDecoder::new(reader).unwrap();
    assert_eq!(decoder.orientation().unwrap(), image::metadata::Orientation::Rotate90);
    assert_eq!(read_image(&path).unwrap(), read_image(&place.file("a.jpg", &plain)).unwrap());
}

#[test]
fn a_jpeg_cut_anywhere_is_an_error() {
    let place = Place::new();
    let bytes = jpeg_bytes(&picture(120, 90));
    let cuts = [0, 1, 2, 3, 10, 30, bytes.len() / 3, bytes.len() / 2, bytes.len() - 40];
    for cut in cuts.into_iter().chain(bytes.len() - 12..bytes.len()) {
        let path = place.file("cut.jpg", &bytes[..cut]);
        let error = message(&path);
        if cut > 3 {
            assert!(error.contains("truncated") && error.contains("again"), "cut {cut}: {error}");
        }
    }
    assert!(read_image(&place.file("whole.jpg", &bytes)).is_ok());
}

#[test]
fn bytes_behind_a_jpeg_do_not_matter() {
    let place = Place::new();
    let image = picture(30, 20);
    let mut bytes = jpeg_bytes(&image);
    let plain = read_image(&place.file("plain.jpg", &bytes)).unwrap();
    bytes.extend(b"trailing rubbish \xFF\xD8\xFF");
    assert_eq!(read_image(&place.file("more.jpg", &bytes)).unwrap(), plain);
}

#[test]
fn stray_bytes_between_headers_are_tolerated() {
    let place = Place::new();
    let bytes = jpeg_bytes(&picture(30, 20));
    let plain = read_image(&place.file("plain.jpg", &bytes)).unwrap();
    // Behind the first segment.
    let first = 4 + usize::from(u16::from_be_bytes([bytes[4], bytes[5]])) - 2 + 2;
    let mut stray = bytes[..first].to_vec();
    stray.extend([0; 9]);
    stray.extend(&bytes[first..]);
    assert_eq!(read_image(&place.file("stray.jpg", &stray)).unwrap(), plain);
}

#[test]
fn what_is_no_image_is_named() {
    let place = Place::new();
    assert!(message(&place.path("absent.jpg")).contains("cannot read"));
    assert!(message(&place.file("empty.jpg", b"")).contains("empty"));
    assert!(message(&place.file("text.jpg", b"this is a text")).contains("not an image"));
    let mut png = std::fs::read({
        write_png(&place.path("a.png"), &picture(40, 40)).unwrap();
        place.path("a.png")
    })
    .unwrap();
    png.truncate(png.len() / 2);
    assert!(message(&place.file("cut.png", &png)).contains("cannot be decoded"));
    assert!(read_image(place.folder.path()).is_err());
    assert!(image_size(&place.path("absent.jpg")).is_err());
    assert!(image_size(&place.file("text.jpg", b"this is a text")).is_err());
}

#[test]
fn absurd_sizes_are_refused_before_memory_is_taken() {
    let place = Place::new();
    let mut png = std::fs::read({
        write_png(&place.path("a.png"), &picture(4, 4)).unwrap();
        place.path("a.png")
    })
    .unwrap();
    // The header chunk: width at 16, height at 20, checksum over type and data at 29.
    png[16..20].copy_from_slice(&30_000u32.to_be_bytes());
    png[20..24].copy_from_slice(&30_000u32.to_be_bytes());
    let mut crc = !0u32;
    for &byte in &png[12..29] {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    png[29..33].copy_from_slice(&(!crc).to_be_bytes());
    let error = message(&place.file("huge.png", &png));
    assert!(error.contains("30000x30000") && error.contains("shrink"), "{error}");

    let mut jpeg = jpeg_bytes(&picture(16, 16));
    let frame = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xFF; 4]);
    let error = message(&place.file("huge.jpg", &jpeg));
    assert!(error.contains("more than the 32768 a side"), "{error}");
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0x75, 0x30, 0x75, 0x30]);
    let error = message(&place.file("large.jpg", &jpeg));
    assert!(error.contains("30000x30000"), "{error}");
}

#[test]
fn six_thousand_squared_is_fine() {
    let place = Place::new();
    let path = place.path("large.jpg");
    write_jpeg(&path, &RgbImage::from_pixel(6000, 6000, Rgb([90, 120, 30])), 50).unwrap();
    assert_eq!(read_image(&path).unwrap().dimensions(), (6000, 6000));
}

#[test]
fn a_write_into_nowhere_is_an_error() {
    let place = Place::new();
    let path = place.path("absent").join("a.png");
    assert!(write_png(&path, &picture(2, 2)).unwrap_err().to_string().contains("absent"));
    let empty = RgbImage::new(0, 0);
    assert!(write_jpeg(&place.path("a.jpg"), &empty, 90).is_err());
    assert!(write_png(&place.path("a.png"), &empty).is_err());
    assert!(!place.path("a.jpg").exists() && !place.path("a.png").exists());
}
