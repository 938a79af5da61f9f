//! What the authority really sends: one JSON value, read once, nothing copied that need not be.
//!
//! `Document::parse` turns the received bytes into a tree whose strings still lie in those bytes, refuses what has no single
//! meaning (duplicate keys, trailing data, lone surrogates, bottomless nesting), and writes the canonical form that the
//! signature covers. `claims` reads the members that a rule reads; everything else may be absent, null or new.
//!
//! Never: trust, time, HTTP. Whether any of it is true is `signature`'s business.
//!
//! The surprising decision: a string that arrived without a backslash is already canonical. JSON forbids raw control
//! characters, `"` and `\` inside a string, and RFC 8785 escapes nothing else, so its bytes are fed to the hash as they lie;
//! only a string with escapes is decoded and written anew.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::certificate::{Etag, Image, PersonId, Status, Timestamp};

mod read;

/// The answer is not of the documented shape. Says nothing of what it contained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// One JSON value; object members are sorted as RFC 8785, section 3.2.3, wants them.
#[derive(Clone, PartialEq)]
pub enum Node<'a> {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// Any number, as the IEEE 754 double that RFC 8785 defines it to be.
    Number(f64),
    /// Borrowed from the wire when it arrived without escapes.
    String(Cow<'a, str>),
    /// In the order of the wire.
    Array(Vec<Node<'a>>),
    /// Sorted by key, UTF-16 code unit by code unit; no key twice.
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

/// A whole answer whose root is an object.
pub struct Document<'a> {
    root: Node<'a>,
}

/// The members of a Get Certificate answer that a rule reads. A member of another type than documented reads as absent.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    /// `success`
    pub success: Option<bool>,
    /// `data.uaekyc_id`, an integer by value.
    pub person: Option<PersonId>,
    /// `data.active_status.code`, if it is one of the three.
    pub status: Option<Status>,
    /// `meta.timestamp`
    pub signed: Option<Timestamp>,
    /// `data.expires_on`
    pub expires_on: Option<Timestamp>,
    /// `data.certificate_etag`, if it may stand in a header.
    pub etag: Option<Etag>,
    /// `data.certificate_etag` is there at all, usable or not.
    pub has_etag: bool,
    /// A `certificate_base64` is there, wherever it stands, or any other string that counts as an image.
    pub has_image: bool,
}

/// The JSON around an image: everything before the first and after the last base64 digit.
#[derive(Clone, PartialEq)]
pub struct Frame {
    /// Up to and including `data:image/jpeg;base64,`.
    pub before: Bytes,
    /// From the closing quote on.
    pub after: Bytes,
}

/// Takes canonical JSON piece by piece.
pub trait Sink {
    /// The next piece.
    fn put(&mut self, piece: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, piece: &[u8]) {
        self.extend_from_slice(piece);
    }
}

impl Sink for blake3::Hasher {
    fn put(&mut self, piece: &[u8]) {
        self.update(piece);
    }
}

// === impl Document ===

impl<'a> Document<'a> {
    /// Reads a whole answer: UTF-8, one JSON object and nothing after it, no key twice, at most 127 levels deep.
    pub fn parse(wire: &'a [u8]) -> Result<Self, Malformed> {
        match read::read(wire)? {
            root @ Node::Object(_) => Ok(Self { root }),
            _ => Err(Malformed),
        }
    }

