use proptest::prelude::*;

use super::build::{Style, sbd};
use super::*;

const STYLES: [Style; 4] =
    [Style::PLAIN, Style::PACKED, Style::BIG, Style { big_endian: true, packed: true }];

fn labels(bytes: &[u8]) -> Result<(Vec<usize>, Vec<u8>), Problem> {
    let file = MatFile::parse(bytes)?;
    let field = file.variable("GTcls")?.field("Segmentation")?;
    Ok((field.dimensions().to_vec(), field.bytes()?.into_owned()))
}

#[test]
fn structs_of_every_style() {
    for style in STYLES {
        // Two lines of three; columns come first in the file.
        let bytes = sbd(style, 3, &[1, 2, 3, 4, 5, 255]);
        assert_eq!(labels(&bytes), Ok((vec![2, 3], vec![1, 4, 2, 5, 3, 255])), "{style:?}");
        // Few enough values for the short form.
        assert_eq!(labels(&sbd(style, 1, &[7, 8])), Ok((vec![2, 1], vec![7, 8])), "{style:?}");
    }
}

/// `scipy.mat` was made for this test by SciPy's `savemat`, packed: a struct as SBD's, with a cell
/// array of sparse matrices before the labels, which are a disc of 697 pixels of class 3 and a
/// rectangle of class 15.
#[test]
fn a_file_of_another_program() {
    let (size, values) = labels(include_bytes!("scipy.mat")).unwrap();
    assert_eq!(size, [64, 64]);
    let count = |label| values.iter().filter(|&&value| value == label).count();
    assert_eq!((count(0), count(3), count(15)), (64 * 64 - 1197, 697, 500));
    // Column by column: the rectangle spans lines 40..60 and columns 5..30.
    assert_eq!((values[5 * 64 + 40], values[29 * 64 + 59], values[30 * 64 + 40]), (15, 15, 0));
}

#[test]
fn values_of_other_types() {
    for style in [Style::PLAIN, Style::BIG] {
        let wrap = |class: u32, kind: u32, data: &[u8]| {
            let field = style.array(class, &[1, 2], "", &style.element(kind, data));
            style.file(&[style.structure("GTcls", &[("Segmentation", field)])])
        };
        let both = |little: Vec<[u8; 8]>, width: usize| -> Vec<u8> {
            little
                .into_iter()
                .flat_map(|number| {
                    let mut number = number[..width].to_vec();
                    if style.big_endian {
                        number.reverse();
                    }
                    number
                })
                .collect()
        };
        let whole = |width| both(vec![3u64.to_le_bytes(), 200u64.to_le_bytes()], width);
        for (class, kind, data) in [
            (10, kind::INT16, whole(2)),
            (11, kind::UINT16, whole(2)),
            (12, kind::INT32, whole(4)),
            (13, kind::UINT32, whole(4)),
            (14, kind::INT64, whole(8)),
            (15, kind::UINT64, whole(8)),
            // A class of doubles may be stored in bytes.
            (6, kind::UINT8, vec![3, 200]),
            (6, kind::DOUBLE, both(vec![3f64.to_le_bytes(), 200f64.to_le_bytes()], 8)),
        ] {
            assert_eq!(labels(&wrap(class, kind, &data)).unwrap().1, [3, 200], "type {kind}");
        }
        for wrong in [0.5, -1.0, 256.0, f64::NAN, f64::INFINITY] {
            let data = both(vec![1f64.to_le_bytes(), wrong.to_le_bytes()], 8);
            let problem = labels(&wrap(6, kind::DOUBLE, &data)).unwrap_err();
            assert!(problem.contains("not a label"), "{wrong}: {problem}");
        }
        assert!(labels(&wrap(6, kind::DOUBLE, &[0; 15])).unwrap_err().contains("cut off"));
        assert!(labels(&wrap(9, kind::UINT8, &[0; 3])).unwrap_err().contains("3 values"));
        assert!(labels(&wrap(9, 99, &[0; 2])).unwrap_err().contains("type 99"));
        assert!(labels(&wrap(4, kind::UINT16, &[0; 4])).unwrap_err().contains("no numeric"));
    }
}

