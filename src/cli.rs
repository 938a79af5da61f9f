//! Arguments in, exit code out: one function for each command.
//!
//! 0 clean, 1 failed, 2 usage or configuration. What a command says on purpose goes to stdout; complaints, warnings and logs go
//! to stderr. Whatever is wrong with an argument is told before anything is tried.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Parser, Subcommand};

use crate::admin::Operations;
use crate::app::{App, Load};
use crate::clock::Clock;
use crate::config::address::{UrlOf, parse_url};
use crate::config::{self, Config, Surroundings};
use crate::serve::Ended;
use crate::shutdown;
use crate::signature::Keys;
use crate::telemetry::{self, Format, Logs};
use crate::verify::verify;

mod auditing;
mod doctor;
mod health;

/// A caching, verifying reverse proxy for the UAE KYC OTK service.
#[derive(Debug, Parser)]
#[command(name = "otk-gateway", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, PartialEq, Subcommand)]
enum Command {
    /// Run the gateway
    Serve(ConfigFile),
    /// Validate a configuration without serving: tell everything that is wrong, or print what is in force
    Check(ConfigFile),
    /// Print the JSON Schema of the configuration, for editors
    Schema(Schema),
    /// Check a captured answer of the upstream, step by step
    Verify(Verify),
    /// Ask a running gateway whether it is ready, for probes
    Health(Health),
    /// Make a running gateway read its configuration again, as SIGHUP does
    Reload(Reload),
    /// Talk to the upstream once and explain: name, TCP, TLS, key, clocks, signature
    Doctor(Doctor),
    /// Look at the record of what was answered
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Run sandbox and gateway together, with curl lines to try
    #[cfg(feature = "sandbox")]
    Demo(Demo),
    /// Run only the pretend upstream, for applications' own tests
    #[cfg(feature = "sandbox")]
    Sandbox(Sandbox),
}

#[derive(Args, Debug, PartialEq)]
struct ConfigFile {
    /// The configuration, in TOML
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Args, Debug, PartialEq)]
struct Verify {
    /// The captured answer; - for stdin
    file: PathBuf,
    /// A public key of the upstream, SEC1 in hex; may be given several times
    #[arg(long, value_name = "HEX", required = true, value_parser = public_key)]
    public_key: Vec<String>,
    /// Also fail if the answer was signed longer ago than this ("2m")
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_age: Option<Duration>,
}

#[derive(Args, Debug, PartialEq)]
struct Health {
    /// The admin listener
    #[arg(long, value_name = "URL", default_value = "http://localhost:9090", value_parser = admin)]
    admin: http::Uri,
    /// Ask whether the process runs, not whether it is ready
    #[arg(long)]
    live: bool,
    /// How long to wait for the answer
    #[arg(long, value_name = "DURATION", default_value = "900ms", value_parser = duration)]
    timeout: Duration,
}

#[derive(Args, Debug, PartialEq)]
struct Schema {
    /// Print a table for readers instead
    #[arg(long)]
    markdown: bool,
}

#[derive(Args, Debug, PartialEq)]
struct Reload {
    /// The admin listener
    #[arg(long, value_name = "URL", default_value = "http://localhost:9090", value_parser = admin)]
    admin: http::Uri,
}

#[derive(Args, Debug, PartialEq)]
struct Doctor {
    /// The configuration, in TOML
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// A journey that has a certificate, to check the signature of; without it a random one is asked for
    #[arg(long, value_name = "TOKEN", value_parser = doctor::given)]
    journey: Option<doctor::Given>,
}

#[derive(Debug, PartialEq, Subcommand)]
enum AuditCommand {
    /// Check that the chain of a record holds; name the first line that breaks it
    Verify {
        /// The file; - for stdin
        file: PathBuf,
    },
    /// List every answer about one journey; say whether an image left after a revocation was observed
    Prove(Prove),
}

