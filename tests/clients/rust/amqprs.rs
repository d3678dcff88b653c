//! Checks with amqprs. It has confirms, returns and errors of channels as callbacks: here they come out of a queue as
//! [`News`], in their order.

use amqp_uring::Node;
use amqprs::callbacks::ChannelCallback;
use amqprs::channel::{
    BasicAckArguments, BasicCancelArguments, BasicConsumeArguments, BasicGetArguments,
    BasicNackArguments, BasicPublishArguments, BasicQosArguments, BasicRejectArguments, Channel,
    ConfirmSelectArguments, ConsumerMessage, ExchangeDeclareArguments, ExchangeDeleteArguments,
    ExchangeType, QueueBindArguments, QueueDeclareArguments, QueueDeleteArguments,
    QueuePurgeArguments, QueueUnbindArguments,
};
use amqprs::connection::{Connection, OpenConnectionArguments};
use amqprs::error::Error;
use amqprs::{
    Ack, BasicProperties, Cancel, CloseChannel, FieldTable, FieldValue, GetOk, Nack, Return,
};
use async_trait::async_trait;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::LARGE_BODY_OCTETS;

/// What the broker says by itself on a channel.
#[derive(Debug, PartialEq)]
enum News {
    Acked {
        tag: u64,
        multiple: bool,
    },
    Nacked,
    Returned {
        code: u16,
        key: String,
        body: Vec<u8>,
    },
    Cancelled(String),
    Closed(u16),
}

struct Teller(UnboundedSender<News>);

impl Teller {
    /// Nobody listens to a channel whose check is over.
    fn tell(&self, news: News) {
        let _ = self.0.send(news);
    }
}

#[async_trait]
impl ChannelCallback for Teller {
    async fn close(&mut self, _: &Channel, close: CloseChannel) -> Result<(), Error> {
        self.tell(News::Closed(close.reply_code()));
        Ok(())
    }

    async fn cancel(&mut self, _: &Channel, cancel: Cancel) -> Result<(), Error> {
        self.tell(News::Cancelled(cancel.consumer_tag().clone()));
        Ok(())
    }

    async fn flow(&mut self, _: &Channel, active: bool) -> Result<bool, Error> {
        Ok(active)
    }

    async fn publish_ack(&mut self, _: &Channel, ack: Ack) {
        let (tag, multiple) = (ack.delivery_tag(), ack.mutiple());
        self.tell(News::Acked { tag, multiple });
    }

    async fn publish_nack(&mut self, _: &Channel, _: Nack) {
        self.tell(News::Nacked);
    }

    async fn publish_return(
        &mut self,
        _: &Channel,
        about: Return,
        _: BasicProperties,
        body: Vec<u8>,
    ) {
        let (code, key) = (about.reply_code(), about.routing_key().clone());
        self.tell(News::Returned { code, key, body });
    }
}

/// A channel with its news.
struct Told {
    channel: Channel,
    news: UnboundedReceiver<News>,
    /// How many messages were published on it.
    published: u64,
}

fn arguments(uri: &str) -> OpenConnectionArguments {
    let node: Node = uri.parse().expect("a URI");
    OpenConnectionArguments::new(node.host(), node.port(), "guest", "guest")
}

async fn connect(uri: &str) -> Connection {
    let arguments = arguments(uri);
    Connection::open(&arguments).await.expect("a connection")
}

async fn open(connection: &Connection) -> Told {
    let channel = connection.open_channel(None).await.expect("a channel");
    let (teller, news) = unbounded_channel();
    let teller = Teller(teller);
    channel.register_callback(teller).await.expect("a callback");
    Told {
        channel,
        news,
        published: 0,
    }
}

async fn confirming(connection: &Connection) -> Told {
    let told = open(connection).await;
    let select = ConfirmSelectArguments::default();
    let selected = told.channel.confirm_select(select);
    selected.await.expect("confirm mode");
    told
}

impl Told {
    async fn next_news(&mut self) -> News {
        self.news.recv().await.expect("news")
    }

    async fn send(&mut self, exchange: &str, key: &str, properties: BasicProperties, body: &[u8]) {
        let arguments = BasicPublishArguments::new(exchange, key)
            .mandatory(true)
            .finish();
        let body = body.to_vec();
        let published = self.channel.basic_publish(properties, body, arguments);
        published.await.expect("a publish");
        self.published += 1;
    }

    /// Publishes, and waits until everything is confirmed. Gives what was returned.
    async fn publish(&mut self, exchange: &str, key: &str, body: &[u8]) -> Vec<News> {
        let properties = BasicProperties::default();
        self.send(exchange, key, properties, body).await;
        self.all_confirmed().await
    }

