//! What changes while the gateway runs: a configuration that is read again, and secrets in files.
//!
//! A new configuration is read, checked and prepared as a whole before any of it is put into force, so that a bad one changes
//! nothing. What a running process cannot change is named, and stays as it was.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::ServerConfig;

use super::settings::{self, Prepared};
use crate::admin::{Operations, Reloaded};
use crate::audit::Audit;
use crate::cache::Purge;
use crate::certificate::Timestamp;
use crate::config::secret::public_keys_from_bytes;
use crate::config::{Config, Kept, Loaded, Pem, Refused, Secret, Source, address, environment, public_key};
use crate::gateway::Gateway;
use crate::proxy::Proxy;
use crate::proxy::bearer::Bearer;
use crate::proxy::gate::Gate;
use crate::rotation::{Apply, Read, Rotation, Standing, Unusable, Watch};
use crate::serve;
use crate::signature::Keys;
use crate::telemetry::Logs;
use crate::upstream::Upstream;

/// Reads the configuration again.
pub type Load = Box<dyn Fn() -> Result<Loaded, Refused> + Send + Sync>;

/// Puts what changes into the rooms.
pub struct Live {
    load: Option<Load>,
    at_start: Config,
    in_force: Mutex<Config>,
    rooms: Arc<Rooms>,
    rotation: Rotation,
    is_last_reload_good: AtomicBool,
}

/// The rooms that take something new.
pub struct Rooms {
    pub gateway: Arc<Gateway>,
    pub upstream: Upstream,
    pub proxy: Arc<Proxy>,
    pub client: Arc<Bearer>,
    pub operator: Arc<Bearer>,
    pub admin_gate: Arc<ArcSwap<Gate>>,
    pub serve: Arc<ArcSwap<serve::Settings>>,
    /// Of the data listener, if it began with TLS.
    pub server_tls: Option<Arc<ArcSwap<ServerConfig>>>,
    pub tls_ends: ArcSwap<Vec<(&'static str, Timestamp)>>,
    pub logs: Option<Arc<Logs>>,
    pub audit: Arc<Audit>,
}

impl Live {
    /// Watches over what this configuration, which is in force, was made of.
    pub fn new(config: &Config, rooms: Rooms, load: Option<Load>) -> Self {
        let live = Self {
            load,
            at_start: config.clone(),
            in_force: Mutex::new(config.clone()),
            rooms: Arc::new(rooms),
            rotation: Rotation::default(),
            is_last_reload_good: AtomicBool::new(true),
        };
        live.rotation.watch(watches(config, &live.rooms), &environment::read_file);
        live
    }

    /// Looks once whether a secret has changed; not while the configuration that names its file is being replaced.
    pub fn look(&self) {
        let _in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        self.rotation.look(&environment::read_file);
    }

    fn read_again(&self) -> Result<Reloaded, Vec<String>> {
        let Some(load) = &self.load else {
            return Err(vec!["this gateway was not started from a configuration file".to_owned()]);
        };
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = load().map_err(|refused| refused.0.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let mut config = loaded.config;
        self.keep_guards(&mut config, &in_force);
        let prepared = Prepared::from(&config).map_err(|unfit| vec![unfit.to_string()])?;
        self.rooms.put(&config, prepared, &in_force).map_err(|unfit| vec![unfit.to_string()])?;
        self.rotation.watch(watches(&config, &self.rooms), &environment::read_file);
        let restart_needed = restart_needed(&self.at_start, &config);
        *in_force = config;
        self.rooms.audit.reopen();
        Ok(Reloaded { restart_needed, warnings: loaded.warnings.iter().map(ToString::to_string).collect() })
    }

    /// An address stays as it was, so what guards it may not go because the new address would need no guard.
    fn keep_guards(&self, config: &mut Config, in_force: &Config) {
        if config.listen.address != self.at_start.listen.address {
            config.listen.client_token = in_force.listen.client_token.clone();
            config.listen.tls = in_force.listen.tls.clone();
        }
        if config.admin.address != self.at_start.admin.address {
            config.admin.token = in_force.admin.token.clone();
        }
        if config.listen.tls.is_some() != self.at_start.listen.tls.is_some() {
            config.listen.tls = in_force.listen.tls.clone();
        }
    }
}

impl Operations for Live {
    fn reload(&self) -> Result<Reloaded, Vec<String>> {
        let ended = self.read_again();
        self.is_last_reload_good.store(ended.is_ok(), Relaxed);
        match &ended {
            Ok(reloaded) => {
                let restart_needed = reloaded.restart_needed.join(", ");
                tracing::info!(restart_needed, "the configuration was read again and is in force");
            }
            Err(complaints) => {
                tracing::error!("the new configuration is refused, the old one stays in force");
                complaints.iter().for_each(|complaint| tracing::error!(complaint, "refused"));
            }
        }
        ended
    }

