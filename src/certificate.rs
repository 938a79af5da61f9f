//! The nouns of the domain, as values that cannot be wrong once they exist.
//!
//! A `JourneyToken` is a parsed UUID v4, an `Etag` may stand in a header, an `Image` begins like a JPEG. Nobody further on
//! checks again. Nothing here reads time, parses JSON or knows HTTP. `Debug` never shows a token, an identifier or a byte.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use sha2::Digest as _;

use crate::pages;

/// Names one journey: a UUID v4, folded to lower case before anything else.
///
/// Source: upstream's page, path parameter `journeyToken` ("UUID v4 of the journey, 36 characters").
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JourneyToken(uuid::Uuid);

/// The upstream's identifier of a person, `data.uaekyc_id`. Numbers are compared by value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PersonId(pub i64);

/// `data.certificate_etag`: 1 to 256 characters that may stand in an entity tag (RFC 9110, section 8.8.3).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Etag {
    quoted: Bytes,
    digest: Digest,
}

/// `data.active_status.code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Valid; comes with an image.
    Active,
    /// Manually revoked; must not be shown.
    Revoked,
    /// Past its time; must not be shown.
    Expired,
}

/// A text of the authority's, as it goes to whoever may read it. `Debug` shows its length only: it names a person.
#[derive(Clone, PartialEq, Eq)]
pub struct Said(pub Bytes);

/// A point in wall-clock time, in nanoseconds since 1970 (UTC); what lies outside 1678 to 2262 is moved to the nearer end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

/// The first half of a BLAKE3 digest: enough to tell two byte strings apart, small enough to remember a million of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 16]);

/// A decoded JPEG and its digests.
#[derive(Clone)]
pub struct Image {
    bytes: Bytes,
    digest: Digest,
    /// Costs as much as everything else together, so it waits until somebody asks, and is then shared by all clones.
    repr_digest: Arc<OnceLock<Bytes>>,
    /// The base64 that it came as, while those who waited for it are answered; nobody keeps that.
    text: Option<Bytes>,
}

// === impl JourneyToken ===

impl JourneyToken {
    /// Reads the 36 characters of a hyphenated UUID v4, in any case. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 36 {
            return None; // the library also reads braces, urn: and the form without hyphens
        }
        let uuid = uuid::Uuid::try_parse(text).ok()?;
        let is_v4 = uuid.get_version_num() == 4 && uuid.get_variant() == uuid::Variant::RFC4122;
        is_v4.then_some(Self(uuid))
    }

    /// The sixteen bytes, for hashing.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Lower case with hyphens: for the upstream's path and for authorised admin answers, never for a log.
    pub fn to_path(&self) -> String {
        self.0.hyphenated().to_string()
    }
}

impl fmt::Debug for JourneyToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JourneyToken(..)")
    }
}

// === impl PersonId ===

impl fmt::Debug for PersonId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PersonId(..)")
    }
}

// === impl Etag ===

impl Etag {
    /// Accepts 1 to 256 characters of RFC 9110's `etagc` that are ASCII: anything else could not be sent back in a header.
    pub fn parse(text: &str) -> Option<Self> {
        let is_etagc = |b: u8| b == 0x21 || (0x23..=0x7e).contains(&b);
        let fits = (1..=256).contains(&text.len()) && text.bytes().all(is_etagc);
        fits.then(|| Self { quoted: format!("\"{text}\"").into(), digest: Digest::of(text.as_bytes()) })
    }

    /// The characters, without quotes.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.quoted[1..self.quoted.len() - 1]).expect("ASCII, as `parse` saw to")
    }

    /// The entity tag of the image, as it stands in a header: in quotes. Made once, and shared.
    pub fn strong(&self) -> &Bytes {
        &self.quoted
    }

    /// A weak entity tag of the same with these four bytes behind it.
    pub fn weak_with(&self, variant: u32) -> Bytes {
        format!("W/\"{}.{variant:08x}\"", self.as_str()).into()
    }

    /// What the marks remember of an ETag; every hit looks for it.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl fmt::Debug for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Etag(..)")
    }
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Said({} bytes)", self.0.len())
    }
}

