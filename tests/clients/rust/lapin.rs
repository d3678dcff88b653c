//! Checks with lapin.

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions,
    BasicPublishOptions, BasicQosOptions, BasicRejectOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer, Error,
    ErrorKind, ExchangeKind,
};

use crate::LARGE_BODY_OCTETS;

async fn connect(uri: &str) -> Connection {
    Connection::connect(uri, ConnectionProperties::default())
        .await
        .expect("a connection")
}

/// A queue of this connection alone, with a name from the broker.
async fn own_queue(channel: &Channel, arguments: FieldTable) -> ShortString {
    let options = QueueDeclareOptions::exclusive();
    let queue = channel.queue_declare("".into(), options, arguments).await;
    queue.expect("a queue").name().clone()
}

/// How many messages wait in a queue.
async fn ready(channel: &Channel, queue: &ShortString) -> u32 {
    let options = QueueDeclareOptions::default().passive();
    let declared = channel.queue_declare(queue.clone(), options, FieldTable::default());
    declared.await.expect("the queue").message_count()
}

/// Publishes in confirm mode, to an exchange.
async fn publish_to(
    channel: &Channel,
    exchange: &str,
    key: &ShortString,
    body: &[u8],
) -> Confirmation {
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let properties = BasicProperties::default();
    channel
        .basic_publish(exchange.into(), key.clone(), options, body, properties)
        .await
        .expect("a publish")
        .await
        .expect("a confirm")
}

async fn publish(channel: &Channel, queue: &ShortString, body: &[u8]) {
    let confirmation = publish_to(channel, "", queue, body).await;
    assert_eq!(confirmation, Confirmation::Ack(None));
}

async fn confirming(connection: &Connection) -> Channel {
    let channel = connection.create_channel().await.expect("a channel");
    let options = ConfirmSelectOptions::default();
    channel.confirm_select(options).await.expect("confirm mode");
    channel
}

async fn consume(channel: &Channel, queue: &ShortString) -> Consumer {
    let options = BasicConsumeOptions::default();
    let arguments = FieldTable::default();
    channel
        .basic_consume(queue.clone(), "".into(), options, arguments)
        .await
        .expect("a consumer")
}

/// The next delivery, and its body.
async fn next(consumer: &mut Consumer) -> (lapin::message::Delivery, Vec<u8>) {
    let delivery = consumer.next().await.expect("a consumer that goes on");
    let delivery = delivery.expect("a delivery");
    let body = delivery.data.clone();
    (delivery, body)
}

/// Takes a message out of a queue: its body, and whether it is a redelivery.
async fn take(channel: &Channel, queue: &ShortString) -> Option<(Vec<u8>, bool)> {
    let options = BasicGetOptions { no_ack: true };
    let message = channel.basic_get(queue.clone(), options).await;
    let delivery = message.expect("an answer")?.delivery;
    Some((delivery.data, delivery.redelivered))
}

/// The reply code of an error that the broker sent.
fn code(error: &Error) -> u16 {
    match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_id(),
        other => panic!("not an error of the broker: {other:?}"),
    }
}

pub async fn declares_and_binds(uri: &str) {
    let connection = connect(uri).await;
    let channel = confirming(&connection).await;
    let exchange = "clients.lapin.topics";
    channel
        .exchange_declare(
            exchange.into(),
            ExchangeKind::Topic,
            ExchangeDeclareOptions::default(),
            FieldTable::default(),
        )
        .await
        .expect("an exchange");
    let queue = own_queue(&channel, FieldTable::default()).await;
    channel
        .queue_bind(
            queue.clone(),
            exchange.into(),
            "orders.*.new".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .expect("a binding");
    let routed = publish_to(&channel, exchange, &"orders.eu.new".into(), b"1").await;
    assert_eq!(routed, Confirmation::Ack(None));
    let unrouted = publish_to(&channel, exchange, &"orders.eu.old".into(), b"2").await;
    assert_eq!(unrouted.take_message().expect("a return").reply_code, 312);
    channel
        .queue_unbind(
            queue.clone(),
            exchange.into(),
            "orders.*.new".into(),
            FieldTable::default(),
        )
        .await
        .expect("no binding");
    let unrouted = publish_to(&channel, exchange, &"orders.eu.new".into(), b"3").await;
    assert!(unrouted.take_message().is_some());
    let purged = channel.queue_purge(queue.clone(), QueuePurgeOptions::default());
    assert_eq!(purged.await.expect("a purge"), 1);
    let deleted = channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default());
    deleted.await.expect("no exchange");
    connection.close(200, "done".into()).await.expect("a close");
}

