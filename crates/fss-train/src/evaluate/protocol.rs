//! How a published number is measured.

use std::fmt;

use fss_data::Benchmark;
use fss_data::episode::MIN_OBJECT_PIXELS;
use fss_data::folds::FoldScheme;
use fss_data::loader::EpisodeTransform;
use fss_data::transform::{Compare, HsnetPreprocess, HsnetView, IgnoredPixels};
use fss_heads::Refine;
use serde::de::{MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::TrainError;

/// A protocol: how episodes are drawn, in which size images are seen, and how predictions are
/// scored. It is kept with every result, because the same weights score differently under another.
///
/// In files it is a name, or a table with the protocol's options:
///
/// ```toml
/// protocol = "official"
/// protocol = "hsnet"
/// protocol = { kind = "hsnet", compare = "original" }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// The protocol of SSP and MLC: images at their own size; a query, a class it shows and
    /// supports of at least `min_pixels` of that class, drawn as the published code does with 4
    /// loader workers; one confusion matrix a run, mean IoU over the novel classes that occur; five
    /// runs (seeds 0 to 4).
    Official,
    /// The protocol of HSNet and its successors: images of 400 x 400 pixels, NumPy's generator, one
    /// run (seed 0), mean IoU over all novel classes, of which one that never comes up counts as 0.
    Hsnet(HsnetProtocol),
}

/// Options of [`Protocol::Hsnet`]. The default is what published tables are measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HsnetProtocol {
    /// Side of the square that images are resized to, in pixels.
    pub side: usize,
    /// Whether predictions are compared at that size, or at the query's own.
    pub compare: Compare,
    /// Whether SSP refines. The published code does not in this protocol, however the model was
    /// trained. Other models have no such step.
    pub refine: Refine,
}

impl Default for HsnetProtocol {
    fn default() -> Self {
        Self {
            side: HsnetPreprocess::default().side,
            compare: Compare::Resized,
            refine: Refine::Off,
        }
    }
}

impl Protocol {
    /// The names that [`FromStr`](std::str::FromStr) knows.
    pub const NAMES: [&'static str; 2] = ["official", "hsnet"];

    /// The HSNet protocol as published.
    pub fn hsnet() -> Self {
        Self::Hsnet(HsnetProtocol::default())
    }

    /// `official` or `hsnet`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Official => "official",
            Self::Hsnet(_) => "hsnet",
        }
    }

    /// The name with whatever differs from the published protocol, for columns of tables.
    pub fn label(self) -> String {
        let Self::Hsnet(options) = self else { return self.name().to_owned() };
        let published = HsnetProtocol::default();
        let mut label = self.name().to_owned();
        if options.side != published.side {
            label.push_str(&format!(" at {}", options.side));
        }
        if options.compare == Compare::Original {
            label.push_str(", original sizes");
        }
        if options.refine == Refine::On {
            label.push_str(", refined");
        }
        label
    }

    /// One sentence for reports.
    pub fn describe(self) -> String {
        let Self::Hsnet(HsnetProtocol { side, compare, refine }) = self else {
            return "official (SSP, MLC): original sizes, mIoU pooled over the episodes of a class \
                    and averaged over the novel classes that occur"
                .to_owned();
        };
        let compared = match compare {
            Compare::Resized => "compared at that size",
            Compare::Original => "compared at the query's own size",
        };
        let refined = match refine {
            Refine::Off => "",
            Refine::On => "; SSP refined, which the published code does not do in this protocol",
        };
        format!(
            "hsnet: images of {side}x{side} pixels, {compared}, mIoU pooled over the episodes of a \
             class and averaged over all novel classes (0 for one never met){refined}"
        )
    }

    /// The seeds of the published runs.
    pub fn seeds(self) -> Vec<u64> {
        match self {
            Self::Official => (0..5).collect(),
            Self::Hsnet(_) => vec![0],
        }
    }

    /// Episodes of a published run: 1,000; 4,000 for COCO-20i under [`Official`](Self::Official);
    /// one for each of the 2,400 test images of FSS-1000 under [`Hsnet`](Self::Hsnet).
    pub fn episodes(self, benchmark: Benchmark) -> usize {
        match (self, benchmark) {
            (Self::Official, Benchmark::Coco) => 4_000,
            (Self::Hsnet(_), Benchmark::Fss1000) => 2_400,
            _ => 1_000,
        }
    }

    /// From this many pixels on an image counts for a class.
    ///
    /// 2,048 in PASCAL-5i and COCO-20i. The HSNet protocol knows no such rule, but its published lists
    /// of PASCAL-5i were made by this one, so lists that are built are, too. 1 where nothing is
    /// published.
    pub fn min_pixels(self, benchmark: Benchmark) -> u64 {
        match (self, benchmark) {
            (_, Benchmark::Pascal) | (Self::Official, Benchmark::Coco) => MIN_OBJECT_PIXELS,
            _ => 1,
        }
    }

    /// How the protocol deals the classes of a benchmark to folds.
    pub fn folds(self, benchmark: Benchmark) -> FoldScheme {
        match self {
            Self::Official => benchmark.default_scheme(),
            Self::Hsnet(_) => benchmark.hsnet_scheme(),
        }
    }

    /// Whether a model of SSP that was trained with `trained` refines under this protocol.
    pub fn refine(self, trained: Refine) -> Refine {
        match self {
            Self::Official => trained,
            Self::Hsnet(options) => options.refine,
        }
    }

    /// What becomes of images and masks. Only PASCAL-5i (and data of no benchmark) has ignored
    /// pixels under the HSNet protocol.
    pub fn transform(self, benchmark: Option<Benchmark>) -> EpisodeTransform {
        let Self::Hsnet(options) = self else { return EpisodeTransform::WholeImages };
        EpisodeTransform::Hsnet(HsnetView {
            preprocess: HsnetPreprocess { side: options.side },
            compare: options.compare,
            query_ignored: match benchmark {
                Some(Benchmark::Coco | Benchmark::Fss1000) => IgnoredPixels::Background,
                _ => IgnoredPixels::Kept,
            },
        })
    }

    /// Refuses options that make no sense.
    ///
    /// # Errors
    /// [`TrainError::Setting`] for images without pixels.
    pub(crate) fn check(self) -> Result<(), TrainError> {
        match self {
            Self::Hsnet(HsnetProtocol { side: 0, .. }) => Err(TrainError::setting(
                "the HSNet protocol with images of 0 pixels",
                "give the side of the images, 400 as published",
            )),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Protocol {
    type Err = TrainError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "official" => Ok(Self::Official),
            "hsnet" => Ok(Self::hsnet()),
            _ => Err(TrainError::setting(
                format!("there is no protocol {name:?}"),
                format!("use {}", Self::NAMES.join(" or ")),
            )),
        }
    }
}

