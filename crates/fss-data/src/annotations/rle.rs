//! Run-length encoded masks.

use ndarray::{Array2, ArrayView2};

use super::canvas::Canvas;
use super::{Flaw, polygon};
use crate::DataError;
use crate::io::{MAX_PIXELS, MAX_SIDE};

/// A mask of one object as lengths of runs, as COCO stores it: down the columns, background and
/// foreground in turn, background first (its first run may be 0).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rle {
    height: u32,
    width: u32,
    counts: Vec<u32>,
}

impl Rle {
    /// The pixels that at least one polygon covers, by the rule of the COCO mask API: equal to
    /// pycocotools' `frPyObjects` and `merge`, to the bit. Without polygons the mask is empty.
    ///
    /// A polygon is `x0, y0, x1, y1, ..` in pixels, (0, 0) the upper left corner of the image. What
    /// lies outside of the image is cut off.
    ///
    /// # Errors
    /// [`DataError::Setting`] for a size of 0 or beyond [`MAX_SIDE`] and [`MAX_PIXELS`], for fewer
    /// than three points, an odd number of coordinates, and one that is not finite or beyond a
    /// million.
    pub fn from_polygons<P: AsRef<[f64]>>(
        polygons: &[P],
        height: u32,
        width: u32,
    ) -> Result<Self, DataError> {
        check_size(height, width).map_err(Flaw::setting)?;
        let (mut crossings, mut runs) = (Vec::new(), Vec::new());
        for corners in polygons {
            polygon::trace(corners.as_ref(), height, width, &mut crossings)
                .map_err(Flaw::setting)?;
            runs.extend(polygon::runs(&crossings, height * width));
        }
        Ok(Self::union(height, width, runs))
    }

    /// From lengths of runs.
    ///
    /// # Errors
    /// [`DataError::Setting`] for a size as in [`from_polygons`](Self::from_polygons), or when the
    /// counts do not add up to it.
    pub fn from_counts(counts: Vec<u32>, height: u32, width: u32) -> Result<Self, DataError> {
        Self::checked(counts, height, width).map_err(Flaw::setting)
    }

    /// From COCO's compressed text: five bits a character, each count from the third on as the
    /// difference to the one before the last.
    ///
    /// # Errors
    /// [`DataError::Setting`] for characters that cannot occur, text that ends in the middle of a
    /// number, or as [`from_counts`](Self::from_counts).
    pub fn from_compressed(text: &str, height: u32, width: u32) -> Result<Self, DataError> {
        decompress(text)
            .and_then(|counts| Self::checked(counts, height, width))
            .map_err(Flaw::setting)
    }

    /// From a mask `[H, W]`; what is not 0 is foreground.
    ///
    /// # Errors
    /// [`DataError::Setting`] for a size as in [`from_polygons`](Self::from_polygons).
    pub fn from_mask(mask: ArrayView2<'_, u8>) -> Result<Self, DataError> {
        let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (height, width) = (side(mask.nrows()), side(mask.ncols()));
        check_size(height, width).map_err(Flaw::setting)?;
        let (mut counts, mut run, mut inside) = (Vec::new(), 0, false);
        // The transposed view goes down the columns.
        for &value in mask.t() {
            if (value != 0) != inside {
                counts.push(run);
                run = 0;
                inside = !inside;
            }
            run += 1;
        }
        counts.push(run);
        Ok(Self { height, width, counts })
    }

    /// The pixels that at least one of the masks covers.
    ///
    /// # Errors
    /// [`DataError::Setting`] when there is none, or when they differ in size.
    pub fn merge(masks: &[Self]) -> Result<Self, DataError> {
        let Some(first) = masks.first() else {
            return Err(DataError::Setting {
                what: "no masks to merge".into(),
                remedy: "give at least one".into(),
            });
        };
        let (height, width) = (first.height, first.width);
        if let Some(odd) = masks.iter().find(|mask| (mask.height, mask.width) != (height, width)) {
            return Err(DataError::Setting {
                what: format!(
                    "a mask of {} x {} pixels cannot merge with one of {width} x {height}",
                    odd.width, odd.height
                ),
                remedy: "merge masks of one image".into(),
            });
        }
        match masks {
            [one] => Ok(one.clone()),
            _ => Ok(Self::union(height, width, masks.iter().flat_map(Self::runs).collect())),
        }
    }

    /// The height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// The lengths of the runs, background first.
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// The number of foreground pixels.
    pub fn area(&self) -> u64 {
        self.counts.iter().skip(1).step_by(2).map(|&n| u64::from(n)).sum()
    }