    /// Waits until everything is confirmed. Gives what was returned.
    async fn all_confirmed(&mut self) -> Vec<News> {
        let mut returned = Vec::new();
        loop {
            match self.next_news().await {
                News::Acked { tag, .. } if tag == self.published => return returned,
                News::Acked { .. } => {}
                news @ News::Returned { .. } => returned.push(news),
                news => panic!("in place of confirms: {news:?}"),
            }
        }
    }

    /// A queue of this connection alone, with a name from the broker.
    async fn own_queue(&self, arguments: FieldTable) -> String {
        let arguments = QueueDeclareArguments::exclusive_server_named()
            .arguments(arguments)
            .finish();
        let declared = self.channel.queue_declare(arguments).await;
        declared.expect("a queue").expect("an answer").0
    }

    /// How many messages wait in a queue.
    async fn ready(&self, queue: &str) -> u32 {
        let declared = self.channel.queue_declare(passive(queue)).await;
        declared.expect("the queue").expect("an answer").1
    }

    async fn consume(&self, queue: &str) -> (String, UnboundedReceiver<ConsumerMessage>) {
        let arguments = BasicConsumeArguments::new(queue, "");
        let consumer = self.channel.basic_consume_rx(arguments).await;
        consumer.expect("a consumer")
    }

    async fn ack(&self, tag: u64, multiple: bool) {
        let arguments = BasicAckArguments::new(tag, multiple);
        self.channel.basic_ack(arguments).await.expect("an ack");
    }

    async fn nack(&self, tag: u64, requeue: bool) {
        let arguments = BasicNackArguments::new(tag, false, requeue);
        self.channel.basic_nack(arguments).await.expect("a nack");
    }

    async fn get(&self, queue: &str) -> Option<(GetOk, Vec<u8>)> {
        let arguments = BasicGetArguments::new(queue);
        let got = self.channel.basic_get(arguments).await.expect("an answer");
        got.map(|(about, _, body)| (about, body))
    }
}

fn passive(queue: &str) -> QueueDeclareArguments {
    QueueDeclareArguments::new(queue).passive(true).finish()
}

/// A delivery.
struct Delivered {
    tag: u64,
    is_redelivered: bool,
    properties: BasicProperties,
    body: Vec<u8>,
}

async fn next(consumer: &mut UnboundedReceiver<ConsumerMessage>) -> Delivered {
    let message = consumer.recv().await.expect("a delivery");
    let about = message.deliver.expect("a basic.deliver");
    Delivered {
        tag: about.delivery_tag(),
        is_redelivered: about.redelivered(),
        properties: message.basic_properties.expect("properties"),
        body: message.content.expect("a body"),
    }
}

fn table<const N: usize>(fields: [(&str, FieldValue); N]) -> FieldTable {
    let mut table = FieldTable::new();
    for (name, value) in fields {
        table.insert(name.try_into().expect("a name"), value);
    }
    table
}

async fn close(connection: Connection) {
    connection.close().await.expect("a close");
}

pub async fn declares_and_binds(uri: &str) {
    let connection = connect(uri).await;
    let mut told = confirming(&connection).await;
    let exchange = "clients.amqprs.topics";
    let arguments = ExchangeDeclareArguments::of_type(exchange, ExchangeType::Topic);
    let declared = told.channel.exchange_declare(arguments);
    declared.await.expect("an exchange");
    let queue = told.own_queue(FieldTable::new()).await;
    let binding = QueueBindArguments::new(&queue, exchange, "orders.*.new");
    told.channel.queue_bind(binding).await.expect("a binding");
    assert_eq!(told.publish(exchange, "orders.eu.new", b"1").await, []);
    assert_eq!(told.publish(exchange, "orders.eu.old", b"2").await.len(), 1);
    let binding = QueueUnbindArguments::new(&queue, exchange, "orders.*.new");
    let unbound = told.channel.queue_unbind(binding);
    unbound.await.expect("no binding");
    assert_eq!(told.publish(exchange, "orders.eu.new", b"3").await.len(), 1);
    let purged = told.channel.queue_purge(QueuePurgeArguments::new(&queue));
    assert_eq!(purged.await.expect("a purge"), Some(1));
    let arguments = ExchangeDeleteArguments::new(exchange);
    let deleted = told.channel.exchange_delete(arguments);
    deleted.await.expect("no exchange");
    close(connection).await;
}

pub async fn publishes_with_confirms(uri: &str) {
    const MESSAGES: u32 = 1000;
    let connection = connect(uri).await;
    let mut told = confirming(&connection).await;
    let queue = told.own_queue(FieldTable::new()).await;
    for number in 0..MESSAGES {
        let body = number.to_string();
        let properties = BasicProperties::default();
        told.send("", &queue, properties, body.as_bytes()).await;
    }
    let mut confirmed = 0;
    while confirmed < u64::from(MESSAGES) {
        match told.next_news().await {
            News::Acked {
                tag,
                multiple: true,
            } => confirmed = tag,
            News::Acked { .. } => confirmed += 1,
            news => panic!("in place of confirms: {news:?}"),
        }
    }
    assert_eq!(told.ready(&queue).await, MESSAGES);
    close(connection).await;
}

