//! Values that must come back with the very bits that were written.
//!
//! JSON readers may be off by one in the last place of a long decimal, so such values are kept as
//! text that Rust's own reader, which is exact, takes back.

/// A float as its shortest exact decimal.
pub(crate) mod float {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(|value| value.to_string()).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<f64>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

/// A recipe as TOML.
pub(super) mod recipe {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use crate::recipe::Recipe;

    pub(crate) fn serialize<S: Serializer>(
        recipe: &Recipe,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        recipe.to_toml().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Recipe, D::Error> {
        let text = String::deserialize(deserializer)?;
        Recipe::from_toml(&text, "of the checkpoint").map_err(D::Error::custom)
    }
}