/// A protocol with its options.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Tagged {
    Official {},
    Hsnet(HsnetProtocol),
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Official => serializer.serialize_str(self.name()),
            Self::Hsnet(options) => Tagged::Hsnet(options).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrTable;
        impl<'de> Visitor<'de> for NameOrTable {
            type Value = Protocol;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a protocol, or a table with its `kind`")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Protocol, E> {
                name.parse().map_err(|error: TrainError| E::custom(error))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Protocol, A::Error> {
                Ok(match Tagged::deserialize(MapAccessDeserializer::new(map))? {
                    Tagged::Official {} => Protocol::Official,
                    Tagged::Hsnet(options) => Protocol::Hsnet(options),
                })
            }
        }
        deserializer.deserialize_any(NameOrTable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct File {
        protocol: Protocol,
    }

    fn read(text: &str) -> Result<Protocol, String> {
        toml::from_str::<File>(text).map(|file| file.protocol).map_err(|e| e.to_string())
    }

    #[test]
    fn names_and_tables_are_read() {
        assert_eq!(read("protocol = \"official\"").unwrap(), Protocol::Official);
        assert_eq!(read("protocol = { kind = \"official\" }").unwrap(), Protocol::Official);
        assert_eq!(read("protocol = \"hsnet\"").unwrap(), Protocol::hsnet());
        let own =
            read("protocol = { kind = \"hsnet\", compare = \"original\", side = 96 }").unwrap();
        let Protocol::Hsnet(options) = own else { panic!("{own:?}") };
        assert_eq!((options.side, options.compare), (96, Compare::Original));
        assert_eq!(options.refine, Refine::Off);
        assert_eq!(own.label(), "hsnet at 96, original sizes");
        for protocol in [Protocol::Official, Protocol::hsnet(), own] {
            let text = toml::to_string(&File { protocol }).unwrap();
            assert_eq!(read(&text).unwrap(), protocol, "{text}");
            let json = serde_json::to_string(&protocol).unwrap();
            assert_eq!(serde_json::from_str::<Protocol>(&json).unwrap(), protocol);
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert!(read("protocol = \"hsn\"").unwrap_err().contains("official or hsnet"));
        let unknown = read("protocol = { kind = \"hsnet\", sides = 4 }").unwrap_err();
        assert!(unknown.contains("sides"), "{unknown}");
        assert!(read("protocol = 3").unwrap_err().contains("name of a protocol"));
    }

    #[test]
    fn published_runs() {
        assert_eq!(Protocol::Official.seeds().len(), 5);
        assert_eq!(Protocol::hsnet().seeds(), [0]);
        assert_eq!(Protocol::Official.episodes(Benchmark::Coco), 4_000);
        assert_eq!(Protocol::hsnet().episodes(Benchmark::Coco), 1_000);
        assert_eq!(Protocol::hsnet().episodes(Benchmark::Fss1000), 2_400);
        assert_eq!(Protocol::hsnet().folds(Benchmark::Coco), FoldScheme::Interleaved);
        assert_eq!(Protocol::Official.folds(Benchmark::Coco), FoldScheme::Contiguous);
    }

    #[test]
    fn refinement_is_the_protocols_and_told() {
        assert_eq!(Protocol::Official.refine(Refine::On), Refine::On);
        assert_eq!(Protocol::hsnet().refine(Refine::On), Refine::Off);
        let refined =
            Protocol::Hsnet(HsnetProtocol { refine: Refine::On, ..HsnetProtocol::default() });
        assert_eq!(refined.refine(Refine::Off), Refine::On);
        assert!(refined.describe().contains("does not do"));
        assert!(!Protocol::hsnet().describe().contains("refine"));
    }
}
