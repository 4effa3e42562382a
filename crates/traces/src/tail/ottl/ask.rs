//! What an expression comes to, of one span or event.
//!
//! Values of different kinds are not the same and neither is more, but for whole and other numbers ("Comparison Rules").

use std::{borrow::Cow, cmp::Ordering};

use proto::otlp_common::{AnyValue, Value};

use super::{Comparison, Expression, Here, Literal, NoAnswer, Operation};
use crate::value::shown;

/// See the file's head.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Found<'t> {
    Nil,
    Truth(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'t, str>),
    Bytes(Cow<'t, [u8]>),
    /// A list or a map.
    Many(&'t AnyValue),
}

impl<'t> Found<'t> {
    pub(super) fn of(value: &'t AnyValue) -> Self {
        match &value.value {
            None => Self::Nil,
            Some(Value::Bool(truth)) => Self::Truth(*truth),
            Some(Value::Int(number)) => Self::Int(*number),
            Some(Value::Double(number)) => Self::Float(*number),
            Some(Value::String(text)) => Self::Text(Cow::Borrowed(text)),
            Some(Value::Bytes(bytes)) => Self::Bytes(Cow::Borrowed(bytes)),
            Some(Value::Array(_) | Value::Map(_)) => Self::Many(value),
        }
    }

    fn as_text(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Nil => return None,
            Self::Text(text) => Cow::Borrowed(text),
            Self::Truth(truth) => Cow::Borrowed(if *truth { "true" } else { "false" }),
            Self::Int(number) => number.to_string().into(),
            Self::Float(number) => shown(&(*number).into()).into_owned().into(),
            Self::Bytes(bytes) => hex::encode(bytes).into(),
            Self::Many(value) => shown(value),
        })
    }

    fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Nil, Self::Nil) => Some(Ordering::Equal),
            (Self::Truth(one), Self::Truth(other)) => Some(one.cmp(other)),
            (Self::Int(one), Self::Int(other)) => Some(one.cmp(other)),
            (Self::Float(one), Self::Float(other)) => one.partial_cmp(other),
            (Self::Int(one), Self::Float(other)) => (*one as f64).partial_cmp(other),
            (Self::Float(one), Self::Int(other)) => one.partial_cmp(&(*other as f64)),
            (Self::Text(one), Self::Text(other)) => Some(one.cmp(other)),
            (Self::Bytes(one), Self::Bytes(other)) => Some(one.cmp(other)),
            (Self::Many(one), Self::Many(other)) if one == other => Some(Ordering::Equal),
            _ => None,
        }
    }
}

impl Comparison {
    fn holds(self, order: Option<Ordering>) -> bool {
        match self {
            Self::Same => order == Some(Ordering::Equal),
            Self::Other => order != Some(Ordering::Equal),
            Self::Less => order == Some(Ordering::Less),
            Self::AtMost => order.is_some_and(Ordering::is_le),
            Self::More => order == Some(Ordering::Greater),
            Self::AtLeast => order.is_some_and(Ordering::is_ge),
        }
    }
}

impl Operation {
    fn of<'t>(self, one: &Found<'_>, other: &Found<'_>) -> Result<Found<'t>, NoAnswer> {
        let real = |found: &Found<'_>| match found {
            Found::Int(number) => Some(*number as f64),
            Found::Float(number) => Some(*number),
            _ => None,
        };
        if let (Found::Int(one), Found::Int(other)) = (one, other) {
            let whole = match self {
                Self::Plus => one.checked_add(*other),
                Self::Minus => one.checked_sub(*other),
                Self::Times => one.checked_mul(*other),
                Self::By => one.checked_div(*other),
            };
            return whole.map(Found::Int).ok_or(NoAnswer("a number is divided by zero, or too large"));
        }
        let (Some(one), Some(other)) = (real(one), real(other)) else {
            return Err(NoAnswer("what is no number is calculated with"));
        };
        Ok(Found::Float(match self {
            Self::Plus => one + other,
            Self::Minus => one - other,
            Self::Times => one * other,
            Self::By => one / other,
        }))
    }
}

