//! Signed answers for the comparison, with a key of this run: as files for an origin that only serves files, or served for any
//! journey with `--serve`.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::SystemTime;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use otk_gateway::certificate::Timestamp;
use secp256k1::{All, Message, PublicKey, Secp256k1, SecretKey};
use serde_json::json;
use tokio::net::TcpListener;

/// One person and one image for each number, signed now.
fn answer(number: u64, jpeg: &[u8], secp: &Secp256k1<All>, secret: &SecretKey) -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
    let now = Timestamp(since.as_nanos() as i64 + number as i64);
    let mut answer = json!({
        "success": true,
        "data": {
            "uaekyc_id": 10_000_000_000_u64 + number,
            "certificate_base64": format!("data:image/jpeg;base64,{}", BASE64_STANDARD.encode(jpeg)),
            "certificate_etag": format!("etag-{number:020}"),
            "issued_on": "2025-01-15T10:30:45.123Z",
            "expires_on": Timestamp(now.0 + (YEAR + number as i64) * 1_000_000_000).to_rfc3339(),
            "active_status": { "code": "ACTIVE", "messages": "" },
            "last_updated": "2025-01-15T14:30:45.123456+04:00",
        },
        "message": "",
        "meta": { "timestamp": now.to_rfc3339_nanos(), "filters": {} },
        "errors": [],
    });
    // serde_json sorts the members, which for this answer is the canonical form.
    let digest = *blake3::hash(answer.to_string().as_bytes()).as_bytes();
    let signature = secp.sign_ecdsa(Message::from_digest(digest), secret);
    answer["signature"] = hex::encode(signature.serialize_compact()).into();
    answer.to_string()
}

/// Bytes that no compression would shorten, with the beginning of a JPEG; others for every number.
fn jpeg(number: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xd8, 0xff, 0xe0];
    let mut state = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while bytes.len() < length.max(32) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length.max(32));
    bytes
}

/// Bytes of an image where many journeys matter and images do not; large enough that few fit beside each other in a cache.
const SMALL: usize = 1000;

/// In seconds.
const YEAR: i64 = 365 * 24 * 60 * 60;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let (secp, secret) = (Secp256k1::new(), SecretKey::from_byte_array([0x42; 32]).expect("below the curve's order"));
    let public_key = hex::encode(PublicKey::from_secret_key(&secp, &secret).serialize());
    let args: Vec<_> = std::env::args().skip(1).collect();
    if args[0] == "--serve" {
        let length = answer(u64::from(u32::MAX), &jpeg(0, SMALL), &secp, &secret).len();
        return serve(secp, secret, &json!({ "public_key": public_key, "answer": length })).await;
    }
    let (folder, count) = (Path::new(&args[0]), args[2].parse::<u64>().expect("a number"));
    let length = args[1].parse::<usize>().expect("a number of KB") * 1000;
    let mut text = String::new();
    for number in 1..=count {
        text = answer(number, &jpeg(number, length), &secp, &secret);
        let name = if count == 1 { "certificate".to_owned() } else { format!("00000000-0000-4000-8000-{number:012}") };
        std::fs::write(folder.join(name), &text)?;
    }
    let image = jpeg(1, length);
    std::fs::write(folder.join("image"), &image)?;
    println!("{}", json!({ "public_key": public_key, "answer": text.len(), "image": image.len() }));
    Ok(())
}

async fn serve(secp: Secp256k1<All>, secret: SecretKey, told: &serde_json::Value) -> std::io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let mut told = told.clone();
    told["port"] = listener.local_addr()?.port().into();
    println!("{told}");
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let secp = secp.clone();
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let number = request.uri().path().rsplit('-').next().and_then(|digits| digits.parse().ok()).unwrap_or(0);
            let text = answer(number, &jpeg(number, SMALL), &secp, &secret);
            async move { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text)))) }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}
