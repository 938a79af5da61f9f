//! otk-gateway.

pub mod admin;
pub mod app;
pub mod budget;
pub mod cache;
pub mod certificate;
pub mod cli;
pub mod clock;
pub mod config;
pub mod envelope;
pub mod flight;
pub mod gateway;
pub mod metrics;
pub mod proxy;
pub mod reason;
pub mod release;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod serve;
pub mod shutdown;
pub mod signature;
pub mod telemetry;
pub mod upstream;
pub mod verify;
