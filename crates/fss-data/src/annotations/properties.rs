//! Tests of what holds for any mask, polygon and file.

use std::path::Path;

use ndarray::Array2;
use proptest::prelude::*;

use super::tests::good;
use super::*;

fn any_mask() -> impl Strategy<Value = Array2<u8>> {
    (1usize..20, 1usize..20).prop_flat_map(|(height, width)| {
        prop::collection::vec(prop_oneof![3 => Just(0u8), 2 => Just(1u8)], height * width)
            .prop_map(move |pixels| Array2::from_shape_vec((height, width), pixels).unwrap())
    })
}

fn any_polygon() -> impl Strategy<Value = Vec<f64>> {
    let coordinate = prop_oneof![
        8 => -20.0..60.0,
        4 => (-40i32..120).prop_map(|n| f64::from(n) / 2.0),
        1 => -1e6..1e6,
        1 => prop::num::f64::ANY,
    ];
    prop::collection::vec(coordinate, 0..16)
}

proptest! {
    #[test]
    fn masks_survive_every_encoding(mask in any_mask()) {
        let rle = Rle::from_mask(mask.view()).unwrap();
        let (height, width) = (rle.height(), rle.width());
        prop_assert_eq!(&rle.decode(), &mask);
        prop_assert_eq!(rle.area(), mask.iter().map(|&pixel| u64::from(pixel)).sum::<u64>());
        let text = rle.to_compressed();
        prop_assert_eq!(&Rle::from_compressed(&text, height, width).unwrap(), &rle);
        prop_assert_eq!(&Rle::from_counts(rle.counts().to_vec(), height, width).unwrap(), &rle);
    }

    #[test]
    fn any_counts_survive_compression(counts in prop::collection::vec(0u32..1 << 20, 1..40)) {
        // Zero runs and all: the text holds the counts as they are.
        let width: u64 = counts.iter().map(|&n| u64::from(n)).sum();
        let side = (width as u32).clamp(1, 30_000);
        let mut counts = counts;
        counts.iter_mut().for_each(|count| *count %= side);
        let sum: u64 = counts.iter().map(|&n| u64::from(n)).sum();
        let height = sum.div_ceil(u64::from(side)).max(1) as u32;
        counts.push((u64::from(height) * u64::from(side) - sum) as u32);
        let rle = Rle::from_counts(counts, height, side).unwrap();
        prop_assert_eq!(&Rle::from_compressed(&rle.to_compressed(), height, side).unwrap(), &rle);
    }

    #[test]
    fn unions_are_pixelwise(
        (first, second) in (1usize..12, 1usize..12).prop_flat_map(|(height, width)| {
            let pixels = || prop::collection::vec(0u8..2, height * width)
                .prop_map(move |pixels| Array2::from_shape_vec((height, width), pixels).unwrap());
            (pixels(), pixels())
        })
    ) {
        let [one, other] = [&first, &second].map(|mask| Rle::from_mask(mask.view()).unwrap());
        let union = Rle::merge(&[one, other]).unwrap();
        prop_assert_eq!(&union, &Rle::from_mask((&first | &second).view()).unwrap());
    }

    #[test]
    fn polygons_are_drawn_or_refused(
        polygon in any_polygon(), height in 1u32..50, width in 1u32..50
    ) {
        let Ok(rle) = Rle::from_polygons(std::slice::from_ref(&polygon), height, width) else {
            let flawed = polygon.len() < 6 || polygon.len() % 2 == 1
                || polygon.iter().any(|value| !value.is_finite() || value.abs() > 1e6);
            prop_assert!(flawed);
            return Ok(());
        };
        let mask = rle.decode();
        prop_assert_eq!(&Rle::from_mask(mask.view()).unwrap(), &rle, "the shortest form");
        let painted = paint(height, width, [(&Segmentation::Polygons(vec![polygon.clone()]), 1)]);
        prop_assert_eq!(&painted.unwrap(), &mask);
        // Neither the first corner nor the direction matters.
        let mut points: Vec<&[f64]> = polygon.chunks(2).collect();
        points.rotate_left(1);
        points.reverse();
        let turned = Rle::from_polygons(&[points.concat()], height, width).unwrap();
        prop_assert_eq!(turned, rle);
    }

    #[test]
    fn compressed_text_is_read_or_refused(text in "[0-o]{0,24}|\\PC{0,12}", height in 1u32..9) {
        if let Ok(rle) = Rle::from_compressed(&text, height, height) {
            prop_assert_eq!(rle.decode().len() as u32, height * height);
        }
    }

    #[test]
    fn random_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(CocoFile::parse(&bytes, Path::new("x"), BadEntries::Skip).is_err());
    }

    #[test]
    fn changed_files_are_no_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut text = serde_json::to_vec(&good()).unwrap();
        for (place, byte) in changes {
            // Mostly characters that mean something.
            let meant = b"0123456789-.eE[]{},:\"nt ";
            let byte = if byte < 200 { meant[usize::from(byte) % meant.len()] } else { byte };
            let place = place.index(text.len());
            text[place] = byte;
        }
        if let Some(cut) = cut {
            text.truncate(cut.index(text.len()));
        }
        for bad in [BadEntries::Refuse, BadEntries::Skip] {
            let Ok((file, _)) = CocoFile::parse(&text, Path::new("x"), bad) else { continue };
            for image in 0..file.images.len() {
                prop_assert!(file.paint(image, |_| Some(1), Crowds::Paint).is_ok());
            }
        }
    }
}
