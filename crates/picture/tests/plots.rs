//! What charts of one panel contain as PNG and as SVG, and what they refuse.

use picture::{AxisScale, Chart, Error, Line, MAX_LINES, MAX_POINTS, Panel, Reference};

const BLUE: [u8; 3] = [0, 114, 178];

fn line(name: &str, points: &[(f64, f64)]) -> Line {
    Line { name: name.to_owned(), points: points.to_vec() }
}

fn plot(lines: Vec<Line>) -> Panel {
    Panel { x_label: "steps".into(), y_label: "epsilon".into(), lines, ..Panel::default() }
}

/// The panel as a chart, in both formats.
trait Draw {
    fn chart(&self) -> Chart;

    fn png(&self) -> Result<Vec<u8>, Error> {
        self.chart().png()
    }

    fn svg(&self) -> Result<String, Error> {
        self.chart().svg()
    }
}

impl Draw for Panel {
    fn chart(&self) -> Chart {
        Chart { title: "title".into(), panels: vec![self.clone()] }
    }
}

/// What epsilon does with steps, for three sigmas, on a logarithmic axis.
fn spent() -> Panel {
    let line = |sigma: f64| {
        let points = (0..6).map(|k| 10_f64.powi(k)).map(|steps| (steps, steps.sqrt() / sigma)).collect();
        Line { name: format!("sigma = {sigma}"), points }
    };
    Panel { x_scale: AxisScale::Log, ..plot([1.0, 2.0, 4.0].map(line).to_vec()) }
}

fn decode(png: &[u8]) -> image::RgbImage {
    image::load_from_memory_with_format(png, image::ImageFormat::Png).expect("a PNG").to_rgb8()
}

/// An attribute of an element.
fn attribute<'a>(element: &'a str, name: &str) -> &'a str {
    let (_, rest) =
        element.split_once(&format!(" {name}=\"")).unwrap_or_else(|| panic!("{name} in {element}"));
    rest.split_once('"').expect("a closing quote").0
}

fn number(element: &str, name: &str) -> f64 {
    attribute(element, name).parse().expect("a number")
}

/// An SVG is drawn in steps of a tenth of a pixel.
const STEP: f64 = 0.1;

const COLORS: [&str; 7] = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"];

type Path = Vec<(f64, f64)>;

/// The lines of a colour, in pixels of the picture.
fn paths(svg: &str, color: &str) -> Vec<Path> {
    let place = |text: &str| text.parse::<f64>().expect("a number") * STEP;
    svg.lines()
        .filter(|element| element.starts_with("<polyline") && attribute(element, "stroke") == color)
        .map(|element| {
            let places = attribute(element, "points").split_whitespace();
            places.map(|p| p.split_once(',').expect("a pair")).map(|(x, y)| (place(x), place(y))).collect()
        })
        .collect()
}

/// The lines of a colour inside the axes, and in the legend.
fn runs(svg: &str, color: &str) -> (Vec<Path>, Vec<Path>) {
    let [.., bottom] = frame(svg);
    paths(svg, color).into_iter().partition(|path| path[0].1 <= bottom)
}

fn n_discs(svg: &str, color: &str) -> usize {
    svg.lines().filter(|e| e.starts_with("<circle") && attribute(e, "fill") == color).count()
}

/// Text elements: what they say and where.
fn texts(svg: &str) -> Vec<(String, f64, f64)> {
    let lines: Vec<&str> = svg.lines().collect();
    lines
        .windows(3)
        .filter(|part| part[0].starts_with("<text"))
        .map(|part| {
            assert_eq!(part[2], "</text>");
            (part[1].to_owned(), number(part[0], "x") * STEP, number(part[0], "y") * STEP)
        })
        .collect()
}

