//! Texts: the built-in font, cleaning, measuring, cutting, and how numbers are written.

use std::sync::LazyLock;

use plotters::style::{FontDesc, FontFamily, FontStyle, register_font};

use crate::Error;

pub(crate) const TITLE_SIZE: f64 = 22.0;
pub(crate) const LABEL_SIZE: f64 = 18.0;
pub(crate) const TICK_SIZE: f64 = 16.0;
pub(crate) const SMALL_SIZE: f64 = 15.0;

/// Room for a text of a chart, as a multiple of its measured width: an SVG may be set in a wider
/// font.
pub(crate) const SLACK: f64 = 1.12;

/// Characters kept of a name or title, so that a hostile name cannot cost minutes.
const MAX_CHARS: usize = 300;

/// The built-in font, registered on first use.
pub(crate) fn font(size: f64) -> Result<FontDesc<'static>, Error> {
    // Under this name an SVG asks for any font without serifs, and plotters finds the built-in one.
    const FAMILY: FontFamily<'_> = FontFamily::SansSerif;
    static REGISTERED: LazyLock<bool> = LazyLock::new(|| {
        register_font(FAMILY.as_str(), FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT).is_ok()
    });
    if !*REGISTERED {
        return Err(Error::Draw { reason: "the built-in font is unreadable".into() });
    }
    Ok(FontDesc::new(FAMILY, size, FontStyle::Normal))
}

/// Without control characters and what else XML cannot hold, and not longer than anyone would read.
pub(crate) fn clean(text: &str) -> String {
    let written = |c: char| match c {
        '\u{fffe}' | '\u{ffff}' => char::REPLACEMENT_CHARACTER,
        _ if c.is_control() => ' ',
        _ => c,
    };
    text.chars().take(MAX_CHARS).map(written).collect()
}

/// Width of a text, in pixels.
pub(crate) fn width(text: &str, size: f64) -> Result<f64, Error> {
    /// plotters measures in whole pixels; larger letters make smaller steps.
    const FINE: f64 = 4.0;
    let ((left, _), (right, _)) = font(size * FINE)?.layout_box(&clean(text)).map_err(Error::draw)?;
    Ok(f64::from(right - left) / FINE)
}

/// Width of the widest text, 0 for none.
pub(crate) fn widest<'a>(texts: impl IntoIterator<Item = &'a str>, size: f64) -> Result<f64, Error> {
    texts.into_iter().try_fold(0.0, |widest: f64, text| Ok(widest.max(width(text, size)?)))
}

/// The text, or its beginning and an ellipsis where it is wider than `max_width`.
pub(crate) fn fit(text: &str, size: f64, max_width: f64) -> Result<String, Error> {
    let mut text = clean(text);
    if width(&text, size)? <= max_width {
        return Ok(text);
    }
    while text.pop().is_some() {
        let cut = format!("{}…", text.trim_end());
        if width(&cut, size)? <= max_width {
            return Ok(cut);
        }
    }
    Ok(text)
}

/// The text in lines of at most `max_width` pixels, broken between words; at most `max_lines`, the
/// last one cut.
pub(crate) fn wrap(text: &str, size: f64, max_width: f64, max_lines: usize) -> Result<Vec<String>, Error> {
    let mut lines: Vec<String> = Vec::new();
    for word in clean(text).split_whitespace() {
        let n_lines = lines.len();
        if let Some(line) = lines.last_mut() {
            let longer = format!("{line} {word}");
            if n_lines == max_lines || width(&longer, size)? <= max_width {
                *line = longer;
                continue;
            }
        }
        lines.push(word.to_owned());
    }
    lines.iter().map(|line| fit(line, size, max_width)).collect()
}

/// A count with a comma between thousands: `12,345`.
pub(crate) fn thousands(count: u64) -> String {
    group(&count.to_string())
}

/// A number with so many decimals, commas between thousands, and a true minus sign.
pub(crate) fn number(value: f64, decimals: usize) -> String {
    let text = group(&format!("{:.decimals$}", value.abs()));
    let is_zero = text.chars().all(|c| matches!(c, '0' | '.' | ','));
    if value < 0.0 && !is_zero { format!("−{text}") } else { text }
}

/// A number with so many decimals and a power of ten: `1.5e−7`.
pub(crate) fn scientific(value: f64, decimals: usize) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{value:.decimals$e}").replace('-', "−") }
}

/// Commas into the whole part of a number without sign.
fn group(digits: &str) -> String {
    let (whole, fraction) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut text = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
        assert_eq!(thousands(u64::MAX), "18,446,744,073,709,551,615");
        assert_eq!(number(-12_345.678, 1), "−12,345.7");
        assert_eq!(number(-0.001, 2), "0.00");
        assert_eq!(scientific(-1.5e-7, 1), "−1.5e−7");
    }

    #[test]
    fn texts_are_clean() {
        assert_eq!(clean("\u{0}\u{1f}\u{7f}\u{85}\u{fffe}\u{ffff}ε"), "    \u{fffd}\u{fffd}ε");
        assert_eq!(clean(&"a".repeat(1_000)).len(), MAX_CHARS);
    }

    #[test]
    fn texts_are_cut_and_broken_to_fit() {
        let cut = fit("a name that is too long", TICK_SIZE, 80.0).unwrap();
        assert!(cut.starts_with("a name") && cut.ends_with('…'), "{cut}");
        assert!(width(&cut, TICK_SIZE).unwrap() <= 80.0);
        let lines = wrap("one two three four five six seven", TICK_SIZE, 80.0, 2).unwrap();
        assert_eq!(lines.len(), 2);
        assert!(lines[1].ends_with('…'), "{lines:?}");
    }
}
