//! Direct reply-to: answers that go to a consumer without a queue.

use amqp_uring::protocol::confirm;

use crate::differential::methods::{
    cancel, consume, consume_no_ack, delete, get, mandatory, passive, plain, properties, queue,
    take, to_queue,
};
use crate::differential::session::{A1, A2, B1, Session};

const REPLY_TO: &str = "amq.rabbitmq.reply-to";

pub fn a_round_trip(s: &mut Session) {
    s.open_with(A1);
    s.open_with(B1);
    s.call(B1, queue("reply.requests"));
    s.call(A1, consume_no_ack(REPLY_TO, "replies"));
    s.publish(
        A1,
        to_queue("reply.requests"),
        &properties(|set| set.reply_to(REPLY_TO).correlation_id("7")),
        b"question",
    );
    s.call_until(B1, passive("reply.requests"), |reply| reply.counts(1));
    s.call(B1, consume_no_ack("reply.requests", "requests"));
    let reply_to = s.expect_one(B1, "basic.deliver").reply_to();
    s.note("an answer");
    s.publish(
        B1,
        to_queue(&reply_to),
        &properties(|set| set.correlation_id("7")),
        b"answer",
    );
    s.expect(A1, &["basic.deliver"]);
    s.note("it looks like a queue");
    s.call(B1, passive(&reply_to));
    s.note("a confirmed one, and a mandatory one");
    s.call(B1, confirm::Select::default());
    s.publish_confirmed(B1, to_queue(&reply_to), &plain(), b"again");
    s.expect(A1, &["basic.deliver"]);
    s.publish(B1, mandatory("", &reply_to), &plain(), b"and again");
    s.expect(B1, &["basic.return", "basic.ack"]);
    s.expect(A1, &["basic.deliver"]);
    s.note("to one that is gone");
    s.call(A1, cancel("replies"));
    s.leave("a");
    s.publish_confirmed(B1, to_queue(&reply_to), &plain(), b"late");
    s.publish(
        B1,
        mandatory("", &reply_to),
        &plain(),
        b"late and mandatory",
    );
    s.expect(B1, &["basic.return", "basic.ack"]);
    s.refused(B1, passive(&reply_to));
    s.call(B1, delete("reply.requests"));
}

pub fn refused(s: &mut Session) {
    s.open_with(A1);
    s.note("a request before there is a consumer");
    s.call(A1, queue("reply.refused"));
    s.publish(
        A1,
        to_queue("reply.refused"),
        &properties(|set| set.reply_to(REPLY_TO)),
        b"",
    );
    s.expect_refusal(A1);
    s.note("consumers with acks");
    s.refused(A1, consume(REPLY_TO, "t"));
    s.note("a second consumer");
    s.call(A1, consume_no_ack(REPLY_TO, "t"));
    s.refused(A1, consume_no_ack(REPLY_TO, "u"));
    s.note("the name as a queue");
    s.call(A1, passive(REPLY_TO));
    s.call(A1, queue(REPLY_TO));
    s.refused(A1, get(REPLY_TO));
    s.refused(A1, take(REPLY_TO));
    s.open_channel(A2);
    s.call(A2, delete(REPLY_TO));
    s.note("an address that is none");
    s.refused(A1, passive("amq.rabbitmq.reply-to.other"));
    s.publish(
        A1,
        mandatory("", "amq.rabbitmq.reply-to.other"),
        &plain(),
        b"",
    );
    s.expect(A1, &["basic.return"]);
    s.note("another value of reply-to stays as it is");
    s.publish(
        A1,
        to_queue("reply.refused"),
        &properties(|set| set.reply_to("mine")),
        b"",
    );
    s.call(A1, take("reply.refused"));
    s.call(A1, delete("reply.refused"));
}
