//! Vectors of an independent implementation, made by `tests/vectors/make_vectors.py` with Python libraries.

use bytes::Bytes;
use otk_gateway::envelope::Document;
use otk_gateway::signature::{self, Keys};
use serde_json::Value;

fn fixture(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).expect("a fixture")).expect("JSON")
}

fn text<'a>(vector: &'a Value, member: &str) -> &'a str {
    vector[member].as_str().expect("text")
}

fn canonical(document: &Document<'_>) -> String {
    let mut form = Vec::new();
    document.write_signed_part(&mut form);
    String::from_utf8(form).expect("UTF-8")
}

#[test]
fn canonical_form_digest_and_signature_agree() {
    let vectors = fixture("signature_vectors.json");
    let vectors = vectors.as_array().expect("a list");
    assert!(vectors.len() > 30);
    for vector in vectors {
        let name = text(vector, "name");
        let wire = Bytes::from(text(vector, "wire").to_owned());
        let document = Document::parse(&wire).unwrap_or_else(|_| panic!("{name} is JSON"));
        assert_eq!(canonical(&document), text(vector, "canonical"), "{name}");
        assert_eq!(hex::encode(signature::digest(&document)), text(vector, "blake3"), "{name}");
        let keys = Keys::parse([text(vector, "public_key")]).expect("a key");
        assert_eq!(keys.check(&document).is_ok(), vector["valid"].as_bool().expect("a verdict"), "{name}");
    }
}

#[test]
fn scalars_at_the_edges_are_refused() {
    let genuine = fixture("signature_vectors.json")[0].clone();
    let keys = Keys::parse([text(&genuine, "public_key")]).expect("a key");
    let edges = fixture("scalar_edges.json");
    for edge in edges.as_array().expect("a list") {
        let mut answer: Value = serde_json::from_str(text(&genuine, "wire")).expect("JSON");
        answer["signature"] = edge["signature"].clone();
        let wire = answer.to_string();
        let document = Document::parse(wire.as_bytes()).expect("JSON");
        assert_eq!(
            keys.check(&document).is_ok(),
            edge["valid"].as_bool().expect("a verdict"),
            "{}",
            text(edge, "name")
        );
    }
}

#[test]
fn rfc_8785_says_so_itself() {
    let vectors = fixture("jcs_vectors.json");
    for vector in vectors["texts"].as_array().expect("a list") {
        let document = Document::parse(text(vector, "input").as_bytes()).expect("JSON");
        assert_eq!(canonical(&document), text(vector, "canonical"), "{}", text(vector, "name"));
    }
    let numbers = vectors["numbers"].as_array().expect("a list");
    assert!(numbers.len() > 400);
    for number in numbers {
        let bits = u64::from_str_radix(text(number, "bits"), 16).expect("hex");
        let wire = format!("{{\"n\":{:e}}}", f64::from_bits(bits));
        let document = Document::parse(wire.as_bytes()).expect("JSON");
        assert_eq!(canonical(&document), format!("{{\"n\":{}}}", text(number, "text")), "{bits:016x}");
    }
}
