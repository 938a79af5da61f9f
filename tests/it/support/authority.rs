//! Signed answers for upstreams that a test scripts by itself.

use base64::prelude::{BASE64_STANDARD, Engine};
use otk_gateway::certificate::Timestamp;
use secp256k1::{Message, PublicKey, Secp256k1, SecretKey};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

pub const API_KEY: &str = "key-that-must-not-leak-4711";
pub const JPEG: &[u8] = &[0xff, 0xd8, 0xff, 0xe0, 0, 16, b'J', b'F', b'I', b'F', 0, 1, 2, 3, 4, 5, 6, 7];

fn secret() -> SecretKey {
    SecretKey::from_byte_array([0x21; 32]).expect("below the order of the curve")
}

pub fn public_key() -> String {
    hex::encode(PublicKey::from_secret_key(&Secp256k1::new(), &secret()).serialize())
}

/// The text of this answer with its signature. serde_json sorts the keys, which for these answers is canonical.
pub fn sign(mut answer: Value) -> String {
    let digest = *blake3::hash(answer.to_string().as_bytes()).as_bytes();
    let signature = Secp256k1::new().sign_ecdsa(Message::from_digest(digest), &secret());
    answer["signature"] = hex::encode(signature.serialize_compact()).into();
    answer.to_string()
}

/// The usual answer, unsigned; change what the test is about.
pub fn answer(code: &str, signed_at: &str) -> Value {
    let is_active = code == "ACTIVE";
    json!({
        "success": true,
        "data": {
            "uaekyc_id": 77_001,
            "certificate_base64": is_active.then(|| format!("data:image/jpeg;base64,{}", BASE64_STANDARD.encode(JPEG))),
            "certificate_etag": is_active.then_some("etag-of-the-test"),
            "issued_on": "2025-01-15T10:30:45.123Z",
            "expires_on": "2026-01-15T10:30:45.123Z",
            "active_status": { "code": code, "messages": "" },
            "last_updated": "2025-01-15T14:30:45.123456+04:00",
        },
        "message": "",
        "meta": { "timestamp": signed_at, "filters": {} },
        "errors": [],
    })
}

/// The made-up noon of the tests' clock, as the authority writes it.
pub const NOON: &str = "2025-05-13T12:00:00.000Z";

pub fn noon_plus(seconds: i64) -> String {
    let noon = Timestamp::parse(NOON).expect("a time");
    Timestamp(noon.0 + seconds * 1_000_000_000).to_rfc3339()
}

/// An upstream that answers every connection's first request with these bytes and then closes it.
pub async fn raw(answer: impl Into<Vec<u8>>) -> String {
    let answer = answer.into();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(&answer).await;
            });
        }
    });
    url
}

/// The bytes of a whole answer.
pub fn http(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// An upstream that gives these bytes to its first request, those to the second, and the last ones ever after.
pub async fn in_turn(answers: Vec<String>) -> String {
    in_turn_after(std::time::Duration::ZERO, answers).await
}

/// The same, each a while after it was asked for.
pub async fn in_turn_after(wait: std::time::Duration, answers: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        let mut asked = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answers[asked.min(answers.len() - 1)].clone();
            asked += 1;
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                tokio::time::sleep(wait).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    url
}
