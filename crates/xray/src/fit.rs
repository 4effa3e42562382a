//! Makes a document fit: what is least missed goes first, and is counted.
//!
//! It keeps true: what comes out is at most as long as asked for, as long as that is [`LEAST`] or more; name, ids, times and
//! how the call ended never go.

use std::borrow::Cow;

use proto::otlp_common::Value;
use serde::Serialize;

use crate::{
    name::cut,
    segment::{Meta, Note, Segment},
};

/// No limit is smaller: what never goes fits into it.
pub(crate) const LEAST: usize = 2048;

/// What a document had to lose to fit, in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shed {
    /// Frames of stacks.
    pub frames: usize,
    /// Exceptions.
    pub exceptions: usize,
    /// Values of metadata.
    pub metadata: usize,
    /// Texts that were cut: queries, addresses, messages, annotations.
    pub texts: usize,
    pub links: usize,
    pub annotations: usize,
    /// Whole blocks (`aws`, `http`, `sql`).
    pub blocks: usize,
}

impl Shed {
    /// Pieces of any kind.
    pub fn total(&self) -> usize {
        let Self { frames, exceptions, metadata, texts, links, annotations, blocks } = self;
        frames + exceptions + metadata + texts + links + annotations + blocks
    }
}

/// The document, and what went.
pub(crate) fn fit(mut segment: Segment<'_>, most: usize) -> (String, Shed) {
    let most = most.max(LEAST);
    let mut shed = Shed::default();
    let steps: [fn(&mut Segment<'_>, usize, &mut Shed); 8] = [
        |segment, _, shed| frames(segment, 32, shed),
        |segment, over, shed| metadata(segment, over, shed),
        |segment, _, shed| texts(segment, 2048, shed),
        |segment, _, shed| {
            frames(segment, 4, shed);
            exceptions(segment, 8, shed);
        },
        |segment, over, shed| as_many_links(segment, over, shed),
        |segment, _, shed| {
            annotations(segment, 50, shed);
            texts(segment, 256, shed);
        },
        |segment, over, shed| {
            shed.metadata += segment.metadata.values().map(std::collections::BTreeMap::len).sum::<usize>();
            segment.metadata.clear();
            metadata(segment, over, shed);
        },
        |segment, _, shed| bare(segment, shed),
    ];
    let mut text = json(&segment);
    for step in steps {
        if text.len() <= most {
            break;
        }
        step(&mut segment, text.len() - most, &mut shed);
        text = json(&segment);
    }
    (text, shed)
}

fn json(part: &impl Serialize) -> String {
    // As large as most documents are.
    let mut text = Vec::with_capacity(1024);
    // Writing to memory: only a map with keys that are no texts could fail, and there is none.
    let _ = serde_json::to_writer(&mut text, part);
    String::from_utf8(text).unwrap_or_default()
}

fn frames(segment: &mut Segment<'_>, most: usize, shed: &mut Shed) {
    for exception in segment.cause.iter_mut().flat_map(|cause| &mut cause.exceptions) {
        let over = exception.stack.len().saturating_sub(most);
        if over > 0 {
            exception.stack.truncate(most);
            exception.truncated = Some(exception.truncated.unwrap_or(0) + over);
            shed.frames += over;
        }
    }
}

fn exceptions(segment: &mut Segment<'_>, most: usize, shed: &mut Shed) {
    if let Some(cause) = &mut segment.cause {
        shed.exceptions += cause.exceptions.len().saturating_sub(most);
        cause.exceptions.truncate(most);
        let last = cause.exceptions.iter().map(|exception| exception.id).collect::<Vec<_>>();
        for exception in &mut cause.exceptions {
            // A cause that is not there any more.
            exception.cause = exception.cause.filter(|id| last.contains(id));
        }
    }
}

/// The largest values of metadata go until `over` bytes are saved; of long texts the beginning stays.
fn metadata(segment: &mut Segment<'_>, over: usize, shed: &mut Shed) {
    const KEPT: usize = 256;
    let mut sizes = Vec::new();
    for (namespace, values) in &segment.metadata {
        for (key, value) in values {
            sizes.push((json(value).len(), namespace.clone().into_owned(), key.clone().into_owned()));
        }
    }
    sizes.sort_by(|a, b| b.cmp(a));
    let mut saved = 0;
    for (size, namespace, key) in sizes {
        if saved >= over || size <= KEPT {
            break;
        }
        let Some(values) = segment.metadata.get_mut(namespace.as_str()) else { continue };
        let beginning = match values.get(key.as_str()) {
            Some(Meta::Value(Value::String(text))) => Some(beginning(text, KEPT)),
            Some(Meta::Text(text)) => Some(beginning(text, KEPT)),
            _ => None,
        };
        match beginning {
            Some(text) => {
                // Escapes may make a short text long.
                saved += size.saturating_sub(json(&text).len());
                values.insert(Cow::Owned(key), Meta::Text(Cow::Owned(text)));
            }
            None => {
                saved += size;
                values.remove(key.as_str());
            }
        }
        shed.metadata += 1;
    }
}

fn beginning(text: &str, most: usize) -> String {
    let start = text.get(..text.floor_char_boundary(most)).unwrap_or_default();
    if start.len() < text.len() { format!("{start}...") } else { start.to_owned() }
}

fn texts(segment: &mut Segment<'_>, most: usize, shed: &mut Shed) {
    let mut shorten = |text: &mut Cow<'_, str>| {
        if text.len() > most {
            let whole = std::mem::take(text);
            *text = cut(whole, most);
            shed.texts += 1;
        }
    };
    if let Some(sql) = &mut segment.sql {
        sql.sanitized_query.iter_mut().for_each(&mut shorten);
        sql.user.iter_mut().for_each(&mut shorten);
        shorten(&mut sql.url);
        shorten(&mut sql.connection_string);
    }
    if let Some(http) = &mut segment.http {
        let request = &mut http.request;
        [&mut request.url, &mut request.user_agent, &mut request.method, &mut request.client_ip]
            .into_iter()
            .flatten()
            .for_each(&mut shorten);
    }
    if let Some(aws) = &mut segment.aws {
        [&mut aws.account_id, &mut aws.operation, &mut aws.region, &mut aws.request_id, &mut aws.queue_url]
            .into_iter()
            .chain([&mut aws.table_name])
            .flatten()
            .for_each(&mut shorten);
    }
    for exception in segment.cause.iter_mut().flat_map(|cause| &mut cause.exceptions) {
        shorten(&mut exception.message);
        shorten(&mut exception.kind);
        for frame in &mut exception.stack {
            shorten(&mut frame.path);
            shorten(&mut frame.label);
        }
    }
    segment.user.iter_mut().for_each(&mut shorten);
    for note in segment.annotations.values_mut() {
        if let Note::Text(text) = note {
            shorten(text);
        }
    }
}

