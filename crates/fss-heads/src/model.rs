//! The traits that every head implements, and what passes through them.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use fss_kernels::QueryPairs;

use serde::{Deserialize, Serialize};

use crate::{HeadError, merge_ways};

/// What a backbone makes of a batch of images: one tensor `[B, C, h, w]` for each tap that the head reads.
#[derive(Debug, Clone)]
pub struct Features(pub Vec<Tensor<4>>);

impl Features {
    /// Features of a backbone with a single tap.
    pub fn single(tap: Tensor<4>) -> Self {
        Self(vec![tap])
    }

    /// Sample `index` of the batch, as a batch of one.
    pub fn sample(&self, index: usize) -> Self {
        Self(self.0.iter().map(|tap| tap.clone().narrow(0, index, 1)).collect())
    }

    /// The same with a coarse map `[B, 1, G, G]` of where the class may be as one more tap, the
    /// last: for heads that read one ([`FewShotModel::cam_grid`]).
    #[must_use]
    pub fn with_cam(mut self, cam: Tensor<4>) -> Self {
        self.0.push(cam);
        self
    }

    /// How many images the batch holds.
    pub fn batch(&self) -> usize {
        self.0.first().map_or(0, |tap| tap.dims()[0])
    }
}

/// A query and what follows from it alone, for a model that segments it with several support sets.
#[derive(Debug, Clone)]
pub struct PreparedQuery {
    /// What the backbone made of it.
    pub features: Features,
    /// All pairs of its positions, for models that match a query with itself.
    pub pairs: Option<QueryPairs>,
}

/// One annotated image (of each sample of a batch).
#[derive(Debug, Clone)]
pub struct Shot {
    /// Features of the image.
    pub features: Features,
    /// Mask `[B, H, W]`: 0 background, 1 foreground, 255 ignored. It need not have the image's size.
    pub mask: Tensor<3, Int>,
}

/// What a model's published evaluation makes of several supports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShotRule {
    /// One prediction from all of them (SSP, MLC: their prototypes are averaged).
    #[default]
    Joint,
    /// One prediction for each; pixels are foreground that get at least half of the votes of the
    /// pixel with most (HSNet).
    Vote,
}

/// A network that segments a query, given a support set.
///
/// Features, support encoding and segmentation are separate steps, because one image serves many
/// episodes and one support set serves many queries.
pub trait FewShotModel {
    /// All that is kept of a support set.
    type Support: Clone;

    /// What the published evaluation makes of several supports.
    fn shot_rule(&self) -> ShotRule {
        ShotRule::Joint
    }

    /// The side G of the coarse maps that the head reads with the features of every image
    /// ([`Features::with_cam`]); `None` for heads that read none.
    fn cam_grid(&self) -> Option<usize> {
        None
    }

    /// The side of the square images that the model was made for; `None` for models that take images
    /// as they are.
    fn image_side(&self) -> Option<usize> {
        None
    }

    /// Runs the backbone.
    ///
    /// # Shapes
    /// - `images`: `[B, 3, H, W]`, normalised
    fn features(&self, images: Tensor<4>) -> Features;

    /// Condenses the K shots of a support set.
    ///
    /// # Errors
    /// [`HeadError::NoSupport`] without shots, [`HeadError::Shape`] for features of another backbone.
    fn encode_support(&self, shots: &[Shot]) -> Result<Self::Support, HeadError>;

