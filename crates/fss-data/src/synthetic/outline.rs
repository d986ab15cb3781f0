//! Polygons around regions of a mask.

use std::collections::BTreeMap;

use ndarray::ArrayView2;

/// How far, in pixels, a polygon may leave out corners of the traced line.
const TOLERANCE: f64 = 0.4;

/// A corner of the pixel grid as (row, column).
type Corner = (usize, usize);

/// One closed polygon `[x, y, x, y, ..]` in pixels for each connected region (by edges) of a mask
/// `[H, W]`, in the order of their topmost pixels; `None` if a region has a hole, which polygons
/// that are joined cannot leave out.
///
/// The corners lie half-way along the edges between pixels, as those of a line drawn by hand over
/// the picture would, so that filling a polygon gives back its region up to pixels that the
/// outline crosses.
pub(super) fn polygons(mask: ArrayView2<'_, u8>) -> Option<Vec<Vec<f64>>> {
    let mut edges = Edges::of(mask);
    let mut polygons = Vec::new();
    while let Some(corners) = edges.take_loop() {
        if is_hole(&corners) {
            return None;
        }
        let line = simplified(&midpoints(&corners));
        polygons.push(line.into_iter().flatten().collect());
    }
    Some(polygons)
}

/// The edges between inside and outside, each directed so that the inside lies to its right.
struct Edges {
    /// Where the edges lead that leave a corner; two where regions touch by a corner.
    from: BTreeMap<Corner, Vec<Corner>>,
}

impl Edges {
    fn of(mask: ArrayView2<'_, u8>) -> Self {
        let (height, width) = mask.dim();
        let inside = |y: usize, x: usize| mask[[y, x]] != 0;
        let mut from: BTreeMap<Corner, Vec<Corner>> = BTreeMap::new();
        let mut edge = |a: Corner, b: Corner| from.entry(a).or_default().push(b);
        for ((y, x), _) in mask.indexed_iter().filter(|&(_, &value)| value != 0) {
            if y == 0 || !inside(y - 1, x) {
                edge((y, x), (y, x + 1));
            }
            if x + 1 == width || !inside(y, x + 1) {
                edge((y, x + 1), (y + 1, x + 1));
            }
            if y + 1 == height || !inside(y + 1, x) {
                edge((y + 1, x + 1), (y + 1, x));
            }
            if x == 0 || !inside(y, x - 1) {
                edge((y + 1, x), (y, x));
            }
        }
        Self { from }
    }

    /// Takes out the loop of the topmost edge: its corners in order, the first one not repeated.
    fn take_loop(&mut self) -> Option<Vec<Corner>> {
        let start = *self.from.keys().next()?;
        let mut corners = vec![start];
        let mut at = self.step(start, None)?;
        while at != start {
            let before = corners[corners.len() - 1];
            corners.push(at);
            // Every corner has as many edges out as in.
            at = self.step(at, Some(before))?;
        }
        Some(corners)
    }

    /// Takes an edge from a corner; of two, the one that turns right and so stays with its region.
    fn step(&mut self, at: Corner, before: Option<Corner>) -> Option<Corner> {
        let ways = self.from.get_mut(&at)?;
        let right = before.and_then(|(y, x)| {
            // Signed steps: the right of (dx, dy) is (-dy, dx), with y downwards.
            let (dy, dx) = (at.0 as isize - y as isize, at.1 as isize - x as isize);
            ways.iter().position(|&(ny, nx)| {
                (ny as isize - at.0 as isize, nx as isize - at.1 as isize) == (dx, -dy)
            })
        });
        let way = ways.swap_remove(right.unwrap_or(0));
        if ways.is_empty() {
            self.from.remove(&at);
        }
        Some(way)
    }
}

/// Whether the inside lies around the loop: it then runs the other way round.
fn is_hole(corners: &[Corner]) -> bool {
    let next = corners.iter().cycle().skip(1);
    let area: f64 = corners
        .iter()
        .zip(next)
        .map(|(a, b)| a.1 as f64 * b.0 as f64 - b.1 as f64 * a.0 as f64)
        .sum();
    area < 0.0
}

