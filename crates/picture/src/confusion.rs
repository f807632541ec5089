//! The confusion matrix as a heat map.

use plotters::style::RGBColor;

use crate::Error;
use crate::axes::thousands;
use crate::canvas::{
    AXIS, Anchor, BLACK, Canvas, LABEL_SIZE, MUTED, RULE, Rect, SMALL_SIZE, Sheet, TICK_SIZE, Title, Type,
    WHITE, fit, widest,
};

/// Shares from 0 to 1 in five even steps: `ColorBrewer`'s blues, light to dark for every kind of eye and in grey print.
const SHADES: [RGBColor; 5] = [
    RGBColor(255, 255, 255),
    RGBColor(198, 219, 239),
    RGBColor(107, 174, 214),
    RGBColor(33, 113, 181),
    RGBColor(8, 48, 107),
];

/// The frame of a correct prediction's cell.
const CORRECT: RGBColor = RGBColor(213, 94, 0);

/// Class names are cut at this width, in pixels.
const MAX_NAME: f64 = 170.0;

/// A heat map of predictions: `counts[truth][prediction]`, one row and one column for each class.
///
/// The number in a cell is its count, the colour its share of the row, so that rare classes read like common ones;
/// a zero is left blank.
/// Correct predictions, on the diagonal, are framed. A row without records stays white.
///
/// # Errors
/// No classes, `counts` that are not square with one row for each name, or more than [`MAX_PIXELS`](crate::MAX_PIXELS)
/// (above some 250 classes).
pub fn confusion(title: &str, class_names: &[String], counts: &[Vec<u64>]) -> Result<Vec<u8>, Error> {
    const MARGIN: f64 = 18.0;

    let n_classes = class_names.len();
    check(class_names, counts)?;
    let size = if n_classes <= 12 { TICK_SIZE } else { SMALL_SIZE };
    let texts: Vec<Vec<String>> = counts
        .iter()
        .map(|row| {
            row.iter().map(|&count| if count == 0 { String::new() } else { thousands(count) }).collect()
        })
        .collect();
    // Cells are square unless the counts are long.
    let side = (520.0 / n_classes as f64).clamp(26.0, 90.0);
    let cell_width = side.max(widest(texts.iter().flatten().map(String::as_str), size)? + 10.0).round();
    let cell_height = side.round();

    let name_width = widest(class_names.iter().map(String::as_str), size)?.min(MAX_NAME);
    let turned = name_width > cell_width - 6.0;
    let left = MARGIN + 30.0 + name_width + 10.0;
    let extent = n_classes as f64;
    let (map_width, map_height) = (cell_width * extent, cell_height * extent);
    let width = left + map_width + 112.0 + MARGIN;
    let title = Title::new(title, width)?;
    let top = title.height();
    let below = if turned { name_width + 14.0 } else { 26.0 };
    let mut canvas = Canvas::new(width, top + map_height + below + 30.0 + MARGIN)?;
    title.draw(&mut canvas)?;

    let map = Rect { x: left.round(), y: top, width: map_width, height: map_height };
    let cell = |row_idx: usize, column_idx: usize| Rect {
        x: map.x + column_idx as f64 * cell_width,
        y: map.y + row_idx as f64 * cell_height,
        width: cell_width,
        height: cell_height,
    };
    for (row_idx, (row, row_texts)) in counts.iter().zip(&texts).enumerate() {
        let total: f64 = row.iter().map(|&count| count as f64).sum();
        for (column_idx, (&count, text)) in row.iter().zip(row_texts).enumerate() {
            let share = if total > 0.0 { count as f64 / total } else { 0.0 };
            let rect = cell(row_idx, column_idx);
            canvas.fill(rect, shade(share));
            canvas.outline(Rect { width: rect.width + 1.0, height: rect.height + 1.0, ..rect }, RULE, 1.0);
            let color = if share > 0.7 { WHITE } else { BLACK };
            canvas.text(text, rect.center(), Type::new(size, Anchor::Middle).color(color))?;
        }
    }
    // After all cells, so that no grid line runs over a frame.
    for class_idx in 0..n_classes {
        let rect = cell(class_idx, class_idx);
        canvas.outline(Rect { width: rect.width + 1.0, height: rect.height + 1.0, ..rect }, CORRECT, 2.0);
    }

    for (class_idx, name) in class_names.iter().enumerate() {
        let name = fit(name, size, name_width)?;
        let (x, y) = cell(class_idx, class_idx).center();
        canvas.text(&name, (map.x - 10.0, y), Type::new(size, Anchor::End))?;
        if turned {
            canvas.text(&name, (x, map.bottom() + 10.0), Type::new(size, Anchor::End).upward())?;
        } else {
            canvas.text(&name, (x, map.bottom() + 16.0), Type::new(size, Anchor::Middle))?;
        }
    }
    let (middle_x, middle_y) = map.center();
    let axis = Type::new(LABEL_SIZE, Anchor::Middle);
    canvas.text("true class", (MARGIN + 8.0, middle_y), axis.upward())?;
    canvas.text("predicted class", (middle_x, map.bottom() + below + 18.0), axis)?;
    scale(&mut canvas, Rect { x: map.right() + 24.0, y: map.y, width: 16.0, height: map.height })?;
    canvas.finish()
}

