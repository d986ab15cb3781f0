//! Pictures of masks: overlays, error maps, and panels that show a whole episode.
//!
//! | function | shows |
//! |---|---|
//! | [`overlay`] | an image with its mask laid over it |
//! | [`confusion_overlay`] | where a prediction is right, too much, or missing |
//! | [`heat_overlay`] | an image under a map of numbers, dark to bright |
//! | [`episode_panel`] | supports with masks, query, truth and prediction side by side |
//! | [`legend`] | what the colours mean |
//! | [`class_colours`] | labels in the colours of DENet's code |
//! | [`principal_maps`], [`stretched`] | features as colours |
//! | [`grid`], [`stack`] | captioned tiles in rows; panels beneath each other |
//!
//! Masks are label masks `[H, W]` (0 background, 255 ignore) of the size of their image. A binary
//! mask of an episode is such a mask with the single label 1.

mod features;
mod font;
mod heat;
mod overlay;
mod panel;
mod tile;

pub use crate::io::voc_palette;
pub use features::{class_colours, extended_palette, largest_label, principal_maps, stretched};
pub use heat::{heat_colours, heat_overlay};
pub use overlay::{
    Colours, IgnoredPixels, OverlayStyle, confusion_map, confusion_overlay, overlay,
};
pub use panel::{Comparison, EpisodeView, PanelStyle, episode_panel};
pub use tile::{Tile, grid, legend, stack};

/// The colours that panels use. Errors are told apart by colour-blind readers too
/// (after Okabe and Ito, "Color Universal Design").
pub mod colours {
    /// The mask of a support.
    pub const SUPPORT: [u8; 3] = [204, 40, 140];
    /// The annotated mask of a query.
    pub const TRUTH: [u8; 3] = [0, 158, 115];
    /// The predicted mask of a query.
    pub const PREDICTION: [u8; 3] = [230, 120, 0];
    /// Foreground that was predicted as such.
    pub const TRUE_POSITIVE: [u8; 3] = [0, 158, 115];
    /// Background that was predicted as foreground.
    pub const FALSE_POSITIVE: [u8; 3] = [213, 60, 0];
    /// Foreground that was predicted as background.
    pub const FALSE_NEGATIVE: [u8; 3] = [60, 140, 230];
    /// Behind panels.
    pub const PAPER: [u8; 3] = [255, 255, 255];
    /// Captions.
    pub const INK: [u8; 3] = [45, 52, 64];
}

#[cfg(test)]
mod tests;
