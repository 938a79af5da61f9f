//! The keys of a section, or of all sections, with what they mean and where that was said.
//!
//! Absent keys have their preset; faulty and unsupported ones have nothing, and a complaint. Whoever asks gets an `Option`,
//! so that checks over several keys run even while one of them is faulty.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;

use super::address::Address;
use super::complaint::{Complaint, Place};
use super::keys::{self, Key, Preset};
use super::raw::Given;
use super::value::{Setting, Value};

/// What the keys mean.
pub struct Settings {
    meant: BTreeMap<&'static str, Setting>,
    places: BTreeMap<&'static str, Place>,
    faulty: BTreeSet<&'static str>,
}

impl Settings {
    /// Reads what was given for these rows.
    pub fn read(rows: impl Iterator<Item = &'static Key>, given: &[Given], complaints: &mut Vec<Complaint>) -> Self {
        let mut settings = Self { meant: BTreeMap::new(), places: BTreeMap::new(), faulty: BTreeSet::new() };
        for key in rows {
            match given.iter().find(|given| given.key.path == key.path) {
                Some(given) => settings.take(given, complaints),
                None => settings.preset(key),
            }
        }
        settings
    }

    fn take(&mut self, given: &Given, complaints: &mut Vec<Complaint>) {
        let Given { key, value, place } = given;
        self.places.insert(key.path, place.clone());
        let complain = |place: Place, wrong: &str, accepted: &str| Complaint::new(key.path, place, wrong, accepted);
        match key.kind.read(value) {
            Ok(setting) => {
                self.meant.insert(key.path, setting);
            }
            Err(faults) => {
                self.faulty.insert(key.path);
                complaints.extend(faults.iter().map(|fault| {
                    let place = fault.line.map_or_else(|| place.clone(), Place::Line);
                    complain(place, &fault.wrong, &key.kind.accepted())
                }));
            }
        }
    }

    fn preset(&mut self, key: &'static Key) {
        if let Preset::Is(text) = key.preset {
            let setting = key.kind.read(&Value::from_variable(text, key));
            self.meant.insert(key.path, setting.expect("a test reads every preset of the table"));
        }
    }

    /// The required ones of these rows that were not given; `place` is where they should have been.
    pub fn absent(&self, rows: impl Iterator<Item = &'static Key>, place: &Place) -> Vec<Complaint> {
        rows.filter(|key| key.preset == Preset::Required && !self.is_given(key.path))
            .map(|key| Complaint::new(key.path, place.clone(), "is missing", key.kind.accepted()))
            .collect()
    }

    /// What this key means.
    pub fn get(&self, path: &str) -> Option<&Setting> {
        debug_assert!(keys::find(path).is_some(), "no such key: {path}");
        self.meant.get(path)
    }

    /// Where this key was given.
    pub fn place(&self, path: &str) -> Place {
        self.places.get(path).cloned().unwrap_or(Place::Nowhere)
    }

    /// Somebody gave this key, whether or not it means something.
    pub fn is_given(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    /// There is a complaint about this key already.
    pub fn is_faulty(&self, path: &str) -> bool {
        self.faulty.contains(path)
    }

    /// A duration.
    pub fn duration(&self, path: &str) -> Option<Duration> {
        match self.get(path)? {
            Setting::Duration(duration) => Some(*duration),
            _ => None,
        }
    }

    /// A number of bytes, or of anything.
    pub fn number(&self, path: &str) -> Option<u64> {
        match self.get(path)? {
            Setting::Size(number) | Setting::Count(number) => Some(*number),
            _ => None,
        }
    }

    /// A number with decimals.
    pub fn rate(&self, path: &str) -> Option<f64> {
        match self.get(path)? {
            Setting::Rate(rate) => Some(*rate),
            _ => None,
        }
    }

    /// True or false.
    pub fn flag(&self, path: &str) -> Option<bool> {
        match self.get(path)? {
            Setting::Flag(flag) => Some(*flag),
            _ => None,
        }
    }

    /// A word, a name, a pattern.
    pub fn text(&self, path: &str) -> Option<&str> {
        match self.get(path)? {
            Setting::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Several of them; none if the key is not given.
    pub fn texts(&self, path: &str) -> &[String] {
        match self.get(path) {
            Some(Setting::Texts(texts)) => texts,
            _ => &[],
        }
    }

    /// Where to listen.
    pub fn address(&self, path: &str) -> Option<&Address> {
        match self.get(path)? {
            Setting::Address(address) => Some(address),
            _ => None,
        }
    }

    /// A file.
    pub fn path(&self, path: &str) -> Option<&Path> {
        match self.get(path)? {
            Setting::Path(path) => Some(path),
            _ => None,
        }
    }

    /// Files; none if the key is not given.
    pub fn paths(&self, path: &str) -> &[PathBuf] {
        match self.get(path) {
            Some(Setting::Paths(paths)) => paths,
            _ => &[],
        }
    }

    /// A URL.
    pub fn url(&self, path: &str) -> Option<&Uri> {
        match self.get(path)? {
            Setting::Url(url) => Some(url),
            _ => None,
        }
    }
}