#[derive(Args, PartialEq)]
struct Prove {
    /// The journey's token, or the 32 hex digits that name it in the record
    #[arg(long, value_name = "TOKEN")]
    journey: String,
    /// Holds the key under which journeys are named: audit.pseudonym_key_file. Needed for a token
    #[arg(long, value_name = "FILE", env = "OTK_GATEWAY__AUDIT__PSEUDONYM_KEY_FILE")]
    pseudonym_key_file: Option<PathBuf>,
    /// The gateway's configuration, to take that key from
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// All files of the record, in any order
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

#[cfg(feature = "sandbox")]
#[derive(Args, Debug, PartialEq)]
struct Demo {
    /// Gateway, admin listener and sandbox take this port and the next two
    #[arg(long, value_name = "N", default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..=65533))]
    port_base: u16,
}

#[cfg(feature = "sandbox")]
#[derive(Args, PartialEq)]
struct Sandbox {
    /// Where to listen: localhost:PORT or IP:PORT
    #[arg(long, value_name = "ADDR", value_parser = address)]
    listen: config::Address,
    /// The only key to take; any if not given
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
}

impl Cli {
    /// Does what was asked.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Serve(args) => serve(&args.config),
            Command::Check(args) => {
                check(&args.config, &Surroundings::process(), &mut io::stdout().lock(), &mut io::stderr()).into()
            }
            Command::Schema(Schema { markdown: true }) => print(&config::schema::markdown()),
            Command::Schema(Schema { markdown: false }) => print(&format!("{:#}\n", config::schema::json_schema())),
            Command::Verify(args) => verify_file(&args),
            Command::Health(args) => asking(health::health(&args, &mut io::stderr())),
            Command::Reload(args) => asking(health::reload(&args, &mut io::stdout(), &mut io::stderr())),
            Command::Doctor(args) => doctor::doctor(&args).into(),
            Command::Audit(AuditCommand::Verify { file }) => auditing::verify(&file).into(),
            Command::Audit(AuditCommand::Prove(args)) => auditing::prove(&args).into(),
            #[cfg(feature = "sandbox")]
            Command::Demo(args) => demo(args.port_base),
            #[cfg(feature = "sandbox")]
            Command::Sandbox(args) => sandbox(&args.listen, args.api_key),
        }
    }
}

fn serve(file: &Path) -> ExitCode {
    let surroundings = Surroundings::process();
    let loaded = match config::load(file, &surroundings) {
        Ok(loaded) => loaded,
        Err(refused) => return complain(file, &refused, &mut io::stderr()).into(),
    };
    warn(&loaded.warnings, &mut io::stderr());
    let logs = Arc::new(telemetry::start(&loaded.config.log.level, format(loaded.config.log.format)));
    let file = file.to_owned();
    let load: Load = Box::new(move || config::load(&file, &surroundings));
    runtime(&loaded.config).block_on(run(&loaded.config, logs, load))
}

async fn run(config: &Config, logs: Arc<Logs>, load: Load) -> ExitCode {
    let app = match App::new(config, Arc::new(Clock::system()), Some(logs), Some(load)) {
        Ok(app) => app,
        Err(unfit) => return fail(&unfit),
    };
    if let Ok(hangups) = shutdown::Hangups::listen() {
        tokio::spawn(reload_on_hangup(hangups, app.operations()));
    }
    announce(&app, config);
    let ended = app.run(signals()).await;
    match ended {
        Ended::Drained => tracing::info!("drained"),
        Ended::Cut(connections) => tracing::warn!(connections, "the drain's deadline ended connections"),
    }
    ExitCode::SUCCESS
}

fn announce(app: &App, config: &Config) {
    let (honest, replay) = config.exposure_bounds();
    let (listen, admin) = app.listening();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        listen,
        admin,
        upstream = %config.upstream.base_url,
        exposure_seconds = honest.as_secs_f64(),
        exposure_against_replay_seconds = replay.as_secs_f64(),
        "serving"
    );
}

/// SIGHUP: what it came to is in the log.
async fn reload_on_hangup(mut hangups: shutdown::Hangups, operations: Arc<dyn Operations>) {
    loop {
        hangups.next().await;
        let operations = operations.clone();
        let _ = tokio::task::spawn_blocking(move || operations.reload()).await;
    }
}

/// Waits for each signal that asks the process to end; for ever if signals cannot be heard.
fn signals() -> impl AsyncFnMut() {
    let mut signals = shutdown::Signals::listen().ok();
    async move || match &mut signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}

/// Complaints and warnings on `err`, the effective configuration on `out`.
fn check(file: &Path, surroundings: &Surroundings, out: &mut impl Write, err: &mut impl Write) -> u8 {
    let loaded = match config::load(file, surroundings) {
        Ok(loaded) => loaded,
        Err(refused) => return complain(file, &refused, err),
    };
    warn(&loaded.warnings, err);
    // Whoever reads it may have had enough.
    out.write_all(loaded.effective.as_bytes()).and_then(|()| out.flush()).map_or(FAILED, |()| CLEAN)
}

/// For commands that only ask a running gateway.
fn asking(question: impl Future<Output = u8>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime of this thread alone needs nothing");
    runtime.block_on(question).into()
}

