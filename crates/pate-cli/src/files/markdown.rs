//! Text that no program of this project wrote, inside Markdown: names off a command line, reasons
//! and data sets out of reports.

use program::one_line;

/// Longer texts are cut.
const LONGEST: usize = 2000;

/// A text inside a sentence, a heading or a table: one line, without markup, tags or links, in
/// Markdown and in what becomes of it.
pub fn text(text: &str) -> String {
    let line = line(text);
    // Underscores inside words are no markup, and file names are full of them.
    let underscores_are_plain = line.is_ascii() && !line.contains("__");
    let mut safe = String::with_capacity(line.len());
    for (at, symbol) in line.char_indices() {
        let before = &line[..at];
        let after = &line[at + symbol.len_utf8()..];
        match symbol {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '_' if underscores_are_plain => safe.push('_'),
            // GitHub makes links of addresses by themselves.
            ':' if after.starts_with("//") => safe.push_str("\\:"),
            '.' if before.to_ascii_lowercase().ends_with("www") => safe.push_str("\\."),
            // At a line's start these would begin a list, a heading or a code block.
            '-' | '+' | '=' if before.is_empty() => {
                safe.push('\\');
                safe.push(symbol);
            }
            '.' | ')'
                if !before.is_empty()
                    && before.bytes().all(|byte| byte.is_ascii_digit())
                    && (after.is_empty() || after.starts_with(' ')) =>
            {
                safe.push('\\');
                safe.push(symbol);
            }
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '!' | '~' | '@' | '$' | '^' => {
                safe.push('\\');
                safe.push(symbol);
            }
            symbol => safe.push(symbol),
        }
    }
    safe
}

/// A text as code, in a table, too: shown as it is.
pub fn code(text: &str) -> String {
    let line = line(text);
    let longest = line.split(|symbol| symbol != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    // One space at each end is taken off; without one, an accent at an end would be part of the
    // fence.
    let space =
        if line.starts_with(['`', ' ']) || line.ends_with(['`', ' ']) || line.is_empty() { " " } else { "" };
    // Tables are cut at bars first, whatever stands around them.
    format!("{fence}{space}{}{space}{fence}", line.replace('|', "\\|"))
}

fn line(text: &str) -> String {
    let plain: String = text.chars().map(|symbol| if symbol.is_control() { ' ' } else { symbol }).collect();
    one_line(plain.trim(), LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attacks, row 5: tags, headings, links and accents out of a report or a name.
    #[test]
    fn no_text_brings_markup() {
        for (raw, safe) in [
            ("digits (UCI optical digits, embedded)", "digits (UCI optical digits, embedded)"),
            ("combined_synthetic", "combined_synthetic"),
            ("a\n# [x](y) <b>", "a \\# \\[x\\](y) &lt;b&gt;"),
            ("__bold__", "\\_\\_bold\\_\\_"),
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("<!-- hidden", "&lt;\\!-- hidden"),
            ("&lt;b&gt;", "&amp;lt;b&amp;gt;"),
            ("![x](http://evil)", "\\!\\[x\\](http\\://evil)"),
            ("see https://a.b or WWW.a.b or me@a.b", "see https\\://a.b or WWW\\.a.b or me\\@a.b"),
            ("`rm`", "\\`rm\\`"),
            ("a | b", "a \\| b"),
            ("1. one", "1\\. one"),
            ("- one", "\\- one"),
            ("0.9 of 3.5", "0.9 of 3.5"),
            ("\u{202e}x", "\\\\u{202e}x"),
            ("", ""),
        ] {
            assert_eq!(text(raw), safe);
        }
        assert!(text(&"x".repeat(100_000)).len() < 3000);
    }

    /// Attacks, row 5: a name with an accent ended its code.
    #[test]
    fn code_ends_where_it_should() {
        for (raw, safe) in [
            ("a_b.pt", "`a_b.pt`"),
            ("a`b", "``a`b``"),
            ("`a", "`` `a ``"),
            ("a``b`", "``` a``b` ```"),
            ("a|b", "`a\\|b`"),
            ("a\n\nb", "`a  b`"),
            ("", "`  `"),
        ] {
            assert_eq!(code(raw), safe);
        }
    }
}