/// Left, top, right and bottom of the axes: the longest lines of their colour.
fn frame(svg: &str) -> [f64; 4] {
    let axes = paths(svg, "#464646");
    let longest = |length: &dyn Fn(&Path) -> f64| {
        axes.iter().max_by(|a, b| length(a).total_cmp(&length(b))).expect("an axis").clone()
    };
    let x_axis = longest(&|path| (path[1].0 - path[0].0).abs());
    let y_axis = longest(&|path| (path[1].1 - path[0].1).abs());
    [x_axis[0].0.min(x_axis[1].0), y_axis[0].1.min(y_axis[1].1), x_axis[0].0.max(x_axis[1].0), x_axis[0].1]
}

/// Whether elements are closed in order, and no text has a bare `&` or `<`.
fn is_xml(svg: &str) -> bool {
    let mut open = Vec::new();
    for part in svg.split('<').skip(1) {
        let Some((tag, text)) = part.split_once('>') else { return false };
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return false;
            }
        } else if !tag.ends_with('/') {
            open.push(tag.split(' ').next().unwrap_or(tag));
        }
        let entities = ["amp;", "lt;", "gt;", "quot;", "apos;"];
        let mut after_ampersands = text.split('&').skip(1);
        if after_ampersands.any(|after| !entities.iter().any(|entity| after.starts_with(entity))) {
            return false;
        }
    }
    open.is_empty()
}

mod the_svg {
    use super::*;

    #[test]
    fn has_a_size_a_title_and_what_was_given() {
        let panel = Panel { reference: Some(Reference { name: "target".into(), y: 100.0 }), ..spent() };
        let svg = Chart { title: "ε < 8 & \"δ\" = '1e-5'".into(), ..panel.chart() }.svg().unwrap();
        let first = svg.lines().next().unwrap();
        let (width, height) = (number(first, "width"), number(first, "height"));
        assert_eq!(attribute(first, "viewBox"), format!("0 0 {} {}", width / STEP, height / STEP));
        assert_eq!(attribute(first, "xmlns"), "http://www.w3.org/2000/svg");
        assert!(svg.contains("font-family=\"sans-serif\""));
        let title = "ε &lt; 8 &amp; &quot;δ&quot; = &apos;1e-5&apos;";
        let texts: Vec<String> = texts(&svg).into_iter().map(|(text, ..)| text).collect();
        for text in [title, "steps", "epsilon", "1", "10", "1,000", "100,000", "sigma = 4", "target"] {
            assert_eq!(texts.iter().filter(|t| *t == text).count(), 1, "{text:?} in {texts:?}");
        }
        assert!(is_xml(&svg), "{svg}");
        assert!(svg.ends_with("</svg>\n"));
    }

    #[test]
    fn tells_its_lines_apart() {
        let lines =
            (0..MAX_LINES).map(|k| line(&format!("line {k}"), &[(0.0, k as f64), (1.0, 9.0)])).collect();
        let reference = Some(Reference { name: "target".into(), y: 3.0 });
        let svg = Panel { reference, ..plot(lines) }.svg().unwrap();
        // Colour and lengths of the dashes of each sample in the legend.
        let samples: Vec<(String, Vec<i64>)> = texts(&svg)
            .into_iter()
            .filter(|(text, ..)| text.starts_with("line ") || text == "target")
            .map(|(_, x, y)| {
                let near = |path: &Path| (path[0].1 - y).abs() < 1.0 && (x - 50.0..x).contains(&path[0].0);
                let found = COLORS.into_iter().chain(["#505050"]).find_map(|color| {
                    let pieces: Vec<Path> = runs(&svg, color).1.into_iter().filter(near).collect();
                    (!pieces.is_empty()).then_some((color, pieces))
                });
                let (color, pieces) = found.expect("a sample");
                let length = |path: &Path| (path[path.len() - 1].0 - path[0].0).round() as i64;
                (color.to_owned(), pieces.iter().map(length).collect())
            })
            .collect();
        assert_eq!(samples.len(), MAX_LINES + 1);
        for (idx, sample) in samples.iter().enumerate() {
            assert!(!samples[..idx].contains(sample), "{samples:?}");
        }
        for pair in samples.windows(2) {
            assert_ne!(pair[0].1, pair[1].1, "neighbours differ without colours");
        }
    }

