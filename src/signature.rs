//! Envelope to `Authentic`: the only door.
//!
//! The authority signs with ECDSA on secp256k1, directly over the BLAKE3 of the canonical answer (RFC 8785 without the root
//! member `signature`); the signature is 128 hex digits, r then s. How far this is documented and how far inferred is told in
//! README, "What is inferred"; should the inference fail, this file is the one to change.
//!
//! Never: files, configuration, time, logs. The keys are handed in.
//!
//! The surprising decision: a signature with a high s is normalised before it is checked. libsecp256k1 accepts low s only, and
//! nothing says the authority's signer produces it; refusing the other half would refuse half of the genuine answers.

use std::fmt;

use bytes::Bytes;
use secp256k1::{Message, PublicKey, Secp256k1, VerifyOnly, ecdsa};

use crate::certificate::{Digest, Etag, Image, Said, Status, Timestamp};
use crate::envelope::{Claims, Document, Frame, Malformed, Node};

/// The public keys in force. Cheap to share, replaced as a whole when they change.
pub struct Keys {
    curve: Secp256k1<VerifyOnly>,
    keys: Vec<(KeyId, PublicKey)>,
}

/// Tells one key from another without being it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyId(u64);

/// Text that is no point on the curve in SEC1 form. Does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoKey;

/// Why an answer is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forged {
    /// Not JSON of one meaning, or `signature` is no string.
    Malformed,
    /// `signature` is absent, null or empty.
    Missing,
    /// `signature` verifies under none of the keys.
    Invalid,
}

/// What was signed, by which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// The key that verified it.
    pub key: KeyId,
    /// The digest that was signed: two answers with one digest say the same.
    pub digest: Digest,
}

/// An answer whose signature was verified. There is no other way to make one than `verify`.
#[derive(Clone, Debug)]
pub struct Authentic {
    vouched: Vouched,
    claims: Claims,
    content: Result<Content, Malformed>,
}

/// What an authentic answer gives to its reader.
#[derive(Clone, Debug)]
pub enum Content {
    /// ACTIVE, with everything that a release needs except permission.
    Certificate(Certificate),
    /// REVOKED or EXPIRED: the text to show, and whether it is the upstream's own.
    Withdrawn {
        /// Which of the two.
        status: Status,
        /// The answer, or what is left of it.
        body: Said,
        /// An image came with it, so `body` was rebuilt without.
        rebuilt: bool,
    },
    /// `"success": false` without an image: the upstream's own text.
    Declined(Said),
}

/// An ACTIVE certificate less its image, which is remembered elsewhere and recognised by its digest.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// `data.certificate_etag`
    pub etag: Etag,
    /// Which image it came with.
    pub image: Digest,
    /// `data.expires_on`
    pub expires_on: Timestamp,
    /// The JSON around the image.
    pub frame: Frame,
    /// The entity tag of the JSON; changes whenever another member of `data` does.
    pub json_tag: Bytes,
}

/// Believes the received bytes, or says why not. The image is handed out beside, if there is one.
pub fn verify(wire: &Bytes, keys: &Keys) -> Result<(Authentic, Option<Image>), Forged> {
    verify_knowing(wire, keys, None)
}

/// As `verify`, where an image is held that the answer may show again; see [`Document::image`].
pub fn verify_knowing(wire: &Bytes, keys: &Keys, known: Option<&Image>) -> Result<(Authentic, Option<Image>), Forged> {
    let document = Document::parse(wire).map_err(|Malformed| Forged::Malformed)?;
    let vouched = keys.check(&document)?;
    let claims = document.claims();
    let (content, image) = match content(&document, &claims, wire, known) {
        Ok((content, image)) => (Ok(content), image),
        Err(Malformed) => (Err(Malformed), None),
    };
    Ok((Authentic { vouched, claims, content }, image))
}

