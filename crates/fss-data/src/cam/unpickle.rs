//! The pickle of a single tensor.
//!
//! A pickle is a program for a small stack machine, which may call any Python function. Here nothing
//! is called: the few instructions that `torch.save` writes for a tensor build values of the types
//! below, the few names that it refers to have a meaning of their own, and anything else is refused.

use std::collections::HashMap;
use std::rc::Rc;

/// The largest number of instructions; a tensor takes about 40. It bounds how deep values can nest.
const MAX_STEPS: usize = 1_000;

/// What a pickle builds. Values are shared, not copied: referring back to one costs nothing.
#[derive(Debug, Clone)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i128),
    Text(Rc<str>),
    Tuple(Rc<Vec<Value>>),
    List(Rc<Vec<Value>>),
    Dict(Rc<Vec<(Value, Value)>>),
    Name(Name),
    Storage(Rc<Storage>),
    Tensor(Rc<Tensor>),
}

/// The names that may be referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// `torch._utils._rebuild_tensor_v2`
    RebuildTensor,
    /// `collections.OrderedDict`
    OrderedDict,
    /// `torch.FloatStorage`
    FloatStorage,
}

/// Where the float32 values of a tensor lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Storage {
    /// Its name in the file.
    pub(super) key: String,
    /// How many values it has.
    pub(super) count: usize,
}

/// A view of a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tensor {
    pub(super) storage: Storage,
    /// The place of its first value.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    /// How many values each axis steps over.
    pub(super) strides: Vec<usize>,
}

impl Value {
    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Bool(_) | Self::Int(_) => "a number",
            Self::Text(_) => "a text",
            Self::Tuple(_) | Self::List(_) => "a list",
            Self::Dict(_) => "a dictionary",
            Self::Name(_) => "a name",
            Self::Storage(_) => "bare values",
            Self::Tensor(_) => "a tensor",
        }
    }

    /// The items of a list.
    pub(super) fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    /// The value of a text in a dictionary.
    pub(super) fn entry(&self, key: &str) -> Option<&Self> {
        let Self::Dict(pairs) = self else { return None };
        pairs.iter().find(|(k, _)| matches!(k, Self::Text(text) if **text == *key)).map(|(_, v)| v)
    }

    fn count(&self) -> Option<usize> {
        match self {
            Self::Int(number) => usize::try_from(*number).ok(),
            _ => None,
        }
    }

    fn counts(&self) -> Option<Vec<usize>> {
        match self {
            Self::Tuple(items) => items.iter().map(Self::count).collect(),
            _ => None,
        }
    }
}

/// Runs the pickle that begins at `at`, and moves `at` behind it.
///
/// # Errors
/// What is wrong: truncated, or more than the description of a tensor.
pub(super) fn load(bytes: &[u8], at: &mut usize) -> Result<Value, String> {
    let source = Source { bytes, at: *at };
    let mut machine =
        Machine { source, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    if machine.source.byte()? != 0x80 || !(2..=5).contains(&machine.source.byte()?) {
        return Err("this is no pickle of protocol 2 to 5".to_owned());
    }
    for _ in 0..MAX_STEPS {
        if let Some(value) = machine.step()? {
            *at = machine.source.at;
            return Ok(value);
        }
    }
    Err(format!("the pickle has more than {MAX_STEPS} instructions, too many for a tensor"))
}

struct Source<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Source<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(count);
        let part = end.and_then(|end| self.bytes.get(self.at..end));
        let part = part.ok_or("the pickle is truncated")?;
        self.at += count;
        Ok(part)
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.take(1).map(|part| part[0])
    }

    /// A little-endian number of up to 16 bytes, negative where its highest bit is set.
    fn signed(&mut self, count: usize) -> Result<i128, String> {
        if count > 16 {
            return Err(format!("the pickle holds a number of {count} bytes"));
        }
        let part = self.take(count)?;
        let fill = if part.last().is_some_and(|byte| byte & 0x80 != 0) { 0xFF } else { 0 };
        let mut whole = [fill; 16];
        whole[..count].copy_from_slice(part);
        Ok(i128::from_le_bytes(whole))
    }

    fn unsigned(&mut self, count: usize) -> Result<usize, String> {
        let mut whole = [0; 8];
        whole[..count].copy_from_slice(self.take(count)?);
        usize::try_from(u64::from_le_bytes(whole)).map_err(|error| error.to_string())
    }

    fn text(&mut self, count: usize) -> Result<Rc<str>, String> {
        let text = std::str::from_utf8(self.take(count)?);
        text.map(Rc::from).map_err(|_| "the pickle holds a text that is not UTF-8".to_owned())
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\n').ok_or("the pickle is truncated")?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|_| "the pickle holds a broken name".to_owned())
    }
}

