use super::*;
use crate::Split;
use crate::test_tree::Tree;

fn tree() -> Tree {
    let tree = Tree::new();
    tree.pair("a", 4, 60, &[3, 3, 0, 255, 0, 0, 7, 7]);
    tree.pair("b", 2, 120, &[3, 0, 0, 3]);
    tree.pair("c", 3, 180, &[7, 7, 3]);
    tree.list(Split::Val, &["a", "b", "c"]);
    tree
}

fn episode(index: usize, query: usize, supports: &[usize]) -> Episode {
    let supports = supports.to_vec();
    Episode { index, class: 3, query, supports, rejected: Vec::new(), crops: None }
}

#[test]
fn whole_images_keep_their_sizes() {
    let tree = tree();
    let dataset = tree.dataset(Split::Val);
    let loaded =
        load_episode(&dataset, episode(0, 0, &[2, 1]), &EpisodeTransform::WholeImages).unwrap();
    assert_eq!(loaded.query.dim(), (3, 2, 4));
    assert_eq!(loaded.query_mask, ndarray::array![[1, 1, 0, 255], [0, 0, 0, 0]]);
    assert_eq!(loaded.supports[0].0.dim(), (3, 1, 3));
    assert_eq!(loaded.supports[0].1, ndarray::array![[0, 0, 1]]);
    assert_eq!(loaded.supports[1].1, ndarray::array![[1, 0], [0, 1]]);
    assert_eq!(loaded.query, normalise(&dataset.load_image(0).unwrap()));
    assert_eq!(loaded.episode, episode(0, 0, &[2, 1]));
}

#[test]
fn crops_are_those_of_the_episode() {
    let tree = tree();
    let dataset = tree.dataset(Split::Val);
    let mut episode = episode(0, 0, &[1]);
    let crop = |x, y, flip| CropFlip { x, y, flip };
    episode.crops = Some(vec![crop(2, 0, true), crop(0, 0, false)]);
    let loaded = load_episode(&dataset, episode, &EpisodeTransform::crops(2)).unwrap();
    assert_eq!(loaded.query.dim(), (3, 2, 2));
    // Columns 2 and 3, mirrored.
    assert_eq!(loaded.query_mask, ndarray::array![[255, 0], [0, 0]]);
    assert_eq!(loaded.supports[0].1, ndarray::array![[1, 0], [0, 1]]);
}

#[test]
fn small_images_are_padded() {
    let tree = tree();
    let mut episode = episode(0, 1, &[]);
    episode.crops = Some(vec![CropFlip { x: 0, y: 0, flip: false }]);
    let loaded =
        load_episode(&tree.dataset(Split::Val), episode, &EpisodeTransform::crops(3)).unwrap();
    assert_eq!(loaded.query_mask, ndarray::array![[1, 0, 255], [0, 1, 255], [255, 255, 255]]);
}

#[test]
fn episodes_that_do_not_fit_are_refused() {
    let tree = tree();
    let dataset = tree.dataset(Split::Val);
    let fails = |episode: Episode, transform: &EpisodeTransform| {
        load_episode(&dataset, episode, transform).unwrap_err().to_string()
    };
    let crops = EpisodeTransform::crops(2);
    let error = fails(episode(5, 0, &[1]), &crops);
    assert!(error.contains("episode 5") && error.contains("training mode"), "{error}");
    // Crops for the query alone.
    let mut short = episode(6, 0, &[1]);
    short.crops = Some(vec![CropFlip { x: 0, y: 0, flip: false }]);
    let error = fails(short, &crops);
    assert!(error.contains("b.jpg"), "{error}");
    // A crop beyond the image: the episode of another list.
    let mut beyond = episode(7, 0, &[]);
    beyond.crops = Some(vec![CropFlip { x: 3, y: 0, flip: false }]);
    let error = fails(beyond, &crops);
    assert!(error.contains("episode 7") && error.contains("a.jpg"), "{error}");
    let error = fails(episode(8, 0, &[17]), &EpisodeTransform::WholeImages);
    assert!(error.contains("17"), "{error}");
}

#[test]
fn a_loader_gives_what_one_by_one_loading_gives() {
    let tree = tree();
    let dataset = Arc::new(tree.dataset(Split::Val));
    let episodes: Vec<Episode> =
        (0..30).map(|i| episode(i, i % 3, &[(i + 1) % 3, (i + 2) % 3])).collect();
    let expected: Vec<EpisodeTensors> = episodes
        .iter()
        .map(|e| load_episode(&dataset, e.clone(), &EpisodeTransform::WholeImages).unwrap())
        .collect();
    for threads in [1, 4] {
        let loader = Loader::new(
            Arc::clone(&dataset),
            episodes.clone().into_iter().map(Ok),
            EpisodeTransform::WholeImages,
            LoaderOptions { threads, prefetch: 6 },
        )
        .unwrap();
        let loaded: Vec<EpisodeTensors> = loader.map(Result::unwrap).collect();
        assert_eq!(loaded, expected);
    }
}

#[test]
fn an_unreadable_image_ends_a_loader_in_its_turn() {
    let tree = tree();
    tree.file("JPEGImages/b.jpg", b"no picture");
    let dataset = Arc::new(tree.dataset(Split::Val));
    let mut samples =
        SampleLoader::new(dataset, [0, 2, 1, 0], LoaderOptions { threads: 3, prefetch: 4 })
            .unwrap();
    assert_eq!(samples.next().unwrap().unwrap().id, "a");
    assert_eq!(samples.next().unwrap().unwrap().id, "c");
    let error = samples.next().unwrap().map(|sample| sample.id).unwrap_err().to_string();
    assert!(error.contains("b.jpg") && error.contains("not an image"), "{error}");
    assert!(samples.next().is_none());
}

#[test]
fn samplers_are_read_ahead_no_further_than_asked() {
    struct Counting(usize);
    impl EpisodeSampler for Counting {
        fn next_episode(&mut self) -> Result<Episode, DataError> {
            self.0 += 1;
            if self.0 > 5 {
                return Err(DataError::Setting { what: "drained".into(), remedy: "stop".into() });
            }
            Ok(episode(self.0 - 1, 0, &[1]))
        }
    }
    let tree = tree();
    let dataset = Arc::new(tree.dataset(Split::Val));
    let load = |count| {
        let episodes = episodes_of(Counting(0), count);
        let whole = EpisodeTransform::WholeImages;
        let options = LoaderOptions { threads: 2, prefetch: 3 };
        let loader = Loader::new(Arc::clone(&dataset), episodes, whole, options).unwrap();
        loader.map(|loaded| loaded.map(|e| e.episode.index)).collect::<Vec<_>>()
    };
    let four: Vec<usize> = load(4).into_iter().map(Result::unwrap).collect();
    assert_eq!(four, [0, 1, 2, 3]);
    let ten = load(10);
    assert_eq!(ten.len(), 6);
    assert!(ten[5].as_ref().unwrap_err().to_string().contains("drained"));
}
