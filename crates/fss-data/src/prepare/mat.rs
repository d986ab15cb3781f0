//! Reading of MATLAB files of version 5 (`.mat` as `save` writes it, up to `-v7`): structs and
//! numeric arrays, compressed or not, of either byte order.
//!
//! Written after MathWorks' description of the format. A file is a header of 128 bytes and data
//! elements; an element is a tag (type, bytes) and its data, padded to 8 bytes; a variable is an
//! element of elements. Nothing in a file is trusted: every length is checked against the bytes that
//! are there, and what is unpacked is limited.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::ZlibDecoder;

/// What is wrong with a file, to be completed with its name.
pub(super) type Problem = String;

const HEADER: usize = 128;
/// The most bytes that one compressed variable may unpack to.
const MAX_UNPACKED: u64 = 1 << 28;
/// The most dimensions an array may have.
const MAX_DIMENSIONS: usize = 32;

/// Types of data elements.
mod kind {
    pub const INT8: u32 = 1;
    pub const UINT8: u32 = 2;
    pub const INT16: u32 = 3;
    pub const UINT16: u32 = 4;
    pub const INT32: u32 = 5;
    pub const UINT32: u32 = 6;
    pub const SINGLE: u32 = 7;
    pub const DOUBLE: u32 = 9;
    pub const INT64: u32 = 12;
    pub const UINT64: u32 = 13;
    pub const MATRIX: u32 = 14;
    pub const COMPRESSED: u32 = 15;
}

/// Classes of arrays.
const STRUCT: u8 = 2;
const NUMERIC: std::ops::RangeInclusive<u8> = 6..=15;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn number<const N: usize>(self, bytes: &[u8]) -> Option<[u8; N]> {
        let mut number: [u8; N] = bytes.get(..N)?.try_into().ok()?;
        if self == Self::Big {
            number.reverse();
        }
        // Little-endian from here on.
        Some(number)
    }

    fn u16(self, bytes: &[u8]) -> Option<u16> {
        self.number(bytes).map(u16::from_le_bytes)
    }

    fn u32(self, bytes: &[u8]) -> Option<u32> {
        self.number(bytes).map(u32::from_le_bytes)
    }
}

/// The variables of a file, unpacked.
#[derive(Debug)]
pub(super) struct MatFile<'a> {
    order: Order,
    variables: Vec<Cow<'a, [u8]>>,
}

/// One array: its class, its size and the elements that hold its content.
#[derive(Debug, Clone)]
pub(super) struct Array<'a> {
    order: Order,
    class: u8,
    dimensions: Vec<usize>,
    name: &'a [u8],
    content: Elements<'a>,
}

impl<'a> MatFile<'a> {
    /// Reads the header and unpacks the variables.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Problem> {
        let order = check_header(bytes)?;
        let mut variables = Vec::new();
        let mut elements = Elements { order, rest: &bytes[HEADER..] };
        while let Some(element) = elements.next()? {
            match element.kind {
                kind::MATRIX => variables.push(Cow::Borrowed(element.data)),
                kind::COMPRESSED => {
                    // Other packed elements (the subsystem's data) hold no variable.
                    if let Some(matrix) = unpack(order, element.data)? {
                        variables.push(Cow::Owned(matrix));
                    }
                }
                _ => {}
            }
        }
        Ok(Self { order, variables })
    }

    /// The variable of that name.
    pub(super) fn variable(&self, name: &str) -> Result<Array<'_>, Problem> {
        let mut names = Vec::new();
        for bytes in &self.variables {
            let array = Array::parse(self.order, bytes)?;
            if array.name == name.as_bytes() {
                return Ok(array);
            }
            names.push(String::from_utf8_lossy(array.name).into_owned());
        }
        Err(match names.len() {
            0 => format!("it holds no variable, so no {name:?} either"),
            _ => format!("it holds no variable {name:?} but {}", names.join(", ")),
        })
    }
}

impl<'a> Array<'a> {
    /// Reads what is inside an element of the type `MATRIX`.
    fn parse(order: Order, bytes: &'a [u8]) -> Result<Self, Problem> {
        let mut content = Elements { order, rest: bytes };
        if bytes.is_empty() {
            // An empty array in a cell or a field.
            return Ok(Self { order, class: 0, dimensions: vec![0, 0], name: b"", content });
        }
        let flags = content.expect("array flags", &[kind::UINT32])?;
        let flags = order.u32(flags.data).ok_or("the array flags are cut off")?;
        let dimensions = content.expect("dimensions", &[kind::INT32, kind::UINT32])?.data;
        let dimensions: Option<Vec<usize>> = dimensions
            .chunks(4)
            .map(|side| usize::try_from(order.u32(side)? as i32).ok())
            .collect();
        let dimensions = dimensions.ok_or("a dimension is negative or cut off")?;
        if !(2..=MAX_DIMENSIONS).contains(&dimensions.len()) {
            return Err(format!("an array has {} dimensions", dimensions.len()));
        }
        let name = content.expect("array name", &[kind::INT8, kind::UINT8])?.data;
        Ok(Self { order, class: flags as u8, dimensions, name, content })
    }

