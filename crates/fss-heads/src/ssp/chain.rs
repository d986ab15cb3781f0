//! The chain of matchings: support prototypes first, then prototypes of the query itself.

use burn::tensor::Tensor;
use fss_kernels::{SelfSupport, cosine_map_dense, cosine_maps, self_support};

use super::{Refine, Ssp, SspSupport};
use crate::prototypes::{SIMILARITY_SCALE, for_batch, similarity};

/// The logits of every matching, `[B, 2, h, w]` at the features' size, background first.
#[derive(Debug, Clone)]
pub struct Matching {
    /// With the support prototypes alone. Never part of a prediction or a loss.
    pub initial: Tensor<4>,
    /// After the first self-support step.
    pub first: Tensor<4>,
    /// After the second step, before it is blended with the first; only with refinement.
    pub second: Option<Tensor<4>>,
}

impl Matching {
    /// The logits of the prediction: the first step's, or the blend of both.
    pub fn prediction(&self) -> Tensor<4> {
        match &self.second {
            Some(second) => second.clone() * 0.7 + self.first.clone() * 0.3,
            None => self.first.clone(),
        }
    }
}

impl Ssp {
    /// Matches a query with its support set (paper, equations 2 to 7).
    ///
    /// The first step replaces the support's background prototype altogether; the second brings it
    /// back with half the weight. Both are as in the published code.
    ///
    /// # Shapes
    /// - `support`: prototypes `[B, C]`, or `[1, C]` for all queries of the batch
    /// - `query`: features `[B, C, h, w]`
    pub fn matching(&self, support: &SspSupport, query: &Tensor<4>) -> Matching {
        let [batch, ..] = query.dims();
        let fp = for_batch(&support.foreground, batch);
        let bp = for_batch(&support.background, batch);

        let initial = similarity(query, &fp, &bp);
        let own = self_support(query.clone(), initial.clone(), &self.self_support);
        let fp1 = fp.clone() * 0.5 + own.fg_prototype.clone() * 0.5;
        let bp1 = background(own);
        let first = similarity_dense(query, &fp1, bp1.clone());
        if self.refine == Refine::Off {
            return Matching { initial, first, second: None };
        }

        let own = self_support(query.clone(), first.clone(), &self.self_support);
        let fp2 = fp.clone() * 0.5 + fp1 * 0.2 + (fp * 0.5 + own.fg_prototype.clone() * 0.5) * 0.3;
        let bp2 = as_map(bp) * 0.5 + bp1 * 0.2 + background(own) * 0.3;
        let second = similarity_dense(query, &fp2, bp2);
        Matching { initial, first, second: Some(second) }
    }
}

/// Logits from one foreground prototype `[B, C]` and a background prototype for every position.
fn similarity_dense(query: &Tensor<4>, fg: &Tensor<2>, bg: Tensor<4>) -> Tensor<4> {
    let background = cosine_map_dense(query.clone(), bg);
    let foreground = cosine_maps(query.clone(), fg.clone().unsqueeze_dim::<3>(1));
    Tensor::cat(vec![background, foreground], 1) * SIMILARITY_SCALE
}

/// The query's own background prototypes `[B, C, h, w]`: global and adaptive.
fn background(own: SelfSupport) -> Tensor<4> {
    as_map(own.bg_prototype) * 0.3 + own.bg_adaptive * 0.7
}

fn as_map(prototype: Tensor<2>) -> Tensor<4> {
    prototype.unsqueeze_dims::<4>(&[2, 3])
}
