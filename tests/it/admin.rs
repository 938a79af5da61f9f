//! The operators' listener.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::*;

async fn started() -> (Gateway, Played) {
    let clock = clock();
    let upstream = play(&clock).await;
    (gateway_at(&upstream.url, &upstream.key(), "", clock).await, upstream)
}

#[tokio::test]
async fn it_is_alive_and_ready_and_has_every_series_from_the_start() {
    let (gateway, _upstream) = started().await;
    eventually("ready", async || gateway.admin("GET", "/readyz", "").await.status == 200).await;
    assert_eq!(gateway.admin("GET", "/livez", "").await.status, 200);
    let page = gateway.admin("GET", "/metrics", "").await.text();
    for reason in otk_gateway::reason::Reason::ALL {
        assert!(page.contains(&format!("otk_gateway_refused_total{{reason=\"{reason}\"}} 0\n")), "{reason}");
    }
    for series in [
        "otk_gateway_requests_total{route=\"image\",status=\"200\"} 0",
        "otk_gateway_releases_total{representation=\"not_modified\"} 0",
        "otk_gateway_cache_requests_total{result=\"collapsed\"} 0",
        "otk_gateway_upstream_requests_total{outcome=\"tls\"} 0",
        "otk_gateway_signature_checks_total{result=\"missing\"} 0",
        "otk_gateway_certificates_expiring{within=\"90d\"} 0",
        "otk_gateway_confirmation_age_seconds_count 0",
        "otk_gateway_request_duration_seconds_count{route=\"other\"} 0",
        "otk_gateway_upstream_duration_seconds_count 0",
        "otk_gateway_cache_image_bytes 0",
        "otk_gateway_cache_images 0",
        "otk_gateway_cache_journeys 0",
        "otk_gateway_in_flight_requests 0",
        "otk_gateway_rate_limited_total{by=\"journey\"} 0",
        "otk_gateway_log_lines_dropped_total 0",
        "otk_gateway_connections{listener=\"data\"} 0",
        "otk_gateway_build_info{version=",
        "process_resident_memory_bytes ",
    ] {
        assert!(page.contains(series), "{series}");
    }
}

#[tokio::test]
async fn a_purge_drops_and_counts_and_makes_relatives_confirm_again() {
    let (gateway, upstream) = started().await;
    for number in [1, 13, 14] {
        gateway.get(&image_path(number)).await;
        gateway.pass(Duration::from_secs(1));
    }
    let purged = gateway.admin("POST", "/purge", &json!({ "journey": token(1).to_uppercase() }).to_string()).await;
    assert_eq!((purged.status, purged.json()), (200, json!({ "purged": 1 })));
    gateway.get(&image_path(13)).await;
    assert_eq!(upstream.sandbox.calls(&token(13)), 2, "a relative confirms again");
    gateway.get(&image_path(14)).await;
    assert_eq!(upstream.sandbox.calls(&token(14)), 1, "a stranger does not");
    gateway.pass(Duration::from_secs(1));
    gateway.get(&image_path(1)).await;
    assert_eq!(gateway.admin("POST", "/purge", "{\"uaekyc_id\":10001}").await.json(), json!({ "purged": 2 }));
    assert_eq!(gateway.admin("POST", "/purge", "{\"all\":true}").await.json(), json!({ "purged": 1 }));
    assert_eq!(gateway.metric("otk_gateway_cache_images").await, 0.0);
    for wrong in ["", "{}", "{\"all\":false}", "{\"all\":true,\"etag\":\"x\"}", "{\"other\":1}"] {
        let refused = gateway.admin("POST", "/purge", wrong).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "INVALID-REQUEST"), "{wrong}");
    }
    assert_eq!(gateway.admin("GET", "/purge", "").await.status, 405);
}