#[test]
fn other_files_are_named() {
    let problem = |bytes: &[u8]| labels(bytes).unwrap_err();
    assert!(problem(b"").contains("empty"));
    assert!(problem(b"PNG").contains("shorter"));
    assert!(problem(&[7; 200]).contains("no MATLAB file"));
    let mut newer = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".to_vec();
    newer.resize(512, b' ');
    newer.extend(b"\x89HDF\r\n\x1a\n");
    assert!(problem(&newer).contains("7.3") && problem(&newer).contains("-v7"));
    assert!(problem(&newer[512..]).contains("7.3"));
    let mut version = sbd(Style::PLAIN, 1, &[0; 8]);
    version[125] = 9;
    assert!(problem(&version).contains("0x0900"), "{}", problem(&version));

    let style = Style::PLAIN;
    assert!(problem(&style.file(&[])).contains("no variable"));
    let number = style.array(9, &[1, 1], "GTinst", &style.short(2, &[1]));
    assert!(problem(&style.file(&[number])).contains("GTinst"));
    let number = style.array(9, &[1, 1], "GTcls", &style.short(2, &[1]));
    assert!(problem(&style.file(std::slice::from_ref(&number))).contains("no struct"));
    let other = style.structure("GTcls", &[("Boundaries", number)]);
    assert!(problem(&style.file(&[other])).contains("but Boundaries"));
}

#[test]
fn lengths_are_not_trusted() {
    let style = Style::PLAIN;
    // An array whose sides multiply beyond all bounds.
    let huge = style.array(9, &[0x7FFF_FFFF; 3], "", &style.element(2, &[0; 16]));
    let file = style.file(&[style.structure("GTcls", &[("Segmentation", huge)])]);
    assert!(labels(&file).unwrap_err().contains("16 values"));
    let negative = style.array(9, &[u32::MAX, 1], "", &style.element(2, &[0]));
    let file = style.file(&[style.structure("GTcls", &[("Segmentation", negative)])]);
    assert!(labels(&file).unwrap_err().contains("negative"));
    // A variable that unpacks to far more than any mask.
    let bomb = style.element(14, &vec![0; MAX_UNPACKED as usize + 8]);
    let file = Style::PACKED.file(&[bomb]);
    assert!(file.len() < 1 << 20);
    assert!(labels(&file).unwrap_err().contains("larger than"));
}

#[test]
fn every_truncation_is_an_error() {
    for style in STYLES {
        let bytes = sbd(style, 5, &[3; 40]);
        for end in 0..bytes.len() {
            // What is cut may be no more than padding or the last field, which is not asked for.
            if let Ok((size, values)) = labels(&bytes[..end]) {
                assert_eq!((size, values), (vec![8, 5], vec![3; 40]));
            }
        }
        assert!(labels(&bytes[..bytes.len() / 2]).is_err());
    }
}

proptest! {
    /// Whatever is damaged: an answer or an error, never a panic.
    #[test]
    fn damage_is_survived(
        style in 0..STYLES.len(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        end in any::<prop::sample::Index>(),
    ) {
        let mut bytes = sbd(STYLES[style], 7, &[9; 70]);
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        let _ = labels(&bytes);
        let _ = labels(&bytes[..end.index(bytes.len())]);
    }

    #[test]
    fn any_labels_come_back(style in 0..STYLES.len(), width in 1usize..9, height in 1usize..9, seed: u8) {
        let values: Vec<u8> =
            (0..width * height).map(|n| (n as u8).wrapping_mul(37).wrapping_add(seed)).collect();
        let (size, columns) = labels(&sbd(STYLES[style], width, &values)).unwrap();
        prop_assert_eq!(size, vec![height, width]);
        for (n, value) in columns.into_iter().enumerate() {
            prop_assert_eq!(value, values[n % height * width + n / height]);
        }
    }
}
