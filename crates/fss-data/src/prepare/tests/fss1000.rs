use image::{GrayImage, Luma};

use super::*;
use crate::benchmark::OpenOptions;
use crate::{Benchmark, Split};

const CATEGORIES: [&str; 5] = ["abacus", "ant", "bee", "cup", "owl"];
/// The archive holds a folder of its own name.
const BASE: &str = "from/fewshot_data/fewshot_data";

fn archives() -> Scratch {
    let scratch = Scratch::new();
    for (place, category) in (0..).zip(CATEGORIES) {
        for number in 1..=10 {
            let name = format!("{BASE}/{category}/{number}");
            scratch.image(&format!("{name}.jpg"), 6, 5);
            let mask = GrayImage::from_fn(6, 5, |x, _| Luma([if x > place % 4 { 255 } else { 0 }]));
            mask.save(scratch.path(&format!("{name}.png"))).unwrap();
        }
    }
    scratch.file("lists/trn.txt", "bee\nabacus\nant\n");
    scratch.file("lists/val.txt", "cup\n");
    scratch.file("lists/test.txt", "owl\r\n");
    scratch
}

fn prepare(
    scratch: &Scratch,
    splits: Option<PathBuf>,
    options: &PrepareOptions<'_>,
) -> Result<Summary, DataError> {
    prepare_fss1000(&scratch.from(), &scratch.out(), &FssOptions { splits }, options)
}

#[test]
fn categories_and_lists() {
    let scratch = archives();
    let summary = prepare(&scratch, None, &PrepareOptions::default()).unwrap();
    assert_eq!(summary.masks, MaskCounts { made: 50, kept: 0 });
    assert_eq!(summary.images.linked + summary.images.symlinked, 50);
    assert!(summary.lists.is_empty() && !scratch.path("out/splits").exists());
    assert!(summary.differences().any(|count| count.what == "categories"));

    let lists = Some(scratch.path("lists"));
    let summary = prepare(&scratch, lists, &PrepareOptions::default()).unwrap();
    assert_eq!(summary.masks, MaskCounts { made: 0, kept: 50 });
    assert_eq!(summary.images.kept, 50);
    assert_eq!(scratch.text("out/splits/fss/trn.txt"), "abacus\nant\nbee\n");
    assert_eq!(summary.lists.len(), 3);
    let open = |split| Benchmark::Fss1000.open(&scratch.out(), split, &OpenOptions::default());
    let test = open(Split::Test).unwrap();
    assert_eq!(test.len(), 10);
    let sample = test.load(9).unwrap();
    assert_eq!((sample.id.as_str(), sample.mask[[0, 5]]), ("owl/10", 1));
}

#[test]
fn interruptions_lose_nothing() {
    let scratch = archives();
    prepare(&scratch, None, &PrepareOptions::default()).unwrap();
    let whole = scratch.content("out");
    fs::remove_dir_all(scratch.out()).unwrap();
    // In units of categories, each of ten masks.
    interrupted_everywhere(5, |options| {
        let mut summary = prepare(&scratch, None, options)?;
        summary.masks.made /= 10;
        summary.masks.kept /= 10;
        Ok(summary)
    });
    assert_eq!(scratch.content("out"), whole);
}

#[test]
fn bad_categories() {
    let scratch = archives();
    let lists = || Some(scratch.path("lists"));
    let refused = |words: &[&str]| {
        names_all(&message(prepare(&scratch, lists(), &PrepareOptions::default())), words);
    };
    fs::remove_file(scratch.path(&format!("{BASE}/ant/4.png"))).unwrap();
    refused(&["ant/4.png", "category ant", "missing"]);
    scratch.image(&format!("{BASE}/ant/4.png"), 7, 5);
    refused(&["ant/4.png", "7x5", "6x5"]);
    GrayImage::new(6, 5).save(scratch.path(&format!("{BASE}/ant/4.png"))).unwrap();
    refused(&["ant/4.png", "empty", "128"]);
    scratch.file(&format!("{BASE}/ant/4.png"), "no picture");
    refused(&["ant/4.png"]);

    let summary = prepare(&scratch, lists(), &skipping()).unwrap();
    assert_eq!(summary.left_out.len(), 1);
    assert_eq!(summary.masks.made + summary.masks.kept, 40);
    assert_eq!(scratch.text("out/splits/fss/trn.txt"), "abacus\nbee\n");
}

#[test]
fn what_is_missing_is_named() {
    let scratch = archives();
    let empty = [scratch.path("lists")];
    let fss = FssOptions::default();
    let options = PrepareOptions::default();
    let text = message(prepare_fss1000(&empty, &scratch.out(), &fss, &options));
    names_all(&text, &["FSS-1000 is missing", "lists", "fewshot_data.zip"]);
    let text = message(prepare(&scratch, Some(scratch.path("absent")), &options));
    names_all(&text, &["absent"]);
    let skip = PrepareOptions { images: ImageFiles::Skip, ..PrepareOptions::default() };
    names_all(&message(prepare(&scratch, None, &skip)), &["link or copy"]);
    scratch.file("out/FSS-1000/mine/1.png", "somebody's work");
    names_all(&message(prepare(&scratch, None, &options)), &["mine", "another folder"]);
}
