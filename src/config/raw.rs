//! The file and the environment, taken apart into keys of the table; nothing is understood yet.
//!
//! Never: prints what the TOML library renders, because that quotes whole source lines, and a line may hold a secret. Its
//! bare messages are fixed words. Never: shows a name that is not shaped like one.
//!
//! The surprising decision: a file with a syntax error is still read as far as it goes, so that one run tells everything it
//! can; but in such a file nothing is said about unknown or absent keys, since a broken string makes names out of values.

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::complaint::{Complaint, Place};
use super::environment::Surroundings;
use super::keys::{self, KEYS, Key, PASSTHROUGH, SECTIONS, VARIABLE_PREFIX};
use super::value::Value;

/// What was given, by key of the table, and what could not be placed there.
pub struct Raw {
    /// What file and environment gave; the environment wins.
    pub given: Vec<Given>,
    /// What `[[passthrough]]` gave; `None` if the file says nothing of it.
    pub routes: Option<Vec<Route>>,
    /// What is wrong already.
    pub complaints: Vec<Complaint>,
    /// The file had no syntax error, so that what is absent was not given.
    pub is_whole: bool,
}

/// One value of one key.
pub struct Given {
    /// The row of the table.
    pub key: &'static Key,
    /// What was written.
    pub value: Value,
    /// Where.
    pub place: Place,
}

/// One table of `[[passthrough]]`.
pub struct Route {
    /// Where it begins.
    pub line: usize,
    /// Its keys.
    pub given: Vec<Given>,
}

impl Raw {
    /// Takes a file's text and the variables apart.
    pub fn read(text: &str, surroundings: &Surroundings) -> Self {
        let (document, errors) = DeTable::parse_recoverable(text);
        let lines = Lines::of(text);
        let is_whole = errors.iter().all(|error| error.message() == DUPLICATE);
        let mut raw = Self { given: Vec::new(), routes: None, complaints: Vec::new(), is_whole };
        let mut reader = Reader { raw: &mut raw, lines: &lines };
        reader.root(document.get_ref());
        raw.syntax(&errors, text, &lines);
        raw.overrides(surroundings);
        raw
    }

    /// Tells the syntax errors, one a line, and drops what else was said about these lines.
    fn syntax(&mut self, errors: &[toml::de::Error], text: &str, lines: &Lines) {
        let mut told = BTreeSet::new();
        let mut complaints = Vec::new();
        for error in errors {
            let span = error.span().unwrap_or(text.len()..text.len());
            let line = lines.line(span.start);
            if !told.insert(line) {
                continue;
            }
            complaints.push(match error.message() {
                DUPLICATE => {
                    let key = self.twice_given(text.get(span).unwrap_or_default());
                    Complaint::new(key, Place::Line(line), "is given twice", "each key and each section once")
                }
                message => {
                    let wrong = format!("syntax error at column {}: {message}", lines.column(text, span.start));
                    Complaint::new("TOML", Place::Line(line), wrong, "valid TOML")
                }
            });
        }
        let is_told = |place: &Place| matches!(place, Place::Line(line) if told.contains(line));
        if !self.is_whole {
            self.complaints.retain(|complaint| !is_told(&complaint.place));
            self.given.retain(|given| !is_told(&given.place));
        }
        self.complaints.extend(complaints);
    }

    /// The full path of a key given twice, if only one section can be meant; never a name that is not in the table.
    fn twice_given(&self, name: &str) -> String {
        let known: BTreeSet<_> =
            self.given.iter().map(|given| given.key).filter(|key| key.name() == name).map(|key| key.path).collect();
        match (known.first(), known.len()) {
            (Some(path), 1) => (*path).to_owned(),
            _ if SECTIONS.contains(&name) => format!("[{name}]"),
            _ if KEYS.iter().any(|key| key.name() == name) => name.to_owned(),
            _ => "a key".to_owned(),
        }
    }

