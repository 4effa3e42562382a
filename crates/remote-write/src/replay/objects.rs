//! Where the objects of a replay come from: a bucket under a prefix, or a directory. Lists and reads; writes nothing.
//!
//! Keys come in byte order, which is the order of their samples within each lane.

use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode};
use net::{Authorize, Backoff, Client, ClientOptions, HttpClientConfig, IdentityVerdict, NetError, Reply};
use pipeline::off_reactor;
use serde::Deserialize;
use url::Url;

use super::ReplayError;
use crate::{
    protocol::{bucket_address, bucket_in_host},
    verdict::described,
};

/// Where objects are.
#[derive(Debug, Clone)]
pub enum ObjectSource {
    /// Files under a directory, at any depth.
    Directory(PathBuf),
    /// Objects under the path of an S3 URL, written as for a destination.
    S3 { url: Url, endpoint_url: Option<Url>, client: Box<HttpClientConfig>, authorize: Option<Arc<dyn Authorize>> },
}

impl ObjectSource {
    /// Names the source in the progress file: no secret.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Directory(path) => path.display().to_string(),
            Self::S3 { url, .. } => net::masked(url),
        }
    }
}

/// Some keys, and how to get more.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) keys: Vec<String>,
    pub(super) next: Option<String>,
}

#[derive(Debug)]
pub(super) enum Objects {
    Directory(PathBuf),
    S3(Box<Bucket>),
}

/// Objects are at most as large as a body; snappy never grows much.
const OBJECT_LIMIT: u64 = 1 << 30;
const LIST_LIMIT: u64 = 16 << 20;
const SUFFIX: &str = ".snappy";
const TRIES: u32 = 10;
const TIMEOUT: Duration = Duration::from_secs(60);

impl Objects {
    pub(super) fn new(source: ObjectSource) -> Result<Self, ReplayError> {
        match source {
            ObjectSource::Directory(path) => Ok(Self::Directory(path)),
            ObjectSource::S3 { url, endpoint_url, client, authorize } => {
                let failed = |e: NetError| ReplayError::Source {
                    doing: "preparing to read the bucket".into(),
                    why: e.to_string(),
                };
                let client = Client::new(&client, ClientOptions::default()).map_err(failed)?;
                let (base, prefix) = base_and_prefix(&url, endpoint_url.as_ref());
                Ok(Self::S3(Box::new(Bucket { base, prefix, client, authorize })))
            }
        }
    }

    /// Keys after `after`, sorted; `token` is a former page's `next`.
    pub(super) async fn list(&self, after: Option<&str>, token: Option<String>) -> Result<Page, ReplayError> {
        match self {
            Self::Directory(path) => {
                let mut keys = Vec::new();
                off_reactor(true, || walk(path, path, &mut keys)).map_err(|e| ReplayError::Source {
                    doing: format!("listing {}", path.display()),
                    why: e.to_string(),
                })?;
                keys.retain(|key| after.is_none_or(|after| key.as_str() > after));
                keys.sort_unstable();
                Ok(Page { keys, next: None })
            }
            Self::S3(bucket) => bucket.list(after, token).await,
        }
    }

    pub(super) async fn read(&self, key: &str) -> Result<Bytes, ReplayError> {
        match self {
            Self::Directory(path) => {
                let file = path.join(key);
                off_reactor(true, || read_file(&file, OBJECT_LIMIT)).map(Bytes::from).map_err(|e| ReplayError::Source {
                    doing: format!("reading {}", file.display()),
                    why: e.to_string(),
                })
            }
            Self::S3(bucket) => bucket.read(key).await,
        }
    }
}

fn read_file(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(std::io::Error::other(format!("it has more than {limit} bytes, which no destination writes")));
    }
    Ok(bytes)
}

fn walk(root: &Path, directory: &Path, keys: &mut Vec<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        // Links are not followed: a loop of them would never end.
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(root, &path, keys)?;
        } else if kind.is_file()
            && let Some(key) = path.strip_prefix(root).ok().and_then(Path::to_str)
            && key.ends_with(SUFFIX)
        {
            keys.push(key.replace(std::path::MAIN_SEPARATOR, "/"));
        }
    }
    Ok(())
}

/// A bucket's address (without a slash at its end) and the prefix in it.
fn base_and_prefix(url: &Url, endpoint: Option<&Url>) -> (Url, String) {
    let address = bucket_address(url, endpoint);
    let mut base = address.clone();
    base.set_query(None);
    let path = address.path().trim_start_matches('/').to_owned();
    let in_host = endpoint.is_none() && bucket_in_host(url).is_some();
    let (root, prefix) = if in_host { ("", path.as_str()) } else { path.split_once('/').unwrap_or((&path, "")) };
    base.set_path(root);
    let mut prefix = prefix.trim_end_matches('/').to_owned();
    if !prefix.is_empty() {
        prefix.push('/');
    }
    (base, prefix)
}

#[derive(Debug)]
pub(super) struct Bucket {
    base: Url,
    prefix: String,
    client: Client,
    authorize: Option<Arc<dyn Authorize>>,
}

