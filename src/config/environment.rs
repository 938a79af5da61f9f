//! What a configuration may read around itself: environment variables and files.
//!
//! Both are handed in, so that a test needs neither a process environment nor a file system and `check` reads exactly what
//! `serve` reads. Never: writes, and never the network.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

/// How a whole file is read.
type Read = dyn Fn(&Path) -> io::Result<Vec<u8>> + Send + Sync;

/// Variables and files, as they were or as a test says.
pub struct Surroundings {
    variables: BTreeMap<OsString, OsString>,
    read: Box<Read>,
}

/// No file of ours is larger; a path that names a device must not fill the memory.
const MAX_FILE: u64 = 4 << 20;

impl Surroundings {
    /// The process's own: its variables as they are now, files as they are when read.
    pub fn process() -> Self {
        Self::new(std::env::vars_os(), read_file)
    }

    /// These variables, and this way to read a file.
    pub fn new<K: Into<OsString>, V: Into<OsString>>(
        variables: impl IntoIterator<Item = (K, V)>,
        read: impl Fn(&Path) -> io::Result<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self { variables: variables.collect(), read: Box::new(read) }
    }

    /// One variable.
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// All variables, by name.
    pub fn variables(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.variables.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// A whole file.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        (self.read)(path)
    }

    /// The memory that the cgroup allows this process, if it limits it: version 2, else version 1. The limits of all its
    /// ancestors hold too, so the least of them counts.
    pub fn memory_limit(&self) -> Option<u64> {
        let groups = self.read_text("/proc/self/cgroup").unwrap_or_default();
        let group = |is_ours: fn(&str) -> bool| {
            groups.lines().find_map(|line| {
                let (_, rest) = line.split_once(':')?;
                let (controllers, path) = rest.split_once(':')?;
                is_ours(controllers).then(|| path.trim_start_matches('/').to_owned())
            })
        };
        let unified = group(str::is_empty).unwrap_or_default();
        let memory = group(|controllers| controllers.split(',').any(|one| one == "memory")).unwrap_or_default();
        self.least_limit("/sys/fs/cgroup", &unified, "memory.max")
            .or_else(|| self.least_limit("/sys/fs/cgroup/memory", &memory, "memory.limit_in_bytes"))
    }

    fn least_limit(&self, root: &str, group: &str, file: &str) -> Option<u64> {
        let root = Path::new(root);
        let innermost = root.join(group);
        let groups = innermost.ancestors().take_while(|path| path.starts_with(root));
        groups.filter_map(|path| self.limit(path.join(file))).min()
    }

    fn limit(&self, path: PathBuf) -> Option<u64> {
        const UNLIMITED: u64 = 1 << 60; // version 1 says "none" with a huge number, version 2 with the word max
        let text = self.read_text(path)?;
        text.trim().parse().ok().filter(|limit| *limit < UNLIMITED)
    }

    fn read_text(&self, path: impl AsRef<Path>) -> Option<String> {
        String::from_utf8(self.read(path.as_ref()).ok()?).ok()
    }
}

/// A whole file, as the process sees it; one without end is refused.
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(files: &'static [(&str, &str)]) -> Option<u64> {
        let read = move |path: &Path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| text.as_bytes().to_vec()).ok_or_else(|| io::ErrorKind::NotFound.into())
        };
        Surroundings::new(std::iter::empty::<(String, String)>(), read).memory_limit()
    }

    #[test]
    fn the_memory_limit_is_the_least_of_all_enclosing_groups() {
        assert_eq!(limit(&[]), None);
        assert_eq!(limit(&[("/sys/fs/cgroup/memory.max", "max\n")]), None);
        assert_eq!(limit(&[("/proc/self/cgroup", "0::/\n"), ("/sys/fs/cgroup/memory.max", "1000\n")]), Some(1000));
        assert_eq!(
            limit(&[
                ("/proc/self/cgroup", "0::/a.slice/b.service\n"),
                ("/sys/fs/cgroup/a.slice/memory.max", "500\n"),
                ("/sys/fs/cgroup/a.slice/b.service/memory.max", "900\n"),
            ]),
            Some(500)
        );
    }

    #[test]
    fn version_one_of_cgroups_is_read_where_version_two_says_nothing() {
        assert_eq!(limit(&[("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")]), None);
        assert_eq!(
            limit(&[
                ("/proc/self/cgroup", "3:cpu,memory:/docker/x\n"),
                ("/sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "700\n"),
            ]),
            Some(700)
        );
    }

    #[test]
    fn a_file_without_end_is_refused() {
        let error = read_file(Path::new("/dev/zero")).expect_err("a device");
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
