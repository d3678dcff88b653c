//! How a connection begins: versions, mechanisms, credentials, limits, virtual hosts.
//!
//! RabbitMQ leaves those whom it does not trust waiting for some seconds. So they are sent first, and looked at together.

use amqp_uring::protocol::{channel, connection};

use crate::differential::methods::{
    client_properties, close_channel, goodbye, long, open, short, start_ok, table,
};
use crate::differential::session::{A0, A1, Session};

const LINES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

pub fn opening_and_closing(s: &mut Session) {
    s.greet("a");
    s.log_in("a", "guest", "guest", &client_properties());
    s.expect(A0, &["connection.tune"]);
    s.tune_ok("a", 2047, 131_072);
    s.call(A0, open("/"));
    s.open_channel(A1);
    s.note("after close-ok the line is the client's to end; until then each close is answered");
    s.call(A0, goodbye());
    s.send(A1, close_channel());
    s.call(A0, goodbye());
    s.note("close-ok from the client ends it at once");
    s.open("b");
    s.call(("b", 0), goodbye());
    s.send(("b", 0), connection::CloseOk {});
    s.expect_end("b");
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

pub fn mechanisms(s: &mut Session) {
    let about = client_properties();
    s.note("AMQPLAIN: a table without its length");
    s.begin("a");
    let response = b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x05guest";
    s.send(A0, start_ok("AMQPLAIN", response, &about));
    s.expect(A0, &["connection.tune"]);
    s.hang_up("a");

    s.note("what is malformed or unknown");
    let refused: [(&str, &[u8]); 6] = [
        ("AMQPLAIN", b"\x05LOGINS\0\0\0\x05guest"),
        ("PLAIN", b"other\0guest\0guest"),
        ("PLAIN", b"guest guest"),
        ("EXTERNAL", b""),
        ("plain", b"\0guest\0guest"),
        ("", b""),
    ];
    for (line, (mechanism, response)) in LINES.into_iter().zip(refused) {
        s.begin(line);
        s.send((line, 0), start_ok(mechanism, response, &about));
    }
    for (line, _) in LINES.into_iter().zip(refused) {
        s.expect_any_end(line);
    }
}

pub fn wrong_credentials(s: &mut Session) {
    let wrong = [("guest", "wrong"), ("nobody", "guest"), ("", "")];
    for (line, (user, password)) in LINES.into_iter().zip(wrong) {
        s.begin(line);
        s.log_in(line, user, password, &client_properties());
    }
    s.note("AMQPLAIN");
    s.begin("d");
    let response = b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x05wrong";
    s.send(
        ("d", 0),
        start_ok("AMQPLAIN", response, &client_properties()),
    );
    s.note("a client that does not expect a close there");
    s.begin("e");
    s.log_in("e", "guest", "wrong", &table([]));
    for line in ["a", "b", "c", "d", "e"] {
        s.expect_any_end(line);
    }
}

pub fn limits(s: &mut Session) {
    let too_much = [(2048, 131_072), (0, 131_072), (2047, 131_073), (2047, 0)];
    let too_little = [(2047, 4095), (2047, 1)];
    let refused: Vec<_> = too_much.into_iter().chain(too_little).collect();
    for (line, (channel_max, frame_max)) in LINES.into_iter().zip(&refused) {
        s.begin_tuning(line);
        s.tune_ok(line, *channel_max, *frame_max);
    }
    for (line, _) in LINES.into_iter().zip(&refused) {
        s.expect_any_end(line);
    }
    for (channel_max, frame_max) in [(1, 4096), (2047, 131_071)] {
        s.begin_tuning("a");
        s.tune_ok("a", channel_max, frame_max);
        s.call(A0, open("/"));
        s.open_channel(A1);
        s.leave("a");
    }
}

pub fn virtual_hosts(s: &mut Session) {
    for name in ["unknown", "", "%2f"] {
        s.begin_tuning("a");
        s.tune_ok("a", 2047, 131_072);
        s.fatal(A0, open(name));
    }
}

pub fn steps_out_of_turn(s: &mut Session) {
    s.note("open in place of start-ok");
    s.begin("a");
    s.send(A0, open("/"));
    s.note("open in place of tune-ok");
    s.begin_tuning("b");
    s.send(("b", 0), open("/"));
    s.note("close in place of start-ok");
    s.begin("c");
    s.send(("c", 0), goodbye());
    s.note("close in place of tune-ok");
    s.begin_tuning("d");
    s.send(("d", 0), goodbye());
    s.note("a channel before open");
    s.begin_tuning("e");
    s.tune_ok("e", 2047, 131_072);
    s.send(("e", 1), channel::Open {});
    for line in ["a", "b", "c", "d", "e"] {
        s.expect_any_end(line);
    }
}

pub fn steps_once_more(s: &mut Session) {
    s.note("secure-ok that nobody asked for");
    s.open("a");
    s.fatal(
        A0,
        connection::SecureOk {
            response: long("x"),
        },
    );
    s.note("start-ok");
    s.open("a");
    s.log_in("a", "guest", "guest", &client_properties());
    s.expect_close("a");
    s.note("tune-ok");
    s.open("a");
    s.tune_ok("a", 2047, 131_072);
    s.expect_close("a");
    s.note("open");
    s.open("a");
    s.fatal(A0, open("/"));
    s.note("a protocol header");
    s.open("a");
    s.raw("a", "protocol header", b"AMQP\0\0\x09\x01");
    s.expect_close("a");
}

pub fn update_secret(s: &mut Session) {
    s.open("a");
    let (new_secret, reason) = (long("guest"), short("it is time"));
    s.call(A0, connection::UpdateSecret { new_secret, reason });
    s.note("one that is wrong: a password is not looked at again");
    let new_secret = long("wrong");
    s.call(A0, connection::UpdateSecret { new_secret, reason });
    s.open_channel(A1);
}
