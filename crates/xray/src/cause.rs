//! The `cause` block: exceptions from a span's events, or its status' words.

use std::borrow::Cow;

use proto::otlp_traces::SpanKind;

use crate::{
    attributes::{Attributes, shown},
    id::Id,
    known::key,
    name::is_aws_api,
    place::Place,
    read::{Event, Span},
    segment::{Cause, Exception},
    stack,
};

/// Exceptions in a document at most; the first ones.
const MOST: usize = 64;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ending {
    pub(crate) error: bool,
    pub(crate) throttle: bool,
    pub(crate) fault: bool,
}

/// By the HTTP status, else by the span's.
pub(crate) fn ending(span: &Span<'_>, http_status: Option<i64>) -> Ending {
    match http_status {
        Some(status @ 400..=499) => Ending { error: true, throttle: status == 429, fault: false },
        Some(500..=599) => Ending { fault: true, ..Ending::default() },
        _ => Ending { fault: span.status.failed, ..Ending::default() },
    }
}

/// A block and stacks that could not be taken apart.
#[derive(Default)]
pub(crate) struct Found<'a> {
    pub(crate) cause: Option<Cause<'a>>,
    pub(crate) unread_stack: Option<&'a str>,
    /// Exceptions beyond [`MOST`].
    pub(crate) left_out: usize,
}

/// The block; `http.status_text` is taken where it has to do for a message.
pub(crate) fn cause<'a>(
    span: &Span<'a>,
    attributes: &mut Attributes<'a>,
    of_event: &mut Attributes<'a>,
    place: &Place<'a>,
) -> Found<'a> {
    if span.events.is_empty() && !span.status.failed {
        return Found::default();
    }
    let to_aws = is_aws_api(attributes);
    let mut ids = Ids { span, made: 1 };
    let mut found = Found::default();
    let mut exceptions = Vec::new();
    let mut events = 0;
    for event in &span.events {
        let is_exception = event.name == "exception";
        let is_attempt = to_aws && event.name == "HTTP request failure";
        if !is_exception && !is_attempt {
            continue;
        }
        events += 1;
        if exceptions.len() >= MOST {
            found.left_out += 1;
            continue;
        }
        of_event.fill(span.of_event(event));
        if is_exception {
            let raised = raised(of_event, span, place, &mut ids);
            found.unread_stack = found.unread_stack.or(raised.unread_stack);
            exceptions.extend(raised.exceptions);
        } else {
            exceptions.extend(attempt(event, of_event, &mut ids));
        }
    }
    if events == 0 && span.status.failed {
        // Without exceptions the status' words are the cause.
        let said = Some(span.status.message).filter(|message| !message.is_empty());
        let text = attributes.take_text(key!("http.status_text"));
        if let Some(message) = said.or(text) {
            exceptions.push(exception(ids.next(), Cow::Borrowed(""), Cow::Borrowed(message), false));
        }
    }
    found.cause = (!exceptions.is_empty()).then_some(Cause { exceptions });
    found
}

/// Gives ids to exceptions. 0 is a service segment's.
struct Ids<'s, 'a> {
    span: &'s Span<'a>,
    made: u64,
}

impl Ids<'_, '_> {
    fn next(&mut self) -> Id {
        self.made += 1;
        Id::made(self.span.trace_id, self.span.span_id, self.made)
    }
}

fn exception<'a>(id: Id, kind: Cow<'a, str>, message: Cow<'a, str>, remote: bool) -> Exception<'a> {
    Exception { id, kind, message, remote, truncated: None, cause: None, stack: Vec::new() }
}

struct Raised<'a> {
    exceptions: Vec<Exception<'a>>,
    unread_stack: Option<&'a str>,
}

/// An exception and those that led to it, which its stack's text tells of.
fn raised<'a>(attributes: &Attributes<'a>, span: &Span<'a>, place: &Place<'a>, ids: &mut Ids<'_, '_>) -> Raised<'a> {
    let text = |key| attributes.text(key).unwrap_or_default();
    let remote = matches!(span.kind(), SpanKind::Client | SpanKind::Producer);
    let first = exception(
        ids.next(),
        Cow::Borrowed(text(key!("exception.type"))),
        Cow::Borrowed(text(key!("exception.message"))),
        remote,
    );
    let mut exceptions = vec![first];
    let trace = text(key!("exception.stacktrace"));
    if trace.is_empty() {
        return Raised { exceptions, unread_stack: None };
    }
    let Some(read) = stack::read(place.language, trace) else {
        return Raised { exceptions, unread_stack: Some(trace) };
    };
    if let Some(first) = exceptions.first_mut() {
        first.stack = read.frames;
        first.truncated = (read.truncated > 0).then_some(read.truncated);
    }
    for cause in read.causes {
        let id = ids.next();
        if let Some(before) = exceptions.last_mut() {
            before.cause = Some(id);
        }
        let mut next = exception(id, cause.kind, cause.message, remote);
        next.stack = cause.frames;
        next.truncated = (cause.truncated > 0).then_some(cause.truncated);
        exceptions.push(next);
    }
    Raised { exceptions, unread_stack: None }
}

/// One attempt of the AWS SDK that failed: `status@time@message`.
fn attempt<'a>(event: &Event<'a>, attributes: &Attributes<'a>, ids: &mut Ids<'_, '_>) -> Option<Exception<'a>> {
    let status = shown(attributes.get(key!("http.response.status_code"))?)?;
    let message = attributes.text(key!("aws.http.error_message"))?;
    let micros = event.time_unix_nano / 1000;
    let message = format!("{status}@{}.{:06}@{message}", micros / 1_000_000, micros % 1_000_000);
    Some(exception(ids.next(), Cow::Borrowed("aws.http.error.event"), Cow::Owned(message), true))
}