    fn is_last_reload_good(&self) -> bool {
        self.is_last_reload_good.load(Relaxed)
    }

    fn secrets(&self) -> Vec<Standing> {
        self.rotation.standings()
    }

    fn tls_ends(&self) -> Vec<(&'static str, Timestamp)> {
        self.rooms.tls_ends.load().to_vec()
    }
}

impl Rooms {
    /// Everything that could fail has been done: the tokens alone want random numbers, and come first.
    fn put(&self, config: &Config, prepared: Prepared, before: &Config) -> Result<(), super::Unfit> {
        let token = |kept: &Option<Kept>| kept.as_ref().map(|kept| kept.secret.expose().to_owned());
        super::expect(&self.client, token(&config.listen.client_token).as_deref())?;
        super::expect(&self.operator, token(&config.admin.token).as_deref())?;
        self.upstream.replace_api_key(prepared.api_key);
        self.upstream.budget().replace_settings(prepared.budget);
        if config.upstream != before.upstream {
            self.upstream.replace_way(prepared.way, prepared.upstream_tls);
        }
        if config.upstream.base_url != before.upstream.base_url {
            self.gateway.purge(&Purge::All, false); // after the way was replaced: see there
        }
        self.gateway.replace_settings(prepared.gateway);
        self.gateway.replace_keys(prepared.keys);
        self.proxy.replace_settings(prepared.proxy);
        self.admin_gate.store(Arc::new(prepared.admin_gate));
        self.serve.store(Arc::new(prepared.serve));
        if let (Some(swap), Some(tls)) = (&self.server_tls, prepared.server_tls) {
            swap.store(tls);
        }
        self.tls_ends.store(Arc::new(settings::tls_ends(config)));
        if let Some(logs) = &self.logs {
            logs.set_level(&config.log.level);
        }
        Ok(())
    }
}

/// The keys whose new value waits for a restart.
fn restart_needed(at_start: &Config, now: &Config) -> Vec<&'static str> {
    let keys = [
        ("listen.address", at_start.listen.address != now.listen.address),
        ("listen.tls_cert_file", at_start.listen.tls.is_some() != now.listen.tls.is_some()),
        ("listen.max_connections", at_start.listen.max_connections != now.listen.max_connections),
        ("admin.address", at_start.admin.address != now.admin.address),
        ("cache.image_capacity", at_start.cache.image_capacity != now.cache.image_capacity),
        ("cache.max_journeys", at_start.cache.max_journeys != now.cache.max_journeys),
        ("audit", at_start.audit != now.audit),
        ("runtime.worker_threads", at_start.runtime != now.runtime),
        ("log.format", at_start.log.format != now.log.format),
        ("telemetry", at_start.telemetry != now.telemetry),
    ];
    keys.into_iter().filter(|(_, has_changed)| *has_changed).map(|(key, _)| key).collect()
}

// === secrets ===

fn watches(config: &Config, rooms: &Arc<Rooms>) -> Vec<Watch> {
    let mut watches = vec![api_key(config, rooms), public_keys(config, rooms)];
    let token = |secret, kept: &Option<Kept>, bearer: &Arc<Bearer>| {
        let file = file_of(kept.as_ref()?)?;
        Some(Watch { secret, apply: token(file.clone(), bearer.clone()), files: vec![file] })
    };
    watches.extend(token("client_token", &config.listen.client_token, &rooms.client));
    watches.extend(token("admin_token", &config.admin.token, &rooms.operator));
    watches.extend(listen_tls(config, rooms));
    watches.extend(upstream_tls(config, rooms));
    watches
}

fn api_key(config: &Config, rooms: &Arc<Rooms>) -> Watch {
    let file = file_of(&config.upstream.api_key);
    let (path, upstream) = (file.clone(), rooms.upstream.clone());
    let apply = move |read: Read<'_>| {
        let path = path.as_ref().ok_or(Unusable)?;
        let secret = Secret::from_bytes(&read(path).map_err(|_| Unusable)?).map_err(|_| Unusable)?;
        upstream.replace_api_key(settings::api_key(&secret).map_err(|_| Unusable)?);
        Ok(())
    };
    Watch { secret: "api_key", files: file.into_iter().collect(), apply: Box::new(apply) }
}

