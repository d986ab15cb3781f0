use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::*;

fn options(threads: usize, prefetch: usize) -> LoaderOptions {
    LoaderOptions { threads, prefetch }
}

fn jobs(count: usize) -> impl Iterator<Item = Result<usize, DataError>> + Send + 'static {
    (0..count).map(Ok)
}

fn failure(text: &str) -> DataError {
    DataError::Setting { what: text.to_owned(), remedy: "none".into() }
}

#[test]
fn results_come_in_order_whatever_the_threads() {
    for threads in [1, 2, 7] {
        for prefetch in [0, 1, 3, 64] {
            let loader = OrderedLoader::new(jobs(50), options(threads, prefetch), |job| {
                // Later jobs of a group are done first.
                std::thread::sleep(Duration::from_micros(300 * (3 - job as u64 % 4)));
                Ok(job * 10)
            })
            .unwrap();
            let results: Vec<usize> = loader.map(Result::unwrap).collect();
            assert_eq!(results, (0..50).map(|job| job * 10).collect::<Vec<_>>());
        }
    }
}

#[test]
fn no_job_gives_no_result() {
    let mut loader = OrderedLoader::new(jobs(0), LoaderOptions::default(), Ok).unwrap();
    assert!(loader.next().is_none());
    assert!(loader.next().is_none());
}

#[test]
fn no_more_than_prefetch_jobs_are_under_way() {
    let begun = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&begun);
    let taken = std::iter::from_fn(move || Some(Ok(counter.fetch_add(1, Ordering::SeqCst))));
    let mut loader = OrderedLoader::new(taken, options(3, 5), Ok).unwrap();
    assert_eq!(begun.load(Ordering::SeqCst), 5);
    for done in 1..=20 {
        loader.next().unwrap().unwrap();
        assert_eq!(begun.load(Ordering::SeqCst), 5 + done);
        assert_eq!(loader.delivered(), done);
    }
}

#[test]
fn the_first_error_in_order_ends_the_iteration() {
    let mut loader = OrderedLoader::new(jobs(40), options(4, 10), |job| match job {
        // The later failure is there long before the earlier one.
        5 => {
            std::thread::sleep(Duration::from_millis(20));
            Err(failure("five"))
        }
        6 => Err(failure("six")),
        job => Ok(job),
    })
    .unwrap();
    for expected in 0..5 {
        assert_eq!(loader.next().unwrap().unwrap(), expected);
    }
    assert!(loader.next().unwrap().unwrap_err().to_string().contains("five"));
    assert!(loader.next().is_none());
    assert!(loader.next().is_none());
}

#[test]
fn an_error_among_the_jobs_comes_in_its_turn() {
    let jobs = (0..10).map(|job| if job == 3 { Err(failure("three")) } else { Ok(job) });
    let loader = OrderedLoader::new(jobs, options(2, 8), Ok).unwrap();
    let results: Vec<Result<i32, DataError>> = loader.collect();
    assert_eq!(results.len(), 4);
    assert!(results[..3].iter().all(Result::is_ok));
    assert!(results[3].as_ref().unwrap_err().to_string().contains("three"));
}

#[test]
fn a_panic_is_an_error_that_names_the_job() {
    let mut loader = OrderedLoader::new(jobs(9), options(2, 4), |job| {
        assert!(job != 2, "job {job} went wrong");
        Ok(job)
    })
    .unwrap();
    assert!(loader.next().unwrap().is_ok());
    assert!(loader.next().unwrap().is_ok());
    let error = loader.next().unwrap().unwrap_err().to_string();
    assert!(error.contains("number 2") && error.contains("job 2 went wrong"), "{error}");
    assert!(loader.next().is_none());
}

#[test]
fn dropping_early_joins_the_threads_and_begins_no_further_job() {
    let running = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(Mutex::new(Vec::new()));
    for taken in 0..4 {
        let (running_in, done_in) = (Arc::clone(&running), Arc::clone(&done));
        let mut loader = OrderedLoader::new(jobs(1000), options(3, 100), move |job| {
            running_in.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(1));
            done_in.lock().unwrap().push(job);
            running_in.fetch_sub(1, Ordering::SeqCst);
            Ok(job)
        })
        .unwrap();
        for _ in 0..taken {
            loader.next().unwrap().unwrap();
        }
        drop(loader);
        assert_eq!(running.load(Ordering::SeqCst), 0, "threads outlive the loader");
        // The workers own clones of both counters: they are gone once the threads are.
        assert_eq!(Arc::strong_count(&done), 1);
        let mut done = done.lock().unwrap();
        assert!(done.len() < 100, "{} jobs were done after the drop", done.len());
        done.clear();
    }
}

#[test]
fn dropping_after_an_error_does_not_hang() {
    let mut loader =
        OrderedLoader::new(jobs(100), options(2, 50), |_| Err::<(), _>(failure("no"))).unwrap();
    assert!(loader.next().unwrap().is_err());
    drop(loader);
}
