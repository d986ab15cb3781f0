//! Work shared out to several devices, a thread each.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::{Stop, TrainError};

/// How often a request to stop is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// Runs `work` for each of `workers` in a thread of its own, while this thread hears what they send.
///
/// One that fails ends the work of all. The results come in the order of the workers.
pub(crate) fn share_out<W: Send, M: Send, T: Send>(
    workers: Vec<W>,
    stop: &Stop,
    work: impl Fn(W, Sender<M>, &Stop) -> Result<T, TrainError> + Sync,
    mut hear: impl FnMut(M),
) -> Result<Vec<T>, TrainError> {
    let ended = Stop::new();
    let parts = std::thread::scope(|scope| {
        let (sender, receiver) = channel();
        let threads: Vec<_> = workers
            .into_iter()
            .map(|worker| {
                let (sender, ended, work) = (sender.clone(), &ended, &work);
                scope.spawn(move || {
                    let part = work(worker, sender, ended);
                    if part.is_err() {
                        ended.request();
                    }
                    part
                })
            })
            .collect();
        drop(sender);
        loop {
            if stop.is_requested() {
                ended.request();
            }
            match receiver.recv_timeout(LOOK) {
                Ok(message) => hear(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(part) => part,
            Err(_) => Err(TrainError::setting(
                "the thread of a device ended by an error of the program",
                "see the message above; run on one device to tell which",
            )),
        });
        joined.collect::<Vec<_>>()
    });
    // What stopped the others says more than that they were stopped.
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for part in parts {
        match part {
            Ok(part) => done.push(part),
            Err(error) => failed.push(error),
        }
    }
    if failed.is_empty() {
        return Ok(done);
    }
    let cause = failed.iter().position(|e| !matches!(e, TrainError::Interrupted { .. }));
    Err(failed.swap_remove(cause.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order_and_messages_are_heard() {
        let mut heard = 0;
        let work = |number: u64, sender: Sender<u64>, _: &Stop| {
            std::thread::sleep(Duration::from_millis(20 - 5 * number));
            sender.send(number).unwrap();
            Ok(number * number)
        };
        let done = share_out(vec![0, 1, 2, 3], &Stop::new(), work, |number| heard += number);
        assert_eq!((done.unwrap(), heard), (vec![0, 1, 4, 9], 6));
    }

    #[test]
    fn one_that_fails_ends_all_and_is_named() {
        let work = |fails: bool, _: Sender<()>, stop: &Stop| -> Result<(), TrainError> {
            if fails {
                return Err(TrainError::setting("no memory", "buy some"));
            }
            while !stop.is_requested() {
                std::thread::yield_now();
            }
            Err(TrainError::Interrupted { what: "the work" })
        };
        let failed = share_out(vec![false, true, false], &Stop::new(), work, |()| {});
        assert!(failed.unwrap_err().to_string().contains("no memory"));
        let stop = Stop::new();
        stop.request();
        let failed = share_out(vec![false, false], &stop, work, |()| {});
        assert!(matches!(failed, Err(TrainError::Interrupted { .. })));
    }
}
