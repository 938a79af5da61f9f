//! otk-gateway.

pub mod cache;
pub mod certificate;
pub mod clock;
pub mod envelope;
pub mod flight;
pub mod proxy;
pub mod reason;
pub mod release;
pub mod signature;
