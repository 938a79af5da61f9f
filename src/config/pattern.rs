//! Passthrough paths that must not be listed, and those that `check` warns about.
//!
//! Never: matches a request; the router does, and it also says what is well formed. Here a pattern is held against the paths
//! that carry a certificate and everything below them, more strictly than the router holds it: what stands below a
//! certificate today answers 404, and nobody knows what it answers tomorrow. Letters of either case count as equal although
//! the router compares bytes: the upstream may not, and `/OTK-Service/...` would be a way around the release rules.

use crate::proxy::pattern::Pattern;

/// Why this is no pattern, if it is none.
pub fn fault(path: &str) -> Option<String> {
    if let Err(why) = Pattern::parse(path) {
        return Some(format!("is not well formed ({why})"));
    }
    if could_match(path, &["otk-service", "v1", "certificates", ANY], Tail::Open) {
        return Some("could match a certificate path, which the release rules govern".to_owned());
    }
    None
}

/// Upstream's Customer Details could be among what it matches; the prefix of that call is inferred, so both are held.
pub fn is_customer_details(path: &str) -> bool {
    could_match(path, &["otk-service", "customer-details", ANY], Tail::Closed)
        || could_match(path, &["customer-details", ANY], Tail::Closed)
}

/// The pattern with its names taken out: two of one shape match the same paths.
pub fn shape(path: &str) -> String {
    let plain = |segment| if is_any(segment) { ANY } else { segment };
    path.split('/').map(plain).collect::<Vec<_>>().join("/")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// Anything may follow.
    Open,
    /// Nothing may follow.
    Closed,
}

const ANY: &str = "{}";

fn could_match(path: &str, wanted: &[&str], tail: Tail) -> bool {
    let segments: Vec<_> = path.split('/').skip(1).collect();
    let fits = match tail {
        Tail::Open => segments.len() >= wanted.len(),
        Tail::Closed => segments.len() == wanted.len(),
    };
    let meets =
        |(segment, wanted): (&&str, &&str)| *wanted == ANY || is_any(segment) || segment.eq_ignore_ascii_case(wanted);
    fits && segments.iter().zip(wanted).all(meets)
}

fn is_any(segment: &str) -> bool {
    segment.starts_with('{') && segment.ends_with('}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_names_make_a_pattern() {
        for path in
            ["/", "/otk-service/v2/create-journey", "/otk-service/v2/journey-details/{journeyToken}", "/a/{b}/c", "/a/"]
        {
            assert_eq!(fault(path), None, "{path}");
        }
        for wrong in [
            "", "a", "//", "/a//b", "/a/../b", "/./a", "/a%2fb", "/a;b", "/a\\b", "/a?b", "/a#b", "/{", "/{}", "/x{a}",
            "/{a}{b}", "/{a b}", "/a b", "/\u{e9}",
        ] {
            assert!(fault(wrong).is_some(), "{wrong}");
        }
    }

    #[test]
    fn nothing_that_could_match_a_certificate_is_passed_through() {
        for wrong in [
            "/otk-service/v1/certificates/{journeyToken}",
            "/otk-service/v1/certificates/{journeyToken}/image",
            "/otk-service/v1/certificates/00000000-0000-4000-8000-000000000001",
            "/otk-service/v1/certificates/",
            "/otk-service/{version}/certificates/{x}",
            "/otk-service/v1/{what}/{x}",
            "/{a}/{b}/{c}/{d}",
            "/{a}/{b}/{c}/{d}/{e}",
            "/OTK-Service/V1/Certificates/{x}",
        ] {
            assert!(fault(wrong).is_some_and(|why| why.starts_with("could match")), "{wrong}");
        }
        for other in ["/otk-service/v2/certificates/{x}", "/otk-service/v1/{x}", "/{a}/{b}/residents/{c}"] {
            assert_eq!(fault(other), None, "{other}");
        }
    }

    #[test]
    fn customer_details_is_recognised_under_either_prefix() {
        for path in [
            "/otk-service/customer-details/{t}",
            "/customer-details/{t}",
            "/otk-service/{a}/{t}",
            "/otk-service/Customer-Details/{t}",
        ] {
            assert!(is_customer_details(path), "{path}");
        }
        for path in
            ["/otk-service/v2/create-journey", "/otk-service/v2/journey-details/{t}", "/otk-service/customer-details"]
        {
            assert!(!is_customer_details(path), "{path}");
        }
    }

    #[test]
    fn patterns_that_differ_in_names_only_have_one_shape() {
        assert_eq!(shape("/a/{b}/c"), shape("/a/{x}/c"));
        assert_ne!(shape("/a/{b}/c"), shape("/a/b/c"));
    }
}
