//! From what somebody wrote to what it means: one reader per kind of key.
//!
//! Never: a value in an error; a `Fault` says what is wrong with a value without being able to hold one. What is read here
//! is written by `Setting::to_toml` in the one spelling that reads back the same.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use toml::de::DeValue;

use super::address::{self, Address, UrlOf};
use super::keys::{Key, Kind};
use super::{pattern, public_key, units};

/// What somebody wrote, by its type; owned, so that file and environment meet.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// A string.
    Text(String),
    /// An integer.
    Whole(i128),
    /// A float.
    Decimal(f64),
    /// A boolean.
    Flag(bool),
    /// An array.
    List(Vec<Entry>),
    /// What no key takes, named by its type.
    Other(&'static str),
}

/// One entry of an array, and its line if it stands in the file.
#[derive(Clone, PartialEq)]
pub struct Entry {
    /// What it is.
    pub value: Value,
    /// Where it stands.
    pub line: Option<usize>,
}

/// What a value means.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// A duration.
    Duration(Duration),
    /// A number of bytes.
    Size(u64),
    /// A whole number.
    Count(u64),
    /// A number.
    Rate(f64),
    /// A boolean.
    Flag(bool),
    /// A word, a name, a pattern.
    Text(String),
    /// Several of them.
    Texts(Vec<String>),
    /// Where to listen.
    Address(Address),
    /// A file.
    Path(PathBuf),
    /// Files.
    Paths(Vec<PathBuf>),
    /// A URL.
    Url(Uri),
}

/// What is wrong with a value, without the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line of the entry it is about, where a list has several.
    pub line: Option<usize>,
    /// What is wrong, to be read behind the name of the key.
    pub wrong: String,
}

// === impl Value ===

impl Value {
    /// Takes over what the file holds; `line_of` turns an offset into a line.
    pub fn from_toml(value: &DeValue<'_>, line_of: &dyn Fn(usize) -> usize) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Integer(whole) => {
                let beyond = if whole.as_str().starts_with('-') { i128::MIN } else { i128::MAX };
                Self::Whole(i128::from_str_radix(whole.as_str(), whole.radix()).unwrap_or(beyond))
            }
            DeValue::Float(decimal) => decimal.as_str().parse().map_or(Self::Other("no number"), Self::Decimal),
            DeValue::Boolean(flag) => Self::Flag(*flag),
            DeValue::Datetime(_) => Self::Other("a date"),
            DeValue::Table(_) => Self::Other("a table"),
            DeValue::Array(entries) => {
                let entry = |entry: &toml::Spanned<DeValue<'_>>| Entry {
                    value: Self::from_toml(entry.get_ref(), line_of),
                    line: Some(line_of(entry.span().start)),
                };
                Self::List(entries.iter().map(entry).collect())
            }
        }
    }

    /// Takes over what a variable holds: a TOML array where the key is a list, else the bare text.
    pub fn from_variable(text: &str, key: &Key) -> Self {
        let text = text.trim();
        match key.kind {
            Kind::Hosts | Kind::Origins | Kind::Paths | Kind::PublicKeys => match DeValue::parse(text) {
                Ok(value) => Self::from_toml(value.get_ref(), &|_| 0).without_lines(),
                Err(_) => Self::Other("no TOML array"),
            },
            Kind::Flag => text.parse().map_or_else(|_| Self::Text(text.to_owned()), Self::Flag),
            Kind::Count(..) => text.parse().map_or_else(|_| Self::Text(text.to_owned()), Self::Whole),
            Kind::Rate(..) => text.parse().map_or_else(|_| Self::Text(text.to_owned()), Self::Decimal),
            _ => Self::Text(text.to_owned()),
        }
    }

    fn without_lines(self) -> Self {
        match self {
            Self::List(entries) => Self::List(entries.into_iter().map(|entry| Entry { line: None, ..entry }).collect()),
            other => other,
        }
    }

    const fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Whole(_) => "a whole number",
            Self::Decimal(_) => "a decimal number",
            Self::Flag(_) => "true or false",
            Self::List(_) => "a list",
            Self::Other(name) => name,
        }
    }
}

// === impl Kind ===

