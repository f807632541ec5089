//! A step's help, with its defaults in place.

use std::fmt::Write as _;

use clap::{Arg, Command};
use pate_core::config::Config;
use serde_json::Value;

use super::Step;

/// The step's command, with its built-in default in the help of every flag.
pub(crate) fn command<S: Step>() -> Command {
    let seed = S::DEFAULT_SEED.to_string();
    let seed = [("seed", seed.as_str())];
    let built_in = serde_json::to_value(Config::default()).unwrap_or_default();
    S::command().mut_args(|arg| {
        let id = arg.get_id().as_str().to_owned();
        let Some(mut help) = arg.get_help().map(ToString::to_string) else { return arg };
        if let Some((_, key)) = S::KEYS.iter().find(|(flag, _)| *flag == id) {
            let _ = write!(help, " [config: {key}]");
        }
        let own = S::DEFAULTS.iter().chain(&seed).find(|(flag, _)| *flag == id);
        if let Some((_, default)) = own {
            let _ = write!(help, " [default: {default}]");
        }
        let mut help = with_built_in(&help, &built_in);
        let says =
            help.contains("[default: ") || arg.is_required_set() || !arg.get_default_values().is_empty();
        if takes_value(&arg) && !says && id != "completions" {
            help.push_str(" [default: none]");
        }
        arg.help(help)
    })
}

/// Whether an argument takes a value, or may; before its command is built, clap knows it of neither
/// alone.
pub fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values() || arg.get_num_args().is_some_and(|n| n.takes_values())
}

/// Puts the built-in value of a key in place of `[config: section.key]`.
fn with_built_in(help: &str, built_in: &Value) -> String {
    let found = || {
        let (before, rest) = help.split_once("[config: ")?;
        let (key, after) = rest.split_once(']')?;
        let (section, name) = key.split_once('.')?;
        let value = match built_in.get(section)?.get(name)? {
            Value::Null => "none".to_owned(),
            Value::String(word) => word.clone(),
            Value::Number(number) => number.as_f64()?.to_string(),
            other => other.to_string(),
        };
        Some(format!("{before}[default: {value}, or {key}]{after}"))
    };
    found().unwrap_or_else(|| help.to_owned())
}
