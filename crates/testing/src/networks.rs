//! Networks and images made by hand, whose outputs can be worked out on paper.

use tensorfile::View;

/// Side of an image.
pub const SIDE: usize = 28;

/// One image, row-major, in `[0, 1]`.
pub type Image = Vec<f32>;

/// Rows of pixels of a class's region: five bands of four rows each, two classes side by side in
/// each.
fn rows_of(class: usize) -> std::ops::Range<usize> {
    let top = 4 * (class / 2 + 1);
    top..top + 4
}

/// Columns of pixels of a class's region.
fn columns_of(class: usize) -> std::ops::Range<usize> {
    if class.is_multiple_of(2) { 0..12 } else { 16..28 }
}

/// An image of `class` (0..10): its region at `brightness`, and in pixels that the teacher does not
/// see a pattern for `tag`. Two images of one class and brightness are at a distance of at least
/// 3.46 where their tags differ; images of one class and tag are at 6.93 times the difference of
/// their brightness.
pub fn image(class: usize, brightness: f32, tag: usize) -> Image {
    let mut pixels = vec![0.0; SIDE * SIDE];
    for row in rows_of(class) {
        for column in columns_of(class) {
            pixels[row * SIDE + column] = brightness;
        }
    }
    // The four rows above and below the regions: 18 fields of 12 pixels, one per binary digit.
    let free: Vec<usize> = (0..4 * SIDE).chain(24 * SIDE..28 * SIDE).collect();
    for (digit, field) in free.chunks_exact(12).enumerate() {
        if tag >> digit & 1 == 1 {
            for &pixel in field {
                pixels[pixel] = 1.0;
            }
        }
    }
    pixels
}

/// Score of a class per unit of its pooled, normalised pixels.
const GAIN: f32 = 0.25;

/// The teacher's confidence in an image of this brightness (above .1307): ten pooled pixels of its
/// region against nothing in the nine others.
pub fn confidence(brightness: f32) -> f32 {
    let score = GAIN * 10.0 * (brightness - 0.1307) / 0.3081;
    score.exp() / (score.exp() + 9.0)
}

struct Weights(Vec<(&'static str, Vec<usize>, Vec<f32>)>);

impl Weights {
    fn of(shapes: &[(&'static str, &[usize])]) -> Self {
        Self(shapes.iter().map(|&(name, s)| (name, s.to_vec(), vec![0.0; s.iter().product()])).collect())
    }

    fn set(&mut self, name: &str, at: &[usize], value: f32) {
        let (_, shape, values) = self.0.iter_mut().find(|(n, ..)| *n == name).unwrap();
        let position = at.iter().zip(shape.iter()).fold(0, |sum, (index, length)| sum * length + index);
        values[position] = value;
    }

    fn file(&self) -> Vec<u8> {
        let views: Vec<(&str, View<'_>)> =
            self.0.iter().map(|(name, shape, values)| (*name, View::f32(shape, values).unwrap())).collect();
        let mut file = Vec::new();
        tensorfile::pt::write_dict(&mut file, &views).unwrap();
        file
    }
}

/// A UCStub that passes the image through its convolutions and adds up each class's region after
/// the pool. Pooled pixel p covers the pixels 2p+2 and 2p+3.
pub(crate) fn region_teacher() -> Vec<u8> {
    let mut weights = Weights::of(&[
        ("conv1.weight", &[32, 1, 3, 3]),
        ("conv1.bias", &[32]),
        ("conv2.weight", &[64, 32, 3, 3]),
        ("conv2.bias", &[64]),
        ("fc1.weight", &[128, 9216]),
        ("fc1.bias", &[128]),
        ("fc2.weight", &[10, 128]),
        ("fc2.bias", &[10]),
    ]);
    weights.set("conv1.weight", &[0, 0, 1, 1], 1.0);
    weights.set("conv2.weight", &[0, 0, 1, 1], 1.0);
    for class in 0..10 {
        for row in 0..12 {
            for column in 0..12 {
                let inside = |range: std::ops::Range<usize>, p: usize| {
                    range.contains(&(2 * p + 2)) && range.contains(&(2 * p + 3))
                };
                if inside(rows_of(class), row) && inside(columns_of(class), column) {
                    weights.set("fc1.weight", &[class, row * 12 + column], 1.0);
                }
            }
        }
        weights.set("fc2.weight", &[class, class], GAIN);
    }
    weights.file()
}

/// All weights of a VAE decoder, 0.
fn decoder_weights(latents: usize) -> Weights {
    Weights::of(&[
        ("fc.weight", &[6272, latents]),
        ("fc.bias", &[6272]),
        ("conv_t1.weight", &[128, 64, 4, 4]),
        ("conv_t1.bias", &[64]),
        ("conv_t2.weight", &[64, 32, 4, 4]),
        ("conv_t2.bias", &[32]),
        ("conv_final.weight", &[1, 32, 3, 3]),
        ("conv_final.bias", &[1]),
    ])
}

/// A VAE decoder of ten latents that enlarges a 7x7 picture, in which latent `c` fills the region
/// of class `c`.
pub(crate) fn region_decoder() -> Vec<u8> {
    let mut weights = decoder_weights(10);
    for class in 0..10 {
        for row in rows_of(class).step_by(4) {
            for column in columns_of(class).step_by(4) {
                weights.set("fc.weight", &[row / 4 * 7 + column / 4, class], 1.0);
            }
        }
    }
    // Of a kernel of 4 with stride 2 and padding 1, the two middle taps repeat each value.
    for name in ["conv_t1.weight", "conv_t2.weight"] {
        for (row, column) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            weights.set(name, &[0, 0, row, column], 1.0);
        }
    }
    weights.set("conv_final.weight", &[0, 0, 1, 1], 4.0);
    weights.set("conv_final.bias", &[0], -4.0);
    weights.file()
}

/// A VAE decoder of two latents whose only output is `image`. The 28x28 pixels lie in 16 channels
/// of the first 7x7 layer, one per place in a block of 4x4, and each transposed convolution puts
/// four channels into the places of 2x2 pixels.
pub(crate) fn copying_decoder(image: &Image) -> Vec<u8> {
    // Logits of pixels are between -7 and 7; ReLU lets through what is not negative.
    const SHIFT: f32 = 7.0;
    let mut weights = decoder_weights(2);
    for row in 0..SIDE {
        for column in 0..SIDE {
            let pixel = image[row * SIDE + column].clamp(0.001, 0.999);
            let channel = row % 4 * 4 + column % 4;
            weights.set(
                "fc.bias",
                &[channel * 49 + row / 4 * 7 + column / 4],
                (pixel / (1.0 - pixel)).ln() + SHIFT,
            );
        }
    }
    // Of stride 2 and padding 1, tap 1 writes the even and tap 2 the odd pixels.
    for row in 0..4 {
        for column in 0..4 {
            let (from, to) = (row * 4 + column, row % 2 * 2 + column % 2);
            weights.set("conv_t1.weight", &[from, to, 1 + row / 2, 1 + column / 2], 1.0);
        }
    }
    for row in 0..2 {
        for column in 0..2 {
            weights.set("conv_t2.weight", &[row * 2 + column, 0, 1 + row, 1 + column], 1.0);
        }
    }
    weights.set("conv_final.weight", &[0, 0, 1, 1], 1.0);
    weights.set("conv_final.bias", &[0], -SHIFT);
    weights.file()
}
