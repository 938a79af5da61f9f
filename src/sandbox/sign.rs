//! The authority's signature, made a second time from its description.
//!
//! Canonical JSON, BLAKE3 and ECDSA on secp256k1 with another curve library and without a line of the gateway's own, so that
//! the two can disagree. The fixtures made by a third implementation judge between them.

use k256::ecdsa::signature::hazmat::PrehashSigner;
use k256::ecdsa::{Signature, SigningKey};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Signs answers with the sandbox's own key.
pub struct Signer(SigningKey);

impl Signer {
    /// The key is made from a public phrase: it protects nothing.
    pub fn new() -> Self {
        let secret = Sha256::digest(PHRASE);
        Self(SigningKey::from_slice(&secret).expect("the digest of this phrase is below the order of the curve"))
    }

    /// SEC1, uncompressed, in hex.
    pub fn public_key(&self) -> String {
        hex::encode(self.0.verifying_key().to_encoded_point(false).as_bytes())
    }

    /// The signature of this answer, which has none yet: r and s, 128 hex digits.
    pub fn sign(&self, answer: &Value) -> String {
        let digest = blake3::hash(canonical(answer).as_bytes());
        let signature: Signature = self.0.sign_prehash(digest.as_bytes()).expect("a digest of 32 bytes can be signed");
        hex::encode(signature.to_bytes())
    }
}

/// Keys sorted, nothing between the tokens. The sandbox's own answers hold integers and ASCII keys only, for which this is all
/// that RFC 8785 asks.
fn canonical(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| key.as_str());
            let member =
                |(key, value): &(&String, &Value)| format!("{}:{}", Value::from(key.as_str()), canonical(value));
            format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
        }
        plain => plain.to_string(),
    }
}

const PHRASE: &[u8] = b"otk-gateway sandbox signing key";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vector_comes_out() {
        let answer = serde_json::json!({
            "success": true, "meta": { "timestamp": "2025-05-13T10:15:30.456Z", "filters": {} }, "errors": [],
            "data": { "uaekyc_id": 12345, "certificate_base64": null, "active_status": { "messages": "", "code": "REVOKED" } },
        });
        let digest = blake3::hash(canonical(&answer).as_bytes());
        assert_eq!(digest.to_hex().as_str(), "9d3ddf50a1bd0d339d3a974d7211d23a17b576494369f14238a93fd0bff06bf5");
        let signer = Signer(SigningKey::from_slice(&[7; 32]).expect("a key"));
        assert_eq!(
            signer.sign(&answer),
            "28a844d5244a0221178fa66f58b7e930eb5e760537c5e95594a4a9432dbf3b1958c1ad4edce0ecedd832e0708c00c3b0ed596e9cc5a4ed6b4685dd76daf70b47"
        );
    }
}
