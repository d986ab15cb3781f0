//! PASCAL-5i from VOC 2012 and SBD.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::folder;
use super::image_files::{Placed, Placer};
use super::journal::{Fingerprint, Journal};
use super::mask_files::{Made, MaskFiles};
use super::work::{Reporter, Trouble};
use super::{ImageFiles, LeftOut, PrepareOptions, Stage, Summary, read_sbd_mask, voc_sbd};
use crate::benchmark::Benchmark;
use crate::episode::MIN_OBJECT_PIXELS;
use crate::index;
use crate::pascal::{CLASS_NAMES, Layout, PascalOptions, PascalRoot, read_id_list};
use crate::{DataError, Split, io, lists};

const TREE: &str = "VOC2012";
const IMAGES: &str = "JPEGImages";
const VOC_MASKS: &str = "SegmentationClass";
const VOC_LISTS: &str = "ImageSets/Segmentation";
const MASKS: &str = "SegmentationClassAug";
const LISTS: &str = "ImageSets";

/// What is published of the archives and of the set that the field makes of them.
const VOC_TRAIN: usize = 1_464;
const VOC_VAL: usize = 1_449;
const SBD_IMAGES: usize = 11_355;
const TRAIN: usize = 10_582;

/// Makes `<out>/VOC2012` and `<out>/splits/pascal` from the archives of VOC 2012
/// (`VOCtrainval_11-May-2012.tar`) and SBD (`benchmark.tgz`), which are looked for below the folders
/// `from`.
///
/// The set that the field trains on ("VOC 2012 augmented"): masks are VOC's where VOC has them, else
/// SBD's. Training images are those of VOC's `train` and of SBD's `train` and `val` without VOC's
/// `val`, which is the validation list: 10,582 and 1,449 images. Both lists are in ascending order of
/// ids. VOC's masks keep their ignored borders (255); SBD's have none.
///
/// Where SBD's list `train_noval.txt` lies beside its others, the lists of DENet's code are made too:
/// `VOC2012/ImageSets/denet/train.txt` and `test.txt`.
///
/// # Errors
/// [`DataError`] that says which archive is missing; naming file and entry for the first bad entry,
/// if bad ones are refused; [`DataError::Io`] of the kind [`std::io::ErrorKind::Interrupted`] if the
/// work was stopped.
pub fn prepare_pascal(
    from: &[PathBuf],
    out: &Path,
    options: &PrepareOptions<'_>,
) -> Result<Summary, DataError> {
    folder::check_sources(from)?;
    let sources = Sources::find(from, out)?;
    let tree = out.join(TREE);
    let mut summary = Summary::new(Benchmark::Pascal, out, tree.clone());
    let plan = Plan::new(&sources, &mut summary)?;

    let masks_folder = tree.join(MASKS);
    folder::create(out)?;
    let journal = Journal::open(&out.join(".prepare-pascal.journal"), || {
        folder::refuse_foreign(&[masks_folder.clone(), tree.join(LISTS)], "png")?;
        folder::refuse_foreign(&[tree.join(LISTS)], "txt")
    })?;
    summary.clear()?;
    folder::create(&masks_folder)?;
    folder::create(&tree.join(LISTS))?;

    let work = Work {
        masks: MaskFiles { journal: &journal, tree: &tree, classes: CLASS_NAMES.len() },
        placers: sources
            .images
            .iter()
            .map(|from| Placer::new(from, &tree.join(IMAGES), options.images))
            .collect::<Result<_, _>>()?,
        sources: &sources,
        images: options.images,
    };
    let reporter = Reporter::new(options, out, Stage::Images, plan.entries.len());
    let done = reporter.run(&plan.entries, &mut summary.left_out, |entry| work.entry(entry));
    // What was done counts, whether or not all of it was.
    journal.flush()?;

    let mut sound = BTreeSet::new();
    let mut counted = Vec::new();
    for (entry, (made, placed)) in
        plan.entries.iter().zip(done?).filter_map(|(entry, done)| Some((entry, done?)))
    {
        sound.insert(entry.id.as_str());
        summary.images.add(placed);
        match made {
            Some(made) => {
                summary.masks.made += 1;
                counted.push(made);
            }
            None => summary.masks.kept += 1,
        }
    }
    index::remember(out, counted);
    summary.count("masks", sound.len(), TRAIN + VOC_VAL);
    write_lists(&plan, &sound, options, &mut summary)?;
    let from = [sources.voc.join(VOC_LISTS), sources.sbd.clone()];
    voc_sbd::write([&from[0], &from[1]], &tree.join(LISTS), &sound, &mut summary)?;
    summary.write()?;
    Ok(summary)
}