pub async fn publishes_with_confirms(uri: &str) {
    const MESSAGES: u32 = 1000;
    let connection = connect(uri).await;
    let channel = confirming(&connection).await;
    let queue = own_queue(&channel, FieldTable::default()).await;
    let mut confirms = Vec::new();
    for number in 0..MESSAGES {
        let options = BasicPublishOptions::default();
        let properties = BasicProperties::default();
        let body = number.to_string();
        let confirm = channel
            .basic_publish(
                "".into(),
                queue.clone(),
                options,
                body.as_bytes(),
                properties,
            )
            .await
            .expect("a publish");
        confirms.push(confirm);
    }
    for confirm in confirms {
        assert_eq!(confirm.await.expect("a confirm"), Confirmation::Ack(None));
    }
    let returned = channel.wait_for_confirms().await.expect("all confirms");
    assert_eq!(returned, []);
    assert_eq!(ready(&channel, &queue).await, MESSAGES);
    connection.close(200, "done".into()).await.expect("a close");
}

pub async fn sees_what_is_returned(uri: &str) {
    let connection = connect(uri).await;
    let channel = confirming(&connection).await;
    let confirmation = publish_to(&channel, "", &"clients.lapin.nowhere".into(), b"lost").await;
    assert!(confirmation.is_ack());
    let returned = confirmation.take_message().expect("a return");
    assert_eq!(returned.reply_code, 312);
    assert_eq!(returned.reply_text, "NO_ROUTE".into());
    assert_eq!(
        returned.delivery.routing_key,
        "clients.lapin.nowhere".into()
    );
    assert_eq!(returned.delivery.data, b"lost");
    connection.close(200, "done".into()).await.expect("a close");
}

pub async fn carries_properties_and_large_bodies(uri: &str) {
    let connection = connect(uri).await;
    let channel = confirming(&connection).await;
    let queue = own_queue(&channel, FieldTable::default()).await;
    let mut inner = FieldTable::default();
    inner.insert("deep".into(), AMQPValue::Boolean(true));
    let mut headers = FieldTable::default();
    headers.insert("number".into(), AMQPValue::LongInt(-7));
    headers.insert("text".into(), AMQPValue::LongString("grün".into()));
    headers.insert("table".into(), AMQPValue::FieldTable(inner));
    headers.insert("nothing".into(), AMQPValue::Void);
    let properties = BasicProperties::default()
        .with_content_type("text/plain".into())
        .with_headers(headers)
        .with_delivery_mode(2)
        .with_priority(3)
        .with_correlation_id("correlation".into())
        .with_reply_to("reply".into())
        .with_message_id("message".into())
        .with_timestamp(1_700_000_000)
        .with_type("kind".into())
        .with_app_id("application".into());
    let large: Vec<u8> = (0..=u8::MAX).cycle().take(LARGE_BODY_OCTETS).collect();
    for body in [&large[..], b""] {
        let options = BasicPublishOptions::default();
        let properties = properties.clone();
        channel
            .basic_publish("".into(), queue.clone(), options, body, properties)
            .await
            .expect("a publish")
            .await
            .expect("a confirm");
    }
    let mut consumer = consume(&channel, &queue).await;
    for body in [&large[..], b""] {
        let (delivery, received) = next(&mut consumer).await;
        assert!(received == body, "{} octets came", received.len());
        assert_eq!(delivery.properties, properties);
    }
    connection.close(200, "done".into()).await.expect("a close");
}

