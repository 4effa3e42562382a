//! Choosing between values, and JSON.

use gotmpl::Value;
use serde_json::Value as Json;

use super::{Args, Outcome, Table, is_empty, text};
use crate::json_text;

/// Deepest nesting of values that become JSON.
const MAX_DEPTH: usize = 64;

pub(super) fn fill(table: &mut Table) {
    table.between("default", 1, 2, |a| {
        Ok(if a.all().len() < 2 || is_empty(a.value(1)) { a.value(0) } else { a.value(1) }.clone())
    });
    table.add("empty", 1, |a| Ok(Value::Bool(is_empty(a.value(0)))));
    table.at_least("coalesce", 0, |a| Ok(a.all().iter().find(|v| !is_empty(v)).cloned().unwrap_or(Value::Nil)));
    table.at_least("all", 0, |a| Ok(Value::Bool(a.all().iter().all(|v| !is_empty(v)))));
    table.at_least("any", 0, |a| Ok(Value::Bool(a.all().iter().any(|v| !is_empty(v)))));
    table.add("ternary", 3, |a| match a.value(2) {
        Value::Bool(true) => Ok(a.value(0).clone()),
        Value::Bool(false) => Ok(a.value(1).clone()),
        other => a.fail(&format!("a bool is expected, not {}", other.type_name())),
    });
    table.add("fail", 1, |a| a.fail(a.text(0)?));
    table.add("kindOf", 1, |a| {
        text(match a.value(0) {
            Value::Nil => "invalid",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Float(_) => "float64",
            Value::String(_) => "string",
            Value::List(_) => "slice",
            Value::Map(_) => "map",
            Value::Function(_) => "func",
        })
    });
    table.alias("typeOf", "kindOf");
    table.add("toJson", 1, to_json);
    // Go's JSON escapes what HTML gives a meaning to; this undoes it.
    table.add("toRawJson", 1, |a| {
        let escaped = to_json(a)?.to_string();
        text(escaped.replace("\\u003c", "<").replace("\\u003e", ">").replace("\\u0026", "&"))
    });
    table.alias("mustToJson", "toJson");
    table.add("fromJson", 1, |a| match serde_json::from_str::<Json>(a.text(0)?) {
        Ok(json) => Ok(from_json(&json)),
        Err(_) => Ok(Value::Nil),
    });
    table.add("mustFromJson", 1, |a| match serde_json::from_str::<Json>(a.text(0)?) {
        Ok(json) => Ok(from_json(&json)),
        Err(error) => a.fail(&error.to_string()),
    });
}

fn to_json(args: Args<'_>) -> Outcome {
    let Some(json) = json_of(args.last(), MAX_DEPTH) else { return args.fail("the value is nested too deeply") };
    let mut out = String::new();
    json_text::push_json(&mut out, &json);
    text(out)
}

fn json_of(value: &Value, depth: usize) -> Option<Json> {
    let depth = depth.checked_sub(1)?;
    Some(match value {
        Value::Bool(b) => Json::Bool(*b),
        Value::Int(n) => Json::from(*n),
        Value::Uint(n) => Json::from(*n),
        Value::Float(f) => Json::from(*f),
        Value::String(text) => Json::from(&**text),
        Value::List(items) => Json::Array(items.iter().map(|v| json_of(v, depth)).collect::<Option<_>>()?),
        Value::Map(map) => {
            Json::Object(map.iter().map(|(k, v)| Some((k.to_string(), json_of(v, depth)?))).collect::<Option<_>>()?)
        }
        _ => Json::Null,
    })
}

fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(b) => Value::Bool(*b),
        // As Go: every number is a float.
        Json::Number(n) => Value::Float(n.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => Value::String(text.as_str().into()),
        Json::Array(items) => Value::List(items.iter().map(from_json).collect()),
        Json::Object(map) => Value::Map(std::sync::Arc::new(
            map.iter().map(|(k, v)| (std::sync::Arc::from(k.as_str()), from_json(v))).collect(),
        )),
    }
}