// === impl Status ===

impl Status {
    /// The upstream's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Revoked => "REVOKED",
            Self::Expired => "EXPIRED",
        }
    }

    /// Reads the upstream's word; an unknown one is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Revoked, Self::Expired].into_iter().find(|status| status.as_str() == text)
    }
}

// === impl Timestamp ===

impl Timestamp {
    /// Reads ISO 8601 as the upstream writes it: date, `T`, time, 0 to 9 fraction digits, `Z` or an offset.
    pub fn parse(text: &str) -> Option<Self> {
        let fraction = text.split_once('.').map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
        if fraction > 9 || !text.is_ascii() || text.as_bytes().get(10).is_none_or(|t| !t.eq_ignore_ascii_case(&b'T')) {
            return None;
        }
        let parsed = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
        Some(Self::from_nanos(parsed.unix_timestamp_nanos()))
    }

    /// From nanoseconds since 1970, clamped to what fits.
    pub fn from_nanos(nanos: i128) -> Self {
        Self(nanos.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
    }

    /// How much later this is than `earlier`; zero if it is not later.
    pub fn since(self, earlier: Timestamp) -> std::time::Duration {
        std::time::Duration::from_nanos(
            i128::from(self.0).saturating_sub(earlier.0.into()).clamp(0, u64::MAX.into()) as u64
        )
    }

    /// RFC 3339 in UTC with milliseconds, the way the upstream writes it.
    pub fn to_rfc3339(self) -> String {
        self.format(time::macros::format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
        ))
    }

    /// RFC 3339 in UTC with nanoseconds, so that two instants can be told apart.
    pub fn to_rfc3339_nanos(self) -> String {
        self.format(time::macros::format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:9]Z"
        ))
    }

    fn format(self, format: &[time::format_description::BorrowedFormatItem<'_>]) -> String {
        let at = time::OffsetDateTime::from_unix_timestamp_nanos(self.0.into()).ok();
        at.and_then(|at| at.format(format).ok()).unwrap_or_default()
    }
}

// === impl Digest ===

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_full(blake3::hash(bytes).as_bytes())
    }

    /// Keeps the first half of a whole digest.
    pub fn from_full(full: &[u8; 32]) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&full[..16]);
        Self(half)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

// === impl Image ===

impl Image {
    /// Takes bytes that begin like a JPEG (FF D8 FF); `None` for anything else.
    pub fn new(bytes: Bytes) -> Option<Self> {
        let digest = Digest::of(&bytes);
        bytes.starts_with(&[0xff, 0xd8, 0xff]).then(|| Self { bytes, digest, repr_digest: Arc::default(), text: None })
    }

    /// The SHA-256 as `Repr-Digest` wants it (RFC 9530): computed once, when somebody first wants it.
    pub fn repr_digest(&self) -> &Bytes {
        self.repr_digest.get_or_init(|| {
            let sha256 = sha2::Sha256::digest(&self.bytes);
            format!("sha-256=:{}:", base64_simd::STANDARD.encode_to_string(sha256)).into()
        })
    }

    /// What tells these bytes from others.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never true: an image has at least its first three bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The same, with the base64 that it came as.
    pub fn arrived_as(self, text: Option<Bytes>) -> Self {
        Self { text, ..self }
    }

    /// The same, in pages of its own, from where it can be sent without being copied.
    pub fn in_pages(self) -> Self {
        Self { bytes: pages::keep(self.bytes), ..self }
    }

    /// The same, to be kept.
    pub fn without_text(&self) -> Self {
        Self { text: None, ..self.clone() }
    }

    /// The base64 that it came as. Only `release` calls this, on behalf of a `Permit`.
    pub(crate) fn text(&self) -> Option<&Bytes> {
        self.text.as_ref()
    }

