//! The pure parts, each beside its limit: the bare primitive on the same bytes.
//!
//! `cargo bench --bench parts` prints them; `benches/compare --only parts` runs it and tells the ratios.

use std::hint::black_box;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use divan::Bencher;
use otk_gateway::cache::{Cache, Settings};
use otk_gateway::certificate::{Image, JourneyToken, Timestamp};
use otk_gateway::clock::Clock;
use otk_gateway::envelope::Document;
use otk_gateway::release::{self, Answer, Ask, Call, Rules, Seen, Verdict};
use otk_gateway::signature::{self, Keys};
use secp256k1::{Message, PublicKey, Secp256k1, SecretKey, ecdsa};
use serde_json::{Value, json};

fn main() {
    divan::main();
}

/// A JPEG of this size is in the middle of what the upstream's page promises.
const JPEG: usize = 500_000;

/// A signed answer and what it is made of.
struct Signed {
    wire: Bytes,
    canonical: Vec<u8>,
    digits: String,
    jpeg: Vec<u8>,
    key: PublicKey,
    signature: ecdsa::Signature,
    digest: [u8; 32],
}

impl Signed {
    fn new() -> Self {
        let jpeg: Vec<u8> = [0xff, 0xd8, 0xff].into_iter().chain((3..JPEG).map(|at| ((at * at) >> 7) as u8)).collect();
        let digits = BASE64_STANDARD.encode(&jpeg);
        let mut answer = json!({
            "success": true,
            "data": {
                "uaekyc_id": 12345,
                "certificate_base64": format!("data:image/jpeg;base64,{digits}"),
                "certificate_etag": "a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6",
                "issued_on": "2025-01-15T10:30:45.123Z",
                "expires_on": "2026-01-15T10:30:45.123Z",
                "active_status": { "code": "ACTIVE", "messages": "" },
                "last_updated": "2025-01-15T14:30:45.123456+04:00",
            },
            "message": "Retrieved certificate details successfully",
            "meta": { "timestamp": "2025-05-13T10:15:30.456Z", "filters": {} },
            "errors": [],
        });
        let canonical = answer.to_string().into_bytes(); // serde_json sorts the members
        let digest = *blake3::hash(&canonical).as_bytes();
        let (curve, secret) = (Secp256k1::new(), SecretKey::from_byte_array([0x42; 32]).expect("below the order"));
        let signature = curve.sign_ecdsa(Message::from_digest(digest), &secret);
        answer["signature"] = Value::from(hex::encode(signature.serialize_compact()));
        let key = PublicKey::from_secret_key(&curve, &secret);
        Self { wire: answer.to_string().into(), canonical, digits, jpeg, key, signature, digest }
    }

    fn keys(&self) -> Keys {
        Keys::parse([hex::encode(self.key.serialize())]).expect("a key")
    }

    fn verify_bare(&self, curve: &Secp256k1<secp256k1::VerifyOnly>) {
        let message = Message::from_digest(black_box(self.digest));
        curve.verify_ecdsa(message, &self.signature, &self.key).expect("valid");
    }
}

#[divan::bench_group(sample_count = 200)]
mod digest {
    use super::*;

    #[divan::bench]
    fn canonical(bencher: Bencher) {
        let signed = Signed::new();
        let document = Document::parse(&signed.wire).expect("an answer");
        bencher.bench_local(|| signature::digest(black_box(&document)));
    }

    #[divan::bench]
    fn limit_blake3(bencher: Bencher) {
        let signed = Signed::new();
        bencher.bench_local(|| blake3::hash(black_box(&signed.canonical)));
    }
}

#[divan::bench_group(sample_count = 200)]
mod check {
    use super::*;

    #[divan::bench]
    fn digest_and_signature(bencher: Bencher) {
        let signed = Signed::new();
        let (document, keys) = (Document::parse(&signed.wire).expect("an answer"), signed.keys());
        bencher.bench_local(|| keys.check(black_box(&document)).expect("genuine"));
    }

    #[divan::bench]
    fn limit_libsecp256k1(bencher: Bencher) {
        let (signed, curve) = (Signed::new(), Secp256k1::verification_only());
        bencher.bench_local(|| signed.verify_bare(&curve));
    }
}

#[divan::bench_group(sample_count = 200)]
mod base64_text {
    use super::*;

    #[divan::bench]
    fn parse(bencher: Bencher) {
        let signed = Signed::new();
        bencher.bench_local(|| Document::parse(black_box(&signed.wire)).expect("an answer"));
    }

