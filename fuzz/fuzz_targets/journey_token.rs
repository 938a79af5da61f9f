//! Any text as a journey token: taken exactly if it is a UUID v4, and then folded to lower case.

#![no_main]

use std::sync::LazyLock;

use http::Request;
use libfuzzer_sys::fuzz_target;
use otk_gateway::certificate::JourneyToken;
use otk_gateway::proxy::gate::{Gate, Host};
use otk_gateway::proxy::route::{Route, Rules, route};
use regex::Regex;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let token = JourneyToken::parse(text);
    assert_eq!(token.is_some(), UUID_V4.is_match(text));
    if let Some(token) = token {
        let folded = text.to_ascii_lowercase();
        assert_eq!(token.to_path(), folded);
        assert_eq!(hex::encode(token.as_bytes()), folded.replace('-', ""));
        assert_eq!(JourneyToken::parse(&folded), Some(token));
        assert!(!format!("{token:?}").to_ascii_lowercase().contains(&folded[..8]));
    }
    in_a_path(text, token);
});

/// As the whole segment of a path it is a request for that journey, or for none.
fn in_a_path(text: &str, token: Option<JourneyToken>) {
    for (tail, image) in [("", false), ("/image", true)] {
        let path = format!("/otk-service/v1/certificates/{text}{tail}");
        let Ok(request) = Request::builder().uri(&path).header("host", "localhost").body(()) else { continue };
        let parts = request.into_parts().0;
        if parts.uri.path_and_query().map(|target| target.as_str()) != Some(&path) {
            continue; // a fragment was taken off
        }
        let routed = match route(&parts, &RULES) {
            Ok(Route::Certificate { token, as_image, .. }) => Some((token, as_image)),
            Ok(Route::Passthrough { .. }) => panic!("nothing is listed"),
            Err(_) => None,
        };
        let (own, is_image) = match text.strip_suffix("/image") {
            Some(before) if !image => (JourneyToken::parse(before), true),
            _ => (token, image),
        };
        assert_eq!(routed, own.map(|own| (own, is_image)), "{path:?}");
    }
}

static RULES: LazyLock<Rules> = LazyLock::new(|| Rules {
    gate: Gate::new([Host::parse("localhost").expect("a host")], []),
    passthrough: Vec::new(),
});

static UUID_V4: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-4[0-9A-Fa-f]{3}-[89ABab][0-9A-Fa-f]{3}-[0-9A-Fa-f]{12}$")
        .expect("a pattern")
});