pub async fn consumes_with_prefetch(uri: &str) {
    let connection = connect(uri).await;
    let channel = confirming(&connection).await;
    let queue = own_queue(&channel, FieldTable::default()).await;
    for body in [b"1", b"2", b"3", b"4", b"5"] {
        publish(&channel, &queue, body).await;
    }
    let options = BasicQosOptions::default();
    channel.basic_qos(2, options).await.expect("a prefetch");
    let mut consumer = consume(&channel, &queue).await;
    assert_eq!(next(&mut consumer).await.1, b"1");
    let (second, body) = next(&mut consumer).await;
    assert_eq!(body, b"2");
    assert_eq!(ready(&channel, &queue).await, 3, "two are under way");
    let both = BasicAckOptions { multiple: true };
    assert!(second.ack(both).await.expect("an ack"));
    assert_eq!(next(&mut consumer).await.1, b"3");
    let (fourth, body) = next(&mut consumer).await;
    assert_eq!(body, b"4");
    assert_eq!(ready(&channel, &queue).await, 1, "two are under way");
    fourth
        .ack(BasicAckOptions::default())
        .await
        .expect("an ack");
    assert_eq!(next(&mut consumer).await.1, b"5");
    connection.close(200, "done".into()).await.expect("a close");
}

pub async fn nacks_and_rejects(uri: &str) {
    let connection = connect(uri).await;
    let channel = confirming(&connection).await;
    let dead = own_queue(&channel, FieldTable::default()).await;
    let mut arguments = FieldTable::default();
    let to = |name: &str| AMQPValue::LongString(name.into());
    arguments.insert("x-dead-letter-exchange".into(), to(""));
    arguments.insert("x-dead-letter-routing-key".into(), to(dead.as_str()));
    let queue = own_queue(&channel, arguments).await;
    for body in [b"1", b"2"] {
        publish(&channel, &queue, body).await;
    }
    let mut consumer = consume(&channel, &queue).await;
    let (first, _) = next(&mut consumer).await;
    let (second, _) = next(&mut consumer).await;
    let again = BasicNackOptions {
        requeue: true,
        ..BasicNackOptions::default()
    };
    first.nack(again).await.expect("a nack");
    let (first, body) = next(&mut consumer).await;
    assert_eq!((body, first.redelivered), (b"1".to_vec(), true));
    let options = BasicNackOptions::default();
    first.nack(options).await.expect("a nack");
    let options = BasicRejectOptions { requeue: false };
    second.reject(options).await.expect("a reject");
    let mut consumer = consume(&channel, &dead).await;
    for expected in [b"1", b"2"] {
        let (letter, body) = next(&mut consumer).await;
        assert_eq!(body, expected);
        let headers = letter.properties.headers().as_ref().expect("headers");
        let reason = headers.inner().get("x-first-death-reason");
        assert_eq!(reason, Some(&to("rejected")));
    }
    connection.close(200, "done".into()).await.expect("a close");
}

pub async fn gets(uri: &str) {
    let connection = connect(uri).await;
    let channel = confirming(&connection).await;
    let queue = own_queue(&channel, FieldTable::default()).await;
    assert_eq!(take(&channel, &queue).await, None);
    for body in [b"1", b"2", b"3"] {
        publish(&channel, &queue, body).await;
    }
    let options = BasicGetOptions::default();
    let message = channel.basic_get(queue.clone(), options).await;
    let message = message.expect("an answer").expect("a message");
    assert_eq!(message.message_count, 2);
    assert_eq!(message.delivery.data, b"1");
    let again = BasicNackOptions {
        requeue: true,
        ..BasicNackOptions::default()
    };
    message.nack(again).await.expect("a nack");
    assert_eq!(take(&channel, &queue).await, Some((b"1".to_vec(), true)));
    assert_eq!(take(&channel, &queue).await, Some((b"2".to_vec(), false)));
    assert_eq!(take(&channel, &queue).await, Some((b"3".to_vec(), false)));
    assert_eq!(take(&channel, &queue).await, None);
    connection.close(200, "done".into()).await.expect("a close");
}