    #[test]
    fn has_a_polyline_for_every_run_of_finite_points() {
        let nan = f64::NAN;
        let gaps =
            [(0.0, 1.0), (1.0, 2.0), (2.0, nan), (nan, 3.0), (3.0, 1.0), (4.0, 2.0), (5.0, f64::INFINITY)];
        let svg = plot(vec![line("gaps", &gaps)]).svg().unwrap();
        let (runs, legend) = runs(&svg, COLORS[0]);
        assert_eq!(runs.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
        assert_eq!(legend.len(), 1);
        assert!(runs[0][1].0 < runs[1][0].0, "a gap between 1 and 3");
    }

    #[test]
    fn shows_a_point_without_neighbours_as_a_disc() {
        let mut points: Vec<(f64, f64)> = (0..100).map(|x| (f64::from(x), 1.0)).collect();
        points.extend([(100.0, f64::NAN), (101.0, 2.0)]);
        let svg = plot(vec![line("a", &points), line("b", &[(3.0, 3.0)])]).svg().unwrap();
        assert_eq!((runs(&svg, COLORS[0]).0.len(), n_discs(&svg, COLORS[0])), (1, 1));
        assert_eq!((runs(&svg, COLORS[1]).0.len(), n_discs(&svg, COLORS[1])), (0, 1));
    }

    #[test]
    fn puts_points_where_their_numbers_are() {
        let svg = spent().svg().unwrap();
        let [left, top, right, bottom] = frame(&svg);
        let tick = |text: &str| texts(&svg).into_iter().find(|(t, ..)| t == text).map(|(_, x, _)| x).unwrap();
        let run = &runs(&svg, COLORS[0]).0[0];
        assert!((run[0].0 - tick("1")).abs() < 0.11 && (run[3].0 - tick("1,000")).abs() < 0.11, "{run:?}");
        for pair in run.windows(2) {
            assert!((pair[1].0 - pair[0].0 - (run[1].0 - run[0].0)).abs() < 0.21, "equal ratios: {run:?}");
        }
        for &(x, y) in run {
            assert!((left..=right).contains(&x) && (top..=bottom).contains(&y), "{x}, {y} in the axes");
        }
        // On the linear axis, twice the sigma is half as high above zero.
        let ends: Vec<f64> = COLORS[..3]
            .iter()
            .map(|color| runs(&svg, color).0.concat().into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).unwrap())
            .map(|end| bottom - end.1)
            .collect();
        assert!((ends[0] / ends[1] - 2.0).abs() < 0.03, "{ends:?}");
        assert!((ends[1] / ends[2] - 2.0).abs() < 0.06, "{ends:?}");
    }

    #[test]
    fn axes_hold_all_points_and_the_reference() {
        let numbers = [1e-250, 1e-9, 0.3, 1.0, 1.000_000_1, 77.0, 1e6, 1e250];
        for low in numbers {
            for high in numbers.into_iter().filter(|&high| high >= low) {
                for scale in [AxisScale::Linear, AxisScale::Log] {
                    let lines = vec![line("a", &[(high, low), (low, high)])];
                    let reference = Some(Reference { name: "r".into(), y: high.sqrt() });
                    let svg =
                        Panel { x_scale: scale, y_scale: scale, reference, ..plot(lines) }.svg().unwrap();
                    let [left, top, right, bottom] = frame(&svg);
                    let (mut inside, mut n_points) = (true, 0);
                    for (x, y) in [runs(&svg, COLORS[0]).0, runs(&svg, "#505050").0].concat().concat() {
                        n_points += 1;
                        inside &= (left - 0.11..=right + 0.11).contains(&x)
                            && (top - 0.11..=bottom + 0.11).contains(&y);
                    }
                    assert!(inside && n_points > 100, "{low} to {high}, {scale:?}: {svg}");
                }
            }
        }
    }

