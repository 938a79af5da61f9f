//! The record, from outside: the real binary writes it, is killed over it, and reads it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use otk_gateway::clock::Clock;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::commands::{Process, binary};
use crate::support::*;

/// A gateway as a process that keeps a record, in front of a sandbox in this process.
struct Kept {
    folder: tempfile::TempDir,
    upstream: Played,
}

impl Kept {
    async fn new() -> Self {
        let upstream = play(&Arc::new(Clock::system())).await;
        let folder = tempfile::tempdir().expect("a directory");
        std::fs::write(folder.path().join("names"), "operator-key-1").expect("written");
        Self { folder, upstream }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("audit.jsonl")
    }

    fn names(&self) -> PathBuf {
        self.folder.path().join("names")
    }

    async fn serve(&self, file: &Path, more: &str) -> Process {
        let key = self.folder.path().join("key");
        std::fs::write(&key, "key-1").expect("written");
        let text = configuration(&self.upstream.url, &self.upstream.key(), more)
            .replace("api_key_env = \"KEY\"", &format!("api_key_file = \"{}\"", key.display()));
        let text = format!(
            "{text}\naudit.file = \"{}\"\naudit.pseudonym_key_file = \"{}\"\nupstream.requests_per_second = 1000\n",
            file.display(),
            self.names().display(),
        );
        let config = self.folder.path().join("gateway.toml");
        std::fs::write(&config, text).expect("written");
        tokio::task::spawn_blocking(move || Process::serve(&config)).await.expect("it starts")
    }

    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.file()).expect("a record");
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    }
}

async fn get(process: &Process, path: &str) -> Reply {
    ask(process.data.parse().expect("an address"), "GET", path, &[], "").await
}

