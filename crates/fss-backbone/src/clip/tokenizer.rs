//! Text to tokens, as CLIP was trained with them.
//!
//! The vocabulary and its merges come with the crate `instant-clip-tokenizer`; cleaning and splitting
//! are done here, because the published code does more than that crate.

mod clean;
mod entities;
mod mojibake;

use std::fmt;

use instant_clip_tokenizer::{Token, Tokenizer};
use regex::Regex;

use crate::error::BackboneError;

pub(super) use clean::clean;

/// Longest text in bytes: far above what any prompt needs, and quick to take apart.
const MAX_BYTES: usize = 1 << 16;

/// What to do with a text of more tokens than the context holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Overlong {
    /// An error.
    #[default]
    Refuse,
    /// Cut it; [`Tokens::kept`] says what is left.
    Truncate,
}

/// A text as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Start token, text, end token, then zeros up to the context.
    pub ids: Vec<u32>,
    /// How many of them are not padding.
    pub used: usize,
    /// How many the whole text needs, start and end included; more than `used` if it was cut.
    pub needed: usize,
    /// The whole text as it was read: cleaned and in lower case.
    pub text: String,
    /// The part of it that the tokens stand for.
    pub kept: String,
}

impl Tokens {
    /// Whether the text was cut.
    pub fn is_truncated(&self) -> bool {
        self.needed > self.used
    }
}

/// CLIP's tokenizer. Making one takes some ten milliseconds: keep it.
pub struct ClipTokenizer {
    vocabulary: Tokenizer,
    pieces: Option<Regex>,
}

impl fmt::Debug for ClipTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClipTokenizer").finish_non_exhaustive()
    }
}

impl Default for ClipTokenizer {
    fn default() -> Self {
        Self::new()
    }
}

/// The special tokens as they are written in texts.
const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";

/// Special tokens, contractions, letters, single numbers, and runs of anything else.
const PIECES: &str = r"(?ix) <\|startoftext\|> | <\|endoftext\|>
    | 's | 't | 're | 've | 'm | 'll | 'd
    | \p{L}+ | \p{N} | [^\s\p{L}\p{N}]+";

impl ClipTokenizer {
    /// The tokenizer of all released models.
    pub fn new() -> Self {
        Self { vocabulary: Tokenizer::new(), pieces: Regex::new(PIECES).ok() }
    }

    /// Tokens of a text, padded with zeros to `context`. The text is cleaned first: mojibake, character
    /// references, typographic quotes and the like are undone, white space collapses, and letters
    /// become small. A text without any word gives start and end alone; see
    /// [`prompt`](super::prompt) for what refuses it.
    ///
    /// # Errors
    /// [`BackboneError::LongPrompt`] if the text needs more tokens than `context` and is not to be cut,
    /// or is longer than 64 KiB; [`BackboneError::ClipInput`] if `context` is below 2.
    pub fn tokenize(
        &self,
        text: &str,
        context: usize,
        overlong: Overlong,
    ) -> Result<Tokens, BackboneError> {
        if context < 2 {
            let reason = format!("a context of {context} holds no start and end token");
            return Err(BackboneError::ClipInput { reason });
        }
        let too_long =
            |size: String| BackboneError::LongPrompt { text: shorten(text), size, limit: context };
        if text.len() > MAX_BYTES {
            return Err(too_long(format!("{} bytes", text.len())));
        }
        let cleaned = clean(text);
        let end = self.vocabulary.end_of_text();
        let mut tokens = vec![self.vocabulary.start_of_text()];
        let mut kept = String::new();
        for piece in self.pieces.iter().flat_map(|pieces| pieces.find_iter(&cleaned)) {
            let before = tokens.len();
            self.encode(piece.as_str(), &mut tokens);
            // The last place is the end token's.
            if tokens.len() < context {
                cleaned[..piece.end()].clone_into(&mut kept);
            } else if before < context - 1 {
                let part = self.vocabulary.decode(tokens[before..context - 1].iter().copied());
                cleaned[..piece.start()].clone_into(&mut kept);
                kept.push_str(part.trim_end_matches('\u{fffd}').trim_end());
            }
        }
        tokens.push(end);
        let needed = tokens.len();
        if needed > context {
            if overlong == Overlong::Refuse {
                return Err(too_long(format!("{needed} tokens")));
            }
            tokens.truncate(context - 1);
            tokens.push(end);
        }
        let used = tokens.len();
        let mut ids: Vec<u32> = tokens.into_iter().map(|token| token.to_u16().into()).collect();
        ids.resize(context, 0);
        Ok(Tokens { ids, used, needed, text: cleaned, kept })
    }

    /// One piece of a cleaned text.
    fn encode(&self, piece: &str, tokens: &mut Vec<Token>) {
        match piece {
            START => tokens.push(self.vocabulary.start_of_text()),
            END => tokens.push(self.vocabulary.end_of_text()),
            piece => self.vocabulary.encode(piece, tokens),
        }
    }
}

/// The beginning of a text, for messages.
fn shorten(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
