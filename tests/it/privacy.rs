//! The canary: at the most talkative level, through hits, misses, errors and nonsense, nothing private is written anywhere.

use crate::commands::Process;
use crate::support::authority::{self, API_KEY, NOON, answer, sign};
use crate::support::*;

#[tokio::test]
async fn no_token_person_key_or_image_in_any_log_metric_or_error() {
    let token = "c0ffee00-cafe-4bad-8bad-feedfacef00d";
    let clock = std::time::SystemTime::now();
    let now = time::OffsetDateTime::from(clock).format(&time::format_description::well_known::Rfc3339).expect("a time");
    let mut active = answer("ACTIVE", &now);
    active["data"]["uaekyc_id"] = serde_json::json!(918_273_645);
    active["data"]["expires_on"] = serde_json::json!("2999-01-01T00:00:00Z");
    let server = httpmock::MockServer::start_async().await;
    let certificate = format!("/otk-service/v1/certificates/{token}");
    server
        .mock_async(|when, then| {
            when.path(certificate.as_str());
            then.status(200).body(sign(active));
        })
        .await;
    server
        .mock_async(|when, then| {
            when.path_includes("create-journey");
            then.status(200).body(format!("{{\"journeyToken\":\"{token}\",\"signature\":\"\"}}"));
        })
        .await;
    server
        .mock_async(|when, then| {
            when.path_includes("00000000-0000-4000-8000");
            then.status(200).body(sign(answer("ACTIVE", NOON)).replace("77001", "918273645"));
        })
        .await;

    let files = tempfile::tempdir().expect("a directory");
    let config = files.path().join("gateway.toml");
    let key = files.path().join("key");
    std::fs::write(&key, API_KEY).expect("written");
    let text = configuration(&server.base_url(), &authority::public_key(), "log.level = \"trace\"");
    std::fs::write(&config, text.replace("api_key_env = \"KEY\"", &format!("api_key_file = \"{}\"", key.display())))
        .expect("written");
    let gateway = Process::serve(&config);
    let (data, admin) = (gateway.data.parse().expect("an address"), gateway.admin.parse().expect("an address"));

    let mut told = String::new();
    let image = ask(data, "GET", &format!("{certificate}/image"), &[], "").await;
    assert_eq!((image.status, &image.body[..]), (200, authority::JPEG));
    for (method, path, headers, body) in [
        ("GET", path(1), vec![], ""),
        ("GET", format!("{certificate}?{token}"), vec![], ""),
        ("GET", format!("{certificate}/{token}"), vec![], ""),
        ("PUT", certificate.clone(), vec![], ""),
        ("GET", certificate.clone(), vec![("host", token)], ""),
        ("GET", certificate.clone(), vec![("origin", "https://c0ffee00-cafe-4bad-8bad-feedfacef00d.example")], ""),
        ("GET", format!("/{token}"), vec![("x-request-id", token)], ""),
    ] {
        let reply = ask(data, method, &path, &headers, body).await;
        assert!(reply.status >= 400, "{method} {path}");
        told += &format!("{:?}\n{}\n", reply.headers, reply.text());
    }
    ask(data, "GET", &certificate, &[("x-request-id", "c0ffee00cafe4bad8badfeedfacef00d")], "").await;
    ask(data, "POST", "/otk-service/v2/create-journey", &[], token).await;
    for (method, path, body) in
        [("GET", "/metrics", ""), ("GET", "/status", ""), ("POST", "/purge", token), ("GET", "/readyz", "")]
    {
        told += &ask(admin, method, path, &[], body).await.text();
    }
    let purge = format!("{{\"journey\":\"{token}\"}}");
    assert_eq!(ask(admin, "POST", "/purge", &[], &purge).await.status, 200);

    let (code, log) = gateway.terminate();
    assert_eq!(code, Some(0));
    assert!(log.lines().count() > 8 && log.contains("journey="), "there is a log to look at: {log}");
    let base64 = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, authority::JPEG);
    for (what, text) in [("log", log), ("answers", told)] {
        let text = text.to_lowercase();
        for secret in
            [token, &token.replace('-', ""), "918273645", API_KEY, &base64[..12], "etag-of-the-test", "feedface"]
        {
            assert!(!text.contains(&secret.to_lowercase()), "{secret} in the {what}: {text}");
        }
    }
}
