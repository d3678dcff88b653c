//! Our codec against the one of the amq-protocol crate, which knows nothing of ours: what one writes the other reads as
//! the same, octet for octet and field for field.

mod protocol_support;

use amq_protocol::frame::WriteContext;
use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, gen_frame, parse_frame};
use amq_protocol::protocol as theirs;
use amq_protocol::protocol::AMQPClass;
use amq_protocol::types as their_types;
use amq_protocol::types::AMQPValue;
use amqp_uring::protocol::{
    ContentHeader, Decoded, Frame, FrameKind, LongStr, METHODS, Method, ShortStr, Table, Value,
    encode_frame_into,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use protocol_support::{
    Entries, MessageProperties, Model, build, encode_entries, entries, every_type, field_table,
    message_properties, payload,
};

fn their_octets(frame: &AMQPFrame) -> Vec<u8> {
    gen_frame(frame)(WriteContext::from(Vec::new()))
        .unwrap()
        .into_inner()
        .0
}

fn their_frame(octets: &[u8]) -> AMQPFrame {
    let (rest, frame) = parse_frame(octets).expect("they read what we wrote");
    assert!(rest.is_empty());
    frame
}

fn our_payload(octets: &[u8], kind: FrameKind) -> (u16, &[u8]) {
    match Frame::decode(octets, u32::MAX) {
        Ok(Decoded::Frame {
            frame,
            octets: size,
        }) if frame.kind == kind && size == octets.len() => (frame.channel, frame.payload),
        other => panic!("we read what they wrote as {other:?}"),
    }
}

/// Whether one of our values is one of theirs.
trait Same<T> {
    fn same(&self, theirs: &T) -> bool;
}

macro_rules! same_numbers {
    ($($type:ty),*) => {$(impl Same<$type> for $type {
        fn same(&self, theirs: &$type) -> bool {
            self == theirs
        }
    })*};
}

same_numbers!(bool, u8, u16, u32, u64);

impl Same<their_types::ShortString> for ShortStr<'_> {
    fn same(&self, theirs: &their_types::ShortString) -> bool {
        self.as_str() == Ok(theirs.as_str())
    }
}

impl Same<their_types::LongString> for LongStr<'_> {
    fn same(&self, theirs: &their_types::LongString) -> bool {
        self.as_bytes() == theirs.as_bytes()
    }
}

impl Same<their_types::FieldTable> for Table<'_> {
    fn same(&self, theirs: &their_types::FieldTable) -> bool {
        let ours: Vec<_> = self.iter().map(Result::unwrap).collect();
        ours.len() == theirs.inner().len()
            && ours.iter().zip(theirs.inner()).all(
                |((our_name, our_value), (their_name, their_value))| {
                    our_name.same(their_name) && our_value.same(their_value)
                },
            )
    }
}

impl Same<AMQPValue> for Value<'_> {
    fn same(&self, theirs: &AMQPValue) -> bool {
        match (self, theirs) {
            (Value::Bool(a), AMQPValue::Boolean(b)) => a == b,
            (Value::I8(a), AMQPValue::ShortShortInt(b)) => a == b,
            (Value::U8(a), AMQPValue::ShortShortUInt(b)) => a == b,
            (Value::I16(a), AMQPValue::ShortInt(b)) => a == b,
            (Value::U16(a), AMQPValue::ShortUInt(b)) => a == b,
            (Value::I32(a), AMQPValue::LongInt(b)) => a == b,
            (Value::U32(a), AMQPValue::LongUInt(b)) => a == b,
            (Value::I64(a), AMQPValue::LongLongInt(b)) => a == b,
            (Value::F32(a), AMQPValue::Float(b)) => a.to_bits() == b.to_bits(),
            (Value::F64(a), AMQPValue::Double(b)) => a.to_bits() == b.to_bits(),
            (Value::Decimal(a), AMQPValue::DecimalValue(b)) => {
                a.scale == b.scale && a.value == b.value
            }
            (Value::LongStr(a), AMQPValue::LongString(b)) => a.same(b),
            (Value::Timestamp(a), AMQPValue::Timestamp(b)) => a == b,
            (Value::Void, AMQPValue::Void) => true,
            (Value::Bytes(a), AMQPValue::ByteArray(b)) => *a == b.as_slice(),
            (Value::Table(a), AMQPValue::FieldTable(b)) => a.same(b),
            (Value::Array(a), AMQPValue::FieldArray(b)) => {
                let ours: Vec<_> = a.iter().map(Result::unwrap).collect();
                ours.len() == b.as_slice().len()
                    && ours.iter().zip(b.as_slice()).all(|(a, b)| a.same(b))
            }
            _ => false,
        }
    }
}

