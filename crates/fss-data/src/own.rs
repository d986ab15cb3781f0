//! Data sets of one's own: annotated images as they are, without conversion.
//!
//! | form | what it is |
//! |---|---|
//! | class folders | `<class>/images/<name>.jpg` with `<class>/masks/<name>.png` |
//! | table | a CSV file with the columns `image,mask,class` and, if wanted, `split` and `value` |
//! | COCO JSON | one annotation file with polygons or masks, the images beside it |
//! | LabelMe | a folder with one JSON for each image |
//!
//! The form is told from the path. Folders `train`, `val`, `test` (or annotation files of these
//! names, or the column `split`) divide the images; without them all images serve training and
//! evaluation, which then differ in their classes alone.
//!
//! Classes are sorted by name as bytes, so that their numbers do not depend on the order of files;
//! they are those that some annotation shows, in any split. A mask file belongs to one class, and
//! each pair of an image and a class is an entry of its own, with the id `<class>/<name>`. COCO and
//! LabelMe annotations give one mask of labels for each image, in which later objects lie over
//! earlier ones; with more than 254 classes, which a mask of labels cannot hold, they give an entry
//! for each pair of an image and a class, too.

mod base64;
mod coco;
mod detect;
mod drawing;
mod entry;
mod folders;
mod labelme;
mod listing;
mod marks;
mod options;
mod sift;
mod supports;
mod table;

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use detect::Form;
pub use marks::{MaskValue, read_marks};
pub use options::OwnOptions;
pub use supports::largest;

use crate::annotations::Skipped;
use crate::folds::Fold;
use crate::{ClassId, DataError, Files, IGNORE_INDEX, Masks, SegmentationDataset, Split};
use drawing::{Classes, Drawing, Item};
use entry::{Entry, Skips, Source};

/// A data set of one's own, read but for its images and masks.
#[derive(Debug, Clone)]
pub struct OwnData {
    root: PathBuf,
    form: Form,
    classes: Arc<Classes>,
    entries: Vec<(Entry, Option<ClassId>)>,
    options: OwnOptions,
    skipped: Vec<Skipped>,
}

/// All images of a data set of one's own, of whatever split.
///
/// # Errors
/// As [`OwnData::read`].
pub fn open(path: &Path, options: &OwnOptions) -> Result<SegmentationDataset, DataError> {
    OwnData::read(path, options).map(|data| data.all())
}

impl OwnData {
    /// Recognises the form of what lies at `path` and reads the annotations (masks of the forms with
    /// mask files are only looked for).
    ///
    /// # Errors
    /// [`DataError`] naming file and entry when nothing is recognised, an annotation cannot be used
    /// or a file is missing, or when there is no image at all. Under
    /// [`BadEntries::Skip`](crate::annotations::BadEntries::Skip) the masks are read as well (counts
    /// are kept as by [`MaskIndex`](crate::MaskIndex)), and entries whose files are missing,
    /// unreadable or of different sizes, or whose masks show no foreground, are left out and listed.
    pub fn read(path: &Path, options: &OwnOptions) -> Result<Self, DataError> {
        let mut skips = Skips::new(options.bad);
        let sources = all_sources(path, options)?;
        let form = sources[0].form;
        let mut entries = Vec::new();
        for source in &sources {
            entries.extend(read_source(source, options, &mut skips)?);
        }
        let root = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
        let root = if root.as_os_str().is_empty() { Path::new(".") } else { root };
        let mut data = Self {
            root: root.to_path_buf(),
            form,
            classes: Arc::new(Classes { names: Vec::new() }),
            entries: Vec::new(),
            options: options.clone(),
            skipped: Vec::new(),
        };
        data.number(entries)?;
        sift::sift(&mut data, &mut skips)?;
        data.skipped = skips.list;
        if data.entries.is_empty() {
            let problem = match data.skipped.len() {
                0 => "there is no annotated image in it".to_owned(),
                n => format!("no annotated image is left; {n} entries cannot be used"),
            };
            let remedy = "add images with annotations, or mend those that were left out";
            return Err(DataError::invalid(path, problem, remedy));
        }
        data.report();
        Ok(data)
    }

    /// Numbers the classes and gives masks that cannot be label masks one class each.
    fn number(&mut self, entries: Vec<Entry>) -> Result<(), DataError> {
        let names: BTreeSet<&str> = entries.iter().flat_map(Entry::classes).collect();
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        if names.len() > usize::from(ClassId::MAX) {
            return Err(DataError::invalid(
                &self.root,
                format!("there are {} classes, more than {}", names.len(), ClassId::MAX),
                "check that the class is not different in every entry",
            ));
        }
        let classes = Classes { names };
        let many = classes.names.len() >= usize::from(IGNORE_INDEX);
        for entry in entries {
            let alone = many || matches!(entry.shows, entry::Shows::Marks { .. });
            if !alone {
                self.entries.push((entry, None));
                continue;
            }
            let numbers: Vec<ClassId> =
                entry.classes().into_iter().filter_map(|name| classes.number(name)).collect();
            for number in numbers {
                let mut entry = entry.clone();
                if !matches!(entry.shows, entry::Shows::Marks { .. }) {
                    let name = &classes.names[usize::from(number) - 1];
                    entry.id = format!("{name}/{}", entry.id);
                }
                self.entries.push((entry, Some(number)));
            }
        }
        self.classes = Arc::new(classes);
        Ok(())
    }

