//! The sandbox as a server, and the configuration of the gateway that the demo puts in front of it.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use hyper::body::Incoming;

use super::sign::Signer;
use super::{Sandbox, Settings};
use crate::config::Surroundings;
use crate::serve::{self, Address, BindError, Counters, Ended, Peer};
use crate::shutdown::Drain;

/// Takes the address and serves there until the drain.
pub fn serve(
    address: &Address,
    api_key: Option<String>,
    drain: Drain,
) -> Result<impl Future<Output = Ended> + use<>, BindError> {
    let listeners = serve::bind(address)?;
    let sandbox = Sandbox::new(Settings { api_key, now: Arc::new(SystemTime::now), slow: Duration::from_secs(3) });
    let answer = move |request: http::Request<Incoming>, _: Peer| sandbox.clone().answer(request);
    let settings = Arc::new(ArcSwap::from_pointee(SERVE));
    Ok(serve::run(listeners, answer, settings, Arc::new(Counters::default()), drain))
}

/// The gateway's configuration for the demo; all else is as preset.
pub fn configuration(port_base: u16) -> String {
    let (admin, sandbox) = (port_base + 1, port_base + 2);
    let key = Signer::new().public_key();
    format!(
        "[listen]\naddress = \"localhost:{port_base}\"\n[admin]\naddress = \"localhost:{admin}\"\n\
         [upstream]\nbase_url = \"http://localhost:{sandbox}\"\napi_key_env = \"DEMO_KEY\"\n\
         [signature]\npublic_keys = [\"{key}\"]\n"
    )
}

/// What the demo's configuration is read in: nothing of the user's own.
pub fn surroundings() -> Surroundings {
    Surroundings::new([("DEMO_KEY", "demo")], |_| Err(std::io::ErrorKind::NotFound.into()))
}

const SERVE: serve::Settings = serve::Settings {
    max_connections: 256,
    max_header: 64 * 1024,
    header_timeout: Duration::from_secs(10),
    write_timeout: Duration::from_secs(30),
    idle_timeout: Duration::from_secs(75),
    drain_timeout: Duration::from_secs(1),
};
