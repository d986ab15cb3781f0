//! Shares of an evaluation, for several processes, machines or devices.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::TrainError;

/// One of N equal shares of an evaluation: of every N episodes (or images) in a row, the one at its index.
///
/// Written `I/N`, with I from 0: the task numbers of job arrays and indexed jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    index: usize,
    of: usize,
}

impl Shard {
    /// All there is.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// The share `index` of `of`.
    ///
    /// # Errors
    /// [`TrainError::Setting`] unless `index < of`.
    pub fn new(index: usize, of: usize) -> Result<Self, TrainError> {
        if index < of {
            return Ok(Self { index, of });
        }
        Err(TrainError::setting(
            format!("there is no shard {index}/{of}"),
            "shards are numbered from 0: of four, 0/4, 1/4, 2/4 and 3/4",
        ))
    }

    /// Its number, from 0.
    pub fn index(self) -> usize {
        self.index
    }

    /// How many there are.
    pub fn of(self) -> usize {
        self.of
    }

    /// Whether it is all there is.
    pub fn is_whole(&self) -> bool {
        self.of == 1
    }

    /// Whether the episode (or image) of this number belongs to it.
    pub fn takes(self, number: usize) -> bool {
        number % self.of == self.index
    }

    /// How many of so many episodes belong to it.
    pub fn count(self, episodes: usize) -> usize {
        (episodes + self.of - 1 - self.index) / self.of
    }

    /// The items that belong to it.
    pub(crate) fn pick<T>(self, all: Vec<T>) -> Vec<T> {
        let numbered = all.into_iter().enumerate();
        numbered.filter(|(number, _)| self.takes(*number)).map(|(_, item)| item).collect()
    }

    /// This share dealt out again, to so many devices.
    pub fn split(self, parts: usize) -> Vec<Self> {
        let part = |i: usize| Self { index: self.index + self.of * i, of: self.of * parts };
        (0..parts).map(part).collect()
    }

    /// Puts the shares of `whole` in order.
    ///
    /// # Errors
    /// [`TrainError::Setting`] if one is missing, there twice, or no share of it.
    pub(crate) fn join<T>(whole: Self, mut parts: Vec<(Self, T)>) -> Result<Vec<T>, TrainError> {
        let Some(of) = parts.first().map(|(shard, _)| shard.of) else {
            return Err(TrainError::setting("there are no shards to merge", "give all of them"));
        };
        if let Some((other, _)) = parts.iter().find(|(shard, _)| shard.of != of) {
            return Err(TrainError::setting(
                format!("shard {other} and shard {} are of different numbers", parts[0].0),
                "merge the shards of one evaluation, all made with the same N in --shard I/N",
            ));
        }
        let all = whole.split(of / whole.of);
        let missing: Vec<String> = all
            .iter()
            .filter(|wanted| parts.iter().all(|(shard, _)| shard != *wanted))
            .map(Self::to_string)
            .collect();
        if !missing.is_empty() {
            return Err(TrainError::setting(
                format!("shards are missing: {}", missing.join(", ")),
                "give all of them, or measure those with `fss eval --shard` first",
            ));
        }
        parts.sort_by_key(|(shard, _)| shard.index);
        if let Some(pair) = parts.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(TrainError::setting(
                format!("shard {} is there twice", pair[0].0),
                "give each of them once",
            ));
        }
        if parts.len() != all.len() {
            return Err(TrainError::setting(
                format!("these are more than the shards of {whole}"),
                "give those that belong to it",
            ));
        }
        Ok(parts.into_iter().map(|(_, part)| part).collect())
    }
}

impl Default for Shard {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = TrainError;

    fn from_str(text: &str) -> Result<Self, TrainError> {
        let numbers = text.split_once('/').map(|(index, of)| (index.trim(), of.trim()));
        match numbers.map(|(index, of)| (index.parse(), of.parse())) {
            Some((Ok(index), Ok(of))) => Self::new(index, of),
            _ => Err(TrainError::setting(
                format!("{text:?} is no shard"),
                "write I/N with I from 0, as 0/4 for the first of four",
            )),
        }
    }
}

/// Puts items that were dealt out in turn back into one row.
pub(crate) fn interleave<T>(parts: Vec<Vec<T>>) -> Vec<T> {
    let mut parts: Vec<_> = parts.into_iter().map(Vec::into_iter).collect();
    let mut row = Vec::new();
    loop {
        let before = row.len();
        row.extend(parts.iter_mut().filter_map(Iterator::next));
        if row.len() == before {
            return row;
        }
    }
}

/// Refuses to merge parts of different evaluations; `what` names the setting that differs.
pub(crate) fn same<T: PartialEq>(left: &T, right: &T, what: &str) -> Result<(), TrainError> {
    if left == right {
        return Ok(());
    }
    Err(TrainError::setting(
        format!("the shards do not belong together: they differ in {what}"),
        "merge files of one evaluation, all made with the same options",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(texts: &[&str]) -> Vec<(Shard, usize)> {
        texts.iter().map(|text| text.parse().unwrap()).map(|s: Shard| (s, s.index())).collect()
    }

    #[test]
    fn every_episode_belongs_to_one_shard() {
        for of in 1..6 {
            let parts: Vec<Shard> = Shard::WHOLE.split(of);
            let dealt: Vec<Vec<usize>> =
                parts.iter().map(|shard| shard.pick((0..17).collect())).collect();
            assert!(parts.iter().zip(&dealt).all(|(shard, own)| shard.count(17) == own.len()));
            assert_eq!(interleave(dealt), (0..17).collect::<Vec<_>>());
        }
        let halves = Shard::new(1, 3).unwrap().split(2);
        assert_eq!(halves.iter().map(Shard::to_string).collect::<Vec<_>>(), ["1/6", "4/6"]);
        let dealt = halves.iter().map(|shard| shard.pick((0..20).collect())).collect();
        assert_eq!(interleave(dealt), Shard::new(1, 3).unwrap().pick((0..20).collect::<Vec<_>>()));
    }

    #[test]
    fn shards_are_joined_in_order_or_refused() {
        let join = |whole: &str, texts: &[&str]| Shard::join(whole.parse().unwrap(), shards(texts));
        assert_eq!(join("0/1", &["2/3", "0/3", "1/3"]).unwrap(), [0, 1, 2]);
        assert_eq!(join("1/3", &["4/6", "1/6"]).unwrap(), [1, 4]);
        let message = |whole: &str, texts: &[&str]| join(whole, texts).unwrap_err().to_string();
        assert!(message("0/1", &["0/4", "3/4", "1/4"]).contains("missing: 2/4"));
        assert!(message("0/1", &["0/4", "2/4"]).contains("missing: 1/4, 3/4"));
        assert!(message("1/3", &["0/6", "4/6"]).contains("missing: 1/6"));
        assert!(message("0/1", &["0/2", "0/2", "1/2"]).contains("twice"));
        assert!(message("0/1", &["0/2", "1/3"]).contains("different numbers"));
        assert!(message("1/3", &["0/6", "1/6", "4/6"]).contains("more than"));
        assert!(message("0/1", &[]).contains("no shards"));
        for wrong in ["", "1", "2/2", "0/0", "-1/2", "a/b", "1/2/3"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }
}