fn verify_file(args: &Verify) -> ExitCode {
    let keys = Keys::parse(&args.public_key).expect("the arguments were read as public keys");
    let wire = match read(&args.file) {
        Ok(wire) => Bytes::from(wire),
        Err(error) => {
            eprintln!("error: {} cannot be read: {}", args.file.display(), error.kind());
            return ExitCode::FAILURE;
        }
    };
    let now = Clock::system().now().wall();
    match verify(&wire, &keys, args.max_age, now, &mut io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    if file != Path::new("-") {
        return std::fs::read(file);
    }
    let mut wire = Vec::new();
    io::stdin().lock().read_to_end(&mut wire).map(|_| wire)
}

#[cfg(feature = "sandbox")]
fn demo(port_base: u16) -> ExitCode {
    use crate::sandbox::{demo, tour};

    let (admin, upstream) = (port_base + 1, port_base + 2);
    let loaded = config::parse(&demo::configuration(port_base), &demo::surroundings());
    let config = loaded.expect("the demo's configuration is correct").config;
    let logs = Arc::new(telemetry::start("warn", Format::Text));
    runtime(&config).block_on(async {
        let (stop, drain) = shutdown::drain();
        let sandbox = match demo::serve(&crate::serve::Address::Localhost(upstream), None, drain) {
            Ok(sandbox) => tokio::spawn(sandbox),
            Err(error) => return fail(&error),
        };
        let app = match App::new(&config, Arc::new(Clock::system()), Some(logs), None) {
            Ok(app) => app,
            Err(unfit) => return fail(&unfit),
        };
        println!("otk-gateway demo: gateway on {port_base}, admin on {admin}, sandbox upstream on {upstream}; Ctrl-C ends it\n");
        print(&tour::lines(port_base, admin, upstream));
        app.run(signals()).await;
        stop.pull();
        let _ = sandbox.await;
        ExitCode::SUCCESS
    })
}

#[cfg(feature = "sandbox")]
fn sandbox(listen: &config::Address, api_key: Option<String>) -> ExitCode {
    use crate::sandbox::demo;

    let logs = telemetry::start("warn", Format::Text);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime needs threads, and the system has them");
    let code = runtime.block_on(async {
        let (stop, drain) = shutdown::drain();
        let address = match listen {
            config::Address::Localhost(port) => crate::serve::Address::Localhost(*port),
            config::Address::Ip(address) => crate::serve::Address::Socket(*address),
            config::Address::Unix(_) => unreachable!("the argument was not read as such"),
        };
        let serving = match demo::serve(&address, api_key, drain) {
            Ok(serving) => tokio::spawn(serving),
            Err(error) => return fail(&error),
        };
        println!("otk-gateway sandbox on {listen}; Ctrl-C ends it");
        signals()().await;
        stop.pull();
        let _ = serving.await;
        ExitCode::SUCCESS
    });
    drop(logs);
    code
}

/// With one worker, this thread is it: a hit then needs no atomics of a scheduler that shares work, and idle memory is less.
fn runtime(config: &Config) -> tokio::runtime::Runtime {
    let is_alone = || {
        let is_told = std::env::var_os("TOKIO_WORKER_THREADS").is_some(); // which the library reads by itself
        !is_told && std::thread::available_parallelism().is_ok_and(|cores| cores.get() == 1)
    };
    let mut builder = match config.runtime.worker_threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        0 if is_alone() => tokio::runtime::Builder::new_current_thread(),
        0 => tokio::runtime::Builder::new_multi_thread(),
        several => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(several);
            builder
        }
    };
    builder.enable_all().build().expect("a runtime needs threads, and the system has them")
}

fn format(format: config::LogFormat) -> Format {
    match format {
        config::LogFormat::Text => Format::Text,
        config::LogFormat::Json => Format::Json,
    }
}

fn complain(file: &Path, refused: &config::Refused, err: &mut impl Write) -> u8 {
    for complaint in &refused.0 {
        say(err, &format!("error: {complaint}"));
    }
    let count = refused.0.len();
    let problems = if count == 1 { "problem" } else { "problems" };
    say(err, &format!("{}: {count} {problems}", file.display()));
    MISUSED
}

fn warn(warnings: &[config::Warning], err: &mut impl Write) {
    for warning in warnings {
        say(err, &format!("warning: {warning}"));
    }
}

/// One line. When even this cannot be written there is nobody left to tell; the exit code still says it.
fn say(to: &mut impl Write, line: &str) {
    let _ = writeln!(to, "{line}");
}

fn fail(error: &impl std::error::Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

/// To stdout; whoever reads it may have had enough.
fn print(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    config::units::parse_duration(text).map_err(|_| "a number with a unit: 250ms, 30s, 5m, 24h")
}

fn public_key(text: &str) -> Result<String, &'static str> {
    config::public_key::parse(text).map_err(config::public_key::Misread::as_str)
}

fn admin(text: &str) -> Result<http::Uri, &'static str> {
    parse_url(text, UrlOf::Admin)
}

#[cfg(feature = "sandbox")]
fn address(text: &str) -> Result<config::Address, &'static str> {
    match config::Address::parse(text)? {
        config::Address::Unix(_) => Err("is a Unix socket; localhost:PORT or IP:PORT is taken"),
        address => Ok(address),
    }
}

