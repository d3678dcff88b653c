//! Opening and closing channels and connections, and what may come when.

use amqp_uring::protocol::{basic, channel, connection};

use crate::differential::methods::{
    close_channel, delete, get, goodbye, open, passive, plain, queue, to, to_queue,
};
use crate::differential::session::{A0, A1, A2, FRAME_MAX, Session};

pub fn channels(s: &mut Session) {
    s.note("closed by the client, and opened again");
    s.open_with(A1);
    s.call(A1, close_channel());
    s.open_channel(A1);

    s.note("opened twice");
    s.fatal(A1, channel::Open {});

    s.note("a method on a channel that was never opened");
    s.open("a");
    s.fatal(A1, get("nowhere"));

    s.note("a method on a channel that was closed");
    s.open_with(A1);
    s.call(A1, close_channel());
    s.fatal(A1, get("nowhere"));

    s.note("close of a channel that is not open");
    s.open("a");
    s.fatal(A1, close_channel());

    s.note("close-ok of a channel that is not open");
    s.open("a");
    s.fatal(A1, channel::CloseOk {});

    s.note("the limit is one on how many are open, not on their numbers");
    s.open_with(("a", 65_535));
    s.begin_tuning("a");
    s.tune_ok("a", 2, FRAME_MAX);
    s.call(A0, open("/"));
    s.open_channel(A1);
    s.open_channel(("a", 7));
    s.fatal(A2, channel::Open {});
}

pub fn a_channel_that_the_broker_closes(s: &mut Session) {
    s.open_with(A1);
    s.call(A1, queue("states.closing"));
    s.note("nothing counts until close-ok, not even content");
    s.send(A1, passive("states.unknown"));
    s.send(A1, delete("states.closing"));
    s.send(A1, to_queue("states.closing"));
    s.send_header(A1, 2, &plain());
    s.send_body(A1, b"no");
    s.expect(A1, &["channel.close"]);
    s.send(A1, get("states.closing"));
    s.publish(A1, to("unknown", ""), &plain(), b"no");
    s.send(A1, channel::CloseOk {});
    s.open_channel(A1);
    s.call(A1, passive("states.closing"));

    s.note("both close: the client's close is answered");
    s.send(A1, passive("states.unknown"));
    s.expect(A1, &["channel.close"]);
    s.call(A1, close_channel());
    s.send(A1, channel::CloseOk {});
    s.open_channel(A2);
    s.call(A2, delete("states.closing"));
}

pub fn a_connection_that_the_broker_closes(s: &mut Session) {
    s.note("nothing counts until close-ok");
    s.open_with(A1);
    s.open_channel(A2);
    s.send(A1, basic::Recover { requeue: false });
    s.expect(A0, &["connection.close"]);
    s.send(A2, passive("states.unknown"));
    s.send(A1, passive("states.unknown"));
    s.send(A0, connection::CloseOk {});
    s.expect_end("a");

    s.note("both close");
    s.open_with(A1);
    s.send(A1, basic::Recover { requeue: false });
    s.expect(A0, &["connection.close"]);
    s.call(A0, goodbye());
    s.send(A0, connection::CloseOk {});
    s.expect_end("a");
}

pub fn flow(s: &mut Session) {
    s.open_with(A1);
    s.call(A1, channel::Flow { active: true });
    s.fatal(A1, channel::Flow { active: false });
    s.open_with(A1);
    s.send(A1, channel::FlowOk { active: true });
    s.expect_close("a");
}