/// Rule 4, less the HTTP status: what a genuine answer amounts to, or that it contradicts itself.
fn content(
    document: &Document<'_>,
    claims: &Claims,
    wire: &Bytes,
    known: Option<&Image>,
) -> Result<(Content, Option<Image>), Malformed> {
    claims.signed.ok_or(Malformed)?;
    if !claims.success.ok_or(Malformed)? {
        return if claims.has_image { Err(Malformed) } else { Ok((Content::Declined(Said(wire.clone())), None)) };
    }
    claims.person.ok_or(Malformed)?;
    let status = claims.status.ok_or(Malformed)?;
    if status != Status::Active {
        let rebuilt = claims.has_image || claims.has_etag;
        let body = Said(if rebuilt { document.withhold(status) } else { wire.clone() });
        return Ok((Content::Withdrawn { status, body, rebuilt }, None));
    }
    let etag = claims.etag.clone().ok_or(Malformed)?;
    let expires_on = claims.expires_on.ok_or(Malformed)?;
    let (image, frame) = document.image(wire, known)?;
    // With escapes in it, it would be longer than what was decoded, and not what anybody should get.
    let digits = base64_simd::STANDARD.encoded_length(image.len());
    let image = image.arrived_as(frame.inside(wire).filter(|text| text.len() == digits));
    let json_tag = etag.weak_with(document.data_variant());
    Ok((Content::Certificate(Certificate { etag, image: image.digest(), expires_on, frame, json_tag }), Some(image)))
}

// === impl Keys ===

impl Keys {
    /// From SEC1 hex, 33 or 65 bytes each, in any case.
    pub fn parse<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Result<Self, NoKey> {
        let mut keys: Vec<(KeyId, PublicKey)> = Vec::new();
        for text in texts {
            let bytes = hex::decode(text.as_ref().trim()).map_err(|_| NoKey)?;
            if !matches!((bytes.len(), bytes.first()), (33, Some(2 | 3)) | (65, Some(4))) {
                return Err(NoKey); // the library also reads the hybrid form
            }
            let key = PublicKey::from_slice(&bytes).map_err(|_| NoKey)?;
            let id = KeyId::of(&key);
            if keys.iter().all(|(known, _)| *known != id) {
                keys.push((id, key));
            }
        }
        Ok(Self { curve: Secp256k1::verification_only(), keys })
    }

    /// This key is among those in force.
    pub fn contains(&self, id: KeyId) -> bool {
        self.keys.iter().any(|(known, _)| *known == id)
    }

    /// The keys in force.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.keys.iter().map(|(id, _)| *id)
    }

    /// Checks the root signature of any answer of the authority.
    pub fn check(&self, document: &Document<'_>) -> Result<Vouched, Forged> {
        let signature = match document.signature() {
            None | Some(Node::Null) => return Err(Forged::Missing),
            Some(Node::String(text)) if text.is_empty() => return Err(Forged::Missing),
            Some(Node::String(text)) => parse_signature(text).ok_or(Forged::Invalid)?,
            Some(_) => return Err(Forged::Malformed),
        };
        let digest = digest(document);
        let message = Message::from_digest(digest);
        self.keys
            .iter()
            .find(|(_, key)| self.curve.verify_ecdsa(message, &signature, key).is_ok())
            .map(|(id, _)| Vouched { key: *id, digest: Digest::from_full(&digest) })
            .ok_or(Forged::Invalid)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.keys.len())
    }
}