impl Kind {
    /// What this value means for a key of this kind, or everything that is wrong with it.
    pub fn read(&self, value: &Value) -> Result<Setting, Vec<Fault>> {
        let single = |result: Result<Setting, String>| result.map_err(|wrong| vec![Fault { line: None, wrong }]);
        match self {
            Self::Hosts => texts(value, |text| Ok(address::parse_host(text)?)).map(Setting::Texts),
            Self::Origins => texts(value, |text| Ok(address::parse_origin(text)?)).map(Setting::Texts),
            Self::PublicKeys => {
                let parse = |text: &str| public_key::parse(text).map_err(|why| why.as_str().to_owned());
                texts(value, parse).map(Setting::Texts)
            }
            Self::Paths => {
                texts(value, path).map(|paths| Setting::Paths(paths.into_iter().map(PathBuf::from).collect()))
            }
            Self::Count(least, most) => single(count(value, *least, *most)),
            Self::Rate(least, most) => single(rate(value, *least, *most)),
            Self::Flag => single(match value {
                Value::Flag(flag) => Ok(Setting::Flag(*flag)),
                other => Err(mistyped(other)),
            }),
            _ => single(match value {
                Value::Text(text) => self.read_text(text),
                Value::Whole(_) if matches!(self, Self::Duration(..) | Self::Size(..)) => {
                    Err("is a number without a unit".to_owned())
                }
                other => Err(mistyped(other)),
            }),
        }
    }

    fn read_text(&self, text: &str) -> Result<Setting, String> {
        match self {
            Self::Duration(least, most) => {
                let duration = units::parse_duration(text).map_err(misread)?;
                within(duration, *least, *most, units::show_duration).map(Setting::Duration)
            }
            Self::Size(least, most) => {
                let size = units::parse_size(text).map_err(misread)?;
                within(size, *least, *most, units::show_size).map(Setting::Size)
            }
            Self::Choice(words) if words.contains(&text) => Ok(Setting::Text(text.to_owned())),
            Self::Choice(_) => Err("is none of the known words".to_owned()),
            Self::Address => Ok(Address::parse(text).map(Setting::Address)?),
            Self::Upstream => Ok(address::parse_url(text, UrlOf::Upstream).map(Setting::Url)?),
            Self::Proxy => Ok(address::parse_url(text, UrlOf::Proxy).map(Setting::Url)?),
            Self::Collector => Ok(address::parse_url(text, UrlOf::Collector).map(Setting::Url)?),
            Self::Variable => variable(text).map(Setting::Text),
            Self::Filter => filter(text).map(Setting::Text),
            Self::Pattern => match pattern::fault(text) {
                Some(why) => Err(why),
                None => Ok(Setting::Text(text.to_owned())),
            },
            _ => path(text).map(|path| Setting::Path(path.into())),
        }
    }