fn audit(arguments: &[&str]) -> (Option<i32>, String) {
    let out = binary().arg("audit").args(arguments).output().expect("the binary runs");
    (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[tokio::test]
async fn every_answer_about_a_certificate_is_a_line_that_anybody_can_check() {
    let kept = Kept::new().await;
    let process = kept.serve(&kept.file(), "").await;
    let image = get(&process, &image_path(1)).await;
    let etag = image.header("etag").to_owned();
    let data = process.data.parse().expect("an address");
    assert_eq!(ask(data, "GET", &image_path(1), &[("if-none-match", &etag)], "").await.status, 304);
    for (path, status) in [(path(1), 200), (image_path(2), 410), (path(2), 200), (path(4), 502), (path(11), 404)] {
        assert_eq!(get(&process, &path).await.status, status);
    }
    get(&process, "/elsewhere").await;
    let purge = format!("{{\"journey\":\"{}\"}}", token(1));
    ask(process.admin.parse().expect("an address"), "POST", "/purge", &[], &purge).await;
    assert_eq!(process.terminate().0, Some(0));

    let wanted = [
        ("started", Value::Null, Value::Null, Value::Null),
        ("released", "image".into(), 200.into(), Value::Null),
        ("released", "not_modified".into(), 304.into(), Value::Null),
        ("released", "json".into(), 200.into(), Value::Null),
        ("revocation_observed", Value::Null, Value::Null, Value::Null),
        ("withheld", Value::Null, 410.into(), "certificate-revoked".into()),
        ("withheld", Value::Null, 200.into(), "certificate-revoked".into()),
        ("refused", Value::Null, 502.into(), "signature-invalid".into()),
        ("refused", Value::Null, 404.into(), Value::Null),
        ("purged", Value::Null, Value::Null, Value::Null),
        ("stopped", Value::Null, Value::Null, Value::Null),
    ];
    let lines = kept.lines();
    let told: Vec<_> =
        lines.iter().map(|line| (&line["event"], &line["representation"], &line["status"], &line["reason"])).collect();
    for ((event, representation, status, reason), told) in wanted.iter().zip(&told) {
        assert_eq!(
            (*event, representation, status, reason),
            (told.0.as_str().expect("a word"), told.1, told.2, told.3)
        );
    }
    assert_eq!(told.len(), wanted.len());
    assert_eq!((&lines[1]["etag"], &lines[1]["client"]), (&etag.trim_matches('"').into(), &"local".into()));

    let record = std::fs::read_to_string(kept.file()).expect("a record");
    let mut prev = "0".repeat(64);
    for line in record.lines() {
        let (unclosed, rest) = line.rsplit_once(",\"hash\":\"").expect("a hash");
        let hash = hex::encode(Sha256::digest(format!("{unclosed}}}")));
        assert_eq!(rest, format!("{hash}\"}}"));
        assert!(unclosed.ends_with(&format!("\"prev\":\"{prev}\"")));
        prev = hash;
    }
    for secret in [&token(1), "operator-key-1", "784", "key-1"] {
        assert!(secret.len() < 5 || !record.contains(secret), "{secret}");
    }

    let (code, out) = audit(&["verify", text(&kept.file())]);
    assert_eq!(code, Some(0), "{out}");
    let journey = token(2);
    let (names, file) = (kept.names(), kept.file());
    let (code, out) = audit(&["prove", "--journey", &journey, "--pseudonym-key-file", text(&names), text(&file)]);
    assert_eq!(code, Some(0), "{out}");
    assert!(
        out.contains("no image left after a revocation was observed") && out.contains("revocation_observed"),
        "{out}"
    );
    let name = lines[5]["journey"].as_str().expect("a name");
    assert_eq!(audit(&["prove", "--journey", name, text(&kept.file())]), (Some(0), out));
    assert_eq!(audit(&["prove", "--journey", &journey, text(&kept.file())]).0, Some(2));
}

#[tokio::test]
async fn without_a_record_no_image_leaves_unless_the_operator_wants_it() {
    let kept = Kept::new().await;
    let full = Path::new("/dev/full");
    let process = kept.serve(full, "").await;
    for path in [path(1), image_path(1)] {
        let refused = get(&process, &path).await;
        assert_eq!((refused.status, refused.code().as_str()), (503, "AUDIT-UNAVAILABLE"));
        assert!(refused.holds_no_image());
    }
    assert_eq!(get(&process, &path(2)).await.status, 200, "nothing leaves that could leak");
    let page = ask(process.admin.parse().expect("an address"), "GET", "/metrics", &[], "").await.text();
    assert!(page.contains("otk_gateway_audit_writable 0\n"), "{page}");
    drop(process);
    let process = kept.serve(full, "audit.on_failure = \"continue\"").await;
    assert_eq!(get(&process, &image_path(1)).await.status, 200);
}

#[tokio::test]
async fn killed_under_load_it_goes_on_without_a_line_lost_or_doubled() {
    let kept = Kept::new().await;
    let mut answered = 0;
    for _ in 0..3 {
        let process = kept.serve(&kept.file(), "").await;
        let (count, address) = (Arc::new(AtomicU64::new(0)), process.data.parse().expect("an address"));
        let clients: Vec<_> =
            (0..4).map(|number| tokio::spawn(load(address, path([1, 13, 14, 2][number]), count.clone()))).collect();
        eventually("a load", async || count.load(Relaxed) > 200).await;
        let killed = Command::new("kill").args(["-9", &process.id()]).status().expect("kill runs");
        assert!(killed.success());
        for client in clients {
            client.await.expect("no panic");
        }
        answered += count.load(Relaxed);
        drop(process);
    }
    assert_eq!(kept.serve(&kept.file(), "").await.terminate().0, Some(0));
    let (code, out) = audit(&["verify", text(&kept.file())]);
    assert_eq!(code, Some(0), "{out}");
    assert!(!out.contains("could not be recorded"), "{out}");
    let lines = kept.lines();
    let told =
        lines.iter().filter(|line| ["released", "withheld"].contains(&line["event"].as_str().unwrap_or_default()));
    assert!(told.count() as u64 >= answered, "every answer that was seen has its line");
    let numbers: Vec<_> = lines.iter().map(|line| line["seq"].as_u64()).collect();
    assert_eq!(numbers, (1..=lines.len() as u64).map(Some).collect::<Vec<_>>());
}

/// Asks until the connection breaks; counts whole answers.
async fn load(address: std::net::SocketAddr, path: String, count: Arc<AtomicU64>) {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    let Ok(stream) = tokio::net::TcpStream::connect(address).await else { return };
    let mut stream = BufReader::new(stream);
    loop {
        let asked = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        if stream.write_all(asked.as_bytes()).await.is_err() {
            return;
        }
        let mut length = 0;
        loop {
            let mut line = String::new();
            match stream.read_line(&mut line).await {
                Ok(read) if read > 0 => {}
                _ => return,
            }
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().expect("a number");
            }
        }
        let mut body = vec![0; length];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        count.fetch_add(1, Relaxed);
    }
}

#[tokio::test]
async fn renamed_and_hung_up_the_chain_goes_on_in_a_new_file() {
    let kept = Kept::new().await;
    let process = kept.serve(&kept.file(), "").await;
    get(&process, &image_path(1)).await;
    let old = kept.folder.path().join("audit.jsonl.1");
    std::fs::rename(kept.file(), &old).expect("renamed");
    get(&process, &image_path(1)).await;
    assert!(Command::new("kill").args(["-HUP", &process.id()]).status().expect("kill runs").success());
    eventually("a new file", async || kept.file().exists()).await;
    get(&process, &image_path(1)).await;
    assert_eq!(process.terminate().0, Some(0));
    let (code, out) = audit(&["verify", text(&kept.file())]);
    assert!(code == Some(0) && out.contains("goes on from an earlier file"), "{out}");
    let journey = token(1);
    let prove = |files: &[&str]| {
        audit(&[&["prove", "--journey", &journey, "--pseudonym-key-file", text(&kept.names())], files].concat())
    };
    let (code, out) = prove(&[text(&kept.file()), text(&old)]);
    assert!(code == Some(0) && out.contains("3 releases"), "{out}");
}

/// Revocations come and go while clients ask; the record of it must be clean.
#[tokio::test]
async fn the_record_of_a_race_shows_no_image_after_a_revocation() {
    let kept = Kept::new().await;
    let process = kept.serve(&kept.file(), "upstream.max_concurrent = 8").await;
    let address = process.data.parse().expect("an address");
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..6)
        .map(|number| {
            let is_over = is_over.clone();
            tokio::spawn(async move {
                while !is_over.load(Relaxed) {
                    let headers: &[_] = if number % 2 == 0 { &[("cache-control", "no-cache")] } else { &[] };
                    ask(address, "GET", &image_path(1), headers, "").await;
                }
            })
        })
        .collect();
    for act in ["revoke", "activate"].iter().cycle().take(30) {
        kept.upstream.change(&token(1), act).await;
        tokio::time::sleep(std::time::Duration::from_millis(40)).await;
    }
    is_over.store(true, Relaxed);
    for client in clients {
        client.await.expect("no panic");
    }
    assert_eq!(process.terminate().0, Some(0));
    let journey = token(1);
    let (code, out) =
        audit(&["prove", "--journey", &journey, "--pseudonym-key-file", text(&kept.names()), text(&kept.file())]);
    let last = out.lines().last().unwrap_or_default();
    assert!(code == Some(0) && last.contains("no image left after a revocation was observed"), "{last}");
    assert!(out.contains("released") && out.contains("revocation_observed"));
}
