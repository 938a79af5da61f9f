//! otk-gateway.

pub mod certificate;
pub mod clock;
pub mod envelope;
pub mod reason;
pub mod signature;
pub mod config;