    fn overrides(&mut self, surroundings: &Surroundings) {
        for (name, value) in surroundings.variables() {
            let Some(name) = name.to_str().filter(|name| name.starts_with(VARIABLE_PREFIX)) else {
                let is_ours = name.as_encoded_bytes().starts_with(VARIABLE_PREFIX.as_bytes());
                if is_ours {
                    self.complaints.push(unknown_variable(name.to_str().unwrap_or_default()));
                }
                continue;
            };
            let Some(key) = KEYS.iter().find(|key| key.variable().as_deref() == Some(name)) else {
                self.complaints.push(unknown_variable(name));
                continue;
            };
            let value = value.to_str().map_or(Value::Other("not UTF-8"), |text| Value::from_variable(text, key));
            self.given.retain(|given| given.key.path != key.path);
            self.given.push(Given { key, value, place: Place::Variable(name.to_owned()) });
        }
    }
}

struct Reader<'a> {
    raw: &'a mut Raw,
    lines: &'a Lines,
}

impl Reader<'_> {
    fn root(&mut self, root: &DeTable<'_>) {
        for (name, value) in root {
            let line = self.lines.line(name.span().start);
            let Some(section) = SECTIONS.iter().find(|section| *section == name.get_ref()) else {
                self.unknown(line, unknown_section(name.get_ref()));
                continue;
            };
            match value.get_ref() {
                DeValue::Array(tables) if *section == PASSTHROUGH => self.routes(tables.iter()),
                _ if *section == PASSTHROUGH => {
                    let accepted = "[[passthrough]] tables, or passthrough = [] for none";
                    self.complain(PASSTHROUGH, line, "is no list of tables", accepted);
                }
                DeValue::Table(table) => {
                    let given = self.section(section, table);
                    self.raw.given.extend(given);
                }
                _ => self.complain(section, line, "is no section", &format!("[{section}]")),
            }
        }
    }

    fn routes<'t, 'i: 't>(&mut self, tables: impl Iterator<Item = &'t Spanned<DeValue<'i>>>) {
        let mut routes = Vec::new();
        for table in tables {
            let line = self.lines.line(table.span().start);
            match table.get_ref() {
                DeValue::Table(table) => routes.push(Route { line, given: self.section(PASSTHROUGH, table) }),
                _ => self.complain(PASSTHROUGH, line, "holds something that is no table", "[[passthrough]] tables"),
            }
        }
        self.raw.routes = Some(routes);
    }

    fn section(&mut self, section: &str, table: &DeTable<'_>) -> Vec<Given> {
        let mut found = Vec::new();
        for (name, value) in table {
            let line = self.lines.line(name.span().start);
            let Some(key) = keys::of_section(section).find(|key| key.name() == name.get_ref()) else {
                self.unknown(line, unknown_key(section, name.get_ref()));
                continue;
            };
            let value = Value::from_toml(value.get_ref(), &|offset| self.lines.line(offset));
            found.push(Given { key, value, place: Place::Line(line) });
        }
        found
    }

    fn unknown(&mut self, line: usize, complaint: Complaint) {
        // A name may be half a secret in a file whose quotes are broken; the syntax error is told instead.
        if self.raw.is_whole {
            self.raw.complaints.push(Complaint { place: Place::Line(line), ..complaint });
        }
    }

    fn complain(&mut self, key: &str, line: usize, wrong: &str, accepted: &str) {
        self.raw.complaints.push(Complaint::new(key, Place::Line(line), wrong, accepted));
    }
}

fn unknown_section(name: &str) -> Complaint {
    let sections = || SECTIONS.iter().copied();
    let slip = near(name, sections()).map(|section| format!("[{section}]"));
    let far = || nearest(name, sections()).map(|(_, section)| format!("[{section}]"));
    let wrong = did_you_mean("is no known section", slip.or_else(|| misplaced(name)).or_else(far));
    Complaint::new(shown(name), Place::Nowhere, wrong, SECTIONS.join(", "))
}

fn unknown_key(section: &str, name: &str) -> Complaint {
    let key = format!("{section}.{}", shown(name));
    if let Some(wanted) = secret_leads(section, name) {
        return Complaint::new(key, Place::Nowhere, "is a secret and does not belong in this file", wanted);
    }
    let names = || keys::of_section(section).map(Key::name);
    let slip = near(name, names()).map(|name| format!("{section}.{name}"));
    let far = || nearest(name, names()).map(|(_, name)| format!("{section}.{name}"));
    let wrong = did_you_mean("is no known key", slip.or_else(|| misplaced(name)).or_else(far));
    Complaint::new(key, Place::Nowhere, wrong, names().collect::<Vec<_>>().join(", "))
}