    #[test]
    fn has_its_legend_below_the_axes() {
        let name = "a name that is much too long for one line of the legend ".repeat(3);
        let lines =
            (0..MAX_LINES).map(|k| line(&format!("{k} {name}"), &[(0.0, 0.0), (1.0, k as f64)])).collect();
        let svg = plot(lines).svg().unwrap();
        let [.., bottom] = frame(&svg);
        let height = number(&svg, "height");
        let names: Vec<_> = texts(&svg).into_iter().filter(|(text, ..)| text.contains("a name")).collect();
        assert_eq!(names.len(), MAX_LINES);
        for (text, _, y) in &names {
            assert!(*y > bottom + 50.0 && *y < height, "{text} at {y}");
            assert!(text.ends_with('…'), "{text}");
        }
        for pair in names.windows(2) {
            assert!(pair[1].2 >= pair[0].2 + 16.0, "one below the other: {pair:?}");
        }
    }

    #[test]
    fn has_no_label_over_another() {
        for scale in [AxisScale::Linear, AxisScale::Log] {
            let points = [(1.0, 0.004), (1_234_567.0, 98_765.4)];
            let svg =
                Panel { x_scale: scale, y_scale: scale, ..plot(vec![line("", &points)]) }.svg().unwrap();
            let [.., bottom] = frame(&svg);
            let below: Vec<f64> = texts(&svg)
                .into_iter()
                .filter(|t| (bottom..bottom + 15.0).contains(&t.2))
                .map(|t| t.1)
                .collect();
            assert!((4..=9).contains(&below.len()), "{below:?}");
            assert!(below.windows(2).all(|pair| pair[1] - pair[0] > 50.0), "{below:?}");
        }
    }

    #[test]
    fn stays_small_where_a_line_is_too_long_for_dashes() {
        let points: Vec<(f64, f64)> = (0..30_000).map(|x| (f64::from(x), f64::from(x % 2))).collect();
        let svg = plot(vec![line("", &[(0.0, 0.0)]), line("", &points)]).svg().unwrap();
        assert!(svg.len() < 1_000_000, "{} bytes", svg.len());
    }

    #[test]
    fn is_xml_whatever_the_names() {
        let name = "\u{0}\u{1b}\n]]></text><script>&amp;\u{fffe}\u{ffff}\" 'ε😀";
        let panel = Panel {
            title: name.into(),
            x_label: name.into(),
            y_label: name.into(),
            reference: Some(Reference { name: name.into(), y: 1.0 }),
            ..plot(vec![line(name, &[(0.0, 0.0), (1.0, 1.0)])])
        };
        let svg = Chart { title: name.into(), panels: vec![panel] }.svg().unwrap();
        assert!(is_xml(&svg), "{svg}");
        assert!(!svg.contains("<script"));
        assert!(!svg.chars().any(|c| (c.is_control() && c != '\n') || matches!(c, '\u{fffe}' | '\u{ffff}')));
        assert!(is_xml(&plot(vec![line("", &[(0.0, 0.0)])]).svg().unwrap()), "without names");
    }
}

mod the_png {
    use super::*;

    #[test]
    fn has_the_layout_of_the_svg() {
        let svg = spent().svg().unwrap();
        let picture = decode(&spent().png().unwrap());
        let first = svg.lines().next().unwrap();
        assert_eq!(picture.width().to_string(), attribute(first, "width"));
        assert_eq!(picture.height().to_string(), attribute(first, "height"));
        for &(x, y) in &runs(&svg, COLORS[0]).0[0] {
            // The rightmost points are covered by no later line; those at the left lie on one
            // another.
            if x > f64::from(picture.width()) / 2.0 {
                assert_eq!(picture.get_pixel(x as u32, y as u32).0, BLUE, "{x}, {y}");
            }
        }
    }

