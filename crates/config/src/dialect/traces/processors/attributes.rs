//! `attributes`: the Collector's attributes processor, whose keys these are (version 0.96).

use traces::{
    Action, AttributeAction, AttributesConfig, ConvertTo, Library, MatchProperties, MatchType, Property, ValueSource,
};

use super::value::typed;
use crate::block::{Block, Field, Shape};

pub(in crate::dialect) const ATTRIBUTES: Shape =
    Shape { name: "traces.configs[].attributes", keys: &[&["actions", "include", "exclude"]] };

pub(in crate::dialect) const ACTION: Shape = Shape {
    name: "attributes.actions[]",
    keys: &[&["key", "action", "value", "from_attribute", "from_context", "pattern", "converted_type"]],
};

pub(in crate::dialect) const MATCH: Shape = Shape {
    name: "attributes.include",
    keys: &[&[
        "match_type",
        "regexp",
        "services",
        "span_names",
        "span_kinds",
        "attributes",
        "resources",
        "libraries",
        "log_bodies",
        "log_severity_texts",
        "log_severity_number",
        "metric_names",
    ]],
};

pub(in crate::dialect) const PROPERTY: Shape =
    Shape { name: "attributes.include.attributes[]", keys: &[&["key", "value"]] };

pub(in crate::dialect) const LIBRARY: Shape =
    Shape { name: "attributes.include.libraries[]", keys: &[&["name", "version"]] };

const ACTIONS: &[(&str, Kind)] = &[
    ("insert", Kind::Insert),
    ("update", Kind::Update),
    ("upsert", Kind::Upsert),
    ("delete", Kind::Delete),
    ("hash", Kind::Hash),
    ("extract", Kind::Extract),
    ("convert", Kind::Convert),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Insert,
    Update,
    Upsert,
    Delete,
    Hash,
    Extract,
    Convert,
}

impl Kind {
    /// Keys that an action of this kind may have besides `key` and `action`.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Insert | Self::Update | Self::Upsert => &["value", "from_attribute", "from_context"],
            Self::Delete | Self::Hash | Self::Extract => &["pattern"],
            Self::Convert => &["converted_type"],
        }
    }
}

pub(super) fn read(instance: &Block<'_>) -> Option<AttributesConfig> {
    let field = instance.get("attributes")?;
    let block = Block::open(instance.reader, ATTRIBUTES, &field)?;
    let actions: Vec<AttributeAction> = block.items("actions").iter().filter_map(|item| action(&block, item)).collect();
    if block.items("actions").is_empty() {
        block.error(
            "`attributes` has no `actions`",
            Some("actions: [{key: environment, action: upsert, value: production}]"),
        );
    }
    Some(AttributesConfig { include: properties(&block, "include"), exclude: properties(&block, "exclude"), actions })
}

fn action(block: &Block<'_>, item: &Field<'_>) -> Option<AttributeAction> {
    let block = Block::open(block.reader, ACTION, item)?;
    block.required("action", "action: upsert")?;
    let kind = block.choice("action", ACTIONS)?;
    let (key, pattern) = (block.text("key").unwrap_or_default(), block.text("pattern"));
    let by_pattern = matches!(kind, Kind::Delete | Kind::Hash) && pattern.is_some();
    if key.is_empty() && !by_pattern {
        block.error("`key` is missing: it names the attribute", Some("key: environment"));
    }
    for given in ["value", "from_attribute", "from_context", "pattern", "converted_type"] {
        if block.get(given).is_some() && !kind.keys().contains(&given) {
            block.error_at_key(given, format!("this action does not use `{given}`"), Some("remove it"));
        }
    }
    let action = match kind {
        Kind::Insert => Action::Insert(source(&block)?),
        Kind::Update => Action::Update(source(&block)?),
        Kind::Upsert => Action::Upsert(source(&block)?),
        Kind::Delete => Action::Delete { pattern },
        Kind::Hash => Action::Hash { pattern },
        Kind::Extract => Action::Extract { pattern: block.required("pattern", "pattern: ^/(?P<area>[^/]+)/")? },
        Kind::Convert => {
            block.required("converted_type", "converted_type: int")?;
            let types = [("string", ConvertTo::Text), ("int", ConvertTo::Int), ("double", ConvertTo::Double)];
            Action::Convert(block.choice("converted_type", &types)?)
        }
    };
    Some(AttributeAction { key, action })
}

fn source(block: &Block<'_>) -> Option<ValueSource> {
    if block.get("from_context").is_some() {
        let message = "`from_context` is not in this version: a request's headers are not kept with its spans";
        block.error_at_key("from_context", message, Some("use `value` or `from_attribute`"));
        return None;
    }
    let (value, attribute) = (block.get("value"), block.text("from_attribute"));
    match (value, attribute) {
        (Some(_), Some(_)) => {
            block.error("`value` and `from_attribute` are both given; give one of them", None);
            None
        }
        (Some(field), None) => Some(ValueSource::Literal(typed(block.reader, &field))),
        (None, Some(attribute)) => Some(ValueSource::Attribute(attribute)),
        (None, None) => {
            block.error("this action needs `value` or `from_attribute`", Some("value: production"));
            None
        }
    }
}

fn properties(parent: &Block<'_>, key: &str) -> Option<MatchProperties> {
    let block = parent.block(key, MATCH)?;
    if block.text("match_type").is_none() {
        block.error("`match_type` is missing", Some("match_type: strict"));
    }
    let types = [("strict", MatchType::Strict), ("regexp", MatchType::Regexp)];
    let match_type = block.choice("match_type", &types).unwrap_or_default();
    // Sizes of a cache of matches, which linear patterns do not need.
    if let Some(field) = block.get("regexp") {
        block.reader.entries(&field);
    }
    for key in ["log_bodies", "log_severity_texts", "log_severity_number", "metric_names"] {
        if block.get(key).is_some() {
            block.error_at_key(key, format!("`{key}` does not apply to spans"), Some("remove it"));
        }
    }
    let property = |item: &Field<'_>| {
        let block = Block::open(block.reader, PROPERTY, item)?;
        let value = block.get("value").map(|field| typed(block.reader, &field));
        Some(Property { key: block.required("key", "key: environment")?, value })
    };
    let list = |key: &str| block.items(key).iter().filter_map(property).collect::<Vec<_>>();
    let library = |item: &Field<'_>| {
        let block = Block::open(block.reader, LIBRARY, item)?;
        let version = block.get("version").and_then(|field| block.reader.text(&field));
        Some(Library { name: block.required("name", "name: io.opentelemetry.jdbc")?, version })
    };
    Some(MatchProperties {
        match_type,
        services: block.texts("services"),
        span_names: block.texts("span_names"),
        span_kinds: block.texts("span_kinds"),
        attributes: list("attributes"),
        resources: list("resources"),
        libraries: block.items("libraries").iter().filter_map(library).collect(),
    })
}
