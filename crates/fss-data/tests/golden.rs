//! Golden cases of the data crate: outputs of the official code.

#[path = "golden/cam.rs"]
mod cam;
#[path = "golden/episodes.rs"]
mod episodes;
#[path = "golden/gfss.rs"]
mod gfss;
#[path = "golden/hsnet.rs"]
mod hsnet;
#[path = "golden/hsnet_images.rs"]
mod hsnet_images;
#[path = "golden/images.rs"]
mod images;
#[path = "golden/lists.rs"]
mod lists;
#[path = "golden/rng.rs"]
mod rng;
#[path = "golden/ways.rs"]
mod ways;
