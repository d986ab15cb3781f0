//! What tells two recipes apart.

use serde::Serialize;
use serde_json::Value;

use super::Recipe;
use crate::digest::fingerprint;

/// Sections that do not change what a run computes.
const FREE_SECTIONS: [&str; 1] = ["checkpoint"];

/// Keys of sections that only say where something lies.
const FREE_KEYS: [(&str, &str); 2] = [("data", "splits"), ("model", "cams")];

impl Recipe {
    /// A fingerprint of everything that changes what a run computes, as 16 hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        fingerprint_of(self)
    }

    /// The keys whose values differ in a way that changes what a run computes, as
    /// `key: ours | theirs`.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        differences_of(self, other)
    }
}

/// A fingerprint of what a recipe of any kind computes, as 16 hexadecimal digits.
pub(crate) fn fingerprint_of(recipe: &impl Serialize) -> String {
    fingerprint(decisive(recipe).to_string().as_bytes())
}

/// The keys whose values differ between two recipes of a kind in a way that changes what a run computes, as
/// `key: ours | theirs`.
pub(crate) fn differences_of<R: Serialize>(ours: &R, theirs: &R) -> Vec<String> {
    let mut found = Vec::new();
    compare("", &decisive(ours), &decisive(theirs), &mut found);
    found
}

fn decisive(recipe: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(recipe).unwrap_or_default();
    if let Value::Object(sections) = &mut value {
        sections.retain(|key, _| !FREE_SECTIONS.contains(&key.as_str()));
        for (section, key) in FREE_KEYS {
            if let Some(Value::Object(keys)) = sections.get_mut(section) {
                keys.remove(key);
            }
        }
        // A section of which nothing is set is the same as none, which earlier files have.
        sections.retain(|_, section| section.as_object().is_none_or(|keys| !keys.is_empty()));
    }
    value
}

/// The keys whose values differ, as `key: ours | theirs`.
fn compare(key: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let inner = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                let value = |side: &serde_json::Map<String, Value>| {
                    side.get(name).cloned().unwrap_or_default()
                };
                compare(&inner, &value(a), &value(b), found);
            }
        }
        (a, b) if a != b => found.push(format!("`{key}`: {a} | {b}")),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::recipe::Recipe;

    #[test]
    fn differing_keys_are_named_with_both_values() {
        let paper = Recipe::builtin("ssp-pascal").unwrap();
        let mut other = paper.clone();
        assert_eq!(paper.fingerprint(), other.fingerprint());
        other.optim.lr = 0.5;
        other.data.fold = 2;
        assert_eq!(paper.differences(&other), ["`data.fold`: 0 | 2", "`optim.lr`: 0.001 | 0.5"]);
        assert_ne!(paper.fingerprint(), other.fingerprint());
    }

    #[test]
    fn the_rhythm_of_saving_is_free() {
        let paper = Recipe::builtin("ssp-pascal").unwrap();
        let mut other = paper.clone();
        other.checkpoint.every = 7;
        other.data.splits = Some("elsewhere".into());
        assert!(paper.differences(&other).is_empty());
        assert_eq!(paper.fingerprint(), other.fingerprint());
    }

    #[test]
    fn an_empty_section_is_none() {
        let earlier = serde_json::json!({ "optim": { "lr": 0.5 } });
        let now = serde_json::json!({ "optim": { "lr": 0.5 }, "train": {} });
        assert_eq!(super::fingerprint_of(&earlier), super::fingerprint_of(&now));
        assert!(super::differences_of(&earlier, &now).is_empty());
    }

    #[test]
    fn files_of_earlier_versions_keep_their_fingerprints() {
        let known = [
            ("mlc-coco", "ca0591ad6384c62c"),
            ("mlc-full-coco", "8d00031e45f2a3c0"),
            ("mlc-full-pascal", "3730bbe4a9bf2c33"),
            ("mlc-full-synthetic", "97af16b0efde4936"),
            ("mlc-pascal", "42ce3160c82e2520"),
            ("mlc-synthetic", "1375f6f6ff333150"),
            ("ssp-coco", "098313c49fb69d2d"),
            ("ssp-coco-synthetic", "efd7ec6f28d48601"),
            ("ssp-fss1000", "7879cde84af3755a"),
            ("ssp-fss1000-synthetic", "7818b5232d610c4a"),
            ("ssp-pascal", "be9e1d61e5c11ae3"),
            ("ssp-synthetic", "62fc6885cd43fc0a"),
        ];
        for (name, fingerprint) in known {
            assert_eq!(Recipe::builtin(name).unwrap().fingerprint(), fingerprint, "{name}");
        }
    }
}
