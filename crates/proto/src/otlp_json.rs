//! How OTLP writes protobuf as JSON (OTLP specification 1.x, "JSON Protobuf Encoding"): ids in hexadecimal, 64-bit numbers as
//! texts, enumerations as numbers. Used as `#[serde(with = ...)]` of the messages' fields.
//!
//! It refuses: to write anything but the specification's form. It reads what others write too: numbers as numbers or texts,
//! enumerations by name, `null` for whatever is absent. Names of fields are lower camel case; unknown ones are skipped.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};

/// `null` counts as absent.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Trace and span ids.
pub(crate) mod id {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(id: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(id))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = or_default::<D, String>(from)?;
        // Nothing longer is an id.
        if text.len() > 64 {
            return Err(D::Error::custom("an id has more than 64 hexadecimal digits"));
        }
        hex::decode(&text).map_err(|_| D::Error::custom("an id is not hexadecimal"))
    }
}

/// `bytes` that are no id: base64, standard or URL-safe, padded or not.
pub(crate) mod binary {
    use base64::{
        Engine, alphabet,
        engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    };

    use super::*;

    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = or_default::<D, String>(from)?;
        let alphabet = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
        alphabet.decode(&text).map_err(|_| D::Error::custom("bytes are not base64"))
    }
}

/// A number as a number or as text.
struct Number<T>(std::marker::PhantomData<T>);

/// What a number of JSON can be made.
pub(crate) trait Whole: Copy + TryFrom<u64> + TryFrom<i64> + std::str::FromStr {}
impl<T: Copy + TryFrom<u64> + TryFrom<i64> + std::str::FromStr> Whole for T {}

impl<T: Whole> Visitor<'_> for Number<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, or one as text")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        T::try_from(number).map_err(|_| E::custom("a number does not fit its field"))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        T::try_from(number).map_err(|_| E::custom("a number does not fit its field"))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        // `1.0` and `1e3` are whole numbers to protobuf's JSON.
        if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 {
            #[allow(clippy::cast_possible_truncation)] // whole, and below 2^53
            return self.visit_i64(number as i64);
        }
        Err(E::custom("a number is not whole"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(|_| E::custom("a text is not a number that fits its field"))
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        self.visit_u64(0)
    }
}

/// Whole numbers of 64 bits: texts, so that no reader rounds them.
pub(crate) mod long {
    use super::*;

    pub(crate) fn serialize<S: Serializer, T: fmt::Display>(number: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: Whole>(from: D) -> Result<T, D::Error> {
        from.deserialize_any(Number(std::marker::PhantomData))
    }
}

/// Lists of those.
pub(crate) mod longs {
    use super::*;

    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Long(#[serde(with = "super::long")] u64);

    struct Text(u64);

    impl Serialize for Text {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.collect_str(&self.0)
        }
    }

    pub(crate) fn serialize<S: Serializer>(list: &[u64], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(list.iter().map(|number| Text(*number)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u64>, D::Error> {
        let list = or_default::<D, Vec<Long>>(from)?;
        Ok(list.into_iter().map(|long| long.0).collect())
    }
}

/// Whole numbers of 32 bits: numbers.
pub(crate) mod short {
    use super::*;

    pub(crate) fn serialize<S: Serializer, T: Copy + Into<i64>>(number: &T, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64((*number).into())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: Whole>(from: D) -> Result<T, D::Error> {
        from.deserialize_any(Number(std::marker::PhantomData))
    }
}

/// Floating-point numbers: `NaN`, `Infinity` and `-Infinity` are texts.
pub(crate) mod double {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
        if number.is_finite() {
            to.serialize_f64(*number)
        } else if number.is_nan() {
            to.serialize_str("NaN")
        } else if *number > 0.0 {
            to.serialize_str("Infinity")
        } else {
            to.serialize_str("-Infinity")
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        struct Double;
        impl Visitor<'_> for Double {
            type Value = f64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or one as text")
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<f64, E> {
                Ok(number)
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<f64, E> {
                Ok(number as f64)
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<f64, E> {
                Ok(number as f64)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<f64, E> {
                match text {
                    "NaN" => Ok(f64::NAN),
                    "Infinity" => Ok(f64::INFINITY),
                    "-Infinity" => Ok(f64::NEG_INFINITY),
                    _ => text.parse().map_err(|_| E::custom("a text is not a number")),
                }
            }

            fn visit_unit<E: Error>(self) -> Result<f64, E> {
                Ok(0.0)
            }
        }
        from.deserialize_any(Double)
    }
}

/// A floating-point number as part of something.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Double(#[serde(with = "double")] f64);

/// Those that may be absent.
pub(crate) mod maybe_double {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(number: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
        number.map(Double).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
        Ok(Option::<Double>::deserialize(from)?.map(|double| double.0))
    }
}

/// Lists of them.
pub(crate) mod doubles {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(list: &[f64], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(list.iter().map(|number| Double(*number)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
        let list = or_default::<D, Vec<Double>>(from)?;
        Ok(list.into_iter().map(|double| double.0).collect())
    }
}

/// The names of an enumeration, for those who write them instead of numbers.
pub(crate) trait Names {
    const NAMES: &'static [(&'static str, i32)];
}

/// An enumeration's value: a number when written, a number or name when read.
pub(crate) fn by_name<'de, D: Deserializer<'de>, N: Names>(from: D) -> Result<i32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(i32),
        Name(String),
        Absent(()),
    }
    match Either::deserialize(from)? {
        Either::Number(number) => Ok(number),
        Either::Absent(()) => Ok(0),
        Either::Name(name) => N::NAMES
            .iter()
            .find_map(|(known, number)| (*known == name).then_some(*number))
            .or_else(|| name.parse().ok())
            .ok_or_else(|| D::Error::custom("an enumeration has no such name")),
    }
}