impl KeyId {
    fn of(key: &PublicKey) -> Self {
        let mut start = [0; 8];
        start.copy_from_slice(&blake3::hash(&key.serialize()).as_bytes()[..8]);
        Self(u64::from_le_bytes(start))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

// === impl Authentic ===

impl Authentic {
    /// The key that vouches for it.
    pub fn key(&self) -> KeyId {
        self.vouched.key
    }

    /// What was signed.
    pub fn digest(&self) -> Digest {
        self.vouched.digest
    }

    /// The members that the rules read.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// What it gives, if it does not contradict itself.
    pub fn content(&self) -> Result<&Content, Malformed> {
        self.content.as_ref().map_err(|malformed| *malformed)
    }

    /// It says anything but ACTIVE: whatever is held of its journey is withdrawn, whatever else is wrong with it.
    pub fn withdraws(&self) -> bool {
        self.claims.status != Some(Status::Active)
    }

    /// It names a status, and not ACTIVE. A bare `"success": false` names none.
    pub fn speaks_against(&self) -> bool {
        self.withdraws() && !matches!(self.content, Ok(Content::Declined(_)))
    }

    /// The same answer, come with an HTTP status that contradicts it.
    pub fn contradicted(mut self) -> Self {
        self.content = Err(Malformed);
        self
    }

    /// The certificate, if it is ACTIVE and whole.
    pub fn certificate(&self) -> Option<&Certificate> {
        match &self.content {
            Ok(Content::Certificate(certificate)) => Some(certificate),
            _ => None,
        }
    }
}

/// The 32 bytes that the authority signs.
pub fn digest(document: &Document<'_>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    document.write_signed_part(&mut hasher);
    *hasher.finalize().as_bytes()
}

/// Exactly 128 hex digits; r and s below the order of the curve, s made low.
fn parse_signature(text: &str) -> Option<ecdsa::Signature> {
    let mut raw = [0; 64];
    hex::decode_to_slice(text, &mut raw).ok()?;
    let mut signature = ecdsa::Signature::from_compact(&raw).ok()?;
    signature.normalize_s();
    Some(signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANONICAL: &str = r#"{"data":{"active_status":{"code":"REVOKED","messages":""},"certificate_base64":null,"uaekyc_id":12345},"errors":[],"meta":{"filters":{},"timestamp":"2025-05-13T10:15:30.456Z"},"success":true}"#;
    const LOW: &str = "28a844d5244a0221178fa66f58b7e930eb5e760537c5e95594a4a9432dbf3b1958c1ad4edce0ecedd832e0708c00c3b0ed596e9cc5a4ed6b4685dd76daf70b47";
    const HIGH: &str = "28a844d5244a0221178fa66f58b7e930eb5e760537c5e95594a4a9432dbf3b19a73e52b1231f131227cd1f8f73ff3c4dcd556e49e9a3b2d0794c8115f53f35fa";
    const PUBLIC: &str = "04989c0b76cb563971fdc9bef31ec06c3560f3249d6ee9e5d83c57625596e05f6f631f4d05b3ae518776ee08755a7703e64b2ebc32547504de0b55a142d4ecdf80";

    fn signed(signature: &str) -> Bytes {
        Bytes::from(format!("{{\"signature\":{signature},{}", &CANONICAL[1..]))
    }

    fn check(signature: &str, key: &str) -> Result<(), Forged> {
        let keys = Keys::parse([key]).expect("a key");
        verify(&signed(signature), &keys).map(|_| ())
    }

    #[test]
    fn low_and_high_s_both_verify_under_either_spelling_of_the_key() {
        let compressed = format!("02{}", &PUBLIC[2..66]);
        for key in [PUBLIC, &compressed, &PUBLIC.to_uppercase()] {
            for signature in [LOW, HIGH] {
                assert_eq!(check(&format!("\"{signature}\""), key), Ok(()));
            }
        }
    }

    #[test]
    fn an_image_comes_with_its_text_only_as_it_stands_on_the_wire() {
        let jpeg = [0xff, 0xd8, 0xff, 0xff, 0xff, 0xff]; // in base64 with two slashes
        let wire = fixture::wire(fixture::answer("ACTIVE", Timestamp(0), Some("e"), Some(&jpeg)));
        let (authentic, image) = verify(&wire, &fixture::keys()).expect("genuine");
        let frame = &authentic.certificate().expect("whole").frame;
        let text = image.as_ref().and_then(Image::text).expect("no escapes");
        assert_eq!([&frame.before, text, &frame.after].map(|part| &part[..]).concat(), wire);
        assert_eq!(image.expect("ACTIVE").without_text().text(), None);

        let escaped = Bytes::from(String::from_utf8_lossy(&wire).replace("/////", "\\/\\/\\/\\/\\/"));
        assert_ne!(escaped, wire);
        let (_, image) = verify(&escaped, &fixture::keys()).expect("the same values");
        assert_eq!(image.expect("ACTIVE").text(), None);
    }

    #[test]
    fn an_image_that_is_known_is_handed_out_again_and_no_other() {
        let wire = |jpeg: &[u8]| fixture::wire(fixture::answer("ACTIVE", Timestamp(0), Some("e"), Some(jpeg)));
        let keys = fixture::keys();
        let image = |jpeg: &[u8], known: Option<&Image>| {
            verify_knowing(&wire(jpeg), &keys, known).expect("genuine").1.expect("ACTIVE")
        };
        let (one, other) = ([0xff, 0xd8, 0xff, 1], [0xff, 0xd8, 0xff, 2]);
        let known = image(&one, None);
        assert_eq!(image(&one, Some(&known)).bytes().as_ptr(), known.bytes().as_ptr());
        assert_eq!(image(&other, Some(&known)).bytes()[..], other);
        assert_eq!(image(&other, Some(&known)).digest(), image(&other, None).digest());
    }

    #[test]
    fn absent_null_and_empty_are_missing_another_type_is_malformed() {
        assert_eq!(check("null", PUBLIC), Err(Forged::Missing));
        assert_eq!(check("\"\"", PUBLIC), Err(Forged::Missing));
        assert_eq!(
            verify(&Bytes::from(CANONICAL), &Keys::parse([PUBLIC]).expect("a key")).map(|_| ()),
            Err(Forged::Missing)
        );
        for other in ["7", "[]", "{}", "true"] {
            assert_eq!(check(other, PUBLIC), Err(Forged::Malformed), "{other}");
        }
    }

    #[test]
    fn any_other_string_is_invalid() {
        let cut = &LOW[..126];
        for wrong in [
            "00",
            cut,
            &format!("{LOW}00"),
            &format!("0x{LOW}"),
            &"0".repeat(128),
            &"f".repeat(128),
            &LOW.replace('2', "3"),
            "3045",
            " ",
        ] {
            assert_eq!(check(&format!("\"{wrong}\""), PUBLIC), Err(Forged::Invalid), "{wrong}");
        }
    }

    #[test]
    fn a_later_key_of_several_vouches() {
        let other =
            Keys::parse(["0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798", PUBLIC]).expect("keys");
        let (authentic, _) = verify(&signed(&format!("\"{LOW}\"")), &other).expect("genuine");
        assert!(Keys::parse([PUBLIC]).expect("a key").contains(authentic.key()));
    }

    #[test]
    fn no_point_is_no_key() {
        for wrong in ["", "04", "zz", &PUBLIC[2..], &format!("06{}", &PUBLIC[2..]), &format!("{}00", &PUBLIC[..128])] {
            assert_eq!(Keys::parse([wrong]).map(|_| ()), Err(NoKey), "{wrong}");
        }
    }

    #[test]
    fn no_single_changed_byte_verifies() {
        let keys = Keys::parse([PUBLIC]).expect("a key");
        let genuine = signed(&format!("\"{LOW}\""));
        for at in 0..genuine.len() {
            let mut changed = genuine.to_vec();
            changed[at] ^= 1;
            let survived = verify(&Bytes::from(changed.clone()), &keys).is_ok();
            // A hex digit of the other case is the same digit; xor 1 never makes one of that.
            assert!(!survived, "byte {at}");
        }
    }
}

/// Answers signed with a made-up key, for the tests of the rooms above.
#[cfg(test)]
pub(crate) mod fixture {
    use super::*;
    use secp256k1::SecretKey;

    fn secret() -> SecretKey {
        SecretKey::from_byte_array([7; 32]).expect("below the order of the curve")
    }

    /// The key that `wire` signs with.
    pub(crate) fn keys() -> Keys {
        let key = PublicKey::from_secret_key(&Secp256k1::new(), &secret());
        Keys::parse([hex::encode(key.serialize())]).expect("a key")
    }

    /// Signs this answer as the authority would.
    pub(crate) fn wire(mut answer: serde_json::Value) -> Bytes {
        let text = answer.to_string();
        let digest = digest(&Document::parse(text.as_bytes()).expect("JSON"));
        let signature = Secp256k1::new().sign_ecdsa(Message::from_digest(digest), &secret());
        answer["signature"] = hex::encode(signature.serialize_compact()).into();
        answer.to_string().into()
    }

    /// What the gateway makes of it.
    pub(crate) fn authentic(answer: serde_json::Value) -> (Authentic, Option<Image>) {
        verify(&wire(answer), &keys()).expect("genuine")
    }

    /// The usual answer; change what the test is about.
    pub(crate) fn answer(
        status: &str,
        signed: Timestamp,
        etag: Option<&str>,
        image: Option<&[u8]>,
    ) -> serde_json::Value {
        let image =
            image.map(|bytes| format!("data:image/jpeg;base64,{}", base64_simd::STANDARD.encode_to_string(bytes)));
        serde_json::json!({
            "success": true,
            "data": {
                "uaekyc_id": 1, "certificate_base64": image, "certificate_etag": etag, "issued_on": "2025-01-01T00:00:00Z",
                "expires_on": "2026-01-01T00:00:00Z", "active_status": { "code": status, "messages": "" }, "last_updated": "2025-01-01T00:00:00Z",
            },
            "message": "", "meta": { "timestamp": signed.to_rfc3339(), "filters": {} }, "errors": [],
        })
    }
}
