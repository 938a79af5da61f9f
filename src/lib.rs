//! otk-gateway.

pub mod certificate;
pub mod clock;
pub mod reason;
