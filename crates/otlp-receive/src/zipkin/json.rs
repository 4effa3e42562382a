//! Lists of spans in JSON, one span at a time.
//!
//! Keeps true: one span is in memory as a tree, and that has at most [`MOST_PARTS`] parts.

use std::{fmt, marker::PhantomData};

use proto::otlp_traces::SpanKind;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor},
};

use super::{
    span::{Endpoint, ZipkinSpan, kind, span_id, trace_id},
    translate,
};
use crate::{
    refusal::Refusal,
    sheaf::{MOST_PARTS, Sheaf},
};

/// Version 2.
pub(crate) fn read_v2(json: &[u8], parse: bool, sheaf: &mut Sheaf<'_>) -> Result<(), Refusal> {
    each(json, |span: V2| translate::add(span.into_span().map_err(malformed)?, parse, sheaf))
}

/// Version 1, and what clients of version 2 post to the path of version 1: each span tells by its fields what it is.
pub(crate) fn read_v1(json: &[u8], parse: bool, sheaf: &mut Sheaf<'_>) -> Result<(), Refusal> {
    each(json, |span: Either| translate::add(span.into_span().map_err(malformed)?, parse, sheaf))
}

fn malformed(why: &str) -> Refusal {
    Refusal::Malformed(format!("reading Zipkin spans: {why}"))
}

/// Gives the elements of a list to `take` as they are read.
fn each<T: DeserializeOwned>(json: &[u8], take: impl FnMut(T) -> Result<(), Refusal>) -> Result<(), Refusal> {
    struct Each<'r, T, F> {
        take: F,
        refused: &'r mut Option<Refusal>,
        of: PhantomData<T>,
    }
    impl<'de, T: DeserializeOwned, F: FnMut(T) -> Result<(), Refusal>> Visitor<'de> for Each<'_, T, F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of spans")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
            while let Some(span) = list.next_element()? {
                if let Err(refusal) = (self.take)(span) {
                    *self.refused = Some(refusal);
                    return Err(A::Error::custom("refused"));
                }
            }
            Ok(())
        }
    }
    let mut refused = None;
    let mut reader = serde_json::Deserializer::from_slice(json);
    let each = Each { take, refused: &mut refused, of: PhantomData };
    let read = (&mut reader).deserialize_seq(each).and_then(|()| reader.end());
    read.map_err(|error| {
        refused.unwrap_or_else(|| {
            let why: String = error.to_string().chars().take(200).collect();
            malformed(&why)
        })
    })
}

/// Fields of both versions. What only version 2 has says that a span is one of those.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Either {
    trace_id: String,
    id: String,
    parent_id: Option<String>,
    kind: Option<String>,
    name: Option<String>,
    timestamp: Option<Micros>,
    duration: Option<Micros>,
    local_endpoint: Option<End>,
    remote_endpoint: Option<End>,
    annotations: Option<Bounded<Annotation>>,
    binary_annotations: Option<Bounded<BinaryAnnotation>>,
    tags: Option<Tags>,
    debug: Option<bool>,
    shared: Option<bool>,
}

