//! The text encoder: a causal transformer.

use burn::module::{Module, Param};
use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::module::embedding;
use burn::tensor::{Int, Tensor, TensorData};

use super::config::{ClipConfig, HEAD};
use super::linear::{LayerNorm, Linear, constant};
use crate::error::BackboneError;
use crate::init::Init;

/// Prompts that run together; more add memory and no speed.
const BATCH: usize = 64;

/// The text encoder. `W` channels, context of `L` tokens, features of length `E`.
#[derive(Module, Debug)]
pub struct ClipText {
    /// `[vocabulary, W]`
    pub token_embedding: Param<Tensor<2>>,
    /// `[L, W]`
    pub positional_embedding: Param<Tensor<2>>,
    /// The transformer.
    pub blocks: Vec<TextBlock>,
    /// The norm behind it.
    pub ln_final: LayerNorm,
    /// `[W, E]`
    pub text_projection: Param<Tensor<2>>,
}

/// A pre-norm block: `x += attention(norm(x)); x += mlp(norm(x))`.
#[derive(Module, Debug)]
pub struct TextBlock {
    /// Norm before the attention.
    pub ln_1: LayerNorm,
    /// Query, key and value in this order, `[3W, W]`.
    pub in_proj_weight: Param<Tensor<2>>,
    /// `[3W]`
    pub in_proj_bias: Param<Tensor<1>>,
    /// `W` to `W`.
    pub out_proj: Linear,
    /// Norm before the perceptron.
    pub ln_2: LayerNorm,
    /// `W` to `4W`.
    pub c_fc: Linear,
    /// `4W` to `W`.
    pub c_proj: Linear,
}

impl ClipText {
    pub(super) fn new(init: &Init<'_>, config: &ClipConfig) -> Self {
        let width = config.text_width;
        Self {
            token_embedding: init.normal(
                "token_embedding.weight",
                [config.vocabulary, width],
                0.02,
            ),
            positional_embedding: init.normal(
                "positional_embedding",
                [config.context, width],
                0.01,
            ),
            blocks: (0..config.text_layers).map(|i| TextBlock::new(init, i, width)).collect(),
            ln_final: LayerNorm::new(init, width),
            text_projection: init.normal(
                "text_projection",
                [width, config.embedding],
                (width as f64).powf(-0.5),
            ),
        }
    }

    /// See [`Clip::encode_text`](super::Clip::encode_text).
    pub(super) fn encode(
        &self,
        tokens: &[Vec<u32>],
        config: &ClipConfig,
    ) -> Result<Tensor<2>, BackboneError> {
        for (i, row) in tokens.iter().enumerate() {
            check_row(row, config).map_err(|what| BackboneError::ClipInput {
                reason: format!("prompt {i} has {what}"),
            })?;
        }
        if tokens.is_empty() {
            let reason = "no prompt was given".to_owned();
            return Err(BackboneError::ClipInput { reason });
        }
        Ok(Tensor::cat(tokens.chunks(BATCH).map(|batch| self.encode_batch(batch)).collect(), 0))
    }

    fn encode_batch(&self, tokens: &[Vec<u32>]) -> Tensor<2> {
        let ends: Vec<usize> = tokens.iter().map(|row| end_of(row)).collect();
        let length = ends.iter().max().map_or(1, |end| end + 1);
        let x = self.embed(tokens, length);
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        let [prompts, _, width] = x.dims();
        let rows = ends.iter().enumerate().map(|(i, end)| (i * length + end) as i64).collect();
        let rows =
            Tensor::<1, Int>::from_data(TensorData::new::<i64, _>(rows, [prompts]), &x.device());
        let x = self.ln_final.forward(x.reshape([prompts * length, width]).select(0, rows));
        x.matmul(self.text_projection.val().without_autodiff())
    }

    /// The output of every block, `[P, L, W]` each, for `P` prompts padded with zeros to `L`. For
    /// looking and comparing.
    ///
    /// # Errors
    /// [`BackboneError::ClipInput`] if a prompt is longer than `L` or has a token that is not in the
    /// vocabulary.
    pub fn block_outputs(&self, tokens: &[Vec<u32>]) -> Result<Vec<Tensor<3>>, BackboneError> {
        let [length, _] = self.positional_embedding.lazy_shape().dims();
        let [vocabulary, _] = self.token_embedding.lazy_shape().dims();
        if tokens.is_empty()
            || tokens.iter().any(|row| row.len() > length || !known(row, vocabulary))
        {
            let reason = format!("prompts need at most {length} tokens below {vocabulary}");
            return Err(BackboneError::ClipInput { reason });
        }
        let mut x = self.embed(tokens, length);
        let outputs = self.blocks.iter().map(|block| {
            x = block.forward(x.clone());
            x.clone()
        });
        Ok(outputs.collect())
    }

