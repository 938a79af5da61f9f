//! Whatever the upstream sends: a clear error, never an image, never a poisoned cache.

use serde_json::{Value, json};

use crate::support::authority::{self, NOON, answer, http, noon_plus, sign};
use crate::support::*;

/// The code that one scripted answer leads to; whatever it is, no image leaves, and the gateway lives on.
async fn code_of(bytes: impl Into<Vec<u8>>) -> String {
    let url = authority::raw(bytes).await;
    let gateway = gateway(&url, &authority::public_key(), "upstream.retries = 0").await;
    let (json, image) = (gateway.get(&path(1)).await, gateway.get(&image_path(1)).await);
    assert!(json.holds_no_image() && image.holds_no_image());
    assert_eq!(gateway.metric("otk_gateway_cache_images").await, 0.0);
    let code = json.code();
    assert!((500..600).contains(&json.status));
    let word = code.to_lowercase();
    assert!(gateway.metric(&format!("otk_gateway_refused_total{{reason=\"{word}\"}}")).await >= 1.0);
    code
}

fn with(path: &str, value: Value) -> Value {
    let mut answer = answer("ACTIVE", NOON);
    *answer.pointer_mut(path).expect("a member") = value;
    answer
}

fn signed(answer: Value) -> String {
    http(200, &sign(answer))
}

