//! What the pictures contain, and what is refused.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use picture::{
    AxisScale, Chart, Error, Images, Line, MAX_LINES, Panel, Sample, class_sheet, confusion, grid, histogram,
};

/// Pixels of a PNG, always as RGB.
fn decode(png: &[u8]) -> image::RgbImage {
    image::load_from_memory_with_format(png, image::ImageFormat::Png).expect("a PNG").to_rgb8()
}

fn gray(pixels: &[f32]) -> Images<'_> {
    Images { channels: 1, height: 28, width: 28, pixels }
}

fn golden(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)).expect("a golden file")
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// The reference pipeline's results, which are not part of the repository.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn conformance() -> Option<PathBuf> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/expected/pool_seed123");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no folder {}", folder.display());
    None
}

fn names(n: usize) -> Vec<String> {
    (0..n).map(|idx| format!("class {idx}")).collect()
}

/// Whether any pixel has this colour.
fn has_color(png: &[u8], color: [u8; 3]) -> bool {
    decode(png).pixels().any(|pixel| pixel.0 == color)
}

mod the_grid {
    use super::*;

    #[test]
    fn equals_torchvision_on_four_images() {
        let pixels = floats(&golden("grid4.f32"));
        let png = grid(&gray(&pixels), 8, 2).unwrap();
        let decoded = image::load_from_memory(&png).unwrap();
        assert_eq!(decoded.color(), image::ColorType::L8);
        assert_eq!((decoded.width(), decoded.height()), (122, 32));
        assert!(decoded.into_luma8().into_raw() == golden("grid4.gray"), "pixels differ from torchvision's");
    }

    #[test]
    fn equals_the_original_on_its_candidates() {
        let Some(folder) = conformance() else { return };
        let mut archive =
            zip::ZipArchive::new(fs::File::open(folder.join("candidates.pt")).unwrap()).unwrap();
        let mut bytes = Vec::new();
        archive.by_name("candidates/data/0").unwrap().read_to_end(&mut bytes).unwrap();
        let pixels = floats(&bytes);
        let ours = decode(&grid(&gray(&pixels[..64 * 28 * 28]), 8, 2).unwrap());
        let theirs = decode(&fs::read(folder.join("candidates.png")).unwrap());
        assert_eq!(ours.dimensions(), (242, 242));
        assert!(ours == theirs, "pixels differ from the original's");
    }

    #[test]
    fn has_the_layout_of_make_grid() {
        // (images, a row, padding) and the size that follows for 3x2 images.
        let cases = [
            ((1, 8, 2), (2 + 4, 2 + 5)),
            ((5, 2, 1), (1 + 2 * 3, 1 + 3 * 4)),
            ((6, 6, 0), (12, 3)),
            ((3, usize::MAX, 4), (4 + 3 * 6, 4 + 7)),
        ];
        for ((n, per_row, padding), size) in cases {
            let pixels = vec![0.0; n * 6];
            let images = Images { channels: 1, height: 3, width: 2, pixels: &pixels };
            let picture = decode(&grid(&images, per_row, padding).unwrap());
            assert_eq!(picture.dimensions(), size, "{n} images, {per_row} a row, padding {padding}");
            let n_black = picture.pixels().filter(|pixel| pixel.0 == [0; 3]).count();
            assert_eq!(n_black, n * 6, "{n} images, {per_row} a row, padding {padding}");
        }
    }

    #[test]
    fn keeps_colours_and_places() {
        // Two RGB images of one row and two columns: planes, not interleaved.
        let pixels = [1.0, 0.0, 0.0, 0.0, 0.0, 0.5, f32::NAN, 2.0, 1.0, -1.0, 0.0, 1.0];
        let images = Images { channels: 3, height: 1, width: 2, pixels: &pixels };
        let picture = decode(&grid(&images, 1, 1).unwrap());
        assert_eq!(picture.dimensions(), (4, 5));
        let at = |x, y| picture.get_pixel(x, y).0;
        assert_eq!([at(1, 1), at(2, 1)], [[255, 0, 0], [0, 0, 128]]);
        assert_eq!([at(1, 3), at(2, 3)], [[0, 255, 0], [255, 0, 255]]);
        for (x, y, pixel) in picture.enumerate_pixels().filter(|(x, y, _)| *x == 0 || *x == 3 || y % 2 == 0) {
            assert_eq!(pixel.0, [255; 3], "padding at {x}, {y}");
        }
    }

