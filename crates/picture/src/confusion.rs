//! The confusion matrix as a heat map.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::Error;
use crate::page::{AXIS, Area, Drawing, Figure, Kind, MUTED, Page, RULE, Title, Type, checked_size};
use crate::text::{LABEL_SIZE, SLACK, SMALL_SIZE, TICK_SIZE, fit, thousands, widest};

/// Shares from 0 to 1 in five even steps: `ColorBrewer`'s blues, light to dark for every kind of
/// eye and in grey print.
const SHADES: [RGBColor; 5] = [
    RGBColor(255, 255, 255),
    RGBColor(198, 219, 239),
    RGBColor(107, 174, 214),
    RGBColor(33, 113, 181),
    RGBColor(8, 48, 107),
];

/// The frame of a correct prediction's cell.
const CORRECT: RGBColor = RGBColor(213, 94, 0);

const MARGIN: f64 = 18.0;

/// A heat map of predictions: `counts[truth][prediction]`, one row and one column for each class.
///
/// The number in a cell is its count, the colour its fraction of the row, so that rare classes read
/// like common ones; a zero is left blank. Correct predictions, on the diagonal, are framed. A row
/// without records stays white.
///
/// # Errors
/// No classes, `counts` that are not square with one row for each name, or more than
/// [`MAX_PIXELS`](crate::MAX_PIXELS) (above some 250 classes).
pub fn confusion(title: &str, class_names: &[String], counts: &[Vec<u64>]) -> Result<Drawing, Error> {
    /// Class names are cut at this width, in pixels.
    const MAX_NAME: f64 = 170.0;

    check(class_names, counts)?;
    let n_classes = class_names.len() as f64;
    let size = if n_classes <= 12.0 { TICK_SIZE } else { SMALL_SIZE };
    let cell = |total: f64, count: u64| {
        let share = if total > 0.0 { count as f64 / total } else { 0.0 };
        (share, if count == 0 { String::new() } else { thousands(count) })
    };
    let cells: Vec<Vec<(f64, String)>> = counts
        .iter()
        .map(|row| {
            let total = row.iter().map(|&count| count as f64).sum();
            row.iter().map(|&count| cell(total, count)).collect()
        })
        .collect();
    // Cells are square unless the counts are long.
    let side = (520.0 / n_classes).clamp(26.0, 90.0);
    let count_width = SLACK * widest(cells.iter().flatten().map(|(_, text)| text.as_str()), size)?;
    let (cell_width, cell_height) = (side.max(count_width + 6.0).round(), side.round());

    let name_width = (SLACK * widest(class_names.iter().map(String::as_str), size)?).min(MAX_NAME);
    let names =
        class_names.iter().map(|name| fit(name, size, name_width / SLACK)).collect::<Result<_, _>>()?;
    let turned = name_width > cell_width - 6.0;
    let below = if turned { name_width + 14.0 } else { 26.0 };
    let x = (MARGIN + 40.0 + name_width).round();
    let (width, height) = (cell_width * n_classes, cell_height * n_classes);
    let title = Title::new(title, (x + width + 112.0 + MARGIN) / SLACK)?;
    let map = Area { x, y: title.height(), width, height };
    let picture = checked_size(map.right() + 112.0 + MARGIN, map.bottom() + below + 30.0 + MARGIN)?;
    Ok(Drawing(Kind::Matrix(Matrix { picture, title, cells, names, size, turned, below, map })))
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

/// A matrix's parts and where they go.
pub(crate) struct Matrix {
    picture: (u32, u32),
    title: Title,
    /// Share of the row, and the count as text.
    cells: Vec<Vec<(f64, String)>>,
    names: Vec<String>,
    /// Size of names and counts.
    size: f64,
    /// Whether the names below the map read upwards.
    turned: bool,
    /// Height of those names.
    below: f64,
    map: Area,
}

impl Figure for Matrix {
    fn size(&self) -> (u32, u32) {
        self.picture
    }

    fn draw<DB: DrawingBackend>(&self, page: &Page<DB>) -> Result<(), Error> {
        self.title.draw(page)?;
        for (row_idx, row) in self.cells.iter().enumerate() {
            for (column_idx, (share, text)) in row.iter().enumerate() {
                let cell = self.cell(row_idx, column_idx);
                page.fill(cell, shade(*share))?;
                page.outline(cell, RULE, 1.0)?;
                let color = if *share > 0.7 { WHITE } else { BLACK };
                page.text(text, cell.center(), Type::new(self.size, HPos::Center).color(color))?;
            }
        }
        // After all cells, so that no grid line runs over a frame.
        for class_idx in 0..self.names.len() {
            page.outline(self.cell(class_idx, class_idx), CORRECT, 2.0)?;
        }

        let map = self.map;
        for (class_idx, name) in self.names.iter().enumerate() {
            let (x, y) = self.cell(class_idx, class_idx).center();
            let beside = Type::new(self.size, HPos::Right);
            page.text(name, (map.x - 10.0, y), beside)?;
            if self.turned {
                page.text(name, (x, map.bottom() + 10.0), beside.upward())?;
            } else {
                page.text(name, (x, map.bottom() + 16.0), Type::new(self.size, HPos::Center))?;
            }
        }
        let (middle_x, middle_y) = map.center();
        let axis = Type::new(LABEL_SIZE, HPos::Center);
        page.text("true class", (MARGIN + 8.0, middle_y), axis.upward())?;
        page.text("predicted class", (middle_x, map.bottom() + self.below + 18.0), axis)?;
        scale(page, Area { x: map.right() + 24.0, width: 16.0, ..map })
    }
}

impl Matrix {
    fn cell(&self, row_idx: usize, column_idx: usize) -> Area {
        let n_classes = self.names.len() as f64;
        let (width, height) = (self.map.width / n_classes, self.map.height / n_classes);
        let (x, y) = (column_idx as f64 * width, row_idx as f64 * height);
        Area { x: self.map.x + x, y: self.map.y + y, width, height }
    }
}

/// What the colours mean, beside the map.
fn scale<DB: DrawingBackend>(page: &Page<DB>, bar: Area) -> Result<(), Error> {
    let n_steps = bar.height.round();
    for step in 0..n_steps as usize {
        let share = 1.0 - (step as f64 + 0.5) / n_steps;
        page.fill(Area { y: bar.y + step as f64, height: 1.0, ..bar }, shade(share))?;
    }
    page.outline(bar, AXIS, 1.0)?;
    let small = Type::new(SMALL_SIZE, HPos::Left).color(MUTED);
    for (share, text) in [(0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %")] {
        let y = bar.bottom() - share * bar.height + (share - 0.5) * 12.0;
        page.text(text, (bar.right() + 8.0, y), small)?;
    }
    if bar.height > 130.0 {
        let upward = Type { anchor: HPos::Center, ..small.upward() };
        page.text("fraction of the row", (bar.right() + 62.0, bar.center().1), upward)?;
    }
    Ok(())
}

/// The colour of a share, from 0 to 1.
fn shade(share: f64) -> RGBColor {
    DerivedColorMap::new(&SHADES).get_color(share)
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
