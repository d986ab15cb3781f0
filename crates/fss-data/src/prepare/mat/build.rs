//! Makes small MATLAB files for tests.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// How a file is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    pub(crate) big_endian: bool,
    pub(crate) packed: bool,
}

impl Style {
    pub(crate) const PACKED: Self = Self { big_endian: false, packed: true };
    pub(crate) const PLAIN: Self = Self { big_endian: false, packed: false };
    pub(crate) const BIG: Self = Self { big_endian: true, packed: false };

    pub(crate) fn u32(self, number: u32) -> [u8; 4] {
        if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    /// An element in the long form.
    pub(crate) fn element(self, kind: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = [self.u32(kind), self.u32(data.len() as u32)].concat();
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    /// An element of up to 4 bytes in the short form.
    pub(crate) fn short(self, kind: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = self.u32((data.len() as u32) << 16 | kind).to_vec();
        bytes.extend(data);
        bytes.resize(8, 0);
        bytes
    }

    /// An array: flags, dimensions, name, content.
    pub(crate) fn array(self, class: u32, size: &[u32], name: &str, content: &[u8]) -> Vec<u8> {
        let size: Vec<u8> = size.iter().flat_map(|&side| self.u32(side)).collect();
        let mut bytes = self.element(6, &[self.u32(class), self.u32(0)].concat());
        bytes.extend(self.element(5, &size));
        bytes.extend(match name.len() {
            1..=4 => self.short(1, name.as_bytes()),
            _ => self.element(1, name.as_bytes()),
        });
        bytes.extend(content);
        self.element(14, &bytes)
    }

    /// A struct of size 1x1 of fields that are whole elements.
    pub(crate) fn structure(self, name: &str, fields: &[(&str, Vec<u8>)]) -> Vec<u8> {
        const LENGTH: usize = 32;
        let mut content = self.short(5, &self.u32(LENGTH as u32));
        let names: Vec<u8> = fields
            .iter()
            .flat_map(|(name, _)| {
                let mut name = name.as_bytes().to_vec();
                name.resize(LENGTH, 0);
                name
            })
            .collect();
        content.extend(self.element(1, &names));
        for (_, field) in fields {
            content.extend(field);
        }
        self.array(2, &[1, 1], name, &content)
    }

    /// A file of variables that are whole elements.
    pub(crate) fn file(self, variables: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = b"MATLAB 5.0 MAT-file, made for a test".to_vec();
        bytes.resize(124, b' ');
        let mark: [u8; 4] = if self.big_endian { *b"\x01\x00MI" } else { *b"\x00\x01IM" };
        bytes.extend(mark);
        for variable in variables {
            if self.packed {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(variable).unwrap();
                let packed = encoder.finish().unwrap();
                bytes.extend([self.u32(15), self.u32(packed.len() as u32)].concat());
                bytes.extend(packed);
            } else {
                bytes.extend(variable);
            }
        }
        bytes
    }
}

/// A file as SBD has them: a struct `GTcls` with boundaries (here an empty cell array), the labels
/// and the classes that are there. `labels` goes line by line.
pub(crate) fn sbd(style: Style, width: usize, labels: &[u8]) -> Vec<u8> {
    let height = labels.len() / width;
    let columns: Vec<u8> =
        (0..width).flat_map(|x| (0..height).map(move |y| labels[y * width + x])).collect();
    let size = [height as u32, width as u32];
    let values = if columns.len() <= 4 && !columns.is_empty() {
        style.short(2, &columns)
    } else {
        style.element(2, &columns)
    };
    let empty = style.element(14, &[]);
    let fields = [
        ("Boundaries", style.array(1, &[2, 1], "", &[empty.clone(), empty].concat())),
        ("Segmentation", style.array(9, &size, "", &values)),
        ("CategoriesPresent", style.array(9, &[1, 1], "", &style.short(2, &[1]))),
    ];
    style.file(&[style.structure("GTcls", &fields)])
}
