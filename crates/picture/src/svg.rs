//! An SVG with lines, boxes, discs and text on it, in the coordinates of [`Canvas`](crate::canvas::Canvas).

use plotters::style::RGBColor;

use crate::Error;
use crate::canvas::{Anchor, CAP_HEIGHT, Rect, Sheet, Stroke, Type, WHITE, clean};

/// Layouts measure text in the narrow built-in font. At this part of its size, Arial and Helvetica take less space.
const TEXT_SCALE: f64 = 0.85;

/// How much wider than measured a wide font (DejaVu Sans, Verdana) still sets a text.
pub(crate) const SLACK: f64 = 1.15;

/// An SVG in the making.
pub(crate) struct Svg {
    width: f64,
    elements: Vec<String>,
}

impl Svg {
    /// A white picture of so many pixels with a title for those who cannot see it; an empty title is left out.
    pub(crate) fn new(width: f64, height: f64, title: &str) -> Svg {
        let (right, bottom) = (coordinate(width), coordinate(height));
        let mut svg = Svg { width, elements: Vec::new() };
        svg.elements.push(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{right}\" height=\"{bottom}\" \
             viewBox=\"0 0 {right} {bottom}\" role=\"img\" font-family=\"sans-serif\">"
        ));
        svg.title(title);
        svg.fill(Rect { x: 0.0, y: 0.0, width, height }, WHITE);
        svg
    }

    fn title(&mut self, title: &str) {
        if !title.is_empty() {
            self.elements.push(format!("<title>{}</title>", escape(title)));
        }
    }

    /// The finished text.
    pub(crate) fn finish(mut self) -> String {
        self.elements.push("</svg>\n".to_owned());
        self.elements.join("\n")
    }
}

impl Sheet for Svg {
    fn width(&self) -> f64 {
        self.width
    }

    fn fill(&mut self, rect: Rect, color: RGBColor) {
        self.elements.push(format!(
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>",
            coordinate(rect.x),
            coordinate(rect.y),
            coordinate(rect.width),
            coordinate(rect.height),
            hex(color)
        ));
    }

    fn disc(&mut self, (x, y): (f64, f64), radius: f64, color: RGBColor) -> Result<(), Error> {
        self.elements.push(format!(
            "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{}\"/>",
            coordinate(x),
            coordinate(y),
            coordinate(radius),
            hex(color)
        ));
        Ok(())
    }

    fn line(&mut self, points: &[(f64, f64)], stroke: Stroke) -> Result<(), Error> {
        let mut places: Vec<String> =
            points.iter().map(|&(x, y)| format!("{},{}", coordinate(x), coordinate(y))).collect();
        places.dedup();
        let dash = if stroke.dash.is_empty() {
            String::new()
        } else {
            let lengths: Vec<String> = stroke.dash.iter().map(|&length| coordinate(length)).collect();
            format!(" stroke-dasharray=\"{}\"", lengths.join(" "))
        };
        self.elements.push(format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-linejoin=\"round\"{dash}/>",
            places.join(" "),
            hex(stroke.color),
            coordinate(stroke.width),
        ));
        Ok(())
    }

    fn text(&mut self, text: &str, (x, y): (f64, f64), style: Type) -> Result<(), Error> {
        if text.is_empty() {
            return Ok(());
        }
        let anchor = match style.anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let turn = if style.upward {
            format!(" transform=\"rotate(-90 {} {})\"", coordinate(x), coordinate(y))
        } else {
            String::new()
        };
        self.elements.push(format!(
            "<text x=\"{}\" y=\"{}\" font-size=\"{}\" fill=\"{}\" text-anchor=\"{anchor}\"{turn}>{}</text>",
            coordinate(x),
            // From half-way up the capitals to the baseline.
            coordinate(y + style.size * CAP_HEIGHT / 2.0),
            coordinate(style.size * TEXT_SCALE),
            hex(style.color),
            escape(text)
        ));
        Ok(())
    }

    fn begin(&mut self, name: &str) {
        self.elements.push("<g>".to_owned());
        self.title(name);
    }

    fn end(&mut self) {
        self.elements.push("</g>".to_owned());
    }
}

/// Hundredths of a pixel, without zeros at the end.
fn coordinate(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn hex(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// Text for elements and attributes, without the characters that XML has no way to write.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in clean(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push(char::REPLACEMENT_CHARACTER),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_short() {
        let cases =
            [(0.0, "0"), (-0.001, "0"), (12.5, "12.5"), (100.0, "100"), (1.239, "1.24"), (-7.1, "-7.1")];
        for (value, text) in cases {
            assert_eq!(coordinate(value), text, "{value}");
        }
    }

    #[test]
    fn no_text_breaks_the_xml() {
        assert_eq!(escape("a<b> & \"c\" 'd'"), "a&lt;b&gt; &amp; &quot;c&quot; &apos;d&apos;");
        assert_eq!(escape("\u{0}\u{1f}\u{7f}\u{85}\u{fffe}\u{ffff}ε"), "    \u{fffd}\u{fffd}ε");
        assert_eq!(escape("]]>"), "]]&gt;");
    }
}