macro_rules! compare_methods {
    ($($ours:ident $class:ident $module:ident $method:ident { $($field:ident: $their_field:ident),* })*) => {
        /// Compares each field of two methods that should be the same.
        fn assert_same_method(ours: &Method<'_>, theirs: &AMQPClass) {
            match (ours, theirs) {
                $(#[allow(unused_variables, reason = "some methods have no fields")]
                (Method::$ours(ours), AMQPClass::$class(theirs::$module::AMQPMethod::$method(theirs))) => {
                    $(assert!(
                        ours.$field.same(&theirs.$their_field),
                        "{}: {ours:?}, {theirs:?}", stringify!($field)
                    );)*
                })*
                _ => panic!("{ours:?} was read as {theirs:?}"),
            }
        }
    };
}

compare_methods! {
    ConnectionStart Connection connection Start { version_major: version_major, version_minor: version_minor, server_properties: server_properties, mechanisms: mechanisms, locales: locales }
    ConnectionStartOk Connection connection StartOk { client_properties: client_properties, mechanism: mechanism, response: response, locale: locale }
    ConnectionSecure Connection connection Secure { challenge: challenge }
    ConnectionSecureOk Connection connection SecureOk { response: response }
    ConnectionTune Connection connection Tune { channel_max: channel_max, frame_max: frame_max, heartbeat: heartbeat }
    ConnectionTuneOk Connection connection TuneOk { channel_max: channel_max, frame_max: frame_max, heartbeat: heartbeat }
    ConnectionOpen Connection connection Open { virtual_host: virtual_host }
    ConnectionOpenOk Connection connection OpenOk {}
    ConnectionClose Connection connection Close { reply_code: reply_code, reply_text: reply_text, class_id: class_id, method_id: method_id }
    ConnectionCloseOk Connection connection CloseOk {}
    ConnectionBlocked Connection connection Blocked { reason: reason }
    ConnectionUnblocked Connection connection Unblocked {}
    ConnectionUpdateSecret Connection connection UpdateSecret { new_secret: new_secret, reason: reason }
    ConnectionUpdateSecretOk Connection connection UpdateSecretOk {}
    ChannelOpen Channel channel Open {}
    ChannelOpenOk Channel channel OpenOk {}
    ChannelFlow Channel channel Flow { active: active }
    ChannelFlowOk Channel channel FlowOk { active: active }
    ChannelClose Channel channel Close { reply_code: reply_code, reply_text: reply_text, class_id: class_id, method_id: method_id }
    ChannelCloseOk Channel channel CloseOk {}
    ExchangeDeclare Exchange exchange Declare { exchange: exchange, type_: kind, passive: passive, durable: durable, auto_delete: auto_delete, internal: internal, no_wait: nowait, arguments: arguments }
    ExchangeDeclareOk Exchange exchange DeclareOk {}
    ExchangeDelete Exchange exchange Delete { exchange: exchange, if_unused: if_unused, no_wait: nowait }
    ExchangeDeleteOk Exchange exchange DeleteOk {}
    ExchangeBind Exchange exchange Bind { destination: destination, source: source, routing_key: routing_key, no_wait: nowait, arguments: arguments }
    ExchangeBindOk Exchange exchange BindOk {}
    ExchangeUnbind Exchange exchange Unbind { destination: destination, source: source, routing_key: routing_key, no_wait: nowait, arguments: arguments }
    ExchangeUnbindOk Exchange exchange UnbindOk {}
    QueueDeclare Queue queue Declare { queue: queue, passive: passive, durable: durable, exclusive: exclusive, auto_delete: auto_delete, no_wait: nowait, arguments: arguments }
    QueueDeclareOk Queue queue DeclareOk { queue: queue, message_count: message_count, consumer_count: consumer_count }
    QueueBind Queue queue Bind { queue: queue, exchange: exchange, routing_key: routing_key, no_wait: nowait, arguments: arguments }
    QueueBindOk Queue queue BindOk {}
    QueueUnbind Queue queue Unbind { queue: queue, exchange: exchange, routing_key: routing_key, arguments: arguments }
    QueueUnbindOk Queue queue UnbindOk {}
    QueuePurge Queue queue Purge { queue: queue, no_wait: nowait }
    QueuePurgeOk Queue queue PurgeOk { message_count: message_count }
    QueueDelete Queue queue Delete { queue: queue, if_unused: if_unused, if_empty: if_empty, no_wait: nowait }
    QueueDeleteOk Queue queue DeleteOk { message_count: message_count }
    BasicQos Basic basic Qos { prefetch_count: prefetch_count, global: global }
    BasicQosOk Basic basic QosOk {}
    BasicConsume Basic basic Consume { queue: queue, consumer_tag: consumer_tag, no_local: no_local, no_ack: no_ack, exclusive: exclusive, no_wait: nowait, arguments: arguments }
    BasicConsumeOk Basic basic ConsumeOk { consumer_tag: consumer_tag }
    BasicCancel Basic basic Cancel { consumer_tag: consumer_tag, no_wait: nowait }
    BasicCancelOk Basic basic CancelOk { consumer_tag: consumer_tag }
    BasicPublish Basic basic Publish { exchange: exchange, routing_key: routing_key, mandatory: mandatory, immediate: immediate }
    BasicReturn Basic basic Return { reply_code: reply_code, reply_text: reply_text, exchange: exchange, routing_key: routing_key }
    BasicDeliver Basic basic Deliver { consumer_tag: consumer_tag, delivery_tag: delivery_tag, redelivered: redelivered, exchange: exchange, routing_key: routing_key }
    BasicGet Basic basic Get { queue: queue, no_ack: no_ack }
    BasicGetOk Basic basic GetOk { delivery_tag: delivery_tag, redelivered: redelivered, exchange: exchange, routing_key: routing_key, message_count: message_count }
    BasicGetEmpty Basic basic GetEmpty {}
    BasicAck Basic basic Ack { delivery_tag: delivery_tag, multiple: multiple }
    BasicReject Basic basic Reject { delivery_tag: delivery_tag, requeue: requeue }
    BasicRecoverAsync Basic basic RecoverAsync { requeue: requeue }
    BasicRecover Basic basic Recover { requeue: requeue }
    BasicRecoverOk Basic basic RecoverOk {}
    BasicNack Basic basic Nack { delivery_tag: delivery_tag, multiple: multiple, requeue: requeue }
    TxSelect Tx tx Select {}
    TxSelectOk Tx tx SelectOk {}
    TxCommit Tx tx Commit {}
    TxCommitOk Tx tx CommitOk {}
    TxRollback Tx tx Rollback {}
    TxRollbackOk Tx tx RollbackOk {}
    ConfirmSelect Confirm confirm Select { nowait: nowait }
    ConfirmSelectOk Confirm confirm SelectOk {}
}

