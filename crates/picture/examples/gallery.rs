//! Draws one picture of every kind into a folder, to be looked at after a change of layout:
//! `cargo run --release -p picture --example gallery -- target/gallery`
#![expect(clippy::disallowed_methods, reason = "a throw-away folder of pictures needs no atomic files")]

use std::path::PathBuf;

use picture::{Curve, Images, Panel, Sample};

/// Repeatable numbers in `[0, 1)`, spread evenly (the golden ratio's sequence, shuffled by its square).
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

fn curve(name: &str, n_points: usize, value: impl Fn(f64) -> f64) -> Curve {
    let points = (1..=n_points).map(|x| (x as f64, value(x as f64) * (1.0 + 0.04 * normal(x)))).collect();
    Curve { name: name.to_owned(), points }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "target/gallery".to_owned()));
    std::fs::create_dir_all(&folder)?;
    let save = |name: &str, png: Vec<u8>| std::fs::write(folder.join(name).with_extension("png"), png);

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
    save("confusion10", picture::confusion(title, &digits, &confusion_counts(10, 1_000))?)?;
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
    save("confusion_fashion", picture::confusion("FashionMNIST", &fashion, &confusion_counts(10, 600_000))?)?;
    let letters: Vec<String> =
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt".chars().map(String::from).collect();
    save("confusion47", picture::confusion("EMNIST balanced", &letters, &confusion_counts(47, 400))?)?;
    let yes_no = names(&["no", "yes"]);
    save("confusion2", picture::confusion("Two classes", &yes_no, &[vec![90, 10], vec![0, 0]])?)?;

    let panel = |title: &str, y_label: &str, log_y, curves| Panel {
        title: title.to_owned(),
        x_label: "epoch".to_owned(),
        y_label: y_label.to_owned(),
        log_y,
        curves,
    };
    let mut broken = curve("a run with a gap", 30, |x| 1.4 / x.sqrt());
    broken.points[12].1 = f64::NAN;
    let loss = vec![curve("training", 30, |x| 2.0 / x), broken];
    let accuracy = vec![curve("student", 30, |x| 1.0 - 0.8 / x), curve("mean of teachers", 30, |_| 0.81)];
    let many: Vec<Curve> = (0..15)
        .map(|k| {
            curve(&format!("teacher {k}"), 200, move |x| {
                500.0 * (1.0 - (-x / (20.0 + 9.0 * f64::from(k))).exp())
            })
        })
        .collect();
    let panels = [
        panel("Loss", "cross-entropy (nats)", true, loss),
        panel("Accuracy", "share correct", false, accuracy),
        panel("Selected samples", "samples", false, many),
        panel("Not run yet", "samples", false, Vec::new()),
    ];
    save("curves", picture::curves("Training of the student on synthetic data", &panels)?)?;
    save("curves1", picture::curves("One panel", &panels[1..2])?)?;

    let selected: Vec<f64> = (0..10).map(|class| (40.0 + 300.0 * spread(class + 3)).floor()).collect();
    let wanted: Vec<f64> = selected.iter().map(|count| count * 4.0 + 17.0).collect();
    let one = [("selected".to_owned(), selected.clone())];
    save("bars", picture::bars("Samples of each class", "class", "samples", &digits, &one)?)?;
    let two = [("confident".to_owned(), wanted.clone()), ("selected".to_owned(), selected.clone())];
    save("bars2", picture::bars("Samples of each class", "class", "samples", &fashion, &two)?)?;
    let changes: Vec<f64> = (0..47).map(normal).collect();
    let one = [("change".to_owned(), changes)];
    save("bars47", picture::bars("Change of recall", "class", "percentage points", &letters, &one)?)?;

    let mut distances: Vec<f64> = (0..1_500).map(|k| 6.0 + 1.3 * normal(k)).collect();
    distances.push(f64::NAN);
    let marks = [
        ("threshold 2.0".to_owned(), 2.0),
        ("median 6.0".to_owned(), 6.0),
        ("95 % of training images".to_owned(), 5.5),
        ("near the right end".to_owned(), 11.0),
    ];
    let title = "Distance of each candidate to the nearest training image";
    save("histogram", picture::histogram(title, "Euclidean distance", &distances, 40, &marks)?)?;
    save("histogram0", picture::histogram("Nothing passed", "distance", &[], 40, &marks)?)?;
    Ok(())
}
