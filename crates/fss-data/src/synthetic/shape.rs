//! Outlines as signed distances.

use super::class::Shape;
use super::math::{direction, length};

/// Distance of a point to the outline of a shape: negative inside, positive outside.
///
/// The shape is centred at the origin, upright, and touches or nearly fills the unit circle.
/// Inside unions the distance may be too small in magnitude; its sign is right everywhere, and so
/// is its size near the outline.
pub(super) fn signed_distance(shape: Shape, p: [f64; 2]) -> f64 {
    match shape {
        Shape::Disc => length(p) - 0.92,
        Shape::Square => rectangle(p, [0.8, 0.8]),
        Shape::Triangle => regular(p, 3, 1.0),
        Shape::Hexagon => regular(p, 6, 0.97),
        Shape::Star => star(p),
        Shape::Ring => (length(p) - 0.7).abs() - 0.27,
        Shape::Cross => cross(p),
        Shape::Crescent => (length(p) - 0.98).max(0.66 - length([p[0] - 0.52, p[1]])),
        Shape::Capsule => {
            let x = p[0] - p[0].clamp(-0.52, 0.52);
            length([x, p[1]]) - 0.47
        }
        Shape::Flower => (0..5)
            .map(|petal| {
                let [c, s] = direction(f64::from(petal) / 5.0);
                length([p[0] - 0.54 * c, p[1] - 0.54 * s]) - 0.44
            })
            .fold(length(p) - 0.52, f64::min),
    }
}

fn rectangle(p: [f64; 2], half: [f64; 2]) -> f64 {
    let [x, y] = [p[0].abs() - half[0], p[1].abs() - half[1]];
    length([x.max(0.0), y.max(0.0)]) + x.max(y).min(0.0)
}

/// A plus sign: the union of two bars.
fn cross(p: [f64; 2]) -> f64 {
    rectangle(p, [0.95, 0.34]).min(rectangle(p, [0.34, 0.95]))
}

fn regular(p: [f64; 2], corners: usize, radius: f64) -> f64 {
    let corner = |i: usize| direction(i as f64 / corners as f64).map(|x| x * radius);
    polygon(p, corners, corner)
}

fn star(p: [f64; 2]) -> f64 {
    polygon(p, 10, |i| {
        let radius = if i % 2 == 0 { 1.0 } else { 0.5 };
        direction(i as f64 / 10.0).map(|x| x * radius)
    })
}

/// Distance to the nearest edge, with the sign from the parity of edges crossed on the way out.
fn polygon(p: [f64; 2], corners: usize, corner: impl Fn(usize) -> [f64; 2]) -> f64 {
    let (mut nearest, mut inside) = (f64::INFINITY, false);
    let mut from = corner(corners - 1);
    for i in 0..corners {
        let to = corner(i);
        let edge = [to[0] - from[0], to[1] - from[1]];
        let way = [p[0] - from[0], p[1] - from[1]];
        let along = (way[0] * edge[0] + way[1] * edge[1]) / (edge[0] * edge[0] + edge[1] * edge[1]);
        let along = along.clamp(0.0, 1.0);
        nearest = nearest.min(length([way[0] - along * edge[0], way[1] - along * edge[1]]));
        if (from[1] > p[1]) != (to[1] > p[1])
            && p[0] < from[0] + edge[0] * (p[1] - from[1]) / edge[1]
        {
            inside = !inside;
        }
        from = to;
    }
    if inside { -nearest } else { nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Shape; 10] = [
        Shape::Disc,
        Shape::Square,
        Shape::Triangle,
        Shape::Star,
        Shape::Ring,
        Shape::Cross,
        Shape::Crescent,
        Shape::Hexagon,
        Shape::Capsule,
        Shape::Flower,
    ];

    fn grid() -> impl Iterator<Item = [f64; 2]> {
        (-60..=60).flat_map(|y| (-60..=60).map(move |x| [f64::from(x) / 50.0, f64::from(y) / 50.0]))
    }

    #[test]
    fn shapes_fill_a_fair_part_of_the_unit_circle_and_stay_in_it() {
        for shape in ALL {
            let inside: Vec<_> = grid().filter(|&p| signed_distance(shape, p) < 0.0).collect();
            let area = inside.len() as f64 / 2500.0 / std::f64::consts::PI;
            assert!((0.35..=1.0).contains(&area), "{shape:?} fills {area}");
            let reach = inside.iter().map(|&p| length(p)).fold(0.0, f64::max);
            assert!((0.85..=1.15).contains(&reach), "{shape:?} reaches {reach}");
        }
    }

    #[test]
    fn distances_never_change_faster_than_the_point_moves() {
        for shape in ALL {
            for p in grid() {
                let step = (signed_distance(shape, p)
                    - signed_distance(shape, [p[0] + 0.003, p[1] - 0.004]))
                .abs();
                assert!(step <= 0.005 + 1e-9, "{shape:?} at {p:?}: {step}");
            }
        }
    }

    #[test]
    fn known_distances() {
        assert!((signed_distance(Shape::Disc, [1.92, 0.0]) - 1.0).abs() < 1e-12);
        assert!((signed_distance(Shape::Square, [0.0, 1.8]) - 1.0).abs() < 1e-12);
        assert!((signed_distance(Shape::Ring, [0.0, 0.0]) - 0.43).abs() < 1e-12);
        assert!((signed_distance(Shape::Triangle, [1.5, 0.0]) - 0.5).abs() < 1e-6);
    }
}
