//! The one error type of this crate.

use std::fmt;
use std::path::PathBuf;

use crate::config::Depth;
use crate::imagenet::ImagenetNetwork;
use crate::taps::TapNetwork;

/// What can go wrong with backbones and their weight files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackboneError {
    /// A file could not be opened, read or written.
    #[error("cannot {action} '{}': {reason}; {remedy}", path.display())]
    Io {
        /// What was tried: "read" or "write".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        reason: String,
        /// What to do next.
        remedy: &'static str,
    },
    /// The weight file has no bytes.
    #[error("'{}' is empty (0 bytes); download or export the weights again", path.display())]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// The file begins like none of the formats that are read.
    #[error(
        "'{}' is not a weight file: it begins with {found}; expected a PyTorch .pth/.pt (zip or \
         legacy), .safetensors or .bpk file",
        path.display()
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// The first bytes, or what they look like.
        found: String,
    },
    /// The file begins well and then does not hold what its format promises.
    #[error(
        "'{}' looks like a {format} file but cannot be read: {reason}; it is truncated, damaged or \
         holds something else: download or export it again and compare its size",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The format it was taken for.
        format: &'static str,
        /// What the reader met.
        reason: String,
    },
    /// A readable file without a single tensor.
    #[error(
        "'{}' holds no tensors; save a state dict (torch.save(model.state_dict(), path)) or a \
         safetensors file",
        path.display()
    )]
    NoTensors {
        /// The file.
        path: PathBuf,
    },
    /// Torchvision's ResNet, whose stem is one 7x7 convolution.
    #[error(
        "'{}' is a ResNet with torchvision's 7x7 stem (conv1.weight {shape:?}); this backbone has a \
         deep stem of three 3x3 convolutions (keys conv1.0, conv1.3, conv1.6): use the deep-stem \
         ImageNet files that SSP and MLC publish",
        path.display()
    )]
    TorchvisionStem {
        /// The file.
        path: PathBuf,
        /// Shape of `conv1.weight`.
        shape: Vec<usize>,
    },
    /// A depth that has no form with `layer4` and dilation.
    #[error(
        "{depth} has no bottlenecks, so it cannot be dilated; use resnet50, resnet101 or resnet152"
    )]
    NotDilated {
        /// The depth.
        depth: Depth,
    },
    /// A checkpoint of the same family with another depth or width.
    #[error(
        "'{}': this looks like {found}, you asked for {asked}; choose the matching backbone or \
         another file",
        path.display()
    )]
    OtherBackbone {
        /// The file.
        path: PathBuf,
        /// What the file looks like.
        found: String,
        /// What the network is.
        asked: String,
    },
    /// Keys that the network needs are not there, or keys are there that it cannot use.
    #[error(
        "'{}' does not fit {asked}: missing keys: {missing}; unused keys: {unused}. The file must \
         hold exactly the tensors of this backbone: choose the backbone it was made for, or load it \
         leniently",
        path.display()
    )]
    Keys {
        /// The file.
        path: PathBuf,
        /// What the network is.
        asked: String,
        /// Keys that the network needs and the file lacks.
        missing: KeyList,
        /// Keys of the file that the network has no place for.
        unused: KeyList,
    },
    /// One file holds the same tensor twice under different names.
    #[error("'{}': keys '{first}' and '{second}' name the same tensor; keep one of them", path.display())]
    DuplicateKey {
        /// The file.
        path: PathBuf,
        /// One key.
        first: String,
        /// The other key.
        second: String,
    },
    /// A tensor of another shape.
    #[error(
        "'{}': key '{key}' has shape {found:?}, the network needs {expected:?}; check backbone and \
         width",
        path.display()
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// The key in the file.
        key: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape in the network.
        expected: Vec<usize>,
    },
    /// A tensor whose element type is no floating-point type.
    #[error(
        "'{}': key '{key}' has element type {dtype}; f32, f64, f16 and bf16 are read: convert it \
         to f32 and save again",
        path.display()
    )]
    ElementType {
        /// The file.
        path: PathBuf,
        /// The key in the file.
        key: String,
        /// The element type.
        dtype: String,
    },
    /// A tensor holds numbers that no working network has.
    #[error(
        "'{}': key '{key}' holds {what}; the file is damaged or its training diverged: use another",
        path.display()
    )]
    Values {
        /// The file.
        path: PathBuf,
        /// The key in the file.
        key: String,
        /// What was found, e.g. "NaN or infinity".
        what: &'static str,
    },
    /// A file with the keys of a CLIP whose shapes contradict each other.
    #[error(
        "'{}' has the keys of a CLIP, but {reason}; it is damaged or of another architecture: use \
         OpenAI's RN50.pt or a state dict of it",
        path.display()
    )]
    ClipSizes {
        /// The file.
        path: PathBuf,
        /// Which sizes do not fit.
        reason: String,
    },
    /// CLIP was called with something that it cannot take.
    #[error("CLIP cannot take this: {reason}")]
    ClipInput {
        /// What was given and what is needed.
        reason: String,
    },
    /// A class name or description without a word.
    #[error("a prompt is empty; name what to look for, e.g. \"dog\" or \"the red cup\"")]
    EmptyPrompt,
    /// A text of more tokens than the context of the text encoder holds.
    #[error(
        "the prompt \"{text}\" needs {size}, CLIP reads at most {limit} tokens; shorten it, or have it \
         cut"
    )]
    LongPrompt {
        /// Its beginning.
        text: String,
        /// Its size, with its unit.
        size: String,
        /// Most tokens.
        limit: usize,
    },
    /// Something needs the separate convolutions and norms that folding merged.
    #[error("cannot {action} a folded backbone: its norms are merged; do it before fold()")]
    Folded {
        /// What was tried.
        action: &'static str,
    },
    /// A parameter could not be read back from its device.
    #[error("cannot read '{key}' back from the device: {reason}; free device memory and try again")]
    Device {
        /// The official key.
        key: String,
        /// The device's words.
        reason: String,
    },
    /// Not the name of a backbone.
    #[error("unknown backbone '{name}'; choose one of {}", Depth::NAMES.join(", "))]
    UnknownBackbone {
        /// The name given.
        name: String,
    },
    /// Not the name of a backbone that can be tapped.
    #[error("no backbone '{name}' for this model; choose one of {}", TapNetwork::NAMES.join(", "))]
    UnknownTapNetwork {
        /// The name given.
        name: String,
    },
    /// Not the name of a backbone of DENet and its siblings.
    #[error(
        "no backbone '{name}' for this model; choose one of {}",
        ImagenetNetwork::NAMES.join(", ")
    )]
    UnknownImagenetNetwork {
        /// The name given.
        name: String,
    },
    /// An image of which nothing would be left behind the network's last halving.
    #[error(
        "an image of {}x{} pixels (height x width) is too small for {backbone}: both sides must be \
         {smallest} or more; resize it",
        image[0],
        image[1]
    )]
    ImageTooSmall {
        /// The network.
        backbone: String,
        /// Height and width given.
        image: [usize; 2],
        /// The smallest side that works.
        smallest: usize,
    },
    /// Not the name of a key style.
    #[error("unknown key style '{name}'; choose one of auto, ssp, mlc, imagenet")]
    UnknownKeyStyle {
        /// The name given.
        name: String,
    },
    /// A configuration that no network can be made of.
    #[error("backbone width {width} is out of range; choose 1 to {max} (64 is the published one)")]
    Width {
        /// The width given.
        width: usize,
        /// The largest accepted.
        max: usize,
    },
    /// A DenseNet whose layers would grow it by half a channel.
    #[error(
        "a DenseNet of width {width} cannot be made: it grows by half its width, which must be even \
         (64 is the published one)"
    )]
    OddWidth {
        /// The width given.
        width: usize,
    },
}

/// A list of keys that displays as its length and the first ten entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyList(pub Vec<String>);

impl fmt::Display for KeyList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 10;
        write!(f, "{}", self.0.len())?;
        if self.0.is_empty() {
            return Ok(());
        }
        let shown: Vec<&str> = self.0.iter().take(SHOWN).map(String::as_str).collect();
        let more = if self.0.len() > SHOWN { ", ..." } else { "" };
        write!(f, " ({}{more})", shown.join(", "))
    }
}
