//! What POP minimises.

use burn::tensor::{Int, Tensor};
use fss_backbone::{BatchMoments, NormSource, TrainingPass, params};
use fss_kernels::{Corners, resize_bilinear};

use super::head::PopHead;
use super::{Mode, Pop};
use crate::generalized::{ClassCount, LabelledBatch, orthogonality_loss, segmentation_loss};
use crate::{HeadError, Losses, Statistic};

/// Weight of the orthogonality loss.
const ORTHOGONALITY_WEIGHT: f64 = 10.0;

impl Pop {
    /// The losses of a step of stage 1.
    ///
    /// # Errors
    /// [`HeadError::Setting`] for a batch of one image, whose 1x1 map has no variance to normalise
    /// by; [`HeadError::Shape`] if images and labels differ in size.
    pub fn base_losses(&self, batch: &LabelledBatch) -> Result<Losses, HeadError> {
        check(batch)?;
        let Mode { norms, precision } = self.mode;
        check_norms(norms, batch)?;
        let mut pass = TrainingPass::new(norms, precision);
        let features = self.backbone.forward_training(batch.images.clone(), &mut pass).layer4;
        let features = self.decoder.forward_training(features, &mut pass);
        let mut losses = self.head.losses(self.head.logits(features), &batch.labels);
        losses.statistics = statistics(pass.into_moments());
        Ok(losses)
    }

    /// The losses of a step of stage 2: images with labels of base and novel classes, and images of
    /// base classes, whose background the model itself labels with novel classes first
    /// ([`PopHead::pseudo_labels`]).
    ///
    /// # Errors
    /// [`HeadError::Setting`] for a model of stage 1; [`HeadError::Shape`] if images and labels differ in
    /// size.
    pub fn novel_losses(
        &self,
        novel: &LabelledBatch,
        base: &LabelledBatch,
    ) -> Result<Losses, HeadError> {
        check(novel)?;
        check(base)?;
        let images = Tensor::cat(vec![novel.images.clone(), base.images.clone()], 0);
        self.head.novel_losses(self.features(images), &novel.labels, Some(&base.labels))
    }

    /// Takes over what the forward pass of a step of stage 1 measured for the running statistics.
    #[must_use]
    pub fn absorb(mut self, statistics: &[Statistic]) -> Self {
        let mut moments = moments(statistics);
        self.backbone.absorb(&mut moments);
        self.decoder.absorb(&mut moments);
        self
    }
}

impl PopHead {
    /// Cross entropy of logits and ten times the orthogonality loss of the prototypes. Without a
    /// pixel that counts both are missing.
    pub fn losses(&self, logits: Tensor<4>, labels: &Tensor<3, Int>) -> Losses {
        let mut losses = Losses::none(&logits.device());
        let segmentation = segmentation_loss(logits, labels);
        let orthogonality = segmentation.is_some().then(|| orthogonality_loss(self.similarity()));
        losses.add("seg", 1.0, segmentation);
        losses.add("orth", ORTHOGONALITY_WEIGHT, orthogonality);
        losses
    }

    /// Losses of stage 2 from decoder features `[b + b', C, h, w]`, those of the b novel images first.
    /// Without base images it has nothing to guard the old classes by but their frozen prototypes.
    ///
    /// # Errors
    /// [`HeadError::Setting`] for a head of stage 1; [`HeadError::Shape`] if there are not as many
    /// features as labels.
    pub fn novel_losses(
        &self,
        features: Tensor<4>,
        novel: &Tensor<3, Int>,
        base: Option<&Tensor<3, Int>>,
    ) -> Result<Losses, HeadError> {
        let Some(part) = &self.novel else {
            return Err(HeadError::Setting {
                problem: "a model of stage 1 has no novel classes to learn".into(),
                remedy: "extend it first (`Pop::extended`)".into(),
            });
        };
        let ([images, ..], [of_novel, ..]) = (features.dims(), novel.dims());
        let of_base = base.map_or(0, |labels| labels.dims()[0]);
        if images != of_novel + of_base {
            return Err(HeadError::Shape {
                what: "the batch of features".into(),
                got: format!("{images} images"),
                want: format!("{of_novel} of novel and {of_base} of base classes"),
            });
        }
        let logits = self.logits(params::beside(features, &part.emb));
        let mut labels = vec![novel.clone()];
        if let Some(base) = base {
            let logits = logits.clone().narrow(0, of_novel, of_base);
            labels.push(self.pseudo_labels(logits, base));
        }
        Ok(self.losses(logits, &Tensor::cat(labels, 0)))
    }

    /// Labels of base images in which each pixel of the background has the novel class that scores
    /// highest there, if any scores higher than the background. Base classes play no part. Nothing is
    /// recorded for a gradient.
    ///
    /// # Shapes
    /// - logits: `[b, 1 + Kb + Kn, h, w]`
    /// - labels and output: `[b, H, W]`
    pub fn pseudo_labels(&self, logits: Tensor<4>, labels: &Tensor<3, Int>) -> Tensor<3, Int> {
        let ClassCount { base, novel } = self.classes();
        let logits = logits.without_autodiff();
        let background = logits.clone().narrow(1, 0, 1);
        let maps = Tensor::cat(vec![background, logits.narrow(1, 1 + base, novel)], 1);
        let [_, height, width] = labels.dims();
        let best = resize_bilinear(maps, [height, width], Corners::Aligned).argmax(1);
        let best = best.squeeze_dim::<3>(1);
        let pseudo = best.clone().add_scalar(base as i64).mask_fill(best.equal_elem(0), 0);
        labels.clone().mask_where(labels.clone().equal_elem(0), pseudo)
    }
}

/// Refuses images and labels that do not belong together.
pub(crate) fn check(batch: &LabelledBatch) -> Result<(), HeadError> {
    let ([images, _, height, width], labels) = (batch.images.dims(), batch.labels.dims());
    if labels == [images, height, width] {
        return Ok(());
    }
    Err(HeadError::Shape {
        what: "a batch of labels".into(),
        got: format!("{labels:?}"),
        want: format!("[{images}, {height}, {width}], as its images"),
    })
}

/// Refuses a single image where norms look at the batch.
pub(crate) fn check_norms(norms: NormSource, batch: &LabelledBatch) -> Result<(), HeadError> {
    if norms == NormSource::Running || batch.images.dims()[0] > 1 {
        return Ok(());
    }
    Err(HeadError::Setting {
        problem:
            "a batch of one image cannot train the decoder's norms, one of which has a single \
                  value for each image"
                .into(),
        remedy: "use a batch of at least 2, or freeze the backbone".into(),
    })
}

/// The moments of a pass as statistics of a step.
pub(crate) fn statistics(moments: Vec<BatchMoments>) -> Vec<Statistic> {
    let both = moments.into_iter().map(|BatchMoments { mean, variance }| {
        [Statistic::new("mean", mean), Statistic::new("variance", variance)]
    });
    both.flatten().collect()
}

/// The moments of a pass back from [`statistics`].
pub(crate) fn moments(statistics: &[Statistic]) -> impl Iterator<Item = BatchMoments> + '_ {
    statistics
        .chunks_exact(2)
        .map(|pair| BatchMoments { mean: pair[0].value.clone(), variance: pair[1].value.clone() })
}