/// The key of this name in another section.
fn misplaced(name: &str) -> Option<String> {
    KEYS.iter().find(|key| key.name() == name).map(|key| key.path.to_owned())
}

fn unknown_variable(name: &str) -> Complaint {
    let place = Place::Nowhere;
    let shown_name = format!("environment variable {}", shown(name));
    let lower = name.strip_prefix(VARIABLE_PREFIX).unwrap_or_default().to_ascii_lowercase();
    let (section, key) = lower.split_once("__").unwrap_or((&lower, ""));
    if section == PASSTHROUGH {
        return Complaint::new(shown_name, place, "cannot be given by environment", "[[passthrough]] in the file");
    }
    if let Some(wanted) = secret_leads(section, key) {
        return Complaint::new(shown_name, place, "is a secret and no key", wanted);
    }
    let paths = KEYS.iter().filter(|key| key.section() != PASSTHROUGH).map(|key| key.path);
    let (_, path) = nearest(&lower.replacen("__", ".", 1), paths).unwrap_or_default();
    let wrong = did_you_mean("names no known key", keys::find(path).and_then(Key::variable));
    Complaint::new(shown_name, place, wrong, "OTK_GATEWAY__SECTION__KEY of a key of the file")
}

/// The keys that lead to the secret of this name, if it is one.
fn secret_leads(section: &str, name: &str) -> Option<String> {
    let secret = format!("{section}.{name}");
    let leads: Vec<_> = KEYS.iter().filter(|key| key.secret == Some(secret.as_str())).map(|key| key.path).collect();
    (!leads.is_empty()).then(|| leads.join(" or "))
}

fn did_you_mean(wrong: &str, nearest: Option<String>) -> String {
    nearest.map_or(wrong.to_owned(), |nearest| format!("{wrong}; did you mean {nearest}?"))
}

/// The known name that is a slip of the finger away, if any.
fn near<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let allowed = (name.len() / 3).max(1);
    nearest(name, known).filter(|(distance, _)| *distance <= allowed).map(|(_, known)| known)
}

/// The nearest known name, however far. Long names are not compared: it would cost, and they are no slip.
fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<(usize, &'k str)> {
    if name.len() > MAX_NAME {
        return None;
    }
    let name = name.to_ascii_lowercase().replace('-', "_");
    known.map(|known| (strsim::osa_distance(&name, known), known)).min_by_key(|(distance, _)| *distance)
}

/// A name as it may be shown: only what looks like one.
fn shown(name: &str) -> &str {
    let is_byte = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    let is_name = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_byte);
    if is_name { name } else { "(a name that is not shown)" }
}

const MAX_NAME: usize = 64;

