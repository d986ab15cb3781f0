//! Coarse maps: where a class probably is in an image, on a grid of 50 x 50.
//!
//! Methods that learn from class names alone take them in place of masks. They are class activation
//! maps (Grad-CAM) of an image and text model, computed once for each pair of an image and a class
//! and kept in files. What computes them lies elsewhere; here is what is done with numbers and files:
//!
//! | what | where |
//! |---|---|
//! | from an activation map to the coarse map | [`CamSizes`] |
//! | files: the published ones (`.pt`) and those of this library (`.safetensors`) | [`read_cam`], [`write_cam`] |
//! | which file belongs to which image and class | [`CamFolder`], [`CamFolders`] |
//!
//! The names of the published files are kept, so that a folder made by the published code is read as
//! it is: `<image>--<class>.pt` with the class counted from 0, where `<image>` is
//!
//! | data set | image | example |
//! |---|---|---|
//! | PASCAL-5i | its id | `2007_000033--0.pt` |
//! | COCO-20i | folder and file name | `val2014/COCO_val2014_000000000042.jpg--3.pt` |
//! | FSS-1000 | category and file name | `ab_wheel/1.jpg--0.safetensors` |
//! | own data | its path below the root | `cat/images/1.jpg--0.safetensors` |
//!
//! The last two are additions of this library.

mod file;
mod folder;
mod naming;
mod note;
mod postprocess;
mod torch;
mod unpickle;

pub use file::{read_cam, read_cam_note, write_cam};
pub use folder::{CamFolder, CamFolders, MissingCam};
pub use note::CamNote;
pub use postprocess::{CamSizes, CamStages};

/// Cells a side of the published maps.
pub const CAM_GRID: usize = 50;