#[tokio::test]
async fn bodies_that_are_no_answer() {
    let genuine = sign(answer("ACTIVE", NOON));
    let lone = genuine.replacen("\"message\":\"\"", r#""message":"\ud800""#, 1);
    let twice = genuine.replacen("\"errors\":[]", r#""errors":[],"\u0065rrors":[]"#, 1);
    let deep = format!("{{\"data\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for (name, body, code) in [
        ("HTML", "<!DOCTYPE html><html></html>", "UPSTREAM-MALFORMED"),
        ("nothing", "", "UPSTREAM-MALFORMED"),
        ("half a JSON", &genuine[..genuine.len() / 2], "UPSTREAM-MALFORMED"),
        ("something after it", &format!("{genuine}{{}}"), "UPSTREAM-MALFORMED"),
        ("a key twice", &twice, "UPSTREAM-MALFORMED"),
        ("a lone surrogate", &lone, "UPSTREAM-MALFORMED"),
        ("100,000 brackets", &deep, "UPSTREAM-MALFORMED"),
        ("no object", "[]", "UPSTREAM-MALFORMED"),
        ("a comment", "{} // hello", "UPSTREAM-MALFORMED"),
    ] {
        assert_eq!(code_of(http(200, body)).await, code, "{name}");
    }
    assert_eq!(
        code_of(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"a\":\"\xff\"}".to_vec()).await,
        "UPSTREAM-MALFORMED",
        "not UTF-8"
    );
}

#[tokio::test]
async fn signatures_that_are_none() {
    let genuine = sign(answer("ACTIVE", NOON));
    let value: Value = serde_json::from_str(&genuine).expect("JSON");
    let hex = value["signature"].as_str().expect("signed").to_owned();
    let resigned = |signature: Value| {
        let mut value = value.clone();
        value["signature"] = signature;
        http(200, &value.to_string())
    };
    assert_eq!(code_of(http(200, &answer("ACTIVE", NOON).to_string())).await, "SIGNATURE-MISSING");
    for (signature, code) in [
        (json!(null), "SIGNATURE-MISSING"),
        (json!(""), "SIGNATURE-MISSING"),
        (json!(7), "UPSTREAM-MALFORMED"),
        (json!([hex]), "UPSTREAM-MALFORMED"),
        (json!("0".repeat(128)), "SIGNATURE-INVALID"),
        (json!(hex[2..]), "SIGNATURE-INVALID"),
        (json!(format!("{hex}00")), "SIGNATURE-INVALID"),
        (json!(format!("0x{hex}")), "SIGNATURE-INVALID"),
        (json!("zz"), "SIGNATURE-INVALID"),
    ] {
        assert_eq!(code_of(resigned(signature.clone())).await, code, "{signature}");
    }
    assert_eq!(
        code_of(http(200, &genuine.replace("77001", "77002"))).await,
        "SIGNATURE-INVALID",
        "somebody else's number"
    );
}

#[tokio::test]
async fn times_that_are_not_now() {
    for (seconds, code) in [(-121, "RESPONSE-REPLAYED"), (61, "CLOCK-SKEW")] {
        assert_eq!(code_of(signed(answer("ACTIVE", &noon_plus(seconds)))).await, code);
    }
}

#[tokio::test]
async fn genuine_answers_that_contradict_themselves() {
    let long = "x".repeat(300);
    for (name, answer) in [
        ("no image", with("/data/certificate_base64", json!(null))),
        ("no ETag", with("/data/certificate_etag", json!(null))),
        ("an ETag that splits headers", with("/data/certificate_etag", json!("a\r\nset-cookie: b"))),
        ("an ETag too long", with("/data/certificate_etag", json!(long))),
        ("an ETag of another type", with("/data/certificate_etag", json!(5))),
        ("a PNG", with("/data/certificate_base64", json!("data:image/png;base64,iVBORw0KGgo="))),
        ("a PNG called JPEG", with("/data/certificate_base64", json!("data:image/jpeg;base64,iVBORw0KGgo="))),
        ("base64 without padding", with("/data/certificate_base64", json!("data:image/jpeg;base64,/9j/4AA"))),
        ("an unknown code", with("/data/active_status/code", json!("PAUSED"))),
        ("no success", with("/success", json!("true"))),
        ("success false with an image", with("/success", json!(false))),
        ("a number that is none", with("/data/uaekyc_id", json!("77001"))),
        ("a number too fine", with("/data/uaekyc_id", json!(1.5))),
        ("an end that is no time", with("/data/expires_on", json!("soon"))),
        ("no data", with("/data", json!(null))),
    ] {
        assert_eq!(code_of(signed(answer)).await, "UPSTREAM-MALFORMED", "{name}");
    }
    for status in [201, 204, 302, 304] {
        let code = code_of(http(status, &sign(answer("ACTIVE", NOON)))).await;
        assert!(code == "UPSTREAM-MALFORMED" || code == "UPSTREAM-UNREACHABLE", "{status}: {code}");
    }
}

#[tokio::test]
async fn statuses_of_the_upstream() {
    for (status, code) in [
        (401, "UPSTREAM-REJECTED-KEY"),
        (403, "UPSTREAM-FORBIDDEN"),
        (500, "UPSTREAM-ERROR"),
        (503, "UPSTREAM-ERROR"),
        (599, "UPSTREAM-ERROR"),
    ] {
        assert_eq!(code_of(http(status, "<html>no</html>")).await, code, "{status}");
    }
    for (name, body) in [
        ("HTML", "<html>"),
        ("an image", r#"{"a":"data:image/jpeg;base64,/9j/"}"#),
        ("no object", "[]"),
        ("long", &format!("{{\"a\":\"{}\"}}", "x".repeat(4097))),
    ] {
        assert_eq!(code_of(http(404, body)).await, "UPSTREAM-MALFORMED", "{name}");
    }
    let url = authority::raw(http(422, r#"{"statusCode":422,"message":"no"}"#)).await;
    let gateway = gateway(&url, &authority::public_key(), "").await;
    let passed = gateway.get(&image_path(1)).await;
    assert_eq!((passed.status, passed.text().as_str()), (422, r#"{"statusCode":422,"message":"no"}"#));
}

#[tokio::test]
async fn framing_and_size() {
    let genuine = sign(answer("ACTIVE", NOON));
    let five_megabytes = format!("HTTP/1.1 200 OK\r\ncontent-length: 5242880\r\n\r\n{}", "x".repeat(100_000));
    assert_eq!(code_of(five_megabytes).await, "UPSTREAM-TOO-LARGE");
    let unbounded = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(5 << 20));
    assert_eq!(code_of(unbounded).await, "UPSTREAM-TOO-LARGE");
    for (name, bytes, code) in [
        (
            "cut off",
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{genuine}", genuine.len() + 1),
            "UPSTREAM-UNREACHABLE",
        ),
        (
            "cut off in a chunk",
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{genuine}", genuine.len() + 1),
            "UPSTREAM-UNREACHABLE",
        ),
        ("closed at once", String::new(), "UPSTREAM-UNREACHABLE"),
        (
            "two lengths",
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\ncontent-length: 5\r\n\r\n{genuine}", genuine.len()),
            "UPSTREAM-MALFORMED",
        ),
        (
            "a list of lengths",
            format!("HTTP/1.1 200 OK\r\ncontent-length: {0}, {0}\r\n\r\n{genuine}", genuine.len()),
            "UPSTREAM-MALFORMED",
        ),
        (
            "length and chunks",
            format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
                genuine.len()
            ),
            "UPSTREAM-MALFORMED",
        ),
        ("no HTTP", "SSH-2.0-OpenSSH_9.2\r\n".to_owned(), "UPSTREAM-MALFORMED"),
        (
            "encoded",
            format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n{genuine}", genuine.len()),
            "UPSTREAM-MALFORMED",
        ),
    ] {
        assert_eq!(code_of(bytes).await, code, "{name}");
    }
}

#[tokio::test]
async fn what_is_not_genuine_changes_nothing_that_is_held() {
    let server = httpmock::MockServer::start_async().await;
    let good = server.mock_async(|_, then| drop(then.status(200).body(sign(answer("ACTIVE", NOON))))).await;
    let gateway = gateway(&server.base_url(), &authority::public_key(), "upstream.requests_per_second = 1000").await;
    assert_eq!(gateway.get(&image_path(1)).await.status, 200);
    good.delete_async().await;
    for bad in [
        answer("REVOKED", NOON).to_string(),
        sign(with("/data/uaekyc_id", json!(1))),
        sign(answer("ACTIVE", &noon_plus(-3600))),
    ] {
        let mock = server.mock_async(|_, then| drop(then.status(200).body(&bad))).await;
        assert_eq!(gateway.ask("GET", &image_path(1), &[("cache-control", "no-cache")]).await.status, 502);
        mock.delete_async().await;
        assert_eq!(gateway.get(&image_path(1)).await.status, 200, "still held");
    }
    // Signed, but old: it withdraws all the same.
    server.mock_async(|_, then| drop(then.status(200).body(sign(answer("REVOKED", &noon_plus(-3600)))))).await;
    assert_eq!(gateway.ask("GET", &image_path(1), &[("cache-control", "no-cache")]).await.code(), "RESPONSE-REPLAYED");
    assert_eq!(gateway.get(&image_path(1)).await.status, 502, "dropped at once");
}

#[tokio::test]
async fn another_person_and_another_journeys_answer_are_refused_until_forgotten() {
    let server = httpmock::MockServer::start_async().await;
    let mock = server.mock_async(|_, then| drop(then.status(200).body(sign(answer("ACTIVE", NOON))))).await;
    let gateway = gateway(&server.base_url(), &authority::public_key(), "").await;
    assert_eq!(gateway.get(&image_path(1)).await.status, 200);
    assert_eq!(
        gateway.get(&image_path(2)).await.code(),
        "IDENTITY-MISMATCH",
        "the very same answer for another journey"
    );
    mock.delete_async().await;
    server.mock_async(|_, then| drop(then.status(200).body(sign(with("/data/uaekyc_id", json!(5)))))).await;
    let anew = [("cache-control", "no-cache")];
    assert_eq!(gateway.ask("GET", &image_path(1), &anew).await.code(), "IDENTITY-MISMATCH");
    let purge = |forget: bool| json!({ "journey": token(1), "forget": forget }).to_string();
    gateway.admin("POST", "/purge", &purge(false)).await;
    assert_eq!(gateway.get(&image_path(1)).await.code(), "IDENTITY-MISMATCH", "marks outlive a purge");
    gateway.admin("POST", "/purge", &purge(true)).await;
    assert_eq!(gateway.get(&image_path(1)).await.status, 200, "forgotten: the journey begins anew");
}

#[tokio::test]
async fn two_persons_under_one_etag_with_different_images_conflict() {
    let server = httpmock::MockServer::start_async().await;
    let other_jpeg = "data:image/jpeg;base64,/9j/4AAR";
    for (number, person, image) in [(1, 1, None), (2, 2, Some(other_jpeg))] {
        let mut answer = with("/data/uaekyc_id", json!(person));
        if let Some(image) = image {
            answer["data"]["certificate_base64"] = json!(image);
        }
        let at = path(number);
        server
            .mock_async(|when, then| {
                when.path(at.as_str());
                then.status(200).body(sign(answer));
            })
            .await;
    }
    let gateway = gateway(&server.base_url(), &authority::public_key(), "").await;
    assert_eq!(gateway.get(&image_path(1)).await.status, 200);
    assert_eq!(gateway.get(&image_path(2)).await.code(), "ETAG-CONFLICT");
    assert_eq!(gateway.get(&image_path(1)).await.code(), "ETAG-CONFLICT", "a conflict for both");
}

#[tokio::test]
async fn new_bytes_under_an_old_etag_are_shown_but_give_no_304() {
    let server = httpmock::MockServer::start_async().await;
    let first = server.mock_async(|_, then| drop(then.status(200).body(sign(answer("ACTIVE", NOON))))).await;
    let gateway = gateway(&server.base_url(), &authority::public_key(), "").await;
    let tag = [("if-none-match", "\"etag-of-the-test\"")];
    assert_eq!(gateway.ask("GET", &image_path(1), &tag).await.status, 304);
    first.delete_async().await;
    let mut changed = answer("ACTIVE", &noon_plus(1));
    changed["data"]["certificate_base64"] = json!("data:image/jpeg;base64,/9j/4AAR");
    server.mock_async(|_, then| drop(then.status(200).body(sign(changed)))).await;
    let shown = gateway.ask("GET", &image_path(1), &[("cache-control", "no-cache"), tag[0]]).await;
    assert_eq!((shown.status, &shown.body[..]), (200, &[0xff, 0xd8, 0xff, 0xe0, 0, 0x11][..]));
    assert_eq!(gateway.ask("GET", &image_path(1), &tag).await.status, 200);
}

#[tokio::test]
async fn a_signed_no_is_passed_on_and_never_remembered() {
    let server = httpmock::MockServer::start_async().await;
    let no = json!({ "success": false, "data": null, "message": "not now", "meta": { "timestamp": NOON, "filters": {} }, "errors": [] });
    let mock = server.mock_async(|_, then| drop(then.status(200).body(sign(no)))).await;
    let gateway = gateway(&server.base_url(), &authority::public_key(), "").await;
    let told = gateway.get(&path(1)).await;
    assert_eq!((told.status, told.json()["message"].as_str()), (200, Some("not now")));
    assert_eq!(gateway.get(&image_path(1)).await.code(), "UPSTREAM-ERROR");
    assert_eq!(mock.calls_async().await, 2);
}
