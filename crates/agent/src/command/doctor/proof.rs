//! What an answer to a probe proves, for each kind of probe: yes, and how much of it.
//!
//! Pure. Keeps true: what a service may not have looked at is not claimed, and is named in `open`.

use remote_write::{LogPlace, ProbeKind};

use super::probe::Answered;

/// A yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// For people: what is right, and that nothing was stored.
    pub shows: &'static str,
    /// Actions that may still be missing.
    pub open: &'static [&'static str],
    /// Whether the places exist that lines will name is not known.
    pub names_open: bool,
    /// The next question is worth asking.
    pub goes_on: bool,
}

impl Proof {
    const fn of(shows: &'static str) -> Self {
        Self { shows, open: &[], names_open: false, goes_on: false }
    }

    const fn but_for(mut self, open: &'static [&'static str]) -> Self {
        self.open = open;
        self
    }

    const fn but_for_names(mut self) -> Self {
        self.names_open = true;
        self
    }

    const fn and_more(mut self) -> Self {
        self.goes_on = true;
        self
    }
}

/// The answer as a yes; `None`: it is none. `has_next`: another question follows and decides.
pub fn of(kind: &ProbeKind, has_next: bool, is_write: bool, answered: &Answered) -> Option<Proof> {
    let succeeded = answered.status.is_success() && !answered.is_page;
    let code = answered.error.as_ref().map_or("", |error| error.code.as_str());
    let is = |codes: &[&str]| codes.contains(&code);
    match kind {
        ProbeKind::Write | ProbeKind::Object if is_write => succeeded.then_some(STORED),
        ProbeKind::Write | ProbeKind::Object => {
            succeeded.then(|| Proof::of("address, identity and permission are right; nothing was stored"))
        }
        ProbeKind::Part => (succeeded || is(&["NoSuchUpload"])).then(|| {
            Proof::of(
                "S3 says this only to who may write here (s3:PutObject); nothing was stored; encryption keys and policies with \
                 conditions are shown by --write-probe alone",
            )
        }),
        ProbeKind::EmptyPush => (succeeded || is_only_empty(answered)).then(|| {
            Proof::of(
                "it knows who asks and would have read the lines: address, identity and tenant are right; nothing was stored; \
                 limits of the tenant show only with lines",
            )
        }),
        ProbeKind::EmptyExport => {
            // AWS does not say what it answers to an export of nothing; the other API is asked about the rest.
            let is_other = has_next && answered.status.as_u16() == 400 && is_of_the_request(code);
            let there = has_next && is(&["ResourceNotFoundException"]);
            let proof = Proof::of("address and identity are right: an export of nothing is taken; nothing was stored");
            (succeeded || is_other || there).then(|| proof.and_more())
        }
        ProbeKind::OldLine(place) if succeeded => {
            let _ = place;
            Some(Proof::of(
                "permission (logs:PutLogEvents), log group and log stream are right: CloudWatch looks at all of them before it \
                 drops a line of 1970 for its age; nothing was stored",
            ))
        }
        ProbeKind::OldLine(place) => missing(place, answered).filter(|_| is(&["ResourceNotFoundException"])),
        ProbeKind::Stream(_) => {
            let known = succeeded || is(&["ResourceNotFoundException", "ResourceAlreadyExistsException"]);
            known.then(|| {
                Proof::of(
                    "logs:PutLogEvents and logs:CreateLogStream are allowed; the log group is not there yet and is made with the \
                     first line, which shows logs:CreateLogGroup; nothing was stored",
                )
                .but_for(&["logs:CreateLogGroup"])
            })
        }
        ProbeKind::DryRun => is(&["DryRunOperationException"]).then(|| {
            Proof::of(
                "Kinesis says that it would have taken the record: address, identity, permission (kinesis:PutRecords) and stream \
                 are right; nothing was stored",
            )
        }),
        ProbeKind::EmptyBatch => is_of_the_request(code).then(|| {
            let proof = Proof::of(
                "address and identity are right; nothing was stored; permission and stream may not have been looked at, because \
                 there were no records",
            );
            let open: &[&str] = if has_next { &["firehose:PutRecordBatch"] } else { &["kinesis:PutRecords"] };
            Proof { open, ..proof.and_more() }
        }),
        ProbeKind::Describe if is(&["AccessDeniedException", "AccessDenied"]) => Some(
            Proof::of(
                "address and identity are right; nothing was stored; this identity may not look at the stream \
                 (firehose:DescribeDeliveryStream), which the agent does not need, so neither stream nor permission is shown",
            )
            .but_for(&["firehose:PutRecordBatch"]),
        ),
        ProbeKind::Describe => succeeded.then(|| {
            Proof::of("address, identity and stream are right; nothing was stored; the permission to write is not shown")
                .but_for(&["firehose:PutRecordBatch"])
        }),
        ProbeKind::Line(_) if succeeded => Some(STORED),
        ProbeKind::Line(place) => (place.creates && is(&["ResourceNotFoundException"])).then(|| {
            Proof::of("logs:PutLogEvents is allowed").but_for(&["logs:CreateLogGroup", "logs:CreateLogStream"]).and_more()
        }),
        ProbeKind::Make => (succeeded || is(&["ResourceAlreadyExistsException"])).then(|| {
            Proof::of("log group or stream are made").but_for(&["logs:PutLogEvents"]).and_more()
        }),
    }
}

const STORED: Proof = Proof::of("data is really accepted: this was stored");

/// CloudWatch speaks of what is not there only to who may write to it.
fn missing(place: &LogPlace, answered: &Answered) -> Option<Proof> {
    let stream = answered.error.as_ref().is_some_and(|error| error.message.contains("log stream"));
    match (stream, place) {
        (true, LogPlace { creates: true, .. }) => Some(
            Proof::of(
                "logs:PutLogEvents is allowed and the log group exists; the stream is made with the first line, which shows \
                 logs:CreateLogStream; nothing was stored",
            )
            .but_for(&["logs:CreateLogStream"]),
        ),
        (false, LogPlace { creates: true, .. }) => {
            Some(Proof::of("logs:PutLogEvents is allowed; nothing was stored").and_more())
        }
        (true, LogPlace { is_exact: false, .. }) | (false, LogPlace { group_is_exact: false, .. }) => Some(
            Proof::of(
            "logs:PutLogEvents is allowed; nothing was stored; the names of group and stream depend on labels of the lines, and \
             those that come must exist, since create is false",
            )
            .but_for_names(),
        ),
        _ => None,
    }
}

/// The service read the request and dislikes it; who asks was known by then.
fn is_of_the_request(code: &str) -> bool {
    ["ValidationException", "InvalidArgumentException", "InvalidParameterException", "SerializationException"]
        .contains(&code)
}

/// Loki's words (`pkg/validation` of grafana/loki), which come after authentication.
fn is_only_empty(answered: &Answered) -> bool {
    matches!(answered.status.as_u16(), 400 | 422)
        && answered.error.as_ref().is_some_and(|error| error.message.contains("at least one valid stream"))
}
