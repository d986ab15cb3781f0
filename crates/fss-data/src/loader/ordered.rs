//! Jobs done by threads, results taken in order.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::DataError;

/// How many threads work, and how far they read ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Worker threads; 0 stands for one for each processor.
    pub threads: usize,
    /// Jobs begun but not yet taken, at least 1: bounds the memory that results take.
    pub prefetch: usize,
}

impl Default for LoaderOptions {
    /// One thread for each processor, 8 jobs ahead.
    fn default() -> Self {
        Self { threads: 0, prefetch: 8 }
    }
}

impl LoaderOptions {
    fn threads(self) -> usize {
        let wanted = match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        // More threads than jobs under way would only wait.
        wanted.min(self.prefetch.max(1))
    }
}

/// An iterator over the results of jobs that worker threads do ahead of time.
///
/// Results come in the order of the jobs, whatever the number of threads. Jobs are taken from their
/// iterator on the thread that asks for results, at most `prefetch` ahead, so a sampler behind it
/// needs no lock. The first error, of a job or of the iterator of jobs, comes in its turn and ends
/// the iteration. A panic in a job is such an error. Dropping the loader lets the jobs that are
/// being done finish, throws their results away and joins the threads.
pub struct OrderedLoader<J, T> {
    jobs: Box<dyn Iterator<Item = Result<J, DataError>> + Send>,
    /// `None` once no more jobs are handed out.
    to_workers: Option<Sender<(usize, J)>>,
    from_workers: Receiver<(usize, Result<T, DataError>)>,
    /// Results that came before their turn.
    early: HashMap<usize, Result<T, DataError>>,
    prefetch: usize,
    handed_out: usize,
    delivered: usize,
    cancelled: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

impl<J: Send + 'static, T: Send + 'static> OrderedLoader<J, T> {
    /// Starts the threads and hands them the first jobs.
    ///
    /// `work` is called from all threads and must depend on its job alone.
    ///
    /// # Errors
    /// [`DataError::Setting`] when the system refuses to start a thread.
    pub fn new<I, F>(jobs: I, options: LoaderOptions, work: F) -> Result<Self, DataError>
    where
        I: IntoIterator<Item = Result<J, DataError>>,
        I::IntoIter: Send + 'static,
        F: Fn(J) -> Result<T, DataError> + Send + Sync + 'static,
    {
        // Neither channel needs a bound: `prefetch` bounds what is under way, and so a worker
        // never waits for room, which is what makes dropping safe at any time.
        let (to_workers, job_queue) = unbounded();
        let (results, from_workers) = unbounded();
        let work = Arc::new(work);
        let mut loader = Self {
            jobs: Box::new(jobs.into_iter()),
            to_workers: Some(to_workers),
            from_workers,
            early: HashMap::new(),
            prefetch: options.prefetch.max(1),
            handed_out: 0,
            delivered: 0,
            cancelled: Arc::new(AtomicBool::new(false)),
            workers: Vec::new(),
        };
        for number in 0..options.threads() {
            let queue: Receiver<(usize, J)> = job_queue.clone();
            let results = results.clone();
            let work = Arc::clone(&work);
            let cancelled = Arc::clone(&loader.cancelled);
            let worker = std::thread::Builder::new()
                .name(format!("fss-loader-{number}"))
                .spawn(move || serve(&queue, &results, &cancelled, &*work));
            match worker {
                Ok(worker) => loader.workers.push(worker),
                // `loader` is dropped here and joins the threads that did start.
                Err(error) => {
                    return Err(DataError::Setting {
                        what: format!("cannot start loader thread {number}: {error}"),
                        remedy: "use fewer threads".into(),
                    });
                }
            }
        }
        loader.hand_out();
        Ok(loader)
    }

    /// How many results have been taken.
    pub fn delivered(&self) -> usize {
        self.delivered
    }

    /// Hands out jobs until `prefetch` are under way or there are no more.
    fn hand_out(&mut self) {
        while let Some(to_workers) = &self.to_workers {
            if self.handed_out - self.delivered >= self.prefetch {
                return;
            }
            match self.jobs.next() {
                Some(Ok(job)) => {
                    // Workers only stop after this sender is gone, so the send cannot fail.
                    let _ = to_workers.send((self.handed_out, job));
                }
                Some(Err(error)) => {
                    self.early.insert(self.handed_out, Err(error));
                    self.to_workers = None;
                }
                None => {
                    self.to_workers = None;
                    return;
                }
            }
            self.handed_out += 1;
        }
    }

    /// The next result in order; waits for it.
    fn receive(&mut self) -> Result<T, DataError> {
        loop {
            if let Some(result) = self.early.remove(&self.delivered) {
                return result;
            }
            match self.from_workers.recv() {
                Ok((number, result)) => {
                    self.early.insert(number, result);
                }
                Err(_) => {
                    return Err(DataError::Worker {
                        job: self.delivered,
                        problem: "all loader threads have ended".into(),
                    });
                }
            }
        }
    }
}

impl<J: Send + 'static, T: Send + 'static> Iterator for OrderedLoader<J, T> {
    type Item = Result<T, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.cancelled.load(Ordering::Relaxed) {
            return None;
        }
        self.hand_out();
        if self.delivered == self.handed_out {
            return None;
        }
        let result = self.receive();
        self.delivered += 1;
        if result.is_err() {
            self.cancelled.store(true, Ordering::Relaxed);
            self.to_workers = None;
            self.early.clear();
        } else {
            // Keeps the threads busy while the caller works on this result.
            self.hand_out();
        }
        Some(result)
    }
}

impl<J, T> Drop for OrderedLoader<J, T> {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.to_workers = None;
        for worker in self.workers.drain(..) {
            // Panics of jobs were caught in the worker.
            let _ = worker.join();
        }
    }
}

impl<J, T> fmt::Debug for OrderedLoader<J, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrderedLoader")
            .field("threads", &self.workers.len())
            .field("prefetch", &self.prefetch)
            .field("delivered", &self.delivered)
            .finish_non_exhaustive()
    }
}

/// What a worker thread does.
fn serve<J, T>(
    queue: &Receiver<(usize, J)>,
    results: &Sender<(usize, Result<T, DataError>)>,
    cancelled: &AtomicBool,
    work: &(impl Fn(J) -> Result<T, DataError> + ?Sized),
) {
    for (number, job) in queue {
        // A closed queue still hands out what is in it.
        if cancelled.load(Ordering::Relaxed) {
            return;
        }
        // A job that panicked leaves nothing behind that another job could see: it is a pure
        // function of its input, and its output is thrown away.
        let result = catch_unwind(AssertUnwindSafe(|| work(job))).unwrap_or_else(|panic| {
            Err(DataError::Worker { job: number, problem: message_of(&*panic) })
        });
        if results.send((number, result)).is_err() {
            return;
        }
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    match text {
        Some(text) => format!("it panicked: {text}"),
        None => "it panicked".into(),
    }
}

#[cfg(test)]
#[path = "ordered_tests.rs"]
mod tests;
