//! The random number generators of the published protocols, to the bit, and a keyed one of our own.
//!
//! Published episode lists are defined by the streams of Python's `random`, PyTorch's default
//! CPU generator and NumPy's legacy global generator. All three are MT19937 and differ in how
//! they are seeded and in how they turn its 32-bit words into numbers:
//!
//! | generator | seeding | index below n |
//! |---|---|---|
//! | [`PythonRandom`] | array of 32-bit words of any integer | top bits, drawn again until below n |
//! | [`TorchGenerator`] | low 32 bits of the seed | (only 64-bit integers are needed) |
//! | [`NumpyLegacy`] | one 32-bit word | masked low bits, drawn again until below n |
//!
//! Each serialises its complete state, so that a run continues bit for bit after a restart.
//! [`KeyedRandom`] has no history: its numbers follow from a seed and an index alone.

mod keyed;
mod mt19937;
mod numpy;
mod python;
mod torch;

pub use keyed::KeyedRandom;
pub use mt19937::{Mt19937, STATE_WORDS};
pub use numpy::NumpyLegacy;
pub use python::PythonRandom;
pub use torch::TorchGenerator;