/// The middle of each edge, as [x, y].
fn midpoints(corners: &[Corner]) -> Vec<[f64; 2]> {
    let next = corners.iter().cycle().skip(1);
    corners
        .iter()
        .zip(next)
        .map(|(a, b)| [(a.1 + b.1) as f64 / 2.0, (a.0 + b.0) as f64 / 2.0])
        .collect()
}

/// A closed line with fewer corners (Douglas and Peucker, 1973).
fn simplified(line: &[[f64; 2]]) -> Vec<[f64; 2]> {
    // The point farthest from the first one is a corner in any case.
    let far = (0..line.len())
        .max_by(|&a, &b| square(line[a], line[0]).total_cmp(&square(line[b], line[0])))
        .unwrap_or(0);
    let closed: Vec<[f64; 2]> = line.iter().chain(line.first()).copied().collect();
    let mut kept = vec![closed[0]];
    keep_corners(&closed[..=far], &mut kept);
    keep_corners(&closed[far..], &mut kept);
    kept.pop();
    kept
}

/// Appends the corners of a line that are needed, its first point left out.
fn keep_corners(line: &[[f64; 2]], kept: &mut Vec<[f64; 2]>) {
    let [first, .., last] = line else { return };
    let farthest = (1..line.len() - 1)
        .map(|i| (i, distance(line[i], *first, *last)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .filter(|&(_, distance)| distance > TOLERANCE);
    match farthest {
        Some((middle, _)) => {
            keep_corners(&line[..=middle], kept);
            keep_corners(&line[middle..], kept);
        }
        None => kept.push(*last),
    }
}

/// Distance of a point to the line segment from `a` to `b`.
fn distance(p: [f64; 2], a: [f64; 2], b: [f64; 2]) -> f64 {
    let length = square(a, b);
    let along = (p[0] - a[0]) * (b[0] - a[0]) + (p[1] - a[1]) * (b[1] - a[1]);
    let along = if length > 0.0 { (along / length).clamp(0.0, 1.0) } else { 0.0 };
    square(p, [0, 1].map(|i| a[i] + along * (b[i] - a[i]))).sqrt()
}

fn square(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]) * (a[0] - b[0]) + (a[1] - b[1]) * (a[1] - b[1])
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    fn mask(rows: &[&str]) -> Array2<u8> {
        let size = (rows.len(), rows[0].len());
        Array2::from_shape_fn(size, |(y, x)| u8::from(rows[y].as_bytes()[x] == b'#'))
    }

    #[test]
    fn one_pixel_becomes_a_diamond_about_its_middle() {
        let found = polygons(mask(&["...", ".#.", "..."]).view()).unwrap();
        assert_eq!(found, [[1.5, 1.0, 2.0, 1.5, 1.5, 2.0, 1.0, 1.5]]);
    }

    #[test]
    fn long_edges_keep_their_ends_only() {
        let found = polygons(mask(&["########", "########", "########", "########"]).view());
        let found = found.unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].len() <= 2 * 8, "{found:?}");
        assert!(found[0].iter().all(|&v| (0.0..=8.0).contains(&v)));
    }

    #[test]
    fn regions_that_touch_by_a_corner_stay_apart() {
        let found = polygons(mask(&["##..", "##..", "..##", "..##"]).view()).unwrap();
        assert_eq!(found.len(), 2);
        assert!(found[0].iter().all(|&v| v <= 2.0) && found[1].iter().all(|&v| v >= 2.0));
    }

    #[test]
    fn holes_are_told() {
        assert_eq!(polygons(mask(&["###", "#.#", "###"]).view()), None);
        // Open by a corner: there the outline goes in and comes out again.
        assert!(polygons(mask(&[".##", "#.#", "###"]).view()).is_some());
        assert_eq!(polygons(mask(&["...", "..."]).view()), Some(vec![]));
    }
}
