//! Transactions.

use amqp_uring::protocol::{confirm, tx};

use crate::differential::methods::{
    ack, close_channel, delete, get, mandatory, passive, plain, queue, reject, to, to_queue,
};
use crate::differential::session::{A1, A2, Session};

pub fn publishes(s: &mut Session) {
    s.open_with(A1);
    s.open_channel(A2);
    s.call(A1, queue("tx.publishes"));
    s.call(A1, tx::Select {});
    s.call(A1, tx::Select {});
    s.publish(A1, to_queue("tx.publishes"), &plain(), b"1");
    s.publish(A1, to_queue("tx.publishes"), &plain(), b"2");
    s.call(A1, passive("tx.publishes"));
    s.call(A1, tx::Commit {});
    s.call_until(A1, passive("tx.publishes"), |reply| reply.counts(2));
    s.publish(A1, to_queue("tx.publishes"), &plain(), b"3");
    s.call(A1, tx::Rollback {});
    s.call(A1, passive("tx.publishes"));
    s.note("nothing to commit, nothing to roll back");
    s.call(A1, tx::Commit {});
    s.call(A1, tx::Rollback {});
    s.note("returns come with the commit");
    s.publish(A1, mandatory("", "tx.unknown"), &plain(), b"4");
    s.call(A1, passive("tx.publishes"));
    s.send(A1, tx::Commit {});
    s.expect(A1, &["basic.return", "tx.commit-ok"]);
    s.note("an error comes at once");
    s.publish(A1, to_queue("tx.publishes"), &plain(), b"5");
    s.publish(A1, to("tx.unknown", ""), &plain(), b"6");
    s.expect_refusal(A1);
    s.call(A1, passive("tx.publishes"));
    s.call(A1, delete("tx.publishes"));
}

pub fn acks(s: &mut Session) {
    s.open_with(A1);
    s.call(A1, queue("tx.acks"));
    for body in [b"1", b"2", b"3"] {
        s.publish(A1, to_queue("tx.acks"), &plain(), body);
    }
    s.call(A1, tx::Select {});
    s.call(A1, get("tx.acks"));
    s.send(A1, ack(1));
    s.call(A1, tx::Rollback {});
    s.note("after a rollback it can be acknowledged again");
    s.send(A1, ack(1));
    s.call(A1, tx::Commit {});
    s.call(A1, get("tx.acks"));
    s.send(A1, reject(2, true));
    s.note("requeued with the commit");
    s.call(A1, passive("tx.acks"));
    s.call(A1, tx::Commit {});
    s.call_until(A1, passive("tx.acks"), |reply| reply.counts(2));
    s.note("a channel that closes has committed nothing");
    s.call(A1, get("tx.acks"));
    s.send(A1, ack(3));
    s.publish(A1, to_queue("tx.acks"), &plain(), b"4");
    s.call(A1, close_channel());
    s.open_channel(A1);
    s.take_all(A1, "tx.acks");
    s.note("an unknown tag, at once");
    s.call(A1, tx::Select {});
    s.refused(A1, ack(1));
    s.call(A1, delete("tx.acks"));
}

pub fn modes(s: &mut Session) {
    s.open_with(A1);
    s.note("a channel without transactions");
    s.refused(A1, tx::Commit {});
    s.refused(A1, tx::Rollback {});
    s.note("transactions or confirms, not both");
    s.call(A1, tx::Select {});
    s.refused(A1, confirm::Select::default());
    s.call(A1, confirm::Select::default());
    s.refused(A1, tx::Select {});
    s.call(A1, confirm::Select::default());
    s.refused(A1, tx::Commit {});
    s.call(A1, queue("tx.modes"));
    s.call(A1, confirm::Select::default());
    s.publish_confirmed(A1, to_queue("tx.modes"), &plain(), b"1");
    s.call(A1, delete("tx.modes"));
}