/// The library's words for a key given twice.
const DUPLICATE: &str = "duplicate key";

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect())
    }

    fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }

    fn column(&self, text: &str, offset: usize) -> usize {
        let start = self.0[self.line(offset) - 1]; // the first line begins at 0, so there is always one before
        1 + text.as_bytes()[start..offset.min(text.len())].iter().filter(|byte| (**byte & 0xc0) != 0x80).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
        let surroundings = Surroundings::new(variables.iter().copied(), |_| Err(std::io::ErrorKind::NotFound.into()));
        let mut complaints = Raw::read(text, &surroundings).complaints;
        complaints.sort_by(|one, two| one.place.cmp(&two.place));
        complaints
            .iter()
            .map(|complaint| format!("{}{}: {}", complaint.key, complaint.place, complaint.wrong))
            .collect()
    }

    #[test]
    fn an_unknown_name_is_told_its_nearest_neighbour() {
        assert_eq!(
            complaints(
                "[cahce]\n[cache]\nmax_expsure = 1\nmax_age = 2\nnot_found = 3\n[upstream]\nbase-url = 4\n",
                &[]
            ),
            [
                "cahce (line 1): is no known section; did you mean [cache]?",
                "cache.max_expsure (line 3): is no known key; did you mean cache.max_exposure?",
                "cache.max_age (line 4): is no known key; did you mean signature.max_age?",
                "cache.not_found (line 5): is no known key; did you mean cache.not_found_ttl?",
                "upstream.base-url (line 7): is no known key; did you mean upstream.base_url?",
            ]
        );
        assert_eq!(
            complaints(
                "",
                &[
                    ("OTK_GATEWAY__CACHE__MAX_EXPSURE", "x"),
                    ("OTK_GATEWAY_PORT", "tcp://10.0.0.1:80"),
                    ("OTK_GATEWAY__LOGLEVEL", "")
                ]
            ),
            [
                "environment variable OTK_GATEWAY__CACHE__MAX_EXPSURE: names no known key; did you mean OTK_GATEWAY__CACHE__MAX_EXPOSURE?",
                "environment variable OTK_GATEWAY__LOGLEVEL: names no known key; did you mean OTK_GATEWAY__LOG__LEVEL?",
            ]
        );
    }

    #[test]
    fn the_secret_itself_is_told_where_it_belongs() {
        let text = "[upstream]\napi_key = \"canary\"\n[admin]\ntoken = \"canary\"\n";
        let surroundings = Surroundings::new([("OTK_GATEWAY__UPSTREAM__API_KEY", "canary")], |_| Ok(vec![]));
        let complaints: Vec<_> = Raw::read(text, &surroundings).complaints.iter().map(Complaint::to_string).collect();
        let all = complaints.join("\n");
        assert!(all.contains("upstream.api_key (line 2): is a secret and does not belong in this file; accepted: upstream.api_key_file or upstream.api_key_env"), "{all}");
        assert!(all.contains("admin.token (line 4): is a secret"), "{all}");
        assert!(all.contains("OTK_GATEWAY__UPSTREAM__API_KEY: is a secret"), "{all}");
        assert!(!all.contains("canary"));
    }

    #[test]
    fn passthrough_is_given_by_the_file_only() {
        assert_eq!(
            complaints("", &[("OTK_GATEWAY__PASSTHROUGH", "[]"), ("OTK_GATEWAY__PASSTHROUGH__PATH", "/")]),
            [
                "environment variable OTK_GATEWAY__PASSTHROUGH: cannot be given by environment",
                "environment variable OTK_GATEWAY__PASSTHROUGH__PATH: cannot be given by environment",
            ]
        );
        assert_eq!(complaints("[passthrough]\npath = \"/\"\n", &[]), ["passthrough (line 1): is no list of tables"]);
        assert_eq!(complaints("passthrough = [1]\n", &[]), ["passthrough (line 1): holds something that is no table"]);
    }

    #[test]
    fn a_key_given_twice_is_named() {
        assert_eq!(
            complaints("[cache]\nmax_journeys = 1\nmax_journeys = 2\n[cache]\n", &[]),
            ["cache.max_journeys (line 3): is given twice", "[cache] (line 4): is given twice"]
        );
    }

    #[test]
    fn a_syntax_error_has_a_place_and_no_quotation() {
        assert_eq!(
            complaints("[upstream]\napi_key = \"canary\n[cache]\nmax_journeys = -\n", &[]),
            [
                "TOML (line 2): syntax error at column 18: invalid basic string, expected `\"`",
                "TOML (line 4): syntax error at column 16: string values must be quoted, expected literal string",
            ]
        );
    }

    #[test]
    fn a_name_that_looks_like_no_name_is_not_shown() {
        let all = complaints("[cache]\n\"canary canary\" = 1\n\"\\u001b[31m\" = 1\n", &[]).join("\n");
        assert!(!all.contains("canary") && !all.contains('\u{1b}'), "{all}");
        assert_eq!(all.matches("(a name that is not shown)").count(), 2);
    }

    #[test]
    fn every_value_keeps_its_line() {
        let surroundings = Surroundings::new([("OTK_GATEWAY__LISTEN__ADDRESS", "x")], |_| Ok(vec![]));
        let raw = Raw::read("# é\nlisten.address = 1\n[cache]\n\nmax_journeys = 1\n", &surroundings);
        let mut places: Vec<_> = raw.given.iter().map(|given| (given.key.path, given.place.clone())).collect();
        places.sort();
        assert_eq!(
            places,
            [
                ("cache.max_journeys", Place::Line(5)),
                ("listen.address", Place::Variable("OTK_GATEWAY__LISTEN__ADDRESS".into())),
            ]
        );
    }
}
