//! What no key can tell alone: complaints about several keys together, and about what the keys lead to.
//!
//! Never: complains twice about one mistake. A check that needs a key which is faulty already keeps quiet.

use std::collections::BTreeSet;

use super::address;
use super::complaint::{Complaint, Place};
use super::environment::Surroundings;
use super::secret::{self, Pem, Secret, Source, Unusable};
use super::settings::Settings;
use super::{Kept, ServerTls, pattern, public_key};
use crate::serve;
use crate::upstream::tls;

/// What the keys lead to, read and found usable. What was not has a complaint.
pub struct Found {
    /// `upstream.api_key_file` or `upstream.api_key_env`
    pub api_key: Option<Kept>,
    /// `listen.client_token_file`
    pub client_token: Option<Kept>,
    /// `listen.tls_cert_file`, `listen.tls_key_file` and `listen.client_ca_file`
    pub server_tls: Option<ServerTls>,
    /// `admin.token_file`
    pub admin_token: Option<Kept>,
    /// `audit.pseudonym_key_file`
    pub pseudonym_key: Option<Kept>,
    /// The keys in `signature.public_key_files`.
    pub file_keys: Vec<String>,
    /// `upstream.ca_file`
    pub ca: Option<Pem>,
    /// `upstream.client_cert_file`
    pub client_cert: Option<Pem>,
    /// `upstream.client_key_file`
    pub client_key: Option<Pem>,
}

/// Holds the keys against each other.
pub fn together(settings: &Settings, routes: &[Settings], surroundings: &Surroundings) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    complaints.extend(pairs(settings));
    complaints.extend(remote(settings));
    complaints.extend(client_ca(settings));
    complaints.extend(overlap(settings));
    complaints.extend(repeated(routes));
    complaints.extend(threads(settings, surroundings));
    complaints
}

/// Tells what is needed and was given by none of several keys.
pub fn absent(settings: &Settings) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    if !["upstream.api_key_file", "upstream.api_key_env"].iter().any(|path| settings.is_given(path)) {
        let accepted = "upstream.api_key_file = the path of a file that holds the key, or upstream.api_key_env = the name of \
                        an environment variable that does";
        complaints.push(Complaint::new("upstream.api_key_file", Place::Nowhere, "is missing", accepted));
    }
    let keys = ["signature.public_keys", "signature.public_key_files"];
    let has_key = !settings.texts(keys[0]).is_empty() || !settings.paths(keys[1]).is_empty();
    if !has_key && !keys.iter().any(|path| settings.is_faulty(path)) {
        let accepted = "at least one key in signature.public_keys or in signature.public_key_files";
        complaints.push(Complaint::new(keys[0], settings.place(keys[0]), "holds no key", accepted));
    }
    complaints
}

/// Reads what the keys lead to.
pub fn found(settings: &Settings, surroundings: &Surroundings, complaints: &mut Vec<Complaint>) -> Found {
    let mut reader = Reader { settings, surroundings, complaints };
    let api_key = reader.api_key();
    let client_token = reader.token("listen.client_token_file");
    let server_tls = reader.server_tls();
    let admin_token = reader.token("admin.token_file");
    let pseudonym_key = reader.token("audit.pseudonym_key_file");
    let file_keys = reader.file_keys();
    reader.published_keys(&file_keys);
    let ca = reader.pem("upstream.ca_file");
    let client_cert = reader.pem("upstream.client_cert_file");
    let client_key = reader.pem("upstream.client_key_file");
    reader.tls(ca.as_ref(), client_cert.as_ref().zip(client_key.as_ref()));
    let file_keys = file_keys.into_iter().map(|(key, _)| key).collect();
    Found { api_key, client_token, server_tls, admin_token, pseudonym_key, file_keys, ca, client_cert, client_key }
}

fn pairs(settings: &Settings) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (one, two) in
        [("upstream.client_cert_file", "upstream.client_key_file"), ("listen.tls_cert_file", "listen.tls_key_file")]
    {
        for (given, missing) in [(one, two), (two, one)] {
            if settings.get(given).is_some() && !settings.is_given(missing) {
                let wrong = format!("is given without {missing}");
                complaints.push(Complaint::new(given, settings.place(given), wrong, "both or neither"));
            }
        }
    }
    let one = "upstream.api_key_env";
    if settings.is_given(one) && settings.is_given("upstream.api_key_file") {
        let wrong = "is given beside upstream.api_key_file";
        complaints.push(Complaint::new(one, settings.place(one), wrong, "exactly one of the two"));
    }
    complaints
}

