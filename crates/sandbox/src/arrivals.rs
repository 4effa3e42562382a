//! Who sent what and what became of it: destinations, verified and refused requests, and the state the page shows.
//!
//! Keeps true: everything here is bounded, whatever callers send; a request is counted exactly once.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use crate::{
    fault::Fault,
    objects::ObjectState,
    rate::Rate,
    records::RecordState,
    refusal::{Refusal, shown},
    series::{SampleTotals, SeriesState},
};

const MOST_DESTINATIONS: usize = 256;
const MOST_PRINCIPALS: usize = 1000;
const MOST_REFUSAL_COUNTS: usize = 256;
const RECENT_REFUSALS: usize = 50;

/// Everything the sandbox knows, at one moment. The body of `GET /_sandbox/state`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct State {
    /// The sandbox's clock, milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// Its shift.
    pub skew_ms: i64,
    /// When it started.
    pub started_ms: i64,
    /// Requests whose signature was verified.
    pub verified: u64,
    /// Requests served without signature (plain Prometheus).
    pub unsigned: u64,
    /// Requests refused for their signature or permission.
    pub refused: u64,
    /// Requests that met a scripted fault.
    pub faulted: u64,
    /// Requests the sandbox does not understand, or whose body was too large or too slow.
    pub unserved: u64,
    /// Who sends where.
    pub destinations: Vec<DestinationState>,
    /// Destinations beyond the number shown.
    pub destinations_not_kept: u64,
    /// Who was verified, and what each delivered, whatever keys it used.
    pub principals: Vec<PrincipalState>,
    /// Refusals by key id, service and reason.
    pub refusals: Vec<RefusalCount>,
    /// The last refusals, newest first.
    pub recent_refusals: Vec<RefusalState>,
    /// Sums over all samples.
    pub samples: SampleTotals,
    /// Samples per second over the last minute.
    pub samples_per_second: f64,
    /// The same over five minutes, in 60 steps, oldest first.
    pub history: Vec<f64>,
    /// The series that arrived last.
    pub series: Vec<SeriesState>,
    /// The objects stored last.
    pub objects: Vec<ObjectState>,
    /// All objects.
    pub objects_total: usize,
    /// Their bytes.
    pub object_bytes: u64,
    /// Log lines, spans and other records, by destination and caller.
    pub records: Vec<RecordState>,
    /// All records stored.
    pub records_total: u64,
    /// Records that were to be kept (see `record`) and were not, for want of room.
    pub records_not_kept: u64,
    /// The keys that exist.
    pub identities: Vec<IdentityState>,
    /// Scripted faults still waiting.
    pub faults: Vec<Fault>,
    /// What the CONNECT proxy was asked for: host and port, and how often.
    pub tunnels: BTreeMap<String, u64>,
}

/// One (service, host, resource, region, key) that sends.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DestinationState {
    /// `aps`, `s3`, `sts`, `prometheus`, or the name in the credential of a service that is not played.
    pub service: String,
    /// `Host` as sent.
    pub host: String,
    /// Workspace, bucket or path.
    pub resource: String,
    /// Signing region; empty when unsigned.
    pub region: String,
    /// Key id; empty when unsigned.
    pub access_key_id: String,
    /// The verified caller; empty when never verified.
    pub caller_arn: String,
    /// The scheme of an `Authorization` header that is not SigV4's, such as `Basic`.
    pub authorization_scheme: String,
    /// Requests answered with success.
    pub accepted: u64,
    /// Requests refused for signature or permission.
    pub refused: u64,
    /// Requests that failed otherwise: bad bodies, scripted faults.
    pub failed: u64,
    /// Samples stored.
    pub samples: u64,
    /// Samples per second over the last minute.
    pub samples_per_second: f64,
    /// Body bytes of accepted requests, as on the wire.
    pub bytes: u64,
    /// The last request of any kind, milliseconds since the Unix epoch.
    pub last_seen_ms: i64,
    /// The last one accepted; 0 = none.
    pub last_accepted_ms: i64,
    /// Why the last one that was not accepted was not.
    pub last_problem: Option<String>,
    /// The last `User-Agent`.
    pub user_agent: String,
}

