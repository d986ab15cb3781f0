//! What IMR-HSNet minimises while it trains.

use burn::tensor::{Int, Tensor};
use fss_kernels::{Corners, resize_bilinear};

use super::{Imr, Sight};
use crate::hsnet::constants;
use crate::loss::valid_cross_entropy;
use crate::{EpisodeBatch, FewShotModel, HeadError, Losses, TrainableModel};

impl Imr {
    /// Features and maps of a training batch: of the query, and of each shot.
    fn batch_sights(&self, batch: &EpisodeBatch) -> Result<(Sight, Vec<Sight>), HeadError> {
        let missing = || HeadError::NoCam { what: "a training batch".into() };
        let cams = batch.cams.as_ref().ok_or_else(missing)?;
        if cams.supports.len() != batch.supports.len() {
            return Err(missing());
        }
        let sight = |images: &Tensor<4>, cam: &Tensor<4>, what: &str| {
            let features = constants(self.features(images.clone()));
            self.sight(&features.with_cam(cam.clone().without_autodiff()), what)
        };
        let query = sight(&batch.query, &cams.query, "a query")?;
        let supports = batch.supports.iter().zip(&cams.supports);
        let supports = supports.map(|((images, _), cam)| sight(images, cam, "a support image"));
        Ok((query, supports.collect::<Result<_, _>>()?))
    }
}

impl TrainableModel for Imr {
    /// Cross entropy of query and support, summed over the stages (paper, section 3.4): masks supervise in
    /// training, though no input shows them. Of several shots, which the published code cannot train
    /// with, the mean. Pixels marked 255 do not count.
    fn losses(&self, batch: &EpisodeBatch) -> Result<Losses, HeadError> {
        let (query, supports) = self.batch_sights(batch)?;
        if supports.is_empty() {
            return Err(HeadError::NoSupport);
        }
        let mut losses = Losses::none(&batch.query.device());
        let weight = 1.0 / supports.len() as f64;
        let loss = |logits: Tensor<4>, mask: &Tensor<3, Int>| {
            let [_, height, width] = mask.dims();
            let logits = resize_bilinear(logits, [height, width], Corners::Aligned);
            valid_cross_entropy(logits, mask.clone())
        };
        for (support, (_, mask)) in supports.iter().zip(&batch.supports) {
            self.refine(&query, support, |q, s| {
                losses.add("query", weight, loss(q.logits, &batch.query_mask));
                losses.add("support", weight, loss(s.logits, mask));
            })?;
        }
        Ok(losses)
    }
}
