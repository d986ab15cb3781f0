//! Pictures of a test's episodes.

use std::path::{Path, PathBuf};

use fss_data::ClassId;
use fss_data::draw::{
    Tile, class_colours, extended_palette, grid, legend, overlay, stack, voc_palette,
};
use fss_data::io::write_png;
use fss_data::ways::Flips;
use image::RgbImage;
use ndarray::Array2;

use super::data::TestData;
use super::evaluate::FLIP_SEED;
use super::load::{PlacedEpisode, Source, placed};
use super::observer::{WayOutcome, WaysObserver};
use super::protocol::WaysProtocol;
use crate::TrainError;

/// Side of the tiles, in pixels.
const TILE: u32 = 224;

/// An episode of a test with what was predicted.
#[derive(Debug, Clone)]
struct Kept {
    number: usize,
    iou: Option<f64>,
    predictions: Vec<Array2<u8>>,
    full: Option<Array2<u8>>,
}

/// Passes on what a test tells, and keeps the predictions of the first seed's first episodes, of those with
/// the best IoU (the mean over their ways) and of those with the worst, to draw them.
pub struct WayPanels<'a> {
    inner: &'a mut dyn WaysObserver,
    each: usize,
    seed: Option<u32>,
    runs: usize,
    first: Vec<Kept>,
    best: Vec<Kept>,
    worst: Vec<Kept>,
}

impl<'a> WayPanels<'a> {
    /// Keeps `each` episodes of each kind.
    pub fn new(each: usize, inner: &'a mut dyn WaysObserver) -> Self {
        let (first, best, worst) = (Vec::new(), Vec::new(), Vec::new());
        Self { inner, each, seed: None, runs: 0, first, best, worst }
    }

    /// Draws what was kept into `folder`: `<first|best|worst>-<number>-<classes>-<query>.png`. `data` and
    /// `protocol` are those of the test.
    ///
    /// # Errors
    /// [`TrainError`] if images cannot be read, or a file cannot be written.
    pub fn save(
        self,
        data: &TestData,
        protocol: &WaysProtocol,
        folder: &Path,
    ) -> Result<Vec<PathBuf>, TrainError> {
        std::fs::create_dir_all(folder).map_err(|e| TrainError::io("create folder", folder, e))?;
        let Some(seed) = self.seed else { return Ok(Vec::new()) };
        let flips = match protocol.test.mirrored {
            true => Flips::seeded(FLIP_SEED),
            false => Flips::none(),
        };
        let episodes = placed(data.episodes(protocol, seed)?, flips);
        let drawer = Drawer { data, source: data.source(protocol) };
        let mut files = Vec::new();
        for (word, kept) in [("first", self.first), ("best", self.best), ("worst", self.worst)] {
            for (place, kept) in kept.iter().enumerate() {
                let episode = &episodes[kept.number];
                let classes: Vec<&str> = episode
                    .episode
                    .ways
                    .iter()
                    .map(|way| data.images.dataset.class_name(way.class))
                    .collect();
                let query = &data.images.dataset.ids[episode.query.position];
                let name = format!("{word}-{}-{}-{query}.png", place + 1, classes.join("-"));
                // Names of one's own classes and images may hold what paths are made of.
                let path = folder.join(name.replace(['/', '\\', ':'], "_"));
                write_png(&path, &drawer.draw(episode, kept)?)?;
                files.push(path);
            }
        }
        Ok(files)
    }

    fn keep(&mut self, outcome: &WayOutcome<'_>) {
        let iou = outcome.record.iou();
        let kept = Kept {
            number: outcome.number,
            iou,
            predictions: outcome.predictions.to_vec(),
            full: outcome.full.cloned(),
        };
        if self.first.len() < self.each {
            self.first.push(kept.clone());
        }
        // Episodes without an IoU (neither truth nor prediction has foreground) are neither.
        let Some(iou) = iou else { return };
        for (list, sign) in [(&mut self.best, 1.0), (&mut self.worst, -1.0)] {
            let better = |other: &Kept| sign * other.iou.unwrap_or(0.0) >= sign * iou;
            let place = list.iter().take_while(|other| better(other)).count();
            if place < self.each {
                list.insert(place, kept.clone());
                list.truncate(self.each);
            }
        }
    }
}

