use fss_data::rng::KeyedRandom;

use super::*;
use crate::mining::points::{PointFile, PointSlice};

fn run(values: &[f32], channels: usize, clusters: usize, seed: u64) -> Clustering {
    let points = PointSlice::new(values, channels).unwrap();
    let options = KMeansOptions { clusters, iterations: 100, seed };
    kmeans(&points, &options, &mut |_| {}, &Stop::new()).unwrap()
}

/// Points around `centres`, `each` of them around every one, in turn.
fn blobs(centres: &[[f32; 3]], each: usize, spread: f64) -> Vec<f32> {
    let mut random = KeyedRandom::new(9, 9);
    let mut noise = || ((random.next_f64() - 0.5) * spread) as f32;
    (0..each)
        .flat_map(|_| centres.to_vec())
        .flat_map(|centre| centre.map(|value| value + noise()))
        .collect()
}

const FOUR: [[f32; 3]; 4] = [[0.0, 0.0, 0.0], [10.0, 0.0, 0.0], [0.0, 10.0, 0.0], [0.0, 0.0, 10.0]];

#[test]
fn well_separated_groups_are_found() {
    let points = blobs(&FOUR, 50, 1.0);
    for seed in 0..5 {
        let found = run(&points, 3, 4, seed);
        assert!(found.converged);
        assert_eq!(found.sizes, [50; 4]);
        // Points of one group come four apart.
        for (place, label) in found.labels.iter().enumerate() {
            assert_eq!(*label, found.labels[place % 4]);
        }
        let mean: f64 = points.chunks_exact(12).map(|rows| f64::from(rows[3])).sum::<f64>() / 50.0;
        let cluster = found.labels[1] as usize;
        assert!((found.centres[cluster * 3] - mean).abs() < 1e-9);
    }
}

#[test]
fn results_follow_from_points_and_seed_alone() {
    let points = blobs(&FOUR, 700, 9.0);
    let whole = run(&points, 3, 7, 5);
    assert_eq!(whole, run(&points, 3, 7, 5));
    assert_ne!(whole.labels, run(&points, 3, 7, 6).labels);
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(one.install(|| run(&points, 3, 7, 5)), whole);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("points");
    let bytes: Vec<u8> = points.iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(&path, bytes).unwrap();
    let file = PointFile { path, count: points.len() / 3, channels: 3 };
    let options = KMeansOptions { clusters: 7, iterations: 100, seed: 5 };
    assert_eq!(kmeans(&file, &options, &mut |_| {}, &Stop::new()).unwrap(), whole);

    // A file that has become shorter is an error that names it.
    let longer = PointFile { count: file.count + 1, ..file };
    let error = kmeans(&longer, &options, &mut |_| {}, &Stop::new()).unwrap_err().to_string();
    assert!(error.contains("points"), "{error}");
}

#[test]
fn every_round_comes_closer_and_centres_are_means() {
    let points = blobs(&FOUR, 200, 14.0);
    let slice = PointSlice::new(&points, 3).unwrap();
    let mut last = f64::INFINITY;
    for iterations in 0..12 {
        let options = KMeansOptions { clusters: 6, iterations, seed: 1 };
        let found = kmeans(&slice, &options, &mut |_| {}, &Stop::new()).unwrap();
        assert!(found.inertia <= last * (1.0 + 1e-12), "round {iterations}");
        assert!(found.iterations <= iterations);
        last = found.inertia;
    }
    let found = run(&points, 3, 6, 1);
    assert_eq!(found.sizes.iter().sum::<usize>(), 800);
    for cluster in 0..6 {
        let own: Vec<&[f32]> = points
            .chunks_exact(3)
            .zip(&found.labels)
            .filter(|(_, label)| **label as usize == cluster)
            .map(|(row, _)| row)
            .collect();
        assert_eq!(own.len(), found.sizes[cluster]);
        for channel in 0..3 {
            let mean =
                own.iter().map(|row| f64::from(row[channel])).sum::<f64>() / own.len() as f64;
            assert!((found.centres[cluster * 3 + channel] - mean).abs() < 1e-9);
        }
    }
}

#[test]
fn an_empty_cluster_gets_the_farthest_point() {
    let values = [0.0, 1.0, 2.0, 9.0];
    let points = PointSlice::new(&values, 1).unwrap();
    let mut state = Lloyd {
        points: &points,
        centres: vec![1.0, 100.0],
        labels: vec![u32::MAX; 4],
        distances: vec![0.0; 4],
    };
    let (sums, mut sizes, _) = state.assign(2).unwrap();
    assert_eq!(sizes, [4, 0]);
    state.average(sums, &mut sizes).unwrap();
    assert_eq!((sizes, state.labels), (vec![3, 1], vec![0, 0, 0, 1]));
    assert_eq!(state.centres, [1.0, 9.0]);
}

#[test]
fn equal_points_leave_no_cluster_empty() {
    let values = [3.0f32; 10];
    let found = run(&values, 2, 4, 0);
    assert!(found.converged && found.sizes.iter().all(|size| *size > 0), "{found:?}");
    assert_eq!(found.sizes.iter().sum::<usize>(), 5);
    assert_eq!(found.centres, [3.0; 8]);
    assert_eq!(found.inertia, 0.0);
}

#[test]
fn as_many_clusters_as_points_and_no_more() {
    let values = [0.0, 5.0, 7.0];
    let found = run(&values, 1, 3, 2);
    assert_eq!(found.sizes, [1; 3]);
    assert_eq!(found.inertia, 0.0);
    let points = PointSlice::new(&values, 1).unwrap();
    for clusters in [0, 4] {
        let options = KMeansOptions { clusters, iterations: 10, seed: 0 };
        let error = kmeans(&points, &options, &mut |_| {}, &Stop::new()).unwrap_err().to_string();
        assert!(error.contains(&format!("{clusters} clusters of 3 points")), "{error}");
    }
    assert!(PointSlice::new(&values, 2).is_err() && PointSlice::new(&values, 0).is_err());
}

#[test]
fn it_stops_on_request() {
    let points = blobs(&FOUR, 50, 20.0);
    let slice = PointSlice::new(&points, 3).unwrap();
    let options = KMeansOptions { clusters: 9, iterations: 100, seed: 0 };
    let stop = Stop::new();
    let flag = stop.clone();
    let result = kmeans(&slice, &options, &mut |_| flag.request(), &stop);
    assert!(matches!(result, Err(TrainError::Interrupted { .. })));
}
