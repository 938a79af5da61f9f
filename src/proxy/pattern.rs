//! The paths of the passthrough list: literal segments and `{name}`, matched byte for byte.
//!
//! Never decodes, normalises or folds what it compares: a path that a lenient server further on might read differently is
//! refused before (`route`), so what matches here is what upstream sees. The surprising decision: the question whether a
//! pattern could reach a certificate is answered the other way round, loosely, because there a doubt must count as yes.

use std::fmt;

/// One path of the passthrough list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    segments: Vec<Segment>,
}

/// Why a text is no pattern. `Display` says what is accepted instead; it never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPattern {
    /// It does not begin with `/`.
    NoLeadingSlash,
    /// `//` somewhere inside.
    EmptySegment,
    /// A segment `.` or `..`.
    DotSegment,
    /// A brace that does not enclose one whole segment, or no proper name inside.
    BadPlaceholder,
    /// A character that a path on the list could never contain: `%`, `\`, `;`, `?`, a space ...
    BadCharacter,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Any,
}

// === impl Pattern ===

impl Pattern {
    /// Reads `/otk-service/v2/journey-details/{journeyToken}`. A `/` at the end is kept and must then be in the path, too.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let inside = text.strip_prefix('/').ok_or(BadPattern::NoLeadingSlash)?;
        if inside.starts_with('/') || inside.contains("//") {
            return Err(BadPattern::EmptySegment);
        }
        let segments = inside.split('/').map(Segment::parse).collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), segments })
    }

    /// Whether this path, as it stood in the request line, is the one meant.
    pub fn matches(&self, path: &str) -> bool {
        let Some(inside) = path.strip_prefix('/') else {
            return false;
        };
        let mut found = inside.split('/');
        self.segments.iter().all(|segment| found.next().is_some_and(|text| segment.matches(text)))
            && found.next().is_none()
    }

    /// Whether some path could be both this and a certificate's, whatever stands in the token's place: everything there is
    /// the gateway's to answer. Upper and lower case and a `/` at the end make no difference, as they may make none to the
    /// upstream's router.
    pub fn could_match_certificate(&self) -> bool {
        let segments = match self.segments.split_last() {
            Some((last, before)) if last.is_empty() => before,
            _ => &self.segments[..],
        };
        let image = Segment::Literal(IMAGE.to_owned());
        let fixed = CERTIFICATES.trim_matches('/').split('/').map(|word| Segment::Literal(word.to_owned()));
        let journey: Vec<Segment> = fixed.chain([Segment::Any]).collect();
        let picture: Vec<Segment> = journey.iter().cloned().chain([image]).collect();
        [journey, picture].iter().any(|theirs| {
            segments.len() == theirs.len() && segments.iter().zip(theirs).all(|(ours, theirs)| ours.could_meet(theirs))
        })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

// === impl Segment ===

impl Segment {
    fn parse(text: &str) -> Result<Self, BadPattern> {
        if text.contains(['{', '}']) {
            let name = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            return name.filter(|name| is_name(name)).map(|_| Self::Any).ok_or(BadPattern::BadPlaceholder);
        }
        if matches!(text, "." | "..") {
            return Err(BadPattern::DotSegment);
        }
        let is_literal = |b: u8| is_segment_byte(b) || b"!$&'()*+,=:@".contains(&b);
        text.bytes().all(is_literal).then(|| Self::Literal(text.to_owned())).ok_or(BadPattern::BadCharacter)
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Literal(literal) => literal == text,
            Self::Any => {
                (1..=128).contains(&text.len()) && !matches!(text, "." | "..") && text.bytes().all(is_segment_byte)
            }
        }
    }

    fn could_meet(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(one), Self::Literal(other)) => one.eq_ignore_ascii_case(other),
            _ => true,
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Literal(literal) if literal.is_empty())
    }
}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoLeadingSlash => "a path begins with /",
            Self::EmptySegment => "a path has no //",
            Self::DotSegment => "a path has no segment . or ..",
            Self::BadPlaceholder => "{name} stands for one whole segment; the name is made of letters, digits, _ and -",
            Self::BadCharacter => "a path is made of letters, digits and -._~!$&'()*+,=:@, without a query",
        })
    }
}

impl std::error::Error for BadPattern {}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn is_segment_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'-')
}

