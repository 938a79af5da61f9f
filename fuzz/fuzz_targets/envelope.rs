//! Any bytes as an answer: what our reader takes, `serde_json` takes with equal values, and what it refuses, we refuse.
//!
//! Also: whatever was taken, what is left of it after withholding holds nothing that could be an image; and where anybody
//! could read a certificate, we expect one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use otk_gateway::certificate::Status;
use otk_gateway::envelope::{Document, Node, may_carry_certificate};
use otk_gateway_fuzz::json::{self, Reading};
use serde_json::Value;

fuzz_target!(|wire: &[u8]| {
    let reading = json::read(wire);
    let is_found = serde_json::from_slice(wire).is_ok_and(|found| has_certificate(&found));
    assert!(may_carry_certificate(wire) || !is_found, "a lenient reader finds a certificate");
    let Ok(document) = Document::parse(wire) else {
        assert!(!matches!(reading, Reading::Value(Value::Object(_))), "only the library reads it");
        return;
    };
    assert_eq!(reading, Reading::Value(value(document.root())));
    let claims = document.claims();
    for status in [Status::Revoked, Status::Expired] {
        withheld(&document.withhold(status), status);
    }
    if let Ok((image, frame)) = document.image(wire, None) {
        assert!(claims.has_image && !image.is_empty());
        withheld(&frame.withhold(Status::Revoked).expect("the wire was read"), Status::Revoked);
    }
    assert!(claims.has_image || !(document.holds_image() || is_there(&document)));
    assert!(document.holds_certificate() || !is_there(&document));
});

fn withheld(rest: &[u8], status: Status) {
    let document = Document::parse(rest).expect("it is ours");
    assert!(!document.holds_image() && !document.holds_certificate());
    let claims = document.claims();
    assert!(claims.status == Some(status) && !claims.has_image && !claims.has_etag);
    assert_eq!(document.signature().and_then(Node::as_str), Some(""));
}

fn has_certificate(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_certificate),
        Value::Object(members) => members
            .iter()
            .any(|(key, value)| (key == "certificate_base64" && !value.is_null()) || has_certificate(value)),
        _ => false,
    }
}

fn is_there(document: &Document<'_>) -> bool {
    let image = document.root().member("data").and_then(|data| data.member("certificate_base64"));
    image.is_some_and(|image| *image != Node::Null)
}

fn value(node: &Node<'_>) -> Value {
    match node {
        Node::Null => Value::Null,
        Node::Bool(value) => (*value).into(),
        Node::Number(value) => (*value).into(),
        Node::String(text) => text.as_ref().into(),
        Node::Array(items) => items.iter().map(value).collect(),
        Node::Object(members) => members.iter().map(|(key, member)| (key.to_string(), value(member))).collect(),
    }
}
