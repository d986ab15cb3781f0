//! What is measured, as the command line says it.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use fss_core::data::Split;
use fss_core::data::benchmark::{Benchmark, BenchmarkRoot};
use fss_core::data::folds::{Fold, FoldScheme};
use fss_core::data::ways::{COCO_SHARE, PASCAL_SHARE};
use fss_core::heads;
use fss_core::train::EpisodeData;
use fss_core::train::evaluate::{
    Compare, HsnetProtocol, KnownFrom, Protocol, SeenClasses, ShotRule, TrainedFold,
};
use fss_core::train::ways::{WaysProtocol, WaysTest};
use fss_core::{ModelOptions, Refine};

use crate::failure::Failure;

/// Which classes are novel, and which ones the model has seen.
#[derive(Debug, Args)]
#[command(next_help_heading = "Folds")]
pub struct FoldArgs {
    /// The fold whose classes are novel, 0 to 3 [fss1000, own: 0, the only one]
    #[arg(long, value_name = "N")]
    fold: Option<usize>,
    /// How classes are dealt to folds [default: as the protocol does; coco: contiguous under
    /// official, interleaved under hsnet]
    #[arg(long, value_enum, value_name = "SCHEME")]
    folds: Option<Scheme>,
    /// How they were dealt when the model was trained, for weights that do not say [default: as the
    /// model was published; ssp and mlc: contiguous]
    #[arg(long, value_enum, value_name = "SCHEME")]
    trained_folds: Option<Scheme>,
    /// Measure a model even on classes that it was trained on; a warning stands beside the number
    #[arg(long)]
    allow_fold_mismatch: bool,
}

/// How classes are dealt to folds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scheme {
    /// Classes in a row: SSP, MLC
    Contiguous,
    /// Every fourth class: HSNet and its successors, on COCO-20i
    Interleaved,
}

impl From<Scheme> for FoldScheme {
    fn from(scheme: Scheme) -> Self {
        match scheme {
            Scheme::Contiguous => Self::Contiguous,
            Scheme::Interleaved => Self::Interleaved,
        }
    }
}

impl FoldArgs {
    /// The number of the fold, if it was given.
    pub fn number(&self) -> Option<usize> {
        self.fold
    }

    /// The fold to test.
    pub fn tested(&self, tree: &BenchmarkRoot, protocol: Protocol) -> Result<Fold, Failure> {
        let benchmark = tree.benchmark();
        let index = match (self.fold, benchmark.folds()) {
            (Some(index), _) => index,
            (None, 1) => 0,
            (None, folds) => {
                return Err(Failure::request(
                    format!("{} has {folds} folds", benchmark.title()),
                    format!("say which one is tested: --fold 0 to {}", folds - 1),
                ));
            }
        };
        let scheme = self.folds.map_or_else(|| protocol.folds(benchmark), FoldScheme::from);
        Ok(tree.fold(index, scheme)?)
    }

    /// The fold that the model was trained by: as the weights say, else as was stated, else as the
    /// model was published.
    pub fn trained(
        &self,
        model: &ModelOptions,
        metadata: &BTreeMap<String, String>,
        benchmark: Benchmark,
        tested: &Fold,
    ) -> Result<Option<TrainedFold>, Failure> {
        let stated = self.trained_folds.map(FoldScheme::from);
        if let Some(told) = TrainedFold::from_metadata(metadata, tested.classes()) {
            return match stated {
                Some(stated) if stated != told.fold.scheme() => Err(Failure::request(
                    format!(
                        "--trained-folds {stated}, but the weights say that they were trained with \
                         {} folds",
                        told.fold.scheme()
                    ),
                    "leave the option out",
                )),
                _ => Ok(Some(told)),
            };
        }
        let (scheme, known) = match (stated, model.published_folds(benchmark)) {
            (Some(scheme), _) => (scheme, KnownFrom::Stated),
            (None, Some(scheme)) => (scheme, KnownFrom::Assumed),
            (None, None) => return Ok(None),
        };
        let fold = Fold::new(tested.index(), tested.classes(), scheme)?;
        Ok(Some(TrainedFold { benchmark: Some(benchmark), fold, known }))
    }

