//! COCO-20i from MS COCO.

mod part;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use super::folder;
use super::image_files::{Placed, Placer};
use super::journal::{Fingerprint, Journal};
use super::mask_files::{Made, MaskFiles};
use super::work::{Reporter, Trouble};
use super::{LeftOut, PrepareOptions, PreparedList, Stage, Summary};
use crate::annotations::{BadEntries, CocoFile, Crowds, Outlines};
use crate::benchmark::Benchmark;
use crate::coco::{CLASS_NAMES, CLASSES_FILE};
use crate::index;
use crate::{DataError, Files, MaskIndex, Masks, SegmentationDataset, Split, io, lists};
use part::Part;

const LISTS: &str = "ImageSets";
/// The most categories that fit into masks of 8 bits beside background and 255.
const MAX_CLASSES: usize = 254;

/// A release of MS COCO: the same images, divided in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CocoYear {
    /// Of 2014, on which COCO-20i is defined: 82,783 training and 40,504 validation images.
    #[default]
    Y2014,
    /// Of 2017: 118,287 and 5,000 images. Results are not comparable with published ones.
    Y2017,
}

impl CocoYear {
    /// Images and annotated objects of a split.
    fn published(self, split: Split) -> [usize; 2] {
        match (self, split) {
            (Self::Y2014, Split::Train) => [82_783, 604_907],
            (Self::Y2014, _) => [40_504, 291_875],
            (Self::Y2017, Split::Train) => [118_287, 860_001],
            (Self::Y2017, _) => [5_000, 36_781],
        }
    }
}

impl fmt::Display for CocoYear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Y2014 => "2014",
            Self::Y2017 => "2017",
        })
    }
}

impl FromStr for CocoYear {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        match text {
            "2014" => Ok(Self::Y2014),
            "2017" => Ok(Self::Y2017),
            _ => Err(DataError::Setting {
                what: format!("there is no COCO release {text:?}"),
                remedy: "use 2014 or 2017".into(),
            }),
        }
    }
}

/// What else is to be said about COCO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CocoOptions {
    /// Which release.
    pub year: CocoYear,
    /// What becomes of crowds. The default leaves them out, as the published makers of such masks do:
    /// a crowd is background unless a single object lies there.
    pub crowds: Crowds,
    /// Which pixels polygons cover.
    pub outlines: Outlines,
}

impl Default for CocoOptions {
    fn default() -> Self {
        let outlines = Outlines::default();
        Self { year: CocoYear::default(), crowds: Crowds::Leave, outlines }
    }
}

/// Makes `<out>/COCO2014` (or `COCO2017`) and `<out>/splits/coco` from the archives of MS COCO, which
/// are looked for below the folders `from`.
///
/// A mask is 8-bit grey: the label of a pixel is the rank of its category by ascending id (of the 80
/// official ones 1..80), 0 elsewhere. Annotations are painted in the order of the file, later ones
/// over earlier ones. Every image gets a mask; `ImageSets/{train,val}.txt` list those on whose mask
/// there is an object, in the order of their names. Other files in COCO's format do as well; then
/// `classes.txt` names the classes.
///
/// # Errors
/// [`DataError`] that says which archive is missing; naming file and entry for the first bad entry,
/// if bad ones are refused; [`DataError::Io`] of the kind [`std::io::ErrorKind::Interrupted`] if the
/// work was stopped.
pub fn prepare_coco(
    from: &[PathBuf],
    out: &Path,
    coco: &CocoOptions,
    options: &PrepareOptions<'_>,
) -> Result<Summary, DataError> {
    folder::check_sources(from)?;
    let parts = Split::TRAIN_VAL
        .into_iter()
        .map(|split| Part::find(from, out, coco.year, split, options.images))
        .collect::<Result<Vec<_>, _>>()?;
    let tree = out.join(format!("COCO{}", coco.year));
    let mut summary = Summary::new(Benchmark::Coco, out, tree.clone());
    let sets = read_annotations(&parts, coco, options, &mut summary)?;

    let mask_folders: Vec<PathBuf> =
        parts.iter().map(|part| tree.join(format!("annotations/{}", part.name))).collect();
    folder::create(out)?;
    // Each release is a tree of its own.
    let journal = Journal::open(&out.join(format!(".prepare-coco{}.journal", coco.year)), || {
        folder::refuse_foreign(&mask_folders, "png")?;
        folder::refuse_foreign(&[tree.join(LISTS)], "txt")
    })?;
    summary.clear()?;
    for folder in mask_folders.iter().chain([&tree.join(LISTS)]) {
        folder::create(folder)?;
    }

    let total = sets.iter().map(|set| set.entries.len()).sum();
    let reporter = Reporter::new(options, out, Stage::Images, total);
    let mut sound = Vec::new();
    let mut counted = Vec::new();
    for set in &sets {
        let placer = match &set.part.images {
            Some(from) => Some(Placer::new(from, &tree.join(&set.part.name), options.images)?),
            None => None,
        };
        let masks = MaskFiles { journal: &journal, tree: &tree, classes: set.labels.len() };
        let work = Work { set, masks, placer, crowds: coco.crowds, outlines: coco.outlines };
        let done = reporter.run(&set.entries, &mut summary.left_out, |entry| work.entry(entry));
        // What was done counts, whether or not all of it was.
        journal.flush()?;
        let mut ids = BTreeSet::new();
        for (entry, done) in set.entries.iter().zip(done?) {
            let Some((made, placed)) = done else { continue };
            ids.insert(entry.id.clone());
            summary.images.add(placed);
            match made {
                Some(made) => {
                    summary.masks.made += 1;
                    counted.push(made);
                }
                None => summary.masks.kept += 1,
            }
        }
        sound.push(ids);
    }
    index::remember(out, counted);
    write_lists(&sets, sound, options, &mut summary)?;
    summary.write()?;
    Ok(summary)
}

