//! How the images lie beside real ones in a feature space.

use anyhow::Result;
use pate_core::base::rng::{Purpose, Stream};
use pate_core::base::tensor;
use pate_core::config::{NetworkKind, Word as _};
use pate_core::data::{Images, Records};
use pate_core::evaluate::{self, Copies, InceptionScore, Neighbours};
use pate_core::models::Classifier;
use pate_core::train::classifier::answers;
use serde::Serialize;
use tch::Tensor;

use super::judges::{Judged, Judges, OF_TEST};
use crate::run::Context;

/// Images of a side at most.
const ROWS: usize = 10_000;
/// Neighbours that make a ball (the value of their paper).
const NEIGHBOURS: i64 = 3;
/// Parts of the inception score (the value of its paper).
const SPLITS: i64 = 10;

/// Two sets of images beside each other.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Resemblance {
    /// Images of the scored set that were looked at.
    pub(super) images: i64,
    /// Real images that they were compared with.
    pub(super) real_images: i64,
    /// Frechet distance of their features.
    pub(super) frechet_distance: f64,
    /// Nearest neighbours among their features.
    pub(super) neighbours: Neighbours,
}

/// The data set beside test images.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Fidelity {
    /// Which network's last hidden layer the features are, and what it was trained on.
    pub(super) feature_space: String,
    /// Beside the test images.
    pub(super) beside_test: Resemblance,
    /// One half of the test images beside the other: what real images reach.
    pub(super) test_halves: Resemblance,
    /// By the same network's probabilities.
    pub(super) inception_score: InceptionScore,
}

/// The data set beside private images: no figure of it has a guarantee.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Private {
    /// In words, for readers of this part alone.
    pub(super) formal_guarantee: &'static str,
    /// Beside the private images.
    pub(super) resemblance: Resemblance,
    /// Near-copies of them.
    pub(super) copies: Copies,
}

struct Space<'a> {
    network: Box<dyn Classifier>,
    name: String,
    judges: &'a Judges<'a>,
}

impl<'a> Space<'a> {
    /// The control's network, else one that learnt the test images.
    fn new(judges: &'a Judges<'a>, controlled: &[Judged]) -> Result<Self> {
        let wanted = [NetworkKind::UcStub, NetworkKind::SmallCnn, NetworkKind::Mlp];
        let there =
            wanted.iter().find_map(|kind| controlled.iter().find(|judged| judged.classifier == *kind));
        let (network, what, kind) = if let Some(judged) = there {
            (judges.trained("control", judged)?, "the public control", judged.classifier)
        } else {
            (judges.of_test(OF_TEST)?, "the test images", OF_TEST)
        };
        let name = format!("the last hidden layer of {} trained on {what}", kind.word());
        Ok(Self { network, name, judges })
    }

    fn features(&self, images: &Images) -> Result<Tensor> {
        let watch = self.judges.ctx.watch();
        let (normalisation, device) = (self.judges.normalisation, self.judges.ctx.device);
        Ok(evaluate::features(&*self.network, normalisation, images, device, &watch)?)
    }
}

/// Some images, drawn by the seed.
fn some(images: &Images, most: usize, ctx: &Context, index: u64) -> Result<Images> {
    let mut rows = Stream::new(ctx.seed, Purpose::Comparison, index).permutation(images.len());
    rows.truncate(most);
    Ok(images.select(&rows)?)
}

impl Resemblance {
    fn of(real: &Tensor, images: &Tensor, ctx: &Context) -> Result<Self> {
        let watch = ctx.watch();
        Ok(Self {
            images: images.size()[0],
            real_images: real.size()[0],
            frechet_distance: evaluate::frechet_distance(real, images, &watch)?,
            neighbours: evaluate::neighbours(real, images, NEIGHBOURS, &watch)?,
        })
    }
}

impl Fidelity {
    /// Measures it; nothing for sets that are too small.
    ///
    /// # Errors
    /// A stop.
    pub(super) fn measure(
        judges: &Judges<'_>,
        release: &Records,
        controlled: &[Judged],
        ctx: &Context,
    ) -> Result<Option<Self>> {
        let least = 2 * (NEIGHBOURS as usize + 1).max(SPLITS as usize);
        if release.len() < least || judges.test.len() < 2 * least {
            return Ok(None);
        }
        let space = Space::new(judges, controlled)?;
        let progress = ctx.progress();
        progress.start("part of the comparison", 3);
        let images = some(&release.images, ROWS, ctx, 5)?;
        let features = space.features(&images)?;
        let test = space.features(&some(&judges.test.images, ROWS, ctx, 6)?)?;
        progress.advance(1, "");
        let watch = ctx.watch();
        let said = answers(&*space.network, judges.normalisation, &images, 1.0, &watch)?;
        let inception_score = evaluate::inception_score(&said.soft.tensor()?, SPLITS)?;
        let beside_test = Resemblance::of(&test, &features, ctx)?;
        progress.advance(1, "");
        let order = Stream::new(ctx.seed, Purpose::Comparison, 7).permutation(test.size()[0] as usize);
        let (a, b) = order.split_at(order.len() / 2);
        let rows = |rows: &[i64]| test.index_select(0, &tensor::from_i64(rows));
        let test_halves = Resemblance::of(&rows(a), &rows(b), ctx)?;
        progress.finish();
        Ok(Some(Self { feature_space: space.name, beside_test, test_halves, inception_score }))
    }
}

impl Private {
    /// Measures it.
    ///
    /// # Errors
    /// Too few images, a stop.
    pub(super) fn measure(
        judges: &Judges<'_>,
        release: &Records,
        private: &Records,
        controlled: &[Judged],
        ctx: &Context,
    ) -> Result<Self> {
        let space = Space::new(judges, controlled)?;
        let progress = ctx.progress();
        progress.start("image beside private ones", release.len().min(ROWS) as u64);
        let features = space.features(&some(&release.images, ROWS, ctx, 5)?)?;
        let real = space.features(&some(&private.images, ROWS, ctx, 8)?)?;
        let found = Self {
            formal_guarantee: "none: every figure of this part is a function of private images",
            resemblance: Resemblance::of(&real, &features, ctx)?,
            copies: evaluate::copies_of(
                &release.images,
                &private.images,
                judges.args.near,
                ctx.seed,
                progress,
            )?,
        };
        progress.finish();
        Ok(found)
    }
}
