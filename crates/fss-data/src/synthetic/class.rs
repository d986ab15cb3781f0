//! What the classes look like.

use std::fmt;

use crate::ClassId;

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

/// A class of a synthetic set: an outline, a surface and its grain. Colours say nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SyntheticClass {
    /// The number of the class, `1..=1000`: its label in masks of labels.
    pub label: ClassId,
    /// The outline.
    pub shape: Shape,
    /// The surface.
    pub texture: Texture,
    /// The surface of one half, where the two halves of the object differ.
    pub half: Option<Texture>,
    /// The grain of the surface.
    pub grain: Grain,
}

/// How many classes there are.
pub const MAX_CLASSES: ClassId = 1000;

/// How many of them have one surface all over. The others have two halves.
const PLAIN: usize = 200;

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
    /// The class of a label `1..=1000`; `None` for any other.
    ///
    /// Among the first 20, each texture belongs to two classes, ten labels apart: of different
    /// grain, on different shapes, and (with contiguous folds of five) in different folds. So the
    /// novel classes of every fold are new combinations of things that the base classes show one by
    /// one. Labels up to 200 are all further combinations of texture, grain and shape; those beyond
    /// have halves of two textures.
    pub fn of(label: ClassId) -> Option<Self> {
        if !(1..=MAX_CLASSES).contains(&label) {
            return None;
        }
        let at = usize::from(label - 1);
        let texture = at % 10;
        let (round, half) = match at.checked_sub(PLAIN) {
            None => (at / 10, None),
            // Steps of 1 to 4 along the circle of textures give each pair once.
            Some(rest) => (rest / 40, Some(TEXTURES[(texture + 1 + rest / 10 % 4) % 10])),
        };
        Some(Self {
            label,
            shape: SHAPES[(texture + 3 * round) % 10],
            texture: TEXTURES[texture],
            half,
            // From round 10 on the shapes come again, with the other grain.
            grain: if (texture + round + round / 10).is_multiple_of(2) {
                Grain::Fine
            } else {
                Grain::Coarse
            },
        })
    }
}

impl Texture {
    /// As an adjective.
    fn adjective(self) -> &'static str {
        match self {
            Self::Stripes => "striped",
            Self::Checks => "checked",
            Self::Dots => "dotted",
            Self::Waves => "wavy",
            Self::Rings => "ringed",
            Self::Blotches => "blotchy",
            Self::Bricks => "bricked",
            Self::Zigzag => "zigzag",
            Self::Net => "netted",
            Self::Mosaic => "tiled",
        }
    }
}

impl fmt::Display for SyntheticClass {
    /// As in "fine striped disc" or "coarse striped-dotted disc".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grain = match self.grain {
            Grain::Fine => "fine",
            Grain::Coarse => "coarse",
        };
        write!(f, "{grain} {}", self.texture.adjective())?;
        if let Some(half) = self.half {
            write!(f, "-{}", half.adjective())?;
        }
        write!(f, " {}", format!("{:?}", self.shape).to_lowercase())
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
        assert_eq!(SyntheticClass::of(MAX_CLASSES + 1), None);
        assert_eq!(all[0].to_string(), "fine striped disc");
    }

    #[test]
    fn all_thousand_classes_differ() {
        let all: Vec<_> = (1..=MAX_CLASSES).filter_map(SyntheticClass::of).collect();
        let names: HashSet<_> = all.iter().map(ToString::to_string).collect();
        let looks: HashSet<_> = all
            .iter()
            .map(|c| {
                // Which half is which does not show.
                let mut textures = [Some(c.texture), c.half].map(|t| t.map(Texture::adjective));
                textures.sort_unstable();
                (c.shape, c.grain, textures)
            })
            .collect();
        assert_eq!((names.len(), looks.len()), (1000, 1000));
        assert_eq!(all[999].to_string(), "coarse tiled-wavy crescent");
    }

    #[test]
    fn novel_classes_recombine_what_base_classes_show() {
        for index in 0..4 {
            let fold = Fold::pascal(index).unwrap();
            let of = |labels: Vec<crate::ClassId>| -> Vec<SyntheticClass> {
                labels.into_iter().filter_map(SyntheticClass::of).collect()
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
