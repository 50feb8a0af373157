//! Setting up the log.

use crate::config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

/// The log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter makes no sense.
    #[error("log level {level:?}: {reason}")]
    Level {
        /// What was given.
        level: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something else in this process logs already.
    #[error("the log is set up already")]
    Twice,
}

/// Starts writing the log to standard error, so that standard output is left to what a command prints.
///
/// # Errors
/// [`LogError`] where the level is no filter, or a log was started before.
pub fn start(settings: &Log) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(&settings.level).map_err(|error| LogError::Level {
        level: settings.level.clone(),
        reason: error.to_string(),
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let done = match settings.format {
        LogFormat::Text => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    done.map_err(|_| LogError::Twice)
}
