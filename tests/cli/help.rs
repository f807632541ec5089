//! What `--help` says: the same text as the committed snapshots, and rules that all texts keep.
//!
//! After a wanted change: `INSTA_UPDATE=always cargo test --release -p pate-cli --test cli help`,
//! and read the difference.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::steps;
use testing::Work;

/// The texts, by binary; that the programs print these is a test of its own.
static HELP: LazyLock<BTreeMap<&str, String>> = LazyLock::new(|| {
    let texts = pate_cli::STEPS.iter().map(|entry| {
        let asked = (entry.command)().try_get_matches_from([&entry.name(), "--help"]);
        asked.expect_err("help is printed in place of matches").render().to_string()
    });
    steps().iter().copied().zip(texts).collect()
});

fn help(binary: &str) -> &'static str {
    &HELP[binary]
}

#[test]
fn texts_are_those_of_the_snapshots() {
    insta::with_settings!({
        snapshot_path => "snapshots",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        for &binary in steps() {
            insta::assert_snapshot!(binary, help(binary));
        }
    });
}

/// An option as its help shows it.
struct Entry {
    heading: String,
    flags: String,
    text: String,
}

/// Options between the usage and the examples.
fn entries(help: &str) -> Vec<Entry> {
    let mut heading = String::new();
    let mut all: Vec<Entry> = Vec::new();
    let (options, _) = help.split_once("\nExamples:\n").unwrap_or((help, ""));
    let (_, options) = options.split_once("\nUsage:").unwrap_or(("", options));
    for line in options.lines() {
        if let Some(title) = line.strip_suffix(':').filter(|_| !line.starts_with(' ')) {
            title.clone_into(&mut heading);
        } else if line.trim_start().starts_with('-') && !line.starts_with("          ") {
            // Where every text is short, it stands on the line of its option.
            let (flags, text) = line.trim().split_once("  ").unwrap_or((line.trim(), ""));
            let (flags, text) = (flags.to_owned(), format!("{} ", text.trim()));
            all.push(Entry { heading: heading.clone(), flags, text });
        } else if let Some(entry) = all.last_mut() {
            entry.text.push_str(line.trim());
            entry.text.push(' ');
        }
    }
    all
}

#[test]
fn every_text_keeps_the_rules() {
    for entry in pate_cli::STEPS {
        let command = (entry.command)();
        let binary = command.get_name();
        let help = help(binary);
        let (before, examples) = help.split_once("\nExamples:\n").unwrap_or_else(|| panic!("{binary}"));
        assert!(before.contains(&format!("\nUsage: {binary} ")), "{binary}: its usage names it");
        assert!(
            examples.lines().next().is_some_and(|l| l.starts_with(&format!("  {binary} --"))),
            "{binary}"
        );
        assert!(examples.contains("Exit codes: 0 done,"), "{binary}");
        assert!(
            help.lines().all(|line| line.chars().count() <= 100),
            "{binary}: no line is wider than asked for"
        );

        let entries = entries(help);
        assert!(entries.len() > 8, "{binary}: {} options", entries.len());
        for heading in ["Options", "Output", "Run"] {
            assert!(entries.iter().any(|e| e.heading == heading), "{binary} has no options under {heading}:");
        }
        for Entry { heading, flags, text } in &entries {
            let flag = flags.split([' ', ',']).find(|word| word.starts_with("--")).unwrap_or(flags);
            let what = format!("{binary} {flag}");
            assert!(!text.trim().is_empty(), "{what} says nothing");
            assert_eq!(
                heading == "Options",
                matches!(flag, "--help" | "--version"),
                "{what} is under {heading}:"
            );
            let argument =
                command.get_arguments().find(|argument| argument.get_long() == flag.strip_prefix("--"));
            let takes_value = argument.is_some_and(pate_cli::run::takes_value);
            if !takes_value {
                assert!(!flags.contains('<'), "{what} takes no value, but shows one: {flags}");
                continue;
            }
            // A metavariable in capitals, not clap's guess from the field's name.
            let value =
                flags.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(name, _)| name);
            let value = value.unwrap_or_else(|| panic!("{what} shows no value: {flags}"));
            assert!(value.chars().all(|c| c.is_ascii_uppercase() || c == '='), "{what} shows <{value}>");
            let has_default = text.contains("[default: ");
            let required = argument.is_some_and(clap::Arg::is_required_set);
            let bare = required || flag == "--completions";
            assert_eq!(has_default, !bare, "{what}, required: {required}: {text}");
            assert_eq!(text.matches("[default: ").count(), usize::from(has_default), "{what}: {text}");
        }
    }
}

/// Each program is the step of its name, and nothing stands beside its help.
#[test]
fn every_program_prints_the_help_of_its_step() {
    let work = Work::new();
    for &binary in steps() {
        let run = work.run_bare(binary, "--help").ok();
        assert_eq!(run.stderr, "");
        // Windows names the program with its extension.
        assert_eq!(run.stdout.replace(".exe", ""), help(binary));
    }
    let version = work.run_bare("combine", "--version").ok().stdout;
    assert_eq!(version.trim_end(), format!("combine {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_short_help_has_examples_too() {
    for entry in pate_cli::STEPS {
        let short = (entry.command)().render_help().to_string();
        assert!(short.contains("Examples:") && short.contains("--seed <N>"), "{}: {short}", entry.name());
    }
}

const SHELLS: [&str; 5] = ["bash", "zsh", "fish", "powershell", "elvish"];

/// What makes them is the same for every program.
#[test]
fn completions_are_there_for_every_shell_and_need_no_other_flag() {
    let work = Work::new();
    for (shell, binary) in SHELLS.into_iter().zip(steps().iter().rev()) {
        let run = work.run_bare(binary, &format!("--completions {shell}")).ok();
        assert_eq!(run.stderr, "", "{binary} {shell}");
        // fish writes a long flag without its dashes.
        let flag = if shell == "fish" { "-l threads" } else { "--threads" };
        assert!(run.stdout.contains(flag) && run.stdout.contains(binary), "{shell}: {}", run.stdout);
    }
    work.run_bare("combine", "--completions tcsh").ends_with(2);
}

#[test]
fn defaults_are_those_of_the_step() {
    for (binary, flag, default) in [
        ("generate-candidates", "--seed", "[default: 123]"),
        ("label-filter", "--seed", "[default: 123]"),
        ("batch-label-filter", "--seed", "[default: 123]"),
        ("pretrain-decoder", "--seed", "[default: 42]"),
        ("pretrain-decoder", "--epochs", "[default: 50, or decoder.pretrain_epochs]"),
        ("train-teacher-vae", "--epochs", "[default: 100, or teacher_vae.epochs]"),
        ("train-student", "--epochs", "[default: 20, or student.epochs]"),
        ("train-teachers", "--epochs", "[default: 10, or teachers.epochs]"),
    ] {
        let entries = entries(help(binary));
        let entry = entries.iter().find(|e| e.flags.starts_with(&format!("{flag} "))).unwrap();
        assert!(entry.text.contains(default), "{binary} {flag}: {}", entry.text);
    }
}

#[test]
fn every_binary_is_a_step_of_the_list() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()
    };
    let mut binaries: Vec<String> = std::fs::read_dir(folder).unwrap().map(name).collect();
    binaries.sort();
    let mut listed: Vec<&str> = steps().to_vec();
    listed.sort_unstable();
    assert_eq!(binaries, listed);
}
