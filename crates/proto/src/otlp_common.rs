//! `opentelemetry.proto.common.v1` and `resource.v1`: what OTLP's three signals share. With OTLP's JSON form.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{IgnoredAny, MapAccess, Visitor},
    ser::SerializeMap,
};

use crate::otlp_json::{self, is_default, or_default};

/// What produced telemetry.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resource {
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<KeyValue>,
    #[prost(uint32, tag = "2")]
    #[serde(with = "otlp_json::short", skip_serializing_if = "is_default")]
    pub dropped_attributes_count: u32,
    #[prost(message, repeated, tag = "3")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub entity_refs: Vec<EntityRef>,
}

/// Which of a resource's attributes name and describe an entity.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EntityRef {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub schema_url: String,
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub r#type: String,
    #[prost(string, repeated, tag = "3")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub id_keys: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub description_keys: Vec<String>,
}

/// The library that wrote the telemetry.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InstrumentationScope {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub version: String,
    #[prost(message, repeated, tag = "3")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<KeyValue>,
    #[prost(uint32, tag = "4")]
    #[serde(with = "otlp_json::short", skip_serializing_if = "is_default")]
    pub dropped_attributes_count: u32,
}

/// An attribute. A repeated key is not allowed, and happens.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeyValue {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub key: String,
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<AnyValue>,
}

/// A value of any kind; without one it is "empty".
#[derive(Clone, PartialEq, prost::Message)]
pub struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub value: Option<Value>,
}

/// What an [`AnyValue`] can be.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Value {
    #[prost(string, tag = "1")]
    String(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    Array(ArrayValue),
    #[prost(message, tag = "6")]
    Map(KeyValueList),
    #[prost(bytes = "vec", tag = "7")]
    Bytes(Vec<u8>),
}

/// A list.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ArrayValue {
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub values: Vec<AnyValue>,
}

/// A map.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeyValueList {
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub values: Vec<KeyValue>,
}

impl From<Value> for AnyValue {
    fn from(value: Value) -> Self {
        Self { value: Some(value) }
    }
}

impl From<&str> for AnyValue {
    fn from(text: &str) -> Self {
        Value::String(text.to_owned()).into()
    }
}

impl From<i64> for AnyValue {
    fn from(number: i64) -> Self {
        Value::Int(number).into()
    }
}

impl From<f64> for AnyValue {
    fn from(number: f64) -> Self {
        Value::Double(number).into()
    }
}

impl From<bool> for AnyValue {
    fn from(claim: bool) -> Self {
        Value::Bool(claim).into()
    }
}

impl<V: Into<AnyValue>> From<(&str, V)> for KeyValue {
    fn from((key, value): (&str, V)) -> Self {
        Self { key: key.to_owned(), value: Some(value.into()) }
    }
}

#[derive(Serialize, Deserialize)]
struct Long(#[serde(with = "otlp_json::long")] i64);
#[derive(Serialize, Deserialize)]
struct Double(#[serde(with = "otlp_json::double")] f64);
#[derive(Serialize, Deserialize)]
struct Binary(#[serde(with = "otlp_json::binary")] Vec<u8>);
struct BinaryRef<'a>(&'a [u8]);

impl Serialize for BinaryRef<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        otlp_json::binary::serialize(self.0, to)
    }
}

impl Serialize for AnyValue {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(usize::from(self.value.is_some())))?;
        match &self.value {
            None => {}
            Some(Value::String(text)) => map.serialize_entry("stringValue", text)?,
            Some(Value::Bool(claim)) => map.serialize_entry("boolValue", claim)?,
            Some(Value::Int(number)) => map.serialize_entry("intValue", &Long(*number))?,
            Some(Value::Double(number)) => map.serialize_entry("doubleValue", &Double(*number))?,
            Some(Value::Array(list)) => map.serialize_entry("arrayValue", list)?,
            Some(Value::Map(list)) => map.serialize_entry("kvlistValue", list)?,
            Some(Value::Bytes(bytes)) => map.serialize_entry("bytesValue", &BinaryRef(bytes))?,
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for AnyValue {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        enum Kind {
            StringValue,
            BoolValue,
            IntValue,
            DoubleValue,
            ArrayValue,
            KvlistValue,
            BytesValue,
            #[serde(other)]
            Unknown,
        }
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = AnyValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an attribute's value, such as {\"stringValue\":\"text\"}")
            }

            fn visit_unit<E>(self) -> Result<AnyValue, E> {
                Ok(AnyValue::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AnyValue, A::Error> {
                let mut value = None;
                while let Some(kind) = map.next_key()? {
                    let found = match kind {
                        Kind::StringValue => map.next_value::<Option<_>>()?.map(Value::String),
                        Kind::BoolValue => map.next_value::<Option<_>>()?.map(Value::Bool),
                        Kind::IntValue => map.next_value::<Option<Long>>()?.map(|long| Value::Int(long.0)),
                        Kind::DoubleValue => map.next_value::<Option<Double>>()?.map(|double| Value::Double(double.0)),
                        Kind::ArrayValue => map.next_value::<Option<_>>()?.map(Value::Array),
                        Kind::KvlistValue => map.next_value::<Option<_>>()?.map(Value::Map),
                        Kind::BytesValue => map.next_value::<Option<Binary>>()?.map(|binary| Value::Bytes(binary.0)),
                        Kind::Unknown => {
                            map.next_value::<IgnoredAny>()?;
                            None
                        }
                    };
                    value = found.or(value);
                }
                Ok(AnyValue { value })
            }
        }
        from.deserialize_any(Fields)
    }
}
