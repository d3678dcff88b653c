//! From the protocol header to `connection.open-ok`, and everything that can go wrong on the way.

use super::*;
use crate::protocol::{DecodeError, EncodeError, Value};

/// One that has got as far as having its log-in sent.
fn logged_in(config: Config) -> Client {
    let mut client = Client::new(config);
    client.feed(&start("PLAIN AMQPLAIN")).unwrap();
    client.connection.output().clear();
    client
}

fn closed(client: &mut Client) -> ConnectionError {
    let events = client.events();
    let [Event::Closed(error)] = &events[..] else {
        panic!("{events:?}");
    };
    assert!(client.connection.is_closed());
    assert_eq!(client.connection.deadline(), None);
    error.clone()
}

#[test]
fn a_handshake_logs_in_agrees_on_limits_opens_the_virtual_host_and_then_is_open() {
    let mut client = Client::new(Config {
        vhost: "/orders".into(),
        heartbeat: 30 * SECOND,
        client_properties: FieldTable::new().with("connection_name", "ingest").unwrap(),
        ..config()
    });
    assert_eq!(
        std::mem::take(client.connection.output()),
        b"AMQP\0\0\x09\x01"
    );
    client.feed(&start("EXTERNAL PLAIN")).unwrap();
    let sent = std::mem::take(client.connection.output());
    let Ok(Decoded::Frame { frame, octets }) = Frame::decode(&sent, 4096) else {
        panic!("{sent:?}");
    };
    assert_eq!(octets, sent.len());
    let Ok(Method::ConnectionStartOk(start_ok)) = Method::decode(frame.payload) else {
        panic!("{:?}", show(&sent));
    };
    assert_eq!(start_ok.mechanism, "PLAIN");
    assert_eq!(start_ok.response.as_bytes(), b"\0guest\0guest");
    let properties = FieldTable::try_from(start_ok.client_properties).unwrap();
    assert_eq!(
        properties.get("connection_name").and_then(|v| v.as_str()),
        Some("ingest")
    );
    let Some(Value::Table(capabilities)) = properties.get("capabilities") else {
        panic!("{properties:?}");
    };
    let capabilities = FieldTable::try_from(capabilities).unwrap();
    assert_eq!(
        capabilities.get("authentication_failure_close"),
        Some(Value::Bool(true))
    );

    client.feed(&tune(2047, 131_072, 60)).unwrap();
    let tune_ok = connection_class::TuneOk {
        channel_max: 4,
        frame_max: 4096,
        heartbeat: 30,
    };
    let open = connection_class::Open {
        virtual_host: short("/orders"),
    };
    client.expect(&[method(0, tune_ok), method(0, open)]);
    assert!(!client.connection.is_open());
    assert_eq!(client.events(), []);
    assert_eq!(client.connection.open_channel(1), Err(Refused::NotOpen));

    client.feed(&open_ok()).unwrap();
    assert!(client.connection.is_open());
    let events = client.events();
    let [
        Event::Open {
            tuning,
            server_properties,
        },
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!(*tuning, client.connection.tuning());
    assert_eq!((tuning.channel_max, tuning.frame_max), (4, 4096));
    assert_eq!(tuning.heartbeat, 30 * SECOND);
    assert_eq!(
        server_properties.get("product").and_then(|v| v.as_str()),
        Some("scripted")
    );
    assert_eq!(client.sent(), [""; 0]);
}

#[test]
fn a_broker_that_announces_another_version_is_refused() {
    let mut client = Client::new(config());
    client.connection.output().clear();
    let start = method(
        0,
        connection_class::Start {
            version_major: 1,
            version_minor: 0,
            mechanisms: LongStr::new("PLAIN").unwrap(),
            ..Default::default()
        },
    );
    let error = ConnectionError::Version { major: 1, minor: 0 };
    assert_eq!(client.feed(&start), Err(error.clone()));
    assert_eq!(closed(&mut client), error);
    assert_eq!(client.sent(), [""; 0]);
}

#[test]
fn a_broker_without_plain_is_told_apart_and_gets_no_password() {
    for offered in ["EXTERNAL", "", "AMQPLAIN PLAINER", "plain"] {
        let mut client = Client::new(config());
        client.connection.output().clear();
        let error = ConnectionError::Mechanism {
            offered: offered.into(),
        };
        assert_eq!(client.feed(&start(offered)), Err(error.clone()));
        assert_eq!(closed(&mut client), error);
        assert_eq!(client.sent(), [""; 0]);
    }
}

#[test]
fn a_refused_log_in_is_reported_with_the_brokers_code_and_words() {
    let mut client = logged_in(config());
    let refused = connection_close(ReplyCode::AccessRefused, "ACCESS_REFUSED - no");
    client.feed(&refused).unwrap();
    client.expect(&[connection_close_ok()]);
    let ConnectionError::ClosedByBroker(reason) = closed(&mut client) else {
        panic!("not closed by the broker");
    };
    assert_eq!(reason.reply_code(), Some(ReplyCode::AccessRefused));
    assert_eq!(reason.to_string(), "403 ACCESS_REFUSED - no");
}

#[test]
fn a_virtual_host_that_does_not_exist_is_reported_the_same_way() {
    let mut client = logged_in(config());
    client.feed(&tune(0, 0, 0)).unwrap();
    client.connection.output().clear();
    client
        .feed(&connection_close(ReplyCode::NotAllowed, "no vhost"))
        .unwrap();
    client.expect(&[connection_close_ok()]);
    assert!(matches!(closed(&mut client), ConnectionError::ClosedByBroker(r) if r.code == 530));
}

#[test]
fn a_protocol_header_instead_of_a_frame_ends_the_connection_without_a_word() {
    let mut client = Client::new(config());
    client.connection.output().clear();
    let octets = *b"AMQP\x00\x01\x00\x00";
    assert_eq!(client.feed(&octets[..5]).unwrap().missing, 3);
    let error = ConnectionError::Decode(DecodeError::ProtocolHeader { octets });
    assert_eq!(client.feed(&octets[5..]), Err(error.clone()));
    assert_eq!(closed(&mut client), error);
    assert_eq!(client.sent(), [""; 0]);
}

#[test]
fn a_web_server_is_not_taken_for_a_broker() {
    let mut client = Client::new(config());
    client.connection.output().clear();
    let error = ConnectionError::Decode(DecodeError::FrameKind { found: b'H' });
    assert_eq!(
        client.feed(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        Err(error.clone())
    );
    assert_eq!(closed(&mut client), error);
    assert_eq!(client.sent(), [""; 0]);
}

#[test]
fn methods_out_of_turn_are_violations() {
    let out_of_turn: [(usize, Vec<u8>, &str); 5] = [
        (0, tune(0, 0, 0), "connection.tune"),
        (0, open_ok(), "connection.open-ok"),
        (1, start("PLAIN"), "connection.start"),
        (1, open_ok(), "connection.open-ok"),
        (2, tune(0, 0, 0), "connection.tune"),
    ];
    let in_turn = [start("PLAIN"), tune(0, 0, 0)];
    for (after, wrong, name) in out_of_turn {
        let mut client = Client::new(config());
        client.feed(&in_turn[..after].concat()).unwrap();
        client.connection.output().clear();
        let error = client.feed(&wrong).unwrap_err();
        let ConnectionError::Violation(Violation::UnexpectedMethod {
            method, channel: 0, ..
        }) = error
        else {
            panic!("{error:?}");
        };
        assert_eq!(method, name);
        assert_eq!(closed(&mut client), error);
        // Only after `connection.open` does a broker take a `connection.close`.
        match after {
            2 => assert_eq!(close_code(&mut client), ReplyCode::CommandInvalid),
            _ => assert_eq!(client.sent(), [""; 0]),
        }
    }
}

#[test]
fn heartbeats_may_come_during_the_handshake() {
    let mut client = Client::new(config());
    let heartbeat = frame(FrameKind::Heartbeat, 0, &[]);
    for octets in [start("PLAIN"), tune(0, 0, 0), open_ok()] {
        client.feed(&heartbeat).unwrap();
        client.feed(&octets).unwrap();
    }
    assert!(client.connection.is_open());
}

#[test]
fn both_sides_limits_are_negotiated_and_written_back() {
    let cases = [
        // theirs (channels, frame), agreed
        ((0, 0), (4, 4096)),
        ((2, 131_072), (2, 4096)),
        ((4, 4096), (4, 4096)),
        ((5, 4097), (4, 4096)),
    ];
    for ((channels, frame), agreed) in cases {
        let mut client = logged_in(config());
        client.feed(&tune(channels, frame, 0)).unwrap();
        let tuning = client.connection.tuning();
        assert_eq!((tuning.channel_max, tuning.frame_max), agreed);
        let tune_ok = connection_class::TuneOk {
            channel_max: agreed.0,
            frame_max: agreed.1,
            heartbeat: 0,
        };
        let open = connection_class::Open {
            virtual_host: short("/"),
        };
        client.expect(&[method(0, tune_ok), method(0, open)]);
    }
}

#[test]
fn a_frame_max_below_the_smallest_allowed_is_a_violation() {
    let mut client = logged_in(config());
    let error = client.feed(&tune(0, 4095, 0)).unwrap_err();
    assert!(matches!(
        &error,
        ConnectionError::Violation(violation @ Violation::Tuning { .. })
            if violation.reply_code() == ReplyCode::SyntaxError
    ));
    assert_eq!(closed(&mut client), error);
}

#[test]
fn a_virtual_host_that_does_not_fit_is_an_error_and_never_cut() {
    let mut client = Client::new(Config {
        vhost: "v".repeat(256),
        ..config()
    });
    client.connection.output().clear();
    let error = client.feed(&start("PLAIN")).unwrap_err();
    assert!(matches!(
        error,
        ConnectionError::Config(EncodeError::TooLong { length: 256, .. })
    ));
    assert_eq!(closed(&mut client), error);
    assert_eq!(client.sent(), [""; 0], "the password must not be sent");

    let mut client = logged_in(Config {
        vhost: "v".repeat(255),
        ..config()
    });
    client.feed(&tune(0, 0, 0)).unwrap();
    client.feed(&open_ok()).unwrap();
    assert!(client.connection.is_open());
}

#[test]
fn client_properties_and_credentials_that_fit_no_frame_are_an_error_and_not_left_out() {
    let password = |length| {
        let mut config = config();
        config.credentials.password = "p".repeat(length);
        Client::new(config)
    };
    let mut client = password(5000);
    client.connection.output().clear();
    let error = client.feed(&start("PLAIN")).unwrap_err();
    assert!(matches!(
        error,
        ConnectionError::Config(EncodeError::TooLong {
            what: "connection.start-ok",
            limit: 4096,
            ..
        })
    ));
    assert_eq!(client.sent(), [""; 0]);
    assert!(!error.to_string().contains("pp"));
    assert!(password(3000).feed(&start("PLAIN")).is_ok());
}

#[test]
fn closing_before_the_password_was_accepted_just_ends() {
    let mut client = logged_in(config());
    client.connection.close(ReplyCode::ReplySuccess, "bye");
    assert_eq!(closed(&mut client), ConnectionError::ClosedByClient);
    assert_eq!(client.sent(), [""; 0]);
}
