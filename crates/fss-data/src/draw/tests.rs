use image::{Rgb, RgbImage};
use ndarray::{Array2, arr2};

use super::*;
use crate::DataError;

fn grey(width: u32, height: u32) -> RgbImage {
    RgbImage::from_pixel(width, height, Rgb([100; 3]))
}

/// A mask with a square of the label in the middle.
fn square(width: usize, height: usize, label: u8) -> Array2<u8> {
    let inside = |at: usize, side: usize| (side / 4..side - side / 4).contains(&at);
    Array2::from_shape_fn((height, width), |(y, x)| {
        if inside(y, height) && inside(x, width) { label } else { 0 }
    })
}

#[test]
fn overlay_blends_and_outlines() {
    let style = OverlayStyle {
        colours: Colours::Single([200, 0, 0]),
        alpha: 0.5,
        outline: 1,
        ignored: IgnoredPixels::Veiled,
    };
    let mut mask = square(16, 12, 7);
    mask[[0, 0]] = 255;
    let drawn = overlay(&grey(16, 12), &mask, &style).unwrap();
    assert_eq!(drawn.get_pixel(8, 6), &Rgb([150, 50, 50]), "inside");
    assert_eq!(drawn.get_pixel(4, 6), &Rgb([200, 0, 0]), "outline");
    assert_eq!(drawn.get_pixel(1, 6), &Rgb([100; 3]), "background");
    assert!(drawn.get_pixel(0, 0).0[0] > 150, "ignored");
    let hidden = OverlayStyle { ignored: IgnoredPixels::Hidden, outline: 0, ..style };
    let drawn = overlay(&grey(16, 12), &mask, &hidden).unwrap();
    assert_eq!(drawn.get_pixel(0, 0), &Rgb([100; 3]));
    assert_eq!(drawn.get_pixel(4, 6), &Rgb([150, 50, 50]));
}

#[test]
fn an_object_cut_by_the_frame_has_no_outline_there() {
    let drawn = overlay(&grey(8, 8), &Array2::ones((8, 8)), &OverlayStyle::default()).unwrap();
    let first = drawn.get_pixel(0, 0);
    assert!(drawn.pixels().all(|pixel| pixel == first));
}

#[test]
fn labels_have_the_colours_of_voc() {
    let style = OverlayStyle { alpha: 1.0, ..OverlayStyle::default() };
    let drawn = overlay(&grey(3, 1), &arr2(&[[1, 2, 20]]), &style).unwrap();
    let palette = voc_palette();
    let want = [1, 2, 20].map(|label: usize| palette[label]);
    assert_eq!([0, 1, 2].map(|x| drawn.get_pixel(x, 0).0), want);
}

#[test]
fn errors_are_told_apart() {
    let prediction = arr2(&[[0, 1, 1, 0, 1, 255]]);
    let truth = arr2(&[[0, 1, 0, 3, 255, 1]]);
    let map = confusion_map(&prediction, &truth).unwrap();
    assert_eq!(map, arr2(&[[0, 1, 2, 3, 255, 3]]));
    let style = OverlayStyle { alpha: 1.0, ..OverlayStyle::default() };
    let drawn = confusion_overlay(&grey(6, 1), &prediction, &truth, &style).unwrap();
    assert_eq!(drawn.get_pixel(0, 0).0, [100; 3]);
    assert_eq!(drawn.get_pixel(1, 0).0, colours::TRUE_POSITIVE);
    assert_eq!(drawn.get_pixel(2, 0).0, colours::FALSE_POSITIVE);
    assert_eq!(drawn.get_pixel(3, 0).0, colours::FALSE_NEGATIVE);
}

#[test]
fn sizes_must_agree() {
    let (image, wrong) = (grey(6, 4), Array2::zeros((6, 4)));
    let error = overlay(&image, &wrong, &OverlayStyle::default()).unwrap_err();
    assert!(matches!(error, DataError::Setting { .. }));
    assert!(error.to_string().contains("4x6") && error.to_string().contains("6x4"), "{error}");
    assert!(confusion_map(&wrong, &Array2::zeros((4, 6))).is_err());
    let right = Array2::zeros((4, 6));
    let view = EpisodeView {
        title: "",
        supports: &[(image.clone(), wrong.clone())],
        query: &image,
        truth: None,
        prediction: &right,
    };
    let error = episode_panel(&view, &PanelStyle::default()).unwrap_err();
    assert!(error.to_string().contains("support mask"), "{error}");
    let view = EpisodeView { supports: &[], prediction: &wrong, ..view };
    assert!(episode_panel(&view, &PanelStyle::default()).is_err());
    let view = EpisodeView { prediction: &right, truth: Some(&wrong), ..view };
    assert!(episode_panel(&view, &PanelStyle::default()).is_err());
}

#[test]
fn a_panel_shows_every_part_in_its_colour() {
    let supports = vec![(grey(40, 30), square(40, 30, 1))];
    let (query, mask) = (grey(50, 40), square(50, 40, 1));
    let view = EpisodeView {
        title: "a class",
        supports: &supports,
        query: &query,
        truth: Some(&mask),
        prediction: &mask,
    };
    let count =
        |panel: &RgbImage, colour: [u8; 3]| panel.pixels().filter(|p| p.0 == colour).count();
    let panel = episode_panel(&view, &PanelStyle::default()).unwrap();
    for colour in [colours::SUPPORT, colours::TRUTH, colours::PREDICTION, colours::INK] {
        assert!(count(&panel, colour) > 100, "{colour:?}");
    }
    let style = PanelStyle { comparison: Comparison::Errors, ..PanelStyle::default() };
    let wide = episode_panel(&view, &style).unwrap();
    assert!(wide.width() > panel.width() && wide.height() > panel.height());
    let untold = episode_panel(&EpisodeView { truth: None, ..view }, &style).unwrap();
    assert!(untold.width() < panel.width());
    assert_eq!(count(&untold, colours::TRUTH), 0);
}

#[test]
fn any_number_of_supports_keeps_the_height() {
    let query = grey(50, 50);
    let mask = square(50, 50, 1);
    let panel = |shots: usize| {
        let supports = vec![(grey(50, 50), square(50, 50, 1)); shots];
        let view = EpisodeView {
            title: "",
            supports: &supports,
            query: &query,
            truth: Some(&mask),
            prediction: &mask,
        };
        episode_panel(&view, &PanelStyle::default()).unwrap()
    };
    let height = panel(1).height();
    for shots in [0, 2, 3, 5, 10, 30] {
        assert_eq!(panel(shots).height(), height, "{shots} supports");
    }
}

#[test]
fn extreme_images_are_drawn_too() {
    for (width, height) in [(1, 1), (1, 900), (900, 1)] {
        let (query, mask) = (grey(width, height), Array2::ones((height as usize, width as usize)));
        let view = EpisodeView {
            title: "a title that is much longer than the picture below it is wide",
            supports: &[],
            query: &query,
            truth: None,
            prediction: &mask,
        };
        let panel = episode_panel(&view, &PanelStyle::default()).unwrap();
        assert!(panel.width() < 2000 && panel.height() < 400);
    }
    assert!(grid(&[]).width() > 0 && legend(&[]).height() > 0);
    assert_eq!(stack(&[]).dimensions(), (0, 0));
}

#[test]
fn grids_hold_their_tiles() {
    let tile = |width, caption: &str| Tile::new(grey(width, 20), caption);
    let drawn = grid(&[vec![tile(60, "one"), tile(30, "two")], vec![tile(10, "")]]);
    assert_eq!(drawn.pixels().filter(|p| p.0 == [100; 3]).count(), 100 * 20);
}