    /// A field of a struct of size 1x1.
    pub(super) fn field(&self, wanted: &str) -> Result<Array<'a>, Problem> {
        if self.class != STRUCT {
            return Err(format!("{} is no struct", self.title()));
        }
        if self.dimensions.iter().any(|&side| side != 1) {
            return Err(format!("the struct {} is {}, not 1x1", self.title(), self.size()));
        }
        let mut content = self.content.clone();
        let length = content.expect("length of field names", &[kind::INT32, kind::UINT32])?.data;
        let length = self.order.u32(length).map_or(0, |length| length as usize);
        let names = content.expect("field names", &[kind::INT8, kind::UINT8])?.data;
        if length == 0 || names.len() % length != 0 {
            return Err(format!("the field names of {} are damaged", self.title()));
        }
        let mut known = Vec::new();
        for name in names.chunks(length) {
            let end = name.iter().position(|&byte| byte == 0).unwrap_or(length);
            let field = content.expect("field", &[kind::MATRIX])?;
            if &name[..end] == wanted.as_bytes() {
                return Self::parse(self.order, field.data);
            }
            known.push(String::from_utf8_lossy(&name[..end]).into_owned());
        }
        Err(format!("{} holds no field {wanted:?} but {}", self.title(), known.join(", ")))
    }

    /// The size, rows first.
    pub(super) fn dimensions(&self) -> &[usize] {
        &self.dimensions
    }

    /// The values of a numeric array in the order of the file (column by column), each a whole
    /// number from 0 to 255.
    pub(super) fn bytes(&self) -> Result<Cow<'a, [u8]>, Problem> {
        if !NUMERIC.contains(&self.class) {
            return Err(format!("{} is no numeric array", self.title()));
        }
        let mut content = self.content.clone();
        let Some(element) = content.next()? else {
            return Err(format!("the values of {} are missing", self.title()));
        };
        let values = self.values(element)?;
        let count = self.dimensions.iter().try_fold(1usize, |n, &side| n.checked_mul(side));
        if count != Some(values.len()) {
            return Err(format!(
                "{} is {} in size but has {} values",
                self.title(),
                self.size(),
                values.len()
            ));
        }
        Ok(values)
    }

    fn values(&self, element: Element<'a>) -> Result<Cow<'a, [u8]>, Problem> {
        let data = element.data;
        let order = self.order;
        // A class may be stored as any type that holds its values.
        let converted = match element.kind {
            kind::UINT8 => return Ok(Cow::Borrowed(data)),
            kind::INT8 => each::<1>(data, order, |n| i8::from_le_bytes(n).into()),
            kind::INT16 => each::<2>(data, order, |n| i16::from_le_bytes(n).into()),
            kind::UINT16 => each::<2>(data, order, |n| u16::from_le_bytes(n).into()),
            kind::INT32 => each::<4>(data, order, |n| i32::from_le_bytes(n).into()),
            kind::UINT32 => each::<4>(data, order, |n| u32::from_le_bytes(n).into()),
            kind::SINGLE => each::<4>(data, order, |n| f32::from_le_bytes(n).into()),
            kind::DOUBLE => each::<8>(data, order, f64::from_le_bytes),
            kind::INT64 => each::<8>(data, order, |n| i64::from_le_bytes(n) as f64),
            kind::UINT64 => each::<8>(data, order, |n| u64::from_le_bytes(n) as f64),
            other => return Err(format!("the values of {} have type {other}", self.title())),
        };
        converted.map(Cow::Owned).map_err(|value| match value {
            Some(value) => {
                format!("{} holds {value}, not a label from 0 to 255", self.title())
            }
            None => format!("the values of {} are cut off", self.title()),
        })
    }

    fn title(&self) -> String {
        match self.name {
            b"" => "the array".to_owned(),
            name => format!("{:?}", String::from_utf8_lossy(name)),
        }
    }

    fn size(&self) -> String {
        let sides: Vec<String> = self.dimensions.iter().map(usize::to_string).collect();
        sides.join("x")
    }
}