    #[divan::bench]
    fn image(bencher: Bencher) {
        let signed = Signed::new();
        let document = Document::parse(&signed.wire).expect("an answer");
        bencher.bench_local(|| document.image(black_box(&signed.wire), None).expect("an image"));
    }

    #[divan::bench]
    fn limit_decode(bencher: Bencher) {
        let signed = Signed::new();
        bencher
            .bench_local(|| base64_simd::STANDARD.decode_to_vec(black_box(signed.digits.as_bytes())).expect("base64"));
    }

    #[divan::bench]
    fn limit_encode(bencher: Bencher) {
        let signed = Signed::new();
        bencher.bench_local(|| base64_simd::STANDARD.encode_to_string(black_box(&signed.jpeg)));
    }
}

/// From the received bytes to something that may be released, and the three primitives that this cannot do without.
#[divan::bench_group(sample_count = 400)]
mod whole {
    use super::*;

    #[divan::bench]
    fn bytes_to_authentic_and_jpeg(bencher: Bencher) {
        let signed = Signed::new();
        let keys = signed.keys();
        bencher.bench_local(|| signature::verify(black_box(&signed.wire), &keys).expect("genuine"));
    }

    #[divan::bench]
    fn the_same_image_again(bencher: Bencher) {
        let signed = Signed::new();
        let keys = signed.keys();
        let (_, held) = signature::verify(&signed.wire, &keys).expect("genuine");
        bencher
            .bench_local(|| signature::verify_knowing(black_box(&signed.wire), &keys, held.as_ref()).expect("genuine"));
    }

    #[divan::bench]
    fn limit_blake3_verify_decode(bencher: Bencher) {
        let (signed, curve) = (Signed::new(), Secp256k1::verification_only());
        bencher.bench_local(|| {
            black_box(blake3::hash(black_box(&signed.wire)));
            signed.verify_bare(&curve);
            base64_simd::STANDARD.decode_to_vec(black_box(signed.digits.as_bytes())).expect("base64")
        });
    }
}

/// What a hit asks for.
#[divan::bench_group(sample_count = 200)]
mod hit {
    use super::*;

    const RULES: Rules = Rules {
        max_age: Duration::from_secs(120),
        clock_skew: Duration::from_secs(60),
        max_exposure: Duration::from_secs(30),
        withheld_ttl: Duration::from_secs(300),
    };

    struct Held {
        clock: Clock,
        cache: Cache,
        token: JourneyToken,
        answer: std::sync::Arc<Answer>,
        image: Image,
        keys: arc_swap::ArcSwap<Keys>,
    }

    impl Held {
        fn new() -> Self {
            let signed = Signed::new();
            let clock = Clock::by_hand(Timestamp::parse("2025-05-13T10:15:31Z").expect("a time"));
            let keys = signed.keys();
            let (authentic, image) = signature::verify(&signed.wire, &keys).expect("genuine");
            let call = Call { sent: clock.now(), received: clock.now(), upstream_age: Duration::ZERO };
            let answer = std::sync::Arc::new(Answer { authentic, call });
            let cache = Cache::new(Settings { image_capacity: 256 << 20, max_journeys: 100_000 });
            let token = JourneyToken::parse("00000000-0000-4000-8000-000000000001").expect("a token");
            let (image, keys) = (image.expect("ACTIVE"), arc_swap::ArcSwap::from_pointee(keys));
            cache.learn(&token, &answer, Some(&image), &keys, &RULES).expect("the first one");
            Self { clock, cache, token, answer, image, keys }
        }

        fn seen(&self) -> Seen {
            self.cache.seen(&self.token, &self.answer)
        }
    }

    #[divan::bench]
    fn held(bencher: Bencher) {
        let held = Held::new();
        bencher.bench_local(|| held.cache.held(black_box(&held.token)).expect("held"));
    }

    #[divan::bench]
    fn seen(bencher: Bencher) {
        let held = Held::new();
        bencher.bench_local(|| black_box(&held).seen());
    }

    #[divan::bench]
    fn decide(bencher: Bencher) {
        let held = Held::new();
        let (seen, ask) = (held.seen(), Ask { arrived: held.clock.now(), anew: false });
        let now = held.clock.now();
        bencher.bench_local(|| {
            let is_in_force = held.keys.load().contains(held.answer.authentic.key());
            let verdict =
                release::decide(black_box(&held.answer), Some(&held.image), is_in_force, &seen, &ask, &now, &RULES);
            assert!(matches!(verdict, Verdict::Release(_)));
            verdict
        });
    }
}
