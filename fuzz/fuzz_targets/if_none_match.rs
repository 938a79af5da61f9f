//! Any lines as `If-None-Match`: what they name is what a naive reading of RFC 9110's grammar says they name.
//!
//! The input's lines are the field's; the first one is the ETag of the certificate, if it can be one.

#![no_main]

use std::sync::LazyLock;

use http::header::{HeaderMap, HeaderValue, IF_NONE_MATCH};
use libfuzzer_sys::fuzz_target;
use otk_gateway::certificate::Etag;
use otk_gateway::proxy::conditional::Tag;
use regex::bytes::Regex;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|byte| *byte == b'\n');
    let first = lines.next().and_then(|line| Etag::parse(std::str::from_utf8(line).ok()?));
    let etag = first.unwrap_or_else(|| Etag::parse("a,b").expect("an ETag"));
    let json_tag = etag.weak_with(0x0123_abcd);
    let mut headers = HeaderMap::new();
    for line in lines {
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        headers.append(IF_NONE_MATCH, value);
    }
    let lines: Vec<_> = headers.get_all(IF_NONE_MATCH).iter().map(HeaderValue::as_bytes).collect();
    let named = naive(&lines);
    let is_named = |tag: &str| match &named {
        Named::Everything => true,
        Named::These(tags) => tags.contains(&tag.as_bytes()),
    };
    let (plain, with_variant) = (etag.as_str(), format!("{}.0123abcd", etag.as_str()));
    assert_eq!(Tag::Image(&etag).is_named_by(&headers), is_named(plain));
    assert_eq!(Tag::Json(&etag, &json_tag).is_named_by(&headers), is_named(plain) || is_named(&with_variant));
    assert_eq!(Tag::Image(&etag).to_header(), format!("\"{plain}\""));
    assert_eq!(Tag::Json(&etag, &json_tag).to_header(), format!("W/\"{with_variant}\""));
});

enum Named<'a> {
    Everything,
    These(Vec<&'a [u8]>),
}

/// A lone `*`, or the tags of lines that all are lists of tags.
fn naive<'a>(lines: &[&'a [u8]]) -> Named<'a> {
    if let [line] = lines
        && STAR.is_match(line)
    {
        return Named::Everything;
    }
    if !lines.iter().all(|line| LIST.is_match(line)) {
        return Named::These(Vec::new());
    }
    let tags =
        lines.iter().flat_map(|line| TAG.captures_iter(line)).map(|found| found.get(1).expect("a group").as_bytes());
    Named::These(tags.collect())
}

static STAR: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?-u)^[ \t]*\*[ \t]*$").expect("a pattern"));
static TAG: LazyLock<Regex> = LazyLock::new(|| Regex::new(TAG_PATTERN).expect("a pattern"));
static LIST: LazyLock<Regex> = LazyLock::new(|| {
    let tag = TAG_PATTERN.trim_start_matches("(?-u)");
    Regex::new(&format!(r"(?-u)^[ \t]*(?:{tag})?[ \t]*(?:,[ \t]*(?:{tag})?[ \t]*)*$")).expect("a pattern")
});

const TAG_PATTERN: &str = r#"(?-u)(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)""#;