    /// The bytes themselves. Only `release` calls this, on behalf of a `Permit`.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image({} bytes)", self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_uuid_v4_in_any_case_and_nothing_else() {
        let lower = JourneyToken::parse("0b7a9f52-3c1d-4e8f-9a6b-5c4d3e2f1a0b");
        assert!(lower.is_some());
        assert_eq!(lower, JourneyToken::parse("0B7A9F52-3C1D-4E8F-9A6B-5C4D3E2F1A0B"));
        for wrong in [
            "",
            "0b7a9f52-3c1d-1e8f-9a6b-5c4d3e2f1a0b",
            "0b7a9f52-3c1d-4e8f-1a6b-5c4d3e2f1a0b",
            "0b7a9f523c1d4e8f9a6b5c4d3e2f1a0b",
            "{0b7a9f52-3c1d-4e8f-9a6b-5c4d3e2f1a0b}",
            "0b7a9f52-3c1d-4e8f-9a6b-5c4d3e2f1a0b ",
            "0b7a9f52-3c1d-4e8f-9a6b_5c4d3e2f1a0b",
            "00000000-0000-0000-0000-000000000000",
        ] {
            assert_eq!(JourneyToken::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_etag_that_could_break_a_header_is_none() {
        assert!(Etag::parse("a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6").is_some());
        assert!(Etag::parse(&"x".repeat(256)).is_some());
        for wrong in ["", "a\r\nSet-Cookie: b", "a\"b", "a b", "\u{e9}", "\u{7f}", &"x".repeat(257)] {
            assert_eq!(Etag::parse(wrong), None);
        }
    }

    #[test]
    fn timestamps_take_any_offset_and_up_to_nine_fraction_digits() {
        let noon = Timestamp::parse("2025-05-13T12:00:00Z");
        assert!(noon.is_some());
        for same in [
            "2025-05-13T16:00:00+04:00",
            "2025-05-13T12:00:00.000Z",
            "2025-05-13T12:00:00.000000000Z",
            "2025-05-13T10:30:00.0-01:30",
        ] {
            assert_eq!(Timestamp::parse(same), noon, "{same}");
        }
        for wrong in [
            "2025-05-13T12:00:00",
            "2025-05-13 12:00:00Z",
            "2025-05-13",
            "2025-13-01T00:00:00Z",
            "1747137600",
            "2025-05-13T12:00:00.0000000000Z",
            "",
        ] {
            assert_eq!(Timestamp::parse(wrong), None, "{wrong}");
        }
        assert_eq!(noon.map(Timestamp::to_rfc3339).as_deref(), Some("2025-05-13T12:00:00.000Z"));
        assert!(Timestamp::parse("9999-12-31T23:59:59Z") > noon);
    }

    #[test]
    fn debug_shows_neither_token_nor_bytes() {
        let token = JourneyToken::parse("0b7a9f52-3c1d-4e8f-9a6b-5c4d3e2f1a0b");
        assert_eq!(format!("{token:?}"), "Some(JourneyToken(..))");
        let image = Image::new(Bytes::from_static(&[0xff, 0xd8, 0xff, 0xe0]));
        let said = Said(Bytes::from_static(b"{}"));
        assert_eq!(format!("{image:?} {:?} {said:?}", PersonId(7)), "Some(Image(4 bytes)) PersonId(..) Said(2 bytes)");
        assert!(Image::new(Bytes::from_static(b"\x89PNG")).is_none());
    }

    #[test]
    fn an_image_in_pages_is_the_same_image() {
        let bytes = [&[0xff, 0xd8, 0xff][..], &[7; 100_000]].concat();
        let image = Image::new(bytes.into()).unwrap();
        let moved = image.clone().in_pages();
        assert!(pages::are_kept(moved.bytes()) && !pages::are_kept(image.bytes()));
        assert!(moved.bytes() == image.bytes() && moved.digest() == image.digest());
    }
}