    #[test]
    fn refuses_what_is_no_image() {
        let four = [0.0; 4];
        let images = |channels, height, width, pixels| Images { channels, height, width, pixels };
        let refused = |images: Images<'_>, per_row, padding| grid(&images, per_row, padding).unwrap_err();
        assert!(matches!(refused(images(2, 1, 2, &four), 8, 2), Error::Channels { channels: 2 }));
        assert!(matches!(refused(images(1, 0, 2, &four), 8, 2), Error::Zero { what: "image height" }));
        assert!(matches!(refused(images(1, 2, 0, &four), 8, 2), Error::Zero { what: "image width" }));
        assert!(matches!(refused(images(1, 2, 2, &[]), 8, 2), Error::Empty { what: "images" }));
        assert!(matches!(refused(images(1, 1, 3, &four), 8, 2), Error::Pixels { found: 4, .. }));
        assert!(matches!(refused(images(3, usize::MAX, 2, &four), 8, 2), Error::Pixels { .. }));
        assert!(matches!(refused(images(1, 2, 2, &four), 0, 2), Error::Zero { what: "images per row" }));
        assert!(matches!(refused(images(1, 2, 2, &four), 8, 10_000), Error::TooLarge { .. }));
        assert!(matches!(refused(images(1, 2, 2, &four), 8, usize::MAX), Error::TooLarge { .. }));
        let message = refused(images(1, 1, 3, &four), 8, 2).to_string();
        assert_eq!(message, "4 pixel values are no whole number of 1x1x3 images; give n*c*h*w values");
    }
}

mod the_class_sheet {
    use super::*;

    #[test]
    fn shows_images_at_twice_their_size() {
        // One image of two distinct greys, which no text or rule has.
        let pixels = [7.0 / 255.0, 9.0 / 255.0];
        let images = Images { channels: 1, height: 1, width: 2, pixels: &pixels };
        let sample = Sample { image_idx: 0, caption: String::new() };
        let png = class_sheet("", &images, &[(String::new(), vec![sample.clone(), sample])]).unwrap();
        for value in [7, 9] {
            let count = decode(&png).pixels().filter(|pixel| pixel.0 == [value; 3]).count();
            assert_eq!(count, 2 * 2 * 2, "pixels of value {value}");
        }
    }

    #[test]
    fn captions_and_labels_make_a_difference() {
        let pixels = [0.5; 28 * 28];
        let sheet = |label: &str, caption: &str| {
            let row = (label.to_owned(), vec![Sample { image_idx: 0, caption: caption.to_owned() }]);
            class_sheet("title", &gray(&pixels), &[row, ("none".to_owned(), Vec::new())]).unwrap()
        };
        assert_ne!(sheet("0", "0.98"), sheet("0", "0.99"));
        assert_ne!(sheet("0", "0.98"), sheet("1", "0.98"));
    }

    #[test]
    fn refuses_what_is_not_there() {
        let pixels = [0.0; 28 * 28];
        let row = |image_idx| [("seven".to_owned(), vec![Sample { image_idx, caption: String::new() }])];
        assert!(matches!(class_sheet("", &gray(&pixels), &[]), Err(Error::Empty { what: "rows" })));
        let error = class_sheet("", &gray(&pixels), &row(1)).unwrap_err();
        assert_eq!(error.to_string(), "row 'seven' shows image 1, but there are 1 images (0 to 0)");
        let sample = Sample { image_idx: 0, caption: String::new() };
        let endless = [("0".to_owned(), vec![sample; 1_000_000])];
        assert!(matches!(class_sheet("", &gray(&pixels), &endless), Err(Error::TooLarge { .. })));
    }
}

mod the_confusion_matrix {
    use super::*;

