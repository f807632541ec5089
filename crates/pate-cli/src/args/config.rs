//! The flag of the configuration file, and the configuration in force.

use std::path::{Path, PathBuf};

use anyhow::Result;
use artifact::{FileRecord, Input, Report};
use clap::Args;
use pate_core::config::{Config, DEFAULT_PATH};

use super::parse_path;
use crate::run::Context;

/// Where settings come from. Command line beats file beats built-in default.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Configuration")]
pub struct ConfigArgs {
    /// Configuration file, JSON; flags beat it, and it beats the built-in values [default:
    /// config/synthetic_generation.json where there is one]
    #[arg(long, value_name = "FILE", value_parser = parse_path)]
    config: Option<PathBuf>,
}

/// The configuration in force.
pub struct LoadedConfig {
    /// Its values.
    pub config: Config,
    /// The file, for reports; `None` for the built-in values.
    pub record: Option<FileRecord>,
}

impl LoadedConfig {
    /// Names it in a report: the field `config_used`, and its file among the inputs.
    ///
    /// # Errors
    /// Never for a path that is text.
    pub fn describe(&self, report: &mut Report) -> Result<(), artifact::Error> {
        let name = self
            .record
            .as_ref()
            .map_or_else(|| "built-in".to_owned(), |r| r.path.to_string_lossy().into_owned());
        report.field("config_used", name)?;
        if let Some(record) = &self.record {
            report.input(Input::public(record.clone()));
        }
        Ok(())
    }
}

impl ConfigArgs {
    /// Reads the file.
    ///
    /// # Errors
    /// A file that was named and is absent, or cannot be used.
    pub fn load(&self, ctx: &Context) -> Result<LoadedConfig> {
        let path = match &self.config {
            Some(path) => path.as_path(),
            None if Path::new(DEFAULT_PATH).is_file() => Path::new(DEFAULT_PATH),
            None => {
                ctx.say(&format!("configuration: built-in values ({DEFAULT_PATH} is not here)"));
                return Ok(LoadedConfig { config: Config::default(), record: None });
            }
        };
        let config = Config::load(path)?;
        Ok(LoadedConfig { config, record: Some(FileRecord::of(path)?) })
    }
}
