//! Makes a document fit: what is least missed goes first, and is counted.
//!
//! It keeps true: what comes out is at most as long as asked for, as long as that is [`LEAST`] or more; name, ids, times and
//! how the call ended never go.

use std::borrow::Cow;

use crate::{
    metadata::{Meta, Note},
    name::cut,
    place::Rendered,
    read::Value,
    segment::Segment,
    sheet::Sheet,
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
    /// With what another lost.
    pub(crate) fn and(&self, other: &Self) -> Self {
        Self {
            frames: self.frames + other.frames,
            exceptions: self.exceptions + other.exceptions,
            metadata: self.metadata + other.metadata,
            texts: self.texts + other.texts,
            links: self.links + other.links,
            annotations: self.annotations + other.annotations,
            blocks: self.blocks + other.blocks,
        }
    }

    /// Pieces of any kind.
    pub fn total(&self) -> usize {
        let Self { frames, exceptions, metadata, texts, links, annotations, blocks } = self;
        frames + exceptions + metadata + texts + links + annotations + blocks
    }
}

/// Writes the document at the end of `text`, and tells what went.
pub(crate) fn fit(segment: &mut Segment<'_>, of_resource: Option<&Rendered>, most: usize, text: &mut Vec<u8>) -> Shed {
    let mut sheet = Sheet::at_end_of(text);
    segment.write(of_resource, &mut sheet);
    let most = most.max(LEAST);
    if sheet.len() <= most { Shed::default() } else { shorten(segment, of_resource, most, &mut sheet) }
}

#[cold]
fn shorten(segment: &mut Segment<'_>, of_resource: Option<&Rendered>, most: usize, sheet: &mut Sheet<'_>) -> Shed {
    segment.metadata.gather();
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
            shed.metadata += segment.metadata.values();
            segment.metadata.clear();
            metadata(segment, over, shed);
        },
        |segment, _, shed| bare(segment, shed),
    ];
    for step in steps {
        if sheet.len() <= most {
            break;
        }
        step(segment, sheet.len() - most, &mut shed);
        sheet.clear();
        segment.write(of_resource, sheet);
    }
    shed
}

/// Bytes of a part of a document.
fn size(write: impl FnOnce(&mut Sheet<'_>)) -> usize {
    let mut text = Vec::new();
    let mut sheet = Sheet::at_end_of(&mut text);
    write(&mut sheet);
    sheet.len()
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

/// Bytes of a long text that stay.
const KEPT: usize = 256;

/// The largest values of metadata go until `over` bytes are saved; of long texts the beginning stays.
fn metadata(segment: &mut Segment<'_>, over: usize, shed: &mut Shed) {
    let mut sizes = Vec::new();
    for (namespace, values) in &segment.metadata.others {
        for (key, value) in values {
            sizes.push((size(|sheet| value.write(sheet)), namespace.clone().into_owned(), key.clone()));
        }
    }
    sizes.sort_by(|a, b| b.cmp(a));
    let mut saved = 0;
    for (size_before, namespace, key) in sizes {
        if saved >= over || size_before <= KEPT {
            break;
        }
        let Some(values) = segment.metadata.others.get_mut(namespace.as_str()) else { continue };
        let Ok(at) = values.binary_search_by(|(other, _)| other.cmp(&key)) else { continue };
        let value = values.get_mut(at).map(|(_, value)| value);
        match value {
            Some(value @ (Meta::Value(Value::Text(_)) | Meta::Text(_))) => {
                let text = match value {
                    Meta::Value(Value::Text(text)) => *text,
                    Meta::Text(text) => &**text,
                    _ => "",
                };
                let (text, size_after) = shortened(text, size_before, size_before.saturating_sub(over - saved));
                // Escapes may make a short text long.
                saved += size_before.saturating_sub(size_after);
                *value = Meta::Text(Cow::Owned(text));
            }
            _ => {
                saved += size_before;
                values.remove(at);
            }
        }
        shed.metadata += 1;
    }
}

/// The beginning of a text that has `size_before` bytes as JSON, so that it has about `wanted`, or as short as any becomes; and how
/// many it has then.
fn shortened(text: &str, mut size_before: usize, wanted: usize) -> (String, usize) {
    let mut most = text.len();
    loop {
        // As if each character took as many bytes as the others; at least a fiftieth less than the last time.
        let guess = u128::from(most as u64) * u128::from(wanted as u64) / u128::from(size_before.max(1) as u64);
        most = usize::try_from(guess).unwrap_or(most).saturating_sub(8).clamp(KEPT, (most - most / 50).max(KEPT));
        let short = beginning(text, most);
        let after = size(|sheet| sheet.text(&short));
        if after <= wanted || most <= KEPT {
            return (short, after);
        }
        size_before = after;
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
    for (_, note) in &mut segment.annotations {
        if let Note::Text(text) = note {
            shorten(text);
        }
    }
}

/// Links lose their attributes, and as many go as it takes to save `over` bytes, but for the first [`LINKS`].
fn as_many_links(segment: &mut Segment<'_>, over: usize, shed: &mut Shed) {
    let before: usize = segment.links.iter().map(|link| size(|sheet| link.write(sheet))).sum();
    links(segment, usize::MAX, shed);
    let mut saved = before.saturating_sub(segment.links.iter().map(|link| size(|sheet| link.write(sheet))).sum());
    while saved < over && segment.links.len() > LINKS {
        // And its comma.
        saved += segment.links.pop().map_or(0, |link| size(|sheet| link.write(sheet)) + 1);
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
    shed.annotations += segment.annotations.len().saturating_sub(most);
    segment.annotations.truncate(most);
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
