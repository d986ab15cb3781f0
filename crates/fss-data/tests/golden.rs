//! Golden cases of the data crate: outputs of the official code.

#[path = "golden/episodes.rs"]
mod episodes;
#[path = "golden/images.rs"]
mod images;
#[path = "golden/rng.rs"]
mod rng;
