//! Text out of a file, fit for a terminal.

use std::fmt::Write as _;

/// Ranges of characters that a reader does not see, or that change how others are seen: all of
/// Unicode 16 that are `Default_Ignorable_Code_Point` (`DerivedCoreProperties.txt`: soft hyphen,
/// fillers, variation selectors, zero widths, tags) or of the categories Cf, Zl and Zp
/// (`UnicodeData.txt`: marks of direction, annotations, separators). Control characters (Cc) are
/// not in it.
const HIDDEN: [(char, char); 25] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Whether a character is unseen or could make a terminal show what was never said.
pub fn is_hidden(symbol: char) -> bool {
    symbol.is_control() || HIDDEN.iter().any(|(first, last)| (*first..=*last).contains(&symbol))
}

/// A text that may come out of a file, on one line, cut after `longest` characters: what
/// [`is_hidden`] is written as `\u{202e}`.
pub fn shown(text: &str, longest: usize) -> String {
    let mut line = String::new();
    for (n, symbol) in text.chars().enumerate() {
        if n == longest {
            line.push_str("...");
            break;
        }
        if is_hidden(symbol) {
            let _ = write!(line, "{}", symbol.escape_unicode());
        } else {
            line.push(symbol);
        }
    }
    line
}

/// JSON with the same values, in which what [`is_hidden`] is written as `\u202e`; the line breaks
/// between values stay.
pub fn shown_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for symbol in json.chars() {
        // JSON's own writer escapes the control characters within texts, but for DEL and those
        // above it.
        if is_hidden(symbol) && symbol != '\n' {
            for unit in symbol.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(symbol);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attacks, row 15.
    #[test]
    fn what_is_not_seen_is_spelt() {
        for symbol in [
            '\u{61c}',
            '\u{feff}',
            '\u{2060}',
            '\u{ad}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{e007f}',
            '\u{fe0f}',
            '\u{e0100}',
            '\u{202e}',
            '\u{2066}',
            '\u{200b}',
            '\u{200d}',
            '\u{115f}',
            '\u{1160}',
            '\u{3164}',
            '\u{ffa0}',
            '\u{fff9}',
            '\u{34f}',
            '\u{180e}',
            '\u{1d173}',
            '\u{2028}',
            '\u{2029}',
            '\u{206f}',
            '\u{7f}',
            '\u{85}',
            '\u{1b}',
            '\n',
            '\r',
            '\0',
        ] {
            assert!(is_hidden(symbol), "{symbol:?}");
            let text = format!("a{symbol}b");
            assert_eq!(shown(&text, 99), format!("a\\u{{{:x}}}b", u32::from(symbol)));
        }
        for text in ["modèle_é", "データ", "a b", "\u{a0}", "🙂", "ß\\n", "e\u{301}", "עברית", "한글"]
        {
            assert_eq!(shown(text, 99), text);
        }
        assert_eq!(shown("éxyz", 3), "éxy...");
        assert_eq!(shown("éxy", 3), "éxy");
    }

    #[test]
    fn the_table_is_in_order() {
        assert!(HIDDEN.iter().all(|(first, last)| first <= last));
        assert!(HIDDEN.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }

    /// Attacks, row 15: the values stay the same.
    #[test]
    fn json_keeps_its_values() {
        let shown = shown_json("{\n  \"a\u{202e}\": \"\u{e0041}\u{7f}é\"\n}\n");
        assert_eq!(shown, "{\n  \"a\\u202e\": \"\\udb40\\udc41\\u007fé\"\n}\n");
    }
}
