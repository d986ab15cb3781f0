//! Features of an image as a correlation wants them.

use burn::tensor::{Int, Tensor};
use fss_backbone::TapBackboneConfig;
use fss_kernels::{Corners, resize_bilinear, unit_features};

use crate::HeadError;

/// Unit features of an image at three levels (shallow, middle, deep), each `[B, L, C, h, w]` with one of
/// L for each tap.
#[derive(Debug, Clone)]
pub struct Pyramid(pub(crate) [Tensor<5>; 3]);

impl Pyramid {
    /// Of taps `[B, C, h, w]`, all of them in order.
    pub(crate) fn new(taps: &[Tensor<4>], backbone: &TapBackboneConfig) -> Self {
        let mut rest = taps;
        Self(backbone.network.taps().map(|count| {
            let (level, deeper) = rest.split_at(count);
            rest = deeper;
            Tensor::stack(level.iter().map(|tap| unit_features(tap.clone())).collect(), 1)
        }))
    }

    /// The levels: shallow, middle, deep.
    pub fn levels(&self) -> &[Tensor<5>; 3] {
        &self.0
    }

    /// How many images it is of.
    pub fn batch(&self) -> usize {
        self.0[0].dims()[0]
    }

    /// Height and width of the maps of each level.
    pub(crate) fn sizes(&self) -> [[usize; 2]; 3] {
        [0, 1, 2].map(|level| {
            let [.., height, width] = self.0[level].dims();
            [height, width]
        })
    }

    /// A pyramid of a single image for each of `batch` samples.
    pub(crate) fn for_batch(&self, batch: usize) -> Self {
        Self(self.0.clone().map(|level| {
            let [own, l, c, h, w] = level.dims();
            if own == batch { level } else { level.expand([batch, l, c, h, w]) }
        }))
    }
}

/// Multiplies taps `[B, C, h, w]` by a map `[B, 1, H, W]`, resized to each of them.
pub(crate) fn masked(taps: &[Tensor<4>], mask: &Tensor<4>) -> Vec<Tensor<4>> {
    let mut resized: Option<([usize; 2], Tensor<4>)> = None;
    let mut result = Vec::with_capacity(taps.len());
    for tap in taps {
        let [_, _, h, w] = tap.dims();
        // Taps of one level have one size.
        let at_size = match resized.take() {
            Some((size, map)) if size == [h, w] => map,
            _ => resize_bilinear(mask.clone(), [h, w], Corners::Aligned),
        };
        result.push(tap.clone() * at_size.clone());
        resized = Some(([h, w], at_size));
    }
    result
}

/// The foreground of a mask `[B, H, W]` (0 / 1 / 255) as `[B, 1, H, W]`; ignored pixels are background.
pub(crate) fn foreground(mask: &Tensor<3, Int>) -> Tensor<4> {
    mask.clone().equal_elem(1).float().unsqueeze_dim(1)
}

/// Refuses taps of another backbone.
pub(crate) fn check_taps(
    taps: &[Tensor<4>],
    backbone: &TapBackboneConfig,
    what: &str,
) -> Result<(), HeadError> {
    let counts = backbone.network.taps();
    let wanted =
        counts.iter().zip(backbone.channels()).flat_map(|(n, c)| std::iter::repeat_n(c, *n));
    let found = taps.iter().map(|tap| tap.dims()[1]);
    if found.clone().eq(wanted) {
        return Ok(());
    }
    Err(HeadError::Shape {
        what: format!("the features of {what}"),
        got: format!("{} taps with {:?} channels", taps.len(), found.collect::<Vec<_>>()),
        want: format!("the {} taps of {backbone}", counts.iter().sum::<usize>()),
    })
}
