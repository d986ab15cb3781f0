//! What is known of the published lists: how long they are, and their SHA-256.
//!
//! The lists are those of the HSNet code. PASCAL: of the bytes of `{trn,val}/fold{0..3}.txt`. COCO: of
//! the text form (a line a class: number, TAB, image numbers separated by one space) of the classes
//! c with c mod 4 = 0, 1, 2, 3, which the pickles of a split hold in the same order in every fold.
//! FSS-1000: of the sorted categories, each followed by a line feed.

use std::fmt;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{ClassLists, names};
use crate::Split;
use crate::folds::FOLDS;
use crate::pascal::HsnetEntry;

/// Whether lists are the published ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// They are, to the letter: the same episodes are drawn.
    Published,
    /// The same images of every class, in another order: other episodes of the same images.
    SameSet,
    /// They are not.
    Other {
        /// Number of entries: pairs of image and class, or categories.
        entries: usize,
        /// The published number.
        published: usize,
    },
    /// There are none: data of one's own.
    Unpublished,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Published => f.write_str("equal to the published lists (SHA-256)"),
            Self::SameSet => {
                f.write_str("the images of the published lists (SHA-256), in another order")
            }
            Self::Unpublished => f.write_str("there are no published ones"),
            Self::Other { entries, published } if entries == published => {
                write!(f, "as many entries as the published lists ({entries}), but other ones")
            }
            Self::Other { entries, published } => {
                write!(f, "NOT the published lists: {entries} entries, published are {published}")
            }
        }
    }
}

impl Standing {
    /// The standing of several lists together.
    pub(super) fn of_all(lists: impl IntoIterator<Item = (Self, usize, usize)>) -> Self {
        let (mut worst, mut entries, mut published) = (Self::Published, 0, 0);
        for (standing, here, there) in lists {
            entries += here;
            published += there;
            worst = match (worst, standing) {
                (Self::Other { .. }, _) | (_, Self::Other { .. }) => {
                    Self::Other { entries: 0, published: 0 }
                }
                (Self::SameSet, _) | (_, Self::SameSet) => Self::SameSet,
                _ => Self::Published,
            };
        }
        match worst {
            Self::Other { .. } => Self::Other { entries, published },
            standing => standing,
        }
    }
}

/// A list as it was published.
struct Known {
    entries: usize,
    /// SHA-256 as hexadecimal digits.
    ordered: &'static str,
    /// The same with the entries in ascending order.
    sorted: &'static str,
}

const fn known(entries: usize, ordered: &'static str, sorted: &'static str) -> Known {
    Known { entries, ordered, sorted }
}

/// A list whose published order is the ascending one.
const fn in_order(entries: usize, hash: &'static str) -> Known {
    known(entries, hash, hash)
}

const PASCAL_TRAIN: [Known; FOLDS] = [
    in_order(2286, "40fded8be6afbc4b70953277f2a178af8055cddd4e73fb4646b7bf19704b9da2"),
    in_order(3425, "558167c3c6fea0cda1bb7c7a275e66d5de7bc13cbc97e00c5872ac84d5f0954e"),
    in_order(5883, "d07e35f4a4ae95774c619bafb57d65d682dbd5b9f33c7f71a4f5cef8e3f99609"),
    in_order(2086, "ffe09100c0c4d9c19d074a33b0f29fe5a89a730579ba39a9f9e908186298ac17"),
];

const PASCAL_VAL: [Known; FOLDS] = [
    in_order(346, "748e2f4732ac502cb3aa1f3768936b394bd7ba4e611ac5bf959291a268e249df"),
    in_order(451, "afce1929e4dacbc13c07f9a26d4ce7738d415e1b18443fe173e58303836f5c14"),
    in_order(725, "50b1f5218e8f882ca65d85da5be230b978a70067e9b3e0e9fca1528f546bd7fb"),
    in_order(346, "c3825d7c52d1608d4c62c5b85d6ef3f74cf5898032bc068a94c971df17bdf71a"),
];

const COCO_TRAIN: [Known; FOLDS] = [
    known(
        75_015,
        "6173007806c165872496ddc6428a13d22d83279abdbecbf57cfdd4078f851050",
        "11424bd3809aef2e602568d71ea1d5db858301074e4c3188b920f37dc9508364",
    ),
    known(
        36_564,
        "d7457514c3b755536442cac0fdb4daa1c9a4978f9a5eb6e8c412e2eb7a8fc32c",
        "9910e2a8251fc0c333a9bda093127cc226a3c86f13eb428a554796d84afb278c",
    ),
    known(
        29_437,
        "e9cf1bcb79b10ae7f32b36ee6f578478cb7ec78614dadfe9dd99eab8e3ccbce1",
        "ce9f8c4727849a7e5f7d66cfe6a4f638a9879b13ff86f4ea296c8fc4b92a1c4f",
    ),
    known(
        29_475,
        "e6397e5fe122f341ee22ee851bbb484d1c0f1bf818cb9fedefbf864cb14a5382",
        "6cbf87afd0453d32aa509f7d3dfc070ac14a9fc92f955192aa96f1ffa11664da",
    ),
];

