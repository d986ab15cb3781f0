//! What the classes look like.

use std::fmt;

/// The outline of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Shape {
    Disc,
    Square,
    Triangle,
    Star,
    Ring,
    Cross,
    Crescent,
    Hexagon,
    Capsule,
    Flower,
}

/// The pattern on the surface of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Texture {
    /// Straight bands.
    Stripes,
    /// A chessboard.
    Checks,
    /// Round spots on a staggered grid.
    Dots,
    /// Winding bands.
    Waves,
    /// Bands around the object's centre.
    Rings,
    /// Random patches with smooth outlines.
    Blotches,
    /// A wall with staggered joints.
    Bricks,
    /// Bands with sharp turns.
    Zigzag,
    /// Crossing thin lines.
    Net,
    /// Square tiles of random brightness.
    Mosaic,
}

/// How large the pattern is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Grain {
    /// A period of about 5 % of the image's side.
    Fine,
    /// A period of about 9 % of the image's side.
    Coarse,
}

impl Grain {
    /// The period of the pattern as a fraction of the image's side.
    pub(super) fn period(self) -> f64 {
        match self {
            Self::Fine => 0.05,
            Self::Coarse => 0.092,
        }
    }
}

/// A class of the synthetic set: an outline, a surface and its grain. Colours say nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SyntheticClass {
    /// The label in the masks, `1..=20`.
    pub label: u8,
    /// The outline.
    pub shape: Shape,
    /// The surface.
    pub texture: Texture,
    /// The grain of the surface.
    pub grain: Grain,
}

/// How many classes there are at most.
pub const MAX_CLASSES: u8 = 20;

const SHAPES: [Shape; 10] = [
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

const TEXTURES: [Texture; 10] = [
    Texture::Stripes,
    Texture::Checks,
    Texture::Dots,
    Texture::Waves,
    Texture::Rings,
    Texture::Blotches,
    Texture::Bricks,
    Texture::Zigzag,
    Texture::Net,
    Texture::Mosaic,
];

impl SyntheticClass {
    /// The class of a label `1..=20`; `None` for any other.
    ///
    /// Each texture belongs to two classes, ten labels apart: of different grain, on different
    /// shapes, and (with contiguous folds of five) in different folds. So the novel classes of
    /// every fold are new combinations of things that the base classes show one by one.
    pub fn of(label: u8) -> Option<Self> {
        if !(1..=MAX_CLASSES).contains(&label) {
            return None;
        }
        let at = usize::from(label - 1);
        let (texture, second) = (at % 10, at / 10);
        Some(Self {
            label,
            shape: SHAPES[(texture + 3 * second) % 10],
            texture: TEXTURES[texture],
            grain: if (texture + second) % 2 == 0 { Grain::Fine } else { Grain::Coarse },
        })
    }
}

impl fmt::Display for SyntheticClass {
    /// As in "fine-striped disc".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grain = match self.grain {
            Grain::Fine => "fine",
            Grain::Coarse => "coarse",
        };
        let texture = match self.texture {
            Texture::Stripes => "striped",
            Texture::Checks => "checked",
            Texture::Dots => "dotted",
            Texture::Waves => "wavy",
            Texture::Rings => "ringed",
            Texture::Blotches => "blotchy",
            Texture::Bricks => "bricked",
            Texture::Zigzag => "zigzag",
            Texture::Net => "netted",
            Texture::Mosaic => "tiled",
        };
        write!(f, "{grain} {texture} {}", format!("{:?}", self.shape).to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::folds::Fold;

    #[test]
    fn classes_differ() {
        let all: Vec<_> = (1..=20).filter_map(SyntheticClass::of).collect();
        let looks: HashSet<_> = all.iter().map(|c| (c.texture, c.grain)).collect();
        let outlines: HashSet<_> = all.iter().map(|c| (c.texture, c.shape)).collect();
        let names: HashSet<_> = all.iter().map(ToString::to_string).collect();
        assert_eq!((looks.len(), outlines.len(), names.len()), (20, 20, 20));
        assert_eq!(SyntheticClass::of(0), None);
        assert_eq!(SyntheticClass::of(21), None);
        assert_eq!(all[0].to_string(), "fine striped disc");
    }

    #[test]
    fn novel_classes_recombine_what_base_classes_show() {
        for index in 0..4 {
            let fold = Fold::pascal(index).unwrap();
            let of = |labels: Vec<crate::ClassId>| -> Vec<SyntheticClass> {
                labels.into_iter().filter_map(|c| SyntheticClass::of(c as u8)).collect()
            };
            let (base, novel) = (of(fold.base_classes()), of(fold.novel_classes()));
            for class in &novel {
                assert!(base.iter().any(|b| b.texture == class.texture), "{class}");
                assert!(base.iter().any(|b| b.grain == class.grain), "{class}");
                assert!(!base.iter().any(|b| b.texture == class.texture && b.grain == class.grain));
            }
            let textures: HashSet<_> = novel.iter().map(|c| c.texture).collect();
            assert_eq!(textures.len(), novel.len(), "fold {index}");
        }
    }
}
