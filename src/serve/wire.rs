//! A second pair of eyes on an HTTP/1 connection: where each request ends, as the bytes themselves say.
//!
//! Needed for two things that the HTTP library does not tell. It takes a Content-Length out of a head that also has a
//! Transfer-Encoding, and the second of two equal lengths, before anybody can object; and it does not say when the first byte
//! of a head arrives. So the bytes are followed on their way in, and nothing is held back or changed.
//!
//! The surprising decision: chunked bodies are never followed. A request with a Transfer-Encoding is the last of its connection
//! anyway, so there is no next head to find. Whatever is in doubt ends the following too; a request that the library finds
//! where this one saw no head end is refused. Two readers who agree cannot be smuggled past.

use memchr::memchr;

use super::strict::Violation;

/// What was seen of a connection so far.
pub struct Wire {
    place: Place,
    heads: u32,
    line: [u8; LINE],
    line_length: usize,
}

/// What is known of one request's framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Why it must be refused.
    pub violation: Option<Violation>,
    /// No request may follow it on this connection.
    pub is_last: bool,
}

enum Place {
    /// Where a head may begin.
    Between,
    Head(Head),
    /// So many bytes of it are still to come.
    Body(u64),
    /// Behind the head of the last request.
    Last(Option<Violation>),
    /// Not HTTP/1 at all.
    Http2,
}

#[derive(Default)]
struct Head {
    has_request_line: bool,
    has_coding: bool,
    length: Option<u64>,
    violation: Option<Violation>,
}

// === impl Wire ===

impl Wire {
    /// Follows these bytes, the next that came in.
    pub fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match &mut self.place {
                Place::Between => self.begin(bytes),
                Place::Head(_) => self.take_line(bytes),
                Place::Body(left) => {
                    let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= taken as u64;
                    if *left == 0 {
                        self.place = Place::Between;
                    }
                    &bytes[taken..]
                }
                Place::Last(_) | Place::Http2 => return,
            };
        }
    }

    /// A head has begun and is not complete.
    pub fn is_in_head(&self) -> bool {
        matches!(self.place, Place::Head(_))
    }

    /// The connection speaks HTTP/2.
    pub fn is_http2(&self) -> bool {
        matches!(self.place, Place::Http2)
    }

    /// Nothing of a request is known to be still on its way.
    pub fn is_between_requests(&self) -> bool {
        matches!(self.place, Place::Between | Place::Http2)
    }

    /// What is known of the `nth` request, counted from 1, whose head the HTTP library has just read.
    pub fn standing(&self, nth: u32) -> Standing {
        match self.place {
            Place::Http2 => Standing { violation: None, is_last: false },
            _ if nth > self.heads => Standing { violation: Some(Violation::Boundary), is_last: true },
            Place::Last(violation) if nth == self.heads => Standing { violation, is_last: true },
            _ => Standing { violation: None, is_last: false },
        }
    }

    /// Blank lines before a request are no part of it (RFC 9112, section 2.2).
    fn begin<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if blank < bytes.len() {
            self.place = Place::Head(Head::default());
            self.line_length = 0;
        }
        &bytes[blank..]
    }

    fn take_line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(end) = memchr(b'\n', bytes) else {
            self.keep(bytes);
            return &[];
        };
        self.keep(&bytes[..end]);
        self.end_line();
        self.line_length = 0;
        &bytes[end + 1..]
    }

    /// Of a line only its beginning is kept: a framing field that does not fit in there is in doubt.
    fn keep(&mut self, bytes: &[u8]) {
        let from = self.line_length.min(LINE);
        let kept = bytes.len().min(LINE - from);
        self.line[from..from + kept].copy_from_slice(&bytes[..kept]);
        self.line_length = self.line_length.saturating_add(bytes.len());
    }

    fn end_line(&mut self) {
        let Place::Head(head) = &mut self.place else { return };
        let line = &self.line[..self.line_length.min(LINE)];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            self.heads += 1;
            self.place = head.after();
        } else if !head.has_request_line {
            head.has_request_line = true;
            if self.heads == 0 && line == HTTP2_PREFACE_LINE {
                self.place = Place::Http2;
            }
        } else {
            head.field(line, self.line_length > LINE);
        }
    }
}

