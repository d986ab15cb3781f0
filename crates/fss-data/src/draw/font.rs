//! A small bitmap font for captions.

use std::sync::LazyLock;

use image::{Rgb, RgbImage};

/// Columns of a glyph.
const WIDTH: usize = 5;
/// Rows of a glyph: seven above the baseline and two below.
const HEIGHT: usize = 9;
/// From one glyph to the next.
const ADVANCE: usize = WIDTH + 1;
/// Pixels of the picture for each dot of a glyph.
const SCALE: usize = 2;

/// Height of a line of text in pixels.
pub(super) const LINE: u32 = (HEIGHT * SCALE) as u32;

/// The characters from space to tilde, sixteen a band.
const ART: &str = "\
..... ..#.. .#.#. .#.#. ..#.. ##..# .##.. ..#.. ...#. .#... ..... ..... ..... ..... ..... ....#
..... ..#.. .#.#. .#.#. .#### ##..# #..#. ..#.. ..#.. ..#.. ..#.. ..#.. ..... ..... ..... ....#
..... ..#.. .#.#. ##### #.#.. ...#. #.#.. ..#.. .#... ...#. #.#.# ..#.. ..... ..... ..... ...#.
..... ..#.. ..... .#.#. .###. ..#.. .#... ..... .#... ...#. .###. ##### ..... ##### ..... ..#..
..... ..#.. ..... ##### ..#.# .#... #.#.# ..... .#... ...#. #.#.# ..#.. ..... ..... ..... .#...
..... ..... ..... .#.#. ####. #..## #..#. ..... ..#.. ..#.. ..#.. ..#.. ..##. ..... .##.. #....
..... ..#.. ..... .#.#. ..#.. #..## .##.# ..... ...#. .#... ..... ..... ..##. ..... .##.. #....
..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ...#. ..... ..... .....
..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..#.. ..... ..... .....

.###. ..#.. .###. .###. ...#. ##### ..##. ##### .###. .###. ..... ..... ....# ..... #.... .###.
#...# .##.. #...# #...# ..##. #.... .#... ....# #...# #...# .##.. .##.. ...#. ..... .#... #...#
#..## ..#.. ....# ....# .#.#. ####. #.... ...#. #...# #...# .##.. .##.. ..#.. ##### ..#.. ....#
#.#.# ..#.. ..##. ..##. #..#. ....# ####. ..#.. .###. .#### ..... ..... .#... ..... ...#. ...#.
##..# ..#.. .#... ....# ##### ....# #...# .#... #...# ....# .##.. .##.. ..#.. ##### ..#.. ..#..
#...# ..#.. #.... #...# ...#. #...# #...# .#... #...# ...#. .##.. .##.. ...#. ..... .#... .....
.###. .###. ##### .###. ...#. .###. .###. .#... .###. .##.. ..... ..#.. ....# ..... #.... ..#..
..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .#... ..... ..... ..... .....
..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .....

.###. .###. ####. .###. ####. ##### ##### .###. #...# .###. ..### #...# #.... #...# #...# .###.
#...# #...# #...# #...# #...# #.... #.... #...# #...# ..#.. ...#. #..#. #.... ##.## ##..# #...#
#.### #...# #...# #.... #...# #.... #.... #.... #...# ..#.. ...#. #.#.. #.... #.#.# ##..# #...#
#.#.# ##### ####. #.... #...# ####. ####. #.### ##### ..#.. ...#. ##... #.... #.#.# #.#.# #...#
#.### #...# #...# #.... #...# #.... #.... #...# #...# ..#.. ...#. #.#.. #.... #...# #..## #...#
#.... #...# #...# #...# #...# #.... #.... #...# #...# ..#.. #..#. #..#. #.... #...# #..## #...#
.#### #...# ####. .###. ####. ##### #.... .#### #...# .###. .##.. #...# ##### #...# #...# .###.
..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .....
..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .....