    /// The first `length` tokens of each prompt, embedded: `[P, length, W]`.
    fn embed(&self, tokens: &[Vec<u32>], length: usize) -> Tensor<3> {
        let padded = tokens.iter().flat_map(|row| {
            row.iter().copied().chain(std::iter::repeat(0)).take(length).map(i64::from)
        });
        let data = TensorData::new(padded.collect::<Vec<i64>>(), [tokens.len(), length]);
        let weights = self.token_embedding.val().without_autodiff();
        let indices = Tensor::<2, Int>::from_data(data, &weights.device());
        let position = self.positional_embedding.val().without_autodiff().narrow(0, 0, length);
        embedding(weights, indices) + position.unsqueeze()
    }
}

/// Position of the end token: the first one with the largest id.
fn end_of(row: &[u32]) -> usize {
    let largest = row.iter().max();
    row.iter().position(|id| Some(id) == largest).unwrap_or(0)
}

fn known(row: &[u32], vocabulary: usize) -> bool {
    row.iter().all(|id| (*id as usize) < vocabulary)
}

fn check_row(row: &[u32], config: &ClipConfig) -> Result<(), String> {
    if row.is_empty() || row.len() > config.context {
        Err(format!("{} tokens; 1 to {} are possible", row.len(), config.context))
    } else if !known(row, config.vocabulary) {
        Err(format!("a token beyond the vocabulary of {}", config.vocabulary))
    } else {
        Ok(())
    }
}

impl TextBlock {
    fn new(init: &Init<'_>, number: usize, width: usize) -> Self {
        let key = |name: &str| format!("transformer.resblocks.{number}.{name}");
        let deviation = (width as f64).powf(-0.5);
        Self {
            ln_1: LayerNorm::new(init, width),
            in_proj_weight: init.normal(&key("attn.in_proj_weight"), [3 * width, width], deviation),
            in_proj_bias: constant(init, 0.0, 3 * width),
            out_proj: Linear::new(init, &key("attn.out_proj.weight"), [width, width]),
            ln_2: LayerNorm::new(init, width),
            c_fc: Linear::new(init, &key("mlp.c_fc.weight"), [width, 4 * width]),
            c_proj: Linear::new(init, &key("mlp.c_proj.weight"), [4 * width, width]),
        }
    }

    /// `[P, L, W]` to the same. Position t sees positions 0 to t.
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [prompts, length, width] = x.dims();
        let x = x.reshape([prompts * length, width]);
        let x = x.clone() + self.attend(self.ln_1.forward(x), prompts);
        let y = self.c_fc.forward(self.ln_2.forward(x.clone()));
        // The sigmoid form of GELU.
        let y = y.clone() * sigmoid(y * 1.702);
        (x + self.c_proj.forward(y)).reshape([prompts, length, width])
    }

    /// Causal self-attention: `[P * L, W]` to the same.
    fn attend(&self, x: Tensor<2>, prompts: usize) -> Tensor<2> {
        let [rows, width] = x.dims();
        let (length, heads) = (rows / prompts, width / HEAD);
        let weight = self.in_proj_weight.val().without_autodiff();
        let bias = self.in_proj_bias.val().without_autodiff();
        let packed = x.matmul(weight.transpose()) + bias.unsqueeze();
        let part = |i: usize| {
            let part = packed.clone().narrow(1, i * width, width);
            part.reshape([prompts, length, heads, HEAD]).swap_dims(1, 2)
        };
        let (query, key, value) = (part(0), part(1), part(2));
        let scores = (query * (HEAD as f32).powf(-0.5)).matmul(key.swap_dims(2, 3));
        let weights = softmax(scores + causal(length, &packed), 3);
        let mixed = weights.matmul(value).swap_dims(1, 2).reshape([rows, width]);
        self.out_proj.forward(mixed)
    }
}

/// `[1, 1, L, L]`: minus infinity above the diagonal, 0 elsewhere.
fn causal(length: usize, beside: &Tensor<2>) -> Tensor<4> {
    let mask = (0..length * length).map(|i| match i % length > i / length {
        true => f32::NEG_INFINITY,
        false => 0.0,
    });
    let data = TensorData::new(mask.collect::<Vec<_>>(), [1, 1, length, length]);
    Tensor::from_data(data, &beside.device())
}