impl Default for Wire {
    fn default() -> Self {
        Self { place: Place::Between, heads: 0, line: [0; LINE], line_length: 0 }
    }
}

// === impl Head ===

impl Head {
    fn field(&mut self, line: &[u8], is_cut: bool) {
        let Some(colon) = memchr(b':', line) else { return };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.has_coding = true; // what it says is judged where the whole head is known
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let length = if is_cut { None } else { length(value) };
            if length.is_none() || self.length.is_some() {
                self.violation = Some(Violation::ContentLength);
            }
            self.length = length;
        }
    }

    /// Where its end leaves the connection.
    fn after(&self) -> Place {
        let has_both = self.has_coding && (self.length.is_some() || self.violation.is_some());
        match (self.violation, self.length) {
            (None, _) if has_both => Place::Last(Some(Violation::ContentLength)),
            (Some(_), _) => Place::Last(self.violation),
            (None, _) if self.has_coding => Place::Last(None),
            (None, None | Some(0)) => Place::Between,
            (None, Some(length)) => Place::Body(length),
        }
    }
}

/// One number in digits, white space around it; no list, no sign.
fn length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

/// `Transfer-Encoding:` and the longest Content-Length fit, with room for some white space.
const LINE: usize = 64;

const HTTP2_PREFACE_LINE: &[u8] = b"PRI * HTTP/2.0";

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Standing = Standing { violation: None, is_last: false };
    const LAST: Standing = Standing { violation: None, is_last: true };

    fn refused(violation: Violation) -> Standing {
        Standing { violation: Some(violation), is_last: true }
    }

    fn standings(bytes: &[u8], piece: usize) -> [Standing; 2] {
        let mut wire = Wire::default();
        bytes.chunks(piece).for_each(|chunk| wire.see(chunk));
        [wire.standing(1), wire.standing(2)]
    }

    #[test]
    fn every_head_is_found_however_the_bytes_are_cut() {
        let beyond = refused(Violation::Boundary);
        for (bytes, expected) in [
            ("GET / HTTP/1.1\r\n\r\n", [FINE, beyond]),
            ("\r\n\nGET / HTTP/1.1\r\nA: b\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n", [FINE, FINE]),
            ("GET / HTTP/1.1\nA: b\n\nGET / HTTP/1.1\n\n", [FINE, FINE]),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nGET /GET / HTTP/1.1\r\n\r\n", [FINE, FINE]),
            ("POST / HTTP/1.1\r\nContent-Length:  0 \r\n\r\nGET / HTTP/1.1\r\n\r\n", [FINE, FINE]),
            ("POST / HTTP/1.1\r\ncontent-length: 99\r\n\r\nGET / HTTP/1.1\r\n\r\n", [FINE, beyond]),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n", [LAST, beyond]),
            ("GET / HTTP/1.1\r\nA: ", [beyond, beyond]),
        ] {
            for piece in [1, 2, 7, 1000] {
                assert_eq!(standings(bytes.as_bytes(), piece), expected, "{bytes:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn two_framings_or_two_lengths_are_refused_in_any_order() {
        let pad = format!("Content-Length: {}5", " ".repeat(LINE));
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "transfer-encoding: chunked\r\nContent-LENGTH: 5",
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5, 5",
            "Content-Length: +5",
            "Content-Length:",
            "Content-Length: 99999999999999999999",
            pad.as_str(),
        ] {
            let bytes = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n12345GET / HTTP/1.1\r\n\r\n");
            let expected = [refused(Violation::ContentLength), refused(Violation::Boundary)];
            assert_eq!(standings(bytes.as_bytes(), 1000), expected, "{fields}");
        }
    }

    #[test]
    fn http2_is_left_alone() {
        let mut wire = Wire::default();
        wire.see(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
        assert!(wire.is_http2() && wire.is_between_requests() && !wire.is_in_head());
        assert_eq!(wire.standing(7), FINE);
    }

    #[test]
    fn a_head_is_begun_by_its_first_byte_and_not_by_blank_lines() {
        let mut wire = Wire::default();
        wire.see(b"\r\n\r\n");
        assert!(!wire.is_in_head());
        wire.see(b"G");
        assert!(wire.is_in_head());
        wire.see(b"ET / HTTP/1.1\r\n\r\n");
        assert!(!wire.is_in_head() && wire.is_between_requests());
    }
}
