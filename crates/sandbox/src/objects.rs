//! The S3 objects that arrived, in memory or as files of one directory. Buckets exist as soon as they are named.
//!
//! Keeps true: a key never leads outside the directory; counts and bytes stay within [`crate::Limits`]; an object that
//! was answered with 200 is there, whole.

use std::{
    collections::BTreeMap,
    fs, io,
    ops::Bound,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use md5::{Digest, Md5};
use serde::Serialize;

use crate::{
    config::{Limits, ObjectStorage},
    error::SandboxError,
    sigv4::percent_decode,
};

/// One object as listings show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObjectState {
    /// Bucket.
    pub bucket: String,
    /// Key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// Hex MD5, without quotes.
    pub etag: String,
    /// When it was stored, milliseconds since the Unix epoch.
    pub stored_ms: i64,
    /// Samples in it, if it is a snappy `WriteRequest`.
    pub samples: Option<u64>,
}

#[derive(Debug, Clone)]
enum Content {
    Memory(Bytes),
    File(PathBuf),
}

/// One object with what is needed to serve it.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) size: u64,
    pub(crate) etag: String,
    pub(crate) stored_ms: i64,
    pub(crate) samples: Option<u64>,
    /// `content-type`, `content-encoding`, `x-amz-meta-*` and the like, as sent.
    pub(crate) headers: Vec<(String, String)>,
    content: Content,
}

impl Object {
    pub(crate) fn read(&self) -> io::Result<Bytes> {
        match &self.content {
            Content::Memory(bytes) => Ok(bytes.clone()),
            Content::File(path) => fs::read(path).map(Bytes::from),
        }
    }
}

/// What became of a put.
#[derive(Debug)]
pub(crate) enum Put {
    Stored {
        etag: String,
    },
    /// `If-None-Match: *` and it exists.
    Exists,
    /// The sandbox keeps no more.
    Full,
    Failed(io::Error),
}

/// One page of a listing.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) objects: Vec<(String, Object)>,
    pub(crate) prefixes: Vec<String>,
    /// Where to go on: after this key or common prefix.
    pub(crate) next: Option<String>,
}

/// All objects, by bucket and key.
#[derive(Debug)]
pub(crate) struct Objects {
    all: BTreeMap<(String, String), Object>,
    bytes: u64,
    directory: Option<PathBuf>,
    limits: Limits,
}

impl Objects {
    pub(crate) fn open(storage: &ObjectStorage, limits: Limits) -> Result<Self, SandboxError> {
        let mut objects = Self { all: BTreeMap::new(), bytes: 0, directory: None, limits };
        if let ObjectStorage::Directory(path) = storage {
            let failed = |path: &Path, source| SandboxError::Directory { path: path.to_owned(), source };
            fs::create_dir_all(path).map_err(|e| failed(path, e))?;
            objects.find(path, &mut Vec::new()).map_err(|e| failed(path, e))?;
            objects.directory = Some(path.clone());
        }
        Ok(objects)
    }