/// Numbers of `N` bytes as labels; the first that is none, or nothing if the last is cut off.
fn each<const N: usize>(
    data: &[u8],
    order: Order,
    value: impl Fn([u8; N]) -> f64,
) -> Result<Vec<u8>, Option<f64>> {
    data.chunks(N)
        .map(|number| {
            let value = value(order.number(number).ok_or(None)?);
            // Exact for whole numbers within range, never for others.
            let label = value as u8;
            if f64::from(label) == value { Ok(label) } else { Err(Some(value)) }
        })
        .collect()
}

#[derive(Debug, Clone, Copy)]
struct Element<'a> {
    kind: u32,
    data: &'a [u8],
}

/// Data elements one after another.
#[derive(Debug, Clone)]
struct Elements<'a> {
    order: Order,
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    /// The next element, or none at the end.
    fn next(&mut self) -> Result<Option<Element<'a>>, Problem> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.order.u32(self.rest).ok_or("it ends within a tag")?;
        if tag >> 16 != 0 {
            // The short form: up to 4 bytes of data within the tag.
            let (length, kind) = ((tag >> 16) as usize, tag & 0xFFFF);
            let data = (length <= 4).then(|| self.rest.get(4..4 + length)).flatten();
            let data = data.ok_or("a short element says it has more than 4 bytes")?;
            self.rest = self.rest.get(8..).unwrap_or_default();
            return Ok(Some(Element { kind, data }));
        }
        let length = self.order.u32(&self.rest[4..]).ok_or("it ends within a tag")? as usize;
        let body = &self.rest[8..];
        let data = body.get(..length).ok_or_else(|| {
            format!("it is truncated: an element of {length} bytes has only {}", body.len())
        })?;
        // Packed elements are not padded, and the padding of the last may be left out.
        let padded = if tag == kind::COMPRESSED { length } else { length.next_multiple_of(8) };
        self.rest = body.get(padded..).unwrap_or_default();
        Ok(Some(Element { kind: tag, data }))
    }

    /// The next element, which must be of one of the given types.
    fn expect(&mut self, what: &str, kinds: &[u32]) -> Result<Element<'a>, Problem> {
        match self.next()? {
            Some(element) if kinds.contains(&element.kind) => Ok(element),
            Some(element) => {
                Err(format!("an element of type {} is where the {what} should be", element.kind))
            }
            None => Err(format!("the {what} is missing")),
        }
    }
}

/// The content of the variable in a packed element; none if it holds something else.
fn unpack(order: Order, packed: &[u8]) -> Result<Option<Vec<u8>>, Problem> {
    let mut bytes = Vec::new();
    ZlibDecoder::new(packed)
        .take(MAX_UNPACKED + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("a packed variable is damaged ({error})"))?;
    if bytes.len() as u64 > MAX_UNPACKED {
        return Err(format!("a packed variable is larger than {} MiB", MAX_UNPACKED >> 20));
    }
    let mut elements = Elements { order, rest: &bytes };
    let start = match elements.next()? {
        Some(Element { kind: kind::MATRIX, data }) => 8..8 + data.len(),
        _ => return Ok(None),
    };
    // Cut to the content in place rather than copied.
    bytes.truncate(start.end);
    bytes.drain(..start.start);
    Ok(Some(bytes))
}

/// The byte order of a version 5 file, or which other kind of file this is.
fn check_header(bytes: &[u8]) -> Result<Order, Problem> {
    const HDF5: &[u8] = b"\x89HDF\r\n\x1a\n";
    let is_hdf5 = |at: usize| bytes.get(at..).is_some_and(|rest| rest.starts_with(HDF5));
    if is_hdf5(0) || is_hdf5(512) || bytes.starts_with(b"MATLAB 7.3") {
        return Err("this is a MATLAB file of version 7.3 (HDF5), and only version 5 can be read \
                    (what `save` writes with -v6 or -v7)"
            .to_owned());
    }
    if bytes.is_empty() {
        return Err("the file is empty".to_owned());
    }
    let Some(header) = bytes.get(..HEADER) else {
        return Err("this is no MATLAB file: it is shorter than a header".to_owned());
    };
    let order = match &header[126..] {
        b"IM" => Order::Little,
        b"MI" => Order::Big,
        _ => return Err("this is no MATLAB file of version 5".to_owned()),
    };
    match order.u16(&header[124..]) {
        Some(0x0100) => Ok(order),
        version => Err(format!(
            "this is a MATLAB file of version {:#06x}, and only 0x0100 can be read",
            version.unwrap_or_default()
        )),
    }
}

#[cfg(test)]
pub(super) mod build;
#[cfg(test)]
mod tests;
