//! Which pixels a polygon covers, by the rule of the COCO mask API.
//!
//! The corners are rounded to a grid of five fine steps a pixel and joined by walks: along x in
//! steps of one where an edge is flat (the other coordinate rounded), along y where it is steep.
//! Wherever a walk passes the middle of a pixel column, the row at that place is a crossing. Down the
//! columns, each crossing turns from outside to inside or back. The order of the corners plays no
//! part, and self-intersections follow the even-odd rule.
//!
//! Only the crossings are computed here, none of the steps between them; so an edge costs no more
//! than the columns that it spans. The arithmetic at a crossing is that of the walk to the last bit,
//! because rounding decides pixels.

use super::Flaw;

/// Fine steps a pixel.
const FINE: i64 = 5;

/// The largest coordinate. Below it every rounding is that of the published code, which counts in
/// 32-bit integers.
pub(super) const MAX_COORDINATE: f64 = 1e6;

/// The crossings of a polygon in ascending order, replacing the content of `crossings`. A crossing
/// is a number of pixels counted down the columns, at most height * width.
///
/// # Errors
/// As [`check`].
pub(super) fn trace(
    polygon: &[f64],
    height: u32,
    width: u32,
    crossings: &mut Vec<u32>,
) -> Result<(), Flaw> {
    check(polygon)?;
    crossings.clear();
    let corner = |i: usize| (fine(polygon[2 * i]), fine(polygon[2 * i + 1]));
    let corners = polygon.len() / 2;
    let mut from = corner(corners - 1);
    for to in (0..corners).map(corner) {
        cross(from, to, i64::from(height), i64::from(width), crossings);
        from = to;
    }
    crossings.sort_unstable();
    Ok(())
}

/// The runs of foreground between sorted crossings; `area` pixels in all.
pub(super) fn runs(crossings: &[u32], area: u32) -> impl Iterator<Item = (u32, u32)> {
    crossings.chunks(2).map(move |pair| (pair[0], pair.get(1).copied().unwrap_or(area)))
}

/// Refuses coordinates that are no polygon.
///
/// # Errors
/// A flaw when there are fewer than three points, an odd number of coordinates, or one that is not
/// finite or beyond [`MAX_COORDINATE`].
pub(super) fn check(polygon: &[f64]) -> Result<(), Flaw> {
    const DRAW: &str = "give x0, y0, x1, y1, .. of at least three points";
    if !polygon.len().is_multiple_of(2) {
        let n = polygon.len();
        return Err(Flaw::new(format!("a polygon has {n} coordinates, an odd number"), DRAW));
    }
    if polygon.len() < 6 {
        let n = polygon.len() / 2;
        return Err(Flaw::new(format!("a polygon has {n} point(s), fewer than three"), DRAW));
    }
    match polygon.iter().position(|value| value.is_nan() || value.abs() > MAX_COORDINATE) {
        None => Ok(()),
        Some(place) => Err(Flaw::new(
            format!(
                "{} of point {} of a polygon is {}",
                ["x", "y"][place % 2],
                place / 2,
                polygon[place]
            ),
            "coordinates are pixels of the image, finite and below a million",
        )),
    }
}

/// A coordinate on the fine grid. Negative halves round towards zero: it is a cast that rounds.
fn fine(coordinate: f64) -> i64 {
    (FINE as f64 * coordinate + 0.5) as i64
}

/// Adds the crossings of one edge.
fn cross(from: (i64, i64), to: (i64, i64), height: i64, width: i64, crossings: &mut Vec<u32>) {
    let (dx, dy) = ((from.0 - to.0).abs(), (from.1 - to.1).abs());
    if dx == 0 {
        return;
    }
    let flat = dx >= dy;
    // The walk goes right on flat edges and down on steep ones, whichever end comes first.
    let turned = if flat { from.0 > to.0 } else { from.1 > to.1 };
    let ((x0, y0), (x1, y1)) = if turned { (to, from) } else { (from, to) };

    // Column n is passed between the fine steps 5 n + 2 and 5 n + 3.
    let half = FINE / 2;
    let first = (x0.min(x1) - half + FINE - 1).div_euclid(FINE).max(0);
    let last = (x0.max(x1) - half - 1).div_euclid(FINE).min(width - 1);
    let mut add = |column: i64, y: i64| {
        // The first row whose middle is not above y.
        let row = (y - half + FINE - 1).div_euclid(FINE).clamp(0, height);
        crossings.push((column * height + row) as u32);
    };
    if flat {
        let slope = (y1 - y0) as f64 / dx as f64;
        let y_at = |x: i64| (y0 as f64 + slope * (x - x0) as f64 + 0.5) as i64;
        for column in first..=last {
            let x = FINE * column + half;
            add(column, y_at(x).min(y_at(x + 1)));
        }
    } else {
        let slope = (x1 - x0) as f64 / dy as f64;
        let x_at = |step: i64| (x0 as f64 + slope * step as f64 + 0.5) as i64;
        for column in first..=last {
            let x = FINE * column + half;
            let passed = |step: i64| if x0 < x1 { x_at(step) > x } else { x_at(step) <= x };
            // A division finds the step up to its rounding; the walk's own arithmetic decides.
            let near = ((x as f64 + 0.5 - x0 as f64) / slope).ceil() as i64;
            let mut step = near.clamp(1, dy);
            while step > 1 && passed(step - 1) {
                step -= 1;
            }
            while step < dy && !passed(step) {
                step += 1;
            }
            add(column, y0 + step - 1);
        }
    }
}
