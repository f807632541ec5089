//! The commands of the README and of the book: each is understood, both shells' say the same, and
//! those of the walks run, one after the other, on small data.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Command;
use testing::{SIDE, Work, idx, none_of};

/// A fenced block of a page.
struct Block {
    /// File and line, for messages.
    place: String,
    shell: Shell,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shell {
    Posix,
    Power,
}

/// The checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The README and the pages of the book, by their path in the checkout.
fn pages() -> BTreeMap<String, String> {
    let mut pages = BTreeMap::new();
    let mut left = vec![root().join("README.md"), root().join("docs/src")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|ending| ending == "md") {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
            pages.insert(name, std::fs::read_to_string(&path).unwrap());
        }
    }
    pages
}

/// The blocks of a page that a shell is given.
fn blocks(name: &str, page: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut open: Option<Option<Shell>> = None;
    for (index, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), open) {
            (Some(_), Some(_)) => open = None,
            (Some(language), None) => {
                let shell = match language {
                    "sh" => Some(Shell::Posix),
                    "powershell" => Some(Shell::Power),
                    _ => None,
                };
                open = Some(shell);
                if let Some(shell) = shell {
                    let place = format!("{name}:{}", index + 1);
                    found.push(Block { place, shell, text: String::new() });
                }
            }
            (None, Some(Some(_))) => {
                let block = found.last_mut().unwrap();
                block.text += line;
                block.text.push('\n');
            }
            (None, _) => {}
        }
    }
    found
}

impl Block {
    /// The command lines, each as its words, in the notation of sh; variables of loops are 0.
    fn commands(&self) -> Vec<Vec<String>> {
        let continued = match self.shell {
            Shell::Posix => "\\\n",
            Shell::Power => "`\n",
        };
        let text = self.text.replace(continued, " ");
        let lines = text.lines().map(|line| line.split_once("    # ").map_or(line, |(line, _)| line));
        let commands = lines.flat_map(|line| line.split(" && ")).map(|line| match self.shell {
            Shell::Posix => line.replace("$i", "0"),
            Shell::Power => line.replace('\\', "/").replace("$i", "0"),
        });
        let commands = commands.map(|line| {
            let line = line.trim().trim_start_matches("./").trim_start_matches("target/release/");
            words(line)
        });
        commands.filter(|words| words.first().is_some_and(|word| !word.starts_with('#'))).collect()
    }
}

/// The words of a line; double quotes keep one together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('"').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// Every program, by its name.
fn programs() -> BTreeMap<String, Command> {
    let steps = pate_cli::STEPS.iter().map(|entry| (entry.command)());
    steps.chain(tools::commands()).map(|command| (command.get_name().to_owned(), command)).collect()
}

#[test]
fn every_command_is_understood() {
    let programs = programs();
    let mut understood = 0;
    let mut problems = Vec::new();
    for (name, page) in pages() {
        for block in blocks(&name, &page) {
            for words in block.commands() {
                let Some(program) = programs.get(&words[0]) else { continue };
                if words.iter().any(|word| word == "--completions") {
                    continue;
                }
                understood += 1;
                if let Err(error) = program.clone().try_get_matches_from(&words) {
                    problems.push(Err(format!("{}: {}: {error}", block.place, words.join(" "))));
                }
            }
        }
    }
    none_of(problems.into_iter());
    assert!(understood > 60, "{understood} commands were found");
}

#[test]
fn both_shells_are_told_the_same() {
    let mut pairs = 0;
    for (name, page) in pages() {
        let known = programs();
        let ours = |block: &Block| -> Vec<Vec<String>> {
            block.commands().into_iter().filter(|words| known.contains_key(&words[0])).collect()
        };
        let blocks = blocks(&name, &page);
        for pair in
            blocks.windows(2).filter(|pair| [Shell::Power, Shell::Posix] == [pair[0].shell, pair[1].shell])
        {
            if pair[0].text.contains("--completions") {
                continue;
            }
            assert_eq!(ours(&pair[0]), ours(&pair[1]), "{}, {}", pair[0].place, pair[1].place);
            pairs += 1;
        }
    }
    assert!(pairs >= 2, "{pairs}");
}