    #[test]
    fn shows_the_gap_at_a_point_that_is_not_finite() {
        let gap = |y| {
            let mut points: Vec<(f64, f64)> = (0..=40).map(|x| (f64::from(x), 1.0)).collect();
            points[20].1 = y;
            decode(&plot(vec![line("", &points), line("", &[(0.0, 0.0)])]).png().unwrap())
        };
        let columns = |picture: &image::RgbImage| -> Vec<u32> {
            let blue = |x| (0..picture.height()).any(|y| picture.get_pixel(x, y).0 == BLUE);
            (0..picture.width()).filter(|&x| blue(x)).collect()
        };
        let (whole, cut) = (columns(&gap(1.0)), columns(&gap(f64::NAN)));
        assert_eq!((whole.first(), whole.last()), (cut.first(), cut.last()));
        assert_eq!(whole.len() as u32, whole[whole.len() - 1] - whole[0] + 1, "no gap in the whole line");
        // Two of forty steps of 640 pixels less the margins.
        let missing = whole.len() - cut.len();
        assert!((28..=33).contains(&missing), "{missing} pixels of gap");
    }

    #[test]
    fn shows_the_reference_across_the_axes() {
        let with = |y| Panel {
            reference: Some(Reference { name: String::new(), y }),
            ..plot(vec![line("", &[(0.0, 0.0), (1.0, 4.0)])])
        };
        let grey = |plot: &Panel| decode(&plot.png().unwrap()).pixels().filter(|p| p.0 == [80; 3]).count();
        let without = Panel { reference: None, ..with(3.1) };
        assert!(grey(&with(3.1)) > grey(&without) + 300, "{} {}", grey(&with(3.1)), grey(&without));
        assert_ne!(with(3.1).png().unwrap(), with(2.1).png().unwrap());
    }

    #[test]
    fn dashes_cover_their_share_of_the_line() {
        // How dark the rows around a level line are in the red of its colour, over that of a solid
        // line; no grid line runs along 0.9.
        let ink = |line_idx: usize, red: u8| {
            let mut lines = vec![line("", &[(0.0, 0.0)]); line_idx];
            lines.push(line("", &(0..=30).map(|x| (f64::from(x), 0.9)).collect::<Vec<_>>()));
            let plot = plot(lines);
            let y = runs(&plot.svg().unwrap(), COLORS[line_idx]).0[0][0].1.round() as u32;
            let picture = decode(&plot.png().unwrap());
            let [left, _, right, _] = frame(&plot.svg().unwrap()).map(|edge| edge as u32);
            let pixels = (left + 5..right).flat_map(|x| (y - 3..=y + 3).map(move |y| (x, y)));
            let dark: f64 = pixels.map(|(x, y)| f64::from(255 - picture.get_pixel(x, y).0[0])).sum();
            dark / f64::from(255 - red)
        };
        let solid = ink(0, 0);
        // Lengths on as a share of the pattern: 2 of 5, and 16 of 21.
        for (line_idx, red, share) in [(2, 0, 0.4), (3, 204, 16.0 / 21.0)] {
            let ratio = ink(line_idx, red) / solid;
            assert!((ratio - share).abs() < 0.1, "line {line_idx}: {ratio} for {share}");
        }
    }
}

#[test]
fn the_same_plot_gives_the_same_bytes() {
    let plot = Panel { reference: Some(Reference { name: "target".into(), y: 8.0 }), ..spent() };
    let draw = || (plot.png().unwrap(), plot.svg().unwrap());
    let first = draw();
    let elsewhere = std::thread::scope(|scope| {
        [scope.spawn(draw), scope.spawn(draw)].map(|handle| handle.join().expect("a drawing"))
    });
    assert!(elsewhere.iter().all(|other| *other == first));
}

#[test]
fn points_that_are_not_finite_make_no_difference_at_the_ends() {
    let clean = plot(vec![line("a", &[(1.0, 2.0), (2.0, 1.0)])]);
    let strange = [(f64::NAN, 1.0), (1.0, 2.0), (2.0, 1.0), (3.0, f64::INFINITY), (-1e251, 0.0)];
    let dirty = plot(vec![line("a", &strange)]);
    assert_eq!(clean.svg().unwrap(), dirty.svg().unwrap());
    assert_eq!(clean.png().unwrap(), dirty.png().unwrap());
}