    fn report(&self) {
        /// How many of the entries that were left out are told one by one.
        const SHOWN: usize = 20;
        for skipped in self.skipped.iter().take(SHOWN) {
            tracing::warn!("left out: {skipped}");
        }
        if self.skipped.len() > SHOWN {
            tracing::warn!("and {} more entries were left out", self.skipped.len() - SHOWN);
        }
    }

    /// How it is written.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The names of the classes 1..n, sorted.
    pub fn class_names(&self) -> &[String] {
        &self.classes.names
    }

    /// The number of the class with this name.
    ///
    /// # Errors
    /// [`DataError::Setting`] that lists the classes.
    pub fn class(&self, name: &str) -> Result<ClassId, DataError> {
        self.classes.number(name).ok_or_else(|| {
            const SHOWN: usize = 30;
            let names = &self.classes.names;
            let mut list = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
            if names.len() > SHOWN {
                list += ", ..";
            }
            DataError::Setting {
                what: format!("there is no class {name:?} in {}", self.root.display()),
                remedy: format!("use one of: {list}"),
            }
        })
    }

    /// The entries that were left out, with the reasons.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Whether training and evaluation have lists of their own. If not, all images serve both.
    pub fn is_split(&self) -> bool {
        self.entries.iter().any(|(entry, _)| entry.split.is_some())
    }

    /// The lists that there are, each once; without lists, [`Split::Val`] for all images.
    pub fn splits(&self) -> Vec<Split> {
        if !self.is_split() {
            return vec![Split::Val];
        }
        let there: BTreeSet<Split> = self.entries.iter().filter_map(|(e, _)| e.split).collect();
        there.into_iter().collect()
    }

    /// The images of a split. Without lists these are all images; `val` and `test` stand in for each
    /// other where one of them is missing.
    ///
    /// # Errors
    /// [`DataError::Setting`] when there are lists, but none for this.
    pub fn dataset(&self, split: Split) -> Result<SegmentationDataset, DataError> {
        let name = format!("{} {split}", self.name());
        if !self.is_split() {
            return Ok(self.select(name, |_, _| true));
        }
        let there = self.splits();
        let stand_in = match split {
            Split::Train => None,
            Split::Val => Some(Split::Test),
            Split::Test => Some(Split::Val),
        };
        let found = [Some(split), stand_in].into_iter().flatten().find(|s| there.contains(s));
        let Some(found) = found else {
            let names: Vec<&str> = there.iter().map(|split| split.name()).collect();
            return Err(DataError::Setting {
                what: format!(
                    "{} has no {split} images, only {}",
                    self.root.display(),
                    names.join(" and ")
                ),
                remedy: "add them, or take the division away: all images then serve training and \
                         evaluation"
                    .into(),
            });
        };
        Ok(self.select(name, |entry, _| entry.split == Some(found)))
    }

    /// All images of whatever split.
    pub fn all(&self) -> SegmentationDataset {
        self.select(self.name(), |_, _| true)
    }

    /// The images whose annotations hold a class, of whatever split.
    pub fn images_of(&self, class: ClassId) -> SegmentationDataset {
        let wanted = usize::from(class).checked_sub(1).and_then(|i| self.classes.names.get(i));
        let Some(wanted) = wanted else { return self.select(self.name(), |_, _| false) };
        self.select(format!("{} {wanted}", self.name()), |entry, only| match only {
            Some(only) => only == class,
            None => entry.classes().contains(wanted.as_str()),
        })
    }

    /// Which classes are novel: fold 0, the only one.
    ///
    /// The novel classes are those that were named. If none was, they are the classes that the
    /// images for evaluation show and those for training do not; if there is none of these either,
    /// all classes are novel, and nothing is left to train on.
    ///
    /// # Errors
    /// [`DataError::Setting`] if a name is unknown or given twice.
    pub fn fold(&self) -> Result<Fold, DataError> {
        let classes = self.classes.names.len();
        if !self.options.novel.is_empty() {
            let novel = self.options.novel.iter().map(|name| self.class(name.trim()));
            return Fold::listed(classes, novel.collect::<Result<Vec<_>, _>>()?);
        }
        let shown = |train: bool| -> BTreeSet<&str> {
            let entries = self.entries.iter().map(|(entry, _)| entry);
            let of_side = entries.filter(|e| e.split.is_some_and(|s| (s == Split::Train) == train));
            of_side.flat_map(Entry::classes).collect()
        };
        let trained = shown(true);
        let unseen: Vec<ClassId> = match trained.is_empty() {
            true => Vec::new(),
            false => shown(false)
                .difference(&trained)
                .filter_map(|name| self.classes.number(name))
                .collect(),
        };
        match unseen.is_empty() {
            true => Fold::listed(classes, 1..=classes as ClassId),
            false => Fold::listed(classes, unseen),
        }
    }

