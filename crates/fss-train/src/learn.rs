//! New classes for a model of generalized segmentation, from a handful of annotated images.
//!
//! The method is POP's stage 2 (CVPR 2023): novel prototypes and their classifier learn, everything else
//! stays. Two things differ from the published schedule, which evaluates on a whole benchmark after every
//! epoch and cuts each image anew in every iteration. Images are seen whole, in a few fixed views,
//! mirrored and at other scales: backbone and decoder, being frozen, run once a view, and an iteration
//! costs no more than the head. And the last model counts, since there is nothing to select by.

mod images;
mod state;
mod views;

use std::path::Path;

use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use fss_backbone::{load_module_tensors, module_tensors};
use fss_data::rng::KeyedRandom;
use fss_heads::{GeneralizedModel, Pop, PopHead};

pub use images::{Background, LearnImage, LearnSet};
pub use state::LearnState;

use crate::optim::{NamedOptimizer, Rule, clip_gradients};
use crate::tensor::mask_batch;
use crate::{Stop, TrainError};
use views::View;

/// How new classes are learnt.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LearnSettings {
    /// Updates. Each sees one view of an annotated image and, if there are some, one of a base image.
    pub iterations: u64,
    /// Learning rate, constant. 0.01 is what the published scripts come to.
    pub rate: f64,
    /// Momentum of the gradient descent.
    pub momentum: f64,
    /// L2 penalty.
    pub weight_decay: f64,
    /// Largest norm of the gradient.
    pub clip: f64,
    /// Seed of the new prototypes and of the order of images.
    pub seed: u64,
    /// The side of the square that images are brought to.
    pub side: usize,
    /// Views of each image: the whole image, mirrored, and both at smaller scales. Fewer are made where
    /// their features would not fit into 2 GiB.
    pub views: usize,
}

impl Default for LearnSettings {
    fn default() -> Self {
        Self {
            iterations: 500,
            rate: 0.01,
            momentum: 0.9,
            weight_decay: 1e-4,
            clip: 5.0,
            seed: 123,
            side: 473,
            views: 4,
        }
    }
}

impl LearnSettings {
    /// Checks every value.
    ///
    /// # Errors
    /// [`TrainError::Setting`] for the first that makes no sense.
    pub fn check(&self) -> Result<(), TrainError> {
        let counts =
            [("iterations", self.iterations as usize), ("side", self.side), ("views", self.views)];
        for (name, count) in counts {
            if count == 0 {
                return Err(TrainError::setting(format!("{name} is 0"), "give at least 1"));
            }
        }
        let numbers = [
            ("rate", self.rate, 1e3),
            ("momentum", self.momentum, 1.0),
            ("weight_decay", self.weight_decay, 1e3),
            ("clip", self.clip, f64::MAX),
        ];
        for (name, value, most) in numbers {
            let positive = value > 0.0 || (name != "rate" && name != "clip" && value == 0.0);
            if !positive || value > most {
                return Err(TrainError::setting(
                    format!("{name} is {value}"),
                    "give a positive number of ordinary size",
                ));
            }
        }
        Ok(())
    }
}

/// What happens while new classes are learnt.
#[derive(Debug, Clone, PartialEq)]
pub enum LearnEvent {
    /// Features of one more view were made.
    Prepared {
        /// Views that are done.
        done: usize,
        /// All views.
        total: usize,
    },
    /// One update is done.
    Updated {
        /// Its number, from 1.
        iteration: u64,
        /// How many there will be.
        iterations: u64,
        /// The loss; `None` if no pixel counted.
        loss: Option<f64>,
    },
}

/// How learning ended.
#[derive(Debug)]
pub enum LearnOutcome {
    /// The model knows the new classes.
    Finished(Box<Pop>),
    /// It was stopped on request; the state goes on from here.
    Interrupted(LearnState),
}

