//! Writes what the book has of the programs: a page for each, their table, and the table of configuration keys.
//!
//! `cargo xtask generate` runs it, with the folder of the book's sources as its argument.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use artifact::{Access, write_bytes};
use clap::{Arg, Command};
use pate_core::config::{Config, KEYS};

fn main() -> Result<()> {
    let to = PathBuf::from(std::env::args_os().nth(1).context("give the folder for the pages")?);
    let steps = pate_cli::STEPS.iter().map(|entry| (entry.command)());
    let commands: Vec<Command> = steps.chain(tools::commands()).collect();
    let mut table = "| program | what it does |\n|---|---|\n".to_owned();
    for command in &commands {
        let name = command.get_name();
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(table, "| [`{name}`](programs/{name}.md) | {about} |");
        put(&to.join("programs").join(format!("{name}.md")), &page(command))?;
    }
    put(&to.join("programs/table.md"), &table)?;
    put(&to.join("programs/keys.md"), &keys())
}

fn put(path: &Path, text: &str) -> Result<()> {
    write_bytes(path, Access::Public, text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// A program's page: what it is, its options by theme, its examples.
fn page(command: &Command) -> String {
    let mut text = format!("# {}\n\n", command.get_name());
    let about = command.get_long_about().or(command.get_about());
    let _ = writeln!(text, "{}\n", about.map(ToString::to_string).unwrap_or_default());
    options(command, &mut text);
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let about = sub.get_long_about().or(sub.get_about());
        let _ = writeln!(text, "## {} {}\n", command.get_name(), sub.get_name());
        let _ = writeln!(text, "{}\n", about.map(ToString::to_string).unwrap_or_default());
        options(sub, &mut text);
    }
    if let Some(after) = command.get_after_help() {
        let after = after.to_string();
        let examples = after.strip_prefix("Examples:\n").unwrap_or(&after);
        let (examples, codes) = examples.split_once("\n\n").unwrap_or((examples, ""));
        let _ = writeln!(text, "## Examples\n\n```sh");
        for line in examples.lines() {
            let _ = writeln!(text, "{}", line.strip_prefix("  ").unwrap_or(line));
        }
        let _ = writeln!(text, "```\n\n{codes}");
    }
    text.trim_end().to_owned() + "\n"
}

/// Options by their help headings, in the order of the help.
fn options(command: &Command, text: &mut String) {
    let mut headings: Vec<&str> = Vec::new();
    let shown = |arg: &&Arg| !arg.is_hide_set();
    for arg in command.get_arguments().filter(shown) {
        let heading = arg.get_help_heading().unwrap_or("Options");
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    for heading in headings {
        let _ = writeln!(text, "## {heading}\n");
        let own = command.get_arguments().filter(shown);
        for arg in own.filter(|arg| arg.get_help_heading().unwrap_or("Options") == heading) {
            let _ = writeln!(text, "{}", option(arg));
        }
        text.push('\n');
    }
}

fn option(arg: &Arg) -> String {
    let values = arg.get_value_names().unwrap_or_default().iter().map(|name| format!(" <{name}>"));
    let values = if pate_cli::run::takes_value(arg) { values.collect() } else { String::new() };
    let name = match (arg.get_long(), arg.get_short()) {
        (Some(long), Some(short)) => format!("-{short}, --{long}{values}"),
        (Some(long), None) => format!("--{long}{values}"),
        _ => format!("<{}>", arg.get_id().as_str().to_uppercase()),
    };
    let mut help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if !defaults.is_empty() && !help.contains("[default: ") && pate_cli::run::takes_value(arg) {
        let _ = write!(help, " [default: {}]", defaults.join(" "));
    }
    let possible: Vec<_> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if !possible.is_empty() && !arg.is_hide_possible_values_set() && pate_cli::run::takes_value(arg) {
        let _ = write!(help, " [possible values: {}]", possible.join(", "));
    }
    format!("- `{name}`: {}", escaped(&help.replace('\n', " ")))
}

/// Angle brackets would be tags.
fn escaped(text: &str) -> String {
    text.replace('<', "&lt;").replace('>', "&gt;")
}

/// Every key of the configuration.
fn keys() -> String {
    let built_in = serde_json::to_value(Config::default()).unwrap_or_default();
    let mut text = "| key | other name | values | default | what it does |\n|---|---|---|---|---|\n".to_owned();
    for key in KEYS {
        let alias = key.alias.map_or_else(String::new, |alias| format!("`{alias}`"));
        let (section, name) = (key.section, key.name);
        let values = escaped(&key.kind.to_string()).replace('|', "\\|");
        let default = &built_in[section][name];
        let _ = writeln!(text, "| `{section}.{name}` | {alias} | {values} | `{default}` | {} |", key.doc);
    }
    text
}