    /// Takes in the files already there. Other files than ours are left alone.
    fn find(&mut self, directory: &Path, above: &mut Vec<String>) -> io::Result<()> {
        if above.len() > 64 {
            return Ok(());
        }
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().map(segment_of_file) else {
                continue;
            };
            let kind = entry.file_type()?;
            above.push(name);
            if kind.is_dir() {
                self.find(&entry.path(), above)?;
            } else if let (true, Some((bucket, key))) = (kind.is_file(), above.split_first())
                && !key.is_empty()
                && self.all.len() < self.limits.objects
            {
                let body = fs::read(entry.path())?;
                let modified = entry.metadata()?.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                self.bytes += body.len() as u64;
                let object = Object {
                    size: body.len() as u64,
                    etag: etag(&body),
                    stored_ms: i64::try_from(modified.as_millis()).unwrap_or(0),
                    samples: None,
                    headers: Vec::new(),
                    content: Content::File(entry.path()),
                };
                self.all.insert((bucket.clone(), key.join("/")), object);
            }
            above.pop();
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    pub(crate) fn put(
        &mut self,
        bucket: &str,
        key: &str,
        body: &Bytes,
        headers: Vec<(String, String)>,
        if_absent: bool,
        samples: Option<u64>,
        now_ms: i64,
    ) -> Put {
        let place = (bucket.to_owned(), key.to_owned());
        let replaced = self.all.get(&place).map(|object| object.size);
        if replaced.is_some() && if_absent {
            return Put::Exists;
        }
        let bytes = self.bytes - replaced.unwrap_or(0) + body.len() as u64;
        let is_full = self.all.len() >= self.limits.objects && replaced.is_none();
        if is_full || bytes > self.limits.object_bytes as u64 {
            return Put::Full;
        }
        let content = match &self.directory {
            None => Content::Memory(body.clone()),
            Some(directory) => match write_file(&file_of(directory, bucket, key), body) {
                Ok(path) => Content::File(path),
                Err(e) => return Put::Failed(e),
            },
        };
        let etag = etag(body);
        let object =
            Object { size: body.len() as u64, etag: etag.clone(), stored_ms: now_ms, samples, headers, content };
        self.bytes = bytes;
        self.all.insert(place, object);
        Put::Stored { etag }
    }

    pub(crate) fn get(&self, bucket: &str, key: &str) -> Option<&Object> {
        self.all.get(&(bucket.to_owned(), key.to_owned()))
    }

    pub(crate) fn delete(&mut self, bucket: &str, key: &str) -> io::Result<()> {
        if let Some(object) = self.all.remove(&(bucket.to_owned(), key.to_owned())) {
            self.bytes -= object.size;
            if let Content::File(path) = object.content {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// One page of the keys of a bucket, in order of their bytes, as `ListObjectsV2` gives them.
    pub(crate) fn list(&self, bucket: &str, prefix: &str, delimiter: &str, after: &str, most: usize) -> Page {
        let mut page = Page::default();
        let from = if after > prefix { after } else { prefix };
        let start = (bucket.to_owned(), from.to_owned());
        let mut last = String::new();
        for ((_, key), object) in self
            .all
            .range((Bound::Included(start), Bound::Unbounded))
            .take_while(|((to, key), _)| to == bucket && key.starts_with(prefix))
        {
            let common = match key.get(prefix.len()..).filter(|_| !delimiter.is_empty()) {
                Some(rest) => rest.find(delimiter).and_then(|at| key.get(..prefix.len() + at + delimiter.len())),
                None => None,
            };
            let name = common.unwrap_or(key);
            if name <= after || (common.is_some() && last == name) {
                continue;
            }
            if page.objects.len() + page.prefixes.len() >= most {
                page.next = Some(last);
                break;
            }
            name.clone_into(&mut last);
            match common {
                Some(prefix) => page.prefixes.push(prefix.to_owned()),
                None => page.objects.push((key.clone(), object.clone())),
            }
        }
        page
    }

    /// The names of buckets that hold something.
    pub(crate) fn buckets(&self) -> Vec<String> {
        let mut names: Vec<String> = self.all.keys().map(|(bucket, _)| bucket.clone()).collect();
        names.dedup();
        names
    }

    /// The objects stored last, newest first.
    pub(crate) fn latest(&self, most: usize) -> Vec<ObjectState> {
        let mut all: Vec<(&(String, String), &Object)> = self.all.iter().collect();
        all.sort_by(|a, b| b.1.stored_ms.cmp(&a.1.stored_ms).then_with(|| b.0.cmp(a.0)));
        all.truncate(most);
        all.into_iter()
            .map(|((bucket, key), object)| ObjectState {
                bucket: bucket.clone(),
                key: key.clone(),
                size: object.size,
                etag: object.etag.clone(),
                stored_ms: object.stored_ms,
                samples: object.samples,
            })
            .collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Forgets all objects, and deletes their files.
    pub(crate) fn clear(&mut self) {
        for object in std::mem::take(&mut self.all).into_values() {
            if let Content::File(path) = object.content
                && let Err(e) = fs::remove_file(&path)
            {
                tracing::warn!(path = %path.display(), error = %e, "deleting an object's file");
            }
        }
        self.bytes = 0;
    }
}

pub(crate) fn etag(body: &[u8]) -> String {
    hex::encode(Md5::digest(body))
}

/// Writes beside the final name, then renames, so that a file is either whole or not there.
fn write_file(path: &Path, body: &[u8]) -> io::Result<PathBuf> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let beside = directory.join(".%part");
    fs::write(&beside, body)?;
    fs::rename(&beside, path)?;
    Ok(path.to_owned())
}

fn file_of(directory: &Path, bucket: &str, key: &str) -> PathBuf {
    let mut path = directory.join(file_segment(bucket));
    for segment in key.split('/') {
        path.push(file_segment(segment));
    }
    path
}

/// A part of a key as a file name: never empty, never `.` or `..`, no separator, at most 255 bytes of plain ASCII for
/// keys of ordinary parts.
fn file_segment(segment: &str) -> String {
    if segment.is_empty() {
        return "%".to_owned();
    }
    let mut name = String::with_capacity(segment.len());
    for (at, byte) in segment.bytes().enumerate() {
        match byte {
            b'.' if at == 0 => name.push_str("%2E"),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'=' | b'.' => name.push(char::from(byte)),
            other => name.push_str(&format!("%{other:02X}")),
        }
    }
    name
}

fn segment_of_file(name: &str) -> String {
    if name == "%" {
        return String::new();
    }
    String::from_utf8_lossy(&percent_decode(name.as_bytes(), false)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(keys: &[&str]) -> Objects {
        let mut objects = Objects::open(&ObjectStorage::Memory, Limits::default()).unwrap();
        for key in keys {
            let put = objects.put("b", key, &Bytes::from_static(b"x"), Vec::new(), true, None, 1);
            assert!(matches!(put, Put::Stored { .. }));
        }
        objects
    }

    fn names(page: &Page) -> Vec<&str> {
        page.objects.iter().map(|(key, _)| key.as_str()).collect()
    }

    #[test]
    fn listings_go_page_by_page() {
        let objects = filled(&["a/1", "a/2", "a/3", "b"]);
        let first = objects.list("b", "a/", "", "", 2);
        assert_eq!((names(&first), first.next.as_deref()), (vec!["a/1", "a/2"], Some("a/2")));
        let second = objects.list("b", "a/", "", "a/2", 2);
        assert_eq!((names(&second), second.next.as_deref()), (vec!["a/3"], None));
    }

    #[test]
    fn a_delimiter_folds_keys_into_common_prefixes() {
        let objects = filled(&["a/1", "a/2", "b", "c/1/2"]);
        let page = objects.list("b", "", "/", "", 2);
        assert_eq!(
            (page.prefixes.clone(), names(&page), page.next.as_deref()),
            (vec!["a/".to_owned()], vec!["b"], Some("b"))
        );
        let page = objects.list("b", "", "/", "b", 2);
        assert_eq!((page.prefixes, page.next), (vec!["c/".to_owned()], None));
        assert_eq!(objects.list("b", "", "/", "a/", 9).prefixes, ["c/"]);
    }

    #[test]
    fn a_put_if_absent_never_replaces() {
        let mut objects = filled(&["a"]);
        assert!(matches!(objects.put("b", "a", &Bytes::from_static(b"y"), Vec::new(), true, None, 2), Put::Exists));
        assert_eq!(&objects.get("b", "a").unwrap().read().unwrap()[..], b"x");
        assert!(matches!(
            objects.put("b", "a", &Bytes::from_static(b"yy"), Vec::new(), false, None, 2),
            Put::Stored { .. }
        ));
        assert_eq!((objects.len(), objects.bytes()), (1, 2));
    }

    #[test]
    fn a_full_store_says_so() {
        let limits = Limits { object_bytes: 3, ..Limits::default() };
        let mut objects = Objects::open(&ObjectStorage::Memory, limits).unwrap();
        assert!(matches!(objects.put("b", "a", &Bytes::from_static(b"1234"), Vec::new(), true, None, 1), Put::Full));
    }

    #[test]
    fn keys_never_lead_outside_the_directory_and_come_back_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("objects");
        let storage = ObjectStorage::Directory(root.clone());
        let keys = ["../../etc/passwd", "a//b", "./x", "/lead", "ü/%41", ".hidden", "trail/"];
        let mut objects = Objects::open(&storage, Limits::default()).unwrap();
        for key in keys {
            let put = objects.put("b", key, &Bytes::from(key), Vec::new(), true, None, 1);
            assert!(matches!(put, Put::Stored { .. }), "{key}: {put:?}");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        let again = Objects::open(&storage, Limits::default()).unwrap();
        for key in keys {
            assert_eq!(&again.get("b", key).unwrap().read().unwrap()[..], key.as_bytes(), "{key}");
        }
        assert_eq!(again.len(), keys.len());
        assert_eq!(again.bytes(), objects.bytes());
    }
}