/// A split with its annotations.
struct Set<'a> {
    part: &'a Part,
    file: CocoFile,
    /// The label of each category id.
    labels: BTreeMap<i64, u8>,
    /// What all masks are made from.
    sources: Fingerprint,
    entries: Vec<Entry>,
    /// The names of the image files that are there; none if they are not looked for.
    present: Option<HashSet<String>>,
}

struct Entry {
    /// The place in the annotation file.
    index: usize,
    /// The file name without extension.
    id: String,
}

fn read_annotations<'a>(
    parts: &'a [Part],
    coco: &CocoOptions,
    options: &PrepareOptions<'_>,
    summary: &mut Summary,
) -> Result<Vec<Set<'a>>, DataError> {
    let root = summary.root.clone();
    let reporter = Reporter::new(options, &root, Stage::Annotations, parts.len());
    let mut sets: Vec<Set<'a>> = Vec::new();
    for part in parts {
        let path = &part.annotations;
        // The usual outlines go unnamed, as in trees of earlier versions.
        let mut rule = format!("coco {:?}", coco.crowds);
        if coco.outlines != Outlines::default() {
            rule += &format!(" {:?}", coco.outlines);
        }
        let sources = Fingerprint::of(&rule).and_file(path)?;
        let (file, skipped) = CocoFile::read(path, options.bad)?;
        summary.left_out.extend(skipped.into_iter().map(|it| LeftOut::annotation(path, it)));
        let [images, objects] = coco.year.published(part.split);
        let name = &part.name;
        summary.count(&format!("{name} images"), file.images.len(), images);
        summary.count(&format!("{name} annotations"), file.annotation_count(), objects);
        let labels = labels(&file)?;
        if sets.first().is_some_and(|first| first.file.categories != file.categories) {
            return Err(DataError::invalid(
                path,
                format!(
                    "its categories are not those of {}, so labels would not mean the same",
                    parts[0].annotations.display()
                ),
                "give annotation files of one data set",
            ));
        }
        summary.sources.push(path.clone());
        let present = match &part.images {
            Some(folder) => {
                summary.sources.push(folder.clone());
                Some(folder::names_in(folder)?.into_iter().collect())
            }
            None => None,
        };
        let entries = entries(&file, options.bad, &mut summary.left_out)?;
        sets.push(Set { part, file, labels, sources, entries, present });
        reporter.step();
        reporter.check()?;
    }
    summary.count("categories", sets[0].labels.len(), CLASS_NAMES.len());
    Ok(sets)
}

/// The rank of each category by its id, from 1.
fn labels(file: &CocoFile) -> Result<BTreeMap<i64, u8>, DataError> {
    if file.categories.len() > MAX_CLASSES {
        return Err(DataError::invalid(
            file.path(),
            format!("it has {} categories", file.categories.len()),
            format!("give a data set of at most {MAX_CLASSES}, which fit into masks of 8 bits"),
        ));
    }
    Ok(file.categories.iter().map(|category| category.id).zip(1..).collect())
}

/// The images whose names can be those of masks.
fn entries(
    file: &CocoFile,
    bad: BadEntries,
    left_out: &mut Vec<LeftOut>,
) -> Result<Vec<Entry>, DataError> {
    let mut seen = HashSet::new();
    let mut entries = Vec::with_capacity(file.images.len());
    for (index, image) in file.images.iter().enumerate() {
        let name = Path::new(&image.file_name);
        let mut parts = name.components();
        let is_plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
        let id = name.file_stem().and_then(|stem| stem.to_str());
        let is_jpeg = name.extension().is_some_and(|extension| extension == "jpg");
        let problem = match id {
            Some(id) if is_plain && is_jpeg && !id.contains(char::is_whitespace) => {
                if seen.insert(id) {
                    entries.push(Entry { index, id: id.to_owned() });
                    continue;
                }
                format!("the file name {:?} occurs twice", image.file_name)
            }
            _ => format!("the file name {:?} is not of the form <name>.jpg", image.file_name),
        };
        let entry = LeftOut {
            file: file.path().to_path_buf(),
            entry: format!("image {}", image.id),
            problem,
            remedy: "give each image a name of its own, without folders and spaces".into(),
        };
        match bad {
            BadEntries::Skip => left_out.push(entry),
            BadEntries::Refuse => return Err(entry.into_error()),
        }
    }
    Ok(entries)
}

