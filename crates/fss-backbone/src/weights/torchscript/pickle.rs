//! The part of Python's pickle that TorchScript writes, read into nodes that do nothing.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::view::{Storage, TensorView};

/// Most nodes of one pickle; CLIP RN50 has some ten thousand.
const MAX_NODES: usize = 1_000_000;

/// A value of the pickle. Others are named by their index.
#[derive(Debug)]
pub(super) enum Node {
    /// Numbers, `None`, booleans, and calls whose result is of no interest.
    Inert,
    Integer(i64),
    Text(String),
    /// A class or function: module and name.
    Global(String, String),
    Sequence(Vec<usize>),
    Dict(Vec<(usize, usize)>),
    /// An object of any class with its attributes.
    Object(Vec<(usize, usize)>),
    Storage(Storage),
    Tensor(TensorView),
}

/// All nodes of a pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    nodes: Vec<Node>,
    root: usize,
}

impl Pickle {
    pub(super) fn root(&self) -> usize {
        self.root
    }

    pub(super) fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// Reads a pickle to its end. Opcodes that TorchScript does not write are refused.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut machine = Machine {
            input: bytes,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: BTreeMap::new(),
        };
        while machine.step()? {}
        let root = machine.pop()?;
        Ok(Self { nodes: machine.nodes, root })
    }
}

struct Machine<'a> {
    input: &'a [u8],
    nodes: Vec<Node>,
    stack: Vec<usize>,
    /// Heights of the stack at each open mark.
    marks: Vec<usize>,
    memo: BTreeMap<u32, usize>,
}

type Step<T> = Result<T, String>;