    #[test]
    fn colours_by_share_of_the_row() {
        // ColorBrewer's darkest blue is a share of 1; both rows have one, though their counts
        // differ a thousandfold.
        let counts = [vec![5_000, 0, 0], vec![0, 5, 0], vec![0, 0, 0]];
        let picture = decode(&confusion("", &names(3), &counts).unwrap().png().unwrap());
        let dark = |x: u32, y: u32| picture.get_pixel(x, y).0 == [8, 48, 107];
        let columns: Vec<u32> =
            (0..picture.width()).filter(|&x| (0..picture.height()).any(|y| dark(x, y))).collect();
        let rows: Vec<u32> =
            (0..picture.height()).filter(|&y| (0..picture.width()).any(|x| dark(x, y))).collect();
        // Cells of 90 pixels, less the frame of 2 on either side: two of them, diagonal to each
        // other.
        assert!((160..=190).contains(&columns.len()), "{} dark columns", columns.len());
        assert!((160..=190).contains(&rows.len()), "{} dark rows", rows.len());
        let n_dark = picture.pixels().filter(|pixel| pixel.0 == [8, 48, 107]).count();
        assert!((12_000..=16_200).contains(&n_dark), "{n_dark} dark pixels, of two cells of 90x90 with text");
    }

    #[test]
    fn frames_the_diagonal() {
        let drawing = confusion("", &names(2), &[vec![0, 3], vec![4, 0]]).unwrap();
        assert!(has_color(&drawing.png().unwrap(), [213, 94, 0]));
    }

    #[test]
    fn holds_one_class_47_and_huge_counts() {
        for n in [1, 2, 10, 47] {
            let drawing = confusion("a title", &names(n), &vec![vec![u64::MAX; n]; n]).unwrap();
            let picture = decode(&drawing.png().unwrap());
            assert!(
                picture.width() > 300 && picture.height() > 150,
                "{n} classes: {:?}",
                picture.dimensions()
            );
        }
    }

    #[test]
    fn refuses_what_is_not_square() {
        let refused = |names: &[String], counts: &[Vec<u64>]| confusion("", names, counts).err().unwrap();
        assert!(matches!(refused(&[], &[]), Error::Empty { what: "classes" }));
        let error = refused(&names(2), &[vec![1, 2]]);
        assert_eq!(
            error.to_string(),
            "the confusion matrix has 1 entries; it needs 2, one for each class name"
        );
        let error = refused(&names(2), &[vec![1, 2], vec![1, 2, 3]]);
        assert_eq!(
            error.to_string(),
            "row 1 of the confusion matrix has 3 entries; it needs 2, one for each class name"
        );
        let n = 400;
        assert!(matches!(refused(&names(n), &vec![vec![1; n]; n]), Error::TooLarge { .. }));
    }

    #[test]
    fn is_an_svg_of_the_same_size() {
        let names = ["<a> & \"b\"\u{0}".to_owned(), "'c'\u{fffe}".to_owned()];
        let drawing = confusion("a <title>", &names, &[vec![1_234, 1], vec![0, 0]]).unwrap();
        let (svg, picture) = (drawing.svg().unwrap(), decode(&drawing.png().unwrap()));
        let start = format!("<svg width=\"{}\" height=\"{}\" ", picture.width(), picture.height());
        assert!(svg.starts_with(&start), "{svg}");
        for text in ["a &lt;title&gt;", "&lt;a&gt; &amp; &quot;b&quot; ", "&apos;c&apos;\u{fffd}", "1,234"] {
            assert!(svg.contains(&format!(">\n{text}\n</text>")), "{text} in {svg}");
        }
        assert!(!svg.chars().any(|c| c.is_control() && c != '\n'));
    }
}

mod the_charts {
    use super::*;

    const BLUE: [u8; 3] = [0, 114, 178];
    const ORANGE: [u8; 3] = [213, 94, 0];

    fn panel(lines: &[&[(f64, f64)]]) -> Panel {
        let name = |idx| format!("line {idx}");
        let lines =
            lines.iter().enumerate().map(|(idx, points)| Line { name: name(idx), points: points.to_vec() });
        Panel {
            title: "title".into(),
            x_label: "epoch".into(),
            y_label: "loss".into(),
            lines: lines.collect(),
            ..Panel::default()
        }
    }