    /// All of it; an object.
    pub fn root(&self) -> &Node<'a> {
        &self.root
    }

    /// The root member `signature`, if there is one.
    pub fn signature(&self) -> Option<&Node<'a>> {
        self.root.member("signature")
    }

    /// Writes what the signature covers: the canonical form (RFC 8785) without the root member `signature`.
    pub fn write_signed_part(&self, sink: &mut impl Sink) {
        let Node::Object(members) = &self.root else { return };
        write_members(members.iter().filter(|(key, _)| key != "signature"), sink);
    }

    /// Reads the members that the rules read.
    pub fn claims(&self) -> Claims {
        let data = self.root.member("data");
        let member = |name| data.and_then(|data| data.member(name));
        let text = |name| member(name).and_then(Node::as_str);
        let code = member("active_status").and_then(|status| status.member("code")).and_then(Node::as_str);
        let signed = self.root.member("meta").and_then(|meta| meta.member("timestamp")).and_then(Node::as_str);
        Claims {
            success: self.root.member("success").and_then(Node::as_bool),
            person: member("uaekyc_id").and_then(Node::as_integer).map(PersonId),
            status: code.and_then(Status::parse),
            signed: signed.and_then(Timestamp::parse),
            expires_on: text("expires_on").and_then(Timestamp::parse),
            etag: text("certificate_etag").and_then(Etag::parse),
            has_etag: member("certificate_etag").is_some_and(|etag| *etag != Node::Null),
            has_image: self.root.could_hold_image(),
        }
    }

    /// The decoded `data.certificate_base64` and the JSON around it, if it is a JPEG in padded standard base64.
    ///
    /// The frame is cut from the wire, so that frame and re-encoded image give the received bytes again. Where the base64
    /// arrived escaped (`\/`) the frame is canonical JSON instead, which verifies under the same signature.
    ///
    /// If the image is the one that is `known`, that one is handed out: nearly every answer confirms an image that is held
    /// already, a comparison costs a third of a digest, and one copy is enough to keep.
    pub fn image(&self, wire: &[u8], known: Option<&Image>) -> Result<(Image, Frame), Malformed> {
        let url = self.root.member("data").and_then(|data| data.member("certificate_base64")).ok_or(Malformed)?;
        let Node::String(text) = url else { return Err(Malformed) };
        let digits = base64_of_jpeg_url(text).ok_or(Malformed)?;
        let decoded = base64_simd::STANDARD.decode_to_vec(digits).map_err(|_| Malformed)?;
        let image = match known.filter(|known| known.bytes() == &decoded) {
            Some(known) => known.clone(),
            None => Image::new(Bytes::from(decoded)).ok_or(Malformed)?,
        };
        let frame = match text {
            Cow::Borrowed(_) => Frame::cut(wire, digits),
            Cow::Owned(_) => {
                let mut canonical = Vec::with_capacity(wire.len());
                self.root.write(&mut canonical);
                let at = memchr::memmem::find(&canonical, digits.as_bytes()).ok_or(Malformed)?;
                Frame::around(&canonical, at, digits.len())
            }
        };
        Ok((image, frame))
    }

    /// Tells answers about one certificate apart: a hash over the members of `data` but the image and its ETag.
    pub fn data_variant(&self) -> u32 {
        let mut hasher = blake3::Hasher::new();
        if let Some(Node::Object(members)) = self.root.member("data") {
            let others = members.iter().filter(|(key, _)| key != "certificate_base64" && key != "certificate_etag");
            write_members(others, &mut hasher);
        }
        let hash = hasher.finalize();
        u32::from_be_bytes([hash.as_bytes()[0], hash.as_bytes()[1], hash.as_bytes()[2], hash.as_bytes()[3]])
    }

    /// The answer without anything that could be an image: rebuilt from the members that the upstream's page names, with
    /// `status` as the status and no signature, since none would fit.
    pub fn withhold(&self, status: Status) -> Bytes {
        let data = self.root.member("data");
        let of_data = |name| safe(data.and_then(|data| data.member(name)));
        let of_meta = |name| safe(self.root.member("meta").and_then(|meta| meta.member(name)));
        let messages =
            safe(data.and_then(|data| data.member("active_status")).and_then(|status| status.member("messages")));
        let object = |members: Vec<(&'static str, Node<'a>)>| {
            Node::Object(members.into_iter().map(|(key, value)| (Cow::Borrowed(key), value)).collect())
        };
        let active_status = object(vec![("code", Node::String(status.as_str().into())), ("messages", messages)]);
        let data = object(vec![
            ("active_status", active_status),
            ("certificate_base64", Node::Null),
            ("certificate_etag", Node::Null),
            ("expires_on", of_data("expires_on")),
            ("issued_on", of_data("issued_on")),
            ("last_updated", of_data("last_updated")),
            ("uaekyc_id", of_data("uaekyc_id")),
        ]);
        let envelope = object(vec![
            ("data", data),
            ("errors", safe(self.root.member("errors"))),
            ("message", safe(self.root.member("message"))),
            ("meta", object(vec![("filters", of_meta("filters")), ("timestamp", of_meta("timestamp"))])),
            ("signature", Node::String("".into())),
            ("success", safe(self.root.member("success"))),
        ]);
        let mut text = Vec::new();
        envelope.write(&mut text);
        text.into()
    }

    /// A string anywhere in it counts as an image: longer than 4 KiB, or a `data:` URL.
    pub fn holds_image(&self) -> bool {
        self.root.holds(&|text| counts_as_image(text))
    }

    /// Any member called `certificate_base64`, however deep, is not null.
    pub fn holds_certificate(&self) -> bool {
        self.root.holds_certificate()
    }
}

