//! Heads behind one object-safe face, for code that learns at run time which head it has.

use std::any::Any;

use burn::tensor::{Int, Tensor};

use crate::{FewShotModel, HeadError};

/// A support set of some [`AnyModel`]; only the model that made it can read it.
pub struct AnySupport(Box<dyn Any + Send + Sync>);

impl std::fmt::Debug for AnySupport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AnySupport")
    }
}

/// A [`FewShotModel`] of any kind.
pub trait AnyModel: Send {
    /// See [`FewShotModel::encode_support_images`].
    ///
    /// # Errors
    /// As there.
    fn encode(&self, shots: &[(Tensor<4>, Tensor<3, Int>)]) -> Result<AnySupport, HeadError>;

    /// See [`FewShotModel::segment_images`]: logits `[B, 1 + ways, H, W]` of images `[B, 3, H, W]`.
    ///
    /// # Errors
    /// [`HeadError::ForeignSupport`] if another kind of model made the support set.
    fn logits(&self, support: &AnySupport, images: Tensor<4>) -> Result<Tensor<4>, HeadError>;
}

impl<M> AnyModel for M
where
    M: FewShotModel + Send,
    M::Support: Send + Sync + 'static,
{
    fn encode(&self, shots: &[(Tensor<4>, Tensor<3, Int>)]) -> Result<AnySupport, HeadError> {
        Ok(AnySupport(Box::new(self.encode_support_images(shots)?)))
    }

    fn logits(&self, support: &AnySupport, images: Tensor<4>) -> Result<Tensor<4>, HeadError> {
        let support = support.0.downcast_ref().ok_or(HeadError::ForeignSupport)?;
        Ok(self.segment_images(support, images))
    }
}