    /// The fold for training: as [`fold`](Self::fold), but there must be classes on both sides.
    ///
    /// # Errors
    /// As [`fold`](Self::fold); also when no class is left to train on or to measure with.
    pub fn training_fold(&self) -> Result<Fold, DataError> {
        let fold = self.fold()?;
        if fold.base_classes().is_empty() {
            return Err(DataError::Setting {
                what: format!(
                    "all {} classes of {} are novel, so none is left to train on",
                    self.classes.names.len(),
                    self.root.display()
                ),
                remedy: "name the novel classes (--novel cat,dog): all others are trained on"
                    .into(),
            });
        }
        Ok(fold)
    }

    /// One line on what was found.
    pub fn summary(&self) -> String {
        let classes = self.classes.names.len();
        let left_out = match self.skipped.len() {
            0 => String::new(),
            n => format!("; {n} left out"),
        };
        let lists = match self.is_split() {
            false => "no splits: all images serve training and evaluation".to_owned(),
            true => {
                let count = |split| {
                    let of_split = self.entries.iter().filter(|(e, _)| e.split == Some(split));
                    format!("{split} {}", of_split.count())
                };
                self.splits().into_iter().map(count).collect::<Vec<_>>().join(", ")
            }
        };
        format!(
            "{} entries of {classes} class{} ({}); {lists}{left_out}",
            self.entries.len(),
            if classes == 1 { "" } else { "es" },
            self.form
        )
    }

    fn name(&self) -> String {
        listing::name_of(&self.root)
    }

    fn select(
        &self,
        name: String,
        wanted: impl Fn(&Entry, Option<ClassId>) -> bool,
    ) -> SegmentationDataset {
        let (mut ids, mut files, mut items) = (Vec::new(), Vec::new(), Vec::new());
        // One image may be in two lists of a table; `data check` tells.
        let mut seen: HashSet<&str> = HashSet::new();
        for (entry, class) in &self.entries {
            if wanted(entry, *class) && seen.insert(&entry.id) {
                ids.push(entry.id.clone());
                files.push((entry.image.clone(), entry.annotation()));
                items.push(Item { shows: entry.shows.clone(), class: *class });
            }
        }
        SegmentationDataset {
            name,
            root: self.root.clone(),
            class_names: self.classes.names.clone(),
            ids,
            files: Files::Listed(files),
            masks: Masks::Drawn(Arc::new(Drawing::new(items, &self.classes, &self.options))),
        }
    }
}

/// The sources of the data set and of the second one for evaluation, if there is one.
fn all_sources(path: &Path, options: &OwnOptions) -> Result<Vec<Source>, DataError> {
    let mut sources = detect::sources(path)?;
    let Some(val) = &options.val else { return Ok(sources) };
    // Whole paths: what is counted of it is kept with the first data set.
    let val = &std::path::absolute(val).map_err(|source| DataError::io("find", val, source))?;
    let second = detect::sources(val)?;
    for (place, sources) in [(path, &sources), (val.as_path(), &second)] {
        if sources.len() > 1 || sources[0].split.is_some() {
            return Err(DataError::invalid(
                place,
                "it is divided into splits, but a second data set for evaluation is named",
                "name one data set with splits, or two without",
            ));
        }
    }
    sources[0].split = Some(Split::Train);
    sources.extend(second.into_iter().map(|source| Source { split: Some(Split::Val), ..source }));
    Ok(sources)
}

fn read_source(
    source: &Source,
    options: &OwnOptions,
    skips: &mut Skips,
) -> Result<Vec<Entry>, DataError> {
    let read = match source.form {
        Form::Folders => folders::read,
        Form::Table => table::read,
        Form::Coco => coco::read,
        Form::LabelMe => labelme::read,
    };
    let mut entries = read(&source.path, options, skips)?;
    if let Some(split) = source.split {
        for entry in &mut entries {
            if entry.split.is_some() {
                return Err(DataError::invalid(
                    &source.path,
                    format!("it has a column split, but it is the {split} split itself"),
                    "take the column out, or give one table with all splits",
                ));
            }
            // Names may repeat from folder to folder.
            entry.id = format!("{split}/{}", entry.id);
            entry.split = Some(split);
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests;
