//! Signing and verifying by another library, with the key of the published vectors.

use k256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use k256::ecdsa::{Signature, SigningKey, VerifyingKey};
use serde_json::Value;

use crate::json::{self, Reading};

/// What an answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// No JSON object of one meaning, or a signature that is no string.
    Malformed,
    /// No signature.
    Unsigned,
    /// A string that is no signature of this answer.
    Forged,
    /// Signed.
    Genuine,
}

/// Of the private key whose 32 bytes are all 7, SEC1, compressed.
pub fn public_key() -> String {
    hex::encode(key().verifying_key().to_encoded_point(true).as_bytes())
}

/// r and s in hex over the BLAKE3 of this text; s low, or the other one that is as good.
pub fn sign(text: &str, is_high: bool) -> String {
    let digest = blake3::hash(text.as_bytes());
    let signature: Signature = key().sign_prehash(digest.as_bytes()).expect("32 bytes");
    let (r, s) = signature.normalize_s().unwrap_or(signature).split_scalars();
    let s = if is_high { -*s } else { *s };
    hex::encode(Signature::from_scalars(r.to_bytes(), s.to_bytes()).expect("neither is zero").to_bytes())
}

/// What this answer is worth under that key.
pub fn worth(wire: &[u8]) -> Worth {
    let Reading::Value(Value::Object(root)) = json::read(wire) else { return Worth::Malformed };
    match root.get("signature") {
        None | Some(Value::Null) => Worth::Unsigned,
        Some(Value::String(text)) if text.is_empty() => Worth::Unsigned,
        Some(Value::String(text)) if is_genuine(&json::signed_part(&root), text) => Worth::Genuine,
        Some(Value::String(_)) => Worth::Forged,
        Some(_) => Worth::Malformed,
    }
}

fn is_genuine(signed: &str, signature: &str) -> bool {
    let Some(signature) = value_of(signature) else { return false };
    let digest = blake3::hash(signed.as_bytes());
    VerifyingKey::from(key()).verify_prehash(digest.as_bytes(), &signature).is_ok()
}

/// What a signature's text says, high s and low s being the same.
pub fn value_of(text: &str) -> Option<Signature> {
    let bytes = hex::decode(text).ok().filter(|bytes| bytes.len() == 64)?;
    let signature = Signature::from_slice(&bytes).ok()?;
    Some(signature.normalize_s().unwrap_or(signature))
}

fn key() -> SigningKey {
    SigningKey::from_slice(&[7; 32]).expect("below the order of the curve")
}
