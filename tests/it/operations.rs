//! What changes while the gateway runs: secrets in files, and the configuration.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use httpmock::prelude::*;
use serde_json::{Value, json};

use crate::commands::{Process, binary};
use crate::support::authority::{self, NOON, answer, sign};
use crate::support::*;

/// A gateway as a process, in front of an upstream that takes any key, with its secrets in files.
struct Sidecar {
    process: Process,
    folder: tempfile::TempDir,
    upstream: MockServer,
}

impl Sidecar {
    async fn start(more: &str) -> Self {
        let upstream = MockServer::start_async().await;
        let folder = tempfile::tempdir().expect("a directory");
        let config = folder.path().join("gateway.toml");
        std::fs::write(folder.path().join("key"), "key-1\n").expect("written");
        std::fs::write(folder.path().join("keys"), authority::public_key()).expect("written");
        std::fs::write(&config, configured(&folder, &upstream.base_url(), more)).expect("written");
        let process = tokio::task::spawn_blocking(move || Process::serve(&config)).await.expect("it starts");
        Self { process, folder, upstream }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.file(name), content).expect("written");
    }

    fn configure(&self, more: &str) {
        self.write("gateway.toml", &configured(&self.folder, &self.upstream.base_url(), more));
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        ask(self.process.data.parse().expect("an address"), "GET", path, headers, "").await
    }

    async fn admin(&self, method: &str, path: &str) -> Reply {
        ask(self.process.admin.parse().expect("an address"), method, path, &[], "").await
    }

    async fn has(&self, line: &str) -> bool {
        self.admin("GET", "/metrics").await.text().lines().any(|known| known == line)
    }

    fn hang_up(&self) {
        let told = Command::new("kill").args(["-HUP", &self.process.id()]).status().expect("kill runs");
        assert!(told.success());
    }
}

fn configured(folder: &tempfile::TempDir, upstream: &str, more: &str) -> String {
    let at = |name: &str| folder.path().join(name).display().to_string();
    format!(
        "listen.address = \"127.0.0.1:0\"\nadmin.address = \"127.0.0.1:0\"\nupstream.base_url = \"{upstream}\"\n\
         upstream.api_key_file = \"{}\"\nsignature.public_key_files = [\"{}\"]\n{more}\n",
        at("key"),
        at("keys"),
    )
}

/// Moves a link as Kubernetes does when a mounted secret changes.
fn swap_data(folder: &Path, version: &str, files: &[(&str, &str)]) {
    let fresh = folder.join(version);
    std::fs::create_dir(&fresh).expect("made");
    for (name, content) in files {
        std::fs::write(fresh.join(name), content).expect("written");
        let _ = std::fs::remove_file(folder.join(name));
        std::os::unix::fs::symlink(Path::new("..data").join(name), folder.join(name)).expect("linked");
    }
    std::os::unix::fs::symlink(version, folder.join("..tmp")).expect("linked");
    std::fs::rename(folder.join("..tmp"), folder.join("..data")).expect("moved");
}

const MISSING: &str = "/otk-service/v1/certificates/0b7a9f52-3c1d-4e8f-9a6b-5c4d3e2f1a0b";

#[tokio::test]
async fn a_new_api_key_is_used_without_a_restart_however_it_comes() {
    let sidecar = Sidecar::start("cache.not_found_ttl = \"0s\"").await;
    let asked_with = async |key: &str| {
        let seen = sidecar
            .upstream
            .mock_async(|when, then| {
                when.header("x-transaction-key", key);
                then.status(404).body("{}");
            })
            .await;
        eventually(key, async || {
            sidecar.get(MISSING, &[("cache-control", "no-cache")]).await;
            tokio::time::sleep(Duration::from_millis(250)).await; // one journey has a fifth of the rate
            seen.calls_async().await > 0
        })
        .await;
    };
    asked_with("key-1").await;
    sidecar.write("key", "  key-2 \r\n");
    asked_with("key-2").await;
    sidecar.write("next", "key-3");
    std::fs::rename(sidecar.file("next"), sidecar.file("key")).expect("moved");
    asked_with("key-3").await;
    swap_data(sidecar.folder.path(), "..v4", &[("key", "key-4")]);
    asked_with("key-4").await;
    swap_data(sidecar.folder.path(), "..v5", &[("key", "key-5")]);
    asked_with("key-5").await;
}

