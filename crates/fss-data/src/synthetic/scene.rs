//! What is in a picture: drawn from the seed, before any pixel is.

use super::SyntheticConfig;
use super::class::SyntheticClass;
use super::math::{Draw, direction, length};
use crate::ClassId;

/// A colour with components in `[0, 1]`.
pub(super) type Colour = [f64; 3];

/// Everything in one picture. Positions and lengths are in pixels.
pub(super) struct Scene {
    pub(super) size: [u32; 2],
    pub(super) background: Background,
    pub(super) clutter: Vec<Clutter>,
    /// Later objects lie on top.
    pub(super) objects: Vec<Object>,
    /// Half the amplitude of the camera's noise.
    pub(super) noise: f64,
    pub(super) noise_seed: u64,
}

/// Smooth variation between three colours.
pub(super) struct Background {
    pub(super) colours: [Colour; 3],
    pub(super) middle: [f64; 2],
    /// Direction of the gradient, scaled so that it spans the picture once.
    pub(super) gradient: [f64; 2],
    /// Share of the clouds against the gradient, in `[0, 1]`.
    pub(super) clouds: f64,
    /// Size of the clouds.
    pub(super) cloud_size: f64,
    pub(super) seed: u64,
}

/// A small plain thing that belongs to no class.
pub(super) struct Clutter {
    pub(super) centre: [f64; 2],
    /// Half length and half width.
    pub(super) half: [f64; 2],
    pub(super) axis: [f64; 2],
    pub(super) colour: Colour,
    pub(super) opacity: f64,
}

/// An instance of a class.
pub(super) struct Object {
    pub(super) class: SyntheticClass,
    pub(super) centre: [f64; 2],
    /// Radius of the circle around it.
    pub(super) radius: f64,
    /// Its own x axis in the picture.
    pub(super) axis: [f64; 2],
    pub(super) colours: [Colour; 2],
    /// Period of the pattern.
    pub(super) period: f64,
    pub(super) phase: [f64; 2],
    /// Change of brightness from the centre to the rim, by direction.
    pub(super) light: [f64; 2],
    pub(super) seed: u64,
}

impl Scene {
    /// The scene of a picture, from a stream of random numbers of its own.
    ///
    /// `labels` names the classes of its objects; those that find no place are left out.
    pub(super) fn draw(
        config: &SyntheticConfig,
        stream: u64,
        labels: impl FnOnce(&mut Draw) -> Vec<ClassId>,
    ) -> Self {
        let mut draw = Draw::new(config.seed, stream);
        let [low, high] = config.side;
        let size = [draw.whole(low, high), draw.whole(low, high)];
        let side = f64::from(size[0] + size[1]) / 2.0;
        let background = Background::draw(&mut draw, size);
        let labels = labels(&mut draw);
        let objects = place(config, &labels, size, side, &mut draw);
        let clutter = (0..draw.whole(config.clutter[0], config.clutter[1]))
            .map(|_| Clutter::draw(&mut draw, size, side))
            .collect();
        let noise = draw.range(0.004, 0.014);
        Self { size, background, clutter, objects, noise, noise_seed: draw.seed() }
    }

    /// Adds several small objects of one class close together, if there is room: a crowd.
    ///
    /// Returns how many there are.
    pub(super) fn add_crowd(
        &mut self,
        config: &SyntheticConfig,
        class: SyntheticClass,
        draw: &mut Draw,
    ) -> usize {
        let side = f64::from(self.size[0] + self.size[1]) / 2.0;
        let [_, largest] = config.object_percent.map(|percent| f64::from(percent) / 100.0);
        let reach = largest * side / 2.0;
        let before = self.objects.len();
        for _ in 0..40 {
            let margin = |n: u32| reach.min(f64::from(n) / 2.0);
            let middle = self.size.map(|n| draw.range(margin(n), f64::from(n) - margin(n)));
            if !free(&self.objects, middle, reach) {
                continue;
            }
            for _ in 0..24 {
                let radius = draw.range(0.3, 0.42) * reach;
                let towards = direction(draw.range(0.0, 1.0));
                let far = draw.range(0.0, reach - radius);
                let centre = [0, 1].map(|axis| middle[axis] + far * towards[axis]);
                if free(&self.objects[before..], centre, radius) {
                    self.objects.push(Object::draw(draw, class, centre, radius, side));
                }
            }
            break;
        }
        self.objects.len() - before
    }
}

/// The classes of the objects of picture `index` of a list.
///
/// The first one goes round all classes in a new random order every time, so that all are about
/// equally frequent even in small sets; the others are drawn, mostly without repetition.
pub(super) fn mixed_labels(
    config: &SyntheticConfig,
    list: u64,
    index: usize,
    draw: &mut Draw,
) -> Vec<ClassId> {
    let classes = usize::from(config.classes);
    let mut order: Vec<ClassId> = (1..=ClassId::from(config.classes)).collect();
    let round = (index / classes) as u64;
    Draw::new(config.seed ^ 0x0c1a_55e5, stream(list, round)).shuffle(&mut order);
    let mut labels = vec![order[index % classes]];
    // The larger of two draws: with other objects beside it, a class has to be told apart.
    let mut number = || draw.whole(config.objects[0], config.objects[1]) as usize;
    let wanted = number().max(number());
    while labels.len() < wanted {
        let again = draw.chance(config.repeat_percent);
        let others: Vec<ClassId> = order.iter().copied().filter(|c| !labels.contains(c)).collect();
        let pool = if again || others.is_empty() { labels.clone() } else { others };
        labels.push(draw.one_of(&pool));
    }
    labels
}

