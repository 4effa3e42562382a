//! Path patterns as Promtail's doublestar reads them: `*` and `?` within a name, `[a-z]`, `{a,b}` (with slashes too), and
//! `**` for any number of directories.
//!
//! Walks from the literal beginning of a pattern, one directory at a time. Keeps true: a directory that cannot be read is
//! passed over; links are followed, circles are not.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use globset::{GlobBuilder, GlobMatcher};

use crate::TailError;

/// Alternatives of one pattern at most.
const MAX_ALTERNATIVES: usize = 1024;
/// Directories deep at most.
const MAX_DEPTH: usize = 64;

/// A pattern for absolute or relative paths.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    alternatives: Vec<Alternative>,
}

#[derive(Debug, Clone)]
struct Alternative {
    /// Where the walk begins: nothing in it is a pattern.
    root: PathBuf,
    parts: Vec<Part>,
    whole: GlobMatcher,
}

#[derive(Debug, Clone)]
enum Part {
    Name(String),
    Glob(GlobMatcher),
    /// `**`
    Any,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Pattern {
    /// Reads a pattern.
    pub fn new(text: &str) -> Result<Self, TailError> {
        let wrong = |why: &str| TailError::Pattern { pattern: text.to_owned(), why: why.to_owned() };
        if text.is_empty() {
            return Err(wrong("it is empty"));
        }
        let mut expanded = Vec::new();
        expand(text, &mut expanded).map_err(wrong)?;
        let mut alternatives = Vec::new();
        for text in expanded {
            alternatives.push(Alternative::new(&text).map_err(|error| wrong(&error.to_string()))?);
        }
        Ok(Self { text: text.to_owned(), alternatives })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The only path that it matches, if it has no wildcards.
    pub(crate) fn literal(&self) -> Option<&Path> {
        (!self.text.contains(['*', '?', '[', ']', '{', '}', '\\'])).then(|| Path::new(&self.text))
    }

    /// Whether a path matches as text.
    pub fn matches(&self, path: &Path) -> bool {
        self.alternatives.iter().any(|one| one.whole.is_match(path))
    }

    /// Everything there is that matches and is no directory, and the directories that were looked into. Blocking.
    pub(crate) fn list(&self, found: &mut BTreeSet<PathBuf>, directories: &mut BTreeSet<PathBuf>) {
        for one in &self.alternatives {
            let mut walk = Walk { found, directories, above: Vec::new() };
            walk.step(&one.root, &one.parts);
        }
    }
}

impl Alternative {
    fn new(text: &str) -> Result<Self, globset::Error> {
        let whole = matcher(text)?;
        let mut root = PathBuf::from(if text.starts_with('/') { "/" } else { "" });
        let mut parts: Vec<Part> = Vec::new();
        for name in text.split('/').filter(|name| !name.is_empty() && *name != ".") {
            let special = name.contains(['*', '?', '[', '\\']);
            if name == "**" {
                if !matches!(parts.last(), Some(Part::Any)) {
                    parts.push(Part::Any);
                }
            } else if special {
                parts.push(Part::Glob(matcher(name)?));
            } else {
                parts.push(Part::Name(name.to_owned()));
            }
        }
        // The last name stays a part: it is what is looked for.
        while parts.len() > 1 && matches!(parts.first(), Some(Part::Name(_))) {
            if let Part::Name(name) = parts.remove(0) {
                root.push(name);
            }
        }
        if root.as_os_str().is_empty() {
            root.push(".");
        }
        Ok(Self { root, parts, whole })
    }
}

fn matcher(text: &str) -> Result<GlobMatcher, globset::Error> {
    Ok(GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build()?.compile_matcher())
}

/// Writes out the alternatives of `{a,b}`, innermost last.
fn expand(text: &str, out: &mut Vec<String>) -> Result<(), &'static str> {
    let mut open = None;
    let mut depth = 0usize;
    let mut commas = Vec::new();
    let mut escaped = false;
    let mut class = false;
    for (at, c) in text.char_indices() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match c {
            '\\' => escaped = true,
            '[' => class = true,
            ']' => class = false,
            '{' if !class => {
                depth += 1;
                open.get_or_insert(at);
            }
            ',' if depth == 1 && !class => commas.push(at),
            '}' if !class => {
                depth = depth.checked_sub(1).ok_or("a '}' has no '{'")?;
                if let Some(begin) = open.filter(|_| depth == 0) {
                    let mut from = begin + 1;
                    commas.push(at);
                    for comma in commas {
                        let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or("");
                        let one = format!("{}{}{}", part(0..begin), part(from..comma), part(at + 1..text.len()));
                        expand(&one, out)?;
                        from = comma + 1;
                    }
                    return Ok(());
                }
            }
            _ => {}
        }
    }
    if depth > 0 {
        return Err("a '{' is not closed");
    }
    if out.len() >= MAX_ALTERNATIVES {
        return Err("it has too many alternatives");
    }
    out.push(text.to_owned());
    Ok(())
}