    /// The mask `[H, W]`: 1 foreground, 0 background.
    pub fn decode(&self) -> Array2<u8> {
        let mut canvas = Canvas::new(self.height, self.width);
        self.runs().for_each(|run| canvas.fill(run, 1));
        canvas.into_mask()
    }

    /// COCO's compressed text; [`from_compressed`](Self::from_compressed) reads it.
    pub fn to_compressed(&self) -> String {
        let mut text = String::with_capacity(2 * self.counts.len());
        for (i, &count) in self.counts.iter().enumerate() {
            let before = if i > 2 { i64::from(self.counts[i - 2]) } else { 0 };
            let mut rest = i64::from(count) - before;
            loop {
                let bits = (rest & 0x1f) as u8;
                rest >>= 5;
                // Bit 4 of the last character is the sign.
                let last = rest == if bits & 0x10 == 0 { 0 } else { -1 };
                text.push(char::from(48 + bits + if last { 0 } else { 0x20 }));
                if last {
                    break;
                }
            }
        }
        text
    }

    /// The runs of foreground `[start, end)`, counted down the columns.
    pub(super) fn runs(&self) -> impl Iterator<Item = (u32, u32)> {
        let mut end = 0;
        self.counts.iter().enumerate().filter_map(move |(i, &count)| {
            end += count;
            (i % 2 == 1 && count > 0).then_some((end - count, end))
        })
    }

    /// The union of runs in any order.
    fn union(height: u32, width: u32, mut runs: Vec<(u32, u32)>) -> Self {
        runs.retain(|(start, stop)| start < stop);
        runs.sort_unstable();
        let (mut counts, mut end) = (Vec::new(), 0);
        for (start, stop) in runs {
            match counts.last_mut() {
                Some(foreground) if start <= end => *foreground += stop.max(end) - end,
                _ => counts.extend([start - end, stop - start]),
            }
            end = end.max(stop);
        }
        let area = height * width;
        if end < area || counts.is_empty() {
            counts.push(area - end);
        }
        Self { height, width, counts }
    }

    /// As [`from_counts`](Self::from_counts), for messages that go on.
    pub(super) fn checked(counts: Vec<u32>, height: u32, width: u32) -> Result<Self, Flaw> {
        check_size(height, width)?;
        let sum: u64 = counts.iter().map(|&count| u64::from(count)).sum();
        let area = u64::from(height) * u64::from(width);
        if sum != area {
            return Err(Flaw::new(
                format!("the run lengths add up to {sum}, not to {height} x {width} = {area}"),
                "check counts and size ([height, width]); the mask may be cut off",
            ));
        }
        Ok(Self { height, width, counts })
    }
}

/// The counts of a compressed text.
pub(super) fn decompress(text: &str) -> Result<Vec<u32>, Flaw> {
    const REMEDY: &str = "compressed counts are the text that the COCO tools write; it may be cut \
                          off or changed";
    let mut counts: Vec<u32> = Vec::with_capacity(text.len() / 2);
    let mut bytes = text.bytes();
    while let Some(mut byte) = bytes.next() {
        let (mut value, mut shift) = (0i64, 0);
        loop {
            if !(48..112).contains(&byte) || shift > 30 {
                return Err(Flaw::new("the compressed run lengths make no sense", REMEDY));
            }
            let bits = byte - 48;
            value |= i64::from(bits & 0x1f) << shift;
            shift += 5;
            if bits & 0x20 == 0 {
                if bits & 0x10 != 0 {
                    value |= -1 << shift;
                }
                break;
            }
            byte = bytes.next().ok_or_else(|| {
                Flaw::new("the compressed run lengths end in the middle of a number", REMEDY)
            })?;
        }
        if counts.len() > 2 {
            value += i64::from(counts[counts.len() - 2]);
        }
        counts.push(
            u32::try_from(value).map_err(|_| {
                Flaw::new(format!("a compressed run has the length {value}"), REMEDY)
            })?,
        );
    }
    Ok(counts)
}

/// Refuses sizes of 0 and beyond the limits of this crate.
pub(super) fn check_size(height: u32, width: u32) -> Result<(), Flaw> {
    if height == 0 || width == 0 {
        return Err(Flaw::new(
            format!("the size is {width} x {height} pixels"),
            "give width and height of the image",
        ));
    }
    if height > MAX_SIDE || width > MAX_SIDE || u64::from(height) * u64::from(width) > MAX_PIXELS {
        return Err(Flaw::new(
            format!("the size is {width} x {height} pixels, more than this program reads"),
            format!("a side has at most {MAX_SIDE} pixels, an image {MAX_PIXELS}"),
        ));
    }
    Ok(())
}
