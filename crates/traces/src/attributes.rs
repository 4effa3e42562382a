//! `attributes`: changes the attributes of spans, as the Collector's attributes processor does (version 0.96).
//!
//! Keeps true: actions apply in their order to each span that `include` and `exclude` leave; an action that finds nothing to work on
//! does nothing.

use proto::{
    otlp_common::{AnyValue, KeyValue, Value},
    otlp_traces::ExportTraceServiceRequest,
};
use regex::Regex;
use sha2::{Digest, Sha256};

use crate::{
    Action, AttributeAction, AttributesConfig, ConvertTo, TracesError, ValueSource,
    matching::{Matcher, pattern},
    value::{find, put, shown, text},
};

/// A compiled [`AttributesConfig`].
#[derive(Debug)]
pub(crate) struct Attributes {
    include: Option<Matcher>,
    exclude: Option<Matcher>,
    actions: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    key: String,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Insert(ValueSource),
    Update(ValueSource),
    Upsert(ValueSource),
    Delete(Option<Regex>),
    Hash(Option<Regex>),
    Extract(Regex),
    Convert(ConvertTo),
}

impl Attributes {
    pub(crate) fn new(config: &AttributesConfig) -> Result<Self, TracesError> {
        let matcher = |place, config: &Option<_>| config.as_ref().map(|config| Matcher::new(place, config)).transpose();
        if config.actions.is_empty() {
            return Err(TracesError::setting("actions", "there is none: name at least one"));
        }
        Ok(Self {
            include: matcher("include", &config.include)?,
            exclude: matcher("exclude", &config.exclude)?,
            actions: config
                .actions
                .iter()
                .enumerate()
                .map(|(at, action)| Step::new(at, action))
                .collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn apply(&self, request: &mut ExportTraceServiceRequest) {
        for group in &mut request.resource_spans {
            for scope in &mut group.scope_spans {
                for span in &mut scope.spans {
                    let of = (group.resource.as_ref(), scope.scope.as_ref());
                    let included = self.include.as_ref().is_none_or(|matcher| matcher.matches(of.0, of.1, span));
                    if included && !self.exclude.as_ref().is_some_and(|matcher| matcher.matches(of.0, of.1, span)) {
                        self.actions.iter().for_each(|step| step.apply(&mut span.attributes));
                    }
                }
            }
        }
    }
}

impl Step {
    fn new(at: usize, action: &AttributeAction) -> Result<Self, TracesError> {
        let place = format!("actions[{at}]");
        let compiled =
            |text: &Option<String>| text.as_ref().map(|text| pattern(&format!("{place}.pattern"), text)).transpose();
        if action.key.is_empty() {
            let by_pattern =
                matches!(&action.action, Action::Delete { pattern: Some(_) } | Action::Hash { pattern: Some(_) });
            if !by_pattern {
                return Err(TracesError::setting(place, "`key` is missing"));
            }
        }
        let work = match &action.action {
            Action::Insert(source) => Work::Insert(source.clone()),
            Action::Update(source) => Work::Update(source.clone()),
            Action::Upsert(source) => Work::Upsert(source.clone()),
            Action::Delete { pattern } => Work::Delete(compiled(pattern)?),
            Action::Hash { pattern } => Work::Hash(compiled(pattern)?),
            Action::Extract { pattern: text } => {
                let place = format!("{place}.pattern");
                let compiled = pattern(&place, text)?;
                if compiled.captures_len() < 2 || compiled.capture_names().skip(1).any(|name| name.is_none()) {
                    let why = "every group needs a name, and there must be one: (?P<name>...)";
                    return Err(TracesError::setting(place, why));
                }
                Work::Extract(compiled)
            }
            Action::Convert(to) => Work::Convert(*to),
        };
        Ok(Self { key: action.key.clone(), work })
    }

    fn apply(&self, attributes: &mut Vec<KeyValue>) {
        match &self.work {
            Work::Insert(source) => {
                if find(attributes, &self.key).is_none() {
                    self.put(source, attributes);
                }
            }
            Work::Update(source) => {
                if find(attributes, &self.key).is_some() {
                    self.put(source, attributes);
                }
            }
            Work::Upsert(source) => self.put(source, attributes),
            Work::Delete(pattern) => attributes.retain(|pair| !self.means(pattern.as_ref(), &pair.key)),
            Work::Hash(pattern) => {
                for pair in attributes.iter_mut().filter(|pair| self.means(pattern.as_ref(), &pair.key)) {
                    pair.value = Some(hashed(pair.value.as_ref()));
                }
            }
            Work::Extract(pattern) => {
                let Some(text) = find(attributes, &self.key).and_then(text).map(str::to_owned) else { return };
                let Some(found) = pattern.captures(&text) else { return };
                for (at, name) in pattern.capture_names().enumerate() {
                    let Some(name) = name else { continue };
                    put(attributes, name, found.get(at).map_or("", |part| part.as_str()).into());
                }
            }
            Work::Convert(to) => {
                if let Some(pair) = attributes.iter_mut().find(|pair| pair.key == self.key)
                    && let Some(value) = &mut pair.value
                    && let Some(converted) = converted(value, *to)
                {
                    *value = converted;
                }
            }
        }
    }

    fn put(&self, source: &ValueSource, attributes: &mut Vec<KeyValue>) {
        let value = match source {
            ValueSource::Literal(value) => Some(value.clone()),
            ValueSource::Attribute(key) => find(attributes, key).cloned(),
        };
        if let Some(value) = value {
            put(attributes, &self.key, value);
        }
    }

    fn means(&self, pattern: Option<&Regex>, key: &str) -> bool {
        (!self.key.is_empty() && key == self.key) || pattern.is_some_and(|pattern| pattern.is_match(key))
    }
}

/// Of the bytes that the Collector hashes: numbers as eight little-endian bytes, truth values as one. Lists and maps have none.
fn hashed(value: Option<&AnyValue>) -> AnyValue {
    let bytes = match value.and_then(|value| value.value.as_ref()) {
        Some(Value::String(text)) => text.as_bytes().to_vec(),
        Some(Value::Bool(claim)) => vec![u8::from(*claim)],
        Some(Value::Int(number)) => number.to_le_bytes().to_vec(),
        Some(Value::Double(number)) => number.to_bits().to_le_bytes().to_vec(),
        _ => Vec::new(),
    };
    let text = if bytes.is_empty() { String::new() } else { hex::encode(Sha256::digest(&bytes)) };
    Value::String(text).into()
}

/// `None`: it stays as it is.
fn converted(value: &AnyValue, to: ConvertTo) -> Option<AnyValue> {
    let held = value.value.as_ref()?;
    match (to, held) {
        (ConvertTo::Text, Value::String(_))
        | (ConvertTo::Int, Value::Int(_))
        | (ConvertTo::Double, Value::Double(_)) => None,
        (ConvertTo::Text, _) => Some(Value::String(shown(value).into_owned()).into()),
        (ConvertTo::Int, Value::String(text)) => text.parse::<i64>().ok().map(Into::into),
        (ConvertTo::Int, Value::Bool(claim)) => Some(i64::from(*claim).into()),
        // A number beyond the range becomes the nearest that there is.
        #[allow(clippy::cast_possible_truncation, reason = "rounds towards zero and saturates")]
        (ConvertTo::Int, Value::Double(number)) => Some((*number as i64).into()),
        (ConvertTo::Double, Value::String(text)) => text.parse::<f64>().ok().map(Into::into),
        (ConvertTo::Double, Value::Bool(claim)) => Some((if *claim { 1.0 } else { 0.0 }).into()),
        #[allow(clippy::cast_precision_loss, reason = "as the collector does")]
        (ConvertTo::Double, Value::Int(number)) => Some((*number as f64).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proto::otlp_traces::{ResourceSpans, ScopeSpans, Span};

    use super::*;
    use crate::MatchProperties;

    fn action(key: &str, action: Action) -> AttributeAction {
        AttributeAction { key: key.to_owned(), action }
    }

    fn applied(actions: Vec<AttributeAction>, attributes: Vec<KeyValue>) -> Vec<KeyValue> {
        let config = AttributesConfig { actions, ..AttributesConfig::default() };
        let span = Span { attributes, ..Span::default() };
        let mut request = request(vec![span]);
        Attributes::new(&config).unwrap().apply(&mut request);
        request.resource_spans.remove(0).scope_spans.remove(0).spans.remove(0).attributes
    }

    fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
        let scope = ScopeSpans { spans, ..ScopeSpans::default() };
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() }],
        }
    }

    fn literal(value: impl Into<AnyValue>) -> ValueSource {
        ValueSource::Literal(value.into())
    }

    /// The Collector's documented example of `insert`, `update`, `upsert`, `delete`.
    #[test]
    fn values_are_inserted_updated_and_deleted() {
        let before = vec![("attribute1", 1).into(), ("db.secret", "s").into(), ("region", "x").into()];
        let actions = vec![
            action("attribute1", Action::Insert(literal(123_123))),
            action("string key", Action::Insert(ValueSource::Attribute("attribute1".into()))),
            action("none", Action::Insert(ValueSource::Attribute("missing".into()))),
            action("region", Action::Update(literal("planet-earth"))),
            action("other", Action::Update(literal("no"))),
            action("new", Action::Upsert(literal(true))),
            action("db.secret", Action::Delete { pattern: None }),
        ];
        let after = applied(actions, before);
        let expected = vec![
            ("attribute1", 1).into(),
            ("region", "planet-earth").into(),
            ("string key", 1).into(),
            ("new", true).into(),
        ];
        assert_eq!(after, expected);
    }

    #[test]
    fn keys_are_deleted_and_hashed_by_pattern() {
        let before: Vec<KeyValue> = vec![("user.email", "a").into(), ("user.id", 1).into(), ("x", "y").into()];
        let delete = action("", Action::Delete { pattern: Some("^user\\.".into()) });
        assert_eq!(applied(vec![delete], before.clone()), vec![("x", "y").into()]);
        let hash = action("x", Action::Hash { pattern: Some("email$".into()) });
        let after = applied(vec![hash], before);
        // SHA-256 of "a" and of "y".
        assert_eq!(
            find(&after, "user.email"),
            Some(&"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb".into())
        );
        assert_eq!(find(&after, "x"), Some(&"a1fce4363854ff888cff4b8e7875d600c2682390412a8cf79b37d0b11148b0fa".into()));
        assert_eq!(find(&after, "user.id"), Some(&1.into()));
    }

    /// The Collector's documented example of `extract`.
    #[test]
    fn named_groups_become_attributes() {
        let url = "http://example.com/path?queryParam1=value1,queryParam2=value2";
        let pattern =
            r"^(?P<http_protocol>.*):\/\/(?P<http_domain>.*)\/(?P<http_path>.*)(\?|\&)(?P<http_query_params>.*)";
        assert!(
            Step::new(0, &action("http.url", Action::Extract { pattern: pattern.into() })).is_err(),
            "a group without a name"
        );
        let pattern = pattern.replace(r"(\?|\&)", r"\?");
        let after = applied(vec![action("http.url", Action::Extract { pattern })], vec![("http.url", url).into()]);
        assert_eq!(find(&after, "http_protocol"), Some(&"http".into()));
        assert_eq!(find(&after, "http_domain"), Some(&"example.com".into()));
        assert_eq!(find(&after, "http_path"), Some(&"path".into()));
        assert_eq!(find(&after, "http_query_params"), Some(&"queryParam1=value1,queryParam2=value2".into()));
    }

    #[test]
    fn values_are_converted_where_they_can_be() {
        let to = |to, value: AnyValue| {
            let before = vec![KeyValue { key: "k".into(), value: Some(value) }];
            applied(vec![action("k", Action::Convert(to))], before).remove(0).value.unwrap()
        };
        assert_eq!(to(ConvertTo::Int, "404".into()), 404.into());
        assert_eq!(to(ConvertTo::Int, "4.5".into()), "4.5".into());
        assert_eq!(to(ConvertTo::Int, 4.9.into()), 4.into());
        assert_eq!(to(ConvertTo::Double, "4.5".into()), 4.5.into());
        assert_eq!(to(ConvertTo::Double, 4.into()), 4.0.into());
        assert_eq!(to(ConvertTo::Text, true.into()), "true".into());
    }

    #[test]
    fn only_what_is_included_and_not_excluded_changes() {
        let names = |names: &[&str]| MatchProperties {
            span_names: names.iter().map(|name| (*name).into()).collect(),
            ..MatchProperties::default()
        };
        let config = AttributesConfig {
            include: Some(names(&["a", "b"])),
            exclude: Some(names(&["b"])),
            actions: vec![action("k", Action::Upsert(literal(1)))],
        };
        let span = |name: &str| Span { name: name.into(), ..Span::default() };
        let mut request = request(vec![span("a"), span("b"), span("c")]);
        Attributes::new(&config).unwrap().apply(&mut request);
        let changed: Vec<bool> =
            request.resource_spans[0].scope_spans[0].spans.iter().map(|span| !span.attributes.is_empty()).collect();
        assert_eq!(changed, [true, false, false]);
    }
}
