//! How a request was framed: what the HTTP library lets pass and RFC 9112 does not.
//!
//! hyper refuses much of it by itself with an empty 400: two different lengths, a last coding that is not `chunked`, any coding
//! in HTTP/1.0, a folded line, white space before a colon, a NUL. It is lenient where two servers in a row could disagree on
//! where a request ends: it reads `deflate, chunked` as `chunked`, and it silently takes out a length that stands beside a
//! coding, or a second equal one. The former is judged here from the fields; the latter only the bytes can tell, so `serve` puts
//! its finding in the request's extensions, and it is judged here too, so that this is the one place to ask.

use http::Version;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::request::Parts;

/// The request must be refused and its connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// HTTP/1.1 without Host, or any version with two.
    Host,
    /// Not exactly `chunked`, once; or in a version that has none.
    TransferEncoding,
    /// More than one length, or a length beside a Transfer-Encoding.
    ContentLength,
    /// The bytes say that no request ended here.
    Boundary,
}

/// Whether the head leaves no doubt about where the request ends (RFC 9112, sections 3.2 and 6).
pub fn framing(parts: &Parts) -> Result<(), Violation> {
    if let Some(seen) = parts.extensions.get::<Violation>() {
        return Err(*seen);
    }
    // One walk instead of a search for each name: most requests have few fields, and none of these but Host.
    let (mut hosts, mut lengths, mut codings, mut is_list, mut is_chunked) = (0, 0, 0, false, false);
    for (name, value) in &parts.headers {
        if name == HOST {
            hosts += 1;
        } else if name == CONTENT_LENGTH {
            lengths += 1;
            is_list |= value.as_bytes().contains(&b',');
        } else if name == TRANSFER_ENCODING {
            codings += 1;
            is_chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
        }
    }
    if hosts > 1 || (hosts == 0 && parts.version == Version::HTTP_11) {
        return Err(Violation::Host);
    }
    if lengths > 1 || is_list || (lengths > 0 && codings > 0) {
        return Err(Violation::ContentLength);
    }
    if codings > 1 || (codings == 1 && (!is_chunked || parts.version != Version::HTTP_11)) {
        return Err(Violation::TransferEncoding);
    }
    Ok(())
}

/// The connection ends after this request's answer. `serve` sees to that by itself.
pub fn must_close(parts: &Parts) -> bool {
    parts.version <= Version::HTTP_11 && parts.headers.contains_key(TRANSFER_ENCODING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(version: Version, headers: &[(&str, &str)]) -> Parts {
        let builder = http::Request::builder().version(version);
        let request = headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value)).body(());
        request.expect("a request").into_parts().0
    }

    #[test]
    fn only_one_reading_is_accepted() {
        let host = ("host", "localhost");
        for (headers, finding) in [
            (vec![host], Ok(())),
            (vec![host, ("content-length", "5")], Ok(())),
            (vec![host, ("transfer-encoding", "Chunked")], Ok(())),
            (vec![], Err(Violation::Host)),
            (vec![host, host], Err(Violation::Host)),
            (vec![host, ("transfer-encoding", "chunked, chunked")], Err(Violation::TransferEncoding)),
            (vec![host, ("transfer-encoding", "deflate, chunked")], Err(Violation::TransferEncoding)),
            (vec![host, ("transfer-encoding", ",chunked")], Err(Violation::TransferEncoding)),
            (
                vec![host, ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
                Err(Violation::TransferEncoding),
            ),
            (vec![host, ("content-length", "5"), ("transfer-encoding", "chunked")], Err(Violation::ContentLength)),
            (vec![host, ("content-length", "5"), ("content-length", "5")], Err(Violation::ContentLength)),
            (vec![host, ("content-length", "5, 5")], Err(Violation::ContentLength)),
        ] {
            assert_eq!(framing(&parts(Version::HTTP_11, &headers)), finding, "{headers:?}");
        }
        assert_eq!(framing(&parts(Version::HTTP_10, &[])), Ok(()));
        assert_eq!(
            framing(&parts(Version::HTTP_10, &[("transfer-encoding", "chunked")])),
            Err(Violation::TransferEncoding)
        );
        assert_eq!(framing(&parts(Version::HTTP_2, &[])), Ok(()));
    }

    #[test]
    fn what_the_bytes_told_counts_too() {
        let mut parts = parts(Version::HTTP_11, &[("host", "localhost")]);
        parts.extensions.insert(Violation::ContentLength);
        assert_eq!(framing(&parts), Err(Violation::ContentLength));
    }
}
