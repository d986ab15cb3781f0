//! Half precision for inference.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, FloatDType, Tensor};

use crate::{Features, FewShotModel, HeadError, PreparedQuery, Shot, ShotRule};

/// The field under which every model keeps its backbone.
const BACKBONE: &str = "backbone";

/// The half precision that a device computes in: float16, else bfloat16; `None` if it has neither. (The CPU has
/// both, but is slower in them.)
pub fn half_type(device: &Device) -> Option<FloatDType> {
    #[cfg(feature = "flex")]
    if device.clone().inner() == Device::flex() {
        return None;
    }
    [FloatDType::F16, FloatDType::BF16]
        .into_iter()
        .find(|dtype| device.clone().inner().supports_dtype(*dtype))
}

/// A model whose backbone holds its weights and computes in half precision; what the backbone gives is matched in
/// full precision. For inference: weights are rounded, once.
///
/// Features differ from those of full precision by some 2^-10 (float16) or 2^-7 (bfloat16) of their size.
#[derive(Debug, Clone)]
pub struct HalfBackbone<M> {
    model: M,
    dtype: FloatDType,
}

impl<M: FewShotModel + Module> HalfBackbone<M> {
    /// Rounds the weights of the model's backbone to `dtype`.
    pub fn new(model: M, dtype: FloatDType) -> Self {
        let mut rounding = Rounding { dtype, inside: 0 };
        Self { model: model.map(&mut rounding), dtype }
    }
}

/// Casts all that lies below a field named [`BACKBONE`].
struct Rounding {
    dtype: FloatDType,
    /// How many such fields we are in.
    inside: usize,
}

impl ModuleMapper for Rounding {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.inside += usize::from(name == BACKBONE);
    }

    fn exit_module(&mut self, name: &str, _container: &str) {
        self.inside -= usize::from(name == BACKBONE);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.inside == 0 {
            return param;
        }
        param.map(|tensor| tensor.cast(self.dtype))
    }
}

impl<M: FewShotModel> FewShotModel for HalfBackbone<M> {
    type Support = M::Support;

    fn shot_rule(&self) -> ShotRule {
        self.model.shot_rule()
    }

    fn cam_grid(&self) -> Option<usize> {
        self.model.cam_grid()
    }

    fn image_side(&self) -> Option<usize> {
        self.model.image_side()
    }

    fn features(&self, images: Tensor<4>) -> Features {
        let full: FloatDType = images.dtype().into();
        let taps = self.model.features(images.cast(self.dtype)).0;
        Features(taps.into_iter().map(|tap| tap.cast(full)).collect())
    }

    fn encode_support(&self, shots: &[Shot]) -> Result<Self::Support, HeadError> {
        self.model.encode_support(shots)
    }

    fn segment(
        &self,
        support: &Self::Support,
        query: &Features,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        self.model.segment(support, query, size)
    }

    fn prepare_query(&self, query: &Features) -> Result<PreparedQuery, HeadError> {
        self.model.prepare_query(query)
    }

    fn segment_prepared(
        &self,
        support: &Self::Support,
        query: &PreparedQuery,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        self.model.segment_prepared(support, query, size)
    }

    fn segment_ways(
        &self,
        supports: &[Self::Support],
        query: &Features,
        size: [usize; 2],
    ) -> Result<Tensor<4>, HeadError> {
        self.model.segment_ways(supports, query, size)
    }
}