struct Work<'a> {
    set: &'a Set<'a>,
    masks: MaskFiles<'a>,
    placer: Option<Placer>,
    crowds: Crowds,
    outlines: Outlines,
}

impl Work<'_> {
    fn entry(&self, entry: &Entry) -> Result<(Made, Placed), Trouble> {
        let set = self.set;
        let image = &set.file.images[entry.index];
        let title = format!("image {} ({})", image.id, image.file_name);
        let is_there = set.present.as_ref().is_some_and(|names| names.contains(&image.file_name));
        let path = set.part.images.as_ref().map(|folder| folder.join(&image.file_name));
        if let (Some(path), false) = (&path, is_there) {
            return Err(Trouble::Entry(LeftOut {
                file: path.clone(),
                entry: title,
                problem: format!("this image of {} is missing", set.file.path().display()),
                remedy: "unpack the archive again".into(),
            }));
        }
        let name = format!("annotations/{}/{}.png", set.part.name, entry.id);
        let made = self.masks.make(&name, &title, set.sources, || {
            if let Some(path) = &path {
                check_size(path, &set.file, entry.index)?;
            }
            let label_of = |id| set.labels.get(&id).copied();
            set.file.paint_with(entry.index, label_of, self.crowds, self.outlines)
        })?;
        let placed = match &self.placer {
            Some(placer) => placer.place(&image.file_name).map_err(Trouble::write)?,
            None => Placed::Left,
        };
        Ok((made, placed))
    }
}

/// Compares an image with what the annotation file says of it.
fn check_size(path: &Path, file: &CocoFile, index: usize) -> Result<(), DataError> {
    let (width, height) = io::image_size(path)?;
    let said = &file.images[index];
    if (width, height) == (said.width, said.height) {
        return Ok(());
    }
    Err(DataError::invalid(
        path,
        format!(
            "the image is {width}x{height} pixels, but {} says {}x{}",
            file.path().display(),
            said.width,
            said.height
        ),
        "unpack the archive of the images again, or give the annotations of these very images",
    ))
}

fn write_lists(
    sets: &[Set<'_>],
    sound: Vec<BTreeSet<String>>,
    options: &PrepareOptions<'_>,
    summary: &mut Summary,
) -> Result<(), DataError> {
    let (out, tree) = (summary.root.clone(), summary.tree.clone());
    let class_names: Vec<String> =
        sets[0].file.categories.iter().map(|category| category.name.clone()).collect();
    if class_names != CLASS_NAMES {
        let text: String = class_names.iter().flat_map(|name| [name.as_str(), "\n"]).collect();
        io::write_atomic(&tree.join(CLASSES_FILE), text.as_bytes())?;
    }
    let reporter =
        Reporter::new(options, &out, Stage::Lists, sound.iter().map(BTreeSet::len).sum());
    let mut before = 0;
    for (set, ids) in sets.iter().zip(sound) {
        let split = set.part.split;
        let mut dataset = SegmentationDataset {
            name: format!("coco {split}"),
            root: out.clone(),
            class_names: class_names.clone(),
            ids: ids.into_iter().collect(),
            files: Files::ById {
                images: tree.join(&set.part.name),
                image_extension: "jpg".into(),
                masks: tree.join("annotations").join(&set.part.name),
                mask_extension: "png".into(),
            },
            masks: Masks::Labels,
        };
        let index = reporter.index(&dataset, before)?;
        before += dataset.len();

        let with_object: Vec<usize> =
            (0..dataset.len()).filter(|&i| index.mask(i).labels().next().is_some()).collect();
        let index =
            MaskIndex::from_stats(with_object.iter().map(|&i| index.mask(i).clone()).collect());
        dataset.ids = with_object.iter().map(|&i| dataset.ids[i].clone()).collect();
        let path = tree.join(LISTS).join(format!("{split}.txt"));
        let text: String = dataset.ids.iter().flat_map(|id| [id.as_str(), "\n"]).collect();
        io::write_atomic(&path, text.as_bytes())?;
        summary.count(&format!("{} images with an object", set.part.name), dataset.len(), None);
        summary.lists.push(PreparedList { path, entries: dataset.len(), standing: String::new() });
        let splits = out.join("splits");
        summary.add_lists(lists::write(Benchmark::Coco, &splits, split, &dataset, &index, 0)?);
    }
    Ok(())
}