    fn draw(panel: Panel) -> Vec<u8> {
        Chart { title: String::new(), panels: vec![panel] }.png().expect("a picture")
    }

    fn bins(values: &[f64], bins: usize, marks: &[(String, f64)]) -> Vec<u8> {
        histogram("", "distance", values, bins, marks).and_then(|drawing| drawing.png()).expect("a picture")
    }

    #[test]
    fn lines_skip_what_cannot_be_drawn() {
        let clean = [(1.0, 2.0), (2.0, 1.0)];
        let dirty = [(f64::NAN, 1.0), (1.0, 2.0), (2.0, 1.0), (3.0, f64::INFINITY), (f64::NEG_INFINITY, 0.0)];
        assert_eq!(draw(panel(&[&clean])), draw(panel(&[&dirty])));
        let log = |points| draw(Panel { y_scale: AxisScale::Log, ..panel(&[points]) });
        assert_eq!(log(&clean), log(&dirty));
        assert_ne!(log(&clean), draw(panel(&[&clean])));
    }

    #[test]
    fn a_gap_is_no_line() {
        let through = draw(panel(&[&[(1.0, 1.0), (2.0, 2.0), (3.0, 1.0)]]));
        let gap = draw(panel(&[&[(1.0, 1.0), (1.5, f64::NAN), (2.0, 2.0), (3.0, 1.0)]]));
        let n_blue = |png: &[u8]| decode(png).pixels().filter(|pixel| pixel.0 == BLUE).count();
        assert!(n_blue(&gap) < n_blue(&through) * 3 / 4, "{} of {}", n_blue(&gap), n_blue(&through));
    }

    #[test]
    fn jagged_lines_have_no_holes() {
        // Up and down within a few pixels: the middle rows are covered from end to end.
        let points: Vec<(f64, f64)> = (0..2_000).map(|x| (f64::from(x), f64::from(x % 2))).collect();
        let picture = decode(&draw(panel(&[&points])));
        let row = picture.height() / 3;
        let blue: Vec<u32> = (0..picture.width()).filter(|&x| picture.get_pixel(x, row).0 == BLUE).collect();
        assert!(blue.len() > 500, "{} blue pixels", blue.len());
        assert_eq!(blue.len() as u32, blue[blue.len() - 1] - blue[0] + 1);
    }

