//! From a scene to pixels and labels.

use image::{Rgb, RgbImage};
use ndarray::Array2;

use super::math::{NoiseField, cell_hash, length, mix};
use super::scene::{Background, Clutter, Colour, Object, Scene};
use super::shape::signed_distance;
use super::texture::second_colour;
use crate::IGNORE_INDEX;

/// Sampling points a pixel and side.
const SAMPLES: usize = 3;

/// The picture, and its label mask `[H, W]` with 255 along the outlines.
pub(super) fn render(scene: &Scene) -> (RgbImage, Array2<u8>) {
    let [width, height] = scene.size;
    let mut mask = Array2::zeros((height as usize, width as usize));
    // Borders are about 1 % of the side wide in all, as in VOC, and at least 2 pixels.
    let border = (f64::from(width + height) / 400.0).max(1.0);
    let image = paint(scene, |_, object, at, distance| {
        if distance.abs() <= border {
            mask[at] = IGNORE_INDEX;
        } else if distance < 0.0 {
            // Sets with masks of labels have fewer classes than a pixel can tell apart.
            mask[at] = object.class.label as u8;
        }
    });
    (image, mask)
}

/// The picture, and for each pixel `[H, W]` the number of the object whose surface its centre
/// shows, counted from 1; 0 is the background.
pub(super) fn render_objects(scene: &Scene) -> (RgbImage, Array2<u16>) {
    let [width, height] = scene.size;
    let mut shown = Array2::zeros((height as usize, width as usize));
    let image = paint(scene, |number, _, at, distance| {
        if distance < 0.0 {
            shown[at] = number as u16 + 1;
        }
    });
    (image, shown)
}

/// The picture. `visit` is told an object's number, the object, and row, column and distance of
/// every pixel around it.
fn paint(scene: &Scene, mut visit: impl FnMut(usize, &Object, [usize; 2], f64)) -> RgbImage {
    let mut canvas = Canvas::new(scene);
    for thing in &scene.clutter {
        canvas.paint(thing, |_, _| ());
    }
    for (number, object) in scene.objects.iter().enumerate() {
        canvas.paint(object, |at, distance| visit(number, object, at, distance));
    }
    canvas.develop(scene)
}

/// Something that can be laid over the canvas.
trait Layer {
    /// Its centre, and how far it reaches from there, in pixels.
    fn extent(&self) -> ([f64; 2], f64);
    /// Negative inside; never larger in magnitude than the distance to the outline in pixels.
    fn distance(&self, at: [f64; 2]) -> f64;
    /// Colour and opacity at a point inside.
    fn surface(&self, at: [f64; 2]) -> (Colour, f64);
}

struct Canvas {
    size: [u32; 2],
    pixels: Vec<Colour>,
}

impl Canvas {
    fn new(scene: &Scene) -> Self {
        let [width, height] = scene.size;
        let background = Backdrop::new(&scene.background, scene.size);
        let pixels = (0..height)
            .flat_map(|y| (0..width).map(move |x| [f64::from(x) + 0.5, f64::from(y) + 0.5]))
            .map(|at| background.colour(at))
            .collect();
        Self { size: scene.size, pixels }
    }

    /// Lays something over the canvas. `visit` is told row, column and distance of pixels around.
    fn paint(&mut self, layer: &impl Layer, mut visit: impl FnMut([usize; 2], f64)) {
        const STEP: f64 = 1.0 / SAMPLES as f64;
        let (centre, reach) = layer.extent();
        for (x, y) in pixels_around(self.size, centre, reach) {
            let corner = [x as f64, y as f64];
            let distance = layer.distance(corner.map(|x| x + 0.5));
            visit([y, x], distance);
            // More than half a diagonal away from the outline a pixel is all in or all out.
            if distance > 0.75 {
                continue;
            }
            let whole = distance < -0.75;
            let (mut sum, mut cover) = ([0.0; 3], 0.0);
            for i in 0..SAMPLES * SAMPLES {
                let offset = [i % SAMPLES, i / SAMPLES].map(|n| (n as f64 + 0.5) * STEP);
                let at = [corner[0] + offset[0], corner[1] + offset[1]];
                if whole || layer.distance(at) < 0.0 {
                    let (colour, opacity) = layer.surface(at);
                    cover += opacity;
                    sum = [0, 1, 2].map(|c| sum[c] + opacity * colour[c]);
                }
            }
            const SHARE: f64 = STEP * STEP;
            let pixel = &mut self.pixels[y * self.size[0] as usize + x];
            *pixel = [0, 1, 2].map(|c| pixel[c] * (1.0 - cover * SHARE) + sum[c] * SHARE);
        }
    }

