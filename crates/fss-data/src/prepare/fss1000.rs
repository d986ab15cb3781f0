//! FSS-1000.

use std::path::{Path, PathBuf};

use super::image_files::{Placed, Placer};
use super::journal::{Fingerprint, Journal};
use super::summary::ImageCounts;
use super::work::{Reporter, Trouble};
use super::{ImageFiles, LeftOut, PrepareOptions, Stage, Summary, folder};
use crate::benchmark::Benchmark;
use crate::fss1000::{FssRoot, THRESHOLD};
use crate::{DataError, Split, io, lists};

const TREE: &str = "FSS-1000";
/// Images of a category.
const IMAGES: usize = 10;
const CATEGORIES: usize = 1_000;

/// What else is to be said about FSS-1000.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FssOptions {
    /// The folder of the published lists of categories (`{trn,val,test}.txt`, or what
    /// [`lists::find()`] takes). They go to `<out>/splits/fss`, where they are found from then on.
    pub splits: Option<PathBuf>,
}

/// Makes `<out>/FSS-1000` from the archive of FSS-1000, which is looked for below the folders `from`:
/// a folder of categories, each with `{1..10}.jpg` and `{1..10}.png`.
///
/// Every image and mask is checked: that it can be read, that both have one size, that the mask shows
/// something. A category of which anything is bad is bad as a whole, as episodes draw from all ten.
/// The archive does not say which categories are for training: that is a matter of the published
/// lists ([`FssOptions::splits`]). Without them no list is written, and the library divides the
/// categories by a rule of its own, see [`crate::fss1000::own_division`].
///
/// # Errors
/// [`DataError`] that says what is missing; naming the file for the first bad entry, if bad ones are
/// refused; [`DataError::Io`] of the kind [`std::io::ErrorKind::Interrupted`] if the work was stopped.
pub fn prepare_fss1000(
    from: &[PathBuf],
    out: &Path,
    fss: &FssOptions,
    options: &PrepareOptions<'_>,
) -> Result<Summary, DataError> {
    folder::check_sources(from)?;
    if options.images == ImageFiles::Skip {
        return Err(DataError::Setting {
            what: "masks of FSS-1000 are part of the archive, so nothing is left to make without \
                   its files"
                .into(),
            remedy: "link or copy the images".into(),
        });
    }
    let listed = match &fss.splits {
        Some(splits) => Some(lists::read_fss_lists(&lists::fss_folder(splits)?)?),
        None => None,
    };
    let source = find(from, out)?;
    let categories = categories(&source)?;
    let tree = out.join(TREE);
    let mut summary = Summary::new(Benchmark::Fss1000, out, tree.clone());
    summary.sources = vec![source.clone()];
    summary.count("categories in the archive", categories.len(), CATEGORIES);

    folder::create(&tree)?;
    let journal = Journal::open(&out.join(".prepare-fss1000.journal"), || {
        let is_in_place = source.canonicalize().ok() == tree.canonicalize().ok();
        let others = if is_in_place { Vec::new() } else { folder::folders_in(&tree) };
        folder::refuse_foreign(&others, "png")
    })?;
    summary.clear()?;
    let work = Work { source: &source, tree: &tree, journal: &journal, images: options.images };
    let reporter = Reporter::new(options, out, Stage::Images, categories.len());
    let done = reporter.run(&categories, &mut summary.left_out, |name| work.category(name));
    journal.flush()?;

    let mut sound = Vec::new();
    for (name, (was_current, placed)) in
        categories.iter().zip(done?).filter_map(|(name, done)| Some((name, done?)))
    {
        sound.push(name.as_str());
        let images = &mut summary.images;
        images.linked += placed.linked;
        images.symlinked += placed.symlinked;
        images.copied += placed.copied;
        images.kept += placed.kept;
        let masks = &mut summary.masks;
        *(if was_current { &mut masks.kept } else { &mut masks.made }) += IMAGES;
    }
    summary.count("categories", sound.len(), CATEGORIES);
    summary.count("images with masks", sound.len() * IMAGES, CATEGORIES * IMAGES);
    if let Some(listed) = listed {
        write_lists(&sound, &listed, options, &mut summary)?;
    }
    summary.write()?;
    Ok(summary)
}

/// The folder of the categories: that of which a folder holds `1.jpg`.
fn find(from: &[PathBuf], out: &Path) -> Result<PathBuf, DataError> {
    let holds_categories = |path: &Path| {
        folder::folders_in(path).iter().any(|category| category.join("1.jpg").is_file())
    };
    folder::find(from, out, holds_categories).ok_or_else(|| {
        DataError::invalid(
            &from[0],
            "FSS-1000 is missing: no folder at or below this one holds <category>/1.jpg",
            "fetch the archive of FSS-1000 (fewshot_data.zip or FSS-1000.zip) and unpack it here",
        )
    })
}

