//! Random methods, tables and properties for the tests of the protocol layer, with an encoder of their own that follows
//! the published description and shares no code with the library's.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;

use amqp_uring::protocol::{
    Decimal, FieldArray, FieldSpec, FieldTable, MethodSpec, Value, WireType,
};
use proptest::prelude::*;

/// A field table value of every type.
#[derive(Clone, Debug, PartialEq)]
pub enum Model {
    Bool(bool),
    I8(i8),
    U8(u8),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    F32(f32),
    F64(f64),
    Decimal(u8, u32),
    Text(String),
    Array(Vec<Model>),
    Timestamp(u64),
    Table(Entries),
    Void,
    Bytes(Vec<u8>),
}

/// The entries of a table, sorted by name.
pub type Entries = BTreeMap<String, Model>;

/// One value of each type, each with a value that no other type would give the same octets.
pub fn every_type() -> Entries {
    let inner = Entries::from([("inner".to_owned(), Model::I32(-7))]);
    [
        Model::Bool(true),
        Model::I8(-2),
        Model::U8(200),
        Model::I16(-300),
        Model::U16(60_000),
        Model::I32(-70_000),
        Model::U32(4_000_000_000),
        Model::I64(-5_000_000_000),
        Model::F32(1.5),
        Model::F64(-2.25),
        Model::Decimal(2, 12_345),
        Model::Text("text".to_owned()),
        Model::Array(vec![
            Model::Void,
            Model::Text("x".to_owned()),
            Model::Table(inner.clone()),
        ]),
        Model::Timestamp(1_700_000_000),
        Model::Table(inner),
        Model::Void,
        Model::Bytes(vec![0, 255, 128]),
    ]
    .into_iter()
    .enumerate()
    .map(|(index, model)| (format!("{index:02}"), model))
    .collect()
}

pub fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z.]{0,20}",
        2 => ".{0,40}",
        1 => "[a-z]{250,255}",
    ]
}

fn leaf() -> impl Strategy<Value = Model> {
    prop_oneof![
        any::<bool>().prop_map(Model::Bool),
        any::<i8>().prop_map(Model::I8),
        any::<u8>().prop_map(Model::U8),
        any::<i16>().prop_map(Model::I16),
        any::<u16>().prop_map(Model::U16),
        any::<i32>().prop_map(Model::I32),
        any::<u32>().prop_map(Model::U32),
        any::<i64>().prop_map(Model::I64),
        any::<f32>().prop_map(Model::F32),
        any::<f64>().prop_map(Model::F64),
        any::<(u8, u32)>().prop_map(|(scale, value)| Model::Decimal(scale, value)),
        ".{0,300}".prop_map(Model::Text),
        any::<u64>().prop_map(Model::Timestamp),
        Just(Model::Void),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Model::Bytes),
    ]
}

fn model() -> impl Strategy<Value = Model> {
    leaf().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Model::Array),
            proptest::collection::btree_map(text(), inner, 0..4).prop_map(Model::Table),
        ]
    })
}

pub fn entries() -> impl Strategy<Value = Entries> {
    proptest::collection::btree_map(text(), model(), 0..5)
}

fn long(out: &mut Vec<u8>, octets: &[u8]) {
    out.extend_from_slice(&(octets.len() as u32).to_be_bytes());
    out.extend_from_slice(octets);
}

fn short(out: &mut Vec<u8>, octets: &[u8]) {
    out.push(octets.len() as u8);
    out.extend_from_slice(octets);
}

/// A table without the length before it.
pub fn encode_entries(entries: &Entries) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, model) in entries {
        short(&mut out, name.as_bytes());
        encode_model(&mut out, model);
    }
    out
}

