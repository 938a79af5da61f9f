//! The gateway from outside, one module for each promise.
//!
//! Every test starts what it needs on loopback and port 0: the real `App` or the real binary, in front of the sandbox (for
//! stories), of httpmock (for what goes over the wire) or of a raw socket (for what no library would send). Time that matters
//! to the rules is a clock moved by hand.

mod admin;
mod answers;
mod audit;
mod bad_clients;
mod bad_upstreams;
mod coalescing;
mod commands;
mod doctor;
mod listeners;
mod operations;
mod outages;
mod passthrough;
mod privacy;
mod revocation;
mod shutdown;
mod support;
mod traces;
mod upstream_calls;
mod vectors;