    /// Adds the camera's noise and rounds to 8 bits.
    fn develop(&self, scene: &Scene) -> RgbImage {
        let [width, height] = scene.size;
        RgbImage::from_fn(width, height, |x, y| {
            let grain = 2.0 * cell_hash(scene.noise_seed, [x.into(), y.into()]) - 1.0;
            let pixel = self.pixels[(y * width + x) as usize];
            Rgb(pixel.map(|v| ((v + scene.noise * grain) * 255.0 + 0.5).clamp(0.0, 255.0) as u8))
        })
    }
}

/// The pixels in the square of half side `reach` around a point, as far as they are in the picture.
fn pixels_around(
    size: [u32; 2],
    centre: [f64; 2],
    reach: f64,
) -> impl Iterator<Item = (usize, usize)> {
    // `as` saturates: what lies outside becomes the edge.
    let range = |axis: usize| {
        let low = (centre[axis] - reach).floor().max(0.0) as usize;
        let high = (centre[axis] + reach).ceil().clamp(0.0, f64::from(size[axis])) as usize;
        low..high
    };
    let columns = range(0);
    range(1).flat_map(move |y| columns.clone().map(move |x| (x, y)))
}

/// A background with its noise at hand.
struct Backdrop<'a> {
    background: &'a Background,
    /// Large, middle and small clouds.
    clouds: [NoiseField; 3],
    /// Where the third colour shows.
    tint: NoiseField,
}

impl<'a> Backdrop<'a> {
    fn new(background: &'a Background, size: [u32; 2]) -> Self {
        let noise = |salt: u64, scale: f64| {
            NoiseField::new(background.seed ^ salt, size, scale * background.cloud_size)
        };
        let clouds = [noise(0, 1.0), noise(1, 0.42), noise(2, 0.17)];
        Self { background, clouds, tint: noise(3, 1.3) }
    }

    fn colour(&self, at: [f64; 2]) -> Colour {
        let Background { colours: [a, b, c], middle, gradient, .. } = self.background;
        let along: f64 = (0..2).map(|i| (at[i] - middle[i]) * gradient[i]).sum();
        let [large, medium, small] = [0, 1, 2].map(|i| self.clouds[i].at(at));
        let clouds = 0.55 * large + 0.27 * medium + 0.18 * small;
        // Sums of noise stay close to one half: spread them.
        let clouds = (0.5 + 1.6 * (clouds - 0.5)).clamp(0.0, 1.0);
        let t = mix(0.5 + along, clouds, self.background.clouds).clamp(0.0, 1.0);
        let tint = 0.7 * self.tint.at(at);
        [0, 1, 2].map(|i| mix(mix(a[i], b[i], t), c[i], tint))
    }
}

impl Layer for Clutter {
    fn extent(&self) -> ([f64; 2], f64) {
        (self.centre, self.half[0] + 1.0)
    }

    fn distance(&self, at: [f64; 2]) -> f64 {
        let [u, v] = turned(at, self.centre, self.axis);
        (length([u / self.half[0], v / self.half[1]]) - 1.0) * self.half[1]
    }

    fn surface(&self, _at: [f64; 2]) -> (Colour, f64) {
        (self.colour, self.opacity)
    }
}

impl Layer for Object {
    fn extent(&self) -> ([f64; 2], f64) {
        // Shapes reach little beyond the unit circle, and the border of the mask a little further.
        (self.centre, 1.3 * self.radius + 2.0)
    }

    fn distance(&self, at: [f64; 2]) -> f64 {
        let own = turned(at, self.centre, self.axis).map(|x| x / self.radius);
        self.radius * signed_distance(self.class.shape, own)
    }

    fn surface(&self, at: [f64; 2]) -> (Colour, f64) {
        let own = turned(at, self.centre, self.axis).map(|x| x / self.period);
        let shifted = [own[0] + self.phase[0], own[1] + self.phase[1]];
        let texture = self.class.half.filter(|_| own[0] < 0.0).unwrap_or(self.class.texture);
        let t = second_colour(texture, own, shifted, self.seed);
        let towards = [0, 1].map(|i| (at[i] - self.centre[i]) / self.radius);
        let light = 1.0 + self.light[0] * towards[0] + self.light[1] * towards[1];
        let [a, b] = self.colours;
        ([0, 1, 2].map(|i| (mix(a[i], b[i], t) * light).clamp(0.0, 1.0)), 1.0)
    }
}

/// A point in the coordinates of something at `centre` whose x axis is `axis`.
fn turned(at: [f64; 2], centre: [f64; 2], axis: [f64; 2]) -> [f64; 2] {
    let [dx, dy] = [at[0] - centre[0], at[1] - centre[1]];
    [dx * axis[0] + dy * axis[1], dy * axis[0] - dx * axis[1]]
}
