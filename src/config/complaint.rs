//! What is said about a configuration: complaints that refuse it, warnings that do not.
//!
//! Each names a key, a place, what is wrong and what is accepted. None ever repeats a value: what somebody wrote into the
//! wrong key may be the API key itself, and a complaint ends in a terminal, a ticket or a build log. So nothing in this room
//! formats a value, known or unknown.

use std::fmt;

/// Where something was given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the file, on this line.
    Line(usize),
    /// In this environment variable.
    Variable(String),
    /// Nowhere.
    Nowhere,
}

/// A reason to refuse the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The key, as in `listen.address`, or what stands in its place.
    pub key: String,
    /// Where it was given.
    pub place: Place,
    /// What is wrong with it.
    pub wrong: String,
    /// What would do.
    pub accepted: String,
}

/// Legal, but probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The key, or what stands in its place.
    pub key: String,
    /// Where it was given.
    pub place: Place,
    /// What to think about.
    pub text: String,
}

/// Every complaint about one configuration, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub Vec<Complaint>);

impl Complaint {
    /// One complaint.
    pub fn new(key: impl Into<String>, place: Place, wrong: impl Into<String>, accepted: impl Into<String>) -> Self {
        Self { key: key.into(), place, wrong: wrong.into(), accepted: accepted.into() }
    }
}

impl Warning {
    /// One warning.
    pub fn new(key: impl Into<String>, place: Place, text: impl Into<String>) -> Self {
        Self { key: key.into(), place, text: text.into() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, " (line {line})"),
            Self::Variable(name) => write!(f, " (environment variable {name})"),
            Self::Nowhere => Ok(()),
        }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, place, wrong, accepted } = self;
        write!(f, "{key}{place}: {wrong}; accepted: {accepted}")
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, place, text } = self;
        write!(f, "{key}{place}: {text}")
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(Complaint::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Refused {}