/// The parts of the archives.
struct Sources {
    voc: PathBuf,
    sbd: PathBuf,
    /// Where images are looked for: VOC's folder, then SBD's, whose images are VOC's.
    images: Vec<PathBuf>,
}

impl Sources {
    fn find(from: &[PathBuf], out: &Path) -> Result<Self, DataError> {
        let has = |parts: &'static [&'static str]| {
            move |path: &Path| parts.iter().all(|part| path.join(part).exists())
        };
        let missing = |what: String, archive: &str| {
            let remedy = format!("fetch {archive} and unpack it here, or name its folder as well");
            DataError::invalid(&from[0], what, remedy)
        };
        let voc = folder::find(from, out, has(&[IMAGES, VOC_MASKS, VOC_LISTS])).ok_or_else(|| {
            let mut what = format!(
                "VOC 2012 is missing: no folder at or below this one holds {IMAGES}, {VOC_MASKS} \
                 and {VOC_LISTS}"
            );
            if let Some(part) = folder::find(from, out, has(&[IMAGES])) {
                let lacks = [VOC_MASKS, VOC_LISTS].into_iter().find(|name| !part.join(name).exists());
                what = format!("{what} ({} lacks {})", part.display(), lacks.unwrap_or_default());
            }
            missing(what, "VOCtrainval_11-May-2012.tar (VOC 2012)")
        })?;
        let sbd =
            folder::find(from, out, has(&["cls", "train.txt", "val.txt"])).ok_or_else(|| {
                missing(
                    "SBD is missing: no folder at or below this one holds cls, train.txt and \
                     val.txt (benchmark_RELEASE/dataset)"
                        .into(),
                    "benchmark.tgz (Semantic Boundaries Dataset)",
                )
            })?;
        let images = [voc.join(IMAGES), sbd.join("img")];
        let images = images.into_iter().filter(|folder| folder.is_dir()).collect();
        Ok(Self { voc, sbd, images })
    }
}

/// Where a mask comes from.
enum MaskSource {
    Voc,
    Sbd,
    Nowhere,
}

struct Entry {
    id: String,
    mask: MaskSource,
    /// The image folder, by its place in [`Sources::images`].
    image: Option<usize>,
}

struct Plan {
    entries: Vec<Entry>,
    train: BTreeSet<String>,
    val: BTreeSet<String>,
}

impl Plan {
    fn new(sources: &Sources, summary: &mut Summary) -> Result<Self, DataError> {
        let list = |folder: &Path, name: &str| -> Result<BTreeSet<String>, DataError> {
            Ok(read_id_list(&folder.join(name))?.into_iter().collect())
        };
        let voc_lists = sources.voc.join(VOC_LISTS);
        let voc_train = list(&voc_lists, "train.txt")?;
        let val = list(&voc_lists, "val.txt")?;
        let mut sbd = list(&sources.sbd, "train.txt")?;
        sbd.extend(list(&sources.sbd, "val.txt")?);
        summary.sources = vec![sources.voc.clone(), sources.sbd.clone()];
        summary.count("VOC training images", voc_train.len(), VOC_TRAIN);
        summary.count("VOC validation images", val.len(), VOC_VAL);
        summary.count("SBD images", sbd.len(), SBD_IMAGES);
        let train: BTreeSet<String> =
            voc_train.into_iter().chain(sbd).filter(|id| !val.contains(id)).collect();

        let voc_masks = folder::names_in(&sources.voc.join(VOC_MASKS))?;
        let sbd_masks = folder::names_in(&sources.sbd.join("cls"))?;
        let images = sources.images.iter().map(|folder| folder::names_in(folder));
        let images = images.collect::<Result<Vec<_>, _>>()?;
        let ids: BTreeSet<&String> = train.union(&val).collect();
        let entries = ids.into_iter().map(|id| Entry {
            id: id.clone(),
            mask: if voc_masks.contains(&format!("{id}.png")) {
                MaskSource::Voc
            } else if sbd_masks.contains(&format!("{id}.mat")) {
                MaskSource::Sbd
            } else {
                MaskSource::Nowhere
            },
            image: images.iter().position(|names| names.contains(&format!("{id}.jpg"))),
        });
        Ok(Self { entries: entries.collect(), train, val })
    }
}