impl Expression {
    pub(super) fn ask<'t>(&'t self, here: &Here<'t>) -> Result<Found<'t>, NoAnswer> {
        Ok(match self {
            Self::Literal(literal) => match literal {
                Literal::Nil => Found::Nil,
                Literal::Truth(truth) => Found::Truth(*truth),
                Literal::Int(number) => Found::Int(*number),
                Literal::Float(number) => Found::Float(*number),
                Literal::Text(text) => Found::Text(Cow::Borrowed(text)),
                Literal::Bytes(bytes) => Found::Bytes(Cow::Borrowed(bytes)),
            },
            Self::Path(path) => path.of(here),
            Self::Any(all) => Found::Truth(Self::one_is(all, true, here)?),
            Self::All(all) => Found::Truth(!Self::one_is(all, false, here)?),
            Self::Not(inner) => Found::Truth(!inner.truth(here)?),
            Self::Compare(one, comparison, other) => {
                Found::Truth(comparison.holds(one.ask(here)?.order(&other.ask(here)?)))
            }
            Self::Arithmetic(one, operation, other) => operation.of(&one.ask(here)?, &other.ask(here)?)?,
            Self::Matches(of, pattern) => {
                Found::Truth(of.ask(here)?.as_text().is_some_and(|text| pattern.is_match(&text)))
            }
            Self::Call(name, arguments) => {
                let found = arguments.iter().map(|argument| argument.ask(here)).collect::<Result<Vec<_>, _>>()?;
                call(name, &found, here)?
            }
        })
    }

    fn truth(&self, here: &Here<'_>) -> Result<bool, NoAnswer> {
        match self.ask(here)? {
            Found::Truth(truth) => Ok(truth),
            _ => Err(NoAnswer("a part is neither true nor false")),
        }
    }

    /// Whether one of them is `wanted`; those behind it are not asked.
    fn one_is(all: &[Self], wanted: bool, here: &Here<'_>) -> Result<bool, NoAnswer> {
        for one in all {
            if one.truth(here)? == wanted {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn call<'t>(name: &str, found: &[Found<'t>], here: &Here<'_>) -> Result<Found<'t>, NoAnswer> {
    let first = found.first().unwrap_or(&Found::Nil);
    let is_map = |map: bool| matches!(first, Found::Many(value) if matches!(value.value, Some(Value::Map(_))) == map);
    Ok(match name {
        "IsString" => Found::Truth(matches!(first, Found::Text(_))),
        "IsInt" => Found::Truth(matches!(first, Found::Int(_))),
        "IsDouble" => Found::Truth(matches!(first, Found::Float(_))),
        "IsBool" => Found::Truth(matches!(first, Found::Truth(_))),
        "IsMap" => Found::Truth(is_map(true)),
        "IsList" => Found::Truth(is_map(false)),
        "IsRootSpan" => Found::Truth(here.span.parent_span_id.iter().all(|byte| *byte == 0)),
        "Int" => match first {
            Found::Int(number) => Found::Int(*number),
            // Towards zero; what is out of range is the nearest.
            #[allow(clippy::cast_possible_truncation, reason = "the cast saturates")]
            Found::Float(number) => Found::Int(*number as i64),
            Found::Text(text) => text.parse().map_or(Found::Nil, Found::Int),
            Found::Truth(truth) => Found::Int((*truth).into()),
            _ => Found::Nil,
        },
        "Double" => match first {
            Found::Int(number) => Found::Float(*number as f64),
            Found::Float(number) => Found::Float(*number),
            Found::Text(text) => text.parse().map_or(Found::Nil, Found::Float),
            Found::Truth(truth) => Found::Float(if *truth { 1.0 } else { 0.0 }),
            _ => Found::Nil,
        },
        "String" => first.as_text().map_or(Found::Nil, |text| Found::Text(text.into_owned().into())),
        "Len" => {
            let length = match first {
                Found::Text(text) => text.len(),
                Found::Bytes(bytes) => bytes.len(),
                Found::Many(AnyValue { value: Some(Value::Array(list)) }) => list.values.len(),
                Found::Many(AnyValue { value: Some(Value::Map(map)) }) => map.values.len(),
                _ => return Err(NoAnswer("`Len` is of a text, a list or a map")),
            };
            Found::Int(i64::try_from(length).unwrap_or(i64::MAX))
        }
        "ConvertCase" => match found {
            [Found::Text(text), Found::Text(case)] if case == "lower" => Found::Text(text.to_lowercase().into()),
            [Found::Text(text), Found::Text(case)] if case == "upper" => Found::Text(text.to_uppercase().into()),
            _ => return Err(NoAnswer("`ConvertCase` makes a text \"lower\" or \"upper\"")),
        },
        "Substring" => {
            let [Found::Text(text), Found::Int(from), Found::Int(length)] = found else {
                return Err(NoAnswer("`Substring` is of a text and two whole numbers"));
            };
            let from = usize::try_from(*from).ok();
            let end = from.zip(usize::try_from(*length).ok()).and_then(|(from, length)| from.checked_add(length));
            let part = from.zip(end).and_then(|(from, end)| text.get(from..end));
            Found::Text(part.ok_or(NoAnswer("`Substring` goes beyond the text"))?.to_owned().into())
        }
        "TraceID" | "SpanID" => match first {
            Found::Bytes(bytes) if bytes.len() == if name == "TraceID" { 16 } else { 8 } => first.clone(),
            _ => return Err(NoAnswer("an id has 16 or 8 bytes")),
        },
        _ => return Err(NoAnswer("there is no such function")),
    })
}