/// One verified caller, over all its keys, sessions of one name included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PrincipalState {
    /// The caller's ARN.
    pub arn: String,
    /// The key it used last.
    pub access_key_id: String,
    /// How often it came with another key than the time before, the first time included.
    pub keys: u64,
    /// Requests answered with success, by service.
    pub accepted: BTreeMap<String, u64>,
    /// Requests that were verified and failed otherwise.
    pub failed: u64,
    /// Samples stored.
    pub samples: u64,
    /// Body bytes of accepted requests, as on the wire.
    pub bytes: u64,
    /// The last verified request, milliseconds since the Unix epoch.
    pub last_seen_ms: i64,
}

/// How often one key was refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusalCount {
    /// The key id claimed; empty when there was none to read.
    pub access_key_id: String,
    /// The service addressed.
    pub service: String,
    /// [`Refusal::name`].
    pub name: String,
    /// How often.
    pub count: u64,
}

/// One refused request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusalState {
    /// When, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The service addressed.
    pub service: String,
    /// `Host` as sent.
    pub host: String,
    /// The path.
    pub path: String,
    /// The key id claimed; empty when there was none to read.
    pub access_key_id: String,
    /// [`Refusal::name`].
    pub name: String,
    /// What failed.
    pub reason: String,
    /// What to do.
    pub advice: String,
    /// For a signature that did not match: what it should have covered.
    pub canonical_request: Option<String>,
}

/// A key that exists, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IdentityState {
    /// Key id.
    pub access_key_id: String,
    /// Caller ARN.
    pub arn: String,
    /// Whether requests must carry a session token.
    pub is_temporary: bool,
    /// When it ends, milliseconds since the Unix epoch.
    pub expires_ms: Option<i64>,
    /// Allowed actions; of a session its role's count instead.
    pub allow: Vec<String>,
    /// Whether the key is active and within its dates (expiry aside).
    pub is_valid: bool,
    /// A session's tags.
    pub tags: BTreeMap<String, String>,
}

/// Which row of the destinations a request belongs to. All parts are cut to a printable 128 characters.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sender {
    pub(crate) service: String,
    pub(crate) host: String,
    pub(crate) resource: String,
    pub(crate) region: String,
    pub(crate) access_key_id: String,
}

impl Sender {
    pub(crate) fn cut(self) -> Self {
        Self {
            service: shown(&self.service),
            host: shown(&self.host),
            resource: shown(&self.resource),
            region: shown(&self.region),
            access_key_id: shown(&self.access_key_id),
        }
    }
}

/// How a request ended.
#[derive(Debug)]
pub(crate) enum End {
    Accepted {
        caller_arn: Option<String>,
        samples: u64,
        bytes: u64,
    },
    /// Verified (or unsigned), then failed, perhaps after storing some samples.
    Failed {
        caller_arn: Option<String>,
        problem: String,
        samples: u64,
    },
    Refused {
        refusal: Refusal,
        path: String,
    },
    Faulted {
        problem: String,
    },
    Unserved {
        problem: String,
    },
}

#[derive(Debug)]
struct Row {
    state: DestinationState,
    rate: Rate,
}

/// The books.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    pub(crate) verified: u64,
    pub(crate) unsigned: u64,
    pub(crate) refused: u64,
    pub(crate) faulted: u64,
    pub(crate) unserved: u64,
    pub(crate) destinations_not_kept: u64,
    destinations: BTreeMap<Sender, Row>,
    principals: BTreeMap<String, PrincipalState>,
    refusals: BTreeMap<(String, String, &'static str), u64>,
    recent: VecDeque<RefusalState>,
    tunnels: BTreeMap<String, u64>,
}