/// Teaches a model of stage 1 new classes: `set.novel` of them, with the indices that follow those of its
/// base classes.
///
/// The same settings, images and seed give the same model, interrupted or not (on a CPU, with the same
/// number of threads).
///
/// # Errors
/// [`TrainError::Setting`] for a model of stage 2, for settings or images that cannot be learnt from
/// (each is named), or a state of another run; [`TrainError::NonFiniteLoss`]; [`TrainError::Interrupted`]
/// if it was stopped before the first update.
pub fn learn(
    model: &Pop,
    set: &LearnSet,
    settings: &LearnSettings,
    resumed: Option<LearnState>,
    device: &Device,
    observer: &mut dyn FnMut(LearnEvent),
    stop: &Stop,
) -> Result<LearnOutcome, TrainError> {
    settings.check()?;
    let base = model.classes().base;
    if model.classes().novel > 0 {
        return Err(TrainError::setting(
            format!("the model has learnt novel classes already ({})", model.classes()),
            "start from the weights of stage 1, and give the images of all novel classes together",
        ));
    }
    set.check(base)?;
    let fingerprint = state::fingerprint(model, settings, set);
    let views = views::prepare(model, set, settings, device, observer, stop)?;
    let mut extended = model.clone().extended(set.novel, settings.seed);
    let mut optimizer = NamedOptimizer::new(Rule::sgd(settings.momentum, settings.weight_decay));
    let training = device.clone().autodiff();
    let blank = PopHead::new(model.config().channels(), base, settings.seed, &training);
    let mut head = filled(blank.extended(set.novel, settings.seed), &extended.head)?;
    let mut done = 0;
    if let Some(state) = resumed {
        (head, done) = state.restore(head, &mut optimizer, &fingerprint, &training)?;
    }
    while done < settings.iterations {
        if stop.is_requested() {
            let state = LearnState::of(&head, &optimizer, done, &fingerprint)?;
            return Ok(LearnOutcome::Interrupted(state));
        }
        let mut random = KeyedRandom::new(settings.seed, done);
        let novel = views.novel(&mut random);
        let base = views.base(&mut random);
        let (next, loss) = update(head, &mut optimizer, novel, base, settings, done, device)?;
        head = next;
        done += 1;
        let iterations = settings.iterations;
        observer(LearnEvent::Updated { iteration: done, iterations, loss });
    }
    extended.head = filled(extended.head.clone(), &head)?;
    Ok(LearnOutcome::Finished(Box::new(extended)))
}

/// A head with the values of another one; its parameters stay on their device, under autodiff or not.
fn filled(head: PopHead, values: &PopHead) -> Result<PopHead, TrainError> {
    Ok(load_module_tensors(head, module_tensors(values)?, origin())?)
}

/// One step of gradient descent on a view of an annotated image and one of a base image.
fn update(
    head: PopHead,
    optimizer: &mut NamedOptimizer,
    novel: &View,
    base: Option<&View>,
    settings: &LearnSettings,
    done: u64,
    device: &Device,
) -> Result<(PopHead, Option<f64>), TrainError> {
    let mut features = vec![novel.features.clone()];
    features.extend(base.map(|view| view.features.clone()));
    let of_novel = mask_batch([&novel.labels], device)?;
    let of_base = base.map(|view| mask_batch([&view.labels], device)).transpose()?;
    let losses = head.novel_losses(Tensor::cat(features, 0), &of_novel, of_base.as_ref())?;
    if losses.terms.iter().all(|term| term.value.is_none()) {
        return Ok((head, None));
    }
    let value = losses.total.to_data().iter::<f64>().next().unwrap_or(f64::NAN);
    if !value.is_finite() {
        let iteration = done + 1;
        return Err(TrainError::NonFiniteLoss { iteration, terms: format!("total {value}") });
    }
    let mut gradients = GradientsParams::from_grads(losses.total.backward(), &head);
    clip_gradients(&mut gradients, &head, settings.clip);
    Ok((optimizer.step(settings.rate, head, gradients), Some(value)))
}

/// Where a state came from, in messages.
fn origin() -> &'static Path {
    Path::new("the interrupted run")
}
