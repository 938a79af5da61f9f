//! The effective configuration as TOML: what `check` shows and what loads again to the same.
//!
//! Never: a secret. The key that leads to one is written as it is, and beside it a comment says that something was found.

use super::Passthrough;
use super::keys::{self, Key, PASSTHROUGH, SECTIONS};
use super::settings::Settings;
use super::value::Setting;

/// Writes every key that means something, in the table's order.
pub fn effective(settings: &Settings, passthrough: &[Passthrough]) -> String {
    let mut text = String::from("# The effective configuration of otk-gateway; it can be loaded again.\n");
    if passthrough.is_empty() {
        text.push_str("passthrough = []\n"); // at the top: below a section it would belong to that
    }
    for section in SECTIONS {
        let block = match *section {
            PASSTHROUGH => passthrough.iter().map(route).collect(),
            _ => block(section, settings),
        };
        text.push_str(&block);
    }
    text
}

fn block(section: &str, settings: &Settings) -> String {
    let lines: String = keys::of_section(section)
        .filter_map(|key| Some((key, settings.get(key.path)?)))
        .map(|(key, setting)| line(key, setting))
        .collect();
    if lines.is_empty() { lines } else { format!("\n[{section}]\n{lines}") }
}

fn line(key: &Key, setting: &Setting) -> String {
    let found = match (key.secret, setting) {
        (Some(secret), Setting::Path(path)) => format!("# {secret} = \"[redacted]\" (file {})\n", path.display()),
        (Some(secret), Setting::Text(name)) => format!("# {secret} = \"[redacted]\" (env {name})\n"),
        _ => String::new(),
    };
    format!("{} = {}\n{found}", key.name(), setting.to_toml())
}

fn route(route: &Passthrough) -> String {
    let quote = |text: &str| Setting::Text(text.to_owned()).to_toml();
    format!(
        "\n[[passthrough]]\nmethod = {}\npath = {}\nsignature = {}\n",
        quote(route.method.as_str()),
        quote(&route.path),
        quote(route.signature.as_str())
    )
}
