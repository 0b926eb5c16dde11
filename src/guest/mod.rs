//! What is asked of a guest, and what it answered.

pub mod bus;
pub mod credentials;
mod error;
pub mod facts;
mod frames;
mod greeting;
pub mod notify;
pub mod shell;
mod text;

pub use error::Error;
