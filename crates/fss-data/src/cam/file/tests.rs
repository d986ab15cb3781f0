use std::io::{Cursor, Write};
use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;
use crate::transform::ClipView;

const GRID: usize = 4;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// What is said of a file with these bytes.
    fn problem(&self, bytes: &[u8]) -> String {
        let path = self.file("bad.pt", bytes);
        let error = read_cam(&path, GRID).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert!(error.contains("fss cam"), "{error}");
        error
    }
}

fn map() -> Array2<f32> {
    Array2::from_shape_fn((GRID, GRID), |(y, x)| (y * GRID + x) as f32 / 16.0)
}

fn note() -> CamNote {
    CamNote {
        class: "dining \"table\"".into(),
        prompt: "a photo of a dining table".into(),
        image: "val2014/a.jpg".into(),
        view: ClipView::WholeImage,
        target: "score".into(),
        weights: "afeb0e10".into(),
    }
}

/// The values of the map, one after the other.
fn plain() -> Vec<u8> {
    map().iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A pickle that describes a tensor as `torch.save` does, with these parts.
struct Pickle {
    kind: &'static str,
    count: u8,
    offset: u8,
    shape: [u8; 2],
    strides: [u8; 2],
    /// What goes behind the number of values.
    view: &'static [u8],
}

const PLAIN: Pickle = Pickle {
    kind: "FloatStorage",
    count: 16,
    offset: 0,
    shape: [4, 4],
    strides: [4, 1],
    view: b"",
};

impl Pickle {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x00((".to_vec();
        bytes.extend(b"X\x07\x00\x00\x00storageq\x01ctorch\n");
        bytes.extend(self.kind.as_bytes());
        bytes.extend(b"\nq\x02X\x01\x00\x00\x000q\x03X\x03\x00\x00\x00cpuq\x04");
        bytes.extend([b'K', self.count]);
        bytes.extend(self.view);
        bytes.extend(b"tq\x05Q");
        bytes.extend([b'K', self.offset]);
        for [a, b] in [self.shape, self.strides] {
            bytes.extend([b'K', a, b'K', b, 0x86, b'q', 6]);
        }
        bytes.extend(b"\x89ccollections\nOrderedDict\nq\x08)Rq\ttq\nRq\x0b.");
        bytes
    }
}

fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, content) in entries {
        writer.start_file(*name, stored).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn saved(pickle: &Pickle) -> Vec<u8> {
    archive(&[("m/data.pkl", &pickle.bytes()), ("m/data/0", &plain()), ("m/version", b"3\n")])
}

/// The older form.
fn stream(pickle: &Pickle, little: bool) -> Vec<u8> {
    let mut bytes = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.".to_vec();
    bytes.extend(b"\x80\x02}q\x00(X\x0d\x00\x00\x00little_endianq\x01");
    bytes.extend([if little { 0x88 } else { 0x89 }]);
    bytes.extend(b"X\x01\x00\x00\x00a}(X\x01\x00\x00\x00bK\x02uu.");
    bytes.extend(pickle.bytes());
    bytes.extend(b"\x80\x02]q\x00X\x01\x00\x00\x000q\x01a.");
    let mut count = 16u64.to_le_bytes();
    let mut values = plain();
    if !little {
        count.reverse();
        values.as_chunks_mut::<4>().0.iter_mut().for_each(|value| value.reverse());
    }
    bytes.extend(count);
    bytes.extend(values);
    bytes
}

#[test]
fn our_files_keep_map_and_note() {
    let place = Place::new();
    let path = place.path("a.safetensors");
    write_cam(&path, &map(), &note()).unwrap();
    assert_eq!(read_cam(&path, GRID).unwrap(), map());
    assert_eq!(read_cam_note(&path).unwrap(), Some(note()));
    let bytes = std::fs::read(&path).unwrap();
    write_cam(&path, &map(), &note()).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    // Others of the kind read it, too.
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.tensor("cam").unwrap().data(), plain());
}

#[test]
fn both_forms_of_torch_are_read() {
    let place = Place::new();
    for bytes in [
        saved(&PLAIN),
        // As it was in PyTorch before the entry with the order of bytes, and without a folder.
        archive(&[("data.pkl", &PLAIN.bytes()), ("data/0", &plain())]),
        stream(&Pickle { view: b"N", ..PLAIN }, true),
        stream(&PLAIN, false),
    ] {
        let path = place.file("a.pt", &bytes);
        assert_eq!(read_cam(&path, GRID).unwrap(), map());
        assert_eq!(read_cam_note(&path).unwrap(), None);
    }
    let mut swapped = plain();
    swapped.as_chunks_mut::<4>().0.iter_mut().for_each(|value| value.reverse());
    let big =
        archive(&[("m/data.pkl", &PLAIN.bytes()), ("m/byteorder", b"big"), ("m/data/0", &swapped)]);
    assert_eq!(read_cam(&place.file("big.pt", &big), GRID).unwrap(), map());
}

#[test]
fn views_are_read_as_views() {
    let place = Place::new();
    let turned = place.file("t.pt", &saved(&Pickle { strides: [1, 4], ..PLAIN }));
    assert_eq!(read_cam(&turned, GRID).unwrap(), map().t());
    let corner = Pickle { offset: 5, shape: [2, 2], ..PLAIN };
    let corner = place.file("c.pt", &saved(&corner));
    assert_eq!(read_cam(&corner, 2).unwrap(), ndarray::array![[5.0, 6.0], [9.0, 10.0]] / 16.0);
    let beyond = place.problem(&saved(&Pickle { offset: 1, ..PLAIN }));
    assert!(beyond.contains("reaches beyond"), "{beyond}");
}

#[test]
fn what_is_no_map_is_named() {
    let place = Place::new();
    let missing = read_cam(&place.path("absent.pt"), GRID).unwrap_err().to_string();
    assert!(missing.contains("absent.pt"), "{missing}");
    let other_shape = saved(&Pickle { shape: [2, 8], strides: [8, 1], ..PLAIN });
    for (bytes, expected) in [
        (Vec::new(), "empty"),
        (b"just a text".to_vec(), "neither"),
        (other_shape.clone(), "[2, 8], where [4, 4]"),
        (saved(&Pickle { kind: "HalfStorage", ..PLAIN }), "torch.HalfStorage, not float32"),
        (saved(&Pickle { count: 15, ..PLAIN }), "64 bytes, more than 60"),
        (saved(&Pickle { count: 17, ..PLAIN }), "64 bytes of values in place of 68"),
        (archive(&[("a/b", b"c")]), "no data.pkl"),
        (archive(&[("data.pkl", &PLAIN.bytes())]), "data/0 in the archive"),
        (archive(&[("data.pkl", b"\x80\x02K\x07.")]), "holds a number, not a tensor"),
        (archive(&[("data.pkl", b"\x80\x02}.")]), "holds a dictionary"),
        (stream(&Pickle { view: b"K\x07", ..PLAIN }, true), "unknown way"),
        (stream(&Pickle { count: 15, ..PLAIN }, true), "two numbers"),
        (b"\x80\x02K\x07.".to_vec(), "none of torch.save"),
    ] {
        let problem = place.problem(&bytes);
        assert!(problem.contains(expected), "{expected}: {problem}");
    }
}

#[test]
fn nothing_is_called() {
    let place = Place::new();
    for program in [
        b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R.".as_slice(),
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.",
        b"\x80\x02ccollections\nOrderedDict\nK\x01\x85R.",
        b"\x80\x02cbuiltins\neval\n.",
        b"\x80\x02(X\x02\x00\x00\x00idios\nsystem\n.",
        b"\x80\x02)\x81.",
        b"\x80\x02}}b.",
    ] {
        let problem = place.problem(&archive(&[("data.pkl", program)]));
        assert!(
            ["refers to", "calls", "more than a tensor"]
                .iter()
                .any(|words| problem.contains(words)),
            "{problem}"
        );
    }
}

#[test]
fn pickles_that_grow_or_take_too_much_are_refused() {
    let place = Place::new();
    // Each step doubles the value; written out, it had 2^400 parts.
    let mut doubling = b"\x80\x02]".to_vec();
    for _ in 0..400 {
        doubling.extend(b"q\x00h\x00\x86");
    }
    doubling.push(b'.');
    assert!(place.problem(&archive(&[("data.pkl", &doubling)])).contains("instructions"));
    let mut doubling = b"\x80\x02]".to_vec();
    for _ in 0..300 {
        doubling.extend(b"q\x00h\x00\x86");
    }
    doubling.push(b'.');
    assert!(place.problem(&archive(&[("data.pkl", &doubling)])).contains("holds a list"));
    for short in [
        b"\x80\x02\x86.".as_slice(),
        b"\x80\x02K\x01(\x85.",
        b"\x80\x02t.",
        b"\x80\x02.",
        b"\x80\x02h\x09.",
        b"\x80\x02q\x01.",
        b"\x80\x02K\x01K\x02a.",
        b"\x80\x02\x8a\xff.",
        b"\x80\x07.",
        b"\x80\x02X\xff\xff\xff\xff.",
        b"\x80\x02cos",
    ] {
        place.problem(&archive(&[("data.pkl", short)]));
    }
}

#[test]
fn values_must_be_those_of_a_normalised_map() {
    let place = Place::new();
    let path = place.path("a.safetensors");
    for value in [f32::NAN, f32::INFINITY, -0.01, 1.01] {
        let mut bad = map();
        bad[[2, 1]] = value;
        let error = write_cam(&path, &bad, &note()).unwrap_err().to_string();
        assert!(error.contains("row 2, column 1") && !path.exists(), "{error}");
        let bytes: Vec<u8> = bad.iter().flat_map(|value| value.to_le_bytes()).collect();
        let file = archive(&[("data.pkl", &PLAIN.bytes()), ("data/0", &bytes)]);
        assert!(place.problem(&file).contains("row 2, column 1"));
    }
    let mut rounded = map();
    rounded[[0, 0]] = 1.000_01;
    write_cam(&path, &rounded, &note()).unwrap();
    assert_eq!(read_cam(&path, GRID).unwrap(), rounded);
    assert!(write_cam(&path, &Array2::zeros((2, 3)), &note()).is_err());
    assert!(write_cam(&path, &Array2::zeros((0, 0)), &note()).is_err());
}

#[test]
fn other_safetensors_are_named() {
    let place = Place::new();
    let path = place.path("a.safetensors");
    write_cam(&path, &map(), &note()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    // The header is text, the values are not.
    let edit = |from: &str, to: &str| {
        let (header, values) = bytes.split_at(bytes.len() - plain().len());
        let at = header.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
        assert_eq!(from.len(), to.len());
        [&header[..at], to.as_bytes(), &header[at + from.len()..], values].concat()
    };
    assert!(place.problem(&edit("\"cam\"", "\"map\"")).contains("no tensor \"cam\""));
    assert!(place.problem(&edit("F32", "I32")).contains("I32, not float32"));
    assert!(place.problem(&edit("[4,4]", "[2,8]")).contains("[2, 8], where [4, 4]"));
    assert!(place.problem(&bytes[..bytes.len() - 1]).contains("truncated"));
    // A note of another kind is none, but the values count.
    for (from, to) in [("fss.cam", "fss.tea"), ("whole-image", "other-image")] {
        let other = place.file("other.safetensors", &edit(from, to));
        assert_eq!(read_cam_note(&other).unwrap(), None);
        assert_eq!(read_cam(&other, GRID).unwrap(), map());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_file_cut_anywhere_is_an_error(part in 0f64..1.0) {
        let place = Place::new();
        let path = place.path("a.safetensors");
        write_cam(&path, &map(), &note()).unwrap();
        for whole in [std::fs::read(&path).unwrap(), saved(&PLAIN), stream(&PLAIN, true)] {
            place.problem(&whole[..(whole.len() as f64 * part) as usize]);
        }
    }

    #[test]
    fn a_changed_byte_never_panics(at in 0usize..2000, value: u8) {
        let place = Place::new();
        let path = place.path("a.safetensors");
        write_cam(&path, &map(), &note()).unwrap();
        for mut whole in [std::fs::read(&path).unwrap(), saved(&PLAIN), stream(&PLAIN, true)] {
            let at = at % whole.len();
            whole[at] = value;
            if let Ok(read) = read_cam(&place.file("changed", &whole), GRID) {
                prop_assert_eq!(read.dim(), (GRID, GRID));
            }
        }
    }
}
