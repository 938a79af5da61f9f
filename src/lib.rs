//! otk-gateway.

pub mod budget;
pub mod cache;
pub mod certificate;
pub mod clock;
pub mod envelope;
pub mod flight;
pub mod gateway;
pub mod metrics;
pub mod reason;
pub mod release;
pub mod signature;
pub mod upstream;
pub mod verify;