/// An address that other machines can reach needs three conditions; all that are not met are named.
fn remote(settings: &Settings) -> Option<Complaint> {
    let path = "listen.address";
    settings.address(path).filter(|address| !address.is_local())?;
    let is_set = |path| settings.get(path).is_some();
    let mut missing = Vec::new();
    if settings.flag("listen.allow_remote") != Some(true) {
        missing.push("listen.allow_remote = true".to_owned());
    }
    if !is_set("listen.client_token_file") && !is_set("listen.client_ca_file") {
        missing.push("listen.client_token_file or listen.client_ca_file".to_owned());
    }
    if !is_set("listen.tls_cert_file") && settings.flag("listen.allow_plaintext") != Some(true) {
        missing.push("listen.tls_cert_file or listen.allow_plaintext = true".to_owned());
    }
    let wrong = format!("is not a loopback address, and these conditions are not met: {}", missing.join("; "));
    let accepted = "a loopback address, as in \"localhost:8080\"; another one if all conditions are met";
    (!missing.is_empty()).then(|| Complaint::new(path, settings.place(path), wrong, accepted))
}

/// Client certificates are shown within TLS only.
fn client_ca(settings: &Settings) -> Option<Complaint> {
    let path = "listen.client_ca_file";
    settings.get(path)?;
    let complaint = || {
        let wrong = "is given without listen.tls_cert_file";
        Complaint::new(
            path,
            settings.place(path),
            wrong,
            "with listen.tls_cert_file and listen.tls_key_file, or not at all",
        )
    };
    (!settings.is_given("listen.tls_cert_file")).then(complaint)
}

fn overlap(settings: &Settings) -> Option<Complaint> {
    let path = "admin.address";
    let (admin, listen) = (settings.address(path)?, settings.address("listen.address")?);
    let complaint = || {
        let wrong = "cannot be bound beside listen.address";
        Complaint::new(path, settings.place(path), wrong, "an address with another port")
    };
    admin.overlaps(listen).then(complaint)
}

fn repeated(routes: &[Settings]) -> Vec<Complaint> {
    let mut known = BTreeSet::new();
    let mut complaints = Vec::new();
    for route in routes {
        let (Some(method), Some(path)) = (route.text("passthrough.method"), route.text("passthrough.path")) else {
            continue;
        };
        if !known.insert((method, pattern::shape(path))) {
            let wrong = "matches the same calls as an earlier one of the same method";
            let place = route.place("passthrough.path");
            complaints.push(Complaint::new("passthrough.path", place, wrong, "each call once"));
        }
    }
    complaints
}

/// The runtime would panic over a value that is no number.
fn threads(settings: &Settings, surroundings: &Surroundings) -> Option<Complaint> {
    const VARIABLE: &str = "TOKIO_WORKER_THREADS";
    let path = "runtime.worker_threads";
    let value = surroundings.variable(VARIABLE).filter(|_| settings.number(path) == Some(0))?;
    let is_number = value.to_str().and_then(|text| text.parse::<usize>().ok()).is_some_and(|count| count > 0);
    let place = Place::Variable(VARIABLE.to_owned());
    (!is_number)
        .then(|| Complaint::new(path, place, "is no number of threads", "a whole number from 1, or the variable unset"))
}

struct Reader<'a> {
    settings: &'a Settings,
    surroundings: &'a Surroundings,
    complaints: &'a mut Vec<Complaint>,
}