    /// Segments a query.
    ///
    /// # Shapes
    /// - `query`: taps `[B, C, h, w]`
    /// - `size`: height and width of the logits, usually those of the query image
    /// - output: logits `[B, 1 + ways, H, W]`, background first
    ///
    /// # Errors
    /// [`HeadError::Shape`] for features of another backbone or of a batch that does not fit the
    /// support set (one of a single sample serves any batch).
    fn segment(
        &self,
        support: &Self::Support,
        query: &Features,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError>;

    /// Makes ready a query that is to be segmented with several support sets, each on its own, by
    /// [`segment_prepared`](Self::segment_prepared): what depends on the query alone.
    ///
    /// # Errors
    /// [`HeadError::Shape`] for features of another backbone.
    fn prepare_query(&self, query: &Features) -> Result<PreparedQuery, HeadError> {
        Ok(PreparedQuery { features: query.clone(), pairs: None })
    }

    /// [`segment`](Self::segment) with a prepared query: equal up to rounding, and the same whatever else the
    /// query was segmented with before.
    ///
    /// # Errors
    /// As there.
    fn segment_prepared(
        &self,
        support: &Self::Support,
        query: &PreparedQuery,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        self.segment(support, &query.features, size)
    }

    /// Segments a query into several classes at once, each with a support set of its own. The query's
    /// features serve all of them.
    ///
    /// The rule is that of [`merge_ways`](crate::merge_ways): one background for all, with the logit 0;
    /// a class's logit is by how much its foreground exceeds its background. A pixel that several
    /// classes claim goes to the surest, and one that none claims is background.
    ///
    /// # Shapes
    /// - `query`, `size`: as for [`segment`](Self::segment)
    /// - output: logits `[B, 1 + ways, H, W]`, background first, then in the order of `supports`
    ///
    /// # Errors
    /// As [`segment`](Self::segment); [`HeadError::NoSupport`] without support sets;
    /// [`HeadError::Setting`] for several of a model that reads coarse maps, since a query's map is that
    /// of one class.
    fn segment_ways(
        &self,
        supports: &[Self::Support],
        query: &Features,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        if self.cam_grid().is_some() && supports.len() > 1 {
            return Err(HeadError::Setting {
                problem: "this model looks for one class at a time, by its coarse map".into(),
                remedy: "segment the classes one by one, and merge their logits with `merge_ways`"
                    .into(),
            });
        }
        let per_way = supports.iter().map(|support| self.segment(support, query, size));
        merge_ways(per_way.collect::<Result<_, _>>()?)
    }

    /// [`encode_support`](Self::encode_support) from images `[B, 3, H, W]` and masks `[B, H, W]`.
    ///
    /// # Errors
    /// As [`encode_support`](Self::encode_support).
    fn encode_support_images(
        &self,
        shots: &[(Tensor<4>, Tensor<3, Int>)],
    ) -> Result<Self::Support, HeadError> {
        let shots: Vec<Shot> = shots
            .iter()
            .map(|(image, mask)| Shot {
                features: self.features(image.clone()),
                mask: mask.clone(),
            })
            .collect();
        self.encode_support(&shots)
    }

    /// [`segment`](Self::segment) from images `[B, 3, H, W]`, with logits of their size.
    ///
    /// # Errors
    /// As [`segment`](Self::segment).
    fn segment_images(
        &self,
        support: &Self::Support,
        images: Tensor<4>,
    ) -> Result<Tensor<4>, HeadError> {
        let [_, _, height, width] = images.dims();
        self.segment(support, &self.features(images), [height, width])
    }
}

/// A batch of B training episodes with K shots each; all images of one size.
#[derive(Debug, Clone)]
pub struct EpisodeBatch {
    /// Query images `[B, 3, H, W]`, normalised.
    pub query: Tensor<4>,
    /// Query masks `[B, H, W]`: 0 / 1 / 255.
    pub query_mask: Tensor<3, Int>,
    /// For each shot: images `[B, 3, H, W]` and masks `[B, H, W]`.
    pub supports: Vec<(Tensor<4>, Tensor<3, Int>)>,
    /// Further images with pseudo masks, for models that learn from them as well (MLC with its
    /// mining branch); the others do not look at them.
    pub extra: Option<PseudoBatch>,
    /// Coarse maps of the episodes' classes, for models that read them (IMR).
    pub cams: Option<CamBatch>,
}

impl EpisodeBatch {
    /// Some of its episodes, and some of its further images: each range from a start on, of a length.
    #[must_use]
    pub fn part(&self, episodes: (usize, usize), extra: (usize, usize)) -> Self {
        let (start, length) = episodes;
        let images = |images: &Tensor<4>| images.clone().narrow(0, start, length);
        let masks = |masks: &Tensor<3, Int>| masks.clone().narrow(0, start, length);
        Self {
            query: images(&self.query),
            query_mask: masks(&self.query_mask),
            supports: self.supports.iter().map(|(i, m)| (images(i), masks(m))).collect(),
            extra: self.extra.as_ref().map(|all| PseudoBatch {
                images: all.images.clone().narrow(0, extra.0, extra.1),
                masks: all.masks.clone().narrow(0, extra.0, extra.1),
            }),
            cams: self.cams.as_ref().map(|cams| CamBatch {
                query: images(&cams.query),
                supports: cams.supports.iter().map(images).collect(),
            }),
        }
    }

