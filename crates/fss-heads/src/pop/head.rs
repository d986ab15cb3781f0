//! Prototypes and classifiers: from decoder features to logits.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation::relu};
use fss_backbone::params;
use fss_kernels::{Decomposition, orthogonal_decompose, projections, unit_prototypes};

use super::classifier::{MapClassifier, beside};
use super::init::orthogonal;
use crate::generalized::ClassCount;

/// What POP adds to a decoder.
#[derive(Module, Debug)]
pub struct PopHead {
    /// Base prototypes `[Kb, C]`, of any length.
    pub base_emb: Param<Tensor<2>>,
    /// Scores base classes; in stage 1 the background, too.
    pub classifier: MapClassifier,
    /// What stage 2 adds.
    pub novel: Option<NovelPart>,
}

/// The part of a [`PopHead`] that stage 2 trains.
#[derive(Module, Debug)]
pub struct NovelPart {
    /// Novel prototypes `[Kn, C]`, of any length.
    pub emb: Param<Tensor<2>>,
    /// Scores novel classes and the background.
    pub classifier: MapClassifier,
}

impl PopHead {
    /// A head of stage 1 for features of C channels, with random weights that follow from `seed` alone.
    pub fn new(channels: usize, base: usize, seed: u64, device: &Device) -> Self {
        Self {
            base_emb: orthogonal("base_emb", [base, channels], seed, device),
            classifier: MapClassifier::new(channels, seed, device),
            novel: None,
        }
    }

    /// See [`Pop::extended`](super::Pop::extended).
    #[must_use]
    pub fn extended(self, novel: usize, seed: u64) -> Self {
        let [_, channels] = self.base_emb.dims();
        let device = self.base_emb.lazy_device();
        let emb = orthogonal("novel_emb", [novel, channels], seed, &device);
        let added = NovelPart { emb, classifier: self.classifier.copied() };
        Self {
            base_emb: self.base_emb.set_require_grad(false),
            classifier: self.classifier.no_grad(),
            novel: Some(added),
        }
    }

    /// The classes that the head tells apart.
    pub fn classes(&self) -> ClassCount {
        let rows = |emb: &Param<Tensor<2>>| emb.lazy_shape()[0];
        ClassCount {
            base: rows(&self.base_emb),
            novel: self.novel.as_ref().map_or(0, |part| rows(&part.emb)),
        }
    }

    /// Base prototypes and, in stage 2, novel ones after them, all of length 1, `[Kb + Kn, C]`.
    pub(super) fn units(&self) -> Tensor<2> {
        let base = unit_prototypes(self.base_emb.val());
        match &self.novel {
            Some(part) => Tensor::cat(vec![base, unit_prototypes(part.emb.val())], 0),
            None => base,
        }
    }

    /// Logits of every class at every position: background, base classes, novel classes.
    ///
    /// A class's map is everywhere a multiple of its prototype, `a(n) s`, and classifiers are
    /// positively homogeneous, so its logit is `max(a, 0) g(s) + max(-a, 0) g(-s)`: two scores a class
    /// and a multiplication a position. Only the residual goes through a classifier. The same up to
    /// rounding as [`Self::logits_by_maps`], gradients included.
    ///
    /// # Shapes
    /// - features: `[B, C, h, w]`
    /// - output: `[B, 1 + Kb + Kn, h, w]`
    pub fn logits(&self, features: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = features.dims();
        let units = beside(self.units(), &features);
        let [count, _] = units.dims();
        let (along, against) = self.scores(units.clone());
        let flat = features.clone().reshape([batch, channels, height * width]);
        let scalars = projections(flat, units.clone());
        let [along, against] = [along, against].map(|scores| scores.unsqueeze::<3>());
        let classes = relu(scalars.clone()) * along + relu(scalars.neg()) * against;
        let background = self.background().forward_residual(features, units);
        Tensor::cat(vec![background, classes.reshape([batch, count, height, width])], 1)
    }

    /// [`Self::logits`] in the form of the paper: the map of every class is made and classified. It
    /// holds as many copies of the features as there are classes; for comparison.
    pub fn logits_by_maps(&self, features: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = features.dims();
        let positions = height * width;
        let flat = features.reshape([batch, channels, positions]);
        let mut prototypes = vec![self.base_emb.val()];
        prototypes.extend(self.novel.iter().map(|part| part.emb.val()));
        let prototypes = beside(Tensor::cat(prototypes, 0), &flat);
        let Decomposition { along, residual } = orthogonal_decompose(flat, prototypes);
        let map = |x: Tensor<3>| x.reshape([batch, channels, height, width]);
        let mut logits = vec![self.background().forward(map(residual))];
        let base = self.classes().base;
        for k in 0..along.dims()[1] {
            let class = along.clone().narrow(1, k, 1).squeeze_dim::<3>(1);
            let classifier = if k < base { &self.classifier } else { self.background() };
            logits.push(classifier.forward(map(class)));
        }
        Tensor::cat(logits, 1)
    }

    /// Cosine similarities that the orthogonality loss looks at. Stage 1: base prototypes with each
    /// other, `[Kb, Kb]`. Stage 2: novel prototypes with novel and base ones, in this order,
    /// `[Kn, Kn + Kb]`.
    pub fn similarity(&self) -> Tensor<2> {
        let base = unit_prototypes(self.base_emb.val());
        match &self.novel {
            None => base.clone().matmul(base.transpose()),
            Some(part) => {
                let novel = unit_prototypes(part.emb.val());
                let base = params::beside(base.without_autodiff(), &part.emb);
                novel.clone().matmul(Tensor::cat(vec![novel, base], 0).transpose())
            }
        }
    }

    /// The classifier of the background: that of the novel classes where there are some.
    fn background(&self) -> &MapClassifier {
        self.novel.as_ref().map_or(&self.classifier, |part| &part.classifier)
    }

    /// Scores of prototypes and of their opposites, both `[K, 1]`.
    fn scores(&self, units: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let both = |classifier: &MapClassifier, units: Tensor<2>| {
            let [count, _] = units.dims();
            let scores = classifier.score(Tensor::cat(vec![units.clone(), units.neg()], 0));
            (scores.clone().narrow(0, 0, count), scores.narrow(0, count, count))
        };
        let ClassCount { base, novel } = self.classes();
        let Some(part) = &self.novel else { return both(&self.classifier, units) };
        let (along, against) = both(&self.classifier, units.clone().narrow(0, 0, base));
        let (new_along, new_against) = both(&part.classifier, units.narrow(0, base, novel));
        (Tensor::cat(vec![along, new_along], 0), Tensor::cat(vec![against, new_against], 0))
    }
}
