//! What the published code does to a text before it looks for tokens: the repairs of the Python
//! library ftfy with its default settings, character references, white space, lower case.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

use super::{entities, mojibake};

/// Rounds of repairs: each one may bring to light what the next one repairs.
const MAX_ROUNDS: usize = 16;

/// The text as its tokens are made from it.
pub fn clean(text: &str) -> String {
    let text = repair(text);
    let once = entities::unescape(&text);
    let text = entities::unescape(&once);
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

fn repair(text: &str) -> String {
    let mut references = References::Replace;
    let mut repaired = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        // Text with markup keeps its references, from there to its end.
        if line.contains('<') {
            references = References::Keep;
        }
        repaired.push_str(&repair_line(line, references));
    }
    repaired
}

#[derive(Clone, Copy, PartialEq)]
enum References {
    Replace,
    Keep,
}

fn repair_line(line: &str, references: References) -> String {
    let mut line = line.to_owned();
    for _ in 0..MAX_ROUNDS {
        let start = match references {
            References::Replace => entities::unescape_whole(&line),
            References::Keep => Cow::Borrowed(line.as_str()),
        };
        let decoded = mojibake::repair(&start);
        let characters: String = decoded.chars().flat_map(Replacement::of).collect();
        let next: String = without_control(&without_escapes(&characters)).nfc().collect();
        if next == line {
            break;
        }
        line = next;
    }
    line
}

/// One to three characters in place of one.
enum Replacement {
    One(std::option::IntoIter<char>),
    Text(std::str::Chars<'static>),
}

impl Iterator for Replacement {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        match self {
            Self::One(one) => one.next(),
            Self::Text(text) => text.next(),
        }
    }
}

impl Replacement {
    fn of(c: char) -> Self {
        if let Some(text) = ligature(c) {
            return Self::Text(text.chars());
        }
        let one = match c {
            '\u{80}'..='\u{9f}' => mojibake::windows_1252(c),
            // Full-width and half-width forms, and the space of their width.
            '\u{3000}' | '\u{ff01}'..='\u{ffef}' => {
                let mut forms = [c].into_iter().nfkc();
                match (forms.next(), forms.next()) {
                    (Some(narrow), None) => narrow,
                    _ => c,
                }
            }
            '\u{2bc}' | '\u{2018}'..='\u{201b}' => '\'',
            '\u{201c}'..='\u{201f}' => '"',
            '\u{2028}' | '\u{2029}' => '\n',
            c => c,
        };
        Self::One(Some(one).into_iter())
    }
}

/// Latin ligatures and digraphs as their letters.
fn ligature(c: char) -> Option<&'static str> {
    Some(match c {
        'Ĳ' => "IJ",
        'ĳ' => "ij",
        'ŉ' => "'n",
        'Ǆ' => "DŽ",
        'ǅ' => "Dž",
        'ǆ' => "dž",
        'Ǉ' => "LJ",
        'ǈ' => "Lj",
        'ǉ' => "lj",
        'Ǌ' => "NJ",
        'ǋ' => "Nj",
        'ǌ' => "nj",
        'Ǳ' => "DZ",
        'ǲ' => "Dz",
        'ǳ' => "dz",
        'ﬀ' => "ff",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        'ﬃ' => "ffi",
        'ﬄ' => "ffl",
        'ﬅ' => "ſt",
        'ﬆ' => "st",
        _ => return None,
    })
}

/// Takes out the sequences that colour a terminal: escape, bracket, numbers, letter.
fn without_escapes(text: &str) -> Cow<'_, str> {
    if !text.contains("\x1b[") {
        return Cow::Borrowed(text);
    }
    let mut left = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        left.push_str(before);
        let end = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        match end.strip_prefix(|c: char| c.is_ascii_alphabetic()) {
            Some(behind) => rest = behind,
            None => {
                left.push_str("\x1b[");
                rest = after;
            }
        }
    }
    left.push_str(rest);
    Cow::Owned(left)
}

/// Takes out control characters that no text needs, byte order marks among them.
fn without_control(text: &str) -> String {
    let control = |c: char| {
        matches!(c,
            '\0'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' | '\u{206a}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffc}')
    };
    text.chars().filter(|c| !control(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn repairs_come_before_words_are_counted() {
        for (text, cleaned) in [
            ("  A  Cat\t\n", "a cat"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("a\u{1b}[x", "a"),
            ("voil\u{c3}\u{a0} x", "voilà x"),
            ("\u{c3}\u{83}\u{c2}\u{a9}t\u{c3}\u{83}\u{c2}\u{a9}", "été"),
            ("it\u{e2}\u{20ac}\u{2122}s", "it's"),
            ("&EACUTE;t&eacute;", "été"),
            ("a\u{85}", "a…"),
            ("\u{ff71}\u{ff76}", "アカ"),
            ("&lt;b> &amp;lt;", "<b> <"),
            ("a < b &amp;amp; c", "a < b & c"),
            ("\u{feff}\u{0}", ""),
        ] {
            assert_eq!(clean(text), cleaned, "{text:?}");
        }
    }

    #[test]
    fn accented_text_that_is_right_stays() {
        for text in ["voilà\u{a0}»", "café»", "crème brûlée", "größe", "mañana", "ação", "«é»"]
        {
            let expected = text.replace('\u{a0}', " ").to_lowercase();
            assert_eq!(clean(text), expected, "{text:?}");
        }
    }
}
