//! Character references of HTML: `&eacute;`, `&#233;`, `&#xe9;`.

use std::borrow::Cow;

use html_escape::NAMED_ENTITIES;

use super::mojibake::windows_1252;

/// Names that HTML also knows without a semicolon behind them.
const BARE: &str = "AElig AMP Aacute Acirc Agrave Aring Atilde Auml COPY Ccedil ETH Eacute Ecirc \
    Egrave Euml GT Iacute Icirc Igrave Iuml LT Ntilde Oacute Ocirc Ograve Oslash Otilde Ouml QUOT \
    REG THORN Uacute Ucirc Ugrave Uuml Yacute aacute acirc acute aelig agrave amp aring atilde auml \
    brvbar ccedil cedil cent copy curren deg divide eacute ecirc egrave eth euml frac12 frac14 \
    frac34 gt iacute icirc iexcl igrave iquest iuml laquo lt macr micro middot nbsp not ntilde \
    oacute ocirc ograve ordf ordm oslash otilde ouml para plusmn pound quot raquo reg sect shy sup1 \
    sup2 sup3 szlig thorn times uacute ucirc ugrave uml uuml yacute yen yuml";

/// Replaces all references by the rules of HTML 5, unfinished ones included.
pub(super) fn unescape(text: &str) -> Cow<'_, str> {
    replace(text, |rest| numeric(rest, Ending::Any).or_else(|| named(rest)))
}

/// Replaces references that end in a semicolon, and names in capitals that HTML only has small.
pub(super) fn unescape_whole(text: &str) -> Cow<'_, str> {
    replace(text, |rest| {
        let name = rest.split_once(';')?.0;
        let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if name.starts_with('#') {
            return numeric(rest, Ending::Semicolon);
        }
        if !(1..=24).contains(&name.len()) || !is_name(name) {
            return None;
        }
        let value = lookup(name).map(str::to_owned).or_else(|| {
            let small = name.to_lowercase();
            (name == name.to_uppercase() && named(rest).is_none())
                .then(|| lookup(&small))?
                .map(str::to_uppercase)
        })?;
        Some((value, name.len() + 1))
    })
}

/// Calls `read` with what follows each `&`; it gives the replacement and the bytes that it read.
fn replace(text: &str, read: impl Fn(&str) -> Option<(String, usize)>) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        replaced.push_str(before);
        match read(after) {
            Some((value, length)) => {
                replaced.push_str(&value);
                rest = &after[length..];
            }
            None => {
                replaced.push('&');
                rest = after;
            }
        }
    }
    replaced.push_str(rest);
    Cow::Owned(replaced)
}

fn lookup(name: &str) -> Option<&'static str> {
    let found = NAMED_ENTITIES.binary_search_by(|(key, _)| (*key).cmp(name.as_bytes()));
    found.ok().map(|index| NAMED_ENTITIES[index].1)
}

/// A name with its semicolon, or the longest bare name that the text begins with.
fn named(rest: &str) -> Option<(String, usize)> {
    const LONGEST: usize = 32;
    let stops = |c: char| matches!(c, '\t' | '\n' | '\u{c}' | ' ' | '<' | '&' | '#' | ';');
    let name = &rest[..rest.find(stops).unwrap_or(rest.len())];
    if rest[name.len()..].starts_with(';')
        && name.len() <= LONGEST
        && let Some(value) = lookup(name)
    {
        return Some((value.to_owned(), name.len() + 1));
    }
    let bare = BARE.split_ascii_whitespace().filter(|bare| name.starts_with(bare));
    let bare = bare.max_by_key(|bare| bare.len())?;
    Some((lookup(bare)?.to_owned(), bare.len()))
}

#[derive(Clone, Copy, PartialEq)]
enum Ending {
    Any,
    Semicolon,
}

fn numeric(rest: &str, ending: Ending) -> Option<(String, usize)> {
    let number = rest.strip_prefix('#')?;
    let (digits, base) = match number.strip_prefix(['x', 'X']) {
        Some(digits) => (digits, 16),
        None => (number, 10),
    };
    let behind = digits.trim_start_matches(|c: char| c.is_digit(base));
    let digits = &digits[..digits.len() - behind.len()];
    let finished = behind.starts_with(';');
    if digits.is_empty() || (ending == Ending::Semicolon && !finished) {
        return None;
    }
    let length = rest.len() - behind.len() + usize::from(finished);
    // More digits than 32 bits hold are beyond Unicode, too.
    let code = u32::from_str_radix(digits, base).unwrap_or(u32::MAX);
    Some((character(code), length))
}

/// The character of a number; nothing for numbers that are no characters.
fn character(code: u32) -> String {
    match code {
        0 => '\u{fffd}'.into(),
        0x80..=0x9f => char::from_u32(code).map(windows_1252).into_iter().collect(),
        0x1..=0x8 | 0xb | 0xe..=0x1f | 0x7f | 0xfdd0..=0xfdef => String::new(),
        code if code <= 0x10_ffff && code & 0xfffe == 0xfffe => String::new(),
        code => char::from_u32(code).unwrap_or('\u{fffd}').into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bare_name_is_a_name() {
        let names: Vec<&str> = BARE.split_ascii_whitespace().collect();
        assert_eq!(names.len(), 106);
        assert!(names.iter().all(|name| lookup(name).is_some()));
    }

    #[test]
    fn references_of_all_kinds() {
        for (text, expected) in [
            ("&amp;&AMP;&amp", "&&&"),
            ("&notit; &notin;", "¬it; ∉"),
            ("&#233;&#xE9;&#233", "ééé"),
            ("&#128;&#0;&#1;&#x110000;&#xD800;", "€\u{fffd}\u{fffd}\u{fffd}"),
            ("&#; &#x; & &nosuch; &", "&#; &#x; & &nosuch; &"),
        ] {
            assert_eq!(unescape(text), expected, "{text}");
        }
        assert_eq!(unescape_whole("&amp &EACUTE; &GTDOT; &#233 &#233;"), "&amp É &GTDOT; &#233 é");
    }
}