struct Work<'a> {
    masks: MaskFiles<'a>,
    placers: Vec<Placer>,
    sources: &'a Sources,
    images: ImageFiles,
}

impl Work<'_> {
    fn entry(&self, entry: &Entry) -> Result<(Made, Placed), Trouble> {
        let id = &entry.id;
        let bad = || Trouble::entry(id);
        let missing = |file: PathBuf, what: &str| {
            Trouble::Entry(LeftOut {
                file,
                entry: id.clone(),
                problem: format!("{what} is missing"),
                remedy: "unpack the archive again".into(),
            })
        };
        let image = entry.image.map(|place| self.sources.images[place].join(format!("{id}.jpg")));
        if image.is_none() && self.images != ImageFiles::Skip {
            return Err(missing(self.sources.voc.join(IMAGES), "its image (.jpg)"));
        }
        let (voc, sbd) = (self.sources.voc.join(VOC_MASKS), self.sources.sbd.join("cls"));
        let path = match entry.mask {
            MaskSource::Voc => voc.join(format!("{id}.png")),
            MaskSource::Sbd => sbd.join(format!("{id}.mat")),
            MaskSource::Nowhere => {
                let what =
                    format!("its mask (neither in {} as .png nor here as .mat)", voc.display());
                return Err(missing(sbd, &what));
            }
        };
        let from = Fingerprint::of("pascal").and_file(&path).map_err(bad())?;
        let made = self.masks.make(&format!("{MASKS}/{id}.png"), id, from, || {
            let mask = match entry.mask {
                MaskSource::Voc => io::read_mask(&path)?,
                _ => read_sbd_mask(&path)?,
            };
            if let Some(image) = &image {
                let size = (mask.ncols() as u32, mask.nrows() as u32);
                io::check_same_size(image, io::image_size(image)?, &path, size)?;
            }
            self.masks.check_labels(&path, mask)
        })?;
        let placed = match entry.image {
            Some(place) => self.placers[place].place(&format!("{id}.jpg")),
            None => Ok(Placed::Left),
        };
        Ok((made, placed.map_err(Trouble::write)?))
    }
}

/// The lists of ids, and those of the HSNet protocol.
fn write_lists(
    plan: &Plan,
    sound: &BTreeSet<&str>,
    options: &PrepareOptions<'_>,
    summary: &mut Summary,
) -> Result<(), DataError> {
    let out = summary.root.clone();
    let folder = summary.tree.join(LISTS);
    let listed: BTreeMap<Split, Vec<&String>> =
        [(Split::Train, &plan.train), (Split::Val, &plan.val)]
            .map(|(split, ids)| {
                (split, ids.iter().filter(|id| sound.contains(id.as_str())).collect())
            })
            .into();
    for (&split, ids) in &listed {
        let text: String = ids.iter().flat_map(|id| [id.as_str(), "\n"]).collect();
        let path = folder.join(format!("{split}.txt"));
        io::write_atomic(&path, text.as_bytes())?;
        let published = if split == Split::Train { TRAIN } else { VOC_VAL };
        summary.count(&format!("listed {split} images"), ids.len(), published);
        summary.lists.push(super::PreparedList {
            path,
            entries: ids.len(),
            standing: String::new(),
        });
    }

    if listed.values().any(Vec::is_empty) {
        return Err(DataError::invalid(
            &summary.sources[0],
            "one of the two lists has no sound image",
            "unpack both archives whole",
        ));
    }
    // Named one by one: beside them there may be the folders of the archive.
    let below = |name: &str| Some(Path::new(TREE).join(name));
    let root = PascalRoot::detect_with(
        &out,
        &PascalOptions {
            layout: Some(Layout::Voc2012),
            // The masks are enough for the lists.
            images: below(if options.images == ImageFiles::Skip { MASKS } else { IMAGES }),
            masks: below(MASKS),
            lists: below(LISTS),
        },
    )?;
    let reporter = Reporter::new(options, &out, Stage::Lists, sound.len());
    let mut before = 0;
    for split in Split::TRAIN_VAL {
        let dataset = root.dataset(split)?;
        let index = reporter.index(&dataset, before)?;
        before += dataset.len();
        let splits = out.join("splits");
        let written =
            lists::write(Benchmark::Pascal, &splits, split, &dataset, &index, MIN_OBJECT_PIXELS)?;
        summary.add_lists(written);
    }
    Ok(())
}
