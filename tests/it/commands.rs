//! The real binary: commands, exit codes, and where they print what.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::support::Files;
use crate::support::authority::{self, API_KEY, NOON, answer, sign};

pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_otk-gateway"));
    command.env_clear();
    command
}

fn run(arguments: &[&str]) -> Output {
    binary().args(arguments).stdin(Stdio::null()).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The shortest configuration that there is, with the API key in a file.
pub fn minimal(files: &Files, upstream: &str, more: &str) -> PathBuf {
    let key = files.write("key", &format!("  {API_KEY}\n"));
    let public = authority::public_key();
    let content = format!(
        "listen.address = \"127.0.0.1:0\"\nadmin.address = \"127.0.0.1:0\"\nupstream.base_url = \"{upstream}\"\nupstream.api_key_file = \"{}\"\nsignature.public_keys = [\"{public}\"]\n{more}\n",
        key.display()
    );
    files.write("gateway.toml", &content)
}

#[test]
fn verify_tells_step_by_step_and_its_exit_code_says_whether_it_holds() {
    let files = Files::new();
    let genuine = files.write("genuine.json", &sign(answer("ACTIVE", NOON)));
    let key = authority::public_key();
    let ok = run(&["verify", genuine.to_str().expect("UTF-8"), "--public-key", &key]);
    assert_eq!(
        (ok.status.code(), text(&ok.stdout).contains("signature   valid")),
        (Some(0), true),
        "{}",
        text(&ok.stdout)
    );
    let old = run(&["verify", genuine.to_str().expect("UTF-8"), "--public-key", &key, "--max-age", "2m"]);
    assert_eq!(old.status.code(), Some(1));
    let forged = files.write("forged.json", &sign(answer("ACTIVE", NOON)).replace("77001", "77002"));
    assert_eq!(run(&["verify", forged.to_str().expect("UTF-8"), "--public-key", &key]).status.code(), Some(1));
    assert_eq!(run(&["verify", genuine.to_str().expect("UTF-8"), "--public-key", "zz"]).status.code(), Some(2));
    assert_eq!(run(&["verify", genuine.to_str().expect("UTF-8")]).status.code(), Some(2));
    assert_eq!(run(&["verify", "/nowhere", "--public-key", &key]).status.code(), Some(1));

    let mut piped = binary()
        .args(["verify", "-", "--public-key", &key])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("runs");
    piped.stdin.take().expect("piped").write_all(sign(answer("REVOKED", NOON)).as_bytes()).expect("written");
    assert!(piped.wait_with_output().expect("ends").status.success());
}

#[test]
fn check_prints_what_loads_again_and_hides_the_key() {
    let files = Files::new();
    let config = minimal(&files, "https://otk.example.ae", "cache.max_exposure = \"12s\"");
    let first = run(&["check", "--config", config.to_str().expect("UTF-8")]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    let printed = text(&first.stdout);
    assert!(
        printed.contains("max_exposure = \"12s\"") && printed.contains("[redacted]") && !printed.contains(API_KEY),
        "{printed}"
    );
    let again = files.write("again.toml", &printed);
    let second = run(&["check", "--config", again.to_str().expect("UTF-8")]);
    assert_eq!((second.status.code(), text(&second.stdout)), (Some(0), printed));
}

#[test]
fn check_reports_every_problem_and_no_value() {
    let files = Files::new();
    let config = minimal(
        &files,
        "http://otk.example.ae",
        "cache.max_exposur = \"canary-1\"\ncache.withheld_ttl = 5\nlisten.max_connections = -1\ntypo = \"canary-2\"",
    );
    let checked = run(&["check", "--config", config.to_str().expect("UTF-8")]);
    let complaints = text(&checked.stderr);
    assert_eq!((checked.status.code(), checked.stdout.is_empty()), (Some(2), true), "{complaints}");
    for part in [
        "upstream.base_url",
        "cache.max_exposur",
        "max_exposure",
        "cache.withheld_ttl",
        "listen.max_connections",
        "typo",
        "line",
    ] {
        assert!(complaints.contains(part), "{part} in {complaints}");
    }
    assert!(!complaints.contains("canary"), "{complaints}");
    let missing = run(&["serve", "--config", "/nowhere.toml"]);
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn help_and_version_are_everywhere_and_nonsense_is_usage() {
    for command in ["serve", "check", "verify", "health", "doctor", "demo", "sandbox"] {
        for flag in ["--help", "--version"] {
            let told = run(&[command, flag]);
            assert_eq!((told.status.code(), told.stdout.is_empty()), (Some(0), false), "{command} {flag}");
        }
    }
    assert_eq!(run(&["nonsense"]).status.code(), Some(2));
    assert_eq!(run(&[]).status.code(), Some(2));
}

/// A gateway in a process of its own, ended by its id when the test is.
pub struct Process {
    child: Child,
    pub data: String,
    pub admin: String,
    log: BufReader<std::process::ChildStderr>,
    seen: String,
}

impl Process {
    pub fn serve(config: &Path) -> Self {
        let mut child = binary()
            .args(["serve", "--config"])
            .arg(config)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("runs");
        let mut log = BufReader::new(child.stderr.take().expect("piped"));
        let mut seen = String::new();
        let line = loop {
            let start = seen.len();
            assert!(log.read_line(&mut seen).expect("a line") > 0, "it ended: {seen}");
            if seen[start..].contains("serving") {
                break seen[start..].to_owned();
            }
        };
        let field = |name: &str| {
            let rest = line.split_once(&format!("{name}=\"")).unwrap_or_else(|| panic!("{name} in {line}")).1;
            rest.split('"').next().expect("a value").to_owned()
        };
        Self { child, data: field("listen"), admin: field("admin"), log, seen }
    }

    /// Its number among the processes.
    pub fn id(&self) -> String {
        self.child.id().to_string()
    }

    /// Sends SIGTERM, and returns the exit code and all that was logged.
    pub fn terminate(mut self) -> (Option<i32>, String) {
        let killed = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill runs");
        assert!(killed.success());
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).expect("text");
        let code = self.child.wait().expect("ends").code();
        (code, std::mem::take(&mut self.seen) + &rest)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // a test that failed in the middle; after `terminate` there is nothing to kill
    }
}

#[test]
fn serve_says_where_it_listens_answers_health_and_ends_cleanly() {
    let files = Files::new();
    let gateway = Process::serve(&minimal(&files, "http://127.0.0.1:9", ""));
    assert!(
        gateway.seen.contains("exposure_seconds=30") && gateway.seen.contains("exposure_against_replay_seconds=210"),
        "{}",
        gateway.seen
    );
    let admin = format!("http://{}", gateway.admin);
    assert_eq!(run(&["health", "--admin", &admin]).status.code(), Some(0));
    assert_eq!(run(&["health", "--admin", &admin, "--live", "--timeout", "5s"]).status.code(), Some(0));
    let (code, _) = gateway.terminate();
    assert_eq!(code, Some(0));
    let gone = run(&["health", "--admin", &admin]);
    assert_eq!((gone.status.code(), gone.stderr.is_empty()), (Some(1), false));
}

#[test]
fn what_outlasts_the_drain_is_cut_at_its_deadline_and_the_exit_code_is_zero() {
    let files = Files::new();
    let gateway = Process::serve(&minimal(&files, "http://127.0.0.1:9", "listen.drain_timeout = \"300ms\""));
    let mut begun = TcpStream::connect(&gateway.data).expect("listening");
    let head = "POST /otk-service/v2/create-journey HTTP/1.1\r\nhost: localhost\r\n";
    write!(begun, "{head}content-length: 9\r\nexpect: 100-continue\r\n\r\n").expect("written");
    let mut wanted = [0; 25]; // only who has read the head asks for the body, which never comes
    begun.read_exact(&mut wanted).expect("answered");
    assert_eq!(&wanted, b"HTTP/1.1 100 Continue\r\n\r\n");
    let (code, said) = gateway.terminate();
    assert_eq!(code, Some(0));
    assert!(said.contains("deadline ended connections"), "{said}");
}

#[test]
fn a_busy_port_is_named() {
    let files = Files::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let config = minimal(&files, "http://127.0.0.1:9", "").clone();
    let content = std::fs::read_to_string(&config).expect("written").replacen("127.0.0.1:0", &address, 1);
    let config = files.write("busy.toml", &content);
    let failed = run(&["serve", "--config", config.to_str().expect("UTF-8")]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(text(&failed.stderr).contains(&address), "{}", text(&failed.stderr));
}