    /// What a key of this kind takes, for people.
    pub fn accepted(&self) -> String {
        match self {
            Self::Duration(least, most) => {
                let (least, most) = (units::show_duration(*least), units::show_duration(*most));
                format!(r#"a whole number with ms, s, m, h or d, from "{least}" to "{most}""#)
            }
            Self::Size(least, most) => {
                let (least, most) = (units::show_size(*least), units::show_size(*most));
                format!(r#"a whole number with B, KiB, MiB or GiB, from "{least}" to "{most}""#)
            }
            Self::Count(least, most) => format!("a whole number from {least} to {most}"),
            Self::Rate(least, most) => format!("a number from {least} to {most}"),
            Self::Flag => "true or false".to_owned(),
            Self::Choice(words) => words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", "),
            Self::Address => r#""localhost:PORT", "IP:PORT", "[IPv6]:PORT" or "unix:/path""#.to_owned(),
            Self::Hosts => r#"a list of hosts without ports, as in ["gateway.example.ae", "10.0.0.1", "[::1]"]"#.to_owned(),
            Self::Origins => r#"a list of web origins, as in ["https://app.example.ae"]"#.to_owned(),
            Self::Path => "the path of a file".to_owned(),
            Self::Paths => "a list of paths of files".to_owned(),
            Self::Upstream => {
                r#""https://HOST[:PORT][/prefix]" without user name, query and fragment; "http://..." for a loopback host only"#.to_owned()
            }
            Self::Proxy => r#""http://HOST:PORT" without user name and path"#.to_owned(),
            Self::Collector => r#""http://HOST:PORT" or "https://..." without user name, query and fragment"#.to_owned(),
            Self::PublicKeys => "a list of secp256k1 public keys in hex, 33 or 65 bytes each".to_owned(),
            Self::Variable => "the name of an environment variable: letters, digits and _".to_owned(),
            Self::Filter => {
                r#""error", "warn", "info", "debug" or "trace"; for parts as in "warn,otk_gateway::upstream=debug""#.to_owned()
            }
            Self::Pattern => {
                r#"a path of plain segments, as in "/otk-service/v2/journey-details/{token}", that no certificate path matches"#.to_owned()
            }
        }
    }
}

fn texts(value: &Value, parse: impl Fn(&str) -> Result<String, String>) -> Result<Vec<String>, Vec<Fault>> {
    let Value::List(entries) = value else {
        return Err(vec![Fault { line: None, wrong: mistyped(value) }]);
    };
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (at, entry) in entries.iter().enumerate() {
        let read = match &entry.value {
            Value::Text(text) => parse(text),
            other => Err(mistyped(other)),
        };
        match read {
            Ok(text) if good.contains(&text) => {} // said twice is said once
            Ok(text) => good.push(text),
            Err(wrong) => bad.push(Fault { line: entry.line, wrong: format!("entry {} {wrong}", at + 1) }),
        }
    }
    if bad.is_empty() { Ok(good) } else { Err(bad) }
}

fn count(value: &Value, least: u64, most: u64) -> Result<Setting, String> {
    let Value::Whole(whole) = value else {
        return Err(mistyped(value));
    };
    let whole = within(*whole, least.into(), most.into(), |bound| bound.to_string())?;
    Ok(Setting::Count(u64::try_from(whole).expect("it lies between two of them")))
}

fn rate(value: &Value, least: f64, most: f64) -> Result<Setting, String> {
    let rate = match value {
        Value::Decimal(decimal) if decimal.is_nan() => return Err("is no number".to_owned()),
        Value::Decimal(decimal) => *decimal,
        Value::Whole(whole) => *whole as f64, // the bounds are far below where this rounds
        other => return Err(mistyped(other)),
    };
    within(rate, least, most, |bound| bound.to_string()).map(Setting::Rate)
}

/// Directives as in `RUST_LOG`, for our own parts only: what other crates would say may hold headers.
fn filter(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
    for directive in text.split(',').map(str::trim) {
        let (target, level) = directive.split_once('=').unwrap_or(("otk_gateway", directive));
        let is_ours = target == "otk_gateway" || target.starts_with("otk_gateway::");
        if !is_ours || !target.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte)) {
            return Err("names a part that is not of this gateway".to_owned());
        }
        if !LEVELS.contains(&level) {
            return Err("names no level".to_owned());
        }
    }
    Ok(text.to_owned())
}

