//! The stages: maps of query and support refined together.

use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use fss_kernels::{Activation, Corners, resize_bilinear};

use super::{FirstMask, Gates, Imr, Sight};
use crate::HeadError;
use crate::hsnet::{Pyramid, Squeeze, beside, masked};

/// What one image has between two stages.
struct Side {
    /// Taps, masked by all maps so far.
    taps: Vec<Tensor<4>>,
    /// Middle features, not masked.
    middle: Tensor<4>,
    /// `[B, 1, G, G]`
    map: Tensor<4>,
    /// `[B, 128, G, G]`
    state: Tensor<4>,
}

/// What a stage makes of one image.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The map that entered, `[B, 1, G, G]`.
    pub map: Tensor<4>,
    /// The squeezed correlation, `[B, 128, G, G]`.
    pub encoded: Tensor<4>,
    /// The middle features, `[B, C, G, G]`.
    pub middle: Tensor<4>,
    /// The gates.
    pub gates: Gates,
    /// The state afterwards, `[B, 128, G, G]`.
    pub state: Tensor<4>,
    /// Logits `[B, 2, 2G, 2G]`, background first.
    pub logits: Tensor<4>,
    /// The features that were correlated: its own and the other image's.
    pub pyramids: [Pyramid; 2],
}

impl Imr {
    /// Runs all stages and shows each as (query, support).
    ///
    /// # Errors
    /// [`HeadError::Shape`] if the batches of query and support do not fit.
    pub fn refine(
        &self,
        query: &Sight,
        support: &Sight,
        mut show: impl FnMut(Stage, Stage),
    ) -> Result<(), HeadError> {
        let [mut query, mut support] = self.begin(query, support)?;
        for stage in 0..self.stages() {
            if stage > 0 {
                // The maps below were made from the stage before.
                query.mask();
                support.mask();
            }
            let [q, s] = [self.pyramid(&query)?, self.pyramid(&support)?];
            let seen = self.stage(&query, &q, &s);
            let other = self.stage(&support, &s, &q);
            query.take(&seen);
            support.take(&other);
            show(seen, other);
        }
        Ok(())
    }

    /// The query's logits `[B, 2, 2G, 2G]` after the last stage, in which the support's are not made.
    pub(super) fn query_logits(
        &self,
        query: &Sight,
        support: &Sight,
    ) -> Result<Tensor<4>, HeadError> {
        let [mut query, mut support] = self.begin(query, support)?;
        for _ in 1..self.stages() {
            let [q, s] = [self.pyramid(&query)?, self.pyramid(&support)?];
            let (seen, other) = (self.stage(&query, &q, &s), self.stage(&support, &s, &q));
            query.take(&seen);
            support.take(&other);
            query.mask();
            support.mask();
        }
        let [q, s] = [self.pyramid(&query)?, self.pyramid(&support)?];
        Ok(self.stage(&query, &q, &s).logits)
    }

    /// Both images before the first stage.
    fn begin(&self, query: &Sight, support: &Sight) -> Result<[Side; 2], HeadError> {
        let [batch, ..] = query.cam.dims();
        let [own, ..] = support.cam.dims();
        if own != batch && own != 1 {
            return Err(HeadError::Shape {
                what: "the features of a query".into(),
                got: format!("a batch of {batch}"),
                want: format!("a batch of {own}, as its support set"),
            });
        }
        let support = &support.for_batch(batch);
        let masks = match self.settings.first_mask {
            FirstMask::Crossed => [&support.cam, &query.cam],
            FirstMask::Own => [&query.cam, &support.cam],
        };
        let grid = self.settings.grid;
        let mut masks = masks.into_iter();
        Ok([query, support].map(|sight| {
            let taps = match masks.next() {
                Some(mask) => masked(&sight.taps, mask),
                None => sight.taps.clone(),
            };
            let state = self.state.val().expand([batch, crate::hsnet::CHANNELS, grid, grid]);
            Side {
                taps: taps.into_iter().map(|tap| beside(tap, &self.squeeze)).collect(),
                middle: self.middle(&sight.taps),
                map: beside(sight.cam.clone(), &self.squeeze),
                state,
            }
        }))
    }

    fn pyramid(&self, side: &Side) -> Result<Pyramid, HeadError> {
        let pyramid = Pyramid::new(&side.taps, &self.settings.backbone);
        Squeeze::check_support(pyramid.sizes())?;
        Ok(pyramid)
    }

    /// One stage of one image, given its own features and the other's.
    fn stage(&self, side: &Side, own: &Pyramid, other: &Pyramid) -> Stage {
        let Side { middle, map, state, .. } = side;
        let encoded = self.squeeze.forward(own, other);
        let inputs = [map.clone(), encoded.clone(), middle.clone()];
        let (state, gates) = self.cell.step(inputs, state.clone());
        let decoded = self.decoder.forward(state.clone() + encoded.clone());
        let [_, _, height, width] = decoded.dims();
        let enlarged = resize_bilinear(map.clone(), [height, width], Corners::Aligned);
        let both = Tensor::cat(vec![decoded, enlarged], 1);
        let inner = burn::tensor::activation::gelu(self.res[0].forward(both, Activation::None));
        let logits = self.res[1].forward(inner, Activation::None);
        Stage {
            map: map.clone(),
            encoded,
            middle: middle.clone(),
            gates,
            state,
            logits,
            pyramids: [own.clone(), other.clone()],
        }
    }
}

impl Side {
    /// Takes over what a stage made: its state, and its foreground probability as the map to come,
    /// which for now has the size of the logits.
    fn take(&mut self, stage: &Stage) {
        self.state = stage.state.clone();
        self.map = softmax(stage.logits.clone(), 1).narrow(1, 1, 1);
    }

    /// Masks the taps by the map and brings it to the size of the grid.
    fn mask(&mut self) {
        self.taps = masked(&self.taps, &self.map);
        let [.., height, width] = self.state.dims();
        self.map = resize_bilinear(self.map.clone(), [height, width], Corners::Aligned);
    }
}

impl Sight {
    /// One of a single image for each of `batch` samples.
    fn for_batch(&self, batch: usize) -> Self {
        let expanded = |x: &Tensor<4>| {
            let [own, c, h, w] = x.dims();
            if own == batch { x.clone() } else { x.clone().expand([batch, c, h, w]) }
        };
        Self { taps: self.taps.iter().map(expanded).collect(), cam: expanded(&self.cam) }
    }
}