impl Either {
    fn into_span(self) -> Result<ZipkinSpan, &'static str> {
        let Self { trace_id, id, parent_id, kind, name, timestamp, duration, local_endpoint, .. } = self;
        let Self { remote_endpoint, annotations, binary_annotations, tags, debug, shared, .. } = self;
        let is_v2 = kind.is_some() || local_endpoint.is_some() || remote_endpoint.is_some() || tags.is_some();
        if !is_v2 {
            let v1 = V1 { trace_id, id, parent_id, name, timestamp, duration, annotations, binary_annotations, debug };
            return v1.into_span();
        }
        if binary_annotations.is_some() {
            return Err("a span has fields of version 1 (binaryAnnotations) and of version 2 (kind, tags, endpoints)");
        }
        let v2 = V2 {
            trace_id,
            id,
            parent_id,
            kind,
            name,
            timestamp,
            duration,
            local_endpoint,
            remote_endpoint,
            annotations,
            tags,
            debug,
            shared,
        };
        v2.into_span()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct V2 {
    trace_id: String,
    id: String,
    parent_id: Option<String>,
    kind: Option<String>,
    name: Option<String>,
    timestamp: Option<Micros>,
    duration: Option<Micros>,
    local_endpoint: Option<End>,
    remote_endpoint: Option<End>,
    annotations: Option<Bounded<Annotation>>,
    tags: Option<Tags>,
    debug: Option<bool>,
    shared: Option<bool>,
}

impl V2 {
    fn into_span(self) -> Result<ZipkinSpan, &'static str> {
        Ok(ZipkinSpan {
            trace_id: trace_id(&self.trace_id)?,
            id: span_id(&self.id)?,
            parent: parent(self.parent_id.as_deref())?,
            kind: self.kind.as_deref().and_then(kind),
            name: self.name.unwrap_or_default(),
            timestamp: self.timestamp.map(|time| time.0).filter(|time| *time > 0),
            duration: self.duration.map_or(0, |time| time.0),
            local: self.local_endpoint.unwrap_or_default().into(),
            remote: self.remote_endpoint.unwrap_or_default().into(),
            annotations: all(self.annotations).map(|a| (time(a.timestamp), a.value.unwrap_or_default())).collect(),
            tags: self.tags.map(|tags| tags.0).unwrap_or_default(),
            debug: self.debug.unwrap_or(false),
            shared: self.shared.unwrap_or(false),
        })
    }
}

/// A span of version 1 says by annotations what version 2 has fields for.
struct V1 {
    trace_id: String,
    id: String,
    parent_id: Option<String>,
    name: Option<String>,
    timestamp: Option<Micros>,
    duration: Option<Micros>,
    annotations: Option<Bounded<Annotation>>,
    binary_annotations: Option<Bounded<BinaryAnnotation>>,
    debug: Option<bool>,
}

impl V1 {
    fn into_span(self) -> Result<ZipkinSpan, &'static str> {
        let mut span = ZipkinSpan {
            trace_id: trace_id(&self.trace_id)?,
            id: span_id(&self.id)?,
            parent: parent(self.parent_id.as_deref())?,
            name: self.name.unwrap_or_default(),
            timestamp: self.timestamp.map(|time| time.0).filter(|time| *time > 0),
            duration: self.duration.map_or(0, |time| time.0),
            debug: self.debug.unwrap_or(false),
            ..ZipkinSpan::default()
        };
        // First and last of the annotations that say when it was sent and received.
        let mut core: Option<(u64, u64)> = None;
        for annotation in all(self.annotations) {
            let (time, value) = (time(annotation.timestamp), annotation.value.unwrap_or_default());
            let end: Endpoint = annotation.endpoint.unwrap_or_default().into();
            let kind = match value.as_str() {
                "cs" | "cr" => Some(SpanKind::Client),
                "ss" | "sr" => Some(SpanKind::Server),
                "ms" => Some(SpanKind::Producer),
                "mr" => Some(SpanKind::Consumer),
                _ => None,
            };
            if kind.is_some() {
                span.kind = span.kind.or(kind);
                let (first, last) = core.unwrap_or((time, time));
                core = Some((first.min(time), last.max(time)));
                if span.local.service.is_empty() {
                    span.local = end;
                }
            } else {
                span.annotations.push((time, value));
            }
        }
        let (mut fallback, mut component) = (Endpoint::default(), String::new());
        for binary in all(self.binary_annotations) {
            let end: Endpoint = binary.endpoint.unwrap_or_default().into();
            let value = binary.value.map(|value| value.0).unwrap_or_default();
            match binary.key.as_str() {
                // Addresses of the other side.
                "sa" | "ca" | "ma" => {
                    span.remote = end;
                    continue;
                }
                "lc" => {
                    component.clone_from(&value);
                    span.tags.push(("component".to_owned(), value));
                }
                _ => span.tags.push((binary.key, value)),
            }
            if !end.service.is_empty() {
                fallback = end;
            }
        }
        if span.local.service.is_empty() && !fallback.service.is_empty() {
            span.local = fallback;
        } else if span.local.service.is_empty() {
            span.local.service = component;
        }
        if let (None, Some((first, last))) = (span.timestamp, core.filter(|(first, _)| *first > 0)) {
            span.timestamp = Some(first);
            if span.duration == 0 {
                span.duration = last - first;
            }
        }
        Ok(span)
    }
}

