//! What is encoded decodes to the same; what is malformed is refused with an error that names it, and nothing panics.

mod protocol_support;

use amqp_uring::protocol::{
    Array, ContentHeader, DecodeError, Decoded, EncodeError, FRAME_MIN_SIZE, FieldTable, Frame,
    FrameKind, METHODS, Method, Properties, PropertiesRef, ReplyCode, ShortStr, TABLE_DEPTH_MAX,
    Table, Value, basic, connection, encode_frame_into,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use protocol_support::{
    build, encode_entries, entries, every_type, field_table, message_properties, payload,
    with_value,
};

/// Runs `check` on random payloads of every method in turn.
fn for_every_method(cases: u32, check: impl Fn(&Method<'_>, &[u8])) {
    for spec in METHODS {
        TestRunner::new(Config {
            cases,
            ..Config::default()
        })
        .run(&payload(spec), |payload| {
            let method =
                Method::decode(&payload).unwrap_or_else(|error| panic!("{}: {error}", spec.name));
            assert_eq!(method.name(), spec.name);
            assert_eq!(method.id(), (spec.class_id, spec.method_id));
            assert_eq!(method.has_content(), spec.has_content());
            check(&method, &payload);
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn every_method_encodes_to_the_octets_it_was_decoded_from() {
    for_every_method(64, |method, payload| {
        let mut encoded = Vec::new();
        method.encode(&mut encoded);
        assert_eq!(encoded, payload, "{method:?}");
        assert_eq!(Method::decode(&encoded).as_ref(), Ok(method));
    });
}

#[test]
fn every_method_cut_short_anywhere_is_an_error_that_names_the_field() {
    for_every_method(4, |method, payload| {
        for length in 0..payload.len() {
            let error = Method::decode(&payload[..length]).expect_err(method.name());
            let DecodeError::Truncated {
                field,
                needed,
                available,
                offset,
            } = error
            else {
                panic!("{} cut to {length} octets: {error}", method.name());
            };
            assert!(
                needed > available && offset + available == length,
                "{error}"
            );
            assert!(
                field.starts_with(method.name()) || (length < 4 && field.ends_with(" id")),
                "{error}"
            );
            assert_eq!(error.reply_code(), ReplyCode::SyntaxError);
        }
    });
}

#[test]
fn every_method_with_an_octet_too_many_is_refused() {
    for_every_method(4, |method, payload| {
        let longer = [payload, &[0]].concat();
        assert_eq!(
            Method::decode(&longer),
            Err(DecodeError::TrailingOctets {
                after: method.name(),
                offset: payload.len(),
                count: 1
            })
        );
    });
}

#[test]
fn every_method_in_a_frame_is_whole_only_with_its_last_octet() {
    for_every_method(4, |method, payload| {
        let mut octets = Vec::new();
        method.encode_frame(7, &mut octets);
        let frame = Frame {
            kind: FrameKind::Method,
            channel: 7,
            payload,
        };
        assert_eq!(
            Frame::decode(&octets, 1 << 20),
            Ok(Decoded::Frame {
                frame,
                octets: octets.len()
            })
        );
        for length in 0..octets.len() {
            match Frame::decode(&octets[..length], 1 << 20) {
                Ok(Decoded::Incomplete { missing }) => {
                    assert!((1..=octets.len() - length).contains(&missing))
                }
                other => panic!("{length} octets of {}: {other:?}", octets.len()),
            }
        }
    });
}

#[test]
fn a_delivery_has_the_octets_that_the_specification_says() {
    let deliver = basic::Deliver {
        consumer_tag: ShortStr::new("ct").unwrap(),
        delivery_tag: 0x0102_0304_0506_0708,
        redelivered: true,
        exchange: ShortStr::default(),
        routing_key: ShortStr::new("key").unwrap(),
    };
    let mut octets = Vec::new();
    Method::from(deliver).encode(&mut octets);
    assert_eq!(
        octets,
        b"\x00\x3c\x00\x3c\x02ct\x01\x02\x03\x04\x05\x06\x07\x08\x01\x00\x03key"
    );
    assert_eq!(Method::decode(&octets), Ok(Method::BasicDeliver(deliver)));
}

#[test]
fn unknown_ids_are_told_apart() {
    assert_eq!(
        Method::decode(&[0, 61, 0, 10]),
        Err(DecodeError::UnknownClass {
            class_id: 61,
            method_id: 10
        })
    );
    let unknown = DecodeError::UnknownMethod {
        class_id: 60,
        method_id: 9,
    };
    assert_eq!(Method::decode(&[0, 60, 0, 9]), Err(unknown));
    assert_eq!(unknown.reply_code(), ReplyCode::NotImplemented);
    assert!(unknown.reply_code().is_hard());
}

#[test]
fn text_that_is_not_utf8_is_refused_where_text_is_asked_for() {
    let octets = b"\x00\x3c\x00\x15\x03a\xffb";
    let Ok(Method::BasicConsumeOk(consume_ok)) = Method::decode(octets) else {
        panic!()
    };
    assert_eq!(consume_ok.consumer_tag.as_bytes(), b"a\xffb");
    assert_eq!(
        consume_ok.consumer_tag.as_str(),
        Err(DecodeError::NotUtf8 {
            field: "short string",
            offset: 1
        })
    );
}

#[test]
fn credentials_do_not_show_in_debug() {
    let secret = amqp_uring::protocol::LongStr::new("hunter2").unwrap();
    let start_ok = Method::from(connection::StartOk {
        response: secret,
        ..Default::default()
    });
    let secure_ok = Method::from(connection::SecureOk { response: secret });
    let update = Method::from(connection::UpdateSecret {
        new_secret: secret,
        ..Default::default()
    });
    for method in [start_ok, secure_ok, update] {
        let shown = format!("{method:?}");
        assert!(
            shown.contains("<secret>") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}

#[test]
fn a_table_of_every_type_reads_as_it_was_built() {
    let model = every_type();
    let table = field_table(&model);
    assert_eq!(table.as_table().as_bytes(), encode_entries(&model));
    assert_eq!(table.iter().count(), model.len());
    for (name, model) in &model {
        with_value(model, |value| assert_eq!(table.get(name), Some(value)));
    }
}

#[test]
fn a_capital_l_is_a_signed_64_bit_integer_as_in_rabbitmq() {
    let table = Table::from_encoded(b"\x01nL\xff\xff\xff\xff\xff\xff\xff\xfe").unwrap();
    assert_eq!(table.get("n"), Ok(Some(Value::I64(-2))));
}

#[test]
fn an_unknown_value_type_is_named_with_its_place() {
    let error = DecodeError::ValueType {
        found: b'U',
        offset: 6,
    };
    assert_eq!(Table::from_encoded(b"\x01at\x01\x01bU\x00\x00"), Err(error));
    assert_eq!(error.reply_code(), ReplyCode::SyntaxError);
    // In a method the offset counts from the class id: 4 octets of ids, 2 of version, 4 of length before the table.
    let start = [
        &[0, 10, 0, 10, 0, 9, 0, 0, 0, 4][..],
        b"\x01aU\x00",
        &[0; 8],
    ]
    .concat();
    assert_eq!(
        Method::decode(&start),
        Err(DecodeError::ValueType {
            found: b'U',
            offset: 12
        })
    );
}

#[test]
fn a_length_beyond_the_end_is_refused_without_allocation() {
    let error = DecodeError::Truncated {
        field: "table value",
        offset: 7,
        needed: u32::MAX as usize,
        available: 1,
    };
    assert_eq!(Table::from_encoded(b"\x01aS\xff\xff\xff\xffx"), Err(error));
}

/// Octets of tables or arrays within each other, the outermost without its length.
fn nested(depth: usize, tag: u8) -> Vec<u8> {
    let entry: &[u8] = if tag == b'F' { b"\x01tF" } else { b"A" };
    let size = entry.len() + 4;
    let mut octets = if tag == b'F' {
        Vec::new()
    } else {
        b"\x01tA".to_vec()
    };
    if tag == b'A' {
        octets.extend_from_slice(&(((depth - 2) * size) as u32).to_be_bytes());
    }
    let within = if tag == b'F' { depth - 1 } else { depth - 2 };
    for level in (0..within).rev() {
        octets.extend_from_slice(entry);
        octets.extend_from_slice(&((level * size) as u32).to_be_bytes());
    }
    octets
}

#[test]
fn nesting_is_refused_past_the_limit_with_little_stack() {
    let check = || {
        for tag in *b"FA" {
            assert!(Table::from_encoded(&nested(TABLE_DEPTH_MAX, tag)).is_ok());
            for depth in [TABLE_DEPTH_MAX + 1, 20_000] {
                let octets = nested(depth, tag);
                let refused = Table::from_encoded(&octets);
                assert!(
                    matches!(
                        refused,
                        Err(DecodeError::TableTooDeep {
                            limit: TABLE_DEPTH_MAX,
                            ..
                        })
                    ),
                    "{refused:?}"
                );

                let mut start = vec![0, 10, 0, 10, 0, 9];
                start.extend_from_slice(&(octets.len() as u32).to_be_bytes());
                start.extend_from_slice(&octets);
                start.extend_from_slice(&[0; 8]);
                assert!(matches!(
                    Method::decode(&start),
                    Err(DecodeError::TableTooDeep { .. })
                ));

                let mut list = vec![0x20, 0];
                list.extend_from_slice(&start[6..start.len() - 8]);
                let properties = PropertiesRef::decode(&list).unwrap();
                assert!(matches!(
                    properties.validate(),
                    Err(DecodeError::TableTooDeep { .. })
                ));
                let headers = properties.headers().unwrap().unwrap();
                assert!(format!("{headers:?}").contains("<too deep>"));
                assert!(format!("{properties:?}").contains("<too deep>"));
                assert!(FieldTable::try_from(headers).is_err());
                assert!(matches!(
                    FieldTable::new().with("t", headers),
                    Err(EncodeError::Malformed(DecodeError::TableTooDeep { .. }))
                ));
            }
        }
    };
    std::thread::Builder::new()
        .stack_size(256 * 1024)
        .spawn(check)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn persistent_properties_are_delivery_mode_two() {
    let properties = Properties::persistent();
    assert_eq!(properties.encoded(), [0x10, 0, 2]);
    assert_eq!(properties.as_ref().delivery_mode(), Ok(Some(2)));
    assert_eq!(
        properties,
        Properties::builder().delivery_mode(2).build().unwrap()
    );
    assert_eq!(Properties::default().encoded(), [0, 0]);
    assert!(Properties::default().as_ref().is_empty());
}

#[test]
fn a_property_of_255_octets_is_taken_and_256_are_refused() {
    let text = "x".repeat(256);
    assert!(Properties::builder().message_id(&text[1..]).build().is_ok());
    assert_eq!(
        Properties::builder().message_id(&text).priority(1).build(),
        Err(EncodeError::TooLong {
            what: "short string",
            length: 256,
            limit: 255
        })
    );
}

#[test]
fn a_content_header_that_is_wrong_says_how() {
    let header = |class: u16, weight: u16, flags: u16| {
        let mut octets = [class.to_be_bytes(), weight.to_be_bytes()].concat();
        octets.extend_from_slice(&[0; 8]);
        octets.extend_from_slice(&flags.to_be_bytes());
        octets
    };
    assert!(ContentHeader::decode(&header(60, 0, 0)).is_ok());
    assert_eq!(
        ContentHeader::decode(&header(50, 0, 0)),
        Err(DecodeError::ContentClass { found: 50 })
    );
    assert_eq!(
        ContentHeader::decode(&header(60, 1, 0)),
        Err(DecodeError::ContentWeight { found: 1 })
    );
    for found in [1, 2, 3] {
        assert_eq!(
            ContentHeader::decode(&header(60, 0, found)),
            Err(DecodeError::PropertyFlags { found })
        );
    }
    for length in 0..14 {
        assert_eq!(
            ContentHeader::decode(&header(60, 0, 0)[..length]),
            Err(DecodeError::Truncated {
                field: "content header",
                offset: 0,
                needed: 14,
                available: length
            })
        );
    }
}

/// Asks for everything that can be asked; the answers do not matter, only that there are some.
fn look_at_everything(octets: &[u8]) {
    let _ = Frame::decode(octets, FRAME_MIN_SIZE);
    if let Ok(method) = Method::decode(octets) {
        let _ = format!("{method:?}");
    }
    if let Ok(header) = ContentHeader::decode(octets) {
        let _ = (header.properties.validate(), format!("{header:?}"));
    }
    if let Ok(properties) = PropertiesRef::decode(octets) {
        let shown = format!("{properties:?}");
        let valid = properties.validate().is_ok();
        assert_eq!(Properties::try_from(properties).is_ok(), valid, "{shown}");
    }
    if let Ok(table) = Table::from_encoded(octets) {
        let _ = format!("{table:?}");
        assert!(table.iter().all(|entry| entry.is_ok()));
        assert_eq!(
            FieldTable::try_from(table).map(|owned| owned.as_table() == table),
            Ok(true)
        );
    }
    if let Ok(array) = Array::from_encoded(octets) {
        let _ = format!("{array:?}");
    }
}

proptest! {
    #[test]
    fn random_octets_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        look_at_everything(&octets);
        for spec in METHODS {
            let ids = [spec.class_id.to_be_bytes(), spec.method_id.to_be_bytes()].concat();
            look_at_everything(&[&ids, octets.as_slice()].concat());
        }
        look_at_everything(&[&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], octets.as_slice()].concat());
    }

    #[test]
    fn a_valid_method_with_octets_changed_never_panics(
        (mut octets, changes) in (
            proptest::sample::select(METHODS).prop_flat_map(|spec| payload(&spec)),
            proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        )
    ) {
        for (place, octet) in changes {
            let place = place.index(octets.len());
            octets[place] = octet;
        }
        look_at_everything(&octets);
        let mut frame = Vec::new();
        encode_frame_into(&mut frame, FrameKind::Method, 1, |out| out.extend_from_slice(&octets));
        look_at_everything(&frame);
    }

    #[test]
    fn tables_encode_as_described_and_read_back(model in entries()) {
        let table = field_table(&model);
        let octets = encode_entries(&model);
        prop_assert_eq!(table.as_table().as_bytes(), &octets);
        prop_assert_eq!(Table::from_encoded(&octets), Ok(table.as_table()));
        prop_assert_eq!(FieldTable::try_from(table.as_table()), Ok(table.clone()));
        for (name, model) in &model {
            prop_assert!(with_value(model, |value| table.get(name) == Some(value)), "{name}");
        }
        for length in 0..octets.len() {
            look_at_everything(&octets[..length]);
        }
    }

    #[test]
    fn properties_are_built_on_from_those_that_came(mut model in message_properties()) {
        let properties = build(&model);
        let builder = properties.as_ref().to_builder().unwrap();
        prop_assert_eq!(&builder.clone().build().unwrap(), &properties);
        model.texts.remove(&7);
        model.texts.insert(12, "changed".to_owned());
        let changed = builder.without_expiration().app_id("changed").build();
        prop_assert_eq!(changed.unwrap(), build(&model));
    }

    #[test]
    fn properties_read_as_they_were_built(model in message_properties(), body_size: u64) {
        let properties = build(&model);
        let mut payload = Vec::new();
        ContentHeader::new(body_size, properties.as_ref()).encode(&mut payload);
        prop_assert_eq!(&payload[12..], properties.encoded());

        let header = ContentHeader::decode(&payload).unwrap();
        prop_assert_eq!(header, ContentHeader::new(body_size, properties.as_ref()));
        let read = header.properties;
        prop_assert_eq!(read.validate(), Ok(()));
        prop_assert_eq!(&Properties::try_from(read).unwrap(), &properties);
        let texts = [
            (0, read.content_type()), (1, read.content_encoding()), (5, read.correlation_id()), (6, read.reply_to()),
            (7, read.expiration()), (8, read.message_id()), (10, read.type_()), (11, read.user_id()),
            (12, read.app_id()), (13, read.cluster_id()),
        ];
        for (place, text) in texts {
            let expected = model.texts.get(&place).map(|text| ShortStr::new(text).unwrap());
            prop_assert_eq!(text, Ok(expected));
        }
        prop_assert_eq!(read.delivery_mode(), Ok(model.delivery_mode));
        prop_assert_eq!(read.priority(), Ok(model.priority));
        prop_assert_eq!(read.timestamp(), Ok(model.timestamp));
        let headers = model.headers.as_ref().map(field_table);
        prop_assert_eq!(read.headers(), Ok(headers.as_ref().map(FieldTable::as_table)));

        for length in 14..payload.len() {
            let cut = ContentHeader::decode(&payload[..length]).unwrap();
            let is_truncated = matches!(cut.properties.validate(), Err(DecodeError::Truncated { .. }));
            prop_assert!(is_truncated);
        }
        payload.push(0);
        let longer = ContentHeader::decode(&payload).unwrap().properties.validate();
        let is_trailing = matches!(longer, Err(DecodeError::TrailingOctets { count: 1, .. }));
        prop_assert!(is_trailing);
    }
}