####. .###. ####. .#### ##### #...# #...# #...# #...# #...# ##### .###. #.... .###. ..#.. .....
#...# #...# #...# #.... ..#.. #...# #...# #...# #...# #...# ....# .#... #.... ...#. .#.#. .....
#...# #...# #...# #.... ..#.. #...# #...# #...# .#.#. .#.#. ...#. .#... .#... ...#. #...# .....
####. #...# ####. .###. ..#.. #...# #...# #.#.# ..#.. ..#.. ..#.. .#... ..#.. ...#. ..... .....
#.... #.#.# #.#.. ....# ..#.. #...# .#.#. #.#.# .#.#. ..#.. .#... .#... ...#. ...#. ..... .....
#.... #..#. #..#. ....# ..#.. #...# .#.#. ##.## #...# ..#.. #.... .#... ....# ...#. ..... .....
#.... .##.# #...# ####. ..#.. .###. ..#.. #...# #...# ..#.. ##### .###. ....# .###. ..... .....
..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... #####
..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .....

.#... ..... #.... ..... ....# ..... ..##. ..... #.... ..#.. ...#. #.... .##.. ..... ..... .....
..#.. ..... #.... ..... ....# ..... .#..# ..... #.... ..... ..... #.... ..#.. ..... ..... .....
..... .###. ####. .#### .#### .###. .#... .#### ####. .##.. ..##. #..#. ..#.. ##.#. ####. .###.
..... ....# #...# #.... #...# #...# ###.. #...# #...# ..#.. ...#. #.#.. ..#.. #.#.# #...# #...#
..... .#### #...# #.... #...# ##### .#... #...# #...# ..#.. ...#. ##... ..#.. #.#.# #...# #...#
..... #...# #...# #.... #...# #.... .#... #...# #...# ..#.. ...#. #.#.. ..#.. #.#.# #...# #...#
..... .#### ####. .#### .#### .#### .#... .#### #...# .###. ...#. #..#. .###. #.#.# #...# .###.
..... ..... ..... ..... ..... ..... ..... ....# ..... ..... #..#. ..... ..... ..... ..... .....
..... ..... ..... ..... ..... ..... ..... .###. ..... ..... .##.. ..... ..... ..... ..... .....

..... ..... ..... ..... .#... ..... ..... ..... ..... ..... ..... ...## ..#.. ##... .....
..... ..... ..... ..... .#... ..... ..... ..... ..... ..... ..... ..#.. ..#.. ..#.. .....
####. .#### #.##. .#### ####. #...# #...# #.#.# #...# #...# ##### ..#.. ..#.. ..#.. .#...
#...# #...# ##..# #.... .#... #...# #...# #.#.# .#.#. #...# ...#. .#... ..#.. ...#. #.#.#
#...# #...# #.... .###. .#... #...# #...# #.#.# ..#.. #...# ..#.. ..#.. ..#.. ..#.. ...#.
#...# #...# #.... ....# .#..# #...# .#.#. #.#.# .#.#. #...# .#... ..#.. ..#.. ..#.. .....
####. .#### #.... ####. ..##. .#### ..#.. .#.#. #...# .#### ##### ...## ..#.. ##... .....
#.... ....# ..... ..... ..... ..... ..... ..... ..... ....# ..... ..... ..... ..... .....
#.... ....# ..... ..... ..... ..... ..... ..... ..... .###. ..... ..... ..... ..... .....
";

/// One glyph, a bit a dot: row by row from the top, the leftmost dot lowest.
type Glyph = u64;

static GLYPHS: LazyLock<Vec<Glyph>> = LazyLock::new(|| {
    let rows: Vec<&[u8]> = ART.lines().filter(|l| !l.is_empty()).map(str::as_bytes).collect();
    let mut glyphs = Vec::new();
    for band in rows.chunks(HEIGHT) {
        for left in (0..band[0].len()).step_by(ADVANCE) {
            let dots = (0..HEIGHT * WIDTH).filter(|i| band[i / WIDTH][left + i % WIDTH] == b'#');
            glyphs.push(dots.fold(0, |glyph, dot| glyph | 1 << dot));
        }
    }
    glyphs
});

/// The glyph of a character; a question mark for one that the font lacks.
fn glyph(character: char) -> Glyph {
    let at = |c: char| (c as usize).checked_sub(' ' as usize).and_then(|i| GLYPHS.get(i));
    at(character).or_else(|| at('?')).copied().unwrap_or_default()
}