fn parent(text: Option<&str>) -> Result<Option<[u8; 8]>, &'static str> {
    match text {
        // Some write a root's parent as nothing or as zero.
        None | Some("") => Ok(None),
        Some(text) if text.len() <= 16 && text.bytes().all(|digit| digit == b'0') => Ok(None),
        Some(text) => span_id(text).map(Some),
    }
}

fn time(time: Option<Micros>) -> u64 {
    time.map_or(0, |time| time.0)
}

fn all<T>(list: Option<Bounded<T>>) -> impl Iterator<Item = T> {
    list.map(|list| list.0).unwrap_or_default().into_iter()
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct End {
    service_name: Option<String>,
    ipv4: Option<String>,
    ipv6: Option<String>,
    port: Option<u32>,
}

impl From<End> for Endpoint {
    fn from(end: End) -> Self {
        Self {
            service: end.service_name.unwrap_or_default(),
            ipv4: end.ipv4.unwrap_or_default(),
            ipv6: end.ipv6.unwrap_or_default(),
            port: end.port.and_then(|port| u16::try_from(port).ok()).unwrap_or(0),
        }
    }
}

#[derive(Deserialize)]
struct Annotation {
    timestamp: Option<Micros>,
    value: Option<String>,
    endpoint: Option<End>,
}

#[derive(Deserialize)]
struct BinaryAnnotation {
    key: String,
    value: Option<TagText>,
    endpoint: Option<End>,
}

/// A list of at most [`MOST_PARTS`].
struct Bounded<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Bounded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = Bounded<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Bounded<T>, A::Error> {
                let mut found = Vec::new();
                while let Some(part) = list.next_element()? {
                    if found.len() == MOST_PARTS {
                        return Err(A::Error::custom(too_many()));
                    }
                    found.push(part);
                }
                Ok(Bounded(found))
            }
        }
        deserializer.deserialize_seq(List(PhantomData))
    }
}

fn too_many() -> String {
    format!("a span has more than {MOST_PARTS} tags or annotations")
}

/// Tags in the order in which they came.
struct Tags(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Tags;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tags")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tags, A::Error> {
                let mut tags = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, TagText>()? {
                    if tags.len() == MOST_PARTS {
                        return Err(A::Error::custom(too_many()));
                    }
                    tags.push((key, value.0));
                }
                Ok(Tags(tags))
            }
        }
        deserializer.deserialize_map(Map)
    }
}

/// A text, or what some clients write where a text belongs.
struct TagText(String);

impl<'de> Deserialize<'de> for TagText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = TagText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E>(self, text: &str) -> Result<TagText, E> {
                Ok(TagText(text.to_owned()))
            }

            fn visit_bool<E>(self, flag: bool) -> Result<TagText, E> {
                Ok(TagText(flag.to_string()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<TagText, E> {
                Ok(TagText(number.to_string()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<TagText, E> {
                Ok(TagText(number.to_string()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<TagText, E> {
                Ok(TagText(number.to_string()))
            }

            fn visit_unit<E>(self) -> Result<TagText, E> {
                Ok(TagText(String::new()))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// A count of microseconds, also where it is written as `1.5e15`.
struct Micros(u64);

impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Micros;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("microseconds")
            }

            fn visit_u64<E>(self, number: u64) -> Result<Micros, E> {
                Ok(Micros(number))
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Micros, E> {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked in front")]
                if (0.0..9e18).contains(&number) {
                    Ok(Micros(number as u64))
                } else {
                    Err(E::custom("not microseconds"))
                }
            }
        }
        deserializer.deserialize_any(Number)
    }
}