#[tokio::test]
async fn an_unusable_secret_keeps_the_last_good_one_and_shows_everywhere() {
    let sidecar = Sidecar::start("").await;
    assert!(sidecar.has("otk_gateway_secret_usable{secret=\"api_key\"} 1").await);
    for (content, failures) in [("", 1), ("a\nb", 2)] {
        sidecar.write("key", content);
        let line = format!("otk_gateway_secret_reload_failures_total{{secret=\"api_key\"}} {failures}");
        eventually(&line, async || sidecar.has(&line).await).await;
    }
    assert!(sidecar.has("otk_gateway_secret_usable{secret=\"api_key\"} 0").await);
    let ready = sidecar.admin("GET", "/readyz").await;
    assert_eq!((ready.status, &ready.json()["unusable_secrets"]), (200, &json!(["api_key"])));
    let status = sidecar.admin("GET", "/status").await.json();
    let secret = status["secrets"].as_array().expect("a list").iter().find(|one| one["name"] == "api_key").cloned();
    let secret = secret.expect("listed");
    assert_eq!((&secret["usable"], &secret["failures"]), (&json!(false), &json!(2)));
    let seen = sidecar
        .upstream
        .mock_async(|when, then| {
            when.header("x-transaction-key", "key-1");
            then.status(404).body("{}");
        })
        .await;
    sidecar.get(MISSING, &[]).await;
    assert_eq!(seen.calls_async().await, 1);
    sidecar.write("key", "key-2");
    let line = "otk_gateway_secret_usable{secret=\"api_key\"} 1";
    eventually(line, async || sidecar.has(line).await).await;
}

#[tokio::test]
async fn a_public_key_taken_out_of_its_file_stops_vouching_for_what_is_held() {
    let sidecar = Sidecar::start("signature.max_age = \"3650d\"\nsignature.clock_skew = \"3650d\"").await;
    let mut fresh = answer("ACTIVE", NOON);
    fresh["data"]["expires_on"] = "2100-01-01T00:00:00Z".into();
    let held = sidecar
        .upstream
        .mock_async(|when, then| {
            when.path(MISSING);
            then.status(200).body(sign(fresh));
        })
        .await;
    assert_eq!(sidecar.get(MISSING, &[]).await.status, 200);
    assert_eq!((sidecar.get(MISSING, &[]).await.status, held.calls_async().await), (200, 1));
    let other = "0379be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
    sidecar.write("keys", &format!("{}\n{other}\n", authority::public_key()));
    tokio::time::sleep(Duration::from_millis(2500)).await; // overlapping keys change nothing that could be waited for
    assert_eq!((sidecar.get(MISSING, &[]).await.status, held.calls_async().await), (200, 1));
    sidecar.write("keys", other);
    eventually("the key is gone", async || sidecar.get(MISSING, &[]).await.status == 502).await;
    assert_eq!(sidecar.get(MISSING, &[]).await.code(), "SIGNATURE-INVALID");
}

#[tokio::test]
async fn hanging_up_puts_a_good_configuration_into_force_at_once_and_refuses_a_bad_one() {
    let sidecar = Sidecar::start("").await;
    let is_allowed = async || sidecar.get("/x", &[("host", "gateway.example")]).await.status != 421;
    assert!(!is_allowed().await);
    sidecar.configure("listen.allowed_hosts = [\"gateway.example\", \"localhost\"]");
    let begun = Instant::now();
    sidecar.hang_up();
    eventually("the host is allowed", is_allowed).await;
    println!("in force after {:?}", begun.elapsed());

    sidecar.configure("listen.allowed_hosts = []\ncache.max_exposure = 5\nunknown = 1");
    sidecar.hang_up();
    let refused = "otk_gateway_config_last_reload_successful 0";
    eventually(refused, async || sidecar.has(refused).await).await;
    assert!(is_allowed().await, "the old one stays");
    assert_eq!(sidecar.admin("GET", "/status").await.json()["config"]["last_reload_successful"], false);
    let (_, log) = sidecar.process.terminate();
    assert!(log.contains("cache.max_exposure (line 7)") && log.contains("unknown (line 8)"), "{log}");
}

