//! The annotation file as it is written: well-formed JSON in which any entry may be wrong.
//!
//! Every value is taken as what it should be, or else remembered as wrong, so that one bad entry
//! does not hide the others. What nobody asks for is passed over.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Flaw;

/// A value of the kind that was hoped for, or another.
#[derive(Debug)]
pub(super) enum Given<T> {
    Right(T),
    Wrong(Kind),
}

/// A value that may not be there at all.
pub(super) type Field<T> = Option<Given<T>>;

/// What a JSON value is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Null,
    Flag,
    Number(f64),
    Text,
    List,
    Object,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Flag => "true or false",
            Self::Number(number) => return write!(f, "the number {number}"),
            Self::Text => "text",
            Self::List => "a list",
            Self::Object => "an object",
        })
    }
}

/// The value of a field.
///
/// # Errors
/// A flaw when the field is missing, or when it is something else than `kind`.
pub(super) fn need<T>(field: Field<T>, key: &str, kind: &str) -> Result<T, Flaw> {
    match field {
        Some(Given::Right(value)) => Ok(value),
        Some(Given::Wrong(found)) => {
            Err(Flaw::new(format!("{key:?} is {found}, not {kind}"), "correct the entry"))
        }
        None => Err(Flaw::new(format!("{key:?} is missing"), format!("add {key:?}: {kind}"))),
    }
}

/// What can be made of JSON values; each kind is refused unless the type takes it.
pub(super) trait Take<'de>: Sized {
    fn flag(_: bool) -> Option<Self> {
        None
    }
    fn integer(_: i64) -> Option<Self> {
        None
    }
    fn float(_: f64) -> Option<Self> {
        None
    }
    fn text(_: &str) -> Option<Self> {
        None
    }
    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }
    fn object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

impl<'de, T: Take<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Taker(PhantomData))
    }
}

struct Taker<T>(PhantomData<T>);

fn or<T>(taken: Option<T>, kind: Kind) -> Given<T> {
    taken.map_or(Given::Wrong(kind), Given::Right)
}

impl<'de, T: Take<'de>> Visitor<'de> for Taker<T> {
    type Value = Given<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Given::Wrong(Kind::Null))
    }
    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(or(T::flag(flag), Kind::Flag))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(or(T::integer(number), Kind::Number(number as f64)))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        let taken = i64::try_from(number).ok().and_then(T::integer);
        Ok(or(taken.or_else(|| T::float(number as f64)), Kind::Number(number as f64)))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(or(T::float(number), Kind::Number(number)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(or(T::text(text), Kind::Text))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Ok(or(T::list(list)?, Kind::List))
    }
    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
        Ok(or(T::object(object)?, Kind::Object))
    }
}

impl Take<'_> for i64 {
    fn integer(number: i64) -> Option<Self> {
        Some(number)
    }
    /// Some tools write 640.0.
    fn float(number: f64) -> Option<Self> {
        (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
    }
}

impl Take<'_> for f64 {
    fn integer(number: i64) -> Option<Self> {
        Some(number as f64)
    }
    fn float(number: f64) -> Option<Self> {
        Some(number)
    }
}

impl Take<'_> for String {
    fn text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

/// 0 and 1, however they are written.
#[derive(Debug)]
pub(super) struct Flag(pub(super) bool);

impl Take<'_> for Flag {
    fn flag(flag: bool) -> Option<Self> {
        Some(Self(flag))
    }
    fn integer(number: i64) -> Option<Self> {
        (0..=1).contains(&number).then_some(Self(number == 1))
    }
    fn float(number: f64) -> Option<Self> {
        i64::float(number).and_then(Self::integer)
    }
}

impl<'de, T: Take<'de>> Take<'de> for Vec<Given<T>> {
    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let mut items = Self::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Some(items))
    }
}

/// A list of numbers, or the first entry of it that is none, with its place.
#[derive(Debug)]
pub(super) struct Numbers<T>(pub(super) Result<Vec<T>, (usize, Kind)>);

impl<'de, T: Take<'de> + Copy> Take<'de> for Numbers<T> {
    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        // Room for most, so that few grow; what is kept is an exact copy, because it stays for as
        // long as the file is used.
        let mut numbers = Vec::with_capacity(128);
        let mut wrong = None;
        while let Some(item) = list.next_element()? {
            match item {
                Given::Right(number) => numbers.push(number),
                Given::Wrong(kind) => wrong = wrong.or(Some((numbers.len(), kind))),
            }
        }
        Ok(Some(Self(wrong.map_or_else(|| Ok(numbers.as_slice().to_vec()), Err))))
    }
}

/// `size` and `counts`: the latter a list or compressed text.
#[derive(Debug)]
pub(super) enum RawCounts {
    Plain(Numbers<i64>),
    Compressed(String),
}

impl<'de> Take<'de> for RawCounts {
    fn text(text: &str) -> Option<Self> {
        Some(Self::Compressed(text.to_owned()))
    }
    fn list<A: SeqAccess<'de>>(list: A) -> Result<Option<Self>, A::Error> {
        Ok(Numbers::list(list)?.map(Self::Plain))
    }
}

/// The outline or mask of an object.
#[derive(Debug)]
pub(super) enum RawSegmentation {
    Polygons(Vec<Given<Numbers<f64>>>),
    Rle { size: Field<Numbers<i64>>, counts: Field<RawCounts> },
}

impl<'de> Take<'de> for RawSegmentation {
    fn list<A: SeqAccess<'de>>(list: A) -> Result<Option<Self>, A::Error> {
        Ok(Vec::list(list)?.map(Self::Polygons))
    }
    fn object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let (mut size, mut counts) = (None, None);
        while let Some(key) = object.next_key()? {
            match key {
                Key::Size => size = Some(object.next_value()?),
                Key::Counts => counts = Some(object.next_value()?),
                _ => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(Self::Rle { size, counts }))
    }
}

/// The keys that are read, of all kinds of object.
#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    Images,
    Annotations,
    Categories,
    Id,
    FileName,
    Name,
    Width,
    Height,
    ImageId,
    CategoryId,
    #[serde(rename = "iscrowd")]
    IsCrowd,
    Segmentation,
    Size,
    Counts,
    #[serde(other)]
    Other,
}

/// A structure of optional fields, filled from an object; of a key given twice, the last counts.
macro_rules! object {
    ($(#[$about:meta])* $name:ident { $($field:ident $key:ident : $kind:ty,)* }) => {
        $(#[$about])*
        #[derive(Debug, Default)]
        pub(super) struct $name {
            $(pub(super) $field: Field<$kind>,)*
        }

        impl<'de> Take<'de> for $name {
            fn object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
                let mut entry = Self::default();
                while let Some(key) = object.next_key()? {
                    match key {
                        $(Key::$key => entry.$field = Some(object.next_value()?),)*
                        _ => drop(object.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Some(entry))
            }
        }
    };
}

object! {
    /// The whole file.
    RawFile {
        images Images: Vec<Given<RawImage>>,
        annotations Annotations: Vec<Given<RawAnnotation>>,
        categories Categories: Vec<Given<RawCategory>>,
    }
}

object! {
    /// An entry of `images`.
    RawImage {
        id Id: i64,
        file_name FileName: String,
        width Width: i64,
        height Height: i64,
    }
}

object! {
    /// An entry of `categories`.
    RawCategory {
        id Id: i64,
        name Name: String,
    }
}

object! {
    /// An entry of `annotations`.
    RawAnnotation {
        id Id: i64,
        image_id ImageId: i64,
        category_id CategoryId: i64,
        iscrowd IsCrowd: Flag,
        segmentation Segmentation: RawSegmentation,
    }
}