    /// The same on another device.
    #[must_use]
    pub fn to_device(self, device: &Device) -> Self {
        let (images, masks) =
            (|t: Tensor<4>| t.to_device(device), |t: Tensor<3, Int>| t.to_device(device));
        Self {
            query: images(self.query),
            query_mask: masks(self.query_mask),
            supports: self.supports.into_iter().map(|(i, m)| (images(i), masks(m))).collect(),
            extra: self.extra.map(|extra| PseudoBatch {
                images: images(extra.images),
                masks: masks(extra.masks),
            }),
            cams: self.cams.map(|cams| CamBatch {
                query: images(cams.query),
                supports: cams.supports.into_iter().map(images).collect(),
            }),
        }
    }
}

/// Coarse maps of where the class of each episode may be.
#[derive(Debug, Clone)]
pub struct CamBatch {
    /// Of the queries, `[B, 1, G, G]`.
    pub query: Tensor<4>,
    /// Of each shot, `[B, 1, G, G]`.
    pub supports: Vec<Tensor<4>>,
}

/// The label of pixels of a pseudo mask that do not count. Not 255, which may be a latent class.
pub const PSEUDO_IGNORE: i64 = 65_535;

/// Images with masks of latent classes.
#[derive(Debug, Clone)]
pub struct PseudoBatch {
    /// Images `[E, 3, H, W]`, normalised, of the size of the episodes' images.
    pub images: Tensor<4>,
    /// Masks `[E, H, W]`: 0 background, 1..=N latent classes, [`PSEUDO_IGNORE`].
    pub masks: Tensor<3, Int>,
}

/// One weighted part of a training loss.
#[derive(Debug, Clone)]
pub struct LossTerm {
    /// Short name for logs.
    pub name: &'static str,
    /// Its factor in the total.
    pub weight: f64,
    /// The unweighted value `[1]`; `None` if no pixel counts.
    pub value: Option<Tensor<1>>,
}

/// The losses of a training step.
#[derive(Debug, Clone)]
pub struct Losses {
    /// What the optimiser minimises, `[1]`.
    pub total: Tensor<1>,
    /// Its parts.
    pub terms: Vec<LossTerm>,
    /// What the step found out for buffers that no gradient moves; for
    /// [`TrainableModel::absorb`] once the step is taken.
    pub statistics: Vec<Statistic>,
}

/// A number per channel that a training step measured, `[C]`, without gradient.
#[derive(Debug, Clone)]
pub struct Statistic {
    /// Which one.
    pub name: &'static str,
    /// The value `[C]`, outside autodiff.
    pub value: Tensor<1>,
}

impl Statistic {
    /// A measured value `[C]`, taken out of autodiff.
    pub fn new(name: &'static str, value: Tensor<1>) -> Self {
        Self { name, value: value.without_autodiff() }
    }
}

impl Losses {
    /// No loss yet: a total of 0.
    pub fn none(device: &Device) -> Self {
        Self { total: Tensor::zeros([1], device), terms: Vec::new(), statistics: Vec::new() }
    }

    /// Adds a part `[1]`. One without a value, because no pixel counts, is listed but is no part of
    /// the total.
    pub fn add(&mut self, name: &'static str, weight: f64, value: Option<Tensor<1>>) {
        if let Some(value) = &value {
            self.total = self.total.clone() + value.clone() * weight;
        }
        self.terms.push(LossTerm { name, weight, value });
    }
}

/// A [`FewShotModel`] that can be trained by episodes.
pub trait TrainableModel: FewShotModel + Module {
    /// The losses of a batch of episodes, differentiable in the trained parameters.
    ///
    /// # Errors
    /// [`HeadError`] if the batch has no support or its shapes do not fit.
    fn losses(&self, batch: &EpisodeBatch) -> Result<Losses, HeadError>;

    /// Takes over what the forward pass of a step measured for its buffers (running statistics and
    /// the like). Models without such buffers stay as they are.
    #[must_use]
    fn absorb(self, _statistics: &[Statistic]) -> Self {
        self
    }
}