#[test]
fn strange_numbers_are_drawn_or_refused() {
    let numbers =
        [0.0, -0.0, 1e-320, 1e-250, 1e200, -1e249, 1e250, f64::MAX, f64::MIN, f64::NAN, f64::INFINITY];
    for a in numbers {
        for b in numbers {
            for (x_scale, y_scale) in
                [(AxisScale::Linear, AxisScale::Log), (AxisScale::Log, AxisScale::Linear)]
            {
                let plot = Panel { x_scale, y_scale, ..plot(vec![line("a", &[(a, b), (b, a)])]) };
                match plot.svg() {
                    Ok(svg) => assert!(!svg.contains("NaN") && !svg.contains("inf"), "{a} {b}: {svg}"),
                    Err(Error::NotPositive { value, .. }) => assert!(value < 1e-250, "{value}"),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
}

#[test]
fn a_logarithmic_axis_refuses_what_is_not_positive() {
    let with = |x_scale, y_scale, points: &[(f64, f64)]| Panel {
        x_scale,
        y_scale,
        ..plot(vec![line("good", &[(1.0, 1.0)]), line("sigma = 2", points)])
    };
    let (log, linear) = (AxisScale::Log, AxisScale::Linear);
    let error = with(log, linear, &[(1.0, 2.0), (0.0, 3.0)]).svg().unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 'sigma = 2' has x = 0.0, but a logarithmic axis takes positive numbers only, from 1e-250 up; \
         leave the point out or make the axis linear"
    );
    let error = with(linear, log, &[(-1.0, 2.0), (0.0, -3.5)]).png().unwrap_err();
    assert!(error.to_string().starts_with("line 'sigma = 2' has y = -3.5, "), "{error}");
    with(linear, linear, &[(-1.0, 2.0), (0.0, -3.5)]).svg().unwrap();
    with(log, log, &[(f64::NAN, -1.0), (2.0, 3.0)]).svg().expect("a gap is no number on an axis");

    let reference = Some(Reference { name: "target".into(), y: 0.0 });
    let error = Panel { reference: reference.clone(), ..with(linear, log, &[(1.0, 1.0)]) }.svg().unwrap_err();
    assert!(error.to_string().starts_with("line 'target' has y = 0.0, "), "{error}");
    Panel { reference, ..with(log, linear, &[(1.0, 1.0)]) }.svg().unwrap();
}

#[test]
fn too_little_and_too_much_are_refused() {
    let refused = |lines: Vec<Line>| {
        let error = plot(lines.clone()).svg().unwrap_err().to_string();
        assert_eq!(plot(lines).png().unwrap_err().to_string(), error);
        error
    };
    assert_eq!(refused(vec![line("a", &[(0.0, 0.0)]); 9]), "9 lines; a plot has at most 8");
    let half = vec![(0.0, 0.0); MAX_POINTS / 2 + 1];
    assert_eq!(refused(vec![line("a", &half); 2]), "100002 points; a plot has at most 100000");
    let reference = Some(Reference { name: "target".into(), y: f64::NAN });
    let error = Panel { reference, ..plot(vec![line("a", &[(0.0, 0.0)])]) }.svg().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the reference line 'target' is at y = NaN; give a number of at most 1e250 in size"
    );
}

#[test]
fn as_many_points_as_allowed_are_no_trouble() {
    let points: Vec<(f64, f64)> = (0..MAX_POINTS / 8).map(|x| (x as f64, (x % 977) as f64)).collect();
    let lines = (0..MAX_LINES).map(|k| line(&format!("line {k}"), &points)).collect();
    let plot = plot(lines);
    let started = std::time::Instant::now();
    plot.png().unwrap();
    assert!(plot.svg().unwrap().len() < 4_000_000);
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}