impl Machine<'_> {
    /// One opcode; `false` at the end.
    fn step(&mut self) -> Step<bool> {
        let [opcode] = self.fixed()?;
        match opcode {
            b'.' => return Ok(false),
            0x80 => self.fixed::<1>().map(drop)?,
            b'(' => self.marks.push(self.stack.len()),
            b'N' | 0x88 | 0x89 => self.push(Node::Inert)?,
            b'G' => {
                self.fixed::<8>()?;
                self.push(Node::Inert)?;
            }
            b'K' => {
                let value = i64::from(u8::from_le_bytes(self.fixed()?));
                self.push(Node::Integer(value))?;
            }
            b'M' => {
                let value = i64::from(u16::from_le_bytes(self.fixed()?));
                self.push(Node::Integer(value))?;
            }
            b'J' => {
                let value = i64::from(i32::from_le_bytes(self.fixed()?));
                self.push(Node::Integer(value))?;
            }
            0x8a => self.long()?,
            b'X' => {
                let length = u32::from_le_bytes(self.fixed()?) as usize;
                let text = std::str::from_utf8(self.take(length)?).map_err(|e| e.to_string())?;
                let text = text.to_owned();
                self.push(Node::Text(text))?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Node::Global(module, name))?;
            }
            b')' | b']' => self.push(Node::Sequence(Vec::new()))?,
            b'}' => self.push(Node::Dict(Vec::new()))?,
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Node::Sequence(items))?;
            }
            0x85..=0x87 => {
                let count = usize::from(opcode - 0x84);
                let start = self.stack.len().checked_sub(count).ok_or_else(underflow)?;
                let items = self.stack.split_off(start);
                self.push(Node::Sequence(items))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.extend(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.insert(vec![key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.insert(items)?;
            }
            b'q' => {
                let slot = u32::from(u8::from_le_bytes(self.fixed()?));
                self.remember(slot)?;
            }
            b'r' => {
                let slot = u32::from_le_bytes(self.fixed()?);
                self.remember(slot)?;
            }
            b'h' => {
                let slot = u32::from(u8::from_le_bytes(self.fixed()?));
                self.recall(slot)?;
            }
            b'j' => {
                let slot = u32::from_le_bytes(self.fixed()?);
                self.recall(slot)?;
            }
            0x81 => {
                self.pop()?;
                self.pop()?;
                self.push(Node::Object(Vec::new()))?;
            }
            b'b' => self.build()?,
            b'R' => self.reduce()?,
            b'Q' => self.storage()?,
            other => return Err(format!("its pickle has opcode 0x{other:02x}, which is not read")),
        }
        Ok(true)
    }

    fn take(&mut self, length: usize) -> Step<&[u8]> {
        let (taken, rest) =
            self.input.split_at_checked(length).ok_or("its pickle ends too early")?;
        self.input = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Step<[u8; N]> {
        let (taken, rest) =
            self.input.split_first_chunk::<N>().ok_or("its pickle ends too early")?;
        self.input = rest;
        Ok(*taken)
    }

    fn line(&mut self) -> Step<String> {
        let length = self.input.iter().position(|byte| *byte == b'\n');
        let length = length.ok_or("its pickle ends too early")?;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.fixed::<1>()?;
        Ok(text)
    }

    /// An integer of up to 8 bytes, little-endian, in two's complement.
    fn long(&mut self) -> Step<()> {
        let [length] = self.fixed()?;
        let bytes = self.take(usize::from(length))?;
        if bytes.len() > 8 {
            return Err("its pickle has an integer of more than 64 bits".to_owned());
        }
        let sign = if bytes.last().is_some_and(|byte| *byte >= 0x80) { 0xff } else { 0 };
        let mut wide = [sign; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        self.push(Node::Integer(i64::from_le_bytes(wide)))
    }

    fn push(&mut self, node: Node) -> Step<()> {
        if self.nodes.len() >= MAX_NODES {
            return Err(format!("its pickle has more than {MAX_NODES} values"));
        }
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
        Ok(())
    }

    fn pop(&mut self) -> Step<usize> {
        self.stack.pop().ok_or_else(underflow)
    }

    fn pop_to_mark(&mut self) -> Step<Vec<usize>> {
        let start = self.marks.pop().ok_or_else(underflow)?;
        match start <= self.stack.len() {
            true => Ok(self.stack.split_off(start)),
            false => Err(underflow()),
        }
    }

    fn top(&mut self) -> Step<&mut Node> {
        let top = *self.stack.last().ok_or_else(underflow)?;
        Ok(&mut self.nodes[top])
    }

    fn extend(&mut self, items: Vec<usize>) -> Step<()> {
        match self.top()? {
            Node::Sequence(list) => list.extend(items),
            _ => return Err("its pickle appends to what is no list".to_owned()),
        }
        Ok(())
    }

    fn insert(&mut self, items: Vec<usize>) -> Step<()> {
        let (pairs, rest) = items.as_chunks::<2>();
        match self.top()? {
            Node::Dict(entries) if rest.is_empty() => {
                entries.extend(pairs.iter().map(|[key, value]| (*key, *value)));
            }
            // Such as the entries of an OrderedDict.
            Node::Inert => {}
            _ => return Err("its pickle sets items of what is no dict".to_owned()),
        }
        Ok(())
    }

    fn remember(&mut self, slot: u32) -> Step<()> {
        let top = *self.stack.last().ok_or_else(underflow)?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, slot: u32) -> Step<()> {
        let node = self.memo.get(&slot).ok_or_else(|| format!("its pickle lacks memo {slot}"))?;
        self.stack.push(*node);
        Ok(())
    }

    /// State for an object: its attributes.
    fn build(&mut self) -> Step<()> {
        let state = self.pop()?;
        let attributes = match &mut self.nodes[state] {
            Node::Dict(entries) => std::mem::take(entries),
            _ => Vec::new(),
        };
        if let Node::Object(own) = self.top()? {
            own.extend(attributes);
        }
        Ok(())
    }

    /// A call. Tensors are rebuilt and typed lists stay lists; anything else becomes inert.
    fn reduce(&mut self) -> Step<()> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        let Node::Sequence(arguments) = &self.nodes[arguments] else {
            return Err("its pickle makes a call without arguments".to_owned());
        };
        let node = match &self.nodes[callable] {
            Node::Global(module, name)
                if module == "torch._utils" && name == "_rebuild_tensor_v2" =>
            {
                Node::Tensor(self.tensor(arguments)?)
            }
            // Lists and dicts of a declared type; those of tensors have no place in a state dict.
            _ => Node::Inert,
        };
        self.push(node)
    }

    fn tensor(&self, arguments: &[usize]) -> Step<TensorView> {
        let [storage, offset, shape, strides, ..] = arguments else {
            return Err("a tensor of its pickle lacks its shape".to_owned());
        };
        let Node::Storage(storage) = &self.nodes[*storage] else {
            return Err("a tensor of its pickle has no storage".to_owned());
        };
        Ok(TensorView {
            storage: storage.clone(),
            offset: self.size(*offset)?,
            shape: self.sizes(*shape)?,
            strides: self.sizes(*strides)?,
        })
    }

    fn size(&self, node: usize) -> Step<usize> {
        match self.nodes[node] {
            Node::Integer(value) if (0..1 << 40).contains(&value) => Ok(value as usize),
            _ => Err("a tensor of its pickle has an impossible size".to_owned()),
        }
    }

    fn sizes(&self, node: usize) -> Step<Vec<usize>> {
        match &self.nodes[node] {
            Node::Sequence(items) if items.len() <= 16 => {
                items.iter().map(|item| self.size(*item)).collect()
            }
            _ => Err("a tensor of its pickle has an impossible shape".to_owned()),
        }
    }

    /// A persistent id: `('storage', class, key, device, number of values)`.
    fn storage(&mut self) -> Step<()> {
        let id = self.pop()?;
        let bad = || "its pickle names a storage in an unknown way".to_owned();
        let Node::Sequence(fields) = &self.nodes[id] else { return Err(bad()) };
        let [_, class, key, _, values, ..] = fields[..] else { return Err(bad()) };
        let (Node::Global(_, class), Node::Text(key)) = (&self.nodes[class], &self.nodes[key])
        else {
            return Err(bad());
        };
        let storage =
            Storage { class: class.clone(), key: key.clone(), values: self.size(values)? };
        self.push(Node::Storage(storage))
    }
}

fn underflow() -> String {
    "its pickle takes more values than it has".to_owned()
}