/// A certificate may be in this answer, although it is none that `Document` reads: a member called `certificate_base64` is
/// not null, or, in what is not JSON of one meaning, where somebody's lenient reader may still find one, the name stands there.
pub fn may_carry_certificate(wire: &[u8]) -> bool {
    match read::read(wire) {
        Ok(root) => root.holds_certificate(),
        Err(Malformed) => memchr::memmem::find(&without_escapes(wire), CERTIFICATE.as_bytes()).is_some(),
    }
}

/// The text with `\uXXXX` taken for the ASCII character that it may be.
fn without_escapes(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digits = rest.strip_prefix(b"\\u").and_then(|escape| escape.get(..4));
        let character = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        plain.push(character.unwrap_or(*first));
        rest = if character.is_some() { &rest[6..] } else { after };
    }
    plain
}

// === impl Node ===

impl<'a> Node<'a> {
    /// The member of that name, if this is an object that has one.
    pub fn member(&self, name: &str) -> Option<&Node<'a>> {
        match self {
            Node::Object(members) => members.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text, if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Node::String(text) => Some(text),
            _ => None,
        }
    }

    fn as_bool(&self) -> Option<bool> {
        match self {
            Node::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The number, if it is whole and a double tells it from its neighbours.
    fn as_integer(&self) -> Option<i64> {
        match self {
            Node::Number(value) if value.fract() == 0.0 && value.abs() <= MAX_SAFE_INTEGER => Some(*value as i64),
            _ => None,
        }
    }

    /// Some string in here, key or value, satisfies the test.
    fn holds(&self, test: &impl Fn(&str) -> bool) -> bool {
        match self {
            Node::String(text) => test(text),
            Node::Array(items) => items.iter().any(|item| item.holds(test)),
            Node::Object(members) => members.iter().any(|(key, value)| test(key) || value.holds(test)),
            Node::Null | Node::Bool(_) | Node::Number(_) => false,
        }
    }

    /// By its name or by its looks.
    fn could_hold_image(&self) -> bool {
        self.holds_certificate() || self.holds(&|text| counts_as_image(text))
    }

    fn holds_certificate(&self) -> bool {
        match self {
            Node::Array(items) => items.iter().any(Node::holds_certificate),
            Node::Object(members) => members
                .iter()
                .any(|(key, value)| (key == CERTIFICATE && *value != Node::Null) || value.holds_certificate()),
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::String(_) => false,
        }
    }

    /// Writes the canonical form of this value (RFC 8785, section 3.2).
    pub fn write(&self, sink: &mut impl Sink) {
        match self {
            Node::Null => sink.put(b"null"),
            Node::Bool(true) => sink.put(b"true"),
            Node::Bool(false) => sink.put(b"false"),
            Node::Number(value) => sink.put(ryu_js::Buffer::new().format_finite(*value).as_bytes()),
            Node::String(text) => write_string(text, sink),
            Node::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    sink.put(if at == 0 { b"[" } else { b"," });
                    item.write(sink);
                }
                sink.put(if items.is_empty() { b"[]" } else { b"]" });
            }
            Node::Object(members) => write_members(members.iter(), sink),
        }
    }
}

