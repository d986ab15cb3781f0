//! Two classes in one picture: segmented at once, and one after the other.
//!
//! Trains SSP on the base classes of a PASCAL-5i fold, as `ssp_pascal` does. Each of its test episodes then
//! meets a second one: the query is asked for both classes, once for each alone, and once for both together
//! with each pixel going to the surer class. Without arguments it does so on generated data:
//!
//! ```sh
//! cargo run --release --example two_way
//! ```
//!
//! A class that the query does not show counts too: whatever is found of it is wrong. Asked for alone, two classes
//! may both claim a pixel; at once only the surer one does, so that a wrong claim costs the other class as well.

mod common;

use std::time::{Duration, Instant};

use clap::Parser;
use common::{Options, Result, Workshop};
use fss_core::data::draw::{Tile, grid, legend, overlay, stack, voc_palette};
use fss_core::data::episode::Episode;
use fss_core::data::synthetic::{SyntheticConfig, generate};
use fss_core::data::transform::binary_mask;
use fss_core::heads::Ssp;
use fss_core::metrics::{BinaryCounts, ConfusionMatrix};
use fss_core::train::report::{HtmlReport, Panel, PanelImage};
use fss_core::train::trainer::RecipeModel;
use fss_core::train::{EpisodeData, RunData};
use fss_core::{Annotated, Segmenter, Support};
use ndarray::Array2;

/// Pictures in the report.
const PICTURES: usize = 4;

/// Trains SSP and segments two novel classes at once.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    options: Options,
    /// The fold whose classes are novel
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..4))]
    fold: u8,
}

fn main() -> std::process::ExitCode {
    common::finish(run(&Args::parse()))
}

fn run(Args { options, fold }: &Args) -> Result<()> {
    let shop = Workshop::open(options, "two_way")?;
    let mut recipe = shop.recipe("ssp-pascal", "ssp-synthetic")?;
    recipe.data.fold = (*fold).into();
    let root = shop.data_root(|root, progress| {
        let few = SyntheticConfig { train_images: 120, val_images: 80, ..Default::default() };
        generate(root, &if options.smoke { few } else { SyntheticConfig::default() }, progress)
    })?;
    let data = RunData::open(&root, &recipe.data)?;
    let training = shop.training("run", recipe, data)?;
    let (model, _) = shop.train::<Ssp>(&training)?;

    let segmenter = Segmenter::from_model(Box::new(model.inference()), shop.device());
    let plan = training.evaluation_plan();
    let episodes = plan.draw(&training.test, plan.seeds[0])?;
    let mut score = Score::new(training.test.dataset.classes());
    let mut rows = Vec::new();
    for (place, episode) in episodes.iter().enumerate() {
        if shop.stopped() {
            return Err("stopped".into());
        }
        // The next episode of another class lends its supports.
        let others = episodes.iter().cycle().skip(place + 1).take(episodes.len());
        let other = others.into_iter().find(|other| other.class != episode.class);
        let pair = [episode, other.ok_or("all episodes are of one class")?];
        let row = score.add(&segmenter, &training.test, pair, rows.len() < PICTURES)?;
        rows.extend(row);
    }
    let table = score.table(episodes.len());
    println!("{table}");
    let classes = [(voc_palette()[1], "first class"), (voc_palette()[2], "second class")];
    let picture = stack(&[grid(&rows), legend(&classes)]);
    fss_core::data::io::write_png(&shop.out.join("panels.png"), &picture)?;
    let page = shop.out.join("report.html");
    HtmlReport::new(format!("Two ways at once: SSP on PASCAL-5i, fold {fold}"))
        .paragraph("Novel classes, asked for one after the other and both at once.")
        .table("Mean IoU of both classes, and time", table)
        .panel(Panel {
            image: PanelImage::File("panels.png".into()),
            caption: "Query, truth, each class alone, both at once".into(),
        })
        .settings(training.recipe.to_toml())
        .save(&page)?;
    println!("Report with pictures: {}", page.display());
    Ok(())
}

/// How well, and how long it took.
struct Score {
    alone: ConfusionMatrix,
    together: ConfusionMatrix,
    took: [Duration; 2],
}

impl Score {
    fn new(classes: usize) -> Self {
        let empty = ConfusionMatrix::new(classes);
        Self { alone: empty.clone(), together: empty, took: [Duration::ZERO; 2] }
    }

    /// Asks the first episode's query for the classes of both; the pictures of it if they are wanted.
    fn add(
        &mut self,
        segmenter: &Segmenter,
        data: &EpisodeData,
        pair: [&Episode; 2],
        draw: bool,
    ) -> Result<Option<Vec<Tile>>> {
        let [first, second] = pair.map(|episode| support(segmenter, data, episode));
        let ways = [first?, second?];
        let query = data.dataset.load(pair[0].query)?;
        let begun = Instant::now();
        let [a, b] = ways.each_ref().map(|way| segmenter.segment(way, &query.image));
        let alone = [a?.mask, b?.mask];
        self.took[0] += begun.elapsed();
        let begun = Instant::now();
        let together = segmenter.segment_ways(&ways, &query.image)?.mask;
        self.took[1] += begun.elapsed();

        let mut truth = Array2::<u8>::zeros(together.dim());
        for (way, episode) in pair.iter().enumerate() {
            let shown = data.dataset.class_mask(pair[0].query, &query.mask, episode.class);
            let class = usize::from(episode.class);
            let found = binary_mask(&together, way as u8 + 1);
            let counts = |mask: &Array2<u8>| BinaryCounts::compare_maps(mask.view(), shown.view());
            self.alone.add_counts(&counts(&alone[way])?, class)?;
            self.together.add_counts(&counts(&found)?, class)?;
            truth.zip_mut_with(&shown, |truth, shown| match shown {
                1 => *truth = way as u8 + 1,
                _ => *truth = (*truth).max(*shown),
            });
        }
        if !draw {
            return Ok(None);
        }
        let names = pair.map(|episode| data.dataset.class_name(episode.class));
        let drawn = |mask: &Array2<u8>| overlay(&query.image, mask, &Default::default());
        Ok(Some(vec![
            Tile::new(query.image.clone(), query.id.as_str()),
            Tile::new(drawn(&truth)?, "truth"),
            Tile::new(drawn(&alone[0])?, names[0]),
            Tile::new(drawn(&alone[1].mapv(|label| 2 * label))?, names[1]),
            Tile::new(drawn(&together)?, "both"),
        ]))
    }

    fn table(&self, queries: usize) -> String {
        let mut text = format!("{:22}{:>8}{:>14}\n", "", "mIoU", "ms a query");
        let rows = [("one after the other", &self.alone), ("both at once", &self.together)];
        for ((name, matrix), took) in rows.into_iter().zip(self.took) {
            let time = took.as_secs_f64() * 1e3 / queries.max(1) as f64;
            text += &format!("{name:22}{:>8.2}{time:>14.1}\n", 100.0 * matrix.miou());
        }
        text
    }
}

/// The support set of an episode.
fn support(segmenter: &Segmenter, data: &EpisodeData, episode: &Episode) -> Result<Support> {
    let shots = episode.supports.iter().map(|&position| {
        let sample = data.dataset.load(position)?;
        let mask = data.dataset.class_mask(position, &sample.mask, episode.class);
        Ok(Annotated { name: sample.id, image: sample.image, mask })
    });
    Ok(segmenter.support(&shots.collect::<Result<Vec<_>>>()?)?)
}