struct Machine<'a> {
    source: Source<'a>,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<usize, Value>,
}

impl Machine<'_> {
    /// Runs one instruction; the result when it was the last.
    fn step(&mut self) -> Result<Option<Value>, String> {
        let start = self.source.at;
        let code = self.source.byte()?;
        let value = match code {
            // FRAME says how much follows at least.
            0x95 => {
                self.source.take(8)?;
                return Ok(None);
            }
            b'(' => {
                self.marks.push(self.stack.len());
                return Ok(None);
            }
            // STOP
            b'.' => return self.pop().map(Some),
            // BINPUT, LONG_BINPUT, MEMOIZE
            b'q' | b'r' | 0x94 => {
                let place = match code {
                    b'q' => self.source.unsigned(1)?,
                    b'r' => self.source.unsigned(4)?,
                    _ => self.memo.len(),
                };
                let top = self.stack.last().ok_or("the pickle remembers nothing")?;
                self.memo.insert(place, top.clone());
                return Ok(None);
            }
            // APPEND, APPENDS, SETITEM, SETITEMS
            b'a' | b'e' | b's' | b'u' => {
                let items = match code {
                    b'a' => vec![self.pop()?],
                    b's' => self.last(2)?,
                    _ => self.marked()?,
                };
                self.extend(items)?;
                return Ok(None);
            }
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            // BININT1, BININT2, BININT, LONG1
            b'K' => Value::Int(self.source.unsigned(1)? as i128),
            b'M' => Value::Int(self.source.unsigned(2)? as i128),
            b'J' => Value::Int(self.source.signed(4)?),
            0x8a => {
                let count = self.source.unsigned(1)?;
                Value::Int(self.source.signed(count)?)
            }
            // SHORT_BINUNICODE, BINUNICODE
            0x8c | b'X' => {
                let count = self.source.unsigned(if code == b'X' { 4 } else { 1 })?;
                Value::Text(self.source.text(count)?)
            }
            // EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3, TUPLE
            b')' => Value::Tuple(Rc::default()),
            0x85..=0x87 => Value::Tuple(Rc::new(self.last(usize::from(code - 0x84))?)),
            b't' => Value::Tuple(Rc::new(self.marked()?)),
            b']' => Value::List(Rc::default()),
            b'}' => Value::Dict(Rc::default()),
            // BINGET, LONG_BINGET
            b'h' | b'j' => {
                let place = self.source.unsigned(if code == b'h' { 1 } else { 4 })?;
                self.memo.get(&place).cloned().ok_or("the pickle refers to what was never said")?
            }
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let (module, name) = (self.source.line()?, self.source.line()?);
                Value::Name(Name::find(module, name)?)
            }
            0x93 => match self.last(2)?.as_slice() {
                [Value::Text(module), Value::Text(name)] => Value::Name(Name::find(module, name)?),
                _ => return Err("the pickle refers to a name that is no text".to_owned()),
            },
            // BINPERSID
            b'Q' => storage(&self.pop()?)?,
            // REDUCE
            b'R' => {
                let arguments = self.pop()?;
                call(&self.pop()?, &arguments)?
            }
            _ => {
                return Err(format!(
                    "the pickle holds more than a tensor: instruction {:?} (0x{code:02x}) at byte \
                     {start}",
                    char::from(code)
                ));
            }
        };
        self.stack.push(value);
        Ok(None)
    }

    /// The lowest place that belongs to what was begun last.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Value, String> {
        let floor = self.floor();
        let value = if self.stack.len() > floor { self.stack.pop() } else { None };
        value.ok_or_else(|| "the pickle takes more than it has".to_owned())
    }

    fn last(&mut self, count: usize) -> Result<Vec<Value>, String> {
        let start = self.stack.len().checked_sub(count).filter(|&start| start >= self.floor());
        let start = start.ok_or("the pickle takes more than it has")?;
        Ok(self.stack.split_off(start))
    }

    fn marked(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.marks.pop().ok_or("the pickle ends what it never began")?;
        Ok(self.stack.split_off(mark))
    }

    /// Puts items into the list or dictionary on top of the stack.
    fn extend(&mut self, items: Vec<Value>) -> Result<(), String> {
        match self.stack.last_mut() {
            Some(Value::List(list)) => Rc::make_mut(list).extend(items),
            Some(Value::Dict(dict)) if items.len().is_multiple_of(2) => {
                let mut items = items.into_iter();
                let dict = Rc::make_mut(dict);
                while let (Some(key), Some(value)) = (items.next(), items.next()) {
                    dict.push((key, value));
                }
            }
            _ => return Err("the pickle fills what is neither list nor dictionary".to_owned()),
        }
        Ok(())
    }
}