fn write_members<'n, 'a: 'n>(members: impl Iterator<Item = &'n (Cow<'a, str>, Node<'a>)>, sink: &mut impl Sink) {
    sink.put(b"{");
    for (at, (key, value)) in members.enumerate() {
        if at > 0 {
            sink.put(b",");
        }
        write_string(key, sink);
        sink.put(b":");
        value.write(sink);
    }
    sink.put(b"}");
}

/// Takes the `Cow` and not its text: what is borrowed came without escapes, and needs none.
#[allow(clippy::ptr_arg)] // see above
fn write_string(text: &Cow<'_, str>, sink: &mut impl Sink) {
    sink.put(b"\"");
    match text {
        Cow::Borrowed(as_received) => sink.put(as_received.as_bytes()),
        Cow::Owned(decoded) => write_escaped(decoded, sink),
    }
    sink.put(b"\"");
}

/// RFC 8785, section 3.2.2.2: the two-character escapes where JSON has one, `\u00xx` for other control characters, else raw.
fn write_escaped(text: &str, sink: &mut impl Sink) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        sink.put(&rest[..at]);
        match rest[at] {
            b'"' => sink.put(b"\\\""),
            b'\\' => sink.put(b"\\\\"),
            0x08 => sink.put(b"\\b"),
            b'\t' => sink.put(b"\\t"),
            b'\n' => sink.put(b"\\n"),
            0x0c => sink.put(b"\\f"),
            b'\r' => sink.put(b"\\r"),
            control => sink.put(format!("\\u{control:04x}").as_bytes()),
        }
        rest = &rest[at + 1..];
    }
    sink.put(rest);
}

/// A copy of the member that holds nothing like an image; null where it does, or is absent.
fn safe<'a>(member: Option<&Node<'a>>) -> Node<'a> {
    member.filter(|node| !node.could_hold_image()).cloned().unwrap_or(Node::Null)
}

fn counts_as_image(text: &str) -> bool {
    text.len() > MAX_PLAIN_STRING || text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("data:"))
}

fn base64_of_jpeg_url(text: &str) -> Option<&str> {
    let (scheme, digits) = text.split_at_checked(JPEG_URL.len())?;
    scheme.eq_ignore_ascii_case(JPEG_URL).then_some(digits)
}

// === impl Frame ===

impl Frame {
    /// The wire around `digits`, which must be a part of it.
    fn cut(wire: &[u8], digits: &str) -> Self {
        let at = digits.as_ptr().addr() - wire.as_ptr().addr();
        Self::around(wire, at, digits.len())
    }

    fn around(text: &[u8], at: usize, len: usize) -> Self {
        // Copies: a slice of the received body would keep all of it in memory.
        Self { before: Bytes::copy_from_slice(&text[..at]), after: Bytes::copy_from_slice(&text[at + len..]) }
    }

    /// What stands inside it, if this is the frame of `wire` itself and not of its canonical form. Shares the memory.
    pub fn inside(&self, wire: &Bytes) -> Option<Bytes> {
        let is_its_own = wire.starts_with(&self.before) && wire.ends_with(&self.after) && wire.len() >= self.len();
        is_its_own.then(|| wire.slice(self.before.len()..wire.len() - self.after.len()))
    }

    /// How many bytes stand around the image.
    pub fn len(&self) -> usize {
        self.before.len() + self.after.len()
    }

    /// Never true in practice: there is always an envelope.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The envelope of this frame with nothing in it that could be an image, and `status` as its status.
    pub fn withhold(&self, status: Status) -> Result<Bytes, Malformed> {
        let hollow = [&self.before[..], &self.after[..]].concat();
        Ok(Document::parse(&hollow)?.withhold(status))
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} bytes)", self.len())
    }
}

/// The member of `data` that holds the image.
const CERTIFICATE: &str = "certificate_base64";

const JPEG_URL: &str = "data:image/jpeg;base64,";

/// A longer string is taken for an image, whatever it is called. Source: the contract, "Answers".
const MAX_PLAIN_STRING: usize = 4096;

