//! How a connection begins: versions, mechanisms, credentials, limits, virtual hosts.

use amqp_uring::protocol::{FieldTable, connection};

use crate::differential::methods::{client_properties, goodbye, long, short, table};
use crate::differential::session::{A0, A1, Session};

const START_OK: &[&str] = &["connection.tune"];

pub fn opening_and_closing(s: &mut Session) {
    s.greet("a");
    s.log_in("a", "guest", "guest");
    s.expect(A0, START_OK);
    s.tune_ok("a", 2047, 131_072);
    s.call(
        A0,
        connection::Open {
            virtual_host: short("/"),
        },
    );
    s.open_channel(A1);
}

pub fn protocol_headers(s: &mut Session) {
    for (what, header) in [
        ("another protocol", b"HTTP/1.1"),
        ("AMQP 0-9-2", b"AMQP\0\0\x09\x02"),
        ("AMQP 1.0", b"AMQP\0\x01\0\0"),
        ("AMQP 1.0 with SASL", b"AMQP\x03\x01\0\0"),
        ("AMQP 0-10", b"AMQP\x01\x01\0\x0a"),
    ] {
        s.connect("a");
        s.raw("a", what, header);
        s.expect_octets("a", 8);
        s.expect_end("a");
    }
    for (what, header) in [
        ("AMQP 0-8", b"AMQP\x01\x01\x08\0"),
        ("AMQP 0-9", b"AMQP\x01\x01\0\x09"),
    ] {
        s.connect("a");
        s.raw("a", what, header);
        s.expect(A0, &["connection.start"]);
        s.hang_up("a");
    }
}

fn start_ok<'a>(
    mechanism: &'a str,
    response: &'a [u8],
    properties: &'a FieldTable,
) -> connection::StartOk<'a> {
    connection::StartOk {
        mechanism: short(mechanism),
        response: amqp_uring::protocol::LongStr::from_bytes(response).expect("short enough"),
        locale: short("en_US"),
        client_properties: properties.as_table(),
    }
}

pub fn mechanisms(s: &mut Session) {
    let able = client_properties();
    s.note("AMQPLAIN: a table without its length");
    s.greet("a");
    s.send(
        A0,
        start_ok(
            "AMQPLAIN",
            b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x05guest",
            &able,
        ),
    );
    s.expect(A0, START_OK);
    s.hang_up("a");

    s.note("AMQPLAIN without a password");
    s.greet("a");
    s.send(
        A0,
        start_ok("AMQPLAIN", b"\x05LOGINS\0\0\0\x05guest", &able),
    );
    s.expect_any_end("a");

    s.note("PLAIN with an identity to act for");
    s.greet("a");
    s.send(A0, start_ok("PLAIN", b"other\0guest\0guest", &able));
    s.expect_any_end("a");

    s.note("PLAIN without its zeros");
    s.greet("a");
    s.send(A0, start_ok("PLAIN", b"guest guest", &able));
    s.expect_any_end("a");

    for mechanism in ["EXTERNAL", "plain", ""] {
        s.greet("a");
        s.send(A0, start_ok(mechanism, b"", &able));
        s.expect_any_end("a");
    }
}

pub fn wrong_credentials(s: &mut Session) {
    for (user, password) in [("guest", "wrong"), ("nobody", "guest"), ("", "")] {
        s.greet("a");
        s.log_in("a", user, password);
        s.expect_any_end("a");
    }
    s.note("a client that does not expect a close there");
    s.greet("a");
    s.send(A0, start_ok("PLAIN", b"\0guest\0wrong", &table([])));
    s.expect_end("a");
}

pub fn limits(s: &mut Session) {
    for (channel_max, frame_max) in [
        (2048, 131_072),
        (0, 131_072),
        (2047, 131_073),
        (2047, 4095),
        (2047, 1),
        (2047, 0),
    ] {
        s.greet("a");
        s.log_in("a", "guest", "guest");
        s.expect(A0, START_OK);
        s.tune_ok("a", channel_max, frame_max);
        s.expect_any_end("a");
    }
    for (channel_max, frame_max) in [(1, 4096), (2047, 131_071)] {
        s.greet("a");
        s.log_in("a", "guest", "guest");
        s.expect(A0, START_OK);
        s.tune_ok("a", channel_max, frame_max);
        s.call(
            A0,
            connection::Open {
                virtual_host: short("/"),
            },
        );
        s.open_channel(A1);
        s.leave("a");
    }
}

pub fn virtual_hosts(s: &mut Session) {
    for name in ["unknown", ""] {
        s.greet("a");
        s.log_in("a", "guest", "guest");
        s.expect(A0, START_OK);
        s.tune_ok("a", 2047, 131_072);
        s.fatal(
            A0,
            connection::Open {
                virtual_host: short(name),
            },
        );
    }
}

pub fn steps_out_of_turn(s: &mut Session) {
    s.note("open in place of start-ok");
    s.greet("a");
    s.send(
        A0,
        connection::Open {
            virtual_host: short("/"),
        },
    );
    s.expect_any_end("a");

    s.note("open in place of tune-ok");
    s.greet("a");
    s.log_in("a", "guest", "guest");
    s.expect(A0, START_OK);
    s.send(
        A0,
        connection::Open {
            virtual_host: short("/"),
        },
    );
    s.expect_any_end("a");

    s.note("a channel before open");
    s.greet("a");
    s.log_in("a", "guest", "guest");
    s.expect(A0, START_OK);
    s.tune_ok("a", 2047, 131_072);
    s.fatal(A1, amqp_uring::protocol::channel::Open {});

    s.note("close before start-ok");
    s.greet("a");
    s.send(A0, goodbye());
    s.expect_any_end("a");

    s.note("secure-ok that nobody asked for");
    s.open("a");
    s.fatal(
        A0,
        connection::SecureOk {
            response: long("x"),
        },
    );

    s.note("start-ok once more");
    s.open("a");
    s.log_in("a", "guest", "guest");
    s.expect_any_end("a");

    s.note("tune-ok once more");
    s.open("a");
    s.tune_ok("a", 2047, 131_072);
    s.expect_any_end("a");

    s.note("open once more");
    s.open("a");
    s.fatal(
        A0,
        connection::Open {
            virtual_host: short("/"),
        },
    );
}

pub fn update_secret(s: &mut Session) {
    s.open("a");
    s.send(
        A0,
        connection::UpdateSecret {
            new_secret: long("guest"),
            reason: short("it is time"),
        },
    );
    s.expect(A0, &["connection.update-secret-ok"]);
}