#[tokio::test]
async fn expiring_certificates_are_listed_and_counted() {
    let (gateway, upstream) = started().await;
    let journey = upstream.sandbox.journey(&token(1)).expect("it exists");
    upstream.sandbox.put(&token(1), otk_gateway::sandbox::Journey { expires_in_days: 20, ..journey });
    gateway.get(&path(1)).await;
    gateway.get(&path(14)).await;
    let listed = gateway.admin("GET", "/expiring?within=30d", "").await.json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert_eq!(
        (listed[0]["token"].as_str(), listed[0]["uaekyc_id"].as_i64(), listed[0]["days_left"].as_i64()),
        (Some(token(1).as_str()), Some(10_001), Some(20))
    );
    assert!(listed[0]["expires_on"].as_str().is_some_and(|end| end.starts_with("2025-06-02T12:00:00")));
    let counts = ["7d", "30d", "90d"].map(|within| format!("otk_gateway_certificates_expiring{{within=\"{within}\"}}"));
    for (series, count) in counts.iter().zip([0.0, 1.0, 1.0]) {
        assert_eq!(gateway.metric(series).await, count, "{series}");
    }
    assert_eq!(gateway.admin("GET", "/expiring?within=soon", "").await.status, 400);
}

#[tokio::test]
async fn pages_of_other_origins_can_do_nothing_here() {
    let (gateway, _upstream) = started().await;
    let refused = ask(gateway.admin, "POST", "/purge", &[("origin", "https://evil.example")], "{\"all\":true}").await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "CROSS-SITE"));
    let refused = ask(gateway.admin, "GET", "/status", &[("host", "evil.example")], "").await;
    assert_eq!((refused.status, refused.code().as_str()), (421, "HOST-NOT-ALLOWED"));
    assert_eq!(
        ask(gateway.admin, "GET", "/metrics", &[("host", "10.1.2.3:9090")], "").await.status,
        200,
        "any Host for these three"
    );
}

#[tokio::test]
async fn the_summary_tells_what_was_refused() {
    let (gateway, _upstream) = started().await;
    gateway.get(&image_path(4)).await;
    let status = gateway.admin("GET", "/status", "").await.json();
    assert_eq!(status["refusals"], json!({ "signature-invalid": 1 }));
    assert!(status["uptime_seconds"].is_u64() && status["version"].is_string() && status["cache"]["journeys"].is_u64());
}

#[tokio::test]
async fn the_summary_holds_all_that_the_page_shows() {
    let (gateway, _upstream) = started().await;
    for number in [1, 1, 2, 4] {
        gateway.get(&image_path(number)).await;
    }
    let status = gateway.admin("GET", "/status", "").await.json();
    for (pointer, value) in [
        ("/requests", json!({ "certificate": 0, "image": 4, "passthrough": 0, "other": 0 })),
        ("/signature_checks", json!({ "valid": 2, "invalid": 1, "missing": 0 })),
        ("/upstream/rate_limited", json!({ "gateway": 0, "journey": 0, "upstream": 0 })),
        ("/upstream/circuit", json!("closed")),
        ("/upstream/latency/count", json!(3)),
        ("/cache/requests/hit", json!(1)),
        ("/exposure/max_seconds", json!(30.0)),
        ("/exposure/count", json!(2)),
        ("/connections/data", json!(0)),
        ("/connections_refused", json!({ "data": 0, "admin": 0 })),
        ("/log_lines_dropped", json!(0)),
        ("/spans_dropped", json!(0)),
        ("/audit", Value::Null),
        ("/tls", json!([])),
    ] {
        // A connection that was dropped is noticed a moment later.
        eventually(pointer, async || gateway.admin("GET", "/status", "").await.json().pointer(pointer) == Some(&value))
            .await;
    }
    let secrets = status["secrets"].as_array().expect("a list");
    assert!(secrets.iter().all(|one| one["usable"] == true && one["last_failure_seconds"].is_null()), "{secrets:?}");
    assert!(!status.to_string().contains(&token(1)));
}

