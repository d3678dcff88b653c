//! Declaring and deleting exchanges.

use amqp_uring::protocol::{FieldTable, exchange as class};

use crate::differential::methods::{
    bind, delete, delete_exchange, exchange, int, passive_exchange, queue, table, text, unbind,
};
use crate::differential::session::{A1, Session};

fn with<'a>(name: &'a str, kind: &'a str, arguments: &'a FieldTable) -> class::Declare<'a> {
    class::Declare {
        arguments: arguments.as_table(),
        ..exchange(name, kind)
    }
}

pub fn declaring(s: &mut Session) {
    s.open_with(A1);
    for kind in ["direct", "fanout", "topic", "headers"] {
        let name = format!("exchanges.{kind}");
        s.call(A1, exchange(&name, kind));
        s.call(A1, exchange(&name, kind));
        s.call(A1, passive_exchange(&name));
        s.call(A1, delete_exchange(&name));
        s.refused(A1, passive_exchange(&name));
    }
    s.note("types that there are not");
    s.fatal(A1, exchange("exchanges.other", "x-other"));
    s.open_with(A1);
    s.fatal(A1, exchange("exchanges.other", ""));

    s.note("passive, with everything else different");
    s.open_with(A1);
    s.call(A1, exchange("exchanges.passive", "topic"));
    s.call(
        A1,
        class::Declare {
            passive: true,
            durable: true,
            internal: true,
            ..exchange("exchanges.passive", "fanout")
        },
    );
    s.call(A1, delete_exchange("exchanges.passive"));

    s.note("the exchanges that are always there");
    for name in [
        "amq.direct",
        "amq.fanout",
        "amq.topic",
        "amq.headers",
        "amq.match",
        "amq.rabbitmq.trace",
    ] {
        s.call(A1, passive_exchange(name));
    }
    s.refused(A1, passive_exchange(""));
    s.call(
        A1,
        class::Declare {
            durable: true,
            ..exchange("amq.direct", "direct")
        },
    );
    s.call(
        A1,
        class::Declare {
            durable: true,
            ..exchange("amq.match", "headers")
        },
    );
}

pub fn reserved_names(s: &mut Session) {
    s.open_with(A1);
    s.refused(A1, exchange("amq.mine", "direct"));
    s.refused(A1, exchange("", "direct"));
    s.refused(A1, exchange("amq.direct", "fanout"));
    s.refused(A1, passive_exchange("amq.mine"));
    s.refused(A1, delete_exchange("amq.direct"));
    s.refused(A1, delete_exchange("amq.mine"));
    s.refused(A1, delete_exchange(""));
}

pub fn inequivalent(s: &mut Session) {
    s.open_with(A1);
    let alternate = table([("alternate-exchange", text("amq.fanout"))]);
    let other = table([("alternate-exchange", text("amq.direct"))]);
    let number = table([("alternate-exchange", int(5))]);
    let more = table([("x-more", int(5))]);
    let name = "exchanges.equal";
    s.call(A1, with(name, "direct", &alternate));
    s.call(A1, with(name, "direct", &alternate));
    s.refused(A1, with(name, "topic", &alternate));
    s.refused(
        A1,
        class::Declare {
            durable: true,
            ..with(name, "direct", &alternate)
        },
    );
    s.refused(
        A1,
        class::Declare {
            auto_delete: true,
            ..with(name, "direct", &alternate)
        },
    );
    s.refused(
        A1,
        class::Declare {
            internal: true,
            ..with(name, "direct", &alternate)
        },
    );
    s.refused(A1, with(name, "direct", &other));
    s.refused(A1, exchange(name, "direct"));
    s.note("arguments that mean nothing are not compared");
    s.call(A1, delete_exchange(name));
    s.call(A1, exchange(name, "direct"));
    s.call(A1, with(name, "direct", &more));
    s.call(A1, delete_exchange(name));
    s.note("an alternate exchange that is no name");
    s.refused(A1, with(name, "direct", &number));
}

pub fn deleting(s: &mut Session) {
    s.open_with(A1);
    s.note("one that is not there");
    s.call(A1, delete_exchange("exchanges.unknown"));
    s.call(
        A1,
        class::Delete {
            if_unused: true,
            ..delete_exchange("exchanges.unknown")
        },
    );

    s.note("one in use");
    s.call(A1, exchange("exchanges.used", "fanout"));
    s.call(A1, queue("exchanges.queue"));
    s.call(A1, bind("exchanges.queue", "exchanges.used", ""));
    s.refused(
        A1,
        class::Delete {
            if_unused: true,
            ..delete_exchange("exchanges.used")
        },
    );
    s.call(A1, delete_exchange("exchanges.used"));

    s.note("one out of use");
    s.call(A1, exchange("exchanges.used", "fanout"));
    s.call(
        A1,
        class::Delete {
            if_unused: true,
            ..delete_exchange("exchanges.used")
        },
    );
    s.refused(A1, passive_exchange("exchanges.used"));

    s.note("without an answer");
    s.send(
        A1,
        class::Declare {
            no_wait: true,
            ..exchange("exchanges.quiet", "fanout")
        },
    );
    s.call(A1, passive_exchange("exchanges.quiet"));
    s.send(
        A1,
        class::Delete {
            no_wait: true,
            ..delete_exchange("exchanges.quiet")
        },
    );
    s.refused(A1, passive_exchange("exchanges.quiet"));
    s.call(A1, delete("exchanges.queue"));
}

pub fn auto_delete(s: &mut Session) {
    s.open_with(A1);
    let auto_delete = class::Declare {
        auto_delete: true,
        ..exchange("exchanges.auto", "fanout")
    };
    s.call(A1, auto_delete);
    s.call(A1, queue("exchanges.auto.queue"));
    s.call(A1, passive_exchange("exchanges.auto"));
    s.note("it goes with its last binding");
    s.call(A1, bind("exchanges.auto.queue", "exchanges.auto", "1"));
    s.call(A1, bind("exchanges.auto.queue", "exchanges.auto", "2"));
    s.call(A1, unbind("exchanges.auto.queue", "exchanges.auto", "1"));
    s.call(A1, passive_exchange("exchanges.auto"));
    s.call(A1, unbind("exchanges.auto.queue", "exchanges.auto", "2"));
    s.refused(A1, passive_exchange("exchanges.auto"));

    s.note("and with the last queue");
    s.call(A1, auto_delete);
    s.call(A1, bind("exchanges.auto.queue", "exchanges.auto", ""));
    s.call(A1, delete("exchanges.auto.queue"));
    s.refused(A1, passive_exchange("exchanges.auto"));
}