#[tokio::test]
async fn reload_says_what_is_in_force_what_waits_and_what_is_wrong() {
    let sidecar = Sidecar::start("").await;
    let reload = || {
        let admin = format!("http://{}", sidecar.process.admin);
        let out = binary().args(["reload", "--admin", &admin]).output().expect("the binary runs");
        let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        (out.status.code(), text)
    };
    sidecar.configure("listen.max_connections = 7\nlog.format = \"json\"\ncache.max_exposure = \"10m\"");
    let (code, text) = reload();
    assert_eq!(code, Some(0), "{text}");
    for wanted in
        ["is in force", "listen.max_connections takes effect", "log.format takes effect", "warning: cache.max"]
    {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    sidecar.configure("cache.max_exposure = \"canary\"");
    let (code, text) = reload();
    assert_eq!(code, Some(2));
    assert!(text.contains("cache.max_exposure (line 6)") && !text.contains("canary"), "{text}");
    assert_eq!(sidecar.admin("GET", "/reload").await.status, 405);
    let answered: Value = sidecar.admin("POST", "/reload").await.json();
    assert_eq!((&answered["reloaded"], answered["complaints"].as_array().map(Vec::len)), (&json!(false), Some(1)));
}

#[tokio::test]
async fn answers_belong_to_the_upstream_they_came_from() {
    let sidecar = Sidecar::start("signature.max_age = \"3650d\"\nsignature.clock_skew = \"3650d\"").await;
    let mut fresh = answer("ACTIVE", NOON);
    fresh["data"]["expires_on"] = "2100-01-01T00:00:00Z".into();
    sidecar
        .upstream
        .mock_async(|when, then| {
            when.path(MISSING);
            then.status(200).body(sign(fresh));
        })
        .await;
    assert_eq!(sidecar.get(MISSING, &[]).await.status, 200);
    let elsewhere = MockServer::start_async().await;
    let nobody = elsewhere
        .mock_async(|when, then| {
            when.path(MISSING);
            then.status(404).body("{}");
        })
        .await;
    let moved = configured(
        &sidecar.folder,
        &elsewhere.base_url(),
        "signature.max_age = \"3650d\"\nsignature.clock_skew = \"3650d\"",
    );
    sidecar.write("gateway.toml", &moved);
    assert_eq!(sidecar.admin("POST", "/reload").await.status, 200);
    assert_eq!((sidecar.get(MISSING, &[]).await.status, nobody.calls_async().await), (404, 1));
}

#[tokio::test]
async fn what_guards_an_address_stays_as_long_as_the_address_does() {
    let token = "client-token-1";
    let sidecar = Sidecar::start("").await;
    sidecar.write("token", token);
    let guarded = format!("listen.client_token_file = \"{}\"", sidecar.file("token").display());
    sidecar.configure(&guarded);
    assert_eq!(sidecar.admin("POST", "/reload").await.status, 200);
    let denied = sidecar.get(MISSING, &[]).await;
    assert_eq!((denied.code().as_str(), denied.header("www-authenticate")), ("CLIENT-UNAUTHENTICATED", "Bearer"));
    let text = configured(&sidecar.folder, &sidecar.upstream.base_url(), "");
    sidecar.write("gateway.toml", &text.replacen("127.0.0.1:0", "127.0.0.1:1", 1));
    let answered = sidecar.admin("POST", "/reload").await.json();
    assert_eq!(answered["restart_needed"], json!(["listen.address"]));
    assert_eq!(sidecar.get(MISSING, &[]).await.status, 401);
    let bearer = format!("Bearer {token}");
    assert_ne!(sidecar.get(MISSING, &[("authorization", &bearer)]).await.status, 401);
}

#[tokio::test]
async fn a_client_token_is_exchanged_without_a_restart() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("token");
    std::fs::write(&file, "client-token-1").expect("written");
    let sidecar = Sidecar::start(&format!("listen.client_token_file = \"{}\"", file.display())).await;
    let status = async |token: &str| {
        let bearer = format!("Bearer {token}");
        sidecar.get("/elsewhere", &[("authorization", &bearer)]).await.status
    };
    assert_eq!((status("client-token-1").await, status("client-token-2").await), (403, 401));
    std::fs::write(&file, "client-token-2\n").expect("written");
    eventually("the new token", async || status("client-token-2").await == 403).await;
    assert_eq!(status("client-token-1").await, 401);
}
