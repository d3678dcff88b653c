//! Gets, acknowledgements of every kind, requeueing, and recovery.

use amqp_uring::protocol::basic;

use crate::differential::methods::{
    ack, ack_up_to, cancel, close_channel, consume, delete, get, nack, passive, plain, queue,
    reject, take, to_queue,
};
use crate::differential::session::{A1, A2, B1, Session};

/// A queue with bodies from 1 on.
fn fill(s: &mut Session, name: &str, count: u8) {
    s.call(A1, queue(name));
    for number in 0..count {
        s.publish(A1, to_queue(name), &plain(), &[b'1' + number]);
    }
}

pub fn getting(s: &mut Session) {
    s.open_with(A1);
    fill(s, "acks.get", 2);
    s.call(A1, take("acks.get"));
    s.call(A1, get("acks.get"));
    s.call(A1, get("acks.get"));
    s.send(A1, reject(2, true));
    s.call(A1, get("acks.get"));
    s.send(A1, ack(3));
    s.call(A1, get("acks.get"));
    s.call(A1, delete("acks.get"));
}

pub fn of_one_and_of_many(s: &mut Session) {
    s.open_with(A1);
    fill(s, "acks.many", 9);
    for _ in 0..9 {
        s.call(A1, get("acks.many"));
    }
    s.send(A1, ack(2));
    s.send(A1, ack_up_to(4));
    s.send(A1, nack(5, false, false));
    s.send(A1, nack(7, true, true));
    s.call_until(A1, passive("acks.many"), |reply| reply.counts(2));
    s.take_all(A1, "acks.many");
    s.note("0 is all that is left");
    s.send(A1, ack_up_to(0));
    s.call(A1, passive("acks.many"));
    s.note("and it may be nothing");
    s.send(A1, ack_up_to(0));
    s.call(A1, passive("acks.many"));
    s.send(A1, nack(0, true, true));
    s.call(A1, passive("acks.many"));
    s.call(A1, delete("acks.many"));
}

pub fn unknown_tags(s: &mut Session) {
    s.open_with(A1);
    fill(s, "acks.unknown", 3);
    s.refused(A1, ack(1));
    s.refused(A1, ack(0));
    s.refused(A1, ack_up_to(1));
    s.refused(A1, nack(1, false, false));
    s.refused(A1, nack(1, true, true));
    s.refused(A1, reject(1, true));
    s.refused(A1, reject(0, false));
    s.note("a second ack");
    s.call(A1, get("acks.unknown"));
    s.send(A1, ack(1));
    s.refused(A1, ack(1));
    s.note("one that `multiple` has covered");
    s.call(A1, get("acks.unknown"));
    s.call(A1, get("acks.unknown"));
    s.send(A1, ack_up_to(2));
    s.refused(A1, reject(1, true));
    s.note("one that was taken without acks");
    s.publish(A1, to_queue("acks.unknown"), &plain(), b"4");
    s.call(A1, take("acks.unknown"));
    s.refused(A1, ack(1));
    s.note("one of another channel");
    s.open_channel(A2);
    s.publish(A1, to_queue("acks.unknown"), &plain(), b"5");
    s.call(A1, get("acks.unknown"));
    s.refused(A2, ack(1));
    s.call(A1, delete("acks.unknown"));
}

pub fn requeueing_keeps_the_order(s: &mut Session) {
    s.open_with(A1);
    fill(s, "acks.order", 5);
    for _ in 0..4 {
        s.call(A1, get("acks.order"));
    }
    s.send(A1, reject(3, true));
    s.send(A1, reject(1, true));
    s.send(A1, nack(2, false, true));
    s.take_all(A1, "acks.order");
    s.send(A1, nack(4, false, true));
    s.take_all(A1, "acks.order");
    s.call(A1, delete("acks.order"));
}

pub fn requeueing_to_a_consumer(s: &mut Session) {
    s.open_with(A1);
    s.open_channel(A2);
    fill(s, "acks.again", 3);
    s.call(A2, consume("acks.again", "t"));
    s.expect(A2, &["basic.deliver", "basic.deliver", "basic.deliver"]);
    s.send(A2, reject(2, true));
    s.expect(A2, &["basic.deliver"]);
    s.send(A2, nack(0, true, true));
    s.expect(A2, &["basic.deliver", "basic.deliver", "basic.deliver"]);
    s.send(A2, reject(5, false));
    s.call(A2, cancel("t"));
    s.note("they are still the channel's, after the consumer");
    s.call(A1, passive("acks.again"));
    s.send(A2, nack(0, true, true));
    s.call_until(A2, passive("acks.again"), |reply| reply.counts(2));
    s.take_all(A1, "acks.again");
    s.call(A1, delete("acks.again"));
}

pub fn recovering(s: &mut Session) {
    s.open_with(A1);
    s.open_channel(A2);
    fill(s, "acks.recover", 3);
    s.call(A1, get("acks.recover"));
    s.call(A1, get("acks.recover"));
    s.call(A1, basic::Recover { requeue: true });
    s.take_all(A1, "acks.recover");
    s.note("nothing to recover");
    s.call(A1, basic::Recover { requeue: true });
    s.note("without an answer");
    s.publish(A1, to_queue("acks.recover"), &plain(), b"4");
    s.call(A1, get("acks.recover"));
    s.send(A1, basic::RecoverAsync { requeue: true });
    s.call(A1, get("acks.recover"));
    s.note("to a consumer");
    s.call(A2, consume("acks.recover", "t"));
    s.publish(A1, to_queue("acks.recover"), &plain(), b"5");
    s.expect(A2, &["basic.deliver"]);
    s.send(A2, basic::Recover { requeue: true });
    s.expect(A2, &["basic.recover-ok", "basic.deliver"]);
    s.call(A1, delete("acks.recover"));
    s.expect(A2, &["basic.cancel"]);
    s.note("to the same consumer: there is no such thing");
    s.fatal(A1, basic::Recover { requeue: false });
    s.open_with(A1);
    s.fatal(A1, basic::RecoverAsync { requeue: false });
}

pub fn given_back(s: &mut Session) {
    s.open_with(A1);
    fill(s, "acks.back", 3);
    s.note("by a channel that closes");
    s.open_channel(A2);
    s.call(A2, get("acks.back"));
    s.call(A2, close_channel());
    s.call_until(A1, passive("acks.back"), |reply| reply.counts(3));
    s.note("by a connection that closes");
    s.open_with(B1);
    s.call(B1, get("acks.back"));
    s.call(B1, consume("acks.back", "t"));
    s.expect(B1, &["basic.deliver", "basic.deliver"]);
    s.leave("b");
    s.call_until(A1, passive("acks.back"), |reply| reply.counts(3));
    s.note("by a connection that is lost");
    s.open_with(B1);
    s.call(B1, consume("acks.back", "t"));
    s.expect(B1, &["basic.deliver", "basic.deliver", "basic.deliver"]);
    s.hang_up("b");
    s.call_until(A1, passive("acks.back"), |reply| reply.counts(3));
    s.take_all(A1, "acks.back");
    s.call(A1, delete("acks.back"));
}