/// Links lose their attributes, and as many go as it takes to save `over` bytes, but for the first [`LINKS`].
fn as_many_links(segment: &mut Segment<'_>, over: usize, shed: &mut Shed) {
    let before: usize = segment.links.iter().map(|link| json(link).len()).sum();
    links(segment, usize::MAX, shed);
    let mut saved = before.saturating_sub(segment.links.iter().map(|link| json(link).len()).sum());
    while saved < over && segment.links.len() > LINKS {
        // And its comma.
        saved += segment.links.pop().map_or(0, |link| json(&link).len() + 1);
        shed.links += 1;
    }
}

/// Links that stay as long as anything else can go.
const LINKS: usize = 20;

fn links(segment: &mut Segment<'_>, most: usize, shed: &mut Shed) {
    shed.links += segment.links.len().saturating_sub(most);
    segment.links.truncate(most);
    for link in &mut segment.links {
        shed.metadata += link.attributes.len();
        link.attributes.clear();
    }
}

fn annotations(segment: &mut Segment<'_>, most: usize, shed: &mut Shed) {
    while segment.annotations.len() > most {
        segment.annotations.pop_last();
        shed.annotations += 1;
    }
}

/// Only what X-Ray needs to draw the map.
fn bare(segment: &mut Segment<'_>, shed: &mut Shed) {
    links(segment, 0, shed);
    annotations(segment, 0, shed);
    exceptions(segment, 0, shed);
    segment.cause = None;
    let service = segment.service.take().is_some();
    let user = segment.user.take().is_some();
    let (aws, http, sql) = (segment.aws.take().is_some(), segment.http.take().is_some(), segment.sql.take().is_some());
    shed.blocks += [aws, http, sql, service, user].into_iter().map(usize::from).sum::<usize>();
}
