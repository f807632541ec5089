//! What all parts read, made once by the programs themselves.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{POOL_SEED, write};
use crate::context::{self, Context};
use crate::fetch::{create_dir, remove_dir};

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) quick: bool,
    pub(super) teachers: u32,
}

impl Sizes {
    pub(super) fn pool(self) -> u64 {
        if self.quick { 300 } else { 20_000 }
    }

    pub(super) fn small_pool(self) -> u64 {
        if self.quick { 100 } else { 1000 }
    }

    pub(super) fn steps() -> u64 {
        20
    }

    /// A network and the records of its private steps, on average.
    fn private(network: &str, batch: u64) -> Value {
        json!({ "network": network, "batch": batch, "learning_rate": 0.1, "clipping_norm": 1.0, "noise_multiplier": 1.1 })
    }

    pub(super) fn settings(self) -> Value {
        let quick = |quick: u64, full: u64| if self.quick { quick } else { full };
        json!({
            "pool_size": self.pool(),
            "seed": POOL_SEED,
            "batch_size": 128,
            "survivors": quick(150, 5000),
            "max_per_class": 500,
            "min_distance": 3.0,
            "mixing_ratio": 0.3,
            "noise_scale": 0.1,
            "steering": {
                "samples": quick(4, 100),
                "class": 3,
                "steps": Self::steps(),
                "learning_rate": 0.05,
                "noise_scale": 0.1,
                "exact_samples": 4,
            },
            "teacher": {
                "samples": 0, "epochs": quick(1, 20), "batch_size": 64, "learning_rate": 0.05, "momentum": 0.9,
                "weight_decay": 1e-4, "train_split": 1.0,
            },
            "student": {
                "samples": quick(200, 9000), "epochs": 1, "batch_size": 64, "learning_rate": 0.01, "momentum": 0.5,
                "weight_decay": 1e-4, "train_split": 0.8,
            },
            "decoder": {
                "latent_dim": 32, "epochs": quick(1, 3), "batch_size": 128, "learning_rate": 1e-3, "weight_decay": 1e-5,
            },
            "teacher_vaes": {
                "networks": 4, "latent_dim": 32, "epochs": quick(1, 20), "batch_size": 32, "learning_rate": 1e-3,
                "weight_decay": 1e-5,
            },
            "private": {
                "l1": Self::private("small-cnn", quick(64, 256)),
                "l2": Self::private("small-cnn", quick(128, 2048)),
                "l3": Self::private("ucstub", quick(32, 256)),
                "l4": Self::private("gn-resnet", quick(32, 256)),
            },
            "accounting": {
                "q": 256.0 / 60_000.0, "delta": 1e-5, "sigma": 1.1, "steps": quick(1000, 30_000),
                "epsilon": 1.0, "calibration_steps": 3516, "tolerance": 1e-5,
            },
        })
    }
}

/// Which files the inputs are: one more with every change of them.
const FILES: u32 = 2;

/// The folder of inputs, relative to the checkout.
pub(super) fn dir(sizes: Sizes) -> &'static str {
    if sizes.quick { "runs/bench/quick" } else { "runs/bench/full" }
}

