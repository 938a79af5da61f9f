//! The authority's public keys as text: what is one, and which must never be trusted.
//!
//! Never: verifies anything. The surprising decision: two keys are refused although they are well formed, the sandbox's and
//! that of the published test vector. Anybody can sign with them, so a gateway that trusts one for a real upstream believes
//! everything.

use secp256k1::PublicKey;

/// Why a text is no public key. Never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misread {
    /// Not hex.
    NotHex,
    /// Neither 33 bytes that begin with 02 or 03 nor 65 that begin with 04.
    NotSec1,
    /// No point of the curve.
    NoPoint,
}

/// The sandbox's key: the private key is SHA-256 of "otk-gateway sandbox signing key".
const SANDBOX: &str = "03010d8aeaf4c76df8e5680457759b0d5eca967c8a8a0da9c0cd79c7a6935e40d8";

/// The key of the published test vector: the private key is 32 bytes of 0x07.
const VECTOR: &str = "02989c0b76cb563971fdc9bef31ec06c3560f3249d6ee9e5d83c57625596e05f6f";

/// The stand-in of the shipped examples: the first point at or above SHA-256 of "otk-gateway example public key", so nobody knows
/// its private key, and a gateway that was started with it believes nothing.
const EXAMPLE: &str = "0258410e2d7e25bf227c445eb1e390fc02c13e7dc7a0cc45cfd3c23657a5a7d2df";

/// Reads SEC1 hex of either length and case; in lower case.
pub fn parse(text: &str) -> Result<String, Misread> {
    let text = text.trim();
    point(text).map(|_| text.to_ascii_lowercase())
}

/// Its private key is published. Asks the point and not the spelling.
pub fn is_published(text: &str) -> bool {
    [SANDBOX, VECTOR].contains(&compressed(text).as_str())
}

/// It is the stand-in of the shipped examples.
pub fn is_example(text: &str) -> bool {
    compressed(text) == EXAMPLE
}

fn compressed(text: &str) -> String {
    point(text).map(|point| hex::encode(point.serialize())).unwrap_or_default()
}

fn point(text: &str) -> Result<PublicKey, Misread> {
    let bytes = hex::decode(text).map_err(|_| Misread::NotHex)?;
    if !matches!((bytes.len(), bytes.first()), (33, Some(2 | 3)) | (65, Some(4))) {
        return Err(Misread::NotSec1); // the library also reads the hybrid form
    }
    PublicKey::from_slice(&bytes).map_err(|_| Misread::NoPoint)
}

impl Misread {
    /// What is wrong, to be read behind what the text stands in.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotHex => "is not hex",
            Self::NotSec1 => "is neither 33 bytes beginning with 02 or 03 nor 65 bytes beginning with 04",
            Self::NoPoint => "is no point on secp256k1",
        }
    }
}

#[cfg(test)]
mod tests {
    use secp256k1::{Secp256k1, SecretKey};
    use sha2::{Digest, Sha256};

    use super::*;

    fn spellings(private: [u8; 32]) -> [String; 2] {
        let private = SecretKey::from_byte_array(private).expect("a private key");
        let public = private.public_key(&Secp256k1::new());
        [hex::encode(public.serialize()), hex::encode(public.serialize_uncompressed()).to_uppercase()]
    }

    #[test]
    fn published_keys_are_known_in_either_spelling() {
        let sandbox = Sha256::digest(b"otk-gateway sandbox signing key").into();
        for key in [spellings(sandbox), spellings([7; 32])].concat() {
            assert!(is_published(&key), "{key}");
        }
        for key in spellings([8; 32]) {
            assert!(!is_published(&key) && !is_example(&key));
        }
    }

    #[test]
    fn the_example_key_is_a_point_that_a_digest_picked() {
        let mut x: [u8; 32] = Sha256::digest(b"otk-gateway example public key").into();
        let spelt = |x: &[u8; 32]| format!("02{}", hex::encode(x));
        while parse(&spelt(&x)).is_err() {
            x[31] += 1;
        }
        assert_eq!(spelt(&x), EXAMPLE);
        assert!(is_example(EXAMPLE) && !is_published(EXAMPLE));
    }

    #[test]
    fn a_key_is_a_point_in_sec1_hex() {
        assert_eq!(parse(&format!(" {}\n", SANDBOX.to_uppercase())).as_deref(), Ok(SANDBOX));
        for (wrong, why) in [
            ("", Misread::NotSec1),
            ("0x02", Misread::NotHex),
            ("zz", Misread::NotHex),
            (&SANDBOX[2..], Misread::NotSec1),
            (&format!("04{}", &SANDBOX[2..]), Misread::NotSec1),
            (&format!("02{}", "f".repeat(64)), Misread::NoPoint),
            (&format!("04{}", "0".repeat(128)), Misread::NoPoint),
            (&format!("06{}", "1".repeat(128)), Misread::NotSec1),
        ] {
            assert_eq!(parse(wrong), Err(why), "{wrong}");
        }
    }
}
