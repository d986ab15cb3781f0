//! Points to be clustered, in memory or in a file.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;

use crate::TrainError;

/// Rows that are read at a time.
const BLOCK: usize = 4096;

/// Receives the number of a block's first point and its rows.
pub type BlockVisitor<'a> = dyn FnMut(usize, &[f32]) -> Result<(), TrainError> + 'a;

/// A list of points of one length that can be walked over many times.
pub trait Points {
    /// How many.
    fn count(&self) -> usize;

    /// Numbers a point.
    fn channels(&self) -> usize;

    /// Shows all points in order, a block of whole rows at a time.
    ///
    /// # Errors
    /// If they cannot be read, or as `visit` has it.
    fn for_each_block(&self, visit: &mut BlockVisitor<'_>) -> Result<(), TrainError>;
}

/// Points in memory, row by row.
#[derive(Debug, Clone, Copy)]
pub struct PointSlice<'a> {
    values: &'a [f32],
    channels: usize,
}

impl<'a> PointSlice<'a> {
    /// Points of `channels` numbers each.
    ///
    /// # Errors
    /// [`TrainError::Setting`] if the values are no whole rows.
    pub fn new(values: &'a [f32], channels: usize) -> Result<Self, TrainError> {
        if channels == 0 || !values.len().is_multiple_of(channels) {
            return Err(TrainError::setting(
                format!("{} values are no rows of {channels}", values.len()),
                "give whole points of at least one number",
            ));
        }
        Ok(Self { values, channels })
    }
}

impl Points for PointSlice<'_> {
    fn count(&self) -> usize {
        self.values.len() / self.channels
    }

    fn channels(&self) -> usize {
        self.channels
    }

    fn for_each_block(&self, visit: &mut BlockVisitor<'_>) -> Result<(), TrainError> {
        for (block, rows) in self.values.chunks(BLOCK * self.channels).enumerate() {
            visit(block * BLOCK, rows)?;
        }
        Ok(())
    }
}

/// Points in a file of little-endian float32, row by row; only a block of them is ever in memory.
#[derive(Debug, Clone)]
pub struct PointFile {
    /// The file.
    pub path: PathBuf,
    /// How many points it holds.
    pub count: usize,
    /// Numbers a point.
    pub channels: usize,
}

impl Points for PointFile {
    fn count(&self) -> usize {
        self.count
    }

    fn channels(&self) -> usize {
        self.channels
    }

    fn for_each_block(&self, visit: &mut BlockVisitor<'_>) -> Result<(), TrainError> {
        let io = |source| TrainError::io("read prototypes", &self.path, source);
        let mut file = BufReader::with_capacity(1 << 20, File::open(&self.path).map_err(io)?);
        let mut bytes = Vec::new();
        let mut rows = Vec::new();
        for first in (0..self.count).step_by(BLOCK) {
            let count = BLOCK.min(self.count - first);
            bytes.resize(count * self.channels * 4, 0);
            file.read_exact(&mut bytes).map_err(io)?;
            rows.clear();
            rows.extend(bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)));
            visit(first, &rows)?;
        }
        Ok(())
    }
}