#[tokio::test]
async fn the_page_is_whole_in_itself_and_allows_nothing_else() {
    let (gateway, _upstream) = started().await;
    let page = gateway.admin("GET", "/", "").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    for (name, value) in
        [("cache-control", "no-store"), ("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer")]
    {
        assert_eq!(page.header(name), value, "{name}");
    }
    let text = page.text();
    assert!(page.holds_no_image());
    assert!(text.len() < 30 * 1024, "{}", text.len());
    let digest_of = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>")).expect("it begins");
        let (inside, after) = rest.split_once(&format!("</{tag}>")).expect("it ends");
        assert!(inside.len() > 1000 && !after.contains(&format!("<{tag}")), "one {tag} only");
        STANDARD.encode(Sha256::digest(inside))
    };
    assert_eq!(
        page.header("content-security-policy"),
        format!(
            "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
             trusted-types 'none'",
            digest_of("style"),
            digest_of("script")
        )
    );
    for foreign in
        ["http://", "https://", "//cdn", "src=", "@import", "url(", "innerHTML", "style=", " onclick", " onload"]
    {
        assert!(!text.contains(foreign), "{foreign}");
    }
}

#[tokio::test]
async fn the_page_is_for_this_machine_and_is_only_looked_at() {
    let (gateway, _upstream) = started().await;
    let foreign = ask(gateway.admin, "GET", "/", &[("host", "evil.example")], "").await;
    assert_eq!((foreign.status, foreign.code().as_str()), (421, "HOST-NOT-ALLOWED"));
    for (name, value) in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        let foreign = ask(gateway.admin, "GET", "/", &[(name, value)], "").await;
        assert_eq!((foreign.status, foreign.code().as_str()), (403, "CROSS-SITE"), "{name}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let refused = gateway.admin(method, "/", "").await;
        assert_eq!((refused.status, refused.header("allow")), (405, "GET, HEAD"), "{method}");
    }
    let (page, head) = (gateway.admin("GET", "/", "").await, gateway.admin("HEAD", "/", "").await);
    assert_eq!((head.status, head.body.len()), (200, 0));
    for name in ["content-length", "content-type", "content-security-policy"] {
        assert_eq!(head.header(name), page.header(name), "{name}");
    }
}

#[tokio::test]
async fn why_a_journey_is_answered_as_it_is_can_be_asked() {
    let (gateway, upstream) = started().await;
    gateway.get(&path(1)).await;
    gateway.pass(Duration::from_secs(31));
    let body = json!({ "journey": token(1) }).to_string();
    let why = gateway.admin("POST", "/explain", &body).await.json();
    assert_eq!(
        (why["status"].as_str(), why["age_seconds"].as_u64(), why["journey"].as_str().map(str::len)),
        (Some("ACTIVE"), Some(31), Some(12))
    );
    let results: Vec<&str> =
        why["rules"].as_array().expect("seven").iter().map(|rule| rule["result"].as_str().expect("a word")).collect();
    assert_eq!(results, ["pass", "pass", "pass", "pass", "pass", "fail", "pass"], "only freshness is missing: {why}");
    assert!(why["etag"].is_string() && why["signed_at"] == "2025-05-13T12:00:00.000Z");

    upstream.change(&token(1), "revoke").await;
    gateway.get(&image_path(1)).await;
    let why = gateway.admin("POST", "/explain", &body).await.json();
    assert_eq!(
        (why["status"].as_str(), why["outcomes"][0]["outcome"].as_str(), why["outcomes"][1]["outcome"].as_str()),
        (Some("REVOKED"), Some("certificate-revoked"), Some("released"))
    );
    for _ in 0..9 {
        gateway.get(&image_path(1)).await;
    }
    let why = gateway.admin("POST", "/explain", &body).await;
    assert_eq!(why.json()["outcomes"].as_array().map(Vec::len), Some(5));
    assert!(!why.text().contains(&token(1)));
    let stranger = gateway.admin("POST", "/explain", &json!({ "journey": token(7) }).to_string()).await.json();
    assert!(stranger["rules"].is_null() && stranger["outcomes"] == json!([]));
    assert_eq!(gateway.admin("POST", "/explain", "{\"journey\":\"x\"}").await.code(), "INVALID-REQUEST");
}
