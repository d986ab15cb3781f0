//! One test on several devices.

use std::sync::mpsc::Sender;

use burn::tensor::Device;
use ndarray::Array2;

use super::data::TestData;
use super::evaluate::evaluate_ways;
use super::observer::{WayOutcome, WaysObserver};
use super::protocol::WaysPlan;
use super::result::{WayRecord, WaysEvaluation};
use super::tester::WayTester;
use crate::devices::share_out;
use crate::{Stop, TrainError};

/// As [`evaluate_ways`], on several devices at once: each has a copy of the model, a thread, and every
/// so-many-th episode. The scores are those of one device that computes the same.
///
/// The memory for features is shared out. The observer hears of episodes in the order in which they are done,
/// with the B-IOU of those of the same device so far.
///
/// # Errors
/// As [`evaluate_ways`]; [`TrainError::Setting`] for models whose episodes depend on each other.
pub fn evaluate_ways_on<T: WayTester + Send>(
    models: Vec<(T, Device)>,
    data: &TestData,
    plan: &WaysPlan,
    observer: &mut dyn WaysObserver,
    stop: &Stop,
) -> Result<WaysEvaluation, TrainError> {
    if let [(model, device)] = models.as_slice() {
        return evaluate_ways(model, data, plan, device, observer, stop);
    }
    let count = models.len();
    let plans = plan.shard.split(count).into_iter().map(|shard| WaysPlan {
        shard,
        reuse: plan.reuse.share(count),
        ..plan.clone()
    });
    let workers = models.into_iter().zip(plans).enumerate().collect();
    let work = |(place, ((model, device), plan)): (usize, ((T, Device), WaysPlan)),
                sender,
                stop: &Stop| {
        let mut told = Told { sender, place, count };
        evaluate_ways(&model, data, &plan, &device, &mut told, stop)
    };
    let mut started = None;
    let episodes = plan.shard.count(plan.protocol.test.episodes);
    let parts = share_out(workers, stop, work, |message| match message {
        Message::Started(seed) => {
            if started.is_none_or(|started| started != seed) {
                observer.test_started(seed, episodes);
                started = Some(seed);
            }
        }
        Message::Done(done) => observer.episode_finished(&WayOutcome {
            number: done.number,
            record: &done.record,
            predictions: &done.predictions,
            full: done.full.as_ref(),
            running: done.running,
        }),
    })?;
    WaysEvaluation::merge(plan.shard, parts)
}

enum Message {
    Started(u32),
    Done(Box<Done>),
}

/// An episode that a device has done.
struct Done {
    number: usize,
    record: WayRecord,
    predictions: Vec<Array2<u8>>,
    full: Option<Array2<u8>>,
    running: Option<f64>,
}

/// Hands on what a device does.
struct Told {
    sender: Sender<Message>,
    /// The number of the device, of so many.
    place: usize,
    count: usize,
}

impl WaysObserver for Told {
    fn test_started(&mut self, seed: u32, _episodes: usize) {
        // Nobody listens any more if the test has failed elsewhere; the same below.
        let _ = self.sender.send(Message::Started(seed));
    }

    fn episode_finished(&mut self, outcome: &WayOutcome<'_>) {
        let _ = self.sender.send(Message::Done(Box::new(Done {
            number: self.place + outcome.number * self.count,
            record: outcome.record.clone(),
            predictions: outcome.predictions.to_vec(),
            full: outcome.full.cloned(),
            running: outcome.running,
        })));
    }
}