const CLEAN: u8 = 0;
const FAILED: u8 = 1;
/// Of arguments or of the configuration; `clap` leaves with the same.
const MISUSED: u8 = 2;

// === impl Prove, Sandbox ===

impl fmt::Debug for Prove {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prove").field("files", &self.files).finish_non_exhaustive()
    }
}

#[cfg(feature = "sandbox")]
impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("listen", &self.listen).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    const KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

    fn command(line: &str) -> Result<Command, clap::Error> {
        let words = std::iter::once("otk-gateway").chain(line.split_whitespace());
        Cli::try_parse_from(words).map(|cli| cli.command)
    }

    fn file(text: &str) -> ConfigFile {
        ConfigFile { config: text.into() }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_of_the_contract_is_understood() {
        assert_eq!(command("serve --config a.toml").expect("serve"), Command::Serve(file("a.toml")));
        assert_eq!(command("check --config a.toml").expect("check"), Command::Check(file("a.toml")));
        let line = format!("verify --public-key {KEY} --public-key {KEY} - --max-age 2m");
        let Ok(Command::Verify(verify)) = command(&line) else { panic!("verify") };
        assert_eq!((verify.file.to_str(), verify.public_key.len()), (Some("-"), 2));
        assert_eq!(verify.max_age, Some(Duration::from_secs(120)));
        let Ok(Command::Health(health)) = command("health") else { panic!("health") };
        assert_eq!(health.admin, "http://localhost:9090/");
        assert_eq!((health.live, health.timeout), (false, Duration::from_millis(900)));
        assert!(command("health --live --admin http://[::1]:8081/ --timeout 2s").is_ok());
    }

    #[cfg(feature = "sandbox")]
    #[test]
    fn the_sandbox_commands_are_understood() {
        assert_eq!(command("demo").expect("demo"), Command::Demo(Demo { port_base: 8080 }));
        assert_eq!(command("demo --port-base 9000").expect("demo"), Command::Demo(Demo { port_base: 9000 }));
        assert!(command("demo --port-base 65534").is_err());
        let Ok(Command::Sandbox(sandbox)) = command("sandbox --listen 127.0.0.1:0 --api-key canary") else {
            panic!("sandbox")
        };
        assert_eq!(sandbox.listen.to_string(), "127.0.0.1:0");
        assert!(!format!("{sandbox:?}").contains("canary"));
        assert!(command("sandbox --listen unix:/x").is_err());
    }

    #[test]
    fn wrong_usage_leaves_with_2_and_help_and_version_with_0() {
        for line in [
            "",
            "serve",
            "check",
            "nothing",
            "verify x",
            "verify x --public-key 00",
            "verify --public-key",
            "health --timeout 5",
            "health --admin https://localhost",
            "health --admin localhost:9090",
            "serve --config a --loud",
        ] {
            assert_eq!(command(line).expect_err(line).exit_code(), 2, "{line}");
        }
        for command_name in ["", "serve", "check", "verify", "health"] {
            let version = command(&format!("{command_name} --version")).expect_err("a version");
            assert_eq!((version.kind(), version.exit_code()), (ErrorKind::DisplayVersion, 0));
            assert!(version.to_string().contains(env!("CARGO_PKG_VERSION")));
            let help = command(&format!("{command_name} --help")).expect_err("a help");
            assert_eq!((help.kind(), help.exit_code()), (ErrorKind::DisplayHelp, 0));
        }
    }

    fn checked(text: &str) -> (u8, String, String) {
        let text = text.to_owned();
        let read = move |path: &Path| match path.to_str() {
            Some("x.toml") => Ok(text.clone().into_bytes()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        };
        let surroundings = Surroundings::new([("K", "canary")], read);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = check(Path::new("x.toml"), &surroundings, &mut out, &mut err);
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (code, text(out), text(err))
    }

    #[test]
    fn check_prints_what_is_in_force_or_everything_that_is_wrong() {
        let good = format!(
            "[upstream]\nbase_url = \"https://otk.example.ae\"\napi_key_env = \"K\"\n[cache]\nmax_exposure = \"10m\"\n\
             [signature]\npublic_keys = [\"{KEY}\"]\n"
        );
        let (code, out, err) = checked(&good);
        assert_eq!(code, CLEAN, "{err}");
        assert!(out.contains("# upstream.api_key = \"[redacted]\" (env K)") && !out.contains("canary"), "{out}");
        assert!(err.starts_with("warning: cache.max_exposure (line 5): is more than 5m"), "{err}");
        assert_eq!(checked(&out).1, out);

        let (code, out, err) = checked(&good.replace("10m", "10").replace("base_url", "base_uri"));
        assert_eq!((code, out.as_str()), (MISUSED, ""));
        assert!(err.ends_with("x.toml: 3 problems\n"), "{err}");
    }
}
