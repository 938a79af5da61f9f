//! `doctor`: the configuration, then the way to the upstream, then what to do.

use std::convert::Infallible;
use std::io::{self, Write};

use super::{CLEAN, Doctor, FAILED, MISUSED, complain, say, warn};
use crate::certificate::JourneyToken;
use crate::clock::Clock;
use crate::config::{self, Surroundings};
use crate::doctor::judge::judge;
use crate::doctor::observe::observe;
use crate::doctor::{Finding, is_ill, report};

/// What stood behind `--journey`, if it was a token. Read like this because the library repeats a value that it refuses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Given(Option<JourneyToken>);

/// Never fails; see `Given`.
pub fn given(text: &str) -> Result<Given, Infallible> {
    Ok(Given(JourneyToken::parse(text)))
}

/// Clean exactly if no problem was found.
pub fn doctor(args: &Doctor) -> u8 {
    let journey = match args.journey {
        None => None,
        Some(Given(Some(token))) => Some(token),
        Some(Given(None)) => {
            say(&mut io::stderr(), "error: --journey takes a UUID v4");
            return MISUSED;
        }
    };
    let loaded = match config::load(&args.config, &Surroundings::process()) {
        Ok(loaded) => loaded,
        Err(refused) => return complain(&args.config, &refused, &mut io::stderr()),
    };
    warn(&loaded.warnings, &mut io::stderr());
    let clock = Clock::system();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime of this thread alone needs nothing");
    let observed = runtime.block_on(observe(&loaded.config, journey, &clock));
    // A resolver that does not answer holds a thread for long; nobody waits for it any more.
    runtime.shutdown_background();
    let observed = match observed {
        Ok(observed) => observed,
        Err(unfit) => {
            say(&mut io::stderr(), &format!("error: {unfit}"));
            return MISUSED;
        }
    };
    let mut findings = vec![Finding::ok("config", format!("{} loads", args.config.display()))];
    findings.extend(judge(&observed, clock.now().wall()));
    let mut out = io::stdout().lock();
    let is_told = report(&findings, &mut out).and_then(|()| out.flush()).is_ok();
    if is_told && !is_ill(&findings) { CLEAN } else { FAILED }
}
