//! Why the guest could not be asked. None of these says anything about the configuration.

use std::{fmt, io};

/// Why the guest could not be asked.
#[derive(Debug)]
pub enum Error {
    /// The channel failed.
    Io(io::Error),
    /// The guest's end went away in the middle.
    Closed,
    /// Nothing came in time: what was waited for.
    Deadline(String),
    /// The answer is not in our protocol.
    Garbled,
    /// The question cannot be put: a script with a NUL byte, a user name that is none.
    Unaskable(String),
    /// The guest lacks the program that would answer.
    Lacks(String),
    /// D-Bus: an error answer, or a broken connection.
    Bus(zbus::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(error) => write!(f, "the channel to the guest failed: {error}"),
            Error::Closed => f.write_str("the guest closed the connection"),
            Error::Deadline(what) => write!(f, "no answer in time: {what}"),
            Error::Garbled => f.write_str("the guest's answer makes no sense"),
            Error::Unaskable(why) => f.write_str(why),
            Error::Lacks(program) => write!(f, "the guest has no {program}"),
            Error::Bus(error) => write!(f, "the guest's D-Bus: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io(error) => Some(error),
            Error::Bus(error) => Some(error),
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

impl From<zbus::Error> for Error {
    fn from(error: zbus::Error) -> Self {
        Error::Bus(error)
    }
}

impl From<tokio::time::error::Elapsed> for Error {
    fn from(_: tokio::time::error::Elapsed) -> Self {
        Error::Deadline("the guest was silent".to_owned())
    }
}
