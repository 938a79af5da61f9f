//! Arguments in, exit code out: one function for each command.
//!
//! 0 clean, 1 failed, 2 usage or configuration. What a command says on purpose goes to stdout; complaints, warnings and logs go
//! to stderr.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Parser, Subcommand};

use crate::app::App;
use crate::clock::Clock;
use crate::config::{self, Config, Surroundings};
use crate::serve::Ended;
use crate::shutdown;
use crate::signature::Keys;
use crate::telemetry::{self, Format, Logs};
use crate::verify::verify;

pub mod health;

/// A caching, verifying reverse proxy for the UAE KYC OTK service.
#[derive(Debug, Parser)]
#[command(name = "otk-gateway", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    Serve(ConfigFile),
    /// Validate a configuration without serving, and print what is in force.
    Check(ConfigFile),
    /// Check a captured answer of the upstream, step by step.
    Verify(Verify),
    /// Ask a running gateway whether it is ready, for probes.
    Health(Health),
    /// Run sandbox and gateway together, with curl lines to try.
    #[cfg(feature = "sandbox")]
    Demo(Demo),
    /// Run only the pretend upstream.
    #[cfg(feature = "sandbox")]
    Sandbox(Sandbox),
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration, in TOML.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct Verify {
    /// The captured answer; - for stdin.
    file: PathBuf,
    /// A public key of the upstream, SEC1 in hex; may be given several times.
    #[arg(long, value_name = "HEX", required = true)]
    public_key: Vec<String>,
    /// Also fail if the answer was signed longer ago than this ("2m").
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_age: Option<Duration>,
}

#[derive(Debug, Args)]
struct Health {
    /// The admin listener.
    #[arg(long, value_name = "URL", default_value = "http://localhost:9090")]
    admin: String,
    /// Ask whether the process runs, not whether it is ready.
    #[arg(long)]
    live: bool,
    /// How long to wait for the answer.
    #[arg(long, value_name = "DURATION", default_value = "900ms", value_parser = duration)]
    timeout: Duration,
}

#[cfg(feature = "sandbox")]
#[derive(Debug, Args)]
struct Demo {
    /// Gateway, admin listener and sandbox take this port and the next two.
    #[arg(long, value_name = "N", default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..=65533))]
    port_base: u16,
}

#[cfg(feature = "sandbox")]
#[derive(Debug, Args)]
struct Sandbox {
    /// Where to listen: IP:PORT.
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// The only key to take; any if not given.
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
}

impl Cli {
    /// Does what was asked.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Serve(args) => serve(&args.config),
            Command::Check(args) => check(&args.config),
            Command::Verify(args) => verify_file(&args),
            Command::Health(args) => health::ask(&args.admin, args.live, args.timeout),
            #[cfg(feature = "sandbox")]
            Command::Demo(args) => demo(args.port_base),
            #[cfg(feature = "sandbox")]
            Command::Sandbox(args) => sandbox(args.listen, args.api_key),
        }
    }
}

fn serve(file: &Path) -> ExitCode {
    let surroundings = Surroundings::process();
    let loaded = match config::load(file, &surroundings) {
        Ok(loaded) => loaded,
        Err(refused) => return complain(&refused),
    };
    loaded.warnings.iter().for_each(|warning| eprintln!("{warning}"));
    let logs = Arc::new(telemetry::start(loaded.config.log.level.as_str(), format(loaded.config.log.format)));
    runtime(&loaded.config).block_on(run(&loaded.config, logs))
}

async fn run(config: &Config, logs: Arc<Logs>) -> ExitCode {
    let app = match App::new(config, Arc::new(Clock::system()), Some(logs)) {
        Ok(app) => app,
        Err(unfit) => return fail(&unfit),
    };
    announce(&app, config);
    let ended = app.run(signalled()).await;
    match ended {
        Ended::Drained => tracing::info!("drained"),
        Ended::Cut(connections) => tracing::warn!(connections, "the drain's deadline ended connections"),
    }
    ExitCode::SUCCESS
}

fn announce(app: &App, config: &Config) {
    let (honest, replay) = config.exposure_bounds();
    let join = |addresses: Vec<SocketAddr>| addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        listen = join(app.data_addresses()),
        admin = join(app.admin_addresses()),
        upstream = %config.upstream.base_url,
        exposure_seconds = honest.as_secs_f64(),
        exposure_against_replay_seconds = replay.as_secs_f64(),
        "serving"
    );
}

async fn signalled() {
    if shutdown::requested().await.is_err() {
        tracing::warn!("signals cannot be heard; end the process by other means");
        std::future::pending::<()>().await;
    }
}

fn check(file: &Path) -> ExitCode {
    match config::load(file, &Surroundings::process()) {
        Ok(loaded) => {
            loaded.warnings.iter().for_each(|warning| eprintln!("{warning}"));
            print(&loaded.effective)
        }
        Err(refused) => complain(&refused),
    }
}

fn verify_file(args: &Verify) -> ExitCode {
    let Ok(keys) = Keys::parse(&args.public_key) else {
        eprintln!(
            "error: --public-key takes a secp256k1 public key in SEC1 hex: 66 digits from 02 or 03, or 130 from 04"
        );
        return USAGE.into();
    };
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
        let app = match App::new(&config, Arc::new(Clock::system()), Some(logs)) {
            Ok(app) => app,
            Err(unfit) => return fail(&unfit),
        };
        println!("otk-gateway demo: gateway on {port_base}, admin on {admin}, sandbox upstream on {upstream}; Ctrl-C ends it\n");
        print(&tour::lines(port_base, admin, upstream));
        app.run(signalled()).await;
        stop.pull();
        let _ = sandbox.await;
        ExitCode::SUCCESS
    })
}

#[cfg(feature = "sandbox")]
fn sandbox(listen: SocketAddr, api_key: Option<String>) -> ExitCode {
    use crate::sandbox::demo;

    let logs = telemetry::start("warn", Format::Text);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime needs threads, and the system has them");
    let code = runtime.block_on(async {
        let (stop, drain) = shutdown::drain();
        let serving = match demo::serve(&crate::serve::Address::Socket(listen), api_key, drain) {
            Ok(serving) => tokio::spawn(serving),
            Err(error) => return fail(&error),
        };
        println!("otk-gateway sandbox on {listen}; Ctrl-C ends it");
        signalled().await;
        stop.pull();
        let _ = serving.await;
        ExitCode::SUCCESS
    });
    drop(logs);
    code
}

fn runtime(config: &Config) -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if config.runtime.worker_threads > 0 {
        builder.worker_threads(config.runtime.worker_threads);
    }
    builder.enable_all().build().expect("a runtime needs threads, and the system has them")
}

fn format(format: config::LogFormat) -> Format {
    match format {
        config::LogFormat::Text => Format::Text,
        config::LogFormat::Json => Format::Json,
    }
}

fn complain(refused: &config::Refused) -> ExitCode {
    refused.0.iter().for_each(|complaint| eprintln!("{complaint}"));
    USAGE.into()
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

fn duration(text: &str) -> Result<Duration, String> {
    config::units::parse_duration(text).map_err(|_| "a number with a unit: 250ms, 30s, 5m, 24h".to_owned())
}

const USAGE: u8 = 2;
