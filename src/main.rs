//! Arguments, then what they ask for, then the exit code.

use std::process::ExitCode;

use clap::Parser;
use otk_gateway::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
