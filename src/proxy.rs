//! The HTTP face: what a request means and what an answer looks like.
//!
//! Values in, values out: no file below this one waits, reads a clock, or knows what a certificate is worth. None of them
//! puts a path, a query or a token into a message.

pub mod conditional;
pub mod error;
pub mod gate;
pub mod hygiene;
pub mod pattern;
pub mod route;
