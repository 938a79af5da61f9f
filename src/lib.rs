//! A caching reverse proxy that never lets a certificate image out that is revoked, expired, replayed, rolled back, forged or
//! somebody else's.
//!
//! # Rooms
//!
//! One file for each, in reading order; a room uses only rooms above it.
//!
//! | room | what it is for |
//! |---|---|
//! | `reason` | the words for why no image left |
//! | `pages` | large byte strings that can leave without being copied |
//! | `certificate` | the nouns: token, person, ETag, status, image |
//! | `clock` | the only reader of time |
//! | `aged` | a map that knows its oldest entry, small for millions of them |
//! | `envelope` | what the authority really sends, and its canonical form |
//! | `signature` | envelope to `Authentic`, the only door |
//! | `release` | may this image be shown, now? the seven rules, and the `Permit` |
//! | `metrics` | atomics with names |
//! | `pem` | certificates as files hold them |
//! | `audit` | the record of every answer, and what it shows |
//! | `cache` | answers by journey, images by ETag, and the marks that outlive both |
//! | `flight` | one call per journey at a time |
//! | `budget` | whose turn it is to call |
//! | `upstream` | the only room that calls the authority |
//! | `trace` | where a request stands in a trace, and spans to a collector |
//! | `gateway` | the hub: one request told as a story |
//! | `telemetry` | logs, and the names of journeys in them |
//! | `rotation` | secrets in files that change while the process runs |
//! | `shutdown` | signals, and the news of the end |
//! | `serve` | accept, limit, watch, drain |
//! | `proxy` | the HTTP face: `route` reads requests, `respond` and `error` write answers |
//! | `admin` | the operators' listener |
//! | `config` | file and environment to one typed `Config` |
//! | `verify` | a captured answer, looked at step by step |
//! | `sandbox` | a pretend authority; shares no line with the rooms that read and verify |
//! | `app` | builds the rooms from the configuration and runs them |
//! | `doctor` | the way to the upstream, tried once and explained |
//! | `cli` | arguments in, exit code out |
//!
//! # One request
//!
//! ```text
//! serve → proxy::route → gateway → cache ──(fresh)──────────────────────────────→ release → proxy::respond → serve
//!                           └─(else)→ flight → upstream → signature → cache ─┘
//! ```
//!
//! # Lexicon
//!
//! *Token*: names a journey. *Authentic*: an answer whose signature was verified. *Mark*: what the rules remember of a journey
//! after its image is gone. *Floor*: only a call sent after it confirms anything. *Permit*: leave to show one image, now.
//! *Withhold*: revoked or expired, so not shown. *Refuse*: an error of ours. *Turn*: leave to call the upstream.
//!
//! # Absences
//!
//! No room above `serve` speaks HTTP but `upstream`. Nothing reads a clock but `clock` (timers of connections and of the rate
//! aside, which decide nothing about certificates). No rule lives in a cache library. No image is written without a `Permit`,
//! and no `Permit` is made outside `release`. There is one `unsafe` call, in `serve::splice`.

pub mod admin;
pub mod aged;
pub mod app;
pub mod audit;
pub mod budget;
pub mod cache;
pub mod certificate;
pub mod cli;
pub mod clock;
pub mod config;
pub mod doctor;
pub mod envelope;
pub mod flight;
pub mod gateway;
pub mod metrics;
pub mod pages;
pub mod pem;
pub mod proxy;
pub mod reason;
pub mod release;
pub mod rotation;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod serve;
pub mod shutdown;
pub mod signature;
pub mod telemetry;
pub mod trace;
pub mod upstream;
pub mod verify;