impl WaysObserver for WayPanels<'_> {
    fn test_started(&mut self, seed: u32, episodes: usize) {
        self.seed.get_or_insert(seed);
        self.runs += 1;
        self.inner.test_started(seed, episodes);
    }

    fn episode_finished(&mut self, outcome: &WayOutcome<'_>) {
        if self.runs == 1 {
            self.keep(outcome);
        }
        self.inner.episode_finished(outcome);
    }
}

struct Drawer<'a> {
    data: &'a TestData,
    source: Source,
}

impl Drawer<'_> {
    /// A row of supports for each way, then the query with truth and prediction of the ways and of all
    /// classes, and what the colours mean.
    fn draw(&self, placed: &PlacedEpisode, kept: &Kept) -> Result<RgbImage, TrainError> {
        let name = |class: ClassId| self.data.images.dataset.class_name(class);
        let only = |labels: &Array2<u8>, classes: &[u8]| {
            labels.mapv(|label| if classes.contains(&label) { label } else { 0 })
        };
        let style = Default::default();
        let ways = &placed.episode.ways;
        let classes: Vec<u8> = ways.iter().map(|way| way.class as u8).collect();
        let mut rows = Vec::with_capacity(ways.len() + 1);
        for (way, places) in ways.iter().zip(&placed.supports) {
            let tiles = places.iter().map(|&place| {
                let loaded = self.source.load(place)?;
                let mask = only(&loaded.full, &[way.class as u8]);
                let picture = overlay(&loaded.image, &mask, &style)?;
                Ok(Tile::new(picture, format!("support: {}", name(way.class))))
            });
            rows.push(tiles.collect::<Result<Vec<_>, TrainError>>()?);
        }
        let query = self.source.load(placed.query)?;
        let truth = only(&query.full, &classes);
        let mut found = Array2::zeros(truth.dim());
        for (class, prediction) in classes.iter().zip(&kept.predictions) {
            found.zip_mut_with(prediction, |label, own| {
                if *own == 1 {
                    *label = *class;
                }
            });
        }
        let iou = kept.iou.map_or("none".into(), |iou| format!("{:.1} %", 100.0 * iou));
        let count = self.data.fold.classes() + 1;
        let mut tiles = vec![
            Tile::new(query.image.clone(), "query"),
            Tile::new(overlay(&query.image, &truth, &style)?, "truth"),
            Tile::new(overlay(&query.image, &found, &style)?, format!("IoU {iou}")),
        ];
        let mut shown: Vec<u8> = query.full.iter().copied().collect();
        if let Some(full) = &kept.full {
            tiles.push(Tile::new(class_colours(&query.full, count), "all classes"));
            tiles.push(Tile::new(class_colours(full, count), "predicted"));
            shown.extend(full.iter().copied());
        } else {
            shown.clone_from(&classes);
        }
        rows.push(tiles);
        let fitted = |row: Vec<Tile>| row.into_iter().map(|tile| tile.fitted(TILE)).collect();
        let rows: Vec<Vec<Tile>> = rows.into_iter().map(fitted).collect();
        shown.sort_unstable();
        shown.dedup();
        shown.retain(|label| *label != 0 && usize::from(*label) < count);
        let (voc, extended) = (voc_palette(), extended_palette());
        let colour = |label: u8| match kept.full {
            // From 21 on the two palettes differ; that of all classes is in the last tiles.
            Some(_) => extended.get(usize::from(label)).copied().unwrap_or([label; 3]),
            None => voc[usize::from(label)],
        };
        let entries: Vec<([u8; 3], &str)> =
            shown.iter().map(|&label| (colour(label), name(label.into()))).collect();
        Ok(stack(&[grid(&rows), legend(&entries)]))
    }
}
