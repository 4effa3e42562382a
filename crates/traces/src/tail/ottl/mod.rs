//! Conditions in OTTL, the OpenTelemetry Transformation Language, on spans and their events: what `ottl_condition` samples by.
//!
//! `pkg/ottl` of the Collector (version 0.96) describes the language: its grammar, "Comparison Rules", and the contexts `ottlspan` and
//! `ottlspanevent`. Here are comparisons, `and`, `or`, `not`, arithmetic, the paths of those contexts and the functions of [`FUNCTIONS`];
//! nothing that changes a span. Keeps true: a condition is read once, at the start; reading and asking take time and depth that
//! its length bounds; what cannot be worked out (arithmetic on text) is told, and not taken for false.

mod ask;
mod path;
mod read;
mod word;

use ask::Found;
use proto::{
    otlp_common::{InstrumentationScope, Resource},
    otlp_traces::{Event, Span},
};
use regex::Regex;

use self::path::Path;
use crate::TracesError;

/// Functions, and how many arguments they take.
pub(crate) const FUNCTIONS: &[(&str, usize)] = &[
    ("IsMatch", 2),
    ("IsString", 1),
    ("IsInt", 1),
    ("IsDouble", 1),
    ("IsBool", 1),
    ("IsMap", 1),
    ("IsList", 1),
    ("IsRootSpan", 0),
    ("Int", 1),
    ("Double", 1),
    ("String", 1),
    ("Len", 1),
    ("ConvertCase", 2),
    ("Substring", 3),
    ("TraceID", 1),
    ("SpanID", 1),
];

/// Characters of a condition at most.
const LONGEST: usize = 4096;

/// What a condition is asked of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Context {
    Span,
    Event,
}

/// One span, or one event of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Here<'t> {
    pub(crate) resource: Option<&'t Resource>,
    pub(crate) scope: Option<&'t InstrumentationScope>,
    pub(crate) span: &'t Span,
    pub(crate) event: Option<&'t Event>,
}

/// A condition that was read.
#[derive(Debug, Clone)]
pub(crate) struct Condition(Expression);

/// A part of a condition.
#[derive(Debug, Clone)]
enum Expression {
    Literal(Literal),
    Path(Path),
    Any(Vec<Expression>),
    All(Vec<Expression>),
    Not(Box<Expression>),
    Compare(Box<Expression>, Comparison, Box<Expression>),
    Arithmetic(Box<Expression>, Operation, Box<Expression>),
    /// `IsMatch` with its pattern.
    Matches(Box<Expression>, Regex),
    Call(&'static str, Vec<Expression>),
}

#[derive(Debug, Clone)]
enum Literal {
    Nil,
    Truth(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Same,
    Other,
    Less,
    AtMost,
    More,
    AtLeast,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Plus,
    Minus,
    Times,
    By,
}

/// Why a condition has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoAnswer(&'static str);

impl Condition {
    /// `place`: for messages.
    pub(crate) fn new(place: &str, text: &str, context: Context) -> Result<Self, TracesError> {
        if text.chars().count() > LONGEST {
            return Err(TracesError::setting(place, format!("a condition has {LONGEST} characters at most")));
        }
        read::condition(place, text, context).map(Self)
    }

    /// Whether it holds.
    pub(crate) fn holds(&self, here: &Here<'_>) -> Result<bool, NoAnswer> {
        match self.0.ask(here)? {
            Found::Truth(holds) => Ok(holds),
            _ => Err(NoAnswer("it is neither true nor false")),
        }
    }
}

#[cfg(test)]
mod tests;
