//! Values of flags: paths in either notation, yes and no, ranges.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use pate_core::config::Word;

/// A path as people type it on either system: away from Windows, backslashes are slashes too.
///
/// # Errors
/// An empty path.
pub fn parse_path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("the path is empty".to_owned());
    }
    if cfg!(windows) { Ok(PathBuf::from(text)) } else { Ok(PathBuf::from(text.replace('\\', "/"))) }
}

/// A truth value as Python's argparse users write it.
///
/// # Errors
/// Anything else.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "true" | "True" | "1" => Ok(true),
        "false" | "False" | "0" => Ok(false),
        _ => Err("give true, false, 1 or 0".to_owned()),
    }
}

/// A finite number above 0.
///
/// # Errors
/// Anything else.
pub fn positive(text: &str) -> Result<f64, String> {
    number(text).filter(|x| *x > 0.0).ok_or_else(|| "give a number above 0".to_owned())
}

/// A finite number, at least 0.
///
/// # Errors
/// Anything else.
pub fn not_negative(text: &str) -> Result<f64, String> {
    number(text).filter(|x| *x >= 0.0).ok_or_else(|| "give a number, at least 0".to_owned())
}

/// A number from 0 to below 1.
///
/// # Errors
/// Anything else.
pub fn fraction(text: &str) -> Result<f64, String> {
    number(text)
        .filter(|x| (0.0..1.0).contains(x))
        .ok_or_else(|| "give a number from 0 to below 1".to_owned())
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|x: &f64| x.is_finite())
}

/// A parser of the words of a setting; `--help` has what each means.
pub fn word<W: Word>() -> impl TypedValueParser<Value = W> {
    word_among(W::ALL)
}

/// The same for some of the words.
pub fn word_among<W: Word>(some: &'static [W]) -> impl TypedValueParser<Value = W> {
    let meaning = |word: &str| W::WORDS.iter().find(|(known, _)| *known == word).map_or("", |(_, is)| is);
    let words = some.iter().map(|value| PossibleValue::new(value.word()).help(meaning(value.word())));
    PossibleValuesParser::new(words).try_map(|text| W::of(&text).ok_or("no such word"))
}

const ID: &str = "{id}";

/// Whether a path stands for one path per teacher.
pub fn has_id(path: &Path) -> bool {
    path.to_string_lossy().contains(ID)
}

/// `path` with `{id}` replaced.
pub fn for_teacher(path: &Path, teacher_id: u64) -> PathBuf {
    if has_id(path) {
        PathBuf::from(path.to_string_lossy().replace(ID, &teacher_id.to_string()))
    } else {
        path.to_path_buf()
    }
}

/// Refuses an output path with the ending of another file that the step writes beside it, under the
/// same name.
///
/// # Errors
/// Names the flag, the path and the usual ending.
pub fn check_ending(flag: &str, path: &Path, taken: &[&str], usual: &str) -> Result<()> {
    if let Some(ending) = path.extension().filter(|ending| taken.iter().any(|taken| ending == taken)) {
        bail!(
            "{flag} is {}, but another file with the ending .{} is written beside it; give a name that ends in {usual}",
            path.display(),
            ending.display()
        );
    }
    Ok(())
}

/// Refuses a part of file names that would lead into another folder.
///
/// # Errors
/// Names the flag and the value.
pub fn check_name(flag: &str, name: &str) -> Result<()> {
    if name.contains(['/', '\\']) {
        bail!("{flag} is `{name}`; it is a part of file names and has no slashes (folders go into --output)");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_slashes_are_one_path() {
        assert_eq!(
            parse_path(r"teachers\teacher_0\shard.pt").unwrap(),
            Path::new("teachers/teacher_0/shard.pt")
        );
    }

    #[test]
    fn truth_values_of_the_original_command_lines() {
        for (text, value) in [("True", true), ("true", true), ("1", true), ("False", false), ("0", false)] {
            assert_eq!(parse_bool(text), Ok(value));
        }
        assert!(parse_bool("maybe").is_err());
    }

    #[test]
    fn one_path_per_teacher() {
        let path = Path::new("vaes/teacher_{id}/decoder.pth");
        assert!(has_id(path));
        assert_eq!(for_teacher(path, 12), Path::new("vaes/teacher_12/decoder.pth"));
    }
}