impl Arrivals {
    /// Enters one request. `sender` is already cut.
    pub(crate) fn enter(&mut self, sender: &Sender, about: About, now_ms: i64, end: End) {
        self.enter_principal(sender, now_ms, &end);
        let row = self.row(sender);
        if let Some(row) = row {
            let state = &mut row.state;
            state.last_seen_ms = now_ms;
            state.user_agent = about.user_agent;
            state.authorization_scheme = about.authorization_scheme;
            match &end {
                End::Accepted { caller_arn, samples, bytes } => {
                    state.accepted += 1;
                    state.samples += samples;
                    state.bytes += bytes;
                    state.last_accepted_ms = now_ms;
                    if let Some(arn) = caller_arn {
                        state.caller_arn.clone_from(arn);
                    }
                    row.rate.add(now_ms, *samples);
                }
                End::Failed { problem, samples, .. } => {
                    state.failed += 1;
                    state.samples += samples;
                    state.last_problem = Some(problem.clone());
                    row.rate.add(now_ms, *samples);
                }
                End::Faulted { problem } | End::Unserved { problem } => {
                    state.failed += 1;
                    state.last_problem = Some(problem.clone());
                }
                End::Refused { refusal, .. } => {
                    state.refused += 1;
                    state.last_problem = Some(refusal.reason());
                }
            }
        }
        match end {
            End::Accepted { caller_arn: Some(_), .. } | End::Failed { caller_arn: Some(_), .. } => self.verified += 1,
            End::Accepted { .. } | End::Failed { .. } => self.unsigned += 1,
            End::Faulted { .. } => self.faulted += 1,
            End::Unserved { .. } => self.unserved += 1,
            End::Refused { refusal, path } => self.refuse(sender, &refusal, &path, now_ms),
        }
    }

    /// Makes room by forgetting the key of a session that was seen longest ago: sessions come and go, and what they
    /// delivered is kept by principal. `None`: there is no such row.
    fn forget_a_session(&mut self) -> Option<()> {
        let sessions = self.destinations.iter().filter(|(sender, _)| sender.access_key_id.starts_with("ASIA"));
        let (oldest, _) = sessions.min_by_key(|(_, row)| row.state.last_seen_ms)?;
        let oldest = oldest.clone();
        self.destinations.remove(&oldest).map(drop)
    }

    fn enter_principal(&mut self, sender: &Sender, now_ms: i64, end: &End) {
        let (End::Accepted { caller_arn: Some(arn), .. } | End::Failed { caller_arn: Some(arn), .. }) = end else {
            return;
        };
        if !self.principals.contains_key(arn) && self.principals.len() >= MOST_PRINCIPALS {
            return;
        }
        let state = self.principals.entry(arn.clone()).or_default();
        state.arn.clone_from(arn);
        state.last_seen_ms = now_ms;
        if state.access_key_id != sender.access_key_id {
            state.access_key_id.clone_from(&sender.access_key_id);
            state.keys += 1;
        }
        match end {
            End::Accepted { samples, bytes, .. } => {
                *state.accepted.entry(sender.service.clone()).or_default() += 1;
                state.samples += samples;
                state.bytes += bytes;
            }
            End::Failed { samples, .. } => {
                state.failed += 1;
                state.samples += samples;
            }
            _ => {}
        }
    }

    fn row(&mut self, sender: &Sender) -> Option<&mut Row> {
        if !self.destinations.contains_key(sender) && self.destinations.len() >= MOST_DESTINATIONS {
            self.destinations_not_kept += 1;
            self.forget_a_session()?;
        }
        Some(self.destinations.entry(sender.clone()).or_insert_with(|| Row {
            state: DestinationState {
                service: sender.service.clone(),
                host: sender.host.clone(),
                resource: sender.resource.clone(),
                region: sender.region.clone(),
                access_key_id: sender.access_key_id.clone(),
                caller_arn: String::new(),
                authorization_scheme: String::new(),
                accepted: 0,
                refused: 0,
                failed: 0,
                samples: 0,
                samples_per_second: 0.0,
                bytes: 0,
                last_seen_ms: 0,
                last_accepted_ms: 0,
                last_problem: None,
                user_agent: String::new(),
            },
            rate: Rate::new(),
        }))
    }

    fn refuse(&mut self, sender: &Sender, refusal: &Refusal, path: &str, now_ms: i64) {
        self.refused += 1;
        let key = (sender.access_key_id.clone(), sender.service.clone(), refusal.name());
        if self.refusals.len() < MOST_REFUSAL_COUNTS || self.refusals.contains_key(&key) {
            *self.refusals.entry(key).or_default() += 1;
        }
        self.recent.truncate(RECENT_REFUSALS - 1);
        self.recent.push_front(RefusalState {
            at_ms: now_ms,
            service: sender.service.clone(),
            host: sender.host.clone(),
            path: shown(path),
            access_key_id: sender.access_key_id.clone(),
            name: refusal.name().to_owned(),
            reason: refusal.reason(),
            advice: refusal.advice().to_owned(),
            canonical_request: match refusal {
                // Paths and headers are bounded by the server; this bounds what fifty of them keep.
                Refusal::Signature(mismatch) => Some(mismatch.canonical_request.chars().take(8192).collect()),
                _ => None,
            },
        });
    }