pub async fn sees_what_is_returned(uri: &str) {
    let connection = connect(uri).await;
    let mut told = confirming(&connection).await;
    let key = "clients.amqprs.nowhere".to_owned();
    let returned = News::Returned {
        code: 312,
        key: key.clone(),
        body: b"lost".to_vec(),
    };
    assert_eq!(told.publish("", &key, b"lost").await, [returned]);
    close(connection).await;
}

pub async fn carries_properties_and_large_bodies(uri: &str) {
    let connection = connect(uri).await;
    let mut told = confirming(&connection).await;
    let queue = told.own_queue(FieldTable::new()).await;
    let headers = table([
        ("number", FieldValue::I(-7)),
        ("text", "grün".into()),
        ("table", table([("deep", true.into())]).into()),
        ("nothing", FieldValue::V),
    ]);
    let properties = BasicProperties::default()
        .with_content_type("text/plain")
        .with_headers(FieldTable::new())
        .with_persistence(true)
        .with_priority(3)
        .with_correlation_id("correlation")
        .with_reply_to("reply")
        .with_message_id("message")
        .with_timestamp(1_700_000_000)
        .with_message_type("kind")
        .with_app_id("application")
        .finish();
    // It shows headers in any order.
    let expected = properties.to_string();
    let properties = properties.clone().with_headers(headers.clone()).finish();
    let large: Vec<u8> = (0..=u8::MAX).cycle().take(LARGE_BODY_OCTETS).collect();
    for body in [&large[..], b""] {
        told.send("", &queue, properties.clone(), body).await;
    }
    assert_eq!(told.all_confirmed().await, []);
    let (_, mut consumer) = told.consume(&queue).await;
    for body in [&large[..], b""] {
        let delivered = next(&mut consumer).await;
        let octets = delivered.body.len();
        assert!(delivered.body == body, "{octets} octets came");
        assert_eq!(delivered.properties.headers(), Some(&headers));
        let mut others = delivered.properties;
        others.with_headers(FieldTable::new());
        assert_eq!(others.to_string(), expected);
    }
    close(connection).await;
}

pub async fn consumes_with_prefetch(uri: &str) {
    let connection = connect(uri).await;
    let mut told = confirming(&connection).await;
    let queue = told.own_queue(FieldTable::new()).await;
    for body in [b"1", b"2", b"3", b"4", b"5"] {
        told.publish("", &queue, body).await;
    }
    let qos = BasicQosArguments::new(0, 2, false);
    told.channel.basic_qos(qos).await.expect("a prefetch");
    let (_, mut consumer) = told.consume(&queue).await;
    assert_eq!(next(&mut consumer).await.body, b"1");
    let second = next(&mut consumer).await;
    assert_eq!(second.body, b"2");
    assert_eq!(told.ready(&queue).await, 3, "two are under way");
    told.ack(second.tag, true).await;
    assert_eq!(next(&mut consumer).await.body, b"3");
    let fourth = next(&mut consumer).await;
    assert_eq!(fourth.body, b"4");
    assert_eq!(told.ready(&queue).await, 1, "two are under way");
    told.ack(fourth.tag, false).await;
    assert_eq!(next(&mut consumer).await.body, b"5");
    close(connection).await;
}

pub async fn nacks_and_rejects(uri: &str) {
    let connection = connect(uri).await;
    let mut told = confirming(&connection).await;
    let dead = told.own_queue(FieldTable::new()).await;
    let arguments = table([
        ("x-dead-letter-exchange", "".into()),
        ("x-dead-letter-routing-key", dead.as_str().into()),
    ]);
    let queue = told.own_queue(arguments).await;
    for body in [b"1", b"2"] {
        told.publish("", &queue, body).await;
    }
    let (_, mut consumer) = told.consume(&queue).await;
    let first = next(&mut consumer).await;
    let second = next(&mut consumer).await;
    told.nack(first.tag, true).await;
    let first = next(&mut consumer).await;
    assert_eq!((&first.body[..], first.is_redelivered), (&b"1"[..], true));
    told.nack(first.tag, false).await;
    let reject = BasicRejectArguments::new(second.tag, false);
    told.channel.basic_reject(reject).await.expect("a reject");
    let (_, mut letters) = told.consume(&dead).await;
    for expected in [b"1", b"2"] {
        let letter = next(&mut letters).await;
        assert_eq!(letter.body, expected);
        let headers = letter.properties.headers().expect("headers");
        let reason = "x-first-death-reason".try_into().expect("a name");
        assert_eq!(headers.get(&reason), Some(&"rejected".into()));
    }
    close(connection).await;
}