    /// What is done about classes that the model was trained on.
    pub fn seen(&self) -> SeenClasses {
        match self.allow_fold_mismatch {
            true => SeenClasses::Allow,
            false => SeenClasses::Refuse,
        }
    }
}

/// How episodes are drawn and scored.
#[derive(Debug, Args)]
#[command(next_help_heading = "Protocol")]
pub struct ProtocolArgs {
    /// How episodes are drawn and scored [default: ssp and mlc: official; denet, amp, canet and pgnet: denet;
    /// all others: hsnet]
    #[arg(long, value_enum)]
    protocol: Option<ProtocolName>,
    /// hsnet: compare at the query's own size instead of 400 x 400
    #[arg(long)]
    original_size: bool,
    /// hsnet, denet: side of the images [default: 400 and 321, as published, or what the weights say]
    #[arg(long, value_name = "PIXELS")]
    side: Option<usize>,
    #[command(flatten)]
    ways: WaysArgs,
}

/// Options of DENet's protocol.
#[derive(Debug, Clone, PartialEq, Args)]
#[command(next_help_heading = "Protocol")]
struct WaysArgs {
    /// denet: classes of an episode
    #[arg(long, value_name = "N", default_value_t = 1)]
    ways: usize,
    /// denet: from which share of an image on a class counts [default: pascal 0.02, coco 0.01]
    #[arg(long, value_name = "SHARE")]
    share: Option<f64>,
    /// denet: mirror no image; the published code mirrors each with probability one half
    #[arg(long)]
    unmirrored: bool,
    /// denet: let no image occur twice in an episode; the published code allows it
    #[arg(long)]
    disjoint: bool,
    /// denet: leave out undecided pixels (255), which are background in the published code
    #[arg(long)]
    ignore_border: bool,
    /// denet: episodes that are segmented together, which amp's scores depend on
    #[arg(long, value_name = "N", default_value_t = 20)]
    batch: usize,
}

/// The protocols that can be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProtocolName {
    /// SSP and MLC: original sizes, five seeds, episodes drawn as their code does with 4 workers
    Official,
    /// HSNet: 400 x 400 pixels, seed 0, its own metric; ssp is refined only with --refine, which the
    /// published code does not do here
    Hsnet,
    /// DENet's code: one class or several an episode, 321 x 321 pixels, seed 1234, its own metrics
    Denet,
}

impl ProtocolArgs {
    /// The protocol named, else the usual one of a model.
    fn name(&self, model: &ModelOptions) -> ProtocolName {
        self.protocol.unwrap_or(match (model.imagenet(), model.image_side()) {
            (Some(_), _) => ProtocolName::Denet,
            (None, Some(_)) => ProtocolName::Hsnet,
            (None, None) => ProtocolName::Official,
        })
    }

    /// The protocol of DENet's code, if it is asked for or the usual one of the model.
    pub fn denet(
        &self,
        model: &ModelOptions,
        benchmark: Benchmark,
        episodes: &EpisodeArgs,
    ) -> Result<Option<WaysProtocol>, Failure> {
        if self.name(model) != ProtocolName::Denet {
            let none = WaysArgs {
                ways: 1,
                share: None,
                unmirrored: false,
                disjoint: false,
                ignore_border: false,
                batch: 20,
            };
            if self.ways != none {
                return Err(Failure::request(
                    "--ways, --share, --unmirrored, --disjoint, --ignore-border and --batch are options of \
                     DENet's protocol",
                    "give --protocol denet, or leave them out",
                ));
            }
            return Ok(None);
        }
        if self.original_size || episodes.upper_bound || episodes.shot_rule.is_some() {
            return Err(Failure::request(
                "DENet's protocol knows no --original-size, --upper-bound and --shot-rule",
                "leave them out, or give --protocol hsnet",
            ));
        }
        let published = WaysTest::default();
        let share = match benchmark {
            Benchmark::Coco => COCO_SHARE,
            _ => PASCAL_SHARE,
        };
        Ok(Some(WaysProtocol {
            side: self.side.or(model.image_side()).unwrap_or(heads::amp::IMAGE_SIDE),
            share: self.ways.share.unwrap_or(share),
            ignore_border: self.ways.ignore_border,
            test: WaysTest {
                ways: self.ways.ways,
                shot: episodes.shot,
                episodes: episodes.episodes.unwrap_or(published.episodes),
                mirrored: !self.ways.unmirrored,
                batch: self.ways.batch,
                disjoint: self.ways.disjoint,
            },
        }))
    }

