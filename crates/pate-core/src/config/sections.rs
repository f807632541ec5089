//! Every key of the configuration, declared once: name, other spelling, type, default, values, and
//! what it does.

use serde::{Deserialize, Serialize};

use super::schema::{Key, Kind};
use super::words::{AugmentationKind, OptimizerKind, ScheduleKind, StartKind};

/// `name | "other spelling": type = default, values;`
macro_rules! sections {
    ($(
        $(#[doc = $about:literal])+
        $section:ident: $type:ident {$(
            $(#[doc = $doc:literal])+
            $key:ident $(| $alias:literal)?: $value:ty = $default:expr, $kind:expr;
        )+}
    )+) => {
        /// All settings, with the built-in defaults where the file says nothing.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Config {
            $( $(#[doc = $about])+ pub $section: $type, )+
        }

        $(
            $(#[doc = $about])+
            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
            #[serde(default)]
            pub struct $type {
                $( $(#[doc = $doc])+ pub $key: $value, )+
            }

            impl Default for $type {
                fn default() -> Self {
                    Self { $( $key: $default, )+ }
                }
            }
        )+

        /// Every key, by section.
        pub const KEYS: &[Key] = &[$($(
            Key {
                section: stringify!($section),
                name: stringify!($key),
                alias: [$(Some($alias),)? None][0],
                kind: $kind,
                doc: concat!($($doc),+).trim_ascii_start(),
            },
        )+)+];
    };
}

const MANY: u64 = 1_000_000_000;
const STRENGTH: Kind = Kind::Number(0.0, 4.0);

sections! {
    /// Pretraining of the public decoder.
    decoder: DecoderConfig {
        /// Number of latents of the decoder.
        latent_dim: i64 = 32, Kind::Count(1, 4096);
        /// Epochs of pretraining.
        pretrain_epochs: usize = 50, Kind::Count(1, 1_000_000);
        /// Images per step.
        batch_size: usize = 128, Kind::Count(1, 1_000_000);
        /// Adam's learning rate.
        learning_rate: f64 = 1e-3, Kind::Positive;
        /// L2 regularisation in the gradient.
        weight_decay: f64 = 1e-5, Kind::Number(0.0, 1.0);
        /// Epochs over which the KL term's weight rises to 1; 0 = 1 from the start.
        kl_annealing_epochs: usize = 10, Kind::Count(0, 1_000_000);
        /// Weight of the KL term once it has risen.
        kl_weight: f64 = 1.0, Kind::Number(0.0, 100.0);
        /// Changes to the public images, drawn anew in every epoch.
        augmentation: AugmentationKind = AugmentationKind::Basic, Kind::of::<AugmentationKind>();
        /// Factor of all ranges of warp and handwriting.
        augmentation_strength: f64 = 1.0, STRENGTH;
    }
    /// Pools of candidates.
    generation: GenerationConfig {
        /// Candidates in a pool.
        pool_size: usize = 20_000, Kind::Count(1, MANY);
        /// Number of latents; must be the decoder's.
        latent_dim: Option<i64> = None, Kind::LatentDim;
        /// Fraction of a batch that mixes two latents.
        latent_mixing_ratio: f64 = 0.3, Kind::Number(0.0, 1.0);
        /// Standard deviation of the noise on latents.
        latent_noise_scale: f64 = 0.1, Kind::Number(0.0, 100.0);
        /// Make further pools until every class has its minimum (with pools per teacher).
        generate_until_target_per_class: bool = false, Kind::Flag;
        /// Maximum number of pools for one teacher.
        max_pools: usize = 5, Kind::Count(1, 1000);
        /// So many teachers with neighbouring ids label the same pool.
        teachers_per_pool: u64 = 1, Kind::Count(1, 1_000_000);
        /// Changes to decoded candidates before anybody labels them.
        augmentation: AugmentationKind = AugmentationKind::None, Kind::of::<AugmentationKind>();
        /// Factor of all ranges of warp and handwriting.
        augmentation_strength: f64 = 1.0, STRENGTH;
    }
    /// Filters.
    filtering: FilteringConfig {
        /// Least confidence of a candidate.
        confidence_threshold | "default_confidence_threshold": f64 = 0.9, Kind::Number(0.0, 1.0);
        /// Least confidence in a rare class, where lower.
        rare_class_threshold: f64 = 0.7, Kind::Number(0.0, 1.0);
        /// The rare classes.
        rare_classes: Vec<i64> = vec![1, 8], Kind::Classes;
        /// Least Euclidean distance to the nearest private image.
        min_nn_distance | "min_memorization_distance": Option<f64> = Some(2.0), Kind::DistanceOrNone;
        /// Least Euclidean distance between two samples.
        min_diversity_distance | "diversity_threshold": Option<f64> = Some(3.0), Kind::DistanceOrNone;
        /// Minimum samples per class, if that many are available.
        min_per_class: Option<u64> = Some(150), Kind::CountOrNone(MANY);
        /// Maximum samples per class.
        max_per_class: Option<u64> = Some(500), Kind::CountOrNone(MANY);
        /// By how much a class may miss its target, in per cent.
        quota_flexibility_percent: f64 = 10.0, Kind::Number(0.0, 100.0);
        /// Also write the teacher's probabilities of all classes, soft_labels.pt.
        save_soft_labels: bool = false, Kind::Flag;
    }
    /// Latent steering.
    latent_steering: SteeringConfig {
        /// Steer latents for classes below their minimum, where a decoder is given.
        enabled: bool = true, Kind::Flag;
        /// Adam steps.
        steps: usize = 20, Kind::Count(0, 100_000);
        /// Adam's learning rate.
        learning_rate: f64 = 0.05, Kind::Positive;
        /// Standard deviation of the noise after a step.
        noise_scale: f64 = 0.1, Kind::Number(0.0, 100.0);
        /// Number of latents; must be the decoder's.
        latent_dim: Option<i64> = None, Kind::LatentDim;
        /// false switches steering off like `enabled`.
        use_for_classes_below_quota: bool = true, Kind::Flag;
        /// A latent is done once the teacher is so sure of the class; null = all steps.
        stop_confidence: Option<f64> = None, Kind::FractionOrNone;
        /// Where latents start: at random, or at the latents of rejected candidates that the
        /// teacher finds most like the class (pools made in the same run).
        starts: StartKind = StartKind::Random, Kind::of::<StartKind>();
    }
    /// Targets of the verdict on a synthetic data set.
    evaluation: EvaluationConfig {
        /// Success: mean confidence at least.
        mean_confidence_target: f64 = 0.9, Kind::Number(0.0, 1.0);
        /// Success: diversity ratio at least.
        diversity_ratio_target: f64 = 0.75, Kind::Number(0.0, 100.0);
        /// Success: least distance to the shard at least.
        min_nn_distance_target: f64 = 1.0, Kind::Number(0.0, 1e6);
        /// Success: L1 distance of the class proportions below.
        histogram_l1_target: f64 = 0.2, Kind::Number(0.0, 2.0);
    }
    /// What networks see.
    preprocessing: PreprocessingConfig {
        /// Mean by channel.
        normalize_mean: Vec<f64> = vec![0.1307], Kind::Numbers;
        /// Standard deviation by channel.
        normalize_std: Vec<f64> = vec![0.3081], Kind::Numbers;
    }
    /// Training of students.
    student: StudentConfig {
        /// Epochs.
        epochs: usize = 20, Kind::Count(1, 1_000_000);
        /// Samples per step.
        batch_size: usize = 64, Kind::Count(1, 1_000_000);
        /// Learning rate of SGD.
        learning_rate: f64 = 0.01, Kind::Positive;
        /// Momentum of SGD.
        momentum: f64 = 0.5, Kind::Number(0.0, 1.0);
        /// L2 regularisation in the gradient.
        weight_decay: f64 = 1e-4, Kind::Number(0.0, 1.0);
        /// Share of the samples for training; the rest validates.
        train_split: f64 = 0.8, Kind::Number(0.0, 1.0);
        /// Changes to the training samples, drawn anew in every epoch.
        augmentation: AugmentationKind = AugmentationKind::None, Kind::of::<AugmentationKind>();
        /// Factor of all ranges of warp and handwriting.
        augmentation_strength: f64 = 1.0, STRENGTH;
        /// How the learning rate falls: not at all, or as half a cosine.
        lr_schedule: ScheduleKind = ScheduleKind::Constant, Kind::of::<ScheduleKind>();
        /// Share of the target that is spread evenly over all classes.
        label_smoothing: f64 = 0.0, Kind::Number(0.0, 0.99);
    }
    /// Training of teachers.
    teachers: TeachersConfig {
        /// Number of teachers.
        num_models: usize = 3, Kind::Count(1, 1_000_000);
        /// Epochs.
        epochs: usize = 10, Kind::Count(1, 1_000_000);
        /// Images per step.
        batch_size: usize = 64, Kind::Count(1, 1_000_000);
        /// Optimiser.
        optimizer: OptimizerKind = OptimizerKind::Sgd, Kind::of::<OptimizerKind>();
        /// Learning rate.
        lr: f64 = 0.01, Kind::Positive;
        /// Momentum of SGD.
        momentum: f64 = 0.5, Kind::Number(0.0, 1.0);
        /// L2 regularisation in the gradient.
        weight_decay: f64 = 1e-4, Kind::Number(0.0, 1.0);
        /// Epochs between two drops of the learning rate; 0 = never.
        lr_decay_epoch: usize = 20, Kind::Count(0, 1_000_000);
        /// Factor of a drop.
        lr_gamma: f64 = 0.1, Kind::Number(0.0, 1.0);
        /// Changes to a shard's images, drawn anew in every epoch.
        augmentation: AugmentationKind = AugmentationKind::None, Kind::of::<AugmentationKind>();
        /// Factor of all ranges of warp and handwriting.
        augmentation_strength: f64 = 1.0, STRENGTH;
        /// How the learning rate falls: by lr_decay_epoch and lr_gamma alone, or as half a cosine.
        lr_schedule: ScheduleKind = ScheduleKind::Constant, Kind::of::<ScheduleKind>();
    }
    /// Training of one VAE per teacher.
    teacher_vae: TeacherVaeConfig {
        /// Number of latents.
        latent_dim: i64 = 32, Kind::Count(1, 4096);
        /// Epochs.
        epochs: usize = 100, Kind::Count(1, 1_000_000);
        /// Images per step, at most the shard.
        batch_size: usize = 32, Kind::Count(1, 1_000_000);
        /// Adam's learning rate.
        lr: f64 = 1e-3, Kind::Positive;
        /// L2 regularisation in the gradient.
        weight_decay: f64 = 1e-5, Kind::Number(0.0, 1.0);
        /// Epochs over which the KL term's weight rises to 1.
        kl_annealing_epochs: usize = 20, Kind::Count(0, 1_000_000);
    }
}
