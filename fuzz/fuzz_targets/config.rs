//! Any text as a configuration: no word about it repeats a secret; what is accepted is of use to the rooms, and prints to what
//! loads to the same.
//!
//! What stands before a NUL are environment variables, a line each. `@@` anywhere stands for a secret in the wrong place.

#![no_main]

use std::io;
use std::path::Path;
use std::sync::LazyLock;

use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use otk_gateway::config::{self, Config, Surroundings};
use otk_gateway::proxy::gate::{Host, Origin};
use otk_gateway::proxy::pattern::Pattern;
use otk_gateway::signature::Keys;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if text.contains("canary") {
        return; // then it would not be us who say it
    }
    let text = text.replace("@@", PLANTED);
    let (variables, file) = text.split_once('\0').unwrap_or(("", &text));
    let variables = variables.lines().filter_map(|line| line.split_once('=')).filter(|(name, _)| *name != "K");
    let loaded = match config::parse(file, &around(variables.clone())) {
        Ok(loaded) => loaded,
        Err(refused) => {
            is_silent(&format!("{refused}\n{refused:?}"), &[PLANTED, "canary", "Pq8/"]);
            assert!(!refused.0.is_empty(), "refused without a complaint");
            return;
        }
    };
    is_silent(&format!("{:?}", loaded.warnings), &[PLANTED, "canary", "Pq8/"]);
    is_silent(&loaded.effective, &[IN_VARIABLE, IN_FILE]);
    is_silent(&format!("{:?}", loaded.config), &[IN_VARIABLE, IN_FILE]);
    is_of_use(&loaded.config);
    let rest = variables.filter(|(name, _)| !name.starts_with("OTK_GATEWAY__"));
    let again = config::parse(&loaded.effective, &around(rest)).unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!(again.config, loaded.config);
    assert_eq!(again.effective, loaded.effective);
});

/// What was accepted here, the rooms accept.
fn is_of_use(config: &Config) {
    let Config { listen, upstream, signature, passthrough, .. } = config;
    assert!(listen.hosts().iter().all(|host| Host::parse(host).is_some()), "{:?}", listen.hosts());
    assert!(
        listen.allowed_origins.iter().all(|origin| Origin::parse(origin).is_some()),
        "{:?}",
        listen.allowed_origins
    );
    assert!(passthrough.iter().all(|call| Pattern::parse(&call.path).is_ok()), "{passthrough:?}");
    assert!(Keys::parse(signature.keys()).is_ok(), "{signature:?}");
    assert!(HeaderValue::from_str(upstream.api_key.secret.expose()).is_ok());
}

fn is_silent(said: &str, secrets: &[&str]) {
    for secret in secrets {
        assert!(!said.contains(secret), "{said}");
    }
}

fn around<'a>(variables: impl Iterator<Item = (&'a str, &'a str)>) -> Surroundings {
    Surroundings::new(variables.chain([("K", IN_VARIABLE)]), |path: &Path| match path.to_str() {
        Some("/secret") => Ok(IN_FILE.into()),
        Some("/keys") => Ok(format!("# ours\n{KEY}\n").into()),
        Some("/pem") => Ok(PEM.clone().into()),
        Some("/bad") => Ok(format!("{PLANTED}\n{PLANTED}").into()),
        _ => Err(io::ErrorKind::NotFound.into()),
    })
}

/// A chain and its key, made anew for each run.
static PEM: LazyLock<String> = LazyLock::new(|| {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    format!("{}{}", pair.cert.pem(), pair.signing_key.serialize_pem())
});

/// Not shaped like a name, as few secrets are: a name that nobody knows is repeated in the complaint about it.
const PLANTED: &str = "Pq8/canary:file+5e2b";
const IN_VARIABLE: &str = "Zq9/canary-variable";
const IN_FILE: &str = "Xq7/canary-secret";
const KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