/// The number of the stream for item `index` of a list: lists share no pictures.
pub(super) fn stream(list: u64, index: u64) -> u64 {
    (list << 40) + index
}

/// Finds a place for each object, apart from the others; later ones without a place are dropped.
fn place(
    config: &SyntheticConfig,
    labels: &[ClassId],
    size: [u32; 2],
    side: f64,
    draw: &mut Draw,
) -> Vec<Object> {
    let [smallest, largest] = config.object_percent.map(|percent| f64::from(percent) / 100.0);
    let mut objects: Vec<Object> = Vec::new();
    for class in labels.iter().filter_map(|&label| SyntheticClass::of(label)) {
        for attempt in 0..60 {
            // Ever smaller, as places get scarce.
            let most = largest + (smallest - largest) * f64::from(attempt) / 60.0;
            let radius = draw.range(smallest, most) * side / 2.0;
            // A quarter of the radius may lie outside, as in photographs.
            let centre = size.map(|n| {
                let margin = (0.75 * radius).min(f64::from(n) / 2.0);
                draw.range(margin, f64::from(n) - margin)
            });
            if free(&objects, centre, radius) {
                objects.push(Object::draw(draw, class, centre, radius, side));
                break;
            }
        }
    }
    objects
}

/// Whether a circle is clear of all objects.
fn free(objects: &[Object], centre: [f64; 2], radius: f64) -> bool {
    objects.iter().all(|other| {
        let apart = length([centre[0] - other.centre[0], centre[1] - other.centre[1]]);
        apart > 0.95 * (radius + other.radius)
    })
}

impl Object {
    fn draw(
        draw: &mut Draw,
        class: SyntheticClass,
        centre: [f64; 2],
        radius: f64,
        side: f64,
    ) -> Self {
        let strength = draw.range(0.02, 0.14);
        Self {
            class,
            centre,
            radius,
            axis: direction(draw.range(0.0, 1.0)),
            colours: contrasting(draw),
            period: class.grain.period() * side * draw.range(0.9, 1.12),
            phase: [draw.range(0.0, 64.0), draw.range(0.0, 64.0)],
            light: direction(draw.range(0.0, 1.0)).map(|x| x * strength),
            seed: draw.seed(),
        }
    }
}

impl Background {
    fn draw(draw: &mut Draw, size: [u32; 2]) -> Self {
        let first = colour(draw);
        // The others lie near the first, so that backgrounds stay calmer than surfaces.
        let mut near = |reach: f64| {
            let other = colour(draw);
            let t = draw.range(0.3 * reach, reach);
            [0, 1, 2].map(|i| first[i] + (other[i] - first[i]) * t)
        };
        let colours = [first, near(0.7), near(0.6)];
        let [width, height] = size.map(f64::from);
        let towards = direction(draw.range(0.0, 1.0));
        let span = (towards[0] * width).abs() + (towards[1] * height).abs();
        Self {
            colours,
            middle: [width / 2.0, height / 2.0],
            gradient: towards.map(|x| x / span),
            clouds: draw.range(0.35, 0.95),
            cloud_size: draw.range(0.22, 0.5) * (width + height) / 2.0,
            seed: draw.seed(),
        }
    }
}

impl Clutter {
    fn draw(draw: &mut Draw, size: [u32; 2], side: f64) -> Self {
        let half = draw.range(0.012, 0.03) * side;
        let stretch = if draw.chance(50) { 1.0 } else { draw.range(1.5, 3.0) };
        Self {
            centre: size.map(|n| draw.range(0.0, f64::from(n))),
            half: [half * stretch, half],
            axis: direction(draw.range(0.0, 1.0)),
            colour: colour(draw),
            opacity: draw.range(0.6, 0.95),
        }
    }
}

/// Any colour: hue, saturation and brightness are drawn.
fn colour(draw: &mut Draw) -> Colour {
    let hue = draw.range(0.0, 6.0);
    let saturation = draw.range(0.1, 0.9);
    let value = draw.range(0.12, 1.0);
    // Each channel is a trapezium of the hue, a third of the circle apart.
    [5.0, 3.0, 1.0].map(|offset: f64| {
        let k = offset + hue;
        let k = k - 6.0 * (k / 6.0).floor();
        value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0)
    })
}

fn luminance(c: Colour) -> f64 {
    0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2]
}

/// Two colours whose pattern shows also in grey.
fn contrasting(draw: &mut Draw) -> [Colour; 2] {
    let first = colour(draw);
    for _ in 0..32 {
        let second = colour(draw);
        if (luminance(first) - luminance(second)).abs() > 0.3 {
            return [first, second];
        }
    }
    let far = if luminance(first) > 0.5 { 0.05 } else { 0.95 };
    [first, [far; 3]]
}
