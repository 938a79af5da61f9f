//! Second opinions for the fuzz targets: the same questions that the gateway answers, answered again by other means.
//!
//! Everything here is as plain as it can be and slow, and shares no line with the gateway: JSON by `serde_json`, numbers by the
//! algorithm of ECMAScript over the digits of the standard library, the curve by `k256` instead of libsecp256k1, HTTP by
//! splitting at line ends. Where the two disagree, one of them is wrong, and a target says so.

#![forbid(unsafe_code)]

pub mod curve;
pub mod http1;
pub mod json;
pub mod spelling;
