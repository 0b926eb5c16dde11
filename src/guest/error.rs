//! Why the guest could not be asked. None of these says anything about the configuration.

use std::io;

use zbus::DBusError;

/// Why the guest could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The channel failed.
    #[error("the channel to the guest failed: {0}")]
    Io(#[source] io::Error),
    /// The guest's end went away in the middle.
    #[error("the guest closed the connection")]
    Closed,
    /// Nothing came in time: what was waited for.
    #[error("no answer in time: {0}")]
    Deadline(String),
    /// The answer is not in our protocol.
    #[error("the guest's answer makes no sense")]
    Garbled,
    /// The question cannot be put: a script with a NUL byte, a user name that is none.
    #[error("{0}")]
    Unaskable(String),
    /// The guest lacks the program that would answer.
    #[error("the guest has no {0}")]
    Lacks(String),
    /// D-Bus: an error answer, or a broken connection.
    #[error("the guest's D-Bus: {0}")]
    Bus(#[from] zbus::Error),
}

impl Error {
    /// The name and the words of a D-Bus error answer; words that are missing are empty.
    pub(super) fn answer(&self) -> Option<(String, &str)> {
        match self {
            Error::Bus(zbus::Error::MethodError(name, words, _)) => {
                Some((name.to_string(), words.as_deref().unwrap_or_default()))
            }
            Error::Bus(zbus::Error::FDO(error)) => {
                Some((error.name().to_string(), error.description().unwrap_or_default()))
            }
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => Error::Closed,
            _ => Error::Io(error),
        }
    }
}

impl From<tokio::time::error::Elapsed> for Error {
    fn from(_: tokio::time::error::Elapsed) -> Self {
        Error::Deadline("the guest was silent".to_owned())
    }
}
