//! Episodes as a file, so that others test on the very same ones.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::episodes::{Purpose, Way, WayEpisode};
use crate::folds::Fold;
use crate::io::{read_file, write_atomic};
use crate::{ClassId, DataError};

/// An episode by the names of its images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEpisode {
    /// The image to segment.
    pub query: String,
    /// The class of each way.
    pub classes: Vec<ClassId>,
    /// The supports of each way.
    pub support: Vec<Vec<String>>,
}

/// Episodes and what they were drawn from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpisodeFile {
    /// The data set.
    pub dataset: String,
    /// The fold whose classes are held out.
    pub fold: Fold,
    /// What they are for: tests, of held-out classes, if it is not said.
    #[serde(default)]
    pub purpose: Purpose,
    /// The seed that they were drawn with.
    pub seed: u32,
    /// The episodes, in order.
    pub episodes: Vec<FileEpisode>,
}

impl EpisodeFile {
    /// Episodes by the names of images.
    ///
    /// # Panics
    /// If an episode has an image beyond `ids`.
    pub fn new(
        dataset: impl Into<String>,
        fold: Fold,
        purpose: Purpose,
        seed: u32,
        episodes: &[WayEpisode],
        ids: &[String],
    ) -> Self {
        let name = |image: &usize| ids[*image].clone();
        let named = |episode: &WayEpisode| FileEpisode {
            query: name(&episode.query),
            classes: episode.ways.iter().map(|way| way.class).collect(),
            support: episode
                .ways
                .iter()
                .map(|way| way.supports.iter().map(name).collect())
                .collect(),
        };
        let episodes = episodes.iter().map(named).collect();
        Self { dataset: dataset.into(), fold, purpose, seed, episodes }
    }

    /// Writes it as JSON, whole or not at all.
    ///
    /// # Errors
    /// [`DataError::Io`] naming the file.
    pub fn save(&self, path: &Path) -> Result<(), DataError> {
        // Every field is a number, a text or a list.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        write_atomic(path, text.as_bytes())
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`DataError::Io`] if it cannot be read; [`DataError::Invalid`] if it is no such file.
    pub fn load(path: &Path) -> Result<Self, DataError> {
        serde_json::from_slice(&read_file(path)?).map_err(|e| {
            DataError::invalid(
                path,
                format!("this is no file of episodes: {e}"),
                "write it anew with `EpisodeFile::save`",
            )
        })
    }

    /// The episodes by places in a listing.
    ///
    /// # Errors
    /// [`DataError::Invalid`] naming `path` and the episode for an image that the listing lacks, a class that
    /// the fold does not hold out, a class given twice, and ways without supports or of different numbers.
    pub fn episodes(&self, ids: &[String], path: &Path) -> Result<Vec<WayEpisode>, DataError> {
        let places: HashMap<&str, usize> =
            ids.iter().enumerate().map(|(place, id)| (id.as_str(), place)).collect();
        let mut episodes = Vec::with_capacity(self.episodes.len());
        for (number, episode) in self.episodes.iter().enumerate() {
            let refuse = |problem: String, remedy: &str| {
                DataError::invalid(path, format!("episode {}: {problem}", number + 1), remedy)
            };
            let place = |id: &String| {
                places.get(id.as_str()).copied().ok_or_else(|| {
                    refuse(
                        format!("the data set has no image {id}"),
                        "use the data set that the episodes were drawn from",
                    )
                })
            };
            let shots = episode.support.first().map_or(0, Vec::len);
            if episode.classes.is_empty()
                || episode.classes.len() != episode.support.len()
                || shots == 0
                || episode.support.iter().any(|way| way.len() != shots)
            {
                return Err(refuse(
                    format!(
                        "{} classes with supports {:?}",
                        episode.classes.len(),
                        episode.support.iter().map(Vec::len).collect::<Vec<_>>()
                    ),
                    "give each way the same number of supports, at least one",
                ));
            }
            let mut ways = Vec::with_capacity(episode.classes.len());
            for (class, supports) in episode.classes.iter().zip(&episode.support) {
                let held_out = self.fold.is_novel(*class);
                let base = !held_out && (1..=self.fold.classes()).contains(&usize::from(*class));
                let (fits, side) = match self.purpose {
                    Purpose::Training => (base, "a base class"),
                    Purpose::Test => (held_out, "held out"),
                };
                if !fits {
                    return Err(refuse(
                        format!("class {class} is not {side} in fold {}", self.fold.index()),
                        "use the episodes of this fold",
                    ));
                }
                if ways.iter().any(|way: &Way| way.class == *class) {
                    return Err(refuse(
                        format!("class {class} is that of two ways"),
                        "give every way a class of its own",
                    ));
                }
                let supports = supports.iter().map(place).collect::<Result<_, _>>()?;
                ways.push(Way { class: *class, supports });
            }
            episodes.push(WayEpisode { ways, query: place(&episode.query)? });
        }
        Ok(episodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> Vec<String> {
        (0..6).map(|i| format!("image{i}")).collect()
    }

    fn episode(classes: [ClassId; 2]) -> WayEpisode {
        let way = |class, image| Way { class, supports: vec![image] };
        WayEpisode { ways: vec![way(classes[0], 1), way(classes[1], 4)], query: 2 }
    }

    #[test]
    fn files_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("episodes.json");
        let episodes = [episode([1, 3]), episode([5, 2])];
        let fold = Fold::pascal(0).unwrap();
        let file = EpisodeFile::new("pascal val", fold, Purpose::Test, 7, &episodes, &ids());
        file.save(&path).unwrap();
        let read = EpisodeFile::load(&path).unwrap();
        assert_eq!(read, file);
        assert_eq!(read.episodes(&ids(), &path).unwrap(), episodes);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let path = Path::new("episodes.json");
        let fold = Fold::pascal(0).unwrap();
        let made =
            |purpose, episode| EpisodeFile::new("x", fold.clone(), purpose, 7, &[episode], &ids());
        let file = |episode| made(Purpose::Test, episode);
        let message = |file: EpisodeFile, ids: &[String]| {
            let message = file.episodes(ids, path).unwrap_err().to_string();
            assert!(
                message.contains("episodes.json") && message.contains("episode 1"),
                "{message}"
            );
            message
        };
        assert!(message(file(episode([1, 3])), &ids()[..4]).contains("image4"));
        assert!(message(file(episode([1, 9])), &ids()).contains("class 9"));
        assert!(message(file(episode([2, 2])), &ids()).contains("two ways"));
        let training = |classes| made(Purpose::Training, episode(classes));
        assert!(training([6, 20]).episodes(&ids(), path).is_ok());
        assert!(message(training([6, 3]), &ids()).contains("class 3 is not a base class"));
        assert!(message(training([6, 21]), &ids()).contains("class 21"));
        // A file that does not say what it is for holds tests.
        let mut text = serde_json::to_value(file(episode([1, 3]))).unwrap();
        text.as_object_mut().unwrap().remove("purpose");
        let read: EpisodeFile = serde_json::from_value(text).unwrap();
        assert_eq!(read, file(episode([1, 3])));
        let mut uneven = file(episode([1, 2]));
        uneven.episodes[0].support[1].clear();
        assert!(message(uneven, &ids()).contains("[1, 0]"));
        let folder = tempfile::tempdir().unwrap();
        let broken = folder.path().join("broken.json");
        std::fs::write(&broken, "{\"dataset\": 3").unwrap();
        assert!(EpisodeFile::load(&broken).unwrap_err().to_string().contains("broken.json"));
    }
}
