//! The chain of matchings: support prototypes first, then prototypes of the query itself.

use burn::tensor::Tensor;
use fss_kernels::{
    QueryPairs, SelfSupport, cosine_maps, cosine_maps_blend, self_support, self_support_ways,
};

use super::{Refine, Ssp, SspSupport};
use crate::prototypes::{SIMILARITY_SCALE, for_batch};

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
        let mut matchings = self.matchings(std::slice::from_ref(support), query);
        matchings.pop().unwrap_or_else(|| unreachable!("one support set gives one matching"))
    }

    /// [`matching`](Self::matching) with several support sets (ways): what depends on the query alone is
    /// computed once.
    pub fn matchings(&self, supports: &[SspSupport], query: &Tensor<4>) -> Vec<Matching> {
        self.chain(supports, query, |logits| self.own(query, logits))
    }

    /// [`matching`](Self::matching) with all pairs of the query's positions at hand; equal up to rounding.
    pub fn matching_prepared(
        &self,
        support: &SspSupport,
        query: &Tensor<4>,
        pairs: &QueryPairs,
    ) -> Matching {
        // The second step's background is much like the first one's.
        let mut pairs = pairs.clone();
        let own = |logits: &[Tensor<4>]| {
            let found = logits.iter().map(|logits| {
                let (found, next) = pairs.self_support(logits.clone());
                pairs = next;
                found
            });
            found.collect()
        };
        let mut matchings = self.chain(std::slice::from_ref(support), query, own);
        matchings.pop().unwrap_or_else(|| unreachable!("one support set gives one matching"))
    }

    /// The chain, with `own` as the self-support step of every way.
    fn chain(
        &self,
        supports: &[SspSupport],
        query: &Tensor<4>,
        mut own: impl FnMut(&[Tensor<4>]) -> Vec<SelfSupport>,
    ) -> Vec<Matching> {
        let [batch, ..] = query.dims();
        let fp: Vec<_> = supports.iter().map(|one| for_batch(&one.foreground, batch)).collect();
        let bp: Vec<_> = supports.iter().map(|one| for_batch(&one.background, batch)).collect();

        let initial = similarities(query, &fp, &bp);
        let found = own(&initial);
        let half = |prototype: &Tensor<2>| prototype.clone() * 0.5;
        let fp1: Vec<_> =
            fp.iter().zip(&found).map(|(fp, own)| half(fp) + half(&own.fg_prototype)).collect();
        let bp1: Vec<_> = found.into_iter().map(Background::of).collect();
        let first = similarities_dense(query, &fp1, &bp1);
        if self.refine == Refine::Off {
            let both = initial.into_iter().zip(first);
            return both
                .map(|(initial, first)| Matching { initial, first, second: None })
                .collect();
        }

        let found = own(&first);
        let fp2 = fp.iter().zip(fp1).zip(&found).map(|((fp, fp1), own)| {
            half(fp) + fp1 * 0.2 + (half(fp) + half(&own.fg_prototype)) * 0.3
        });
        let fp2: Vec<_> = fp2.collect();
        let bp2 = bp.iter().zip(bp1).zip(found).map(|((bp, bp1), own)| {
            let mut blend = bp1.scaled(0.2);
            let Background { global, maps } = Background::of(own).scaled(0.3);
            blend.global = half(bp) + blend.global + global;
            blend.maps.extend(maps);
            blend
        });
        let bp2: Vec<_> = bp2.collect();
        let second = similarities_dense(query, &fp2, &bp2);
        initial
            .into_iter()
            .zip(first)
            .zip(second)
            .map(|((initial, first), second)| Matching { initial, first, second: Some(second) })
            .collect()
    }

    /// The self-support step of every way.
    fn own(&self, query: &Tensor<4>, logits: &[Tensor<4>]) -> Vec<SelfSupport> {
        match logits {
            [one] => vec![self_support(query.clone(), one.clone(), &self.self_support)],
            several => {
                let logits = Tensor::stack::<5>(several.to_vec(), 1);
                self_support_ways(query.clone(), logits, &self.self_support)
            }
        }
    }
}

/// A background prototype for every position: `global + Σ weight · map`.
struct Background {
    /// `[B, C]`.
    global: Tensor<2>,
    /// `[B, C, h, w]` each.
    maps: Vec<(Tensor<4>, f32)>,
}

impl Background {
    /// The query's own: global and adaptive.
    fn of(own: SelfSupport) -> Self {
        Self { global: own.bg_prototype * 0.3, maps: vec![(own.bg_adaptive, 0.7)] }
    }

    fn scaled(mut self, factor: f32) -> Self {
        self.global = self.global * factor;
        self.maps.iter_mut().for_each(|(_, weight)| *weight *= factor);
        self
    }
}

/// Logits `[B, 2, h, w]` of each way, background first, from prototypes `[B, C]`.
fn similarities(query: &Tensor<4>, fg: &[Tensor<2>], bg: &[Tensor<2>]) -> Vec<Tensor<4>> {
    let prototypes = bg.iter().zip(fg).flat_map(|(bg, fg)| [bg.clone(), fg.clone()]).collect();
    let prototypes = Tensor::stack::<3>(prototypes, 1);
    let maps = cosine_maps(query.clone(), prototypes) * SIMILARITY_SCALE;
    (0..fg.len()).map(|way| maps.clone().narrow(1, 2 * way, 2)).collect()
}

/// Logits of each way from one foreground prototype `[B, C]` and a background prototype for every
/// position.
fn similarities_dense(query: &Tensor<4>, fg: &[Tensor<2>], bg: &[Background]) -> Vec<Tensor<4>> {
    let logits = bg.iter().zip(fg).map(|(Background { global, maps }, fg)| {
        let prototypes = Tensor::stack::<3>(vec![global.clone(), fg.clone()], 1);
        cosine_maps_blend(query.clone(), prototypes, maps) * SIMILARITY_SCALE
    });
    logits.collect()
}
