//! Test support shared by the workspace: the fill rule, golden files, weight files in PyTorch's format, peak
//! memory.
//!
//! Test code: it panics with a clear message where something is missing.
#![forbid(unsafe_code)]

mod fill;
pub mod golden;
mod memory;
pub mod pth;

pub use fill::fill;
pub use memory::peak_mib;