    #[test]
    fn panels_without_points_say_so() {
        let nothing: [&[(f64, f64)]; 4] = [&[], &[(f64::NAN, 1.0)], &[(1.0, f64::INFINITY)], &[(1.0, 1e299)]];
        let empty = draw(panel(&nothing[..1]));
        for points in nothing {
            let chart = Chart { title: String::new(), panels: vec![panel(&[points])] };
            assert!(chart.svg().unwrap().contains("no data"));
            assert_eq!(chart.png().unwrap(), empty, "{points:?}");
        }
        let none = Chart::default();
        assert!(matches!(none.png(), Err(Error::Empty { what: "panels" })));
        assert!(matches!(none.svg(), Err(Error::Empty { what: "panels" })));
        let endless = Chart { title: String::new(), panels: vec![Panel::default(); 1_000] };
        assert!(matches!(endless.svg(), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn strange_numbers_and_names_are_drawn() {
        let name = "\u{0}\n\t😀 ".repeat(10_000);
        let numbers =
            [0.0, -0.0, 1e-320, 1e-200, 1e200, -1e249, 1e250, f64::MAX, f64::MIN, f64::NAN, f64::INFINITY];
        for a in numbers {
            for b in numbers {
                let panels = vec![panel(&[&[(a, b), (b, a)]]), panel(&[&[(a, 1.0), (1.0, b)]])];
                Chart { title: name.clone(), panels }.png().unwrap();
            }
        }
        for a in numbers {
            let marks = [(name.clone(), a), (name.clone(), a)];
            histogram(&name, &name, &[a, 1.0], 3, &marks).unwrap().png().unwrap();
            bins(&[a], 1, &[(String::new(), 0.0)]);
        }
    }

    #[test]
    fn histograms_count_and_mark() {
        // 3 values in the first bin, 1 in the last: bars of heights 3 and 1.
        let picture = decode(&bins(&[0.0, 0.1, 0.2, 4.0], 2, &[]));
        let sky = |x| (0..picture.height()).filter(|&y| picture.get_pixel(x, y).0 == [86, 180, 233]).count();
        let (first, last) = (sky(picture.width() * 3 / 10), sky(picture.width() * 8 / 10));
        assert!((first as f64 / last as f64 - 3.0).abs() < 0.06, "{first} and {last} pixels for 3 and 1");
        assert!(has_color(&bins(&[0.0, 4.0], 2, &[("threshold".to_owned(), 2.0)]), ORANGE));
        assert_ne!(bins(&[0.0, 4.0, f64::NAN], 2, &[]), bins(&[0.0, 4.0], 2, &[]), "the note counts it");
        for n_bins in [0, picture::MAX_BINS + 1] {
            assert!(matches!(histogram("", "", &[1.0], n_bins, &[]), Err(Error::Bins { .. })));
        }
        let marks = vec![(String::new(), 1.0); MAX_LINES + 1];
        assert!(matches!(histogram("", "", &[1.0], 1, &marks), Err(Error::TooMany { what: "marks", .. })));
        let alone = histogram("", "", &[], 1, &[("alone".to_owned(), 1.0)]).unwrap();
        assert!(alone.svg().unwrap().contains("no data"));
    }

    #[test]
    fn histograms_name_their_marks_below_the_axis() {
        let marks = [("target".to_owned(), 1.5), ("median".to_owned(), 2.0)];
        let svg = histogram("", "distance", &[1.0, 2.0, 3.0], 4, &marks).unwrap().svg().unwrap();
        for text in ["distance", "count", "n = 3", "target", "median"] {
            assert!(svg.contains(&format!(">\n{text}\n</text>")), "{text} in {svg}");
        }
    }

    #[test]
    fn a_million_values_are_no_trouble() {
        let values: Vec<f64> = (0..1_000_000).map(|x| f64::from(x % 977)).collect();
        let started = std::time::Instant::now();
        bins(&values, picture::MAX_BINS, &[]);
        assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let pixels: Vec<f32> = (0..4_u16 * 784).map(|place| f32::from(place % 256) / 255.0).collect();
    let draw = || {
        let images = gray(&pixels);
        let rows = [("0".to_owned(), vec![Sample { image_idx: 3, caption: "0.98".to_owned() }])];
        let panel = Panel {
            title: "b".into(),
            x_label: "x".into(),
            y_label: "y".into(),
            y_scale: AxisScale::Log,
            lines: vec![Line { name: "a".into(), points: vec![(0.0, 1.0), (1.0, 0.5)] }],
            ..Panel::default()
        };
        let matrix = confusion("matrix", &names(3), &[vec![1, 2, 3], vec![4, 5, 6], vec![7, 8, 9]]).unwrap();
        let chart = Chart { title: "chart".into(), panels: vec![panel.clone(), panel] };
        let marks = [("mark".to_owned(), 1.5)];
        let histogram = histogram("histogram", "x", &[1.0, 2.0, 2.0], 4, &marks).unwrap();
        [
            grid(&images, 2, 2).unwrap(),
            class_sheet("sheet", &images, &rows).unwrap(),
            matrix.png().unwrap(),
            matrix.svg().unwrap().into_bytes(),
            chart.png().unwrap(),
            chart.svg().unwrap().into_bytes(),
            histogram.png().unwrap(),
            histogram.svg().unwrap().into_bytes(),
        ]
    };
    let first = draw();
    let elsewhere = std::thread::scope(|scope| {
        (0..4)
            .map(|_| scope.spawn(draw))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|handle| handle.join().expect("a drawing"))
            .collect::<Vec<_>>()
    });
    for other in elsewhere {
        assert!(first == other);
    }
}
