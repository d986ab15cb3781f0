//! From names to prompts.

use super::tokenizer::clean;
use crate::error::BackboneError;

/// The prompt for a class name or a free description: "a photo of a" and the name, as published for
/// class names ("a photo of a airplane"). A description that begins with an article keeps it: "the red
/// cup" becomes "a photo of the red cup".
///
/// # Errors
/// [`BackboneError::EmptyPrompt`] if no character of `name` is left after cleaning.
pub fn prompt(name: &str) -> Result<String, BackboneError> {
    if clean(name).is_empty() {
        return Err(BackboneError::EmptyPrompt);
    }
    let name = name.trim();
    let first = name.split_whitespace().next().unwrap_or_default().to_lowercase();
    Ok(match ["a", "an", "the"].contains(&first.as_str()) && name.len() > first.len() {
        true => format!("a photo of {name}"),
        false => format!("a photo of a {name}"),
    })
}

#[cfg(test)]
mod tests {
    use super::prompt;

    #[test]
    fn articles_are_kept_and_names_get_the_published_one() {
        for (name, expected) in [
            ("airplane", "a photo of a airplane"),
            (" an old airplane ", "a photo of an old airplane"),
            ("The red cup", "a photo of The red cup"),
            ("theatre", "a photo of a theatre"),
            ("A", "a photo of a A"),
        ] {
            assert_eq!(prompt(name).unwrap(), expected);
        }
        for empty in ["", "  \n", "\u{feff}"] {
            assert!(prompt(empty).unwrap_err().to_string().contains("empty"));
        }
    }
}
