//! Signed answers, damaged ones, and signatures of any text: what we believe, another library believes, for the same reason.
//!
//! The first byte chooses what the rest is: an answer as it came; an answer to sign and then to change in one byte; the text
//! of a signature.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use otk_gateway::signature::{self, Forged, Keys};
use otk_gateway_fuzz::curve::{self, Worth};
use otk_gateway_fuzz::json::{self, Reading};
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    match choice % 3 {
        0 => _ = agreed(rest),
        1 => signed_and_changed(rest),
        _ => text_of_a_signature(rest),
    }
});

/// What both think of it.
fn agreed(wire: &[u8]) -> Worth {
    let ours = match signature::verify(&Bytes::copy_from_slice(wire), &KEYS) {
        Ok((authentic, image)) => {
            assert_eq!(authentic.certificate().is_some(), image.is_some());
            Worth::Genuine
        }
        Err(Forged::Malformed) => Worth::Malformed,
        Err(Forged::Missing) => Worth::Unsigned,
        Err(Forged::Invalid) => Worth::Forged,
    };
    assert_eq!(ours, curve::worth(wire));
    ours
}

/// Two bytes for the place of the change, one for what is put there, and the answer.
fn signed_and_changed(bytes: &[u8]) {
    let Some(([low, high, with], answer)) = bytes.split_first_chunk() else { return };
    let Reading::Value(Value::Object(root)) = json::read(answer) else { return };
    if root.contains_key("signature") {
        return;
    }
    let signed = json::signed_part(&root);
    let signature = curve::sign(&signed, with % 2 == 1);
    let open = answer.iter().position(|byte| *byte == b'{').expect("an object") + 1;
    let mut wire = answer[..open].to_vec();
    wire.extend_from_slice(format!("\"signature\":\"{signature}\"").as_bytes());
    if !root.is_empty() {
        wire.push(b',');
    }
    wire.extend_from_slice(&answer[open..]);
    assert_eq!(agreed(&wire), Worth::Genuine);

    let place = usize::from(u16::from_le_bytes([*low, *high])) % wire.len();
    wire[place] = *with;
    if agreed(&wire) == Worth::Genuine {
        let Reading::Value(Value::Object(changed)) = json::read(&wire) else { panic!("it was believed") };
        assert_eq!(json::signed_part(&changed), signed, "another answer is believed");
        let text = changed["signature"].as_str().expect("text");
        assert_eq!(curve::value_of(text), curve::value_of(&signature), "another signature is believed");
    }
}

fn text_of_a_signature(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let mut answer: Value = serde_json::from_str(CANONICAL).expect("JSON");
    answer["signature"] = text.into();
    let worth = agreed(answer.to_string().as_bytes());
    assert_eq!(worth == Worth::Unsigned, text.is_empty());
    let is_hex = hex::decode(text).is_ok_and(|bytes| bytes.len() == 64);
    assert!(worth != Worth::Genuine || is_hex);
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys::parse([curve::public_key()]).expect("a key"));

const CANONICAL: &str = r#"{"data":{"active_status":{"code":"REVOKED","messages":""},"certificate_base64":null,"uaekyc_id":12345},"errors":[],"meta":{"filters":{},"timestamp":"2025-05-13T10:15:30.456Z"},"success":true}"#;
