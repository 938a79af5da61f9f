//! `If-None-Match` against the tags of what is about to be released (RFC 9110, section 13.1.2).
//!
//! Answers one question, "does the client already hold this?", and never whether it may go on showing it: that is
//! `release`'s, and a 304 is a release too. The surprising decision: one element that is no entity tag spoils the whole
//! field, in every line of it. A full answer is always right; a 304 to a list that was guessed at might not be.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{HeaderValue, IF_NONE_MATCH};

use crate::certificate::Etag;

/// The entity tag of one representation of a certificate, as it stands in `ETag`.
#[derive(Clone, Copy, Debug)]
pub enum Tag<'a> {
    /// The JPEG: `"<certificate_etag>"`, strong.
    Image(&'a Etag),
    /// The JSON: `W/"<certificate_etag>.<8 hex>"`, the digits being over the other members of `data`. A client that knows
    /// only the upstream's ETag may name that one.
    Json(&'a Etag, &'a Bytes),
}

// === impl Tag ===

impl Tag<'_> {
    /// As it stands in `ETag`. Nothing is made: the text is shared.
    pub fn to_header(self) -> HeaderValue {
        HeaderValue::from_maybe_shared(self.as_bytes().clone()).expect("an Etag may stand in a header")
    }

    /// Whether `If-None-Match` names it, by weak comparison; `*` names everything, no header nothing. Where an ETag must
    /// not give a 304 any more, do not ask.
    pub fn is_named_by(self, headers: &HeaderMap) -> bool {
        let is_ours = |found: &[u8]| match self {
            Self::Image(etag) => found == etag.as_str().as_bytes(),
            Self::Json(etag, tag) => found == opaque(tag) || found == etag.as_str().as_bytes(),
        };
        let lines = headers.get_all(IF_NONE_MATCH);
        let mut alone = lines.iter();
        match (alone.next().map(HeaderValue::as_bytes), alone.next()) {
            (None, _) => false,
            // A client that sends back just what it was given is the usual one.
            (Some(line), None) if line == self.as_bytes() || trim(line) == b"*" => true,
            _ => {
                let mut lines = lines.iter().map(HeaderValue::as_bytes);
                lines.try_fold(false, |named, line| Some(list_has(line, is_ours)? || named)) == Some(true)
            }
        }
    }

    /// As it stands in `ETag`.
    fn as_bytes(&self) -> &Bytes {
        match self {
            Self::Image(etag) => etag.strong(),
            Self::Json(_, tag) => tag,
        }
    }
}

/// Without `W/` and the quotes.
fn opaque(tag: &Bytes) -> &[u8] {
    entity_tag(tag).map_or(tag, |(opaque, _)| opaque)
}

/// Whether one of the entity tags in the list is wanted; `None` if it is no list of entity tags. Empty elements are passed
/// over (RFC 9110, section 5.6.1.2).
fn list_has(line: &[u8], is_wanted: impl Fn(&[u8]) -> bool) -> Option<bool> {
    let mut has = false;
    let mut rest = trim(line);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(b",") {
            rest = trim(after);
            continue;
        }
        let (tag, after) = entity_tag(rest)?;
        has |= is_wanted(tag);
        rest = trim(after);
        if !rest.is_empty() && !rest.starts_with(b",") {
            return None;
        }
    }
    Some(has)
}

/// One entity tag at the beginning: what is between its quotes, and what follows it.
fn entity_tag(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inside = text.strip_prefix(b"W/").unwrap_or(text).strip_prefix(b"\"")?;
    let end = inside.iter().position(|b| *b == b'"')?;
    let (tag, after) = inside.split_at(end);
    tag.iter().all(|b| matches!(b, 0x21 | 0x23..=0x7e | 0x80..)).then_some((tag, &after[1..]))
}

