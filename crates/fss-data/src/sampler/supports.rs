//! Choosing supports among the candidates of a class.

use crate::{ClassId, DataError, episode::EpisodeSource};

/// The candidates of one class that are neither the query nor chosen yet.
///
/// Nothing is copied: a class may have thousands of images, and an episode takes a handful.
pub(super) struct Remaining<'a> {
    source: &'a EpisodeSource,
    class: ClassId,
    candidates: &'a [usize],
    /// Places in `candidates` that are taken, ascending.
    taken: Vec<usize>,
    /// How many of the remaining ones are large enough.
    eligible: usize,
}

impl<'a> Remaining<'a> {
    pub(super) fn new(source: &'a EpisodeSource, class: ClassId, query: usize) -> Self {
        let candidates = source.candidates(class);
        let mut remaining = Self {
            source,
            class,
            candidates,
            taken: Vec::new(),
            eligible: candidates.iter().filter(|&&i| source.is_eligible(i, class)).count(),
        };
        if let Some(place) = candidates.iter().position(|&image| image == query) {
            remaining.take(place);
        }
        remaining
    }

    /// How many candidates remain, large enough or not.
    pub(super) fn len(&self) -> usize {
        self.candidates.len() - self.taken.len()
    }

    /// Looks at remaining candidate number `index`, in the order of ids: the place that
    /// [`take`](Self::take) wants, the image, and whether it is large enough.
    pub(super) fn look(&self, index: usize) -> (usize, usize, bool) {
        let place =
            self.taken.iter().fold(index, |place, &taken| place + usize::from(taken <= place));
        let image = self.candidates[place];
        (place, image, self.source.is_eligible(image, self.class))
    }

    /// Takes the candidate at `place` out.
    pub(super) fn take(&mut self, place: usize) {
        if self.source.is_eligible(self.candidates[place], self.class) {
            self.eligible -= 1;
        }
        let at = self.taken.partition_point(|&taken| taken < place);
        self.taken.insert(at, place);
    }

    /// Refuses to go on if no remaining candidate can be a support: the published code raises
    /// an error when none is left at all, and draws for ever when all are too small.
    pub(super) fn check(&self, query: usize, shot: usize, found: usize) -> Result<(), DataError> {
        if self.eligible > 0 {
            return Ok(());
        }
        let query = &self.source.images()[query].id;
        let min = self.source.min_pixels();
        let problem = match self.len() {
            0 => format!("beside the query {query:?} only {found} image(s) show it"),
            n => format!(
                "beside the query {query:?} only {found} image(s) show it with at least {min} \
                 pixels, and the {n} other(s) are too small"
            ),
        };
        Err(DataError::Episode {
            class: self.class,
            shot,
            problem,
            remedy: "ask for fewer supports, lower the smallest object size, leave the class out \
                     or give more images"
                .into(),
        })
    }
}
