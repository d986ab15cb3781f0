//! A map with a budget that gives up what was not used for the longest time.

use std::collections::{BTreeMap, HashMap};

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: usize,
    used: u64,
}

/// Values under `usize` keys whose sizes add up to at most `budget` bytes.
#[derive(Debug)]
pub(super) struct Lru<V> {
    budget: usize,
    bytes: usize,
    clock: u64,
    entries: HashMap<usize, Entry<V>>,
    /// Time of last use to key.
    order: BTreeMap<u64, usize>,
}

impl<V: Clone> Lru<V> {
    pub(super) fn new(budget: usize) -> Self {
        Self { budget, bytes: 0, clock: 0, entries: HashMap::new(), order: BTreeMap::new() }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The value of a key, which then counts as just used.
    pub(super) fn get(&mut self, key: usize) -> Option<&V> {
        let entry = self.entries.get_mut(&key)?;
        self.clock += 1;
        self.order.remove(&entry.used);
        entry.used = self.clock;
        self.order.insert(self.clock, key);
        Some(&entry.value)
    }

    /// Adds a value and gives back those that had to go. A value beyond the whole budget goes at
    /// once. The key must not be there yet.
    pub(super) fn insert(&mut self, key: usize, value: V, bytes: usize) -> Vec<(usize, V)> {
        if bytes > self.budget {
            return vec![(key, value)];
        }
        let mut evicted = Vec::new();
        while self.bytes + bytes > self.budget {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            if let Some(entry) = self.entries.remove(&oldest) {
                self.bytes -= entry.bytes;
                evicted.push((oldest, entry.value));
            }
        }
        self.clock += 1;
        self.order.insert(self.clock, key);
        self.entries.insert(key, Entry { value, bytes, used: self.clock });
        self.bytes += bytes;
        evicted
    }
}

#[cfg(test)]
mod tests {
    use super::Lru;

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut lru = Lru::new(3);
        for key in 0..3 {
            assert!(lru.insert(key, key, 1).is_empty());
        }
        assert_eq!(lru.get(0), Some(&0));
        assert_eq!(lru.insert(3, 3, 2), [(1, 1), (2, 2)]);
        assert_eq!(lru.bytes(), 3);
        assert_eq!(lru.get(0), Some(&0));
    }

    #[test]
    fn a_value_beyond_the_budget_is_not_kept() {
        let mut lru = Lru::new(3);
        lru.insert(0, 0, 1);
        assert_eq!(lru.insert(1, 1, 4), [(1, 1)]);
        assert_eq!(lru.get(0), Some(&0));
        assert_eq!(lru.get(1), None);
    }
}
