//! `file_sd_configs`: files with target groups, seen by notification and by looking again.
//!
//! Keeps true: a file that cannot be read or parsed keeps its last good groups; a file that is gone has none. Looking again
//! every `refresh_interval` is the truth; notifications (which network file systems do not send) only make it quicker.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use globset::{GlobBuilder, GlobMatcher};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::{DiscoveryError, DiscoveryMetrics, FileDiscovery, LIMIT, TargetGroup, board::Board, groups};

/// Editors and config maps change a file in several steps; the last event of a burst counts.
const SETTLE: Duration = Duration::from_millis(200);

pub(crate) struct FileSource {
    patterns: Vec<Pattern>,
    refresh_interval: Duration,
    metrics: DiscoveryMetrics,
}

/// One `files` entry: a folder, and a plain name or a glob.
struct Pattern {
    folder: PathBuf,
    name: Name,
}

enum Name {
    Plain(String),
    Glob(GlobMatcher),
}

impl Pattern {
    fn new(text: &str) -> Result<Self, DiscoveryError> {
        let refuse = |why: String| Err(DiscoveryError::Pattern { pattern: text.to_owned(), why });
        let (folder, name) = match text.rsplit_once('/') {
            Some(("", name)) => ("/", name),
            Some((folder, name)) => (folder, name),
            None => ("", text),
        };
        if is_glob(folder) {
            return refuse("only the last part of the path may contain * ? [".into());
        }
        if !["json", "yml", "yaml"].iter().any(|ending| ending_of(name).is_some_and(|e| e.eq_ignore_ascii_case(ending)))
        {
            return refuse("the file name must end in .json, .yml or .yaml".into());
        }
        let name = if is_glob(name) {
            // Braces are ordinary characters in Go's globs.
            let go = name.replace('{', "[{]").replace('}', "[}]");
            match GlobBuilder::new(&go).literal_separator(true).backslash_escape(true).build() {
                Ok(glob) => Name::Glob(glob.compile_matcher()),
                Err(e) => return refuse(e.kind().to_string()),
            }
        } else {
            Name::Plain(name.to_owned())
        };
        Ok(Self { folder: PathBuf::from(folder), name })
    }

    /// The folder as the operating system wants it.
    fn folder(&self) -> &Path {
        if self.folder.as_os_str().is_empty() { Path::new(".") } else { &self.folder }
    }

    /// Adds the existing files that match.
    fn find(&self, found: &mut BTreeSet<PathBuf>) {
        match &self.name {
            Name::Plain(name) => {
                let path = self.folder.join(name);
                if path.exists() {
                    found.insert(path);
                }
            }
            Name::Glob(glob) => {
                let Ok(entries) = std::fs::read_dir(self.folder()) else {
                    return;
                };
                for entry in entries.flatten() {
                    if glob.is_match(entry.file_name()) {
                        found.insert(self.folder.join(entry.file_name()));
                    }
                }
            }
        }
    }
}

fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

fn ending_of(name: &str) -> Option<&str> {
    name.rsplit_once('.').map(|(_, ending)| ending)
}

/// What is known of the files: their last good groups and the complaint last logged.
#[derive(Default)]
struct Known {
    groups: BTreeMap<PathBuf, Vec<TargetGroup>>,
    complaints: BTreeMap<PathBuf, String>,
}

impl Known {
    fn list(&self) -> Vec<TargetGroup> {
        self.groups.values().flatten().cloned().collect()
    }
}

impl FileSource {
    pub(crate) fn new(config: &FileDiscovery, metrics: DiscoveryMetrics) -> Result<Self, DiscoveryError> {
        let patterns = config.files.iter().map(|f| Pattern::new(f)).collect::<Result<_, _>>()?;
        Ok(Self { patterns, refresh_interval: config.refresh_interval.max(Duration::from_millis(1)), metrics })
    }

    /// Runs until nobody listens.
    pub(crate) async fn run(self, slot: usize, board: &Board) {
        let source = Arc::new(self);
        let changed = Arc::new(Notify::new());
        let mut watcher = source.watcher(&changed);
        let mut watched = BTreeSet::new();
        let mut known = Known::default();
        loop {
            // Folders that did not exist before are tried again at each look.
            if let Some(watcher) = &mut watcher {
                source.watch_folders(watcher, &mut watched);
            }
            let reader = source.clone();
            known = match tokio::task::spawn_blocking(move || reader.read(known)).await {
                Ok(known) => known,
                Err(error) => {
                    tracing::error!(%error, "reading target files broke off; file discovery of this job ends");
                    return;
                }
            };
            board.report(slot, known.list());
            tokio::select! {
                () = tokio::time::sleep(source.refresh_interval) => {}
                () = changed.notified() => tokio::time::sleep(SETTLE).await,
                () = board.abandoned() => return,
            }
        }
    }

