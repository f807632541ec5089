//! Draws one picture of every kind into a folder, to be looked at after a change of layout:
//! `cargo run --release -p picture --example gallery -- target/gallery`
#![expect(clippy::disallowed_methods, reason = "a throw-away folder of pictures needs no atomic files")]

use std::path::PathBuf;

use picture::{AxisScale, Chart, Drawing, Images, Line, Panel, Reference, Sample};

/// Repeatable numbers in `[0, 1)`, spread evenly (the golden ratio's sequence, shuffled by its
/// square).
fn spread(index: usize) -> f64 {
    let x = index as f64 * 0.618_033_988_749_895;
    (x.fract() + (x * index as f64 * 0.414_213_562_373_095).fract()).fract()
}

/// Sum of twelve uniform numbers: nearly normal, mean 0, deviation 1.
fn normal(index: usize) -> f64 {
    (0..12).map(|part| spread(index * 12 + part)).sum::<f64>() - 6.0
}

/// Rings and bars of varying size, `[n, channels, 28, 28]`.
fn shapes(n_images: usize, channels: usize) -> Vec<f32> {
    let mut pixels = Vec::new();
    for image_idx in 0..n_images {
        let radius = 5.0 + 6.0 * spread(image_idx);
        for channel in 0..channels {
            for place in 0..28_u32 * 28 {
                let (row, column) = (f64::from(place / 28) - 13.5, f64::from(place % 28) - 13.5);
                let distance =
                    if image_idx % 2 == 0 { row.hypot(column) - radius } else { (row - column / 2.0).abs() };
                let tint = if channel == image_idx % 3 { 1.0 } else { 0.6 };
                pixels.push((tint * (-distance * distance / 4.0).exp()) as f32);
            }
        }
    }
    pixels
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn confusion_counts(n_classes: usize, per_class: u64) -> Vec<Vec<u64>> {
    (0..n_classes)
        .map(|truth| {
            (0..n_classes)
                .map(|guess| match spread(truth * n_classes + guess) {
                    _ if truth == guess => per_class * 9 / 10 + truth as u64,
                    x if x > 0.75 => (x * per_class as f64 / 25.0) as u64,
                    _ => 0,
                })
                .collect()
        })
        .collect()
}

fn curve(name: &str, n_points: usize, value: impl Fn(f64) -> f64) -> Line {
    let points = (1..=n_points).map(|x| (x as f64, value(x as f64) * (1.0 + 0.04 * normal(x)))).collect();
    Line { name: name.to_owned(), points }
}

/// Numbers at equal ratios from `low` to `high`.
fn ratios(low: f64, high: f64, n: usize) -> impl Iterator<Item = f64> {
    (0..n).map(move |k| low * (high / low).powf(k as f64 / (n - 1) as f64))
}

/// About what so many steps of noisy gradients cost, with a batch of 1 % and delta 1e-5.
fn epsilon(steps: f64, sigma: f64) -> f64 {
    let rho = steps * 1e-4 * ((1.0 / (sigma * sigma)).exp() - 1.0);
    rho + 2.0 * (rho * 1e5_f64.ln()).sqrt()
}

/// Charts of one panel, of every combination of scales.
fn plots() -> Vec<(&'static str, Chart)> {
    let line = |name: &str, points: Vec<(f64, f64)>| Line { name: name.to_owned(), points };
    let spent = |sigma: f64, n: usize| {
        let points = ratios(1.0, 1e5, n).map(|steps| (steps.round(), epsilon(steps.round(), sigma)));
        line(&format!("sigma = {sigma}"), points.collect())
    };
    let over_steps = Panel {
        title: "Privacy spent by DP-SGD on 60,000 records, delta = 1e-5".into(),
        x_label: "steps".into(),
        y_label: "epsilon".into(),
        x_scale: AxisScale::Log,
        lines: [0.8, 1.1, 2.0].map(|sigma| spent(sigma, 200)).to_vec(),
        reference: Some(Reference { name: "target epsilon = 8".into(), y: 8.0 }),
        ..Panel::default()
    };
    let both_log = Panel {
        y_scale: AxisScale::Log,
        lines: [0.8, 1.1, 2.0].map(|sigma| spent(sigma, 16)).to_vec(),
        ..over_steps.clone()
    };
    let mut needed: Vec<(f64, f64)> =
        ratios(0.25, 16.0, 60).map(|epsilon| (epsilon, 0.6 + 3.1 / epsilon.powf(0.8))).collect();
    needed[20].1 = f64::NAN;
    let gaussian = (1..=16).map(f64::from).map(|epsilon| (epsilon, 4.8 / epsilon)).collect();
    let over_epsilon = Panel {
        title: "Noise that a budget needs".into(),
        x_label: "epsilon".into(),
        y_label: "sigma (multiples of the sensitivity)".into(),
        lines: vec![
            line("10,000 steps, with a gap", needed),
            line("one release, Gauss & <analytic>", gaussian),
        ],
        ..Panel::default()
    };
    let eight = Panel {
        title: "As many lines as there may be".into(),
        x_label: "queries answered".into(),
        y_label: "epsilon".into(),
        lines: (1..=8)
            .map(|k| {
                let points = (0..=60).map(|x| f64::from(x) * 50.0);
                line(
                    &format!("{} teachers", 50 * k),
                    points.map(|x| (x, 40.0 * (x / 1e3).sqrt() / f64::from(k))).collect(),
                )
            })
            .collect(),
        reference: Some(Reference { name: "budget".into(), y: 30.0 }),
        ..Panel::default()
    };
    let narrow = Panel {
        title: "Long numbers, narrow ranges".into(),
        x_label: "x".into(),
        y_label: "y".into(),
        x_scale: AxisScale::Log,
        lines: vec![line(
            "line",
            vec![(1_234_000.0, 1e9), (2_000_000.0, 1e9 + 2.0), (4_321_000.0, 1e9 + 3.0)],
        )],
        ..Panel::default()
    };
    let deltas = Panel {
        title: "Delta that an epsilon leaves".into(),
        x_label: "epsilon".into(),
        y_label: "delta".into(),
        y_scale: AxisScale::Log,
        lines: [1.0, 2.0, 4.0]
            .map(|sigma: f64| {
                let points = (0..=120).map(|k| f64::from(k) / 20.0);
                line(
                    &format!("sigma = {sigma}"),
                    points.map(|e| (e, (-(e * sigma).powi(2) / 2.0 - e).exp() / 4.0)).collect(),
                )
            })
            .to_vec(),
        ..Panel::default()
    };
    let panels = [
        ("plot_steps", over_steps),
        ("plot_log_log", both_log),
        ("plot_sigma", over_epsilon),
        ("plot_eight", eight),
        ("plot_narrow", narrow),
        ("plot_delta", deltas),
    ];
    let chart = |panel: Panel| Chart {
        title: panel.title.clone(),
        panels: vec![Panel { title: String::new(), ..panel }],
    };
    panels.into_iter().map(|(name, panel)| (name, chart(panel))).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "target/gallery".to_owned()));
    std::fs::create_dir_all(&folder)?;
    let save = |name: &str, png: Vec<u8>| std::fs::write(folder.join(name).with_extension("png"), png);
    let save_both = |name: &str, drawing: Drawing| -> Result<(), Box<dyn std::error::Error>> {
        std::fs::write(folder.join(name).with_extension("svg"), drawing.svg()?)?;
        Ok(save(name, drawing.png()?)?)
    };

    let gray = shapes(64, 1);
    let images = Images { channels: 1, height: 28, width: 28, pixels: &gray };
    save("grid", picture::grid(&images, 8, 2)?)?;
    let rgb = shapes(64, 3);
    let rgb_images = Images { channels: 3, height: 28, width: 28, pixels: &rgb };
    save("grid_rgb", picture::grid(&rgb_images, 10, 2)?)?;

    let row = |class: usize, n: usize| -> Vec<Sample> {
        let sample =
            |k| Sample { image_idx: (class * 7 + k) % 64, caption: format!("{:.2}", 0.9 + 0.1 * spread(k)) };
        (0..n).map(sample).collect()
    };
    let rows: Vec<_> =
        (0..10).map(|class| (class.to_string(), row(class, if class == 3 { 0 } else { 10 }))).collect();
    save("sheet", picture::class_sheet("Most confident samples of each class, teacher 0", &images, &rows)?)?;
    let rows =
        [("aeroplane".to_owned(), row(0, 4)), ("a class with a rather long name".to_owned(), row(1, 2))];
    save(
        "sheet_rgb",
        picture::class_sheet(
            "A title that is long enough to need a second line on a narrow sheet",
            &rgb_images,
            &rows,
        )?,
    )?;

    let digits: Vec<String> = (0..10).map(|class| class.to_string()).collect();
    let title = "Student on the MNIST test set: 96.1 % of 10,000 correct";
    save_both("confusion10", picture::confusion(title, &digits, &confusion_counts(10, 1_000))?)?;
    let fashion = names(&[
        "T-shirt/top",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ]);
    save_both(
        "confusion_fashion",
        picture::confusion("FashionMNIST", &fashion, &confusion_counts(10, 600_000))?,
    )?;
    let letters: Vec<String> =
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt".chars().map(String::from).collect();
    save_both("confusion47", picture::confusion("EMNIST balanced", &letters, &confusion_counts(47, 400))?)?;
    let yes_no = names(&["no", "yes"]);
    save_both("confusion2", picture::confusion("Two classes", &yes_no, &[vec![90, 10], vec![0, 0]])?)?;

    let panel = |title: &str, y_label: &str, y_scale, lines| Panel {
        title: title.to_owned(),
        x_label: "epoch".to_owned(),
        y_label: y_label.to_owned(),
        y_scale,
        lines,
        ..Panel::default()
    };
    let mut broken = curve("a run with a gap", 30, |x| 1.4 / x.sqrt());
    broken.points[12].1 = f64::NAN;
    let loss = vec![curve("training", 30, |x| 2.0 / x), broken];
    let accuracy = vec![curve("student", 30, |x| 1.0 - 0.8 / x), curve("mean of teachers", 30, |_| 0.81)];
    let many: Vec<Line> = (0..8)
        .map(|k| {
            curve(&format!("teacher {k}"), 200, move |x| {
                500.0 * (1.0 - (-x / (20.0 + 9.0 * f64::from(k))).exp())
            })
        })
        .collect();
    let panels = [
        panel("Loss", "cross-entropy (nats)", AxisScale::Log, loss),
        panel("Accuracy", "share correct", AxisScale::Linear, accuracy),
        panel("Selected samples", "samples", AxisScale::Linear, many),
        panel("Not run yet", "samples", AxisScale::Linear, Vec::new()),
    ];
    let title = "Training of the student on synthetic data".to_owned();
    let one = Chart { title: "One panel".to_owned(), panels: panels[1..2].to_vec() };
    save("curves1", one.png()?)?;
    let all = Chart { title, panels: panels.to_vec() };
    save("curves", all.png()?)?;
    std::fs::write(folder.join("curves.svg"), all.svg()?)?;

    let mut distances: Vec<f64> = (0..1_500).map(|k| 6.0 + 1.3 * normal(k)).collect();
    distances.push(f64::NAN);
    let marks = [
        ("threshold 2.0".to_owned(), 2.0),
        ("median 6.0".to_owned(), 6.0),
        ("95 % of training images".to_owned(), 5.5),
        ("near the right end".to_owned(), 11.0),
    ];
    let title = "Distance of each candidate to the nearest training image";
    save_both("histogram", picture::histogram(title, "Euclidean distance", &distances, 40, &marks)?)?;
    save_both("histogram0", picture::histogram("Nothing passed", "distance", &[], 40, &marks)?)?;
    for (name, plot) in plots() {
        save(name, plot.png()?)?;
        std::fs::write(folder.join(name).with_extension("svg"), plot.svg()?)?;
    }
    Ok(())
}