/// 2^53 - 1; beyond it doubles skip integers.
const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(wire: &str) -> Option<String> {
        let mut text = Vec::new();
        Document::parse(wire.as_bytes()).ok()?.write_signed_part(&mut text);
        String::from_utf8(text).ok()
    }

    #[test]
    fn the_canonical_form_comes_from_values_not_from_the_wire_text() {
        let plain = canonical(r#"{"a":"/\"\\","b":{"x":1,"y":[true,null]},"c":"م"}"#);
        assert!(plain.is_some());
        for same in [
            r#" { "c" : "\u0645" , "b" : { "y" : [ true , null ] , "x" : 1.0 } , "a" : "\/\"\u005c" } "#,
            r#"{"signature":"ab","c":"م","\u0062":{"x":1e0,"y":[true,null]},"a":"\u002f\"\\"}"#,
        ] {
            assert_eq!(canonical(same), plain, "{same}");
        }
    }

    #[test]
    fn only_the_root_signature_is_left_out() {
        assert_eq!(
            canonical(r#"{"signature":"x","data":{"signature":"y"}}"#).as_deref(),
            Some(r#"{"data":{"signature":"y"}}"#)
        );
    }

    #[test]
    fn numbers_are_written_as_ecmascript_writes_them() {
        for (wire, text) in [
            ("12345.0", "12345"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("1e21", "1e+21"),
            ("1E20", "100000000000000000000"),
            ("0.000001", "0.000001"),
            ("1e-7", "1e-7"),
            ("333333333.33333329", "333333333.3333333"),
            ("9007199254740993", "9007199254740992"),
            ("18446744073709551616", "18446744073709552000"),
            ("5e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ] {
            assert_eq!(canonical(&format!("{{\"n\":{wire}}}")), Some(format!("{{\"n\":{text}}}")), "{wire}");
        }
    }

    #[test]
    fn what_has_no_single_meaning_is_malformed() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let open = format!("{{\"a\":{}", "[".repeat(100_000));
        for wrong in [
            "",
            "[]",
            "null",
            "\"x\"",
            "{",
            "{}x",
            "{} {}",
            "\u{feff}{}",
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\udc00\ud800"}"#,
            "{\"a\":\"\n\"}",
            r#"{"a":1e400}"#,
            r#"{"a":01}"#,
            r#"{"a":+1}"#,
            r#"{"a":NaN}"#,
            r#"{"a":1,}"#,
            "{\"a\":1 // no\n}",
            &deep,
            &open,
        ] {
            assert!(Document::parse(wrong.as_bytes()).is_err(), "{}", &wrong[..wrong.len().min(40)]);
        }
        assert!(Document::parse(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn members_of_another_type_read_as_absent() {
        let document = Document::parse(
            br#"{"success":"true","data":{"uaekyc_id":"1","certificate_etag":7,"active_status":{"code":"PAUSED"},"expires_on":1},"meta":[]}"#,
        );
        let claims = document.map(|document| document.claims()).expect("is JSON");
        assert_eq!(
            claims,
            Claims {
                success: None,
                person: None,
                status: None,
                signed: None,
                expires_on: None,
                etag: None,
                has_etag: true,
                has_image: false
            }
        );
    }

    #[test]
    fn a_long_string_or_a_data_url_anywhere_counts_as_an_image() {
        let long = "x".repeat(4097);
        for (wire, is_image) in [
            (r#"{"data":{"certificate_base64":null}}"#.to_owned(), false),
            (r#"{"data":{"certificate_base64":""}}"#.to_owned(), true),
            (r#"{"meta":{"certificate_base64":null}}"#.to_owned(), false),
            (r#"{"meta":{"filters":["DATA:image/png;base64,"]}}"#.to_owned(), true),
            (r#"{"data:x":1}"#.to_owned(), true),
            (format!("{{\"message\":\"{long}\"}}"), true),
            (format!("{{\"message\":\"{}\"}}", &long[1..]), false),
        ] {
            let claims = Document::parse(wire.as_bytes()).map(|document| document.claims()).expect("is JSON");
            assert_eq!(claims.has_image, is_image, "{}", &wire[..wire.len().min(60)]);
        }
    }

    /// A certificate beside its place was neither noticed nor left out, unless it was long or a data URL.
    #[test]
    fn a_certificate_beside_its_place_is_withheld_too() {
        let wire = br#"{"data":{"active_status":{"code":"REVOKED","messages":[{"certificate_base64":"/9j/"}]}},"errors":[{"certificate_base64":"/9j/"}],"success":true}"#;
        let document = Document::parse(wire).expect("is JSON");
        assert!(document.claims().has_image);
        let rest = document.withhold(Status::Revoked);
        assert!(!String::from_utf8_lossy(&rest).contains("/9j/"), "{rest:?}");
    }

    #[test]
    fn frame_and_image_give_the_wire_again_or_its_canonical_form() {
        let wire = br#"{ "data":{"certificate_base64":"Data:Image/JPEG;base64,/9j/4AAQ"},"z":"\u0645" }"#;
        let (image, frame) = Document::parse(wire).and_then(|document| document.image(wire, None)).expect("a JPEG");
        let digits = base64_simd::STANDARD.encode_to_string(image.bytes());
        assert_eq!([&frame.before[..], digits.as_bytes(), &frame.after[..]].concat(), wire);

        let escaped = br#"{"z":1,"data":{"certificate_base64":"data:image/jpeg;base64,\/9j\/4AAQ"},"signature":"s"}"#;
        let (image, frame) =
            Document::parse(escaped).and_then(|document| document.image(escaped, None)).expect("a JPEG");
        let digits = base64_simd::STANDARD.encode_to_string(image.bytes());
        let written = [&frame.before[..], digits.as_bytes(), &frame.after[..]].concat();
        assert_eq!(
            written,
            br#"{"data":{"certificate_base64":"data:image/jpeg;base64,/9j/4AAQ"},"signature":"s","z":1}"#
        );
    }

    #[test]
    fn only_padded_standard_base64_of_a_jpeg_is_an_image() {
        for wrong in [
            "",
            "data:image/jpeg;base64,",
            "/9j/4AAQ",
            "data:image/png;base64,/9j/4AAQ",
            "data:image/jpeg;base64,/9j_4AAQ",
            "data:image/jpeg;base64,/9j/4AA",
            "data:image/jpeg;base64,/9j/4AAR=",
            "data:image/jpeg;base64,/9j/4A==\\n",
            "data:image/jpeg;base64,iVBORw0K",
            "data:image/jpeg;base64,/9j/4B==",
            "data:image/jpeg;base64, /9j/4AAQ",
        ] {
            let wire = format!("{{\"data\":{{\"certificate_base64\":\"{wrong}\"}}}}");
            let document = Document::parse(wire.as_bytes()).expect("is JSON");
            assert!(document.image(wire.as_bytes(), None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_withheld_envelope_holds_nothing_like_an_image_and_no_signature() {
        let wire = br#"{"success":true,"data":{"uaekyc_id":1,"certificate_base64":"data:image/jpeg;base64,/9j/4AAQ","certificate_etag":"e","photo":"data:x",
            "active_status":{"code":"ACTIVE","messages":""},"expires_on":"2026-01-01T00:00:00Z"},"message":"DATA:x","signature":"ab","meta":{"timestamp":"t","filters":{}},"errors":[]}"#;
        let (_, frame) = Document::parse(wire).and_then(|document| document.image(wire, None)).expect("a JPEG");
        let text = frame.withhold(Status::Revoked).expect("still JSON");
        assert_eq!(
            std::str::from_utf8(&text).expect("UTF-8"),
            r#"{"data":{"active_status":{"code":"REVOKED","messages":""},"certificate_base64":null,"certificate_etag":null,"expires_on":"2026-01-01T00:00:00Z","issued_on":null,"last_updated":null,"uaekyc_id":1},"errors":[],"message":null,"meta":{"filters":{},"timestamp":"t"},"signature":"","success":true}"#
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(wire in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Document::parse(&wire).map(|document| (document.claims(), document.holds_certificate()));
        }

        #[test]
        fn writing_is_idempotent(text in "\\PC{0,20}", number in any::<f64>().prop_filter("finite", |n| n.is_finite())) {
            let wire = serde_json::json!({ "k": text, text.clone(): number, "~": [text.clone()] }).to_string();
            if let Some(once) = canonical(&wire) {
                prop_assert_eq!(canonical(&once), Some(once.clone()));
            }
        }
    }
}
