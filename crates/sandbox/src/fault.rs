//! Scripted trouble: what the next requests shall meet instead of, or on top of, the true answer.
//!
//! Keeps true: a fault is used by exactly as many requests as it says, and by none that it does not match.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Trouble for the next requests that match. All fields have defaults: `{}` is one request of any service, unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// Only requests of this service: `aps`, `s3`, `sts`, `prometheus`, `other`.
    pub service: Option<String>,
    /// Only requests to this resource: a workspace id, a bucket, a path.
    pub resource: Option<String>,
    /// Only requests that claim this key.
    pub access_key_id: Option<String>,
    /// How many requests (default 1); 0 means all until reset.
    pub times: u32,
    /// Before the service sees the request (the default) or after it did its work.
    pub stage: Stage,
    /// Wait so long first.
    pub delay_ms: u64,
    /// Shift the answer's `Date` header (and nothing else) by so much.
    pub date_shift_ms: i64,
    /// What to do then.
    pub outcome: Outcome,
}

impl Default for Fault {
    fn default() -> Self {
        Self {
            service: None,
            resource: None,
            access_key_id: None,
            times: 1,
            stage: Stage::Before,
            delay_ms: 0,
            date_shift_ms: 0,
            outcome: Outcome::Pass,
        }
    }
}

impl Fault {
    /// One request of `service` is answered with `status` instead of being served.
    pub fn answer(service: &str, status: u16) -> Self {
        Self {
            service: Some(service.to_owned()),
            outcome: Outcome::Answer {
                status,
                code: None,
                message: None,
                body: None,
                retry_after: None,
                headers: BTreeMap::new(),
            },
            ..Self::default()
        }
    }

    /// One request of `service` meets `outcome`.
    pub fn outcome(service: &str, outcome: Outcome) -> Self {
        Self { service: Some(service.to_owned()), outcome, ..Self::default() }
    }

    /// The same for so many requests; 0 means all until reset.
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// The same, but the service does its work first: what was sent is stored, the answer is lost or replaced.
    pub fn after_work(mut self) -> Self {
        self.stage = Stage::After;
        self
    }

    /// What makes an order unusable although it parses; completes "the order is not understood: ".
    pub(crate) fn problem(&self) -> Option<String> {
        let names = crate::service::ALL.map(|service| service.name());
        if let Some(service) = &self.service
            && !names.contains(&service.as_str())
        {
            return Some(format!("service `{}` is not one of {}", crate::refusal::shown(service), names.join(", ")));
        }
        match &self.outcome {
            Outcome::Answer { status, .. } if !(200..=599).contains(status) => {
                Some(format!("status {status} is not one from 200 to 599"))
            }
            Outcome::Partial(Partial { every: 0, .. }) => Some("every is 0; give 1 for all records".to_owned()),
            _ => None,
        }
    }

    fn matches(&self, service: &str, resource: &str, access_key_id: &str) -> bool {
        let fits = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        fits(&self.service, service) && fits(&self.resource, resource) && fits(&self.access_key_id, access_key_id)
    }
}

/// When a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Instead of the service's work; nothing is verified or stored (unless the outcome is `pass`).
    #[default]
    Before,
    /// After it: the request was verified and stored, then the answer is lost.
    After,
}

/// What a fault does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// Nothing more than the delay and the shifted date.
    #[default]
    Pass,
    /// Answer this.
    Answer {
        /// HTTP status, 200 to 599.
        status: u16,
        /// Error code (default: from the status).
        #[serde(default)]
        code: Option<String>,
        /// Error message, put into the service's own error body.
        #[serde(default)]
        message: Option<String>,
        /// A whole body instead of an error body.
        #[serde(default)]
        body: Option<String>,
        /// `Retry-After`: seconds or an HTTP date.
        #[serde(default)]
        retry_after: Option<String>,
        /// Further headers.
        #[serde(default)]
        headers: BTreeMap<String, String>,
    },
    /// Answer as the service does when it is sent too much: its own status, code and words.
    Throttle,
    /// Serve the request, but fail some of its records, as services do that take many at once (Firehose, Kinesis, X-Ray,
    /// OTLP).
    Partial(Partial),
    /// Say nothing until the client gives up (at most [`crate::Limits::hang`]).
    Hang,
    /// Close the connection without an answer.
    Close,
}

/// Which records of a request fail, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partial {
    /// Every so-manieth record, the first one included; 1: all of them.
    pub every: usize,
    /// The error code of each.
    #[serde(default = "unavailable")]
    pub code: String,
}

fn unavailable() -> String {
    "ServiceUnavailableException".to_owned()
}

impl Partial {
    /// Whether the record of this index (from 0) fails.
    pub(crate) fn strikes(&self, index: usize) -> bool {
        self.every > 0 && index.is_multiple_of(self.every)
    }
}

/// The faults that are waiting, first come first served.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    /// Most faults waiting at a time.
    const MOST: usize = 1000;

    /// False when too many wait already.
    pub(crate) fn add(&mut self, fault: Fault) -> bool {
        let is_room = self.0.len() < Self::MOST;
        if is_room {
            self.0.push(fault);
        }
        is_room
    }

    /// The first fault that matches, used up by one.
    pub(crate) fn take(&mut self, service: &str, resource: &str, access_key_id: &str) -> Option<Fault> {
        let at = self.0.iter().position(|fault| fault.matches(service, resource, access_key_id))?;
        let fault = self.0.get_mut(at)?;
        let taken = fault.clone();
        match fault.times {
            0 => {}
            1 => drop(self.0.remove(at)),
            _ => fault.times -= 1,
        }
        Some(taken)
    }

    pub(crate) fn waiting(&self) -> &[Fault] {
        &self.0
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_used_as_often_as_it_says() {
        let mut faults = Faults::default();
        assert!(faults.add(Fault::answer("aps", 500).times(2)));
        assert_eq!(faults.take("s3", "b", ""), None);
        assert!(faults.take("aps", "ws", "").is_some());
        assert!(faults.take("aps", "ws", "").is_some());
        assert_eq!(faults.take("aps", "ws", ""), None);
    }

    #[test]
    fn times_zero_lasts_until_reset() {
        let mut faults = Faults::default();
        faults.add(Fault::outcome("aps", Outcome::Close).times(0));
        for _ in 0..5 {
            assert!(faults.take("aps", "ws", "").is_some());
        }
        faults.clear();
        assert_eq!(faults.take("aps", "ws", ""), None);
    }

    #[test]
    fn json_needs_only_what_differs_from_the_defaults() {
        let fault: Fault =
            serde_json::from_str(r#"{"service":"aps","outcome":{"answer":{"status":429,"retry_after":"2"}}}"#).unwrap();
        assert_eq!(fault.times, 1);
        let hang: Fault = serde_json::from_str(r#"{"outcome":"hang","stage":"after"}"#).unwrap();
        assert_eq!((hang.outcome, hang.stage), (Outcome::Hang, Stage::After));
        assert!(serde_json::from_str::<Fault>(r#"{"sevice":"aps"}"#).is_err());
        let nested = r#"{"outcome":{"answer":{"status":429,"retryafter":"2"}}}"#;
        assert!(serde_json::from_str::<Fault>(nested).unwrap_err().to_string().contains("`retry_after`"));
    }
}
