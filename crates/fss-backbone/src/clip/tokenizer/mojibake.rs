//! Text in UTF-8 that somebody read as Latin-1 or Windows-1252.

use std::borrow::Cow;

/// Windows-1252 from 0x80 to 0x9f; the five bytes that it leaves open stay as they are.
const HIGH: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// A C1 control character as Windows-1252 has its byte; others as they are.
pub(super) fn windows_1252(c: char) -> char {
    (c as usize).checked_sub(0x80).and_then(|i| HIGH.get(i)).copied().unwrap_or(c)
}

/// The byte that a character may have been read from.
fn byte_of(c: char) -> Option<u8> {
    match u8::try_from(u32::from(c)) {
        Ok(byte) => Some(byte),
        Err(_) => HIGH.iter().position(|high| *high == c).map(|i| 0x80 + i as u8),
    }
}

/// Characters that together are the bytes of one character: what it is and how many they are.
fn sequence(characters: &[char]) -> Option<(char, usize)> {
    let lead = byte_of(*characters.first()?)?;
    let length = match lead {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    let bytes: Vec<u8> =
        characters.get(..length)?.iter().copied().map(byte_of).collect::<Option<_>>()?;
    Some((std::str::from_utf8(&bytes).ok()?.chars().next()?, length))
}

/// Whether a single sequence is no text that somebody may have meant: a capital A with tilde or
/// circumflex before a symbol, and what quotes, dashes and emoji turn into.
fn is_certain(characters: &[char]) -> bool {
    let second = characters.get(1).copied().unwrap_or_default();
    match characters.first() {
        Some('Ã' | 'Â') => true,
        Some('â') => byte_of(second).is_some_and(|byte| byte < 0xa0),
        Some('ð') => matches!(second, 'Ÿ' | '\u{9f}'),
        _ => false,
    }
}

/// Reads such text as UTF-8. Conservative: a lone sequence that could have been meant stays, two in a
/// row do not.
pub(super) fn repair(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let characters: Vec<char> = text.chars().collect();
    let mut repaired = String::with_capacity(text.len());
    let mut at = 0;
    while at < characters.len() {
        let (mut end, mut decoded, mut certain) = (at, Vec::new(), false);
        while let Some((c, length)) = sequence(&characters[end..]) {
            certain |= is_certain(&characters[end..]);
            decoded.push(c);
            end += length;
        }
        if certain || decoded.len() > 1 {
            repaired.extend(decoded);
            at = end;
        } else {
            repaired.push(characters[at]);
            at += 1;
        }
    }
    Cow::Owned(repaired)
}