#[test]
fn every_method_is_the_same_to_both() {
    for spec in METHODS {
        TestRunner::new(Config {
            cases: 48,
            ..Config::default()
        })
        .run(&(payload(spec), any::<u16>()), |(mut payload, channel)| {
            if spec.name == "basic.qos" {
                // They always send prefetch-size as 0 and do not keep what they read.
                payload[4..8].fill(0);
            }
            let ours = Method::decode(&payload).unwrap();
            let mut octets = Vec::new();
            ours.encode_frame(channel, &mut octets);

            let AMQPFrame::Method(their_channel, theirs) = their_frame(&octets) else {
                panic!("{ours:?} is no method to them")
            };
            assert_eq!(their_channel, channel);
            assert_same_method(&ours, &theirs);

            let back = their_octets(&AMQPFrame::Method(channel, theirs));
            assert_eq!(back, octets, "{}", spec.name);
            let (our_channel, our_payload) = our_payload(&back, FrameKind::Method);
            assert_eq!(
                (our_channel, Method::decode(our_payload)),
                (channel, Ok(ours))
            );
            Ok(())
        })
        .unwrap();
    }
}

fn their_value(model: &Model) -> AMQPValue {
    match model {
        Model::Bool(value) => AMQPValue::Boolean(*value),
        Model::I8(value) => AMQPValue::ShortShortInt(*value),
        Model::U8(value) => AMQPValue::ShortShortUInt(*value),
        Model::I16(value) => AMQPValue::ShortInt(*value),
        Model::U16(value) => AMQPValue::ShortUInt(*value),
        Model::I32(value) => AMQPValue::LongInt(*value),
        Model::U32(value) => AMQPValue::LongUInt(*value),
        Model::I64(value) => AMQPValue::LongLongInt(*value),
        Model::F32(value) => AMQPValue::Float(*value),
        Model::F64(value) => AMQPValue::Double(*value),
        Model::Decimal(scale, value) => AMQPValue::DecimalValue(their_types::DecimalValue {
            scale: *scale,
            value: *value,
        }),
        Model::Text(text) => AMQPValue::LongString(text.as_bytes().into()),
        Model::Array(models) => {
            AMQPValue::FieldArray(models.iter().map(their_value).collect::<Vec<_>>().into())
        }
        Model::Timestamp(value) => AMQPValue::Timestamp(*value),
        Model::Table(entries) => AMQPValue::FieldTable(their_table(entries)),
        Model::Void => AMQPValue::Void,
        Model::Bytes(octets) => AMQPValue::ByteArray(octets.as_slice().into()),
    }
}

