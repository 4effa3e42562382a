//! Which spans a processor is for: `include` and `exclude`, as the Collector's filters read them.

use proto::{
    otlp_common::{AnyValue, InstrumentationScope, KeyValue, Resource, Value},
    otlp_traces::Span,
};
use regex::Regex;
use relabel::go_regex_unanchored;

use crate::{
    Library, MatchProperties, MatchType, Property, TracesError,
    value::{find, kind_name, service, shown},
};

/// A compiled [`MatchProperties`].
#[derive(Debug)]
pub(crate) struct Matcher {
    services: Vec<Text>,
    span_names: Vec<Text>,
    span_kinds: Vec<Text>,
    attributes: Vec<Wanted>,
    resources: Vec<Wanted>,
    libraries: Vec<(Text, Option<Text>)>,
}

#[derive(Debug)]
enum Text {
    Same(String),
    Pattern(Regex),
}

#[derive(Debug)]
struct Wanted {
    key: String,
    value: Option<WantedValue>,
}

#[derive(Debug)]
enum WantedValue {
    Same(AnyValue),
    Pattern(Regex),
}

impl Matcher {
    /// `place`: `include` or `exclude`, for messages.
    pub(crate) fn new(place: &str, config: &MatchProperties) -> Result<Self, TracesError> {
        let MatchProperties { match_type, services, span_names, span_kinds, attributes, resources, libraries } = config;
        let texts = |key: &str, all: &[String]| {
            all.iter()
                .map(|text| Text::new(&format!("{place}.{key}"), *match_type, text))
                .collect::<Result<Vec<_>, _>>()
        };
        let wanted = |key: &str, all: &[Property]| {
            all.iter()
                .map(|one| Wanted::new(&format!("{place}.{key}"), *match_type, one))
                .collect::<Result<Vec<_>, _>>()
        };
        let library = |library: &Library| {
            let key = format!("{place}.libraries");
            let version = library.version.as_ref().map(|version| Text::new(&key, *match_type, version)).transpose()?;
            Ok((Text::new(&key, *match_type, &library.name)?, version))
        };
        let all = Self {
            services: texts("services", services)?,
            span_names: texts("span_names", span_names)?,
            span_kinds: texts("span_kinds", span_kinds)?,
            attributes: wanted("attributes", attributes)?,
            resources: wanted("resources", resources)?,
            libraries: libraries.iter().map(library).collect::<Result<_, TracesError>>()?,
        };
        let nothing = services.is_empty()
            && span_names.is_empty()
            && span_kinds.is_empty()
            && attributes.is_empty()
            && resources.is_empty()
            && libraries.is_empty();
        if nothing {
            let why =
                "it names nothing to match: give services, span_names, span_kinds, attributes, resources or libraries";
            return Err(TracesError::setting(place, why));
        }
        Ok(all)
    }

    pub(crate) fn matches(
        &self,
        resource: Option<&Resource>,
        scope: Option<&InstrumentationScope>,
        span: &Span,
    ) -> bool {
        let one_of = |texts: &[Text], text: &str| texts.is_empty() || texts.iter().any(|wanted| wanted.matches(text));
        let of_resource = resource.map(|resource| resource.attributes.as_slice()).unwrap_or_default();
        one_of(&self.services, service(resource).unwrap_or("<nil-service-name>"))
            && one_of(&self.span_names, &span.name)
            && one_of(&self.span_kinds, kind_name(span.kind))
            && self.is_of_library(scope)
            && self.attributes.iter().all(|wanted| wanted.is_in(&span.attributes))
            && self.resources.iter().all(|wanted| wanted.is_in(of_resource))
    }

    fn is_of_library(&self, scope: Option<&InstrumentationScope>) -> bool {
        let (name, version) = scope.map_or(("", ""), |scope| (&scope.name, &scope.version));
        self.libraries.is_empty()
            || self
                .libraries
                .iter()
                .any(|(wanted, of)| wanted.matches(name) && of.as_ref().is_none_or(|wanted| wanted.matches(version)))
    }
}

pub(crate) fn pattern(key: &str, pattern: &str) -> Result<Regex, TracesError> {
    go_regex_unanchored(pattern).map_err(|source| TracesError::Pattern { key: key.to_owned(), source })
}

