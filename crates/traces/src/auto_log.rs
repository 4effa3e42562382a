//! `automatic_logging`: lines of logfmt made of spans, of roots and of processes, as the Agent writes them.
//!
//! Keeps true: a line holds no line break; keys and order are the Agent's.

use std::{borrow::Cow, fmt::Write};

use model::Labels;
use proto::{
    otlp_common::Resource,
    otlp_traces::{ExportTraceServiceRequest, Span, StatusCode},
};

use crate::{
    AutomaticLoggingConfig,
    value::{find, service, shown},
};

/// One line and its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) labels: Labels,
    pub(crate) text: String,
}

/// Keys and values, in order.
type Pairs<'a> = Vec<(&'a str, Cow<'a, str>)>;

pub(crate) fn lines(config: &AutomaticLoggingConfig, request: &ExportTraceServiceRequest, out: &mut Vec<Line>) {
    for group in &request.resource_spans {
        for scope in &group.scope_spans {
            let mut last: Option<&[u8]> = None;
            for span in &scope.spans {
                let resource = group.resource.as_ref();
                let whole = || {
                    let mut pairs = of_span(config, span);
                    pairs.extend(of_process(config, resource));
                    pairs
                };
                if config.spans {
                    out.push(line(config, "span", span, whole()));
                }
                if config.roots && span.parent_span_id.is_empty() {
                    out.push(line(config, "root", span, whole()));
                }
                if config.processes && last != Some(&span.trace_id) {
                    last = Some(&span.trace_id);
                    out.push(line(config, "process", span, of_process(config, resource)));
                }
            }
        }
    }
}

fn of_span<'a>(config: &'a AutomaticLoggingConfig, span: &'a Span) -> Pairs<'a> {
    let keys = &config.overrides;
    let nanos = i128::from(span.end_time_unix_nano) - i128::from(span.start_time_unix_nano);
    let mut pairs: Pairs<'a> =
        vec![(&keys.span_name_key, Cow::Borrowed(&span.name)), (&keys.duration_key, Cow::Owned(format!("{nanos}ns")))];
    match span.status.as_ref().map_or(StatusCode::Unset, |status| status.code()) {
        StatusCode::Unset => {}
        StatusCode::Ok => pairs.push((&keys.status_key, Cow::Borrowed("Ok"))),
        StatusCode::Error => pairs.push((&keys.status_key, Cow::Borrowed("Error"))),
    }
    pairs.extend(config.span_attributes.iter().filter_map(|key| Some((&**key, shown(find(&span.attributes, key)?)))));
    pairs
}

fn of_process<'a>(config: &'a AutomaticLoggingConfig, resource: Option<&'a Resource>) -> Pairs<'a> {
    let attributes = resource.map(|resource| &*resource.attributes).unwrap_or_default();
    let mut pairs: Pairs<'a> =
        vec![(&config.overrides.service_key, Cow::Borrowed(service(resource).unwrap_or_default()))];
    pairs.extend(config.process_attributes.iter().filter_map(|key| Some((&**key, shown(find(attributes, key)?)))));
    pairs
}

fn line<'a>(config: &'a AutomaticLoggingConfig, of: &str, span: &Span, mut pairs: Pairs<'a>) -> Line {
    let mut labels = Labels::new();
    for (key, value) in pairs.iter().filter(|(key, _)| config.labels.iter().any(|label| label == key)) {
        labels.set(&label_name(key), value);
    }
    labels.set(&label_name(&config.overrides.logs_instance_tag), of);
    pairs.push((&config.overrides.trace_id_key, Cow::Owned(hex::encode(&span.trace_id))));
    let mut text = String::new();
    for (key, value) in pairs {
        if !text.is_empty() {
            text.push(' ');
        }
        text.extend(key.chars().filter(|c| *c > ' ' && !matches!(c, '=' | '"')));
        text.push('=');
        logfmt_value(&mut text, &value);
    }
    Line { labels, text }
}

fn label_name(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

fn logfmt_value(out: &mut String, value: &str) {
    if value.chars().all(|c| c > ' ' && !matches!(c, '=' | '"' | '\u{fffd}' | '\u{7f}')) {
        return out.push_str(value);
    }
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proto::otlp_traces::{ResourceSpans, ScopeSpans, Status};

    use super::*;
    use crate::{LogBackend, LogKeys};

    fn config() -> AutomaticLoggingConfig {
        AutomaticLoggingConfig {
            backend: LogBackend::Stdout,
            spans: false,
            roots: false,
            processes: false,
            span_attributes: vec!["http.method".into(), "missing".into()],
            process_attributes: vec!["host".into()],
            overrides: LogKeys::default(),
            labels: vec!["svc".into(), "http.method".into()],
            timeout: Duration::from_millis(1),
        }
    }

    fn made(config: &AutomaticLoggingConfig) -> Vec<(String, String)> {
        let root = Span {
            trace_id: vec![0xab; 16],
            name: "GET /a b".into(),
            start_time_unix_nano: 10,
            end_time_unix_nano: 1510,
            attributes: vec![("http.method", "GET").into()],
            status: Some(Status { code: 2, ..Status::default() }),
            ..Span::default()
        };
        let child = Span {
            parent_span_id: vec![1; 8],
            status: None,
            attributes: vec![],
            name: "q=\"1\"\n".into(),
            ..root.clone()
        };
        let attributes = vec![("service.name", "shop").into(), ("host", "h1").into()];
        let resource = Some(Resource { attributes, ..Resource::default() });
        let scope_spans = vec![ScopeSpans { spans: vec![root, child], ..ScopeSpans::default() }];
        let group = ResourceSpans { resource, scope_spans, ..ResourceSpans::default() };
        let mut out = Vec::new();
        lines(config, &ExportTraceServiceRequest { resource_spans: vec![group] }, &mut out);
        let shown = |line: Line| {
            let labels: Vec<String> = line.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            (labels.join(","), line.text)
        };
        out.into_iter().map(shown).collect()
    }

    #[test]
    fn lines_are_the_agents() {
        let tid = "ab".repeat(16);
        let of_root = format!("span=\"GET /a b\" dur=1500ns status=Error http.method=GET svc=shop host=h1 tid={tid}");
        let of_child = format!("span=\"q=\\\"1\\\"\\n\" dur=1500ns svc=shop host=h1 tid={tid}");
        let with = |labels: &str, text: &str| (labels.to_owned(), text.to_owned());
        assert_eq!(
            made(&AutomaticLoggingConfig { spans: true, ..config() }),
            [with("http_method=GET,svc=shop,traces=span", &of_root), with("svc=shop,traces=span", &of_child)]
        );
        assert_eq!(
            made(&AutomaticLoggingConfig { roots: true, ..config() }),
            [with("http_method=GET,svc=shop,traces=root", &of_root)]
        );
        assert_eq!(
            made(&AutomaticLoggingConfig { processes: true, ..config() }),
            [with("svc=shop,traces=process", &format!("svc=shop host=h1 tid={tid}"))]
        );
        assert_eq!(made(&config()), []);
    }
}