/// Without the optional white space of HTTP: blanks and tabs, not what Rust thinks white.
fn trim(text: &[u8]) -> &[u8] {
    let is_blank = |b: &u8| matches!(b, b' ' | b'\t');
    let start = text.iter().position(|b| !is_blank(b)).unwrap_or(text.len());
    let end = text.iter().rposition(|b| !is_blank(b)).map_or(start, |last| last + 1);
    &text[start..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(IF_NONE_MATCH, HeaderValue::from_bytes(line).unwrap());
        }
        headers
    }

    #[test]
    fn tags_are_written_as_the_contract_says() {
        let etag = Etag::parse("abc").unwrap();
        assert_eq!(Tag::Image(&etag).to_header(), "\"abc\"");
        assert_eq!(Tag::Json(&etag, &etag.weak_with(0x0123_abcd)).to_header(), "W/\"abc.0123abcd\"");
    }

    #[test]
    fn what_the_header_names() {
        let etag = Etag::parse("abc").unwrap();
        let weak = etag.weak_with(0x0123_abcd);
        let (image, json) = (Tag::Image(&etag), Tag::Json(&etag, &weak));
        // (lines, names the image, names the JSON)
        let table: &[(&[&[u8]], bool, bool)] = &[
            (&[], false, false),
            (&[b""], false, false),
            (&[b"\"abc\""], true, true),
            (&[b"W/\"abc\""], true, true),
            (&[b"W/\"abc.0123abcd\""], false, true),
            (&[b"\"abc.0123abcd\""], false, true),
            (&[b"\"abc.0123abce\""], false, false),
            (&[b"\"ABC\""], false, false),
            (&[b"\"x\", \"abc\""], true, true),
            (&[b"\"x\",\"abc\",\"y\""], true, true),
            (&[b" ,, \"x\"\t,\"abc\" , "], true, true),
            (&[b"\"x\"", b"\"abc\""], true, true),
            (&[b"\"abc\"", b"\"x\""], true, true),
            (&[b"*"], true, true),
            (&[b" * "], true, true),
            (&[b"\"*\""], false, false),
            (&[b"\"a,b\", \"abc\""], true, true),
            (&[b"\"\", \"abc\""], true, true),
            (&[b"\"\xe9\", \"abc\""], true, true),
            // No valid list: nothing.
            (&[b"abc"], false, false),
            (&[b"'abc'"], false, false),
            (&[b"w/\"abc\""], false, false),
            (&[b"W/ \"abc\""], false, false),
            (&[b"W/abc"], false, false),
            (&[b"\"abc"], false, false),
            (&[b"abc\""], false, false),
            (&[b"\"abc\" \"x\""], false, false),
            (&[b"\"abc\"x"], false, false),
            (&[b"\"abc\"; q=1"], false, false),
            (&[b"\"abc\", x"], false, false),
            (&[b"\"a b\", \"abc\""], false, false),
            (&[b"*, \"abc\""], false, false),
            (&[b"**"], false, false),
            (&[b"*", b"\"abc\""], false, false),
            (&[b"*", b"*"], false, false),
            (&[b"\"abc\"", b"x"], false, false),
            (&[b"x", b"\"abc\""], false, false),
        ];
        for (lines, named_image, named_json) in table {
            let headers = headers(lines);
            let shown = lines.iter().map(|line| String::from_utf8_lossy(line)).collect::<Vec<_>>();
            assert_eq!(image.is_named_by(&headers), *named_image, "image, {shown:?}");
            assert_eq!(json.is_named_by(&headers), *named_json, "JSON, {shown:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            let found = std::cell::RefCell::new(Vec::new());
            let _ = list_has(&line, |tag| {
                found.borrow_mut().extend_from_slice(tag);
                false
            });
            prop_assert!(!found.borrow().contains(&b'"'));
        }

        #[test]
        fn a_tag_is_found_wherever_it_stands_in_a_valid_list(
            others in proptest::collection::vec("(W/)?\"[!#-~]{0,8}\"", 0..5),
            at in any::<prop::sample::Index>(),
            weak in any::<bool>(),
        ) {
            let etag = Etag::parse("a1b2,c3").unwrap();
            let mut tags = others;
            let ours = if weak { "W/\"a1b2,c3\"" } else { "\"a1b2,c3\"" };
            tags.insert(at.index(tags.len() + 1), ours.to_owned());
            let headers = headers(&[tags.join(" , ").as_bytes()]);
            prop_assert!(Tag::Image(&etag).is_named_by(&headers));
        }
    }
}
