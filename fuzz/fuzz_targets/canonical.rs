//! Any value in any spelling: the digest is the BLAKE3 of a naive canonical form made from the value.

#![no_main]

use libfuzzer_sys::fuzz_target;
use otk_gateway::envelope::Document;
use otk_gateway::signature::digest;
use otk_gateway_fuzz::{json, spelling};

fuzz_target!(|bytes: &[u8]| {
    let Ok((members, wire)) = spelling::object(bytes) else { return };
    let Ok(document) = Document::parse(wire.as_bytes()) else { panic!("refused: {wire}") };
    let mut ours = Vec::new();
    document.write_signed_part(&mut ours);
    let canonical = json::signed_part(&members);
    assert_eq!(String::from_utf8(ours).expect("UTF-8"), canonical, "{wire}");
    assert_eq!(digest(&document), *blake3::hash(canonical.as_bytes()).as_bytes(), "{wire}");
    let again = Document::parse(canonical.as_bytes()).expect("canonical JSON is JSON");
    assert_eq!(digest(&again), digest(&document), "{canonical}");
});