struct Walk<'a> {
    found: &'a mut BTreeSet<PathBuf>,
    directories: &'a mut BTreeSet<PathBuf>,
    /// Device and inode of the directories on the way here.
    above: Vec<(u64, u64)>,
}

impl Walk<'_> {
    fn step(&mut self, directory: &Path, parts: &[Part]) {
        let Some((part, rest)) = parts.split_first() else {
            return;
        };
        let Ok(meta) = fs::metadata(directory) else {
            return;
        };
        let identity = (meta.dev(), meta.ino());
        if !meta.is_dir() || self.above.len() >= MAX_DEPTH || self.above.contains(&identity) {
            return;
        }
        self.directories.insert(directory.to_owned());
        self.above.push(identity);
        match part {
            Part::Name(name) => self.take(directory.join(name), rest),
            Part::Glob(glob) => {
                for name in names(directory) {
                    if glob.is_match(Path::new(&name)) {
                        self.take(directory.join(name), rest);
                    }
                }
            }
            Part::Any => {
                // No directory at all, or one and what is below it.
                self.above.pop();
                self.step(directory, rest);
                self.above.push(identity);
                for name in names(directory) {
                    let path = directory.join(name);
                    let is_dir = fs::metadata(&path).is_ok_and(|meta| meta.is_dir());
                    if is_dir {
                        self.step(&path, parts);
                    } else if rest.is_empty() {
                        self.take(path, rest);
                    }
                }
            }
        }
        self.above.pop();
    }

    fn take(&mut self, path: PathBuf, rest: &[Part]) {
        if !rest.is_empty() {
            // The same directory cannot come twice on one way, but `above` holds this one's parent only.
            self.step(&path, rest);
        } else if fs::metadata(&path).is_ok_and(|meta| !meta.is_dir()) {
            self.found.insert(path);
        }
    }
}

fn names(directory: &Path) -> Vec<std::ffi::OsString> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut names: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(root: &Path, pattern: &str) -> Vec<String> {
        let mut found = BTreeSet::new();
        let text = format!("{}/{pattern}", root.display());
        let pattern = Pattern::new(&text).unwrap();
        pattern.list(&mut found, &mut BTreeSet::new());
        for path in &found {
            assert!(pattern.matches(path), "{text} lists {path:?} and does not match it");
        }
        found.iter().map(|path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()).collect()
    }

    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for path in ["a.log", "b.log", "b.txt", "x/a.log", "x/y/deep.log", "x/y/z/deeper.log", ".hidden.log"] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        root
    }

    #[test]
    fn stars_stay_in_a_directory_and_double_stars_do_not() {
        let root = tree();
        assert_eq!(list(root.path(), "*log"), [".hidden.log", "a.log", "b.log"]);
        assert_eq!(list(root.path(), "?.log"), ["a.log", "b.log"]);
        assert_eq!(list(root.path(), "x/**/*.log"), ["x/a.log", "x/y/deep.log", "x/y/z/deeper.log"]);
        assert_eq!(list(root.path(), "**/deep.log"), ["x/y/deep.log"]);
        assert_eq!(list(root.path(), "x/y/**"), ["x/y/deep.log", "x/y/z/deeper.log"]);
        assert_eq!(list(root.path(), "[!a].log"), ["b.log"]);
        assert_eq!(list(root.path(), "nothing/*.log"), Vec::<String>::new());
    }

    #[test]
    fn braces_may_hold_slashes_and_braces() {
        let root = tree();
        assert_eq!(list(root.path(), "{a,x/y/deep}.log"), ["a.log", "x/y/deep.log"]);
        assert_eq!(list(root.path(), "{a,b}.{log,txt}"), ["a.log", "b.log", "b.txt"]);
        assert_eq!(list(root.path(), "{a,{b,c}}.log"), ["a.log", "b.log"]);
    }

    #[test]
    fn a_link_in_a_circle_ends() {
        let root = tree();
        std::os::unix::fs::symlink(root.path(), root.path().join("x/back")).unwrap();
        assert!(list(root.path(), "**/a.log").contains(&"x/a.log".to_owned()));
    }

    #[test]
    fn unusable_patterns_are_refused() {
        for text in ["", "/var/{a", "/var/a}", "/var/[a"] {
            assert!(Pattern::new(text).is_err(), "{text}");
        }
        let many = "{a,b}".repeat(11);
        assert!(Pattern::new(&many).is_err());
    }
}
