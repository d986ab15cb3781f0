//! Which pixels a polygon covers, by the rule of OpenCV's `fillPoly`.
//!
//! Corners are cut to whole pixels towards 0. Every edge, the closing one included, is drawn as a line of
//! pixels; between them each row is filled from edge to edge by the even-odd rule, in 16.16 fixed-point
//! numbers.

/// Fractional bits of a position on an edge.
const BITS: u32 = 16;

/// Calls `set` with the row and column of every pixel of the polygon `x0, y0, x1, y1, ..` inside of an image
/// (some more than once).
pub(super) fn fill(polygon: &[f64], height: u32, width: u32, mut set: impl FnMut(usize, usize)) {
    let corners: Vec<[i64; 2]> =
        polygon.chunks_exact(2).map(|corner| [corner[0] as i64, corner[1] as i64]).collect();
    let (height, width) = (i64::from(height), i64::from(width));
    let mut put = |x: i64, y: i64| {
        if (0..width).contains(&x) && (0..height).contains(&y) {
            set(y as usize, x as usize);
        }
    };
    let edges = || {
        let next = corners.iter().cycle().skip(1);
        corners.iter().copied().zip(next.copied())
    };
    for (from, to) in edges() {
        if let Some([from, to]) = clipped(from, to, [width, height]) {
            line(from, to, &mut put);
        }
    }
    let [top, bottom] = [
        corners.iter().map(|corner| corner[1]).min().unwrap_or(0).max(0),
        corners.iter().map(|corner| corner[1]).max().unwrap_or(0).min(height),
    ];
    let mut crossings = Vec::new();
    for y in top..bottom {
        crossings.clear();
        for (from, to) in edges() {
            let (upper, lower) = if from[1] <= to[1] { (from, to) } else { (to, from) };
            if (upper[1]..lower[1]).contains(&y) {
                let slope = ((lower[0] - upper[0]) << BITS) / (lower[1] - upper[1]);
                crossings.push((upper[0] << BITS) + slope * (y - upper[1]));
            }
        }
        crossings.sort_unstable();
        for pair in crossings.chunks_exact(2) {
            let first = (pair[0] + (1 << BITS) - 1) >> BITS;
            let last = pair[1] >> BITS;
            (first.max(0)..=last.min(width - 1)).for_each(|x| put(x, y));
        }
    }
}

/// The part of a line inside of an image, its ends cut to whole pixels; none if it lies outside.
fn clipped(mut a: [i64; 2], mut b: [i64; 2], size: [i64; 2]) -> Option<[[i64; 2]; 2]> {
    // Rows first, then columns.
    for axis in [1, 0] {
        let last = size[axis] - 1;
        let beyond = |p: [i64; 2]| (p[axis] < 0, p[axis] > last);
        let (of_a, of_b) = (beyond(a), beyond(b));
        if (of_a.0 && of_b.0) || (of_a.1 && of_b.1) {
            return None;
        }
        let other = 1 - axis;
        let cut = |p: [i64; 2], a: [i64; 2], b: [i64; 2]| {
            let border = p[axis].clamp(0, last);
            let run = (b[other] - a[other]) as f64;
            let along = (border - p[axis]) as f64 * run / (b[axis] - a[axis]) as f64;
            let mut q = p;
            q[axis] = border;
            q[other] = p[other] + along as i64;
            q
        };
        if of_a.0 || of_a.1 {
            a = cut(a, a, b);
        }
        if of_b.0 || of_b.1 {
            b = cut(b, a, b);
        }
    }
    Some([a, b])
}

/// An 8-connected line (Bresenham), drawn from its left end.
fn line(from: [i64; 2], to: [i64; 2], put: &mut impl FnMut(i64, i64)) {
    let ([mut x, mut y], end) = if from[0] <= to[0] { (from, to) } else { (to, from) };
    let (dx, dy) = (end[0] - x, (end[1] - y).abs());
    let down = (end[1] - y).signum();
    let flat = dx >= dy;
    let (major, minor) = if flat { (dx, dy) } else { (dy, dx) };
    let mut error = major - 2 * minor;
    for _ in 0..=major {
        put(x, y);
        let aside = error < 0;
        if aside {
            error += 2 * major;
        }
        error -= 2 * minor;
        match (flat, aside) {
            (true, aside) => (x, y) = (x + 1, if aside { y + down } else { y }),
            (false, aside) => (x, y) = (if aside { x + 1 } else { x }, y + down),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fill;

    fn drawn(polygon: &[f64], height: u32, width: u32) -> Vec<String> {
        let mut rows = vec![vec!['.'; width as usize]; height as usize];
        fill(polygon, height, width, |y, x| rows[y][x] = '#');
        rows.into_iter().map(|row| row.into_iter().collect()).collect()
    }

    #[test]
    fn borders_belong_to_the_polygon() {
        assert_eq!(
            drawn(&[1.9, 1.2, 4.0, 1.0, 4.5, 3.9, 1.0, 3.0], 5, 6),
            ["......", ".####.", ".####.", ".####.", "......"]
        );
        // A line and a point are drawn as such.
        assert_eq!(drawn(&[0.0, 0.0, 3.0, 3.0], 4, 4), ["#...", ".#..", "..#.", "...#"]);
        assert_eq!(drawn(&[2.0, 1.0, 2.0, 1.0, 2.0, 1.0], 2, 4), ["....", "..#."]);
    }

    #[test]
    fn what_lies_outside_is_cut_off() {
        let large = drawn(&[-5.0, -5.0, 50.0, -5.0, 50.0, 50.0, -5.0, 50.0], 3, 3);
        assert_eq!(large, ["###", "###", "###"]);
        assert_eq!(drawn(&[-9.0, -9.0, -2.0, -9.0, -2.0, -2.0], 2, 2), ["..", ".."]);
    }
}