pub async fn commits_and_rolls_back(uri: &str) {
    let connection = connect(uri).await;
    let channel = connection.create_channel().await.expect("a channel");
    let queue = own_queue(&channel, FieldTable::default()).await;
    let send = async |body: &'static [u8]| {
        let options = BasicPublishOptions::default();
        let properties = BasicProperties::default();
        let publish = channel.basic_publish("".into(), queue.clone(), options, body, properties);
        publish.await.expect("a publish");
    };
    channel.tx_select().await.expect("transactions");
    send(b"1").await;
    channel.tx_rollback().await.expect("a rollback");
    send(b"2").await;
    assert_eq!(ready(&channel, &queue).await, 0, "nothing is committed");
    channel.tx_commit().await.expect("a commit");
    let options = BasicGetOptions::default();
    let message = channel.basic_get(queue.clone(), options).await;
    let message = message.expect("an answer").expect("a message");
    assert_eq!(message.delivery.data, b"2");
    message
        .ack(BasicAckOptions::default())
        .await
        .expect("an ack");
    channel.tx_commit().await.expect("a commit");
    assert_eq!(take(&channel, &queue).await, None);
    connection.close(200, "done".into()).await.expect("a close");
}

pub async fn cancels_and_is_cancelled(uri: &str) {
    let connection = connect(uri).await;
    let channel = confirming(&connection).await;
    let queue = own_queue(&channel, FieldTable::default()).await;
    let mut consumer = consume(&channel, &queue).await;
    let options = BasicCancelOptions::default();
    let cancelled = channel.basic_cancel(consumer.tag(), options);
    cancelled.await.expect("a cancel");
    assert!(consumer.next().await.is_none());
    publish(&channel, &queue, b"1").await;
    assert_eq!(ready(&channel, &queue).await, 1, "nobody consumes");
    let mut consumer = consume(&channel, &queue).await;
    assert_eq!(next(&mut consumer).await.1, b"1");
    let options = QueueDeleteOptions::default();
    let deleted = channel.queue_delete(queue.clone(), options);
    deleted.await.expect("no queue");
    assert!(consumer.next().await.is_none(), "the broker cancels it");
    connection.close(200, "done".into()).await.expect("a close");
}

pub async fn sees_errors_of_channels(uri: &str) {
    let connection = connect(uri).await;
    let stranger = connect(uri).await;
    let owner = connection.create_channel().await.expect("a channel");
    let queue: ShortString = "clients.lapin.own".into();
    let exclusive = QueueDeclareOptions::exclusive();
    let passive = QueueDeclareOptions::default().passive();
    let plain = FieldTable::default;
    let declared = owner.queue_declare(queue.clone(), exclusive, plain());
    declared.await.expect("a queue");
    let mut other = plain();
    other.insert("x-max-length".into(), AMQPValue::LongInt(1));
    for (connection, name, options, arguments, expected) in [
        (&connection, "clients.lapin.unknown", passive, plain(), 404),
        (&connection, "clients.lapin.own", exclusive, other, 406),
        (&connection, "amq.lapin", exclusive, plain(), 403),
        (&stranger, "clients.lapin.own", passive, plain(), 405),
    ] {
        let channel = connection.create_channel().await.expect("a channel");
        let refused = channel.queue_declare(name.into(), options, arguments).await;
        assert_eq!(code(&refused.expect_err("a refusal")), expected);
    }
    assert_eq!(ready(&owner, &queue).await, 0, "the connection goes on");
    for connection in [connection, stranger] {
        connection.close(200, "done".into()).await.expect("a close");
    }
}

pub async fn is_refused_with_a_wrong_password(uri: &str) {
    let uri = uri.replace("guest:guest@", "guest:wrong@");
    let refused = Connection::connect(&uri, ConnectionProperties::default()).await;
    assert_eq!(code(&refused.expect_err("a refusal")), 403);
}

pub async fn closes(uri: &str) {
    let first = connect(uri).await;
    let channel = first.create_channel().await.expect("a channel");
    let queue = own_queue(&channel, FieldTable::default()).await;
    let other = first.create_channel().await.expect("a channel");
    other.close(200, "done".into()).await.expect("a close");
    first.close(200, "done".into()).await.expect("a close");
    assert!(!first.status().connected());
    let second = connect(uri).await;
    let channel = second.create_channel().await.expect("a channel");
    let options = QueueDeclareOptions::default().passive();
    let gone = channel.queue_declare(queue, options, FieldTable::default());
    assert_eq!(code(&gone.await.expect_err("404")), 404);
    second.close(200, "done".into()).await.expect("a close");
}