    /// One of the other protocols for a model; `refine` is whether refinement was asked for.
    pub fn protocol(&self, model: &ModelOptions, refine: bool) -> Result<Protocol, Failure> {
        let own_side = model.image_side();
        match self.name(model) {
            ProtocolName::Official if self.original_size || self.side.is_some() => {
                Err(Failure::request(
                    "--original-size and --side are options of the HSNet protocol; the official one \
                     always takes images at their own size",
                    "leave them out, or give --protocol hsnet",
                ))
            }
            ProtocolName::Official => Ok(Protocol::Official),
            ProtocolName::Hsnet | ProtocolName::Denet => {
                let published = HsnetProtocol::default();
                Ok(Protocol::Hsnet(HsnetProtocol {
                    side: self.side.or(own_side).unwrap_or(published.side),
                    compare: match self.original_size {
                        true => Compare::Original,
                        false => Compare::Resized,
                    },
                    refine: if refine { Refine::On } else { Refine::Off },
                }))
            }
        }
    }
}

/// How many episodes of which kind.
#[derive(Debug, Args)]
#[command(next_help_heading = "Episodes")]
pub struct EpisodeArgs {
    /// Supports of an episode
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub shot: usize,
    /// One run for each of these seeds [default: official 0,1,2,3,4; hsnet 0; denet 1234]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub seeds: Option<Vec<u64>>,
    /// Episodes of each run [default: 1000; official coco 4000; hsnet fss1000 one for each image]
    #[arg(long, value_name = "N")]
    episodes: Option<usize>,
    /// The images to draw from: train, val or test [default: val; fss1000: test; denet: its own list of
    /// test images]
    #[arg(long, value_name = "SPLIT")]
    pub split: Option<Split>,
    /// What is made of several supports [default: as published for the model]
    #[arg(long, value_enum, value_name = "RULE")]
    shot_rule: Option<ShotRuleName>,
    /// Let each query with its true mask be its own support: what prototypes could reach at best
    #[arg(long)]
    pub upper_bound: bool,
}

/// What is made of several supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ShotRuleName {
    /// One prediction from all of them: SSP, MLC
    Joint,
    /// Each of them votes: HSNet
    Vote,
}

impl EpisodeArgs {
    /// How many episodes a run has.
    pub fn count(&self, protocol: Protocol, data: &EpisodeData) -> Result<usize, Failure> {
        if let Some(count) = self.episodes {
            return Ok(count);
        }
        let benchmark = data.benchmark().unwrap_or_default();
        if let (Protocol::Hsnet(_), Benchmark::Fss1000) = (protocol, benchmark) {
            // Smaller sets in its layout have fewer images.
            let listed = data.hsnet_lists()?.listing.listed_queries();
            return Ok(listed.unwrap_or_else(|| protocol.episodes(benchmark)));
        }
        Ok(protocol.episodes(benchmark))
    }

    /// What is made of several supports, if it was said.
    pub fn shot_rule(&self) -> Option<ShotRule> {
        self.shot_rule.map(|name| match name {
            ShotRuleName::Joint => ShotRule::Joint,
            ShotRuleName::Vote => ShotRule::Vote,
        })
    }
}