fn their_table(entries: &Entries) -> their_types::FieldTable {
    let mut table = their_types::FieldTable::default();
    for (name, model) in entries {
        table.insert(name.as_str().into(), their_value(model));
    }
    table
}

fn their_properties(model: &MessageProperties) -> theirs::BasicProperties {
    let mut properties = theirs::BasicProperties::default();
    for (&place, text) in &model.texts {
        let text = text.as_str().into();
        properties = match place {
            0 => properties.with_content_type(text),
            1 => properties.with_content_encoding(text),
            5 => properties.with_correlation_id(text),
            6 => properties.with_reply_to(text),
            7 => properties.with_expiration(text),
            8 => properties.with_message_id(text),
            10 => properties.with_type(text),
            11 => properties.with_user_id(text),
            12 => properties.with_app_id(text),
            _ => properties.with_cluster_id(text),
        };
    }
    if let Some(entries) = &model.headers {
        properties = properties.with_headers(their_table(entries));
    }
    if let Some(mode) = model.delivery_mode {
        properties = properties.with_delivery_mode(mode);
    }
    if let Some(priority) = model.priority {
        properties = properties.with_priority(priority);
    }
    if let Some(timestamp) = model.timestamp {
        properties = properties.with_timestamp(timestamp);
    }
    properties
}

/// Both build the same header from the same model, and each reads the other's.
fn assert_same_header(model: &MessageProperties, body_size: u64, channel: u16) {
    let properties = build(model);
    let header = ContentHeader::new(body_size, properties.as_ref());
    let mut ours = Vec::new();
    encode_frame_into(&mut ours, FrameKind::Header, channel, |out| {
        header.encode(out)
    });

    let theirs = AMQPFrame::Header(
        channel,
        AMQPContentHeader {
            class_id: 60,
            body_size,
            properties: their_properties(model),
        },
    );
    assert_eq!(their_frame(&ours), theirs);
    let octets = their_octets(&theirs);
    assert_eq!(octets, ours);
    let (our_channel, payload) = our_payload(&octets, FrameKind::Header);
    assert_eq!(
        (our_channel, ContentHeader::decode(payload)),
        (channel, Ok(header))
    );
    assert_eq!(header.properties.validate(), Ok(()));
}

/// Both build the same table from the same model.
fn assert_same_table(model: &Entries) {
    let table = field_table(model);
    assert_eq!(table.as_table().as_bytes(), encode_entries(model));
    assert!(table.as_table().same(&their_table(model)), "{table:?}");
    let headers = MessageProperties {
        headers: Some(model.clone()),
        ..MessageProperties::default()
    };
    assert_same_header(&headers, 0, 1);
}

#[test]
fn a_table_with_every_type_is_the_same_to_both() {
    assert_same_table(&every_type());
}

#[test]
fn a_header_with_every_property_is_the_same_to_both() {
    let texts = protocol_support::TEXT_PROPERTIES.map(|place| (place, format!("text {place}")));
    let all = MessageProperties {
        texts: texts.into(),
        headers: Some(every_type()),
        delivery_mode: Some(2),
        priority: Some(9),
        timestamp: Some(1_700_000_000),
    };
    assert_same_header(&all, 12_345, 3);
    assert_same_header(&MessageProperties::default(), 0, 0);
}

proptest! {
    #[test]
    fn tables_are_the_same_to_both(model in entries()) {
        assert_same_table(&model);
    }

    #[test]
    fn headers_are_the_same_to_both(model in message_properties(), body_size: u64, channel: u16) {
        assert_same_header(&model, body_size, channel);
    }

    #[test]
    fn bodies_and_heartbeats_are_the_same_to_both(body in proptest::collection::vec(any::<u8>(), 0..300), channel: u16) {
        let mut ours = Vec::new();
        encode_frame_into(&mut ours, FrameKind::Body, channel, |out| out.extend_from_slice(&body));
        let theirs = AMQPFrame::Body(channel, body.clone());
        prop_assert_eq!(&their_octets(&theirs), &ours);
        prop_assert_eq!(their_frame(&ours), theirs);

        let mut heartbeat = Vec::new();
        amqp_uring::protocol::encode_heartbeat(&mut heartbeat);
        prop_assert_eq!(their_octets(&AMQPFrame::Heartbeat), heartbeat);
    }
}
