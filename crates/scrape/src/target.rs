//! What is scraped: a target, made from the labels that discovery found and the job's rules.
//!
//! Keeps true: the labels that reach samples hold no `__` name; two targets with the same identity are the same target.
//! Does not fetch and does not know the time.

use std::{collections::BTreeMap, time::Duration};

use discovery::TargetGroup;
use model::Labels;
use url::Url;
use xxhash_rust::xxh3::Xxh3;

use crate::{JobConfig, Scheme, address, duration, tick};

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const PATH: &str = "__metrics_path__";
const INTERVAL: &str = "__scrape_interval__";
const TIMEOUT: &str = "__scrape_timeout__";
const PARAM: &str = "__param_";
const META: &str = "__meta_";

/// A target to scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Labels as discovered, with the job's defaults: what relabelling began with.
    pub discovered: Labels,
    /// The labels its samples get.
    pub labels: Labels,
    pub url: Url,
    pub interval: Duration,
    pub timeout: Duration,
    pub identity: Identity,
    /// Stable over restarts: places it in the interval and orders its batches.
    pub hash: u64,
}

/// Hash of all labels after relabelling, except interval and timeout (which may change under a running target), and URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Identity(u128);

/// What became of one discovered target.
#[derive(Debug)]
pub(crate) enum Resolved {
    Kept(Target),
    /// Dropped by a rule; its labels as discovered.
    Dropped(Labels),
}

/// Why a discovered target cannot be scraped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No `__address__` is left after relabelling.
    #[error("it has no address after relabelling; set __address__")]
    NoAddress,
    /// The address is not `host` or `host:port`.
    #[error("{address:?} is not a valid host or host:port")]
    Address {
        /// After relabelling.
        address: String,
    },
    /// Only `http` and `https` can be scraped.
    #[error("scheme {scheme:?} cannot be scraped; __scheme__ must be http or https")]
    Scheme {
        /// After relabelling.
        scheme: String,
    },
    /// Interval or timeout is not a duration, or zero.
    #[error("{label} is {value:?}, which is not a duration above zero such as 15s")]
    Duration {
        /// The label that holds it.
        label: &'static str,
        /// Its value.
        value: String,
    },
    /// A scrape must end before the next.
    #[error("its scrape timeout {timeout} is greater than its scrape interval {interval}")]
    TimeoutAboveInterval {
        /// As written.
        timeout: String,
        /// As written.
        interval: String,
    },
}

/// The labels of one target of a group: its own over the group's.
pub(crate) fn merged(group: &TargetGroup, target: &Labels) -> Labels {
    let mut labels = group.labels.clone();
    for (name, value) in target.iter() {
        labels.set(name, value);
    }
    labels
}

/// Applies the job to the labels of a discovered target.
pub(crate) fn resolve(mut labels: Labels, job: &JobConfig) -> Result<Resolved, TargetError> {
    for (name, value) in [
        ("job", job.job_name.as_str()),
        (INTERVAL, &duration::format(job.interval)),
        (TIMEOUT, &duration::format(job.timeout)),
        (PATH, &job.metrics_path),
        (SCHEME, scheme_name(job.scheme)),
    ] {
        if labels.get(name).is_none() {
            labels.set(name, value);
        }
    }
    for (name, values) in &job.params {
        if let Some(first) = values.first() {
            labels.set(&format!("{PARAM}{name}"), first);
        }
    }
    let discovered = labels.clone();
    if !relabel::process(&mut labels, &job.relabel) {
        return Ok(Resolved::Dropped(discovered));
    }

    let mut address = labels.get(ADDRESS).ok_or(TargetError::NoAddress)?.to_owned();
    // An empty scheme means http; a job cannot be configured with one, but a rule can remove it.
    let scheme = labels.get(SCHEME).unwrap_or("http").to_owned();
    let default_port = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return Err(TargetError::Scheme { scheme }),
    };
    if address.contains(['/', '?', '#', '@', '\\']) {
        return Err(TargetError::Address { address });
    }
    if address::lacks_port(&address) {
        address = format!("{address}:{default_port}");
        labels.set(ADDRESS, &address);
    }
    let (interval, timeout) = times(&labels)?;
    labels.retain(|name, _| !name.starts_with(META));
    if labels.get("instance").is_none() {
        labels.set("instance", &address);
    }
    let url = url(&scheme, &address, &labels, job)?;
    let mut public = labels.clone();
    public.retain(|name, _| !name.starts_with("__"));
    let (identity, hash) = identify(&labels, &url);
    Ok(Resolved::Kept(Target { discovered, labels: public, url, interval, timeout, identity, hash }))
}

fn scheme_name(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    }
}

fn times(labels: &Labels) -> Result<(Duration, Duration), TargetError> {
    let read = |label: &'static str| {
        let value = labels.get(label).unwrap_or("");
        match duration::parse(value) {
            Some(d) if !d.is_zero() => Ok(d),
            _ => Err(TargetError::Duration { label, value: value.to_owned() }),
        }
    };
    let (interval, timeout) = (read(INTERVAL)?, read(TIMEOUT)?);
    if timeout > interval {
        let text = |d| duration::format(d);
        return Err(TargetError::TimeoutAboveInterval { timeout: text(timeout), interval: text(interval) });
    }
    Ok((interval, timeout))
}

fn url(scheme: &str, address: &str, labels: &Labels, job: &JobConfig) -> Result<Url, TargetError> {
    let refuse = || TargetError::Address { address: address.to_owned() };
    let mut url = Url::parse(&format!("{scheme}://{address}")).map_err(|_| refuse())?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(refuse());
    }
    url.set_path(labels.get(PATH).unwrap_or("/"));
    // The label of a parameter replaces its first value; the others stay.
    let mut params: BTreeMap<&str, Vec<&str>> =
        job.params.iter().map(|(k, v)| (k.as_str(), v.iter().map(String::as_str).collect())).collect();
    for (name, value) in labels.iter() {
        let Some(param) = name.strip_prefix(PARAM) else {
            continue;
        };
        let values = params.entry(param).or_default();
        match values.first_mut() {
            Some(first) => *first = value,
            None => values.push(value),
        }
    }
    let mut pairs = params.iter().flat_map(|(name, values)| values.iter().map(move |value| (*name, *value))).peekable();
    if pairs.peek().is_some() {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    Ok(url)
}

fn identify(labels: &Labels, url: &Url) -> (Identity, u64) {
    let lasting = || labels.iter().filter(|(name, _)| !matches!(*name, INTERVAL | TIMEOUT));
    let mut hasher = Xxh3::new();
    for (name, value) in lasting() {
        for part in [name, value] {
            hasher.update(part.as_bytes());
            hasher.update(b"\xff");
        }
    }
    hasher.update(url.as_str().as_bytes());
    let bytes = lasting().flat_map(|(n, v)| [n.as_bytes(), b"\xff", v.as_bytes(), b"\xff"]);
    (Identity(hasher.digest128()), tick::fnv64a(bytes.chain([url.as_str().as_bytes()])))
}

#[cfg(test)]
#[path = "target_test.rs"]
mod tests;
