//! Secrets and where they are kept: read once, trimmed, and never shown.
//!
//! Never: a secret in `Debug`, in an error or in a complaint. What a secret's file may hold is decided here and nowhere else,
//! so that a value which was refused at start is refused in the same way when the file changes.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::environment::Surroundings;
use super::public_key;

/// A secret. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Where a secret is kept. A place is no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In this file, which may change.
    File(PathBuf),
    /// In this environment variable, which cannot.
    Variable(String),
}

/// Why what was found is no use. Never repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// The file cannot be read.
    Unreadable(io::ErrorKind),
    /// The variable is not set.
    NotSet,
    /// Nothing but white space.
    Empty,
    /// Not UTF-8.
    NotText,
    /// A control character inside; a header could not carry it.
    ControlCharacter,
    /// A character that is not ASCII inside; a header could not carry it either.
    NotAscii,
    /// Line so and so is no public key.
    NoKey(usize, public_key::Misread),
}

/// A PEM file and what it holds, which may be a private key: `Debug` shows the path only.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    /// The file, which may change.
    pub path: PathBuf,
    /// What it held.
    pub bytes: Vec<u8>,
}

impl Secret {
    /// Reads a secret from where it is kept.
    pub fn read(source: &Source, surroundings: &Surroundings) -> Result<Self, Unusable> {
        match source {
            Source::File(path) => Self::from_bytes(&read(path, surroundings)?),
            Source::Variable(name) => {
                let value = surroundings.variable(name).ok_or(Unusable::NotSet)?;
                Self::from_bytes(value.as_encoded_bytes())
            }
        }
    }

    /// Takes what a file held: surrounding white space is trimmed, the rest must be text without control characters.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Unusable> {
        let text = std::str::from_utf8(bytes).map_err(|_| Unusable::NotText)?.trim();
        if text.is_empty() {
            return Err(Unusable::Empty);
        }
        if text.contains(char::is_control) {
            return Err(Unusable::ControlCharacter);
        }
        if !text.is_ascii() {
            return Err(Unusable::NotAscii);
        }
        Ok(Self(text.to_owned()))
    }

    /// The secret itself, for the one header that carries it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

impl Pem {
    /// Reads a PEM file. What it must hold is judged where it is used.
    pub fn read(path: &Path, surroundings: &Surroundings) -> Result<Self, Unusable> {
        Self::from_bytes(path, read(path, surroundings)?)
    }

    /// Takes what a file held.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, Unusable> {
        let is_empty = bytes.trim_ascii().is_empty();
        if is_empty { Err(Unusable::Empty) } else { Ok(Self { path: path.to_owned(), bytes }) }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({})", self.path.display())
    }
}

/// Reads a file of public keys: one per line; empty lines and lines that begin with `#` are passed over.
pub fn read_public_keys(path: &Path, surroundings: &Surroundings) -> Result<Vec<String>, Unusable> {
    public_keys_from_bytes(&read(path, surroundings)?)
}

/// Takes what a file of public keys held.
pub fn public_keys_from_bytes(bytes: &[u8]) -> Result<Vec<String>, Unusable> {
    let text = std::str::from_utf8(bytes).map_err(|_| Unusable::NotText)?;
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let keys: Result<Vec<_>, _> =
        lines.map(|(at, line)| public_key::parse(line).map_err(|why| Unusable::NoKey(at + 1, why))).collect();
    keys.and_then(|keys| if keys.is_empty() { Err(Unusable::Empty) } else { Ok(keys) })
}

fn read(path: &Path, surroundings: &Surroundings) -> Result<Vec<u8>, Unusable> {
    surroundings.read(path).map_err(|error| Unusable::Unreadable(error.kind()))
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Variable(name) => write!(f, "env {name}"),
        }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(io::ErrorKind::NotFound) => f.write_str("names a file that does not exist"),
            Self::Unreadable(kind) => write!(f, "names a file that cannot be read ({kind})"),
            Self::NotSet => f.write_str("names an environment variable that is not set"),
            Self::Empty => f.write_str("leads to nothing but white space"),
            Self::NotText => f.write_str("leads to something that is not UTF-8"),
            Self::ControlCharacter => f.write_str("leads to a secret with a control character inside"),
            Self::NotAscii => f.write_str("leads to a secret with a character inside that is not ASCII"),
            Self::NoKey(line, why) => write!(f, "names a file whose line {line} {}", why.as_str()),
        }
    }
}

impl std::error::Error for Unusable {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_trimmed_text_without_control_characters() {
        let read = |bytes: &[u8]| Secret::from_bytes(bytes).map(|secret| secret.expose().to_owned());
        assert_eq!(read(b"  key-1\r\n").as_deref(), Ok("key-1"));
        assert_eq!(read(b" \n\t"), Err(Unusable::Empty));
        assert_eq!(read(b"a\nb"), Err(Unusable::ControlCharacter));
        assert_eq!(read(b"a\0b"), Err(Unusable::ControlCharacter));
        assert_eq!(read(b"\xff\xfe"), Err(Unusable::NotText));
        assert_eq!(read("\u{feff}key-1".as_bytes()), Err(Unusable::NotAscii));
    }

    #[test]
    fn debug_shows_no_secret() {
        let secret = Secret::from_bytes(b"key-1").expect("a secret");
        assert_eq!(format!("{secret:?}"), "Secret([redacted])");
        let pem = Pem { path: "/a.pem".into(), bytes: b"key-1".to_vec() };
        assert_eq!(format!("{pem:?}"), "Pem(/a.pem)");
    }
}
