//! Numbers of JSON as protobuf has them: exact, or refused.

use std::fmt;

/// A scalar as it stands in JSON.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scalar<'a> {
    Unsigned(u64),
    Signed(i64),
    Real(f64),
    Text(&'a str),
    Bool(bool),
}

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(_) | Self::Signed(_) | Self::Real(_) => f.write_str("this number"),
            Self::Text(_) => f.write_str("this text"),
            Self::Bool(_) => f.write_str("a boolean"),
        }
    }
}

impl Scalar<'_> {
    pub(super) fn unsigned(self) -> Option<u64> {
        match self {
            Self::Unsigned(number) => Some(number),
            Self::Signed(number) => u64::try_from(number).ok(),
            Self::Real(_) => self.whole().and_then(|number| u64::try_from(number).ok()),
            Self::Text(text) => text.parse().ok().or_else(|| u64::try_from(whole_of_text(text)?).ok()),
            Self::Bool(_) => None,
        }
    }

    pub(super) fn signed(self) -> Option<i64> {
        match self {
            Self::Unsigned(number) => i64::try_from(number).ok(),
            Self::Signed(number) => Some(number),
            Self::Real(_) => self.whole().and_then(|number| i64::try_from(number).ok()),
            Self::Text(text) => text.parse().ok().or_else(|| i64::try_from(whole_of_text(text)?).ok()),
            Self::Bool(_) => None,
        }
    }

    pub(super) fn real(self) -> Option<f64> {
        match self {
            // Of counts above 2^53 the nearest: what the sender wrote was a double.
            #[allow(clippy::cast_precision_loss)]
            Self::Unsigned(number) => Some(number as f64),
            #[allow(clippy::cast_precision_loss)]
            Self::Signed(number) => Some(number as f64),
            Self::Real(number) => Some(number),
            Self::Text("NaN") => Some(f64::NAN),
            Self::Text("Infinity") => Some(f64::INFINITY),
            Self::Text("-Infinity") => Some(f64::NEG_INFINITY),
            // Rust's parser takes words that protobuf has not.
            Self::Text(text) if text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) => text.parse().ok(),
            Self::Text(_) | Self::Bool(_) => None,
        }
    }

    /// `1e3` is a whole number, and `1.54471266e+18` one too: times are written so. Above 2^53 it is the nearest double.
    fn whole(self) -> Option<i128> {
        let Self::Real(number) = self else { return None };
        // 2^64: no field holds more.
        #[allow(clippy::cast_possible_truncation, reason = "whole, and far smaller than what the type holds")]
        (number.fract() == 0.0 && number.abs() <= 18_446_744_073_709_551_616.0).then_some(number as i128)
    }
}

fn whole_of_text(text: &str) -> Option<i128> {
    Scalar::Real(Scalar::Text(text).real()?).whole()
}
