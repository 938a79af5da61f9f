//! Any text as `certificate_base64`: what is taken for an image is one to a strict decoder too, and its bytes make the text again.
//!
//! The first byte chooses how the text stands in the answer, so that it is met with and without escapes.

#![no_main]

use std::sync::LazyLock;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use otk_gateway::certificate::{Digest, Image};
use otk_gateway::envelope::Document;
use otk_gateway::signature::digest;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, text)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let quoted = serde_json::Value::from(text).to_string();
    let quoted = match choice % 3 {
        0 => quoted,
        1 => quoted.replace('/', "\\/"),
        _ => quoted.replace('j', "\\u006a"),
    };
    let wire = format!("{{\"a\":\"A\\u0041\",\"data\":{{\"b\":1.50,\"certificate_base64\":{quoted},\"a\":null}}}}");
    let document = Document::parse(wire.as_bytes()).expect("JSON");
    let (image, frame) = match (document.image(wire.as_bytes(), None), jpeg(text)) {
        (Ok(ours), Some(_)) => ours,
        (Err(_), None) => return,
        (ours, theirs) => panic!("{text:?}: {:?}, but {:?}", ours.map(|_| ()), theirs.map(|_| ())),
    };
    let (bytes, digits) = jpeg(text).expect("seen above");
    assert_eq!((image.len(), image.digest()), (bytes.len(), Digest::of(&bytes)));
    assert!(bytes.starts_with(&[0xff, 0xd8, 0xff]));
    for known in [&image, &OTHER] {
        let (again, _) = document.image(wire.as_bytes(), Some(known)).expect("as before");
        assert_eq!((again.len(), again.digest()), (image.len(), image.digest()), "another image was known");
    }
    assert_eq!(BASE64_STANDARD.encode(&bytes), digits, "its bytes make another text");
    let whole = [&frame.before[..], digits.as_bytes(), &frame.after[..]].concat();
    if quoted == format!("\"{text}\"") {
        assert_eq!(whole, wire.as_bytes(), "the wire again");
    }
    if let Some(inside) = frame.inside(&wire.clone().into()) {
        assert_eq!([&frame.before[..], &inside, &frame.after[..]].concat(), wire.as_bytes());
    }
    let again = Document::parse(&whole).expect("frame and image are an answer");
    assert_eq!(digest(&again), digest(&document), "frame and image verify under the same signature");
});

static OTHER: LazyLock<Image> =
    LazyLock::new(|| Image::new(Bytes::from_static(b"\xff\xd8\xff another")).expect("it begins like a JPEG"));

/// The decoded image and its digits, by a strict decoder.
fn jpeg(text: &str) -> Option<(Vec<u8>, &str)> {
    let (url, digits) = text.split_once(',')?;
    let is_jpeg_url = url.eq_ignore_ascii_case("data:image/jpeg;base64");
    let bytes = BASE64_STANDARD.decode(digits).ok().filter(|bytes| bytes.starts_with(b"\xff\xd8\xff"))?;
    is_jpeg_url.then_some((bytes, digits))
}
