//! Makes the data of the rehearsals: other "private" data on which settings are chosen, so that
//! MNIST's test images are looked at only when they are chosen.
//!
//! `cargo run --release -p pate-core --example rehearsal -- OUT`
//!
//! Generated data, from real images: `OUT/public` holds the first half of the embedded optical
//! digits as they are; `OUT/private` the second half (other writers), a third of it for testing, in
//! another hand: slanted, narrower, thinner, bent, then fitted as MNIST's digits are.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a script for developers"
)]

use std::fs;
use std::path::Path;

use pate_core::base::rng::{Purpose, Stream};
use pate_core::base::tensor;
use pate_core::data::augment::{Warp, warp};
use pate_core::data::{Records, digits};
use tch::{Kind, Tensor};
use tensorfile::View;

/// Private images made of each held-out digit.
const COPIES: i64 = 20;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, out] = &arguments[..] else { panic!("one argument: the folder to make") };
    let out = Path::new(out);
    let all = digits().unwrap();
    let half = all.len() as i64 / 2;
    let rows = |range: std::ops::Range<i64>| all.select(&range.collect::<Vec<_>>()).unwrap();
    let (public, rest) = (rows(0..half), half..all.len() as i64);
    let third = rest.start + 2 * (rest.end - rest.start) / 3;
    save(&public, public.images.tensor(), 1, &out.join("public"), "train");
    for (name, held_out, copies) in
        [("train", rows(rest.start..third), COPIES), ("t10k", rows(third..rest.end), 10)]
    {
        let restyled: Vec<Tensor> = (0..copies)
            .map(|copy| other_hand(held_out.images.tensor(), copy as u64 + 100 * held_out.len() as u64))
            .collect();
        save(&held_out, &Tensor::cat(&restyled, 0), copies, &out.join("private"), name);
    }
}

/// A systematic change that no augmentation's range has in its middle, and personal variation on
/// top.
fn other_hand(images: &Tensor, index: u64) -> Tensor {
    let size = images.size();
    let mut stream = Stream::new(2026, Purpose::Augmentation, index);
    // Slant of 11 degrees, a sixth narrower.
    let map = tensor::from_f32(&[1.18, 0.2, 0.0, 0.0, 1.0, 0.0], &[1, 2, 3]).unwrap();
    let grid = Tensor::affine_grid_generator(&map.expand([size[0], 2, 3], false).contiguous(), &size, false);
    let slanted = images.grid_sampler(&grid, 0, 0, false);
    // A third of a pixel thinner, and sharper.
    let thinner = &slanted + (-&slanted).max_pool2d([3, 3], [1, 1], [1, 1], [1, 1], false);
    let slanted = ((&slanted - thinner * 0.35) - 0.15) * 1.5;
    let personal = Warp {
        degrees: 6.0,
        shear: 0.08,
        log_aspect: 0.1,
        log_scale: 0.0,
        shift_pixels: 0.0,
        elastic_pixels: 0.6,
        stroke: 0.2,
        fit: true,
    };
    warp(&slanted.clamp(0.0, 1.0), &personal, &mut stream).unwrap()
}

/// Writes `images` (`copies` times the records, one after the other) and their labels as MNIST's
/// files are.
fn save(records: &Records, images: &Tensor, copies: i64, dir: &Path, name: &str) {
    fs::create_dir_all(dir).unwrap();
    let size = images.size();
    let pixels: Vec<u8> = tensor::to_f32(&(images * 255.0).round().to_kind(Kind::Float))
        .unwrap()
        .iter()
        .map(|&x| x as u8)
        .collect();
    let labels: Vec<u8> =
        (0..copies).flat_map(|_| records.labels.values().iter().map(|&l| l as u8)).collect();
    let shape = [size[0] as usize, size[2] as usize, size[3] as usize];
    let mut file = fs::File::create(dir.join(format!("{name}-images-idx3-ubyte.gz"))).unwrap();
    tensorfile::idx::write_gz(&mut file, View::u8(&shape, &pixels).unwrap()).unwrap();
    let mut file = fs::File::create(dir.join(format!("{name}-labels-idx1-ubyte.gz"))).unwrap();
    tensorfile::idx::write_gz(&mut file, View::u8(&[labels.len()], &labels).unwrap()).unwrap();
    println!("{}: {} of {name}", dir.display(), labels.len());
}