    pub(crate) fn tunnel(&mut self, authority: &str) {
        let name = shown(authority);
        if self.tunnels.len() < MOST_DESTINATIONS || self.tunnels.contains_key(&name) {
            *self.tunnels.entry(name).or_default() += 1;
        }
    }

    pub(crate) fn tunnels(&self) -> &BTreeMap<String, u64> {
        &self.tunnels
    }

    pub(crate) fn destinations(&self, now_ms: i64) -> Vec<DestinationState> {
        self.destinations
            .values()
            .map(|row| DestinationState { samples_per_second: row.rate.per_second(now_ms, 60), ..row.state.clone() })
            .collect()
    }

    pub(crate) fn principals(&self) -> Vec<PrincipalState> {
        self.principals.values().cloned().collect()
    }

    pub(crate) fn refusals(&self) -> Vec<RefusalCount> {
        self.refusals
            .iter()
            .map(|((access_key_id, service, name), count)| RefusalCount {
                access_key_id: access_key_id.clone(),
                service: service.clone(),
                name: (*name).to_owned(),
                count: *count,
            })
            .collect()
    }

    pub(crate) fn recent_refusals(&self) -> Vec<RefusalState> {
        self.recent.iter().cloned().collect()
    }
}

/// What else is kept of a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct About {
    pub(crate) user_agent: String,
    pub(crate) authorization_scheme: String,
}

impl About {
    pub(crate) fn of(headers: &http::HeaderMap) -> Self {
        let text = |name: http::HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let scheme = text(http::header::AUTHORIZATION).split(' ').next().unwrap_or_default();
        Self {
            user_agent: shown(text(http::header::USER_AGENT)),
            authorization_scheme: if scheme.starts_with("AWS4-") { String::new() } else { shown(scheme) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_cannot_make_the_books_grow() {
        let mut arrivals = Arrivals::default();
        for number in 0..2000 {
            let access_key_id = format!("AK{number}");
            let sender = Sender { access_key_id: access_key_id.clone(), ..Sender::default() };
            let refusal = Refusal::UnknownKey { access_key_id };
            arrivals.enter(&sender, About::default(), 1, End::Refused { refusal, path: "/".to_owned() });
            arrivals.tunnel(&format!("h{number}:443"));
        }
        assert_eq!(arrivals.refused, 2000);
        assert_eq!(arrivals.destinations(1).len(), MOST_DESTINATIONS);
        assert_eq!(arrivals.destinations_not_kept as usize, 2000 - MOST_DESTINATIONS);
        assert_eq!(arrivals.refusals().len(), MOST_REFUSAL_COUNTS);
        assert_eq!(arrivals.recent_refusals().len(), RECENT_REFUSALS);
        assert_eq!(arrivals.tunnels().len(), MOST_DESTINATIONS);
    }

    #[test]
    fn keys_that_rotate_for_ever_are_one_principal_and_never_crowd_out_the_present_one() {
        let mut arrivals = Arrivals::default();
        let sender = |number: u64| Sender { access_key_id: format!("ASIA{number}"), ..Sender::default() };
        for number in 0..2000 {
            let end = End::Accepted { caller_arn: Some("arn".to_owned()), samples: 2, bytes: 3 };
            arrivals.enter(&sender(number), About::default(), number as i64, end);
        }
        let rows = arrivals.destinations(2000);
        assert_eq!(rows.len(), MOST_DESTINATIONS);
        assert!(rows.iter().any(|row| row.access_key_id == "ASIA1999"));
        let principals = arrivals.principals();
        assert_eq!((principals.len(), principals[0].keys, principals[0].samples), (1, 2000, 4000));
        assert_eq!((principals[0].accepted[""], principals[0].bytes), (2000, 6000));
    }

    #[test]
    fn a_scheme_is_kept_but_never_what_follows_it() {
        let mut headers = http::HeaderMap::new();
        headers.insert("authorization", "Basic aHVzaDpodXNo".parse().unwrap());
        assert_eq!(About::of(&headers).authorization_scheme, "Basic");
    }
}