/// Whether a dot is set; none is outside the glyph.
fn dot(glyph: Glyph, column: isize, row: isize) -> bool {
    let inside = (0..WIDTH as isize).contains(&column) && (0..HEIGHT as isize).contains(&row);
    inside && glyph >> (row * WIDTH as isize + column) & 1 == 1
}

/// Whether a quarter of a dot is set: corners between two set neighbours are filled, which rounds
/// the steps of slanted strokes.
fn quarter(glyph: Glyph, x: isize, y: isize) -> bool {
    let (column, row) = (x.div_euclid(2), y.div_euclid(2));
    let across = column + if x % 2 == 0 { -1 } else { 1 };
    let along = row + if y % 2 == 0 { -1 } else { 1 };
    let (beside, above) = (dot(glyph, across, row), dot(glyph, column, along));
    let (opposite, below) =
        (dot(glyph, 2 * column - across, row), dot(glyph, column, 2 * row - along));
    if beside == above && beside != opposite && above != below {
        beside
    } else {
        dot(glyph, column, row)
    }
}

/// Width of a text in pixels.
pub(super) fn text_width(text: &str) -> u32 {
    let glyphs = text.chars().count();
    (glyphs * ADVANCE).saturating_sub(1) as u32 * SCALE as u32
}

/// As much of the text as fits into `width` pixels, with two dots at the end where it was cut.
pub(super) fn fit(text: &str, width: u32) -> String {
    if text_width(text) <= width {
        return text.to_string();
    }
    let glyphs = (width as usize / SCALE + 1) / ADVANCE;
    text.chars().take(glyphs.saturating_sub(2)).chain(['.'; 2]).take(glyphs).collect()
}

/// Writes a line of text with its upper left corner at `(x, y)`; what lies outside is cut off.
pub(super) fn draw_text(canvas: &mut RgbImage, x: u32, y: u32, text: &str, colour: [u8; 3]) {
    for (index, character) in text.chars().enumerate() {
        let glyph = glyph(character);
        let left = x as usize + index * ADVANCE * SCALE;
        for dy in 0..HEIGHT * SCALE {
            for dx in 0..WIDTH * SCALE {
                if quarter(glyph, dx as isize, dy as isize) {
                    let (px, py) = ((left + dx) as u32, y.saturating_add(dy as u32));
                    if let Some(pixel) = canvas.get_pixel_mut_checked(px, py) {
                        *pixel = Rgb(colour);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_font_is_complete() {
        assert_eq!(GLYPHS.len(), 95);
        let mut seen = std::collections::HashSet::new();
        for character in ' '..='~' {
            assert!(seen.insert(glyph(character)), "{character:?} looks like another");
            assert_eq!(glyph(character) == 0, character == ' ');
        }
        assert_eq!(glyph('\u{e9}'), glyph('?'));
        assert_eq!(glyph('\n'), glyph('?'));
    }

    #[test]
    fn text_stays_in_its_box() {
        let mut canvas = RgbImage::new(200, 40);
        draw_text(&mut canvas, 10, 8, "Agjy|_%", [255; 3]);
        let set = canvas.enumerate_pixels().filter(|(.., p)| p.0 == [255; 3]);
        let inside = |x: u32, y: u32| {
            (10..10 + text_width("Agjy|_%")).contains(&x) && (8..8 + LINE).contains(&y)
        };
        let mut count = 0;
        for (x, y, _) in set {
            assert!(inside(x, y), "{x} {y}");
            count += 1;
        }
        assert!(count > 200);
        // Outside the picture: no panic.
        draw_text(&mut canvas, 190, 35, "cut off", [255; 3]);
        draw_text(&mut canvas, u32::MAX - 100, 0, "far", [255; 3]);
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(fit("support", 200), "support");
        let cut = fit("a very long caption", 100);
        assert!(cut.ends_with("..") && text_width(&cut) <= 100, "{cut}");
        assert_eq!(fit("ab", 0), "");
    }
}