/// Refuses counts that are not one square row for each class.
fn check(class_names: &[String], counts: &[Vec<u64>]) -> Result<(), Error> {
    let expected = class_names.len();
    if expected == 0 {
        return Err(Error::Empty { what: "classes" });
    }
    if counts.len() != expected {
        let what = "the confusion matrix".to_owned();
        return Err(Error::Length { what, found: counts.len(), expected, per: "class name" });
    }
    match counts.iter().enumerate().find(|(_, row)| row.len() != expected) {
        Some((row_idx, row)) => {
            let what = format!("row {row_idx} of the confusion matrix");
            Err(Error::Length { what, found: row.len(), expected, per: "class name" })
        }
        None => Ok(()),
    }
}

/// What the colours mean, beside the map.
fn scale(canvas: &mut Canvas, bar: Rect) -> Result<(), Error> {
    let n_steps = bar.height.round() as usize;
    for step in 0..n_steps {
        let share = 1.0 - (step as f64 + 0.5) / n_steps as f64;
        canvas.fill(Rect { y: bar.y + step as f64, height: 1.0, ..bar }, shade(share));
    }
    canvas.outline(bar, AXIS, 1.0);
    for (share, text) in [(0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %")] {
        let y = bar.bottom() - share * bar.height + (share - 0.5) * 12.0;
        canvas.text(text, (bar.right() + 8.0, y), Type::new(SMALL_SIZE, Anchor::Start).color(MUTED))?;
    }
    let (_, y) = bar.center();
    if bar.height > 130.0 {
        let style = Type::new(SMALL_SIZE, Anchor::Middle).color(MUTED).upward();
        canvas.text("share of the row", (bar.right() + 62.0, y), style)?;
    }
    Ok(())
}

/// The colour of a share, from 0 to 1.
fn shade(share: f64) -> RGBColor {
    let position = share.clamp(0.0, 1.0) * (SHADES.len() - 1) as f64;
    let step = (position as usize).min(SHADES.len() - 2);
    let part = position - step as f64;
    let mix = |from: u8, to: u8| (f64::from(from) + (f64::from(to) - f64::from(from)) * part).round() as u8;
    let (from, to) = (SHADES[step], SHADES[step + 1]);
    RGBColor(mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_get_darker_with_the_share() {
        let light = |share: f64| {
            let RGBColor(red, green, blue) = shade(share);
            0.2126 * f64::from(red) + 0.7152 * f64::from(green) + 0.0722 * f64::from(blue)
        };
        for percent in 0..100 {
            assert!(light(f64::from(percent) / 100.0) > light(f64::from(percent + 1) / 100.0), "{percent} %");
        }
    }
}
