//! The command line.
//!
//! Owns: turning arguments into settings, from the same table as the file and CONFIG SET.
//! Never knows: what a setting means.
//! Invariant: flags win over the file, whatever their order.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command};

use crate::EMBERLOG_VERSION;
use crate::config::{self, Config, ConfigError};

/// What the command line asks for.
#[derive(Debug)]
pub struct Arguments {
    /// The settings.
    pub config: Config,
    /// The file they came from, if any.
    pub file: Option<PathBuf>,
}

/// Why there are no settings.
#[derive(Debug)]
pub enum ArgumentError {
    /// Asked for help or version, or not understood: clap prints it.
    Usage(Box<clap::Error>),
    /// The file cannot be read.
    File(PathBuf, std::io::Error),
    /// A setting that cannot be.
    Config(ConfigError),
}

impl std::fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Usage(error) => error.fmt(f),
            Self::File(path, error) => {
                write!(f, "cannot read the configuration file {}: {error}", path.display())
            }
            Self::Config(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ArgumentError {}

impl From<ConfigError> for ArgumentError {
    fn from(error: ConfigError) -> ArgumentError {
        ArgumentError::Config(error)
    }
}

fn command() -> Command {
    let flags = config::keys().iter().map(|key| {
        Arg::new(key.name)
            .long(key.name)
            .help(key.help)
            .value_name("VALUE")
            .action(ArgAction::Append)
    });
    Command::new("emberlog")
        .version(EMBERLOG_VERSION)
        .about("A persistent tiered cache and session server that speaks the Redis protocol")
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .help("TOML file with the same settings as the flags")
                .value_parser(clap::value_parser!(PathBuf)),
        )
        .args(flags)
}

/// Joins each flag with the values that follow it, as in redis.conf: `--bind 127.0.0.1 -::1`
/// becomes `--bind=127.0.0.1 -::1`.
fn joined(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::new();
    let mut in_flag = false;
    let mut values = 0;
    for argument in arguments {
        let is_flag = argument.as_encoded_bytes().starts_with(b"--");
        match joined.last_mut() {
            Some(flag) if in_flag && !is_flag => {
                flag.push(if values == 0 { "=" } else { " " });
                flag.push(argument);
                values += 1;
            }
            _ => {
                in_flag = is_flag;
                values = 0;
                joined.push(argument);
            }
        }
    }
    joined
}

/// Reads the command line, program name first.
///
/// # Errors
/// See [`ArgumentError`].
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, ArgumentError> {
    let matches = command()
        .try_get_matches_from(joined(arguments))
        .map_err(|error| ArgumentError::Usage(Box::new(error)))?;
    let mut config = Config::default();
    let file = matches.get_one::<PathBuf>("file").cloned();
    if let Some(path) = &file {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ArgumentError::File(path.clone(), error))?;
        config::apply_file(&mut config, &text)?;
    }
    for key in config::keys() {
        if let Some(words) = matches.get_many::<String>(key.name) {
            let words: Vec<&str> = words.map(String::as_str).collect();
            config::set(&mut config, key.name, &words.join(" "))?;
        }
    }
    config.validate()?;
    Ok(Arguments { config, file })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogLevel;

    fn parse_line(line: &str) -> Result<Arguments, ArgumentError> {
        parse(std::iter::once("emberlog").chain(line.split(' ')).map(Into::into))
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn launchers_of_redis_are_understood() {
        let arguments = parse_line("--port 18543 --loglevel notice --save  --appendonly no");
        let config = arguments.map(|arguments| arguments.config).unwrap();
        assert_eq!((config.port, config.loglevel), (18_543, LogLevel::Notice));
        let config = parse_line("--bind 127.0.0.1 -::1 --maxmemory 256mb").unwrap().config;
        assert_eq!(config.bind, ["127.0.0.1", "-::1"]);
        assert_eq!(config.maxmemory, 256 << 20);
        let line =
            "--slowlog-log-slower-than -1 --bind=::1 --client-output-buffer-limit normal 0 0 0";
        let config = parse_line(line).unwrap().config;
        assert_eq!((config.slowlog_log_slower_than, config.bind.len()), (-1, 1));
    }

    #[test]
    fn errors_name_the_flag() {
        for (line, expected) in [
            ("--port x", "port: 'x' is not a number"),
            ("--prot 1", "--port"),
            ("--ack sometimes", "ack: 'sometimes'"),
            ("/nonexistent.toml", "/nonexistent.toml"),
            ("--port 0", "port: 0 leaves nothing to listen on"),
        ] {
            let error = parse_line(line).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