impl Name {
    fn find(module: &str, name: &str) -> Result<Self, String> {
        match (module, name) {
            ("torch._utils", "_rebuild_tensor_v2") => Ok(Self::RebuildTensor),
            ("collections", "OrderedDict") => Ok(Self::OrderedDict),
            ("torch", "FloatStorage") => Ok(Self::FloatStorage),
            ("torch", name) if name.ends_with("Storage") => {
                Err(format!("its values are of the kind torch.{name}, not float32"))
            }
            _ => Err(format!("the pickle refers to {module}.{name}, which no tensor needs")),
        }
    }
}

/// What the description of a storage refers to: a text, the type, the name, a device, the number of
/// values, and in streams a view, which must be nothing.
fn storage(description: &Value) -> Result<Value, String> {
    let parts: &[Value] = match description {
        Value::Tuple(parts) => parts,
        _ => &[],
    };
    let unknown = || "the pickle describes its values in an unknown way".to_owned();
    let (parts, view) = parts.split_at_checked(5).ok_or_else(unknown)?;
    let [
        Value::Text(what),
        Value::Name(Name::FloatStorage),
        Value::Text(key),
        Value::Text(_),
        count,
    ] = parts
    else {
        return Err(unknown());
    };
    if **what != *"storage" || !matches!(view, [] | [Value::None]) {
        return Err(unknown());
    }
    let count = count.count().ok_or_else(unknown)?;
    Ok(Value::Storage(Rc::new(Storage { key: key.to_string(), count })))
}

/// What a call of one of the known names gives.
fn call(name: &Value, arguments: &Value) -> Result<Value, String> {
    match (name, arguments) {
        (Value::Name(Name::OrderedDict), Value::Tuple(parts)) if parts.is_empty() => {
            Ok(Value::Dict(Rc::default()))
        }
        // Values, offset, shape, strides; whether it has a gradient, and hooks, which do not matter.
        (Value::Name(Name::RebuildTensor), Value::Tuple(parts)) => match parts.as_slice() {
            [Value::Storage(storage), offset, shape, strides, ..] => {
                let tensor = || {
                    let (shape, strides) = (shape.counts()?, strides.counts()?);
                    let fits = shape.len() == strides.len();
                    let storage = (**storage).clone();
                    let offset = offset.count()?;
                    fits.then_some(Tensor { storage, offset, shape, strides })
                };
                let tensor = tensor().ok_or("the pickle describes a tensor that cannot be")?;
                Ok(Value::Tensor(Rc::new(tensor)))
            }
            _ => Err("the pickle describes a tensor in an unknown way".to_owned()),
        },
        _ => Err("the pickle calls what is not to be called".to_owned()),
    }
}