/// What every certificate path begins with; one segment follows, the token, and perhaps `/image`.
pub(super) const CERTIFICATES: &str = "/otk-service/v1/certificates/";
/// The last segment of the path of the picture itself.
pub(super) const IMAGE: &str = "image";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn a_path_is_matched_byte_for_byte() {
        let long = format!("/a/{}/c", "x".repeat(128));
        let longer = format!("/a/{}/c", "x".repeat(129));
        let table: &[(&str, &str, bool)] = &[
            ("/a/b", "/a/b", true),
            ("/a/b", "/A/b", false),
            ("/a/b", "/a/b/", false),
            ("/a/b/", "/a/b/", true),
            ("/a/b/", "/a/b", false),
            ("/a/b", "/a", false),
            ("/a/b", "/a/b/c", false),
            ("/a/b", "a/b", false),
            ("/a/b", "//a/b", false),
            ("/a/b", "/a/%62", false),
            ("/", "/", true),
            ("/", "", false),
            ("/a/{id}/c", "/a/0b7a9f52-3c1d-4e8f-9a6b-5c4d3e2f1a0b/c", true),
            ("/a/{id}/c", "/a/A.b_c~d-1/c", true),
            ("/a/{id}/c", "/a/.../c", true),
            ("/a/{id}/c", "/a/./c", false),
            ("/a/{id}/c", "/a/../c", false),
            ("/a/{id}/c", "/a//c", false),
            ("/a/{id}/c", "/a/b/b/c", false),
            ("/a/{id}/c", "/a/b%2fc/c", false),
            ("/a/{id}/c", "/a/b;c/c", false),
            ("/a/{id}/c", "/a/b:c/c", false),
            ("/a/{id}/c", "/a/\u{e9}/c", false),
            ("/a/{id}/c", "/a/{id}/c", false),
            ("/a/{id}/c", &long, true),
            ("/a/{id}/c", &longer, false),
            ("/a/{id}", "/a/", false),
        ];
        for (text, path, expected) in table {
            assert_eq!(pattern(text).matches(path), *expected, "{text} on {path}");
        }
    }

    #[test]
    fn what_could_never_match_is_no_pattern() {
        let table = [
            ("", BadPattern::NoLeadingSlash),
            ("a/b", BadPattern::NoLeadingSlash),
            ("*", BadPattern::NoLeadingSlash),
            ("https://host/a", BadPattern::NoLeadingSlash),
            ("//", BadPattern::EmptySegment),
            ("//a", BadPattern::EmptySegment),
            ("/a//b", BadPattern::EmptySegment),
            ("/a/../b", BadPattern::DotSegment),
            ("/.", BadPattern::DotSegment),
            ("/a/{}", BadPattern::BadPlaceholder),
            ("/a/{id", BadPattern::BadPlaceholder),
            ("/a/id}", BadPattern::BadPlaceholder),
            ("/a/x{id}", BadPattern::BadPlaceholder),
            ("/a/{i d}", BadPattern::BadPlaceholder),
            ("/a/{a}{b}", BadPattern::BadPlaceholder),
            ("/a/{*rest}", BadPattern::BadPlaceholder),
            ("/a/%62", BadPattern::BadCharacter),
            ("/a;b", BadPattern::BadCharacter),
            ("/a\\b", BadPattern::BadCharacter),
            ("/a?b=c", BadPattern::BadCharacter),
            ("/a#b", BadPattern::BadCharacter),
            ("/a b", BadPattern::BadCharacter),
            ("/\u{e9}", BadPattern::BadCharacter),
        ];
        for (text, why) in table {
            assert_eq!(Pattern::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn a_pattern_that_could_reach_a_certificate_is_recognised() {
        for yes in [
            "/otk-service/v1/certificates/{journeyToken}",
            "/otk-service/v1/certificates/{journeyToken}/",
            "/otk-service/v1/certificates/{journeyToken}/image",
            "/otk-service/v1/certificates/{journeyToken}/IMAGE",
            "/otk-service/v1/certificates/{journeyToken}/{what}",
            "/otk-service/v1/certificates/0b7a9f52-3c1d-4e8f-9a6b-5c4d3e2f1a0b",
            "/otk-service/v1/certificates/search",
            "/OTK-Service/V1/Certificates/{x}",
            "/{a}/{b}/{c}/{d}",
            "/{a}/{b}/{c}/{d}/{e}",
            "/otk-service/{version}/certificates/{x}",
            "/otk-service/v1/{kind}/{x}",
        ] {
            assert!(pattern(yes).could_match_certificate(), "{yes}");
        }
        for no in [
            "/otk-service/v1/residents/stale",
            "/otk-service/create-journey-url",
            "/otk-service/v2/create-journey",
            "/otk-service/v2/journey-details/{journeyToken}",
            "/otk-service/customer-details/{journeyToken}",
            "/otk-service/v1/certificates",
            "/otk-service/v1/certificates/",
            "/otk-service/v2/certificates/{x}",
            "/otk-service/v1/certificates/{x}/history",
            "/otk-service/v1/certificates/{x}/image/{y}",
            "/",
        ] {
            assert!(!pattern(no).could_match_certificate(), "{no}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".*", path in ".*") {
            if let Ok(pattern) = Pattern::parse(&text) {
                pattern.matches(&path);
                pattern.could_match_certificate();
                prop_assert_eq!(pattern.as_str(), text);
            }
        }

        #[test]
        fn nothing_that_was_not_found_to_reach_a_certificate_matches_one(
            words in proptest::collection::vec("otk-service|v1|certificates|image|[{]x[}]|x", 1..7),
            token in "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
        ) {
            let pattern = pattern(&format!("/{}", words.join("/")));
            let path = format!("{CERTIFICATES}{token}");
            let reaches = pattern.matches(&path) || pattern.matches(&format!("{path}/{IMAGE}"));
            prop_assert!(!reaches || pattern.could_match_certificate());
        }
    }
}