/// Those in the configuration itself stay; a published key is as unusable in a file as it is at start.
fn public_keys(config: &Config, rooms: &Arc<Rooms>) -> Watch {
    let files = config.signature.public_key_files.clone();
    let inline = config.signature.public_keys.clone();
    let is_loopback = config.upstream.base_url.host().is_some_and(address::is_loopback);
    let (paths, gateway) = (files.clone(), rooms.gateway.clone());
    let apply = move |read: Read<'_>| {
        let mut keys = inline.clone();
        for path in &paths {
            keys.extend(public_keys_from_bytes(&read(path).map_err(|_| Unusable)?).map_err(|_| Unusable)?);
        }
        if !is_loopback && keys.iter().any(|key| public_key::is_published(key)) {
            return Err(Unusable);
        }
        gateway.replace_keys(Keys::parse(&keys).map_err(|_| Unusable)?);
        Ok(())
    };
    Watch { secret: "public_keys", files, apply: Box::new(apply) }
}

fn token(path: std::path::PathBuf, bearer: Arc<Bearer>) -> Apply {
    Box::new(move |read| {
        let secret = Secret::from_bytes(&read(&path).map_err(|_| Unusable)?).map_err(|_| Unusable)?;
        bearer.expect(Some(secret.expose())).map_err(|_| Unusable)
    })
}

fn listen_tls(config: &Config, rooms: &Arc<Rooms>) -> Option<Watch> {
    let (tls, swap) = (config.listen.tls.clone()?, rooms.server_tls.clone()?);
    let files = [Some(&tls.chain), Some(&tls.key), tls.client_ca.as_ref()];
    let files = files.into_iter().flatten().map(|pem| pem.path.clone()).collect();
    let (mut config, rooms) = (config.clone(), Arc::downgrade(rooms));
    config.listen.tls = None;
    let apply = move |read: Read<'_>| {
        let mut tls = tls.clone();
        read_again(&mut tls.chain, read)?;
        read_again(&mut tls.key, read)?;
        tls.client_ca.as_mut().map_or(Ok(()), |pem| read_again(pem, read))?;
        swap.store(tls.config().map_err(|_| Unusable)?);
        let mut config = config.clone();
        config.listen.tls = Some(tls);
        note_ends(&rooms, "listen", &config);
        Ok(())
    };
    Some(Watch { secret: "listen_tls", files, apply: Box::new(apply) })
}

fn upstream_tls(config: &Config, rooms: &Arc<Rooms>) -> Option<Watch> {
    let from = &config.upstream;
    let files: Vec<_> =
        [&from.ca, &from.client_cert, &from.client_key].into_iter().flatten().map(|pem| pem.path.clone()).collect();
    if files.is_empty() {
        return None;
    }
    let (config, upstream, rooms) = (config.clone(), rooms.upstream.clone(), Arc::downgrade(rooms));
    let apply = move |read: Read<'_>| {
        let mut config = config.clone();
        let from = &mut config.upstream;
        for pem in [&mut from.ca, &mut from.client_cert, &mut from.client_key].into_iter().flatten() {
            read_again(pem, read)?;
        }
        let tls = settings::upstream_tls(from).map_err(|_| Unusable)?;
        upstream.replace_way(settings::way(from), tls);
        note_ends(&rooms, "upstream_client", &config);
        Ok(())
    };
    Some(Watch { secret: "upstream_tls", files, apply: Box::new(apply) })
}

fn read_again(pem: &mut Pem, read: Read<'_>) -> Result<(), Unusable> {
    let bytes = read(&pem.path).map_err(|_| Unusable)?;
    *pem = Pem::from_bytes(&pem.path, bytes).map_err(|_| Unusable)?;
    Ok(())
}

/// Takes over when the certificate of this role ends; the others' ends are as they were.
fn note_ends(rooms: &std::sync::Weak<Rooms>, role: &'static str, config: &Config) {
    let Some(rooms) = rooms.upgrade() else { return };
    let mut ends = rooms.tls_ends.load().to_vec();
    ends.retain(|(known, _)| *known != role);
    ends.extend(settings::tls_ends(config).into_iter().filter(|(known, _)| *known == role));
    rooms.tls_ends.store(Arc::new(ends));
}

fn file_of(kept: &Kept) -> Option<std::path::PathBuf> {
    match &kept.source {
        Source::File(path) => Some(Path::to_owned(path)),
        Source::Variable(_) => None,
    }
}
