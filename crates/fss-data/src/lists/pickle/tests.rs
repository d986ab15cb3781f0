use std::collections::BTreeMap;

use super::*;
use crate::test_tree::Tree;

fn read(bytes: &[u8]) -> Result<ClassLists, DataError> {
    let tree = Tree::empty();
    read_coco_pickle(&tree.file("fold0.pkl", bytes))
}

fn refused(bytes: &[u8], part: &str) {
    let error = read(bytes).unwrap_err().to_string();
    assert!(error.contains(part) && error.contains("fold0.pkl"), "{error}");
    assert!(error.contains("text form"), "no remedy in {error}");
}

/// `{0: [b, a], 1: [], 5: [a, c]}` as Python writes it in protocols 3 and 4: the second `a` refers
/// to the first.
const PYTHON: [&str; 2] = [
    "80037d7100284b005d710128582500000076616c323031342f434f434f5f76616c323031345f3030303030303030\
    303030372e6a70677102582500000076616c323031342f434f434f5f76616c323031345f30303030303030303030\
    34322e6a70677103654b015d71044b055d7105286803580100000063710665752e",
    "8004956b000000000000007d94284b005d94288c2576616c323031342f434f434f5f76616c323031345f30303030\
    30303030303030372e6a7067948c2576616c323031342f434f434f5f76616c323031345f30303030303030303030\
    34322e6a706794654b015d944b055d942868038c01639465752e",
];

fn python(which: usize) -> Vec<u8> {
    PYTHON[which]
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn dictionaries_of_lists_are_read() {
    let [a, b] = ["42", "07"].map(|n| format!("val2014/COCO_val2014_0000000000{n}.jpg"));
    for which in 0..2 {
        let lists = read(&python(which)).unwrap();
        assert_eq!(lists[&0], [b.as_str(), &a]);
        assert!(lists[&1].is_empty());
        assert_eq!(lists[&5], [a.as_str(), "c"]);
    }

    let map: BTreeMap<i64, Vec<String>> =
        (0..80).map(|c| (c, (0..c).map(|n| format!("x/{n}.jpg")).collect())).collect();
    for options in [serde_pickle::SerOptions::new(), serde_pickle::SerOptions::new().proto_v2()] {
        let lists = read(&serde_pickle::to_vec(&map, options).unwrap()).unwrap();
        assert_eq!(lists.len(), 80);
        assert_eq!(lists[&79][78], "x/78.jpg");
    }
}

#[test]
fn other_instructions_are_refused() {
    // os.system("true"), as protocol 0 and within a pickle of protocol 3.
    refused(b"cos\nsystem\n(S'true'\ntR.", "not a pickle");
    refused(b"\x80\x03cos\nsystem\nX\x04\x00\x00\x00true\x85R.", "'c' (0x63) at byte 2");
    refused(b"\x80\x02}K\x00]2\x86s.", "'2' (0x32)");
    refused(b"\x80\x03}K\x00G\x00\x00\x00\x00\x00\x00\x00\x00s.", "'G'");
}

#[test]
fn other_contents_are_refused() {
    refused(b"\x80\x03].", "no list of images");
    refused(b"\x80\x03}.", "names no image");
    refused(b"\x80\x03}X\x01\x00\x00\x00a]s.", "no list of images");
    refused(b"\x80\x03}K\x00K\x01s.", "no list of images");
    refused(b"\x80\x03}K\x00]K\x01as.", "no list of images");
    refused(b"\x80\x03}J\xff\xff\xff\xff]s.", "no list of images");
    refused(b"\x80\x03}(K\x00]X\x01\x00\x00\x00aaK\x00]u.", "class 0 is there twice");
    refused(b"\x80\x03s.", "no list of images");
    refused(b"", "truncated");
    refused(b"0\t42 7\n", "not a pickle");
}

#[test]
fn every_cut_is_refused() {
    for which in 0..2 {
        let bytes = python(which);
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err(), "cut to {length} bytes");
        }
        refused(&[&bytes[..], b"x"].concat(), "1 bytes follow");
    }
}

#[test]
fn small_files_cannot_ask_for_all_memory() {
    // A text of 4 GB.
    refused(b"\x80\x03X\xff\xff\xff\xffabc", "too long");
    // Lists in lists in lists.
    let mut nested = b"\x80\x03".to_vec();
    nested.extend(std::iter::repeat_n(b']', 100_000));
    nested.extend(std::iter::repeat_n(b'a', 99_999));
    nested.push(b'.');
    refused(&nested, "more than 4096 lists");
    // A list of 60,000 names that 1,000 classes share.
    let mut shared = b"\x80\x03}(K\x00](".to_vec();
    shared.extend(std::iter::repeat_n(*b"X\x01\x00\x00\x00a", 60_000).flatten());
    shared.extend(b"eq\x01");
    for class in 1..1_000u16 {
        shared.push(b'M');
        shared.extend(class.to_le_bytes());
        shared.extend(b"h\x01");
    }
    shared.extend(b"u.");
    refused(&shared, "more than 10000000 names");
}

#[test]
fn a_large_file_is_not_read() {
    let tree = Tree::empty();
    let path = tree.file("fold0.pkl", b"");
    std::fs::File::options().write(true).open(&path).unwrap().set_len(65 << 20).unwrap();
    let error = read_coco_pickle(&path).unwrap_err().to_string();
    assert!(error.contains("bytes, more than"), "{error}");
    assert!(read_coco_pickle(&tree.path("absent.pkl")).unwrap_err().to_string().contains("absent"));
}
