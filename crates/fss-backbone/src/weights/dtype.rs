//! Element types of stored tensors and their way to f32.

use std::fmt;

use burn_store::pytorch_reader;
use half::{bf16, f16};

/// Element type of a stored tensor. Only floating-point types become weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ElementType {
    F64,
    F32,
    F16,
    Bf16,
    /// Any other, by name.
    Other(String),
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Other(name) => name,
        })
    }
}

impl ElementType {
    pub(crate) fn from_pytorch(dtype: pytorch_reader::DType) -> Self {
        use pytorch_reader::DType;
        match dtype {
            DType::F64 => Self::F64,
            DType::F32 => Self::F32,
            DType::F16 => Self::F16,
            DType::BF16 => Self::Bf16,
            other => Self::other(&other),
        }
    }

    pub(crate) fn from_safetensors(dtype: safetensors::Dtype) -> Self {
        use safetensors::Dtype;
        match dtype {
            Dtype::F64 => Self::F64,
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::Bf16,
            other => Self::other(&other),
        }
    }

    pub(crate) fn from_burn(dtype: burn::tensor::DType) -> Self {
        use burn::tensor::DType;
        match dtype {
            DType::F64 => Self::F64,
            DType::F32 => Self::F32,
            DType::F16 => Self::F16,
            DType::BF16 => Self::Bf16,
            other => Self::other(&other),
        }
    }

    fn other(dtype: &dyn fmt::Debug) -> Self {
        Self::Other(format!("{dtype:?}").to_lowercase())
    }
}

/// Little-endian bytes to f32, or `None` if they are of no floating-point type.
pub(crate) fn decode(dtype: &ElementType, bytes: &[u8]) -> Option<Vec<f32>> {
    fn each<const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks().0.iter().map(|chunk| f(*chunk)).collect()
    }
    match dtype {
        ElementType::F64 => Some(each(bytes, |b| f64::from_le_bytes(b) as f32)),
        ElementType::F32 => Some(each(bytes, f32::from_le_bytes)),
        ElementType::F16 => Some(each(bytes, |b| f16::from_le_bytes(b).to_f32())),
        ElementType::Bf16 => Some(each(bytes, |b| bf16::from_le_bytes(b).to_f32())),
        ElementType::Other(_) => None,
    }
}