    fn watcher(&self, changed: &Arc<Notify>) -> Option<RecommendedWatcher> {
        let changed = changed.clone();
        let result = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is an event too; answering it with another read would never end.
            if !event.is_ok_and(|e| e.kind.is_access()) {
                changed.notify_one();
            }
        });
        result
            .map_err(|error| {
                self.metrics.file_watcher_errors.inc();
                tracing::warn!(%error, "target files cannot be watched; they are read again every refresh_interval");
            })
            .ok()
    }

    fn watch_folders(&self, watcher: &mut RecommendedWatcher, watched: &mut BTreeSet<PathBuf>) {
        for pattern in &self.patterns {
            let folder = pattern.folder();
            if watched.contains(folder) || !folder.is_dir() {
                continue;
            }
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(watched.insert(folder.to_owned())),
                Err(error) => {
                    self.metrics.file_watcher_errors.inc();
                    tracing::debug!(folder = %folder.display(), %error, "folder of target files cannot be watched");
                }
            }
        }
    }

    /// Looks at every file now.
    fn read(&self, mut known: Known) -> Known {
        let mut found = BTreeSet::new();
        for pattern in &self.patterns {
            pattern.find(&mut found);
        }
        known.groups.retain(|path, _| found.contains(path));
        known.complaints.retain(|path, _| found.contains(path));
        for path in found {
            match read_file(&path) {
                Ok(groups) => {
                    if known.complaints.remove(&path).is_some() {
                        tracing::info!(path = %path.display(), "target file is readable again");
                    }
                    known.groups.insert(path, groups);
                }
                Err(error) => {
                    self.metrics.file_read_errors.inc();
                    let text = error.to_string();
                    if known.complaints.get(&path) != Some(&text) {
                        tracing::warn!(%error, "target file is broken; its last good targets stay");
                        known.complaints.insert(path, text);
                    }
                }
            }
        }
        known
    }
}

fn read_file(path: &Path) -> Result<Vec<TargetGroup>, DiscoveryError> {
    let place = path.display().to_string();
    let read = |source| DiscoveryError::Read { path: place.clone(), source };
    let content = |why| DiscoveryError::Content { place: place.clone(), why };
    // Opening a pipe would wait for its writer, with the whole job's discovery.
    if !std::fs::metadata(path).map_err(read)?.is_file() {
        return Err(content("it is not a plain file".to_owned()));
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(read)?.take(LIMIT + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > LIMIT {
        return Err(content(format!("it is longer than {LIMIT} bytes")));
    }
    let meta = ("__meta_filepath", place.as_str());
    let json = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
    if json { groups::from_json(&bytes, &place, meta) } else { groups::from_yaml(&bytes, &place, meta) }
        .map_err(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_checked_before_anything_starts() {
        for bad in ["/etc/*/a.json", "/etc/targets", "a.txt", "/etc/[a.json", "dir?/x.yml"] {
            assert!(Pattern::new(bad).is_err(), "{bad}");
        }
        for good in ["a.json", "/a.yml", "/etc/t/*.yaml", "t-[0-9].JSON", "a{b}.yml"] {
            assert!(Pattern::new(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_is_no_plain_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, socket) = (folder.path().join("d.yml"), folder.path().join("s.yml"));
        std::fs::create_dir(&directory).unwrap();
        let _bound = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for path in [directory, socket] {
            let error = read_file(&path).unwrap_err().to_string();
            assert!(error.ends_with("it is not a plain file"), "{error}");
        }
    }

    #[test]
    fn braces_in_a_glob_are_ordinary_characters() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a{b,c}1.yml", "ab1.yml", ".hidden1.yml"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let find = |name: &str| {
            let mut found = BTreeSet::new();
            Pattern::new(&format!("{}/{name}", folder.path().display())).unwrap().find(&mut found);
            found.into_iter().map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(find("a{b,c}?.yml"), ["a{b,c}1.yml"]);
        assert_eq!(find("*.yml"), [".hidden1.yml", "ab1.yml", "a{b,c}1.yml"]);
    }
}
