//! Parallel loading in order: worker threads read ahead, results come out in the order of the jobs.
//!
//! [`OrderedLoader`] does any job; [`Loader`] loads whole episodes, [`SampleLoader`] single images
//! (for evaluation that computes the features of each image once).

mod episodes;
mod ordered;

pub use episodes::{
    EpisodeTensors, EpisodeTransform, Loader, SampleLoader, episodes_of, load_episode,
};
pub use ordered::{LoaderOptions, OrderedLoader};
