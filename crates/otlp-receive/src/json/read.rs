//! Reads JSON against a table and writes protobuf as it goes.
//!
//! A message within a message is written to its own buffer first, since its length stands before it.

use std::{borrow::Cow, fmt};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{
    number::Scalar,
    table::{Field, Kind, Message},
};
use crate::answer::put_varint;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Writes the fields of an object.
pub(super) struct MessageSeed<'o> {
    pub of: &'static Message,
    pub out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for MessageSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MessageSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, as an object", self.of.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key_seed(KeySeed(self.of))? {
            match field {
                Some(field) => map.next_value_seed(FieldSeed { field, out: &mut *self.out })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// The field that a key names; `None`: an unknown one.
struct KeySeed(&'static Message);

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        let same = |field: &&Field| field.name == key || (key.contains('_') && is_snake_of(key, field.name));
        Ok(self.0.fields.iter().find(same))
    }
}

/// Readers of protobuf's JSON take the names of the .proto files too.
fn is_snake_of(key: &str, name: &str) -> bool {
    let mut upper = false;
    let camel = key.chars().filter_map(|c| match c {
        '_' => {
            upper = true;
            None
        }
        c if std::mem::take(&mut upper) => Some(c.to_ascii_uppercase()),
        c => Some(c),
    });
    camel.eq(name.chars())
}

/// Writes one field: nothing for null, each element of a list.
struct FieldSeed<'o> {
    field: &'static Field,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl FieldSeed<'_> {
    fn key(&mut self, wire_type: u8) {
        put_varint(self.out, u64::from(self.field.tag) << 3 | u64::from(wire_type));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.key(2);
        put_varint(self.out, bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    fn scalar<E: Error>(mut self, scalar: Scalar<'_>) -> Result<(), E> {
        let name = self.field.name;
        if self.field.repeated {
            return Err(E::custom(format!("{scalar} stands where {name} wants a list")));
        }
        match (self.field.kind, scalar) {
            (Kind::Text, Scalar::Text(text)) => self.bytes(text.as_bytes()),
            (Kind::Bytes, Scalar::Text(text)) => {
                let bytes = STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text));
                let bytes = bytes.map_err(|_| E::custom(format!("{name} is not base64")))?;
                self.bytes(&bytes);
            }
            (Kind::Id, Scalar::Text(text)) => {
                let id = hex::decode(text).map_err(|_| E::custom(format!("{name} is not hexadecimal")))?;
                self.bytes(&id);
            }
            (Kind::Text | Kind::Bytes | Kind::Id | Kind::Message(_), _) => {
                return Err(E::custom(format!("{scalar} is no {name}")));
            }
            (kind, scalar) => {
                let wire_type = wire_type(kind);
                self.key(wire_type);
                number(kind, scalar, self.out).ok_or_else(|| E::custom(format!("{scalar} is no {name}")))?;
            }
        }
        Ok(())
    }
}

fn wire_type(kind: Kind) -> u8 {
    match kind {
        Kind::Fixed64 | Kind::SignedFixed64 | Kind::Double => 1,
        Kind::Fixed32 => 5,
        _ => 0,
    }
}

/// Writes a number without its key; `None`: it is none of this kind.
fn number(kind: Kind, scalar: Scalar<'_>, out: &mut Vec<u8>) -> Option<()> {
    match kind {
        Kind::Bool => match scalar {
            Scalar::Bool(truth) => put_varint(out, u64::from(truth)),
            _ => return None,
        },
        Kind::Unsigned => put_varint(out, scalar.unsigned()?),
        Kind::Signed => put_varint(out, scalar.signed()?.cast_unsigned()),
        Kind::Zigzag => {
            let number = scalar.signed()?;
            put_varint(out, ((number << 1) ^ (number >> 63)).cast_unsigned());
        }
        Kind::Fixed32 => out.extend_from_slice(&u32::try_from(scalar.unsigned()?).ok()?.to_le_bytes()),
        Kind::Fixed64 => out.extend_from_slice(&scalar.unsigned()?.to_le_bytes()),
        Kind::SignedFixed64 => out.extend_from_slice(&scalar.signed()?.to_le_bytes()),
        Kind::Double => out.extend_from_slice(&scalar.real()?.to_le_bytes()),
        Kind::Enum(names) => {
            let named = match scalar {
                Scalar::Text(text) => names.iter().position(|name| *name == text).and_then(|at| i64::try_from(at).ok()),
                _ => None,
            };
            let number = named.or_else(|| scalar.signed())?;
            i32::try_from(number).ok()?;
            put_varint(out, number.cast_unsigned());
        }
        Kind::Text | Kind::Bytes | Kind::Id | Kind::Message(_) => return None,
    }
    Some(())
}

impl<'de> Visitor<'de> for FieldSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.field.name)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<(), E> {
        self.scalar(Scalar::Bool(truth))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.scalar(Scalar::Unsigned(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.scalar(Scalar::Signed(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.scalar(Scalar::Real(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.scalar(Scalar::Text(text))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, map: A) -> Result<(), A::Error> {
        let name = self.field.name;
        let Kind::Message(of) = self.field.kind else {
            return Err(A::Error::custom(format!("an object is no {name}")));
        };
        if self.field.repeated {
            return Err(A::Error::custom(format!("an object stands where {name} wants a list")));
        }
        let mut inner = Vec::new();
        MessageSeed { of, out: &mut inner }.visit_map(map)?;
        self.bytes(&inner);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        let field = self.field;
        if !field.repeated {
            return Err(A::Error::custom(format!("a list is no {}", field.name)));
        }
        match field.kind {
            Kind::Message(of) => {
                let mut inner = Vec::new();
                while list.next_element_seed(MessageSeed { of, out: &mut inner })?.is_some() {
                    self.bytes(&inner);
                    inner.clear();
                }
            }
            Kind::Text => {
                while let Some(text) = list.next_element::<Cow<'_, str>>()? {
                    self.bytes(text.as_bytes());
                }
            }
            kind => {
                let mut packed = Vec::new();
                while list.next_element_seed(NumberSeed { field, kind, out: &mut packed })?.is_some() {}
                self.bytes(&packed);
            }
        }
        Ok(())
    }
}

/// Writes one number of a packed list.
struct NumberSeed<'o> {
    field: &'static Field,
    kind: Kind,
    out: &'o mut Vec<u8>,
}

impl NumberSeed<'_> {
    fn scalar<E: Error>(self, scalar: Scalar<'_>) -> Result<(), E> {
        let name = self.field.name;
        number(self.kind, scalar, self.out).ok_or_else(|| E::custom(format!("{scalar} is none of {name}")))
    }
}

impl<'de> DeserializeSeed<'de> for NumberSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for NumberSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number of {}", self.field.name)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.scalar(Scalar::Unsigned(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.scalar(Scalar::Signed(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.scalar(Scalar::Real(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.scalar(Scalar::Text(text))
    }
}
