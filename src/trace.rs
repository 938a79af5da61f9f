//! Where a request stands in a trace that began elsewhere (W3C Trace Context), or that begins here.
//!
//! What is continued is the identity of the trace and whether anybody records it. A header that is not exactly as the
//! recommendation writes it counts as none. Never: anything of the request in an identity; they are random.

use http::{HeaderMap, HeaderName, HeaderValue};

pub mod export;

/// One request's place in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    trace: [u8; 16],
    span: [u8; 8],
    parent: Option<[u8; 8]>,
    is_sampled: bool,
}

/// What a request's `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parent {
    trace: [u8; 16],
    span: [u8; 8],
    is_sampled: bool,
}

impl Context {
    /// A span of its own in the trace that the request came with, if it came with one.
    pub fn continued(headers: &HeaderMap) -> Option<Self> {
        let Parent { trace, span, is_sampled } = Parent::of(headers)?;
        Some(Self { trace, span: random(), parent: Some(span), is_sampled })
    }

    /// A span in a trace that begins here.
    pub fn begun() -> Self {
        Self { trace: random(), span: random(), parent: None, is_sampled: true }
    }

    /// The trace's identity, 32 hex digits.
    pub fn trace_id(&self) -> String {
        hex::encode(self.trace)
    }

    /// For the calls that are made on behalf of this request.
    pub fn to_header(&self) -> HeaderValue {
        let flags = u8::from(self.is_sampled);
        let text = format!("00-{}-{}-{flags:02x}", hex::encode(self.trace), hex::encode(self.span));
        HeaderValue::from_str(&text).expect("hex and hyphens")
    }
}

impl Parent {
    /// Version 00; a later version may have more behind it (section 3.2.2 of the recommendation).
    fn of(headers: &HeaderMap) -> Option<Self> {
        let mut given = headers.get_all(TRACEPARENT).iter();
        let (Some(only), None) = (given.next(), given.next()) else { return None };
        let mut parts = only.to_str().ok()?.split('-');
        let [version, trace, span, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
        let is_known = version == "00" && parts.next().is_none();
        let is_later = version != "00" && version != "ff";
        let (mut known, mut trace_id, mut span_id, mut flag) = ([0; 1], [0; 16], [0; 8], [0; 1]);
        let is_lower = !only.as_bytes().iter().any(u8::is_ascii_uppercase);
        hex::decode_to_slice(version, &mut known).ok()?;
        hex::decode_to_slice(trace, &mut trace_id).ok()?;
        hex::decode_to_slice(span, &mut span_id).ok()?;
        hex::decode_to_slice(flags, &mut flag).ok()?;
        let is_identity = trace_id != [0; 16] && span_id != [0; 8];
        let parent = Self { trace: trace_id, span: span_id, is_sampled: flag[0] & 1 == 1 };
        ((is_known || is_later) && is_lower && is_identity).then_some(parent)
    }
}

/// Zeros are no identity, and say that there was no randomness to be had.
fn random<const N: usize>() -> [u8; N] {
    let mut random = [0; N];
    let _ = getrandom::fill(&mut random);
    random
}

/// W3C Trace Context, section 3.2.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

#[cfg(test)]
mod tests {
    use super::*;

    fn context(value: &str) -> Option<Context> {
        Context::continued(&HeaderMap::from_iter([(TRACEPARENT, HeaderValue::from_str(value).unwrap())]))
    }

    #[test]
    fn a_trace_is_continued_with_a_span_of_its_own() {
        let context = context("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        let header = context.to_header();
        let header = header.to_str().unwrap();
        assert!(header.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && header.ends_with("-01"), "{header}");
        assert!(!header.contains("00f067aa0ba902b7"));
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[test]
    fn nobody_records_what_is_not_sampled() {
        assert!(!context("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00").unwrap().is_sampled);
        assert!(context("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more").unwrap().is_sampled);
    }

    #[test]
    fn what_is_no_traceparent_is_not_continued() {
        for wrong in [
            "",
            "x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert_eq!(context(wrong), None, "{wrong}");
        }
    }
}
