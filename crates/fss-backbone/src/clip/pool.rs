//! The attention pool, forward and backward.
//!
//! Tokens are the positions of the map behind their mean, which is token 0, plus a learned position
//! each. The result is what multi-head attention gives at token 0, so there is one query an image:
//! keys and values of the other tokens need not exist. With `q` the query of a head, `W_k` and `W_v`
//! its rows of the key and value maps,
//!
//! ```text
//! score_t = q . (W_k x_t + b_k) = (W_k' q) . x_t + const        (const drops out of the softmax)
//! output  = sum_t a_t (W_v x_t + b_v) = W_v (sum_t a_t x_t) + b_v
//! ```
//!
//! which costs four products with one vector instead of two with every token.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, activation::softmax};

use super::config::{ClipConfig, HEAD};
use super::linear::Linear;
use crate::block::beside;
use crate::error::BackboneError;
use crate::init::Init;

/// The attention pool. `N` positions, `C` channels, `H` heads of 64, features of length `E`.
#[derive(Module, Debug)]
pub struct AttentionPool {
    /// `[N + 1, C]`
    pub positional_embedding: Param<Tensor<2>>,
    /// Keys, `C` to `C`. Its bias has no influence.
    pub k_proj: Linear,
    /// Queries, `C` to `C`.
    pub q_proj: Linear,
    /// Values, `C` to `C`.
    pub v_proj: Linear,
    /// Output, `C` to `E`.
    pub c_proj: Linear,
}

/// What the forward pass leaves for the backward pass, for `B` images.
#[derive(Debug, Clone)]
pub(super) struct Pooled {
    /// `[B, E]`
    pub features: Tensor<2>,
    /// `[B, C, N + 1]`
    tokens: Tensor<3>,
    /// What the tokens are compared with, `[B, H, C]`.
    probes: Tensor<3>,
    /// Attention weights, `[B, H, N + 1]`.
    attention: Tensor<3>,
}

impl Pooled {
    /// The state of the images of `index` `[P]`, one after the other.
    pub(super) fn select(&self, index: &Tensor<1, Int>) -> Self {
        Self {
            features: self.features.clone().select(0, index.clone()),
            tokens: self.tokens.clone().select(0, index.clone()),
            probes: self.probes.clone().select(0, index.clone()),
            attention: self.attention.clone().select(0, index.clone()),
        }
    }
}

/// Queries are scaled by one over the root of a head's channels.
const QUERY_SCALE: f32 = 0.125;

impl AttentionPool {
    pub(super) fn new(init: &Init<'_>, config: &ClipConfig) -> Self {
        let channels = config.channels();
        let positions = config.grid() * config.grid() + 1;
        let key = |name: &str| format!("visual.attnpool.{name}");
        let linear = |name: &str, outer| {
            Linear::new(init, &key(&format!("{name}.weight")), [channels, outer])
        };
        let deviation = (channels as f64).powf(-0.5);
        Self {
            positional_embedding: init.normal(
                &key("positional_embedding"),
                [positions, channels],
                deviation,
            ),
            k_proj: linear("k_proj", channels),
            q_proj: linear("q_proj", channels),
            v_proj: linear("v_proj", channels),
            c_proj: linear("c_proj", config.embedding),
        }
    }

    /// `[B, C, h, w]` to features.
    pub(super) fn forward(&self, activations: Tensor<4>) -> Result<Pooled, BackboneError> {
        let tokens = self.tokens(activations)?;
        let [images, channels, _] = tokens.dims();
        let mean = tokens.clone().narrow(2, 0, 1).reshape([images, channels]);
        let queries = self.q_proj.forward(mean) * QUERY_SCALE;
        let probes = back(by_heads(queries), &self.k_proj);
        let attention = softmax(probes.clone().matmul(tokens.clone()), 2);
        let means = attention.clone().matmul(tokens.clone().swap_dims(1, 2));
        let bias = beside(self.v_proj.bias.val(), &means);
        let values = ahead(means, &self.v_proj) + bias.unsqueeze();
        let features = self.c_proj.forward(values);
        Ok(Pooled { features, tokens, probes, attention })
    }

    /// The gradient of the map, `[P, C, h, w]`, for a gradient of the features, `[P, E]`.
    pub(super) fn backward(
        &self,
        state: &Pooled,
        features: Tensor<2>,
        [h, w]: [usize; 2],
    ) -> Tensor<4> {
        let Pooled { tokens, probes, attention, .. } = state;
        let [pairs, channels, _] = tokens.dims();
        let along = beside(self.c_proj.weight.val(), &features);
        let means = back(by_heads(features.matmul(along)), &self.v_proj);
        let weights = means.clone().matmul(tokens.clone());
        let inner = (attention.clone() * weights.clone()).sum_dim(2);
        let scores = attention.clone() * (weights - inner);
        // Tokens are reached as what is averaged, as what is compared, and token 0 as the query too.
        let moved = means.swap_dims(1, 2).matmul(attention.clone())
            + probes.clone().swap_dims(1, 2).matmul(scores.clone());
        let queries = ahead(scores.matmul(tokens.clone().swap_dims(1, 2)), &self.k_proj);
        let along = beside(self.q_proj.weight.val(), &queries);
        let query = (queries * QUERY_SCALE).matmul(along).unsqueeze_dim::<3>(2);
        let mean = (moved.clone().narrow(2, 0, 1) + query) / ((h * w) as f32);
        (moved.narrow(2, 1, h * w) + mean).reshape([pairs, channels, h, w])
    }

    /// `[B, C, h, w]` to `[B, C, N + 1]`.
    fn tokens(&self, activations: Tensor<4>) -> Result<Tensor<3>, BackboneError> {
        let [images, channels, h, w] = activations.dims();
        let [positions, expected] = self.positional_embedding.lazy_shape().dims();
        if channels != expected || h * w + 1 != positions {
            let reason = format!(
                "its attention pool knows {} positions of {expected} channels, the map has {h}x{w} \
                 of {channels}: use images of the network's resolution",
                positions - 1
            );
            return Err(BackboneError::ClipInput { reason });
        }
        let map = activations.reshape([images, channels, h * w]);
        let tokens = Tensor::cat(vec![map.clone().mean_dim(2), map], 2);
        let position = beside(self.positional_embedding.val(), &tokens);
        Ok(tokens + position.transpose().unsqueeze())
    }
}

/// `[B, H * 64]` to `[H, B, 64]`.
fn by_heads(x: Tensor<2>) -> Tensor<3> {
    let [images, channels] = x.dims();
    x.reshape([images, channels / HEAD, HEAD]).swap_dims(0, 1)
}

/// The rows of a map that belong to each head, `[H, 64, C]`.
fn head_weights(map: &Linear, x: &Tensor<3>) -> Tensor<3> {
    let weight = beside(map.weight.val(), x);
    let [outer, inner] = weight.dims();
    weight.reshape([outer / HEAD, HEAD, inner])
}

/// Each head's map applied to its own input: `[B, H, C]` to `[B, H * 64]`.
fn ahead(x: Tensor<3>, map: &Linear) -> Tensor<2> {
    let [images, heads, _] = x.dims();
    let weight = head_weights(map, &x).swap_dims(1, 2);
    x.swap_dims(0, 1).matmul(weight).swap_dims(0, 1).reshape([images, heads * HEAD])
}

/// Each head's map transposed: `[H, B, 64]` to `[B, H, C]`.
fn back(x: Tensor<3>, map: &Linear) -> Tensor<3> {
    let weight = head_weights(map, &x);
    x.matmul(weight).swap_dims(0, 1)
}
