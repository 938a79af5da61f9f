//! Secrets in files that change while the process runs.
//!
//! Contents are compared, once a second: whether a file was rewritten, renamed over, or sits behind a symbolic link that was
//! moved (as Kubernetes does) makes no difference, and no event can be missed. A new content counts when it has been seen
//! twice, so that a file caught half written is not taken for a secret. What is then unusable changes nothing: the last good
//! value stays, the failure is counted once, and stays visible until a usable value comes.
//!
//! Never: keeps a secret, or says one. Only digests of contents are remembered.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Reads a whole file.
pub type Read<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// Puts what the files hold into force, or says that it is unusable. It is handed a way to read the contents that were
/// compared, so that what is judged is what was seen.
pub type Apply = Box<dyn Fn(Read<'_>) -> Result<(), Unusable> + Send + Sync>;

/// The new value is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unusable;

/// A secret, the files it is made of, and what to do with a new value.
pub struct Watch {
    /// Its name in metrics and logs.
    pub secret: &'static str,
    /// All of them; none for a secret that cannot change.
    pub files: Vec<PathBuf>,
    /// Called when their contents have changed.
    pub apply: Apply,
}

/// How one secret stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Its name.
    pub secret: &'static str,
    /// How long the value in force has been in its file, or in this process where it has none.
    pub age: Duration,
    /// The newest content is the one in force.
    pub is_usable: bool,
    /// New contents that were unusable, since start.
    pub failures: u64,
    /// How long ago the last of them was met.
    pub last_failure: Option<Duration>,
}

/// Everything that is watched.
#[derive(Default)]
pub struct Rotation {
    watched: Mutex<Vec<Watched>>,
}

struct Watched {
    watch: Watch,
    /// The content last judged.
    judged: blake3::Hash,
    /// Another one, seen once.
    seen: Option<blake3::Hash>,
    since: SystemTime,
    is_usable: bool,
    failures: u64,
    failed: Option<SystemTime>,
}

impl Rotation {
    /// Watches these from now on, whose values are in force already. Failures are counted on under the same name.
    pub fn watch(&self, watches: Vec<Watch>, read: Read<'_>) {
        let mut watched = self.watched();
        let failures: HashMap<_, _> =
            watched.iter().map(|one| (one.watch.secret, (one.failures, one.failed))).collect();
        *watched = watches
            .into_iter()
            .map(|watch| {
                let (failures, failed) = failures.get(watch.secret).copied().unwrap_or_default();
                Watched {
                    judged: digest(&contents(&watch.files, read)),
                    seen: None,
                    since: changed(&watch.files),
                    is_usable: true,
                    failures,
                    failed,
                    watch,
                }
            })
            .collect();
    }

    /// Looks once. A change takes effect at the second look that finds it.
    pub fn look(&self, read: Read<'_>) {
        for one in self.watched().iter_mut() {
            one.look(read);
        }
    }

    /// How all of them stand.
    pub fn standings(&self) -> Vec<Standing> {
        let now = SystemTime::now();
        let standing = |one: &Watched| Standing {
            secret: one.watch.secret,
            age: now.duration_since(one.since).unwrap_or_default(),
            is_usable: one.is_usable,
            failures: one.failures,
            last_failure: one.failed.map(|failed| now.duration_since(failed).unwrap_or_default()),
        };
        self.watched().iter().map(standing).collect()
    }