fn encode_model(out: &mut Vec<u8>, model: &Model) {
    let (tag, octets) = match model {
        Model::Bool(value) => (b't', vec![u8::from(*value)]),
        Model::I8(value) => (b'b', value.to_be_bytes().to_vec()),
        Model::U8(value) => (b'B', vec![*value]),
        Model::I16(value) => (b's', value.to_be_bytes().to_vec()),
        Model::U16(value) => (b'u', value.to_be_bytes().to_vec()),
        Model::I32(value) => (b'I', value.to_be_bytes().to_vec()),
        Model::U32(value) => (b'i', value.to_be_bytes().to_vec()),
        Model::I64(value) => (b'l', value.to_be_bytes().to_vec()),
        Model::F32(value) => (b'f', value.to_be_bytes().to_vec()),
        Model::F64(value) => (b'd', value.to_be_bytes().to_vec()),
        Model::Decimal(scale, value) => (b'D', [&[*scale], &value.to_be_bytes()[..]].concat()),
        Model::Timestamp(value) => (b'T', value.to_be_bytes().to_vec()),
        Model::Void => (b'V', Vec::new()),
        Model::Text(text) => return tagged_long(out, b'S', text.as_bytes()),
        Model::Bytes(octets) => return tagged_long(out, b'x', octets),
        Model::Table(entries) => return tagged_long(out, b'F', &encode_entries(entries)),
        Model::Array(models) => {
            let mut octets = Vec::new();
            models
                .iter()
                .for_each(|model| encode_model(&mut octets, model));
            return tagged_long(out, b'A', &octets);
        }
    };
    out.push(tag);
    out.extend_from_slice(&octets);
}

fn tagged_long(out: &mut Vec<u8>, tag: u8, octets: &[u8]) {
    out.push(tag);
    long(out, octets);
}

/// The same table, built with the library.
pub fn field_table(entries: &Entries) -> FieldTable {
    let mut table = FieldTable::new();
    for (name, model) in entries {
        with_value(model, |value| table.insert(name, value).map(drop)).unwrap();
    }
    table
}

fn field_array(models: &[Model]) -> FieldArray {
    let mut array = FieldArray::new();
    for model in models {
        with_value(model, |value| array.push(value).map(drop)).unwrap();
    }
    array
}