impl Reader<'_> {
    fn api_key(&mut self) -> Option<Kept> {
        let (file, variable) = ("upstream.api_key_file", "upstream.api_key_env");
        let from_file = self.settings.path(file).map(|path| (file, Source::File(path.to_owned())));
        let from_variable = self.settings.text(variable).map(|name| (variable, Source::Variable(name.to_owned())));
        let (key, source) = from_file.or(from_variable)?;
        self.secret(key, source, "something that holds the key, on one line and without control characters")
    }

    fn token(&mut self, key: &str) -> Option<Kept> {
        let source = Source::File(self.settings.path(key)?.to_owned());
        self.secret(key, source, "a file that holds it, on one line and without control characters")
    }

    fn secret(&mut self, key: &str, source: Source, accepted: &str) -> Option<Kept> {
        match Secret::read(&source, self.surroundings) {
            Ok(secret) => Some(Kept { secret, source }),
            Err(why) => {
                self.unusable(key, why, accepted);
                None
            }
        }
    }

    /// The room that listens says whether it can use them.
    fn server_tls(&mut self) -> Option<ServerTls> {
        let chain = self.pem("listen.tls_cert_file");
        let key = self.pem("listen.tls_key_file");
        let is_ca_read = self.settings.path("listen.client_ca_file").is_none();
        let client_ca = self.pem("listen.client_ca_file");
        let is_whole = is_ca_read || client_ca.is_some();
        let tls = ServerTls { chain: chain?, key: key?, client_ca };
        let Err(unusable) = tls.config() else { return is_whole.then_some(tls) };
        let (key, wrong, accepted) = match unusable {
            serve::tls::Unusable::ClientCa => {
                ("listen.client_ca_file", "names a file without usable certificates", "certificates, PEM")
            }
            serve::tls::Unusable::Own => (
                "listen.tls_cert_file",
                "and listen.tls_key_file name files that cannot be used together",
                "a certificate chain and its private key without a password, PEM",
            ),
        };
        self.complaints.push(Complaint::new(key, self.settings.place(key), wrong, accepted));
        None
    }

    /// The keys of all files, each with its file's place in the list.
    fn file_keys(&mut self) -> Vec<(String, usize)> {
        let path = "signature.public_key_files";
        let mut found = Vec::new();
        for (at, file) in self.settings.paths(path).iter().enumerate() {
            match secret::read_public_keys(file, self.surroundings) {
                Ok(keys) => found.extend(keys.into_iter().map(|key| (key, at + 1))),
                Err(why) => {
                    let wrong = format!("entry {} {why}", at + 1);
                    let accepted = "files with one public key in hex per line";
                    self.complaints.push(Complaint::new(path, self.settings.place(path), wrong, accepted));
                }
            }
        }
        found
    }

    /// Anybody can sign with a key whose private half is published, so no real upstream may have it.
    fn published_keys(&mut self, file_keys: &[(String, usize)]) {
        let Some(base_url) = self.settings.url("upstream.base_url") else {
            return;
        };
        if base_url.host().is_some_and(address::is_loopback) {
            return;
        }
        let inline = "signature.public_keys";
        let texts = self.settings.texts(inline).iter().enumerate();
        let inline = texts.map(|(at, key)| (inline, key, at + 1));
        let files = file_keys.iter().map(|(key, at)| ("signature.public_key_files", key, *at));
        for (path, _, at) in inline.chain(files).filter(|(_, key, _)| public_key::is_published(key)) {
            let wrong = format!("entry {at} is a key whose private half is published (the sandbox or the test vector)");
            let accepted = "the authority's own key; this one only while upstream.base_url is loopback";
            self.complaints.push(Complaint::new(path, self.settings.place(path), wrong, accepted));
        }
    }

    fn pem(&mut self, key: &str) -> Option<Pem> {
        let path = self.settings.path(key)?;
        match Pem::read(path, self.surroundings) {
            Ok(pem) => Some(pem),
            Err(why) => {
                self.unusable(key, why, "a PEM file");
                None
            }
        }
    }

    /// The room that calls upstream says whether it can use them; authorities and our own certificate are asked apart, so
    /// that both are told.
    fn tls(&mut self, ca: Option<&Pem>, client: Option<(&Pem, &Pem)>) {
        let bytes = |pem: &Pem| pem.bytes.clone();
        let ca = tls::Material { ca: ca.map(bytes), client: None };
        let client = tls::Material { ca: None, client: client.map(|(chain, key)| (bytes(chain), bytes(key))) };
        for unusable in [ca, client].iter().filter_map(|material| tls::config(material).err()) {
            let (key, wrong, accepted) = match unusable {
                tls::Unusable::Ca => {
                    ("upstream.ca_file", "names a file without usable certificates", "certificates, PEM")
                }
                tls::Unusable::Client => (
                    "upstream.client_cert_file",
                    "and upstream.client_key_file name files that cannot be used together",
                    "a certificate chain and its private key without a password, PEM",
                ),
            };
            self.complaints.push(Complaint::new(key, self.settings.place(key), wrong, accepted));
        }
    }

    fn unusable(&mut self, key: &str, why: Unusable, accepted: &str) {
        self.complaints.push(Complaint::new(key, self.settings.place(key), why.to_string(), accepted));
    }
}