#[derive(Debug, Deserialize)]
struct ListBucketResult {
    #[serde(rename = "Contents", default)]
    contents: Vec<Contents>,
    #[serde(rename = "IsTruncated", default)]
    is_truncated: bool,
    #[serde(rename = "NextContinuationToken")]
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Contents {
    #[serde(rename = "Key")]
    key: String,
}

impl Bucket {
    async fn list(&self, after: Option<&str>, token: Option<String>) -> Result<Page, ReplayError> {
        let mut query = vec![("list-type", "2".to_owned()), ("prefix", self.prefix.clone())];
        match (token, after) {
            (Some(token), _) => query.push(("continuation-token", token)),
            (None, Some(after)) => query.push(("start-after", after.to_owned())),
            (None, None) => {}
        }
        let mut url = self.base.clone();
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", strict(value))).collect();
        url.set_query(Some(&query.join("&")));
        let doing = format!("listing objects under {}/{}", net::masked(&self.base).trim_end_matches('/'), self.prefix);
        let body = self.get(&url, LIST_LIMIT, &doing).await?;
        let unusable = |why: String| ReplayError::Source { doing: doing.clone(), why };
        let text = std::str::from_utf8(&body).map_err(|e| unusable(e.to_string()))?;
        let list: ListBucketResult =
            quick_xml::de::from_str(text).map_err(|e| unusable(format!("not a list of objects: {e}")))?;
        let next = list.next.filter(|_| list.is_truncated);
        if list.is_truncated && next.is_none() {
            return Err(unusable("the list is cut and says not how to go on".to_owned()));
        }
        let keys = list.contents.into_iter().map(|contents| contents.key).filter(|key| key.ends_with(SUFFIX)).collect();
        Ok(Page { keys, next })
    }

    async fn read(&self, key: &str) -> Result<Bytes, ReplayError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{key}", self.base.path().trim_end_matches('/')));
        self.get(&url, OBJECT_LIMIT, &format!("reading object {key}")).await
    }

    /// Reads are repeated a few times on load and on the way; everything else ends the replay.
    async fn get(&self, url: &Url, limit: u64, doing: &str) -> Result<Bytes, ReplayError> {
        let failed = |why: String| ReplayError::Source { doing: doing.to_owned(), why };
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        let mut signed_anew = false;
        loop {
            let why = match self.get_once(url, limit).await {
                Ok(reply) => {
                    if let Some(authorize) = &self.authorize {
                        match authorize.judge(&reply.answer()) {
                            IdentityVerdict::RetryNow { .. } if !signed_anew => {
                                signed_anew = true;
                                continue;
                            }
                            IdentityVerdict::RetryNow { why } | IdentityVerdict::Hold { why } => {
                                return Err(failed(why));
                            }
                            IdentityVerdict::Unrelated => {}
                        }
                    }
                    if reply.status.is_success() {
                        return Ok(reply.body);
                    }
                    let why = described(reply.status.as_str(), &reply.body);
                    if !(reply.status.is_server_error() || reply.status == StatusCode::TOO_MANY_REQUESTS) {
                        return Err(failed(why));
                    }
                    why
                }
                Err(why) => why,
            };
            if backoff.failures() >= TRIES {
                return Err(failed(why));
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    async fn get_once(&self, url: &Url, limit: u64) -> Result<Reply, String> {
        let mut request = Request::get(url.as_str()).body(Bytes::new()).map_err(|e| e.to_string())?;
        if let Some(authorize) = &self.authorize {
            self.client.prepare(&mut request).await.map_err(|e| e.to_string())?;
            authorize.authorize(&mut request).await.map_err(|e| e.to_string())?;
        }
        self.client.send(request, TIMEOUT, limit).await.map_err(|e| e.to_string())
    }
}

/// Percent-encodes all but RFC 3986's unreserved characters, so that signer and server read the query alike.
fn strict(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_and_prefix_are_found_in_every_style() {
        let case = |url: &str, endpoint: Option<&str>| {
            let endpoint = endpoint.map(|e| Url::parse(e).unwrap());
            let (base, prefix) = base_and_prefix(&Url::parse(url).unwrap(), endpoint.as_ref());
            (base.to_string(), prefix)
        };
        let both = |base: &str, prefix: &str| (base.to_owned(), prefix.to_owned());
        assert_eq!(
            case("https://b.s3.eu-west-1.amazonaws.com/p/q", None),
            both("https://b.s3.eu-west-1.amazonaws.com/", "p/q/")
        );
        assert_eq!(
            case("https://s3.eu-west-1.amazonaws.com/b/p/", None),
            both("https://s3.eu-west-1.amazonaws.com/b", "p/")
        );
        assert_eq!(
            case("https://b.s3.eu-west-1.amazonaws.com/p", Some("http://127.0.0.1:9")),
            both("http://127.0.0.1:9/b", "p/")
        );
        assert_eq!(case("http://127.0.0.1:9/b", None), both("http://127.0.0.1:9/b", ""));
    }

    #[test]
    fn a_file_is_not_read_past_what_an_object_can_be() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.snappy");
        std::fs::write(&path, b"12345").unwrap();
        assert_eq!(read_file(&path, 5).unwrap(), b"12345");
        assert!(read_file(&path, 4).is_err());
    }

    #[test]
    fn a_list_is_read_with_its_entities() {
        let text = "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"x\"><Name>b</Name><IsTruncated>true</IsTruncated>\
            <Contents><Key>a&amp;b.snappy</Key><Size>1</Size></Contents><Contents><Key>c</Key></Contents>\
            <NextContinuationToken>t</NextContinuationToken></ListBucketResult>";
        let list: ListBucketResult = quick_xml::de::from_str(text).unwrap();
        assert_eq!(list.contents[0].key, "a&b.snappy");
        assert!(list.is_truncated && list.next.as_deref() == Some("t"));
        let empty: ListBucketResult =
            quick_xml::de::from_str("<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>").unwrap();
        assert!(empty.contents.is_empty() && !empty.is_truncated);
    }

    #[test]
    fn queries_have_no_plus_and_no_bare_slash() {
        assert_eq!(strict("a b/c+d=~é"), "a%20b%2Fc%2Bd%3D~%C3%A9");
    }
}
