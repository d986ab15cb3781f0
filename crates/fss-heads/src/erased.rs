//! Heads behind one object-safe face, for code that learns at run time which head it has.

use std::any::Any;
use std::sync::Arc;

use burn::tensor::Tensor;

use crate::{Features, FewShotModel, HeadError, PreparedQuery, Shot, ShotRule};

/// A support set of some [`AnyModel`]; only the model that made it can read it. Copies share it.
#[derive(Clone)]
pub struct AnySupport(Arc<dyn Any + Send + Sync>);

impl std::fmt::Debug for AnySupport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AnySupport")
    }
}

/// A [`FewShotModel`] of any kind.
///
/// Every [`FewShotModel`] is one, and a `Box<dyn AnyModel>` is a [`FewShotModel`] in turn, so that it
/// can be evaluated and used as any other:
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fss_backbone::{DeepStemResNetConfig, Depth};
/// use fss_heads::{AnyModel, FewShotModel, MlcConfig};
///
/// let device = Device::flex();
/// let network = DeepStemResNetConfig::new(Depth::R18).with_width(4);
/// let model: Box<dyn AnyModel> = Box::new(MlcConfig::new(network).init(&device, 0).fold());
/// let image = Tensor::ones([1, 3, 40, 40], &device);
/// let support = model.encode_support_images(&[(image.clone(), Tensor::ones([1, 40, 40], &device))])?;
/// assert_eq!(model.segment_images(&support, image)?.dims(), [1, 2, 40, 40]);
/// # Ok::<(), fss_heads::HeadError>(())
/// ```
pub trait AnyModel: Send {
    /// See [`FewShotModel::shot_rule`].
    fn any_shot_rule(&self) -> ShotRule;

    /// See [`FewShotModel::cam_grid`].
    fn any_cam_grid(&self) -> Option<usize>;

    /// See [`FewShotModel::image_side`].
    fn any_image_side(&self) -> Option<usize>;

    /// See [`FewShotModel::features`].
    fn any_features(&self, images: Tensor<4>) -> Features;

    /// See [`FewShotModel::encode_support`].
    ///
    /// # Errors
    /// As there.
    fn any_encode_support(&self, shots: &[Shot]) -> Result<AnySupport, HeadError>;

    /// See [`FewShotModel::segment`].
    ///
    /// # Errors
    /// As there, and [`HeadError::ForeignSupport`] if another kind of model made the support set.
    fn any_segment(
        &self,
        support: &AnySupport,
        query: &Features,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError>;

    /// See [`FewShotModel::prepare_query`].
    ///
    /// # Errors
    /// As there.
    fn any_prepare_query(&self, query: &Features) -> Result<PreparedQuery, HeadError>;

    /// See [`FewShotModel::segment_prepared`].
    ///
    /// # Errors
    /// As there, and [`HeadError::ForeignSupport`] if another kind of model made the support set.
    fn any_segment_prepared(
        &self,
        support: &AnySupport,
        query: &PreparedQuery,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError>;

    /// See [`FewShotModel::segment_ways`].
    ///
    /// # Errors
    /// As there, and [`HeadError::ForeignSupport`] if another kind of model made a support set.
    fn any_segment_ways(
        &self,
        supports: &[AnySupport],
        query: &Features,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError>;
}

impl<M> AnyModel for M
where
    M: FewShotModel + Send,
    M::Support: Send + Sync + 'static,
{
    fn any_shot_rule(&self) -> ShotRule {
        self.shot_rule()
    }

    fn any_cam_grid(&self) -> Option<usize> {
        self.cam_grid()
    }

    fn any_image_side(&self) -> Option<usize> {
        self.image_side()
    }

    fn any_features(&self, images: Tensor<4>) -> Features {
        self.features(images)
    }

    fn any_encode_support(&self, shots: &[Shot]) -> Result<AnySupport, HeadError> {
        Ok(AnySupport(Arc::new(self.encode_support(shots)?)))
    }

    fn any_segment(
        &self,
        support: &AnySupport,
        query: &Features,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        let support = support.0.downcast_ref().ok_or(HeadError::ForeignSupport)?;
        self.segment(support, query, size)
    }

    fn any_prepare_query(&self, query: &Features) -> Result<PreparedQuery, HeadError> {
        self.prepare_query(query)
    }

    fn any_segment_prepared(
        &self,
        support: &AnySupport,
        query: &PreparedQuery,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        let support = support.0.downcast_ref().ok_or(HeadError::ForeignSupport)?;
        self.segment_prepared(support, query, size)
    }

    fn any_segment_ways(
        &self,
        supports: &[AnySupport],
        query: &Features,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        let own = supports.iter().map(|support| {
            support.0.downcast_ref::<M::Support>().cloned().ok_or(HeadError::ForeignSupport)
        });
        self.segment_ways(&own.collect::<Result<Vec<_>, _>>()?, query, size)
    }
}

impl FewShotModel for Box<dyn AnyModel> {
    type Support = AnySupport;

    fn shot_rule(&self) -> ShotRule {
        self.as_ref().any_shot_rule()
    }

    fn cam_grid(&self) -> Option<usize> {
        self.as_ref().any_cam_grid()
    }

    fn image_side(&self) -> Option<usize> {
        self.as_ref().any_image_side()
    }

    fn features(&self, images: Tensor<4>) -> Features {
        self.as_ref().any_features(images)
    }

    fn encode_support(&self, shots: &[Shot]) -> Result<AnySupport, HeadError> {
        self.as_ref().any_encode_support(shots)
    }

    fn segment(
        &self,
        support: &AnySupport,
        query: &Features,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        self.as_ref().any_segment(support, query, size)
    }
    fn prepare_query(&self, query: &Features) -> Result<PreparedQuery, HeadError> {
        self.as_ref().any_prepare_query(query)
    }

    fn segment_prepared(
        &self,
        support: &AnySupport,
        query: &PreparedQuery,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        self.as_ref().any_segment_prepared(support, query, size)
    }

    fn segment_ways(
        &self,
        supports: &[AnySupport],
        query: &Features,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        self.as_ref().any_segment_ways(supports, query, size)
    }
}