/// What makes a walk small: words of the pages, and what is run instead.
const SMALLER: &[(&str, &str)] = &[
    ("--num-teachers 250", "--num-teachers 2"),
    ("--num-models 250", "--num-models 2"),
    ("--epochs 20", "--epochs 1"),
    ("--epochs 50", "--epochs 1"),
    ("--epochs 100", "--epochs 1"),
    ("--percentage 0.1", "--percentage 0.9"),
    ("--pool-size 20000", "--pool-size 300"),
    ("--pool-size 5000", "--pool-size 300"),
];

/// Networks that learn for an epoch know nothing, so that thresholds are low.
const CONFIG: &str = r#"{"decoder": {"pretrain_epochs": 1, "batch_size": 256}, "student": {"epochs": 1}, "generation": {"pool_size": 300},
    "filtering": {"confidence_threshold": 0.05, "rare_class_threshold": 0.05, "min_memorization_distance": 0.5,
    "min_diversity_distance": 0.2, "min_per_class": 3, "max_per_class": 6}, "latent_steering": {"steps": 3}}"#;

/// A folder as the walks find it: data sets, small ones, and the configuration.
fn checkout() -> Work {
    let work = Work::new();
    work.mnist("datasets", 60, 20);
    let letters: Vec<u8> = (0..64 * SIDE * SIDE).map(|at| (at % 251) as u8).collect();
    let labels: Vec<u8> = (0..64).map(|i| i % 47).collect();
    let emnist = "datasets/EMNIST/raw/emnist-balanced-train";
    work.put(&format!("{emnist}-images-idx3-ubyte"), idx(&[64, SIDE, SIDE], &letters));
    work.put(&format!("{emnist}-labels-idx1-ubyte"), idx(&[64], &labels));
    for preset in ["synthetic_generation", "best", "public_control"] {
        work.put(&format!("config/{preset}.json"), CONFIG);
    }
    work
}

/// Runs the sh blocks of a page in the folder, and says how many commands of ours they had.
fn walk(work: &Work, name: &str, page: &str) -> usize {
    let known = programs();
    let mut ran = 0;
    for block in blocks(name, page).iter().filter(|block| block.shell == Shell::Posix) {
        for words in block.commands().into_iter().filter(|words| known.contains_key(&words[0])) {
            if words.iter().any(|word| word == "--completions") || words[0] == "privacy-budget" {
                continue;
            }
            let line = SMALLER.iter().fold(words[1..].join("\n") + "\n", |line, (a, b)| {
                line.replace(&format!("{a} ").replace(' ', "\n"), &format!("{b} ").replace(' ', "\n"))
            });
            // It would train the network that it takes features from: a minute.
            let features = if words[0] == "compare-approaches" {
                "--feature-model trained_nets_gpu/0/model.pth"
            } else {
                ""
            };
            let mut command =
                work.command(&words[0], &format!("--quiet --device cpu --threads 1 {features}"));
            let output = command.args(line.lines()).output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {}: {stderr}", block.place, words.join(" "));
            ran += 1;
        }
    }
    ran
}

#[test]
fn the_pipeline_runs_as_the_book_says_and_so_does_the_variant() {
    let pages = pages();
    let work = checkout();
    let page = |name: &str| pages[name].as_str();
    assert!(walk(&work, "docs/src/pipeline.md", page("docs/src/pipeline.md")) >= 10);
    assert!(work.path("teachers/teacher_0/evaluation_report.json").is_file());
    // What `compare-approaches` of the next page compares.
    work.run_quiet(
        "batch-label-filter",
        "--generate-candidates-per-teacher --discard-candidates --decoder-path pretrained_decoder/decoder.pth \
         --teachers-dir trained_nets_gpu --teacher-shard-base shards --shard-metadata-base shards \
         --output-dir public_run/teachers --pool-size 300",
    )
    .ok();
    assert_eq!(walk(&work, "docs/src/teacher-vae.md", page("docs/src/teacher-vae.md")), 3);
}

#[test]
fn teachers_of_ones_own_run_as_the_readme_says() {
    let work = checkout();
    work.run_quiet("prepare-shards", "--mnist-dir datasets --num-teachers 2 --out-dir shards").ok();
    let nets = "--data-dir datasets --num-models 2 --epochs 1 --shard-indices shards/shard_indices.json --output-dir nets";
    work.run_quiet("train-teachers", nets).ok();
    assert!(walk(&work, "README.md", &pages()["README.md"]) >= 5);
    assert!(work.path("student/evaluation_report.json").is_file());
}