/// Hands the library's value of a model to `f`.
pub fn with_value<R>(model: &Model, f: impl FnOnce(Value<'_>) -> R) -> R {
    match model {
        Model::Bool(value) => f((*value).into()),
        Model::I8(value) => f((*value).into()),
        Model::U8(value) => f((*value).into()),
        Model::I16(value) => f((*value).into()),
        Model::U16(value) => f((*value).into()),
        Model::I32(value) => f((*value).into()),
        Model::U32(value) => f((*value).into()),
        Model::I64(value) => f((*value).into()),
        Model::F32(value) => f((*value).into()),
        Model::F64(value) => f((*value).into()),
        Model::Decimal(scale, value) => f(Decimal {
            scale: *scale,
            value: *value,
        }
        .into()),
        Model::Timestamp(value) => f(Value::Timestamp(*value)),
        Model::Void => f(Value::Void),
        Model::Text(text) => f(text.into()),
        Model::Bytes(octets) => f(octets.as_slice().into()),
        Model::Table(entries) => f((&field_table(entries)).into()),
        Model::Array(models) => f((&field_array(models)).into()),
    }
}

/// An argument of a method.
#[derive(Clone, Debug)]
enum Argument {
    Bit(bool),
    Octets(Vec<u8>),
}

fn argument(field: &FieldSpec) -> BoxedStrategy<Argument> {
    let octets = match field.wire_type {
        WireType::Bit if field.reserved => return Just(Argument::Bit(false)).boxed(),
        WireType::Bit => return any::<bool>().prop_map(Argument::Bit).boxed(),
        wire_type if field.reserved => Just(vec![0; reserved_size(wire_type)]).boxed(),
        WireType::Octet => any::<u8>().prop_map(|value| vec![value]).boxed(),
        WireType::Short => any::<u16>()
            .prop_map(|value| value.to_be_bytes().to_vec())
            .boxed(),
        WireType::Long => any::<u32>()
            .prop_map(|value| value.to_be_bytes().to_vec())
            .boxed(),
        WireType::LongLong | WireType::Timestamp => any::<u64>()
            .prop_map(|value| value.to_be_bytes().to_vec())
            .boxed(),
        WireType::ShortStr => with_length(text().prop_map(String::into_bytes), short),
        WireType::LongStr => with_length(".{0,300}".prop_map(String::into_bytes), long),
        WireType::Table => {
            with_length(entries().prop_map(|entries| encode_entries(&entries)), long)
        }
    };
    octets.prop_map(Argument::Octets).boxed()
}

fn with_length(
    octets: impl Strategy<Value = Vec<u8>> + 'static,
    put: fn(&mut Vec<u8>, &[u8]),
) -> BoxedStrategy<Vec<u8>> {
    octets
        .prop_map(move |octets| {
            let mut out = Vec::new();
            put(&mut out, &octets);
            out
        })
        .boxed()
}

fn reserved_size(wire_type: WireType) -> usize {
    match wire_type {
        WireType::Bit | WireType::Octet | WireType::ShortStr => 1,
        WireType::Short => 2,
        WireType::Long | WireType::LongStr | WireType::Table => 4,
        WireType::LongLong | WireType::Timestamp => 8,
    }
}

/// The payload of a method frame: ids and random arguments. Bits are packed low bit first.
pub fn payload(spec: &MethodSpec) -> impl Strategy<Value = Vec<u8>> + use<> {
    let (class_id, method_id) = (spec.class_id, spec.method_id);
    let arguments: Vec<_> = spec.fields.iter().map(argument).collect();
    arguments.prop_map(move |arguments| {
        let mut out = [class_id.to_be_bytes(), method_id.to_be_bytes()].concat();
        let mut bits_in_last = 0;
        for argument in arguments {
            match argument {
                Argument::Octets(octets) => {
                    out.extend_from_slice(&octets);
                    bits_in_last = 0;
                }
                Argument::Bit(bit) => {
                    if bits_in_last == 0 {
                        out.push(0);
                    }
                    *out.last_mut().unwrap() |= u8::from(bit) << bits_in_last;
                    bits_in_last = (bits_in_last + 1) % 8;
                }
            }
        }
        out
    })
}

/// All properties of a message, each set or not.
#[derive(Clone, Debug, Default)]
pub struct MessageProperties {
    /// The texts and their places among the fourteen properties.
    pub texts: BTreeMap<usize, String>,
    pub headers: Option<Entries>,
    pub delivery_mode: Option<u8>,
    pub priority: Option<u8>,
    pub timestamp: Option<u64>,
}

/// Places of the properties that are texts.
pub const TEXT_PROPERTIES: [usize; 10] = [0, 1, 5, 6, 7, 8, 10, 11, 12, 13];

pub fn message_properties() -> impl Strategy<Value = MessageProperties> {
    (
        proptest::collection::btree_map(
            proptest::sample::select(&TEXT_PROPERTIES[..]),
            text(),
            0..10,
        ),
        proptest::option::of(entries()),
        any::<(Option<u8>, Option<u8>, Option<u64>)>(),
    )
        .prop_map(
            |(texts, headers, (delivery_mode, priority, timestamp))| MessageProperties {
                texts,
                headers,
                delivery_mode,
                priority,
                timestamp,
            },
        )
}

/// The same properties, built with the library.
pub fn build(properties: &MessageProperties) -> amqp_uring::protocol::Properties {
    let mut builder = amqp_uring::protocol::Properties::builder();
    for (&place, text) in &properties.texts {
        builder = match place {
            0 => builder.content_type(text),
            1 => builder.content_encoding(text),
            5 => builder.correlation_id(text),
            6 => builder.reply_to(text),
            7 => builder.expiration(text),
            8 => builder.message_id(text),
            10 => builder.type_(text),
            11 => builder.user_id(text),
            12 => builder.app_id(text),
            _ => builder.cluster_id(text),
        };
    }
    if let Some(entries) = &properties.headers {
        builder = builder.headers(&field_table(entries));
    }
    if let Some(mode) = properties.delivery_mode {
        builder = builder.delivery_mode(mode);
    }
    if let Some(priority) = properties.priority {
        builder = builder.priority(priority);
    }
    if let Some(timestamp) = properties.timestamp {
        builder = builder.timestamp(timestamp);
    }
    builder.build().unwrap()
}
