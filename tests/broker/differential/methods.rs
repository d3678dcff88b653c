//! Methods and their arguments in few words.

use amqp_uring::protocol::{
    FieldArray, FieldTable, LongStr, Properties, PropertiesBuilder, ShortStr, Value, basic,
    channel, connection, exchange, queue,
};

pub fn short(text: &str) -> ShortStr<'_> {
    ShortStr::new(text).expect("at most 255 octets")
}

pub fn long(text: &str) -> LongStr<'_> {
    LongStr::new(text).expect("less than 4 GiB")
}

pub fn table<const N: usize>(entries: [(&str, Value<'_>); N]) -> FieldTable {
    let mut table = FieldTable::new();
    for (name, value) in entries {
        table.insert(name, value).expect("a table entry");
    }
    table
}

/// What stands in `CC` and `BCC`.
pub fn list<const N: usize>(texts: [&str; N]) -> FieldArray {
    let mut list = FieldArray::new();
    for text in texts {
        list.push(text).expect("a text");
    }
    list
}

pub fn text(text: &str) -> Value<'_> {
    text.into()
}

pub fn int(number: i32) -> Value<'static> {
    number.into()
}

/// What a client tells about itself, with everything that changes what RabbitMQ sends.
pub fn client_properties() -> FieldTable {
    let capabilities = table([
        ("authentication_failure_close", true.into()),
        ("basic.nack", true.into()),
        ("connection.blocked", true.into()),
        ("consumer_cancel_notify", true.into()),
        ("publisher_confirms", true.into()),
    ]);
    table([("capabilities", (&capabilities).into())])
}

pub fn start_ok<'a>(
    mechanism: &'a str,
    response: &'a [u8],
    about: &'a FieldTable,
) -> connection::StartOk<'a> {
    connection::StartOk {
        client_properties: about.as_table(),
        mechanism: short(mechanism),
        response: LongStr::from_bytes(response).expect("less than 4 GiB"),
        locale: short("en_US"),
    }
}

pub fn open(virtual_host: &str) -> connection::Open<'_> {
    connection::Open {
        virtual_host: short(virtual_host),
    }
}

pub fn goodbye() -> connection::Close<'static> {
    connection::Close {
        reply_code: 200,
        reply_text: short("Goodbye"),
        ..Default::default()
    }
}

pub fn close_channel() -> channel::Close<'static> {
    channel::Close {
        reply_code: 200,
        reply_text: short("Goodbye"),
        ..Default::default()
    }
}

pub fn queue(name: &str) -> queue::Declare<'_> {
    queue::Declare {
        queue: short(name),
        ..Default::default()
    }
}

/// A queue with arguments.
pub fn queue_with<'a>(name: &'a str, arguments: &'a FieldTable) -> queue::Declare<'a> {
    queue::Declare {
        arguments: arguments.as_table(),
        ..queue(name)
    }
}

pub fn passive(name: &str) -> queue::Declare<'_> {
    queue::Declare {
        passive: true,
        ..queue(name)
    }
}

pub fn delete(name: &str) -> queue::Delete<'_> {
    queue::Delete {
        queue: short(name),
        ..Default::default()
    }
}

pub fn purge(name: &str) -> queue::Purge<'_> {
    queue::Purge {
        queue: short(name),
        ..Default::default()
    }
}

pub fn bind<'a>(queue: &'a str, exchange: &'a str, key: &'a str) -> queue::Bind<'a> {
    queue::Bind {
        queue: short(queue),
        exchange: short(exchange),
        routing_key: short(key),
        ..Default::default()
    }
}

pub fn unbind<'a>(queue: &'a str, exchange: &'a str, key: &'a str) -> queue::Unbind<'a> {
    queue::Unbind {
        queue: short(queue),
        exchange: short(exchange),
        routing_key: short(key),
        ..Default::default()
    }
}

pub fn exchange<'a>(name: &'a str, kind: &'a str) -> exchange::Declare<'a> {
    exchange::Declare {
        exchange: short(name),
        type_: short(kind),
        ..Default::default()
    }
}

pub fn passive_exchange(name: &str) -> exchange::Declare<'_> {
    exchange::Declare {
        passive: true,
        ..exchange(name, "")
    }
}

pub fn delete_exchange(name: &str) -> exchange::Delete<'_> {
    exchange::Delete {
        exchange: short(name),
        ..Default::default()
    }
}

pub fn bind_exchange<'a>(
    destination: &'a str,
    source: &'a str,
    key: &'a str,
) -> exchange::Bind<'a> {
    exchange::Bind {
        destination: short(destination),
        source: short(source),
        routing_key: short(key),
        ..Default::default()
    }
}

pub fn unbind_exchange<'a>(
    destination: &'a str,
    source: &'a str,
    key: &'a str,
) -> exchange::Unbind<'a> {
    exchange::Unbind {
        destination: short(destination),
        source: short(source),
        routing_key: short(key),
        ..Default::default()
    }
}

/// To an exchange, with a routing key.
pub fn to<'a>(exchange: &'a str, key: &'a str) -> basic::Publish<'a> {
    basic::Publish {
        exchange: short(exchange),
        routing_key: short(key),
        ..Default::default()
    }
}

/// To a queue, by the default exchange.
pub fn to_queue(name: &str) -> basic::Publish<'_> {
    to("", name)
}

/// The same, to be returned when no queue takes it.
pub fn mandatory<'a>(exchange: &'a str, key: &'a str) -> basic::Publish<'a> {
    basic::Publish {
        mandatory: true,
        ..to(exchange, key)
    }
}

pub fn get(queue: &str) -> basic::Get<'_> {
    basic::Get {
        queue: short(queue),
        ..Default::default()
    }
}

pub fn take(queue: &str) -> basic::Get<'_> {
    basic::Get {
        no_ack: true,
        ..get(queue)
    }
}

pub fn consume<'a>(queue: &'a str, tag: &'a str) -> basic::Consume<'a> {
    basic::Consume {
        queue: short(queue),
        consumer_tag: short(tag),
        ..Default::default()
    }
}

pub fn consume_no_ack<'a>(queue: &'a str, tag: &'a str) -> basic::Consume<'a> {
    basic::Consume {
        no_ack: true,
        ..consume(queue, tag)
    }
}

pub fn cancel(tag: &str) -> basic::Cancel<'_> {
    basic::Cancel {
        consumer_tag: short(tag),
        ..Default::default()
    }
}

/// A prefetch window for each new consumer.
pub fn prefetch(count: u16) -> basic::Qos {
    basic::Qos {
        prefetch_count: count,
        ..Default::default()
    }
}

pub fn ack(delivery_tag: u64) -> basic::Ack {
    basic::Ack {
        delivery_tag,
        multiple: false,
    }
}

pub fn ack_up_to(delivery_tag: u64) -> basic::Ack {
    basic::Ack {
        delivery_tag,
        multiple: true,
    }
}

pub fn nack(delivery_tag: u64, multiple: bool, requeue: bool) -> basic::Nack {
    basic::Nack {
        delivery_tag,
        multiple,
        requeue,
    }
}

pub fn reject(delivery_tag: u64, requeue: bool) -> basic::Reject {
    basic::Reject {
        delivery_tag,
        requeue,
    }
}

/// Properties of which there are none.
pub fn plain() -> Properties {
    Properties::empty()
}

pub fn properties(set: impl FnOnce(PropertiesBuilder) -> PropertiesBuilder) -> Properties {
    set(Properties::builder()).build().expect("properties")
}