impl Text {
    fn new(key: &str, match_type: MatchType, text: &str) -> Result<Self, TracesError> {
        match match_type {
            MatchType::Strict => Ok(Self::Same(text.to_owned())),
            MatchType::Regexp => Ok(Self::Pattern(pattern(key, text)?)),
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Same(wanted) => wanted == text,
            Self::Pattern(pattern) => pattern.is_match(text),
        }
    }
}

impl Wanted {
    fn new(key: &str, match_type: MatchType, property: &Property) -> Result<Self, TracesError> {
        let value = match (&property.value, match_type) {
            (None, _) => None,
            (Some(value), MatchType::Strict) => Some(WantedValue::Same(value.clone())),
            (Some(value), MatchType::Regexp) => Some(WantedValue::Pattern(pattern(key, &shown(value))?)),
        };
        Ok(Self { key: property.key.clone(), value })
    }

    fn is_in(&self, attributes: &[KeyValue]) -> bool {
        let Some(found) = find(attributes, &self.key) else { return false };
        match &self.value {
            None => true,
            Some(WantedValue::Same(wanted)) => wanted == found,
            // Of lists, maps and bytes no pattern is asked.
            Some(WantedValue::Pattern(pattern)) => match &found.value {
                Some(Value::String(_) | Value::Bool(_) | Value::Int(_) | Value::Double(_)) => {
                    pattern.is_match(&shown(found))
                }
                _ => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span() -> (Resource, InstrumentationScope, Span) {
        let resource = Resource {
            attributes: vec![("service.name", "svcA").into(), ("host.name", "h1").into()],
            ..Resource::default()
        };
        let scope =
            InstrumentationScope { name: "lib".into(), version: "1.2".into(), ..InstrumentationScope::default() };
        let attributes = vec![("redact_trace", false).into(), ("code", 404).into(), ("db", "x-prod").into()];
        (resource, scope, Span { name: "login/GET".into(), kind: 2, attributes, ..Span::default() })
    }

    fn matches(config: MatchProperties) -> bool {
        let (resource, scope, span) = span();
        Matcher::new("include", &config).unwrap().matches(Some(&resource), Some(&scope), &span)
    }

    fn property(key: &str, value: Option<AnyValue>) -> Property {
        Property { key: key.to_owned(), value }
    }

    /// After the examples in the Collector's `attributesprocessor` documentation.
    #[test]
    fn strict_matching_compares_values_with_their_types() {
        let strict = MatchProperties::default;
        assert!(matches(MatchProperties { services: vec!["svcB".into(), "svcA".into()], ..strict() }));
        assert!(!matches(MatchProperties { services: vec!["svc".into()], ..strict() }));
        let both = vec![property("redact_trace", Some(false.into())), property("code", None)];
        assert!(matches(MatchProperties { attributes: both.clone(), ..strict() }));
        assert!(!matches(MatchProperties { attributes: vec![property("code", Some("404".into()))], ..strict() }));
        assert!(!matches(MatchProperties { attributes: both, span_names: vec!["other".into()], ..strict() }));
        assert!(matches(MatchProperties { span_kinds: vec!["SPAN_KIND_SERVER".into()], ..strict() }));
        assert!(matches(MatchProperties { resources: vec![property("host.name", Some("h1".into()))], ..strict() }));
        let library = |version: Option<&str>| {
            let library = Library { name: "lib".into(), version: version.map(Into::into) };
            matches(MatchProperties { libraries: vec![library], ..MatchProperties::default() })
        };
        assert!(library(None) && library(Some("1.2")) && !library(Some("")));
    }

    #[test]
    fn patterns_match_anywhere_and_numbers_as_text() {
        let regexp = || MatchProperties { match_type: MatchType::Regexp, ..MatchProperties::default() };
        assert!(matches(MatchProperties { span_names: vec!["^login.*".into()], ..regexp() }));
        assert!(matches(MatchProperties { services: vec!["vc".into()], ..regexp() }));
        assert!(matches(MatchProperties { attributes: vec![property("code", Some("^4..$".into()))], ..regexp() }));
        assert!(!matches(MatchProperties { attributes: vec![property("db", Some("prod.+".into()))], ..regexp() }));
    }

    #[test]
    fn what_names_nothing_and_what_is_no_pattern_is_refused() {
        assert!(Matcher::new("exclude", &MatchProperties::default()).unwrap_err().to_string().contains("exclude"));
        let bad =
            MatchProperties { match_type: MatchType::Regexp, services: vec!["(".into()], ..MatchProperties::default() };
        assert_eq!(Matcher::new("include", &bad).unwrap_err().key(), "include.services");
    }
}