/// Makes the inputs, where an earlier run of the same settings has not left them.
pub(super) fn make(ctx: &Context, sizes: Sizes, threads: u16) -> Result<PathBuf> {
    let folder = ctx.root().join(dir(sizes));
    // Names the folder as complete: written last.
    let mark = folder.join("complete.json");
    let wanted =
        json!({ "settings": sizes.settings(), "teachers": sizes.teachers, "files": FILES }).to_string();
    let settings = serde_json::to_vec_pretty(&sizes.settings())?;
    if std::fs::read_to_string(&mark).is_ok_and(|found| found == wanted) {
        eprintln!("inputs: those of an earlier run, in {}", dir(sizes));
        return Ok(folder);
    }
    remove_dir(&folder)?;
    create_dir(&folder)?;
    write(&folder.join("settings.json"), &settings)?;
    let (dir, pool, teachers) = (dir(sizes), sizes.pool(), sizes.teachers);
    let (teacher_epochs, decoder_epochs) = if sizes.quick { (3, 2) } else { (20, 40) };
    for line in [
        format!(
            "prepare-shards --mnist-dir data/mnist-subset --shard-indices data/shard_indices.json --num-teachers {teachers} --out-dir {dir}/shards"
        ),
        format!(
            "train-teachers --data-dir data/mnist-subset --shard-indices data/shard_indices.json --num-models {teachers} --epochs {teacher_epochs} --lr 0.05 --momentum 0.9 --skip-test --output-dir {dir}/nets"
        ),
        format!(
            "pretrain-decoder --dataset digits --epochs {decoder_epochs} --batch-size 32 --lr 0.002 --out-dir {dir}/decoder"
        ),
        format!(
            "generate-candidates --decoder-path {dir}/decoder/decoder.pth --pool-size {pool} --rng torch --seed {POOL_SEED} --out {dir}/pool.pt"
        ),
    ] {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let threads = threads.to_string();
        let mut command = ctx.program(program(ctx, name));
        context::run(command.args(words).args(["--device", "cpu", "--threads", &threads]))?;
    }
    context::run(ctx.program(program(ctx, "pate-bench")).args(["inputs", "--inputs", dir]))?;
    write(&mark, wanted.as_bytes())?;
    Ok(folder)
}

/// A program of this workspace.
pub(super) fn program(ctx: &Context, name: &str) -> PathBuf {
    ctx.release_dir().join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// Which kind of batch step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// 20,000 candidates with the default configuration.
    Default,
    /// 1,000 candidates, 36 selected, all classes steered up to the default minimum.
    NineK,
    /// The same with early stopping and starts from the pool.
    NineKEarly,
}

/// Confidence at which a steered sample is done, in [`Job::NineKEarly`].
const STOP_CONFIDENCE: f64 = 0.9;

/// Adam's rate there: latents that stop in time may take large steps.
const EARLY_RATE: f64 = 0.2;

impl Job {
    /// The configuration, out of the repository's presets.
    pub(super) fn config(self, ctx: &Context, sizes: Sizes) -> Result<Value> {
        let default = read_json(&ctx.root().join("config/synthetic_generation.json"))?;
        let mut config = match self {
            Self::Default => default.clone(),
            Self::NineK | Self::NineKEarly => {
                let mut config = read_json(&ctx.root().join("config/nine_k.json"))?;
                // The original's job steers, with the default settings.
                config["latent_steering"] = default["latent_steering"].clone();
                config["filtering"]["min_per_class"] = default["filtering"]["min_per_class"].clone();
                config["filtering"]["max_per_class"] = default["filtering"]["max_per_class"].clone();
                config
            }
        };
        if self == Self::NineKEarly {
            config["latent_steering"]["stop_confidence"] = json!(STOP_CONFIDENCE);
            config["latent_steering"]["learning_rate"] = json!(EARLY_RATE);
            config["latent_steering"]["starts"] = json!("pool");
        }
        if sizes.quick {
            // Few to steer: the original takes a tenth of a second for each.
            config["filtering"]["min_per_class"] = json!(2);
            config["filtering"]["max_per_class"] = json!(20);
        }
        if let Some(config) = config.as_object_mut() {
            config.remove("$schema");
        }
        Ok(config)
    }

    pub(super) fn pool_size(self, sizes: Sizes) -> u64 {
        if self == Self::Default { sizes.pool() } else { sizes.small_pool() }
    }

    /// Samples to select; none: no limit, and the quota applies.
    pub(super) fn target(self) -> Option<u64> {
        (self != Self::Default).then_some(36)
    }

    /// Why it cannot run.
    pub(super) fn missing(self, ctx: &Context) -> Result<Option<String>> {
        if self != Self::NineKEarly {
            return Ok(None);
        }
        let schema = read_json(&ctx.root().join("config/synthetic_generation.schema.json"))?;
        let known = &schema["properties"]["latent_steering"]["properties"];
        let unknown: Vec<&str> =
            ["stop_confidence", "starts"].into_iter().filter(|key| known[*key].is_null()).collect();
        Ok((!unknown.is_empty())
            .then(|| format!("the configuration does not know latent_steering.{}", unknown.join(" and ."))))
    }
}

fn read_json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
}