const COCO_VAL: [Known; FOLDS] = [
    known(
        35_783,
        "e96c3c5f0289ecd873f39aab09171aa0601dc8860cfbc38d8ab5c469d9fe6ee1",
        "7952ec92733c96e24e818732dc9d3318dfa06cc477f2b0b725c30e04f599aa62",
    ),
    known(
        17_912,
        "2d0723c99a6db3550bf00e01dee6d8e11ff12688b37ecb7627179b3d74f5bba6",
        "8a597e15b05f99ec767869ec808957edf708d0b78d5875d54a01ac72a91246e3",
    ),
    known(
        14_563,
        "ed9e6b04217d3031c506349514372724d32da12b333b43fa7e8aad8d6c66b40c",
        "8041a0493633c58b512f029531854eec1f71fb747567da7f34bf56d771fe1079",
    ),
    known(
        14_315,
        "10628ba2c91a479678c7603891c15bdcca4a8577b4e5655a64e7eeda5b4c4d6a",
        "71fceec0c9e96b6570ec0ae6454cb230c3b5625867a1cc064af75d70fecf0ff6",
    ),
];

const FSS: [Known; 3] = [
    in_order(520, "4e236fa8eda2543a988f734f8ea728a6f321bb426ec79cc121c5f4f115f41f10"),
    in_order(240, "bae6fbf5aa020ce4e589b76c51da21cc9b77970877579612e0a0d3c4b43688b0"),
    in_order(240, "0efbe526c0dd445b580de07cae179df51fffc91255599e96b13d8b16e7e04c0c"),
];

fn judge(known: &Known, entries: usize, ordered: &str, sorted: &str) -> (Standing, usize, usize) {
    let is = |text: &str, hash: &str| format!("{:x}", Sha256::digest(text)) == hash;
    let standing = if entries != known.entries {
        Standing::Other { entries, published: known.entries }
    } else if is(ordered, known.ordered) {
        Standing::Published
    } else if is(sorted, known.sorted) {
        Standing::SameSet
    } else {
        Standing::Other { entries, published: known.entries }
    };
    (standing, entries, known.entries)
}

/// The standing of one PASCAL list, with the lengths here and there.
pub(super) fn pascal(
    split: Split,
    fold: usize,
    entries: &[HsnetEntry],
) -> (Standing, usize, usize) {
    let known = match split {
        Split::Train => &PASCAL_TRAIN[fold],
        _ => &PASCAL_VAL[fold],
    };
    let text = |entries: &[&HsnetEntry]| {
        entries.iter().fold(String::new(), |mut text, entry| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}__{:02}", entry.id, entry.class);
            text
        })
    };
    let mut all: Vec<&HsnetEntry> = entries.iter().collect();
    let ordered = text(&all);
    all.sort_unstable_by(|a, b| match split {
        Split::Train => (a.class, &a.id).cmp(&(b.class, &b.id)),
        _ => (&a.id, a.class).cmp(&(&b.id, b.class)),
    });
    judge(known, entries.len(), &ordered, &text(&all))
}

/// The standing of the COCO lists of the classes c with c mod 4 = `group`.
pub(super) fn coco(split: Split, group: usize, lists: &ClassLists) -> (Standing, usize, usize) {
    let known = match split {
        Split::Train => &COCO_TRAIN[group],
        _ => &COCO_VAL[group],
    };
    let (mut ordered, mut sorted, mut entries) = (String::new(), String::new(), 0);
    let line = |text: &mut String, class: usize, numbers: &[u64]| {
        let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
        let _ = writeln!(text, "{class}\t{}", numbers.join(" "));
    };
    for (&class, names) in lists.iter().filter(|(class, _)| *class % FOLDS == group) {
        // A name without a number is in no published list.
        let mut numbers: Vec<u64> =
            names.iter().map(|name| names::number(name).unwrap_or(u64::MAX)).collect();
        entries += numbers.len();
        line(&mut ordered, class, &numbers);
        numbers.sort_unstable();
        line(&mut sorted, class, &numbers);
    }
    judge(known, entries, &ordered, &sorted)
}

/// The standing of a division of FSS-1000, whose order does not matter.
pub(super) fn fss(split: Split, categories: &[&str]) -> Standing {
    let mut categories = categories.to_vec();
    categories.sort_unstable();
    let text: String = categories.iter().flat_map(|name| [name, "\n"]).collect();
    judge(&FSS[split as usize], categories.len(), &text, &text).0
}
