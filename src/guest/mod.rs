//! What is asked of a guest, and what it answered.

pub mod facts;