pub async fn gets(uri: &str) {
    let connection = connect(uri).await;
    let mut told = confirming(&connection).await;
    let queue = told.own_queue(FieldTable::new()).await;
    assert!(told.get(&queue).await.is_none());
    for body in [b"1", b"2"] {
        told.publish("", &queue, body).await;
    }
    let (about, body) = told.get(&queue).await.expect("a message");
    assert_eq!((about.message_count(), &body[..]), (1, &b"1"[..]));
    told.nack(about.delivery_tag(), true).await;
    for (expected, is_redelivered) in [(b"1", true), (b"2", false)] {
        let (about, body) = told.get(&queue).await.expect("a message");
        assert_eq!(body, expected);
        assert_eq!(about.redelivered(), is_redelivered);
        told.ack(about.delivery_tag(), false).await;
    }
    assert!(told.get(&queue).await.is_none());
    close(connection).await;
}

pub async fn commits_and_rolls_back(uri: &str) {
    let connection = connect(uri).await;
    let mut told = open(&connection).await;
    let queue = told.own_queue(FieldTable::new()).await;
    told.channel.tx_select().await.expect("transactions");
    let plain = BasicProperties::default;
    told.send("", &queue, plain(), b"1").await;
    told.channel.tx_rollback().await.expect("a rollback");
    told.send("", &queue, plain(), b"2").await;
    assert_eq!(told.ready(&queue).await, 0, "nothing is committed");
    told.channel.tx_commit().await.expect("a commit");
    let (about, body) = told.get(&queue).await.expect("a message");
    assert_eq!(body, b"2");
    told.ack(about.delivery_tag(), false).await;
    told.channel.tx_commit().await.expect("a commit");
    assert!(told.get(&queue).await.is_none());
    close(connection).await;
}

pub async fn cancels_and_is_cancelled(uri: &str) {
    let connection = connect(uri).await;
    let mut told = confirming(&connection).await;
    let queue = told.own_queue(FieldTable::new()).await;
    let (tag, mut consumer) = told.consume(&queue).await;
    let cancelled = told.channel.basic_cancel(BasicCancelArguments::new(&tag));
    assert_eq!(cancelled.await.expect("a cancel"), tag);
    assert!(consumer.recv().await.is_none());
    told.publish("", &queue, b"1").await;
    assert_eq!(told.ready(&queue).await, 1, "nobody consumes");
    let (tag, mut consumer) = told.consume(&queue).await;
    assert_eq!(next(&mut consumer).await.body, b"1");
    let arguments = QueueDeleteArguments::new(&queue);
    let deleted = told.channel.queue_delete(arguments);
    deleted.await.expect("no queue");
    assert_eq!(told.next_news().await, News::Cancelled(tag));
    close(connection).await;
}

pub async fn sees_errors_of_channels(uri: &str) {
    let connection = connect(uri).await;
    let stranger = connect(uri).await;
    let owner = open(&connection).await;
    let queue = "clients.amqprs.own";
    let own = QueueDeclareArguments::new(queue).exclusive(true).finish();
    let declared = owner.channel.queue_declare(own.clone()).await;
    declared.expect("a queue");
    let limit = table([("x-max-length", FieldValue::I(1))]);
    let other = own.clone().arguments(limit).finish();
    let reserved = own.clone().queue("amq.amqprs".into()).finish();
    for (connection, declare, code) in [
        (&connection, passive("clients.amqprs.unknown"), 404),
        (&connection, other, 406),
        (&connection, reserved, 403),
        (&stranger, passive(queue), 405),
    ] {
        let mut told = open(connection).await;
        let refused = told.channel.queue_declare(declare).await;
        assert!(refused.is_err());
        assert_eq!(told.next_news().await, News::Closed(code));
    }
    assert_eq!(owner.ready(queue).await, 0, "the connection goes on");
    close(stranger).await;
    close(connection).await;
}

pub async fn is_refused_with_a_wrong_password(uri: &str) {
    let mut arguments = arguments(uri);
    let wrong = amqprs::security::SecurityCredentials::new_plain("guest", "wrong");
    let refused = Connection::open(&arguments.credentials(wrong).finish()).await;
    // It does not say that it knows `authentication_failure_close`, so it is left without a word.
    let error = refused.err().expect("an error");
    assert!(matches!(error, Error::NetworkError(_)), "{error}");
}

pub async fn closes(uri: &str) {
    let first = connect(uri).await;
    let told = open(&first).await;
    let queue = told.own_queue(FieldTable::new()).await;
    let other = open(&first).await;
    other.channel.close().await.expect("a close");
    close(first).await;
    let second = connect(uri).await;
    let mut told = open(&second).await;
    let gone = told.channel.queue_declare(passive(&queue)).await;
    assert!(gone.is_err());
    assert_eq!(told.next_news().await, News::Closed(404));
    close(second).await;
}
