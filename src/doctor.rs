//! `otk-gateway doctor`: the way to the upstream, tried once and explained line by line.
//!
//! For the engineer before the first request and at three in the morning. `observe` goes the way that `serve` goes (name, TCP,
//! perhaps a CONNECT, TLS, one call of Get Certificate) and writes down what it met; `judge` is a pure function from that to
//! findings, each with what to do about it. Nothing is retried: the second answer would hide the first.
//!
//! Never: a secret in a finding. The key, the journey, the person and the image have no way into one, and of the upstream's
//! own words only names of hosts and its documented error codes are repeated, and only in the shapes that such words have.
//!
//! The surprising decision: without a journey it asks for a random one. The answer to a good key is then 404, which names
//! nobody, moves no data, and tells everything but the signature.

use std::fmt;
use std::io::{self, Write};

use crate::certificate::Timestamp;

pub mod judge;
pub mod observe;
pub mod seen;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Neither good nor bad.
    Note,
    /// The gateway serves all the same.
    Warning,
    /// The gateway would refuse, or could not even ask.
    Problem,
}

/// One line of the report, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub verdict: Verdict,
    /// Which part of the way; at most eight characters.
    pub step: &'static str,
    /// What was found.
    pub text: String,
    /// What to do, in the order of promise.
    pub remedies: Vec<String>,
}

/// Writes the findings one below the other, and how many problems there are.
pub fn report(findings: &[Finding], out: &mut impl Write) -> io::Result<()> {
    for finding in findings {
        write!(out, "{finding}")?;
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let plural = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    let problems = match count(Verdict::Problem) {
        0 => "no problem found".to_owned(),
        some => plural(some, "problem"),
    };
    match count(Verdict::Warning) {
        0 => writeln!(out, "{problems}"),
        some => writeln!(out, "{problems}, {}", plural(some, "warning")),
    }
}

/// The gateway would not serve as it should.
pub fn is_ill(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.verdict == Verdict::Problem)
}

/// What is left until a certificate ends, for people.
fn days_left(not_after: Timestamp, now: Timestamp) -> u64 {
    not_after.since(now).as_secs() / DAY
}

/// The day alone.
fn date(at: Timestamp) -> String {
    at.to_rfc3339().chars().take(10).collect()
}

const DAY: u64 = 24 * 60 * 60;

// === impl Finding ===

impl Finding {
    /// As it should be.
    pub fn ok(step: &'static str, text: impl Into<String>) -> Self {
        Self::of(Verdict::Ok, step, text, [])
    }

    fn note<const N: usize>(step: &'static str, text: impl Into<String>, remedies: [String; N]) -> Self {
        Self::of(Verdict::Note, step, text, remedies)
    }

    fn warning<const N: usize>(step: &'static str, text: impl Into<String>, remedies: [String; N]) -> Self {
        Self::of(Verdict::Warning, step, text, remedies)
    }

    fn problem<const N: usize>(step: &'static str, text: impl Into<String>, remedies: [String; N]) -> Self {
        Self::of(Verdict::Problem, step, text, remedies)
    }

    fn of<const N: usize>(
        verdict: Verdict,
        step: &'static str,
        text: impl Into<String>,
        remedies: [String; N],
    ) -> Self {
        Self { verdict, step, text: text.into(), remedies: remedies.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<9}{:<9}{}", self.verdict.as_str(), self.step, self.text)?;
        self.remedies.iter().try_for_each(|remedy| writeln!(f, "{:18}do: {remedy}", ""))
    }
}

impl Verdict {
    /// The word that begins the line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_fixed() {
        let findings = [
            Finding::ok("dns", "otk.example.ae is 2 addresses"),
            Finding::warning("clock", "they differ", []),
            Finding::problem("tls", "not trusted", ["set it".to_owned(), "or ask".to_owned()]),
        ];
        let mut out = Vec::new();
        report(&findings, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "ok       dns      otk.example.ae is 2 addresses\n\
             warning  clock    they differ\n\
             problem  tls      not trusted\n\
             \x20                 do: set it\n\
             \x20                 do: or ask\n\
             1 problem, 1 warning\n"
        );
        assert!(is_ill(&findings));
        assert!(!is_ill(&findings[..2]), "a warning is no problem");
    }
}