fn path(text: &str) -> Result<String, String> {
    match text {
        "" => Err("is empty".to_owned()),
        _ if text.contains(char::is_control) => Err("holds a control character".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

fn variable(text: &str) -> Result<String, String> {
    let is_byte = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let is_name = !text.is_empty() && text.bytes().all(is_byte) && !text.as_bytes()[0].is_ascii_digit();
    is_name.then(|| text.to_owned()).ok_or_else(|| "is no name of an environment variable".to_owned())
}

fn within<T: PartialOrd + Copy>(value: T, least: T, most: T, show: impl Fn(T) -> String) -> Result<T, String> {
    if value < least {
        return Err(format!("is less than {}", show(least)));
    }
    if value > most {
        return Err(format!("is more than {}", show(most)));
    }
    Ok(value)
}

fn misread(why: units::Misread) -> String {
    why.as_str().to_owned()
}

fn mistyped(value: &Value) -> String {
    format!("is {}", value.type_name())
}

// === impl Setting ===

impl Setting {
    /// As TOML that reads back the same.
    pub fn to_toml(&self) -> String {
        let quote = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let list =
            |texts: Vec<String>| format!("[{}]", texts.iter().map(|text| quote(text)).collect::<Vec<_>>().join(", "));
        match self {
            Self::Duration(duration) => quote(&units::show_duration(*duration)),
            Self::Size(size) => quote(&units::show_size(*size)),
            Self::Count(count) => count.to_string(),
            Self::Rate(rate) => rate.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Text(text) => quote(text),
            Self::Texts(texts) => list(texts.clone()),
            Self::Address(address) => quote(&address.to_string()),
            Self::Path(path) => quote(&path.to_string_lossy()),
            Self::Paths(paths) => list(paths.iter().map(|path| path.to_string_lossy().into_owned()).collect()),
            Self::Url(url) => quote(url.to_string().trim_end_matches('/')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::{KEYS, Preset, find};
    use super::*;

    fn read(path: &str, toml: &str) -> Result<Setting, String> {
        let parsed = DeValue::parse(toml).expect("a TOML value");
        let value = Value::from_toml(parsed.get_ref(), &|_| 1);
        let faults = |faults: Vec<Fault>| faults.into_iter().map(|fault| fault.wrong).collect::<Vec<_>>().join(" | ");
        find(path).expect("a key").kind.read(&value).map_err(faults)
    }

    #[test]
    fn every_preset_of_the_table_is_a_value_of_its_key() {
        for key in KEYS {
            if let Preset::Is(text) = key.preset {
                assert!(key.kind.read(&Value::from_variable(text, key)).is_ok(), "{}", key.path);
            }
        }
    }

    #[test]
    fn a_wrong_value_is_told_what_is_wrong() {
        for (path, toml, wrong) in [
            ("upstream.retries", "-1", "is less than 0"),
            ("upstream.retries", "11", "is more than 10"),
            ("upstream.retries", "1.0", "is a decimal number"),
            ("upstream.retries", "\"1\"", "is text"),
            ("upstream.retries", "99999999999999999999999999999999999999999999", "is more than 10"),
            ("upstream.requests_per_second", "0", "is less than 0.01"),
            ("upstream.requests_per_second", "nan", "is no number"),
            ("upstream.requests_per_second", "inf", "is more than 100000"),
            ("upstream.requests_per_second", "-1.5", "is less than 0.01"),
            ("cache.max_exposure", "30", "is a number without a unit"),
            ("cache.max_exposure", "\"30\"", "has no unit"),
            ("cache.max_exposure", "\"-30s\"", "does not begin with a whole number"),
            ("cache.max_exposure", "\"25h\"", "is more than 24h"),
            ("cache.max_exposure", "2025-01-01", "is a date"),
            ("cache.refresh_ahead", "1", "is a whole number"),
            ("cache.image_capacity", "\"1MB\"", "has an unknown unit"),
            ("log.format", "\"xml\"", "is none of the known words"),
            ("log.format", "[]", "is a list"),
            ("log.format", "{}", "is a table"),
            ("upstream.api_key_file", "\"\"", "is empty"),
            ("upstream.api_key_env", "\"A-B\"", "is no name of an environment variable"),
            ("listen.allowed_hosts", "\"a\"", "is text"),
            (
                "listen.allowed_hosts",
                "[1, \"a\", \"b:80\"]",
                "entry 1 is a whole number | entry 3 has a port or a scheme",
            ),
        ] {
            assert_eq!(read(path, toml), Err(wrong.to_owned()), "{path} = {toml}");
        }
    }

    #[test]
    fn a_variable_holds_bare_text_and_lists_as_toml() {
        let read = |path: &str, text: &str| {
            let key = find(path).expect("a key");
            key.kind.read(&Value::from_variable(text, key)).map_err(|faults| faults[0].wrong.clone())
        };
        assert_eq!(read("cache.max_exposure", "5s\n"), Ok(Setting::Duration(Duration::from_secs(5))));
        assert_eq!(read("upstream.retries", "2"), Ok(Setting::Count(2)));
        assert_eq!(read("upstream.requests_per_second", "2.5"), Ok(Setting::Rate(2.5)));
        assert_eq!(read("cache.refresh_ahead", "false"), Ok(Setting::Flag(false)));
        assert_eq!(read("listen.allowed_hosts", r#"["A", 'b']"#), Ok(Setting::Texts(vec!["a".into(), "b".into()])));
        for (path, text, wrong) in [
            ("upstream.retries", "two", "is text"),
            ("cache.refresh_ahead", "yes", "is text"),
            ("listen.allowed_hosts", "a,b", "is no TOML array"),
            ("listen.allowed_hosts", "'a'", "is text"),
            ("listen.address", "", "has no port"),
        ] {
            assert_eq!(read(path, text), Err(wrong.to_owned()), "{path} = {text}");
        }
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        for (path, toml) in [
            ("cache.max_exposure", "\"1500ms\""),
            ("upstream.requests_per_second", "0.3"),
            ("upstream.api_key_file", r#""/a \"b\" \\ c""#),
            ("upstream.base_url", "\"https://otk.example.ae/prefix/\""),
            ("listen.allowed_hosts", "[\"a\", \"[::1]\"]"),
            ("listen.address", "\"[::1]:1\""),
        ] {
            let setting = read(path, toml).expect("a value");
            assert_eq!(read(path, &setting.to_toml()), Ok(setting), "{path}");
        }
    }
}
