//! The order of the rooms: a module uses its own room and those below it, and no method or family
//! of steps uses another.

/// The rooms of `pate-core`, from the ground up. The methods come last.
const CORE: [&str; 9] = ["error", "base", "config", "data", "nn", "models", "evaluate", "train", "dp"];

/// Methods, which never use each other.
const METHODS: [&str; 5] = ["pate", "imgsyn", "dpmi", "feta", "audit"];

/// The rooms of `pate-cli`, from the ground up.
pub(crate) const CLI: [&str; 6] = ["run", "args", "settings", "files", "resume", "steps"];

/// Rooms of `pate-cli` that know the command line.
const CLAP: [&str; 3] = ["run", "args", "steps"];

/// The rooms of `pate-core`, from the ground up.
pub(crate) fn core() -> Vec<&'static str> {
    CORE.into_iter().chain(METHODS).collect()
}

/// What a source file of these two crates, or of `tools`, imports against the order.
pub(crate) fn breaches(name: &str, text: &str) -> Vec<String> {
    let (code, _) = text.split_once("#[cfg(test)]").unwrap_or((text, ""));
    let lines = || code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    let inside = |folder: &str| name.strip_prefix(folder).and_then(|rest| rest.strip_prefix("/src/"));
    let mut found = Vec::new();
    if let Some(rest) = inside("crates/pate-core") {
        let own = room(rest);
        for (line, other) in imports(lines(), "crate::") {
            if !core_may(own, other) {
                found.push(format!(
                    "{name}:{line}: {own} is below {other}, or beside it, and must not use it"
                ));
            }
        }
    }
    if let Some(rest) = inside("crates/pate-cli") {
        let own = room(rest);
        let height = |room: &str| CLI.iter().position(|known| *known == room);
        for (line, other) in imports(lines(), "crate::") {
            if height(own).zip(height(other)).is_some_and(|(own, other)| other > own) {
                found.push(format!("{name}:{line}: {own} is below {other}, and must not use it"));
            }
        }
        let family = rest.strip_prefix("steps/").map(room);
        for (line, other) in imports(lines(), "crate::steps::") {
            if family.is_some_and(|family| family != other) {
                found.push(format!("{name}:{line}: steps of one family do not use those of {other}"));
            }
        }
        if !CLAP.contains(&own) && own != "bin" {
            let knows = lines().filter(|(_, line)| line.starts_with("use clap"));
            found.extend(knows.map(|(line, _)| format!("{name}:{}: {own} knows the command line", line + 1)));
        }
    }
    if inside("crates/tools").is_some() {
        let uses = lines().filter(|(_, line)| line.contains("tch::") || line.contains("pate_core::"));
        found.extend(uses.map(|(line, _)| format!("{name}:{}: tools link no libtorch", line + 1)));
    }
    found
}

/// The room of a file by its path below `src`: its first folder, or its own name.
fn room(rest: &str) -> &str {
    rest.split('/').next().unwrap_or(rest).trim_end_matches(".rs")
}

fn core_may(own: &str, other: &str) -> bool {
    // The crate's own face shows all rooms; its Error and Result are everybody's.
    if own == "lib" || own == other || other.starts_with(char::is_uppercase) || other.starts_with('{') {
        return true;
    }
    let height = |room: &str| CORE.iter().position(|known| *known == room);
    match (height(own), height(other)) {
        // Data and networks know nothing of each other.
        _ if (own == "nn" && matches!(other, "data" | "config")) => false,
        (Some(own), Some(other)) => other < own,
        (None, Some(_)) => METHODS.contains(&own),
        _ => false,
    }
}

/// The first name behind `root` wherever it stands, with the number of its line; `{` for a group,
/// whose names follow one by one.
fn imports<'a>(lines: impl Iterator<Item = (usize, &'a str)>, root: &str) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    for (index, line) in lines {
        for (start, _) in line.match_indices(root) {
            let rest = &line[start + root.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                let names = group.split(['}', ';']).next().unwrap_or_default().split(',');
                found.extend(names.map(|name| (index + 1, word(name.trim()))));
            } else {
                found.push((index + 1, word(rest)));
            }
        }
    }
    found.retain(|(_, name)| !name.is_empty());
    found
}

fn word(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    &text[..end.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_go_down() {
        let core = |file: &str, text: &str| breaches(&format!("crates/pate-core/src/{file}"), text);
        for (file, text) in [
            ("pate/vote.rs", "use crate::evaluate::distances;\nuse crate::{Error, Result};"),
            ("evaluate.rs", "use crate::models::Teacher;"),
            ("models/vae.rs", "use crate::nn::Pass;\nuse crate::base::tensor;"),
            ("base/rng.rs", "/// See crate::train.\nuse crate::Result;"),
            ("lib.rs", "pub use crate::pate::vote;"),
            ("nn/pass.rs", "#[cfg(test)]\nmod tests { use crate::data::Images; }"),
        ] {
            assert_eq!(core(file, text), Vec::<String>::new(), "{file}");
        }
        for (file, text) in [
            ("base/rng.rs", "use crate::data::Images;"),
            ("nn/pass.rs", "use crate::data::Images;"),
            ("pate/vote.rs", "use crate::dpmi::invert;"),
            ("models/vae.rs", "fn f() { crate::train::fit() }"),
            ("data.rs", "use crate::{Error, nn};"),
            ("train/fit.rs", "use crate::unheard_of::X;"),
        ] {
            assert_eq!(core(file, text).len(), 1, "{file}: {:?}", core(file, text));
        }
    }

    #[test]
    fn programs_have_an_order_too() {
        let cli = |file: &str, text: &str| breaches(&format!("crates/pate-cli/src/{file}"), text);
        let steps = "use crate::files::pool;\nuse crate::steps::selection::one_teacher;\nuse clap::Parser;";
        assert!(cli("steps/selection/combine.rs", steps).is_empty());
        assert_eq!(cli("steps/student/train_student.rs", steps).len(), 1);
        assert_eq!(cli("args/data.rs", "use crate::files::pool;").len(), 1);
        assert_eq!(cli("files/pool.rs", "use clap::Args;").len(), 1);
        assert_eq!(breaches("crates/tools/src/budget.rs", "use tch::Tensor;").len(), 1);
        assert!(breaches("crates/artifact/src/lib.rs", "use crate::anything;").is_empty());
    }
}