    fn watched(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    fn look(&mut self, read: Read<'_>) {
        let contents = contents(&self.watch.files, read);
        let found = digest(&contents);
        if found == self.judged {
            self.seen = None;
        } else if self.seen.replace(found) == Some(found) {
            self.seen = None;
            self.judged = found;
            self.judge(&contents);
        }
    }

    fn judge(&mut self, contents: &[(PathBuf, Option<Vec<u8>>)]) {
        let read = |path: &Path| {
            let content = contents.iter().find(|(file, _)| file == path).and_then(|(_, content)| content.clone());
            content.ok_or_else(|| io::ErrorKind::NotFound.into())
        };
        let secret = self.watch.secret;
        self.is_usable = (self.watch.apply)(&read).is_ok();
        if self.is_usable {
            self.since = changed(&self.watch.files);
            tracing::info!(secret, "a new value is in force");
        } else {
            self.failures += 1;
            self.failed = Some(SystemTime::now());
            tracing::error!(secret, "the new value is unusable, the last good one stays in force");
        }
    }
}

fn contents(files: &[PathBuf], read: Read<'_>) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    files.iter().map(|file| (file.clone(), read(file).ok())).collect()
}

/// Of all files together; one that cannot be read differs from an empty one.
fn digest(contents: &[(PathBuf, Option<Vec<u8>>)]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for (_, content) in contents {
        let length = content.as_ref().map_or(u64::MAX, |content| content.len() as u64);
        hasher.update(&length.to_le_bytes()).update(content.as_deref().unwrap_or_default());
    }
    hasher.finalize()
}

/// When the last of the files was written; now, where that is unknown or lies ahead.
fn changed(files: &[PathBuf]) -> SystemTime {
    let now = SystemTime::now();
    let written = |file: &PathBuf| std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok();
    files.iter().filter_map(written).max().unwrap_or(now).min(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// A rotation of one secret in one file: anything but "bad" and nothing is usable.
    fn rotation(file: &Path) -> (Rotation, Arc<Mutex<Vec<String>>>) {
        let applied = Arc::new(Mutex::new(Vec::new()));
        let (log, path) = (applied.clone(), file.to_owned());
        let apply = move |read: Read<'_>| {
            let text = String::from_utf8(read(&path).map_err(|_| Unusable)?).map_err(|_| Unusable)?;
            if text.is_empty() || text == "bad" {
                return Err(Unusable);
            }
            log.lock().unwrap().push(text);
            Ok(())
        };
        let rotation = Rotation::default();
        let watch = Watch { secret: "api_key", files: vec![file.to_owned()], apply: Box::new(apply) };
        rotation.watch(vec![watch], &|path| std::fs::read(path));
        (rotation, applied)
    }

    fn look(rotation: &Rotation) {
        rotation.look(&|path| std::fs::read(path));
    }

    #[test]
    fn a_change_takes_effect_when_it_has_been_seen_twice() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "one").unwrap();
        let (rotation, applied) = rotation(&file);
        look(&rotation);
        std::fs::write(&file, "tw").unwrap();
        look(&rotation);
        std::fs::write(&file, "two").unwrap();
        look(&rotation);
        assert!(applied.lock().unwrap().is_empty(), "half a secret is none");
        look(&rotation);
        look(&rotation);
        assert_eq!(*applied.lock().unwrap(), ["two"]);
    }

    #[test]
    fn a_rename_and_a_moved_link_are_changes() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (folder, content) in [("old", "one"), ("new", "two")] {
            std::fs::create_dir(at(folder)).unwrap();
            std::fs::write(at(folder).join("key"), content).unwrap();
        }
        std::os::unix::fs::symlink("old", at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/key", at("key")).unwrap();
        let (rotation, applied) = rotation(&at("key"));
        std::os::unix::fs::symlink("new", at("..tmp")).unwrap();
        std::fs::rename(at("..tmp"), at("..data")).unwrap();
        look(&rotation);
        look(&rotation);
        std::fs::write(at("three"), "three").unwrap();
        std::fs::rename(at("three"), at("key")).unwrap();
        look(&rotation);
        look(&rotation);
        assert_eq!(*applied.lock().unwrap(), ["two", "three"]);
    }

    #[test]
    fn an_unusable_value_is_counted_once_and_shows_until_a_usable_one_comes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "one").unwrap();
        let (rotation, applied) = rotation(&file);
        for (content, failures) in [(Some("bad"), 1), (None, 2), (Some(""), 3)] {
            match content {
                Some(content) => std::fs::write(&file, content).unwrap(),
                None => std::fs::remove_file(&file).unwrap(),
            }
            (0..4).for_each(|_| look(&rotation));
            let standing = rotation.standings().remove(0);
            assert_eq!((standing.is_usable, standing.failures), (false, failures));
            assert!(standing.last_failure.is_some());
        }
        std::fs::write(&file, "one").unwrap();
        (0..2).for_each(|_| look(&rotation));
        let standing = rotation.standings().remove(0);
        assert_eq!((standing.is_usable, standing.failures), (true, 3));
        assert_eq!(*applied.lock().unwrap(), ["one"]);
    }
}
