//! The Mersenne Twister with 32-bit words.

use serde::{Deserialize, Serialize};

/// Number of 32-bit words of the state.
pub const STATE_WORDS: usize = 624;

const MIDDLE: usize = 397;
const MATRIX: u32 = 0x9908_b0df;
const UPPER: u32 = 0x8000_0000;

/// MT19937 (Matsumoto and Nishimura, 1998): 624 words of state and a position in them.
///
/// The state serialises completely; a state of another length or with a position beyond its
/// end is refused when it is read back.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawState", into = "RawState")]
pub struct Mt19937 {
    words: Box<[u32; STATE_WORDS]>,
    position: usize,
}

/// The form in which the state travels.
#[derive(Serialize, Deserialize)]
struct RawState {
    words: Vec<u32>,
    position: usize,
}

impl TryFrom<RawState> for Mt19937 {
    type Error = String;

    fn try_from(raw: RawState) -> Result<Self, String> {
        let given = raw.words.len();
        let words: Box<[u32; STATE_WORDS]> = raw.words.into_boxed_slice().try_into().map_err(|_| {
            format!("a Mersenne Twister state has {STATE_WORDS} words, this one {given}; the saved state is damaged")
        })?;
        if raw.position > STATE_WORDS {
            return Err(format!(
                "position {} lies beyond the {STATE_WORDS} words of a Mersenne Twister state; the saved state is damaged",
                raw.position
            ));
        }
        Ok(Self { words, position: raw.position })
    }
}

impl From<Mt19937> for RawState {
    fn from(state: Mt19937) -> Self {
        Self { words: state.words.to_vec(), position: state.position }
    }
}

impl std::fmt::Debug for Mt19937 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // 624 words would drown whatever they are printed with.
        f.debug_struct("Mt19937")
            .field("first_word", &self.words[0])
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl Mt19937 {
    /// The classic initialisation by one word.
    pub fn from_word(seed: u32) -> Self {
        let mut words = Box::new([0u32; STATE_WORDS]);
        words[0] = seed;
        for j in 1..STATE_WORDS {
            let before = words[j - 1];
            words[j] =
                1_812_433_253u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(j as u32);
        }
        Self { words, position: STATE_WORDS }
    }

    /// The reference initialisation by an array of words; an empty key counts as one word 0.
    pub fn from_words(key: &[u32]) -> Self {
        let key = if key.is_empty() { &[0][..] } else { key };
        let mut state = Self::from_word(19_650_218);
        let words = &mut state.words;
        let mut i = 1;
        for step in 0..STATE_WORDS.max(key.len()) {
            let j = step % key.len();
            let before = words[i - 1];
            words[i] = (words[i] ^ (before ^ (before >> 30)).wrapping_mul(1_664_525))
                .wrapping_add(key[j])
                .wrapping_add(j as u32);
            i = Self::advance(words, i);
        }
        for _ in 1..STATE_WORDS {
            let before = words[i - 1];
            words[i] = (words[i] ^ (before ^ (before >> 30)).wrapping_mul(1_566_083_941))
                .wrapping_sub(i as u32);
            i = Self::advance(words, i);
        }
        words[0] = UPPER;
        state
    }

    /// The next place of the array initialisation; the last word wraps round to the first.
    fn advance(words: &mut [u32; STATE_WORDS], i: usize) -> usize {
        if i + 1 < STATE_WORDS {
            return i + 1;
        }
        words[0] = words[STATE_WORDS - 1];
        1
    }

    /// The words of the state as they are now.
    pub fn words(&self) -> &[u32; STATE_WORDS] {
        &self.words
    }

    /// How many words of the current block have been used, `0..=624`.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The next 32-bit output.
    pub fn next_u32(&mut self) -> u32 {
        if self.position == STATE_WORDS {
            self.twist();
        }
        let mut y = self.words[self.position];
        self.position += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// A number in [0, 1) with 53 random bits, made of two outputs.
    pub fn next_f64(&mut self) -> f64 {
        let high = f64::from(self.next_u32() >> 5);
        let low = f64::from(self.next_u32() >> 6);
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }

    fn twist(&mut self) {
        let words = &mut self.words;
        for i in 0..STATE_WORDS {
            let y = (words[i] & UPPER) | (words[(i + 1) % STATE_WORDS] & !UPPER);
            let odd = if y & 1 == 1 { MATRIX } else { 0 };
            words[i] = words[(i + MIDDLE) % STATE_WORDS] ^ (y >> 1) ^ odd;
        }
        self.position = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_outputs_of_one_word_seeding() {
        let mut mt = Mt19937::from_word(5489);
        let first = mt.next_u32();
        for _ in 1..9_999 {
            mt.next_u32();
        }
        // The 10 000th output for the default seed is part of the C++ standard.
        assert_eq!((first, mt.next_u32()), (3_499_211_612, 4_123_659_995));
    }

    #[test]
    fn reference_outputs_of_array_seeding() {
        let mut mt = Mt19937::from_words(&[0x123, 0x234, 0x345, 0x456]);
        let got: Vec<u32> = (0..5).map(|_| mt.next_u32()).collect();
        assert_eq!(got, [1_067_595_299, 955_945_823, 477_289_528, 4_107_218_783, 4_228_976_476]);
    }

    #[test]
    fn keys_longer_than_the_state_use_every_word() {
        let mut key = vec![7u32; 700];
        let mut a = Mt19937::from_words(&key);
        key[699] = 8;
        let mut b = Mt19937::from_words(&key);
        assert_ne!(a.next_u32(), b.next_u32());
    }

    #[test]
    fn state_round_trips_in_the_middle_of_a_block() {
        let mut mt = Mt19937::from_word(3);
        for _ in 0..1000 {
            mt.next_u32();
        }
        let text = serde_json::to_string(&mt).unwrap();
        let mut back: Mt19937 = serde_json::from_str(&text).unwrap();
        assert_eq!(back, mt);
        for _ in 0..1000 {
            assert_eq!(back.next_u32(), mt.next_u32());
        }
    }

    #[test]
    fn damaged_states_are_refused() {
        let short = r#"{"words":[1,2,3],"position":0}"#;
        let error = serde_json::from_str::<Mt19937>(short).unwrap_err().to_string();
        assert!(error.contains("624 words, this one 3"), "{error}");
        let beyond = format!(r#"{{"words":{:?},"position":625}}"#, vec![0; STATE_WORDS]);
        let error = serde_json::from_str::<Mt19937>(&beyond).unwrap_err().to_string();
        assert!(error.contains("position 625"), "{error}");
    }
}