/// The names of the categories, sorted.
fn categories(source: &Path) -> Result<Vec<String>, DataError> {
    folder::folders_in(source)
        .into_iter()
        // Others hold lists or notes.
        .filter(|path| {
            folder::names_in(path).is_ok_and(|names| names.iter().any(|name| is_picture(name)))
        })
        .map(|path| {
            path.file_name().and_then(|name| name.to_str()).map(str::to_owned).ok_or_else(|| {
                let problem = "the name of this category is no text (UTF-8)";
                DataError::invalid(&path, problem, "rename it as in the published lists")
            })
        })
        .collect()
}

fn is_picture(name: &str) -> bool {
    name.ends_with(".jpg") || name.ends_with(".png")
}

struct Work<'a> {
    source: &'a Path,
    tree: &'a Path,
    journal: &'a Journal,
    images: ImageFiles,
}

impl Work<'_> {
    /// Checks a category and puts its files in their place. Whether it was checked before, and what
    /// became of the images.
    fn category(&self, name: &String) -> Result<(bool, ImageCounts), Trouble> {
        let folder = self.source.join(name);
        let pairs: Vec<[String; 2]> =
            (1..=IMAGES).map(|n| [format!("{n}.jpg"), format!("{n}.png")]).collect();
        let mut sources = Fingerprint::of("fss1000");
        for file in pairs.iter().flatten().map(|file| folder.join(file)) {
            sources = sources.and_file(&file).map_err(|_| {
                Trouble::Entry(LeftOut {
                    file,
                    entry: format!("category {name}"),
                    problem: "this file is missing".into(),
                    remedy:
                        "unpack the archive again; a category has 1 to 10, each as .jpg and .png"
                            .into(),
                })
            })?;
        }
        // The last file stands for all.
        let last = self.tree.join(name).join(&pairs[IMAGES - 1][1]);
        let was_current = self.journal.is_current(name, sources, &last);
        if !was_current {
            for [image, mask] in &pairs {
                check_pair(&folder.join(image), &folder.join(mask))
                    .map_err(Trouble::entry(&format!("category {name}")))?;
            }
        }
        let mut placed = ImageCounts::default();
        let placer = Placer::new(&folder, &self.tree.join(name), self.images);
        let placer = placer.map_err(Trouble::write)?;
        for [image, mask] in &pairs {
            let at = placer.place(mask).map_err(Trouble::write)?;
            let image = placer.place(image).map_err(Trouble::write)?;
            // A kept image with a new mask was touched all the same.
            placed.add(if image == Placed::Kept { at } else { image });
        }
        if !was_current {
            let bytes = std::fs::metadata(&last).map_err(|e| DataError::io("read", &last, e));
            let bytes = bytes.map_err(Trouble::write)?.len();
            self.journal.add(name, sources, bytes).map_err(Trouble::write)?;
        }
        Ok((was_current, placed))
    }
}

fn check_pair(image: &Path, mask: &Path) -> Result<(), DataError> {
    let labels = io::read_binary_mask(mask, THRESHOLD)?;
    let size = (labels.ncols() as u32, labels.nrows() as u32);
    io::check_same_size(image, io::read_image(image)?.dimensions(), mask, size)?;
    if labels.iter().all(|&label| label == 0) {
        return Err(DataError::invalid(
            mask,
            format!("the mask is empty: no pixel has a grey value of {THRESHOLD} or more"),
            "unpack the archive again",
        ));
    }
    Ok(())
}

/// The published lists without the categories that were left out.
fn write_lists(
    sound: &[&str],
    listed: &[Vec<String>; 3],
    options: &PrepareOptions<'_>,
    summary: &mut Summary,
) -> Result<(), DataError> {
    let out = summary.root.clone();
    let bad: Vec<&str> =
        summary.left_out.iter().filter_map(|entry| entry.entry.strip_prefix("category ")).collect();
    let folder = out.join("splits/fss");
    folder::create(&folder)?;
    for (name, categories) in ["trn", "val", "test"].into_iter().zip(listed) {
        let text: String = categories
            .iter()
            .filter(|name| !bad.contains(&name.as_str()))
            .flat_map(|name| [name.as_str(), "\n"])
            .collect();
        io::write_atomic(&folder.join(format!("{name}.txt")), text.as_bytes())?;
    }
    let root = FssRoot::detect(&out, Some(&folder))?;
    let reporter = Reporter::new(options, &out, Stage::Lists, sound.len() * IMAGES);
    let mut before = 0;
    for split in Split::ALL {
        let dataset = root.dataset(split)?;
        let index = reporter.index(&dataset, before)?;
        before += dataset.len();
        let splits = out.join("splits");
        summary.add_lists(lists::write(Benchmark::Fss1000, &splits, split, &dataset, &index, 0)?);
    }
    Ok(())
}
