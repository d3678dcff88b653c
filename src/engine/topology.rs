//! Exchanges, queues and bindings as a user writes them down.

use super::error::Error;
use crate::protocol::{EncodeError, FieldTable, Method, ShortStr, Value, exchange, queue};

/// How a declare treats what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Declare {
    /// It is there: check that it exists.
    Passive,
    /// Make it, or check that what is there has the same properties.
    Active,
}

/// A queue: one that exists ([`Queue::named`]), or one to be declared with these properties.
///
/// ```
/// use amqp_uring::Queue;
///
/// let orders = Queue::durable("orders");
/// let bounded = Queue::quorum("jobs").argument("x-max-length", 1_000_000i64);
/// let existing = Queue::named("made-elsewhere");
/// # let _ = (orders, bounded, existing);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    pub(super) name: String,
    declare: Declare,
    durable: bool,
    exclusive: bool,
    auto_delete: bool,
    arguments: FieldTable,
    bindings: Vec<(String, String)>,
    fault: Option<EncodeError>,
}

impl Queue {
    fn new(name: impl Into<String>, declare: Declare) -> Self {
        Queue {
            name: name.into(),
            declare,
            durable: false,
            exclusive: false,
            auto_delete: false,
            arguments: FieldTable::new(),
            bindings: Vec::new(),
            fault: None,
        }
    }

    /// A queue that exists. Consuming from it declares nothing; declaring it is passive and fails with NOT_FOUND when it does not exist.
    pub fn named(name: impl Into<String>) -> Self {
        Queue::new(name, Declare::Passive)
    }

    /// A durable queue of the broker's default type (classic, unless the virtual host says otherwise).
    pub fn durable(name: impl Into<String>) -> Self {
        Queue {
            durable: true,
            ..Queue::new(name, Declare::Active)
        }
    }

    /// A durable replicated queue (`x-queue-type: quorum`, <https://www.rabbitmq.com/docs/quorum-queues>).
    pub fn quorum(name: impl Into<String>) -> Self {
        Queue::durable(name).argument("x-queue-type", "quorum")
    }

    /// A stream (`x-queue-type: stream`, <https://www.rabbitmq.com/docs/streams>). Consuming from it needs acks and a prefetch.
    pub fn stream(name: impl Into<String>) -> Self {
        Queue::durable(name).argument("x-queue-type", "stream")
    }

    /// A queue that does not outlive a restart of the broker. RabbitMQ 4 refuses such queues unless they are exclusive.
    pub fn transient(name: impl Into<String>) -> Self {
        Queue::new(name, Declare::Active)
    }

    /// A queue named by the broker, exclusive to this engine's connection and deleted with it.
    pub fn server_named() -> Self {
        Queue {
            exclusive: true,
            auto_delete: true,
            ..Queue::new("", Declare::Active)
        }
    }

    /// Whether only the connection that declared it may use it; it is deleted with that connection. A consumer declares its queue on its own
    /// connection; [`Engine::declare`](super::Engine::declare) uses the first worker's, which with several workers may be another.
    pub fn exclusive(mut self, exclusive: bool) -> Self {
        self.exclusive = exclusive;
        self
    }

    /// Whether it is deleted when its last consumer is gone.
    pub fn auto_delete(mut self, auto_delete: bool) -> Self {
        self.auto_delete = auto_delete;
        self
    }

    /// An argument of the declare (<https://www.rabbitmq.com/docs/queues#optional-arguments>). One that cannot be encoded is reported
    /// when the queue is used.
    pub fn argument<'v>(mut self, name: &str, value: impl Into<Value<'v>>) -> Self {
        if let Err(error) = self.arguments.insert(name, value) {
            self.fault.get_or_insert(error);
        }
        self
    }

    /// Binds it to an exchange when a consumer of it starts. The exchange must exist.
    pub fn bound_to(mut self, exchange: impl Into<String>, routing_key: impl Into<String>) -> Self {
        self.bindings.push((exchange.into(), routing_key.into()));
        self
    }

    /// Whether it goes with its last consumer, as far as can be known here.
    pub(super) fn is_auto_delete(&self) -> bool {
        self.auto_delete
    }

    pub(super) fn is_declared(&self) -> bool {
        self.declare == Declare::Active
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        check_all(&self.fault, &[&self.name])?;
        for (exchange, key) in &self.bindings {
            check_all(&None, &[exchange, key])?;
        }
        Ok(())
    }

    pub(super) fn declare_method(&self) -> Method<'_> {
        queue::Declare {
            queue: short(&self.name),
            passive: self.declare == Declare::Passive,
            durable: self.durable,
            exclusive: self.exclusive,
            auto_delete: self.auto_delete,
            no_wait: false,
            arguments: self.arguments.as_table(),
        }
        .into()
    }

    pub(super) fn bind_methods(&self) -> impl Iterator<Item = Method<'_>> {
        self.bindings.iter().map(|(exchange, key)| {
            queue::Bind {
                queue: short(&self.name),
                exchange: short(exchange),
                routing_key: short(key),
                no_wait: false,
                arguments: Default::default(),
            }
            .into()
        })
    }
}

/// An exchange: one that exists ([`Exchange::named`]), or one to be declared with these properties. Durable unless told otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    name: String,
    kind: String,
    declare: Declare,
    durable: bool,
    auto_delete: bool,
    internal: bool,
    arguments: FieldTable,
    fault: Option<EncodeError>,
}

impl Exchange {
    /// An exchange of any type, plugins' included.
    pub fn of_kind(name: impl Into<String>, kind: impl Into<String>) -> Self {
        Exchange {
            name: name.into(),
            kind: kind.into(),
            declare: Declare::Active,
            durable: true,
            auto_delete: false,
            internal: false,
            arguments: FieldTable::new(),
            fault: None,
        }
    }

    /// An exchange that exists: declaring it is passive.
    pub fn named(name: impl Into<String>) -> Self {
        Exchange {
            declare: Declare::Passive,
            ..Exchange::direct(name)
        }
    }

    /// Routes to the queues bound with the very routing key (section 3.1.3.1).
    pub fn direct(name: impl Into<String>) -> Self {
        Exchange::of_kind(name, "direct")
    }

    /// Routes to every bound queue (section 3.1.3.2).
    pub fn fanout(name: impl Into<String>) -> Self {
        Exchange::of_kind(name, "fanout")
    }

    /// Routes by patterns over the words of the routing key (section 3.1.3.3).
    pub fn topic(name: impl Into<String>) -> Self {
        Exchange::of_kind(name, "topic")
    }

    /// Routes by the message's headers (section 3.1.3.4).
    pub fn headers(name: impl Into<String>) -> Self {
        Exchange::of_kind(name, "headers")
    }

    /// Whether it outlives a restart of the broker. RabbitMQ 4 warns of those that do not.
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// Whether it is deleted when its last binding is gone.
    pub fn auto_delete(mut self, auto_delete: bool) -> Self {
        self.auto_delete = auto_delete;
        self
    }

    /// Whether only other exchanges may publish to it.
    pub fn internal(mut self, internal: bool) -> Self {
        self.internal = internal;
        self
    }

    /// An argument of the declare. One that cannot be encoded is reported when the exchange is declared.
    pub fn argument<'v>(mut self, name: &str, value: impl Into<Value<'v>>) -> Self {
        if let Err(error) = self.arguments.insert(name, value) {
            self.fault.get_or_insert(error);
        }
        self
    }

    fn check(&self) -> Result<(), Error> {
        check_all(&self.fault, &[&self.name, &self.kind])
    }

    fn declare_method(&self) -> Method<'_> {
        exchange::Declare {
            exchange: short(&self.name),
            type_: short(&self.kind),
            passive: self.declare == Declare::Passive,
            durable: self.durable,
            auto_delete: self.auto_delete,
            internal: self.internal,
            no_wait: false,
            arguments: self.arguments.as_table(),
        }
        .into()
    }
}

/// What a binding leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Destination {
    Queue,
    Exchange,
}

/// A binding of a queue, or of an exchange (RabbitMQ's extension), to an exchange.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    destination: Destination,
    to: String,
    from: String,
    routing_key: String,
    arguments: FieldTable,
    fault: Option<EncodeError>,
}

impl Binding {
    fn new(
        destination: Destination,
        to: impl Into<String>,
        from: impl Into<String>,
        routing_key: impl Into<String>,
    ) -> Self {
        Binding {
            destination,
            to: to.into(),
            from: from.into(),
            routing_key: routing_key.into(),
            arguments: FieldTable::new(),
            fault: None,
        }
    }

    /// Messages of `exchange` that match `routing_key` go to `queue`.
    pub fn queue(
        queue: impl Into<String>,
        exchange: impl Into<String>,
        routing_key: impl Into<String>,
    ) -> Self {
        Binding::new(Destination::Queue, queue, exchange, routing_key)
    }

    /// Messages of the exchange `source` that match `routing_key` go to the exchange `destination`.
    pub fn exchange(
        destination: impl Into<String>,
        source: impl Into<String>,
        routing_key: impl Into<String>,
    ) -> Self {
        Binding::new(Destination::Exchange, destination, source, routing_key)
    }

    /// An argument: what a headers exchange matches, for instance.
    pub fn argument<'v>(mut self, name: &str, value: impl Into<Value<'v>>) -> Self {
        if let Err(error) = self.arguments.insert(name, value) {
            self.fault.get_or_insert(error);
        }
        self
    }

    fn check(&self) -> Result<(), Error> {
        check_all(&self.fault, &[&self.to, &self.from, &self.routing_key])
    }

    fn bind_method(&self) -> Method<'_> {
        match self.destination {
            Destination::Queue => queue::Bind {
                queue: short(&self.to),
                exchange: short(&self.from),
                routing_key: short(&self.routing_key),
                no_wait: false,
                arguments: self.arguments.as_table(),
            }
            .into(),
            Destination::Exchange => exchange::Bind {
                destination: short(&self.to),
                source: short(&self.from),
                routing_key: short(&self.routing_key),
                no_wait: false,
                arguments: self.arguments.as_table(),
            }
            .into(),
        }
    }

    fn unbind_method(&self) -> Method<'_> {
        match self.destination {
            Destination::Queue => queue::Unbind {
                queue: short(&self.to),
                exchange: short(&self.from),
                routing_key: short(&self.routing_key),
                arguments: self.arguments.as_table(),
            }
            .into(),
            Destination::Exchange => exchange::Unbind {
                destination: short(&self.to),
                source: short(&self.from),
                routing_key: short(&self.routing_key),
                no_wait: false,
                arguments: self.arguments.as_table(),
            }
            .into(),
        }
    }
}

/// When a delete is to go through. Where the condition does not hold, the broker answers PRECONDITION_FAILED.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeleteIf {
    /// Whatever is in it or uses it.
    #[default]
    Always,
    /// Only without consumers (a queue) or bindings (an exchange).
    Unused,
    /// Only without messages; the same as `Always` for an exchange.
    Empty,
    /// Both.
    UnusedAndEmpty,
}

impl DeleteIf {
    fn unused(self) -> bool {
        matches!(self, DeleteIf::Unused | DeleteIf::UnusedAndEmpty)
    }

    fn empty(self) -> bool {
        matches!(self, DeleteIf::Empty | DeleteIf::UnusedAndEmpty)
    }
}

/// What the broker says of a queue that was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueInfo {
    /// Its name: the one the broker chose, if it was asked to.
    pub name: String,
    /// Messages ready for delivery.
    pub message_count: u32,
    /// Its consumers.
    pub consumer_count: u32,
}

/// One change of the topology, or a question about it: a single synchronous method.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    DeclareQueue(Queue),
    DeclareExchange(Exchange),
    Bind(Binding),
    Unbind(Binding),
    Purge(String),
    DeleteQueue(String, DeleteIf),
    DeleteExchange(String, DeleteIf),
}

impl Operation {
    /// Whether every part of it can be encoded.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Operation::DeclareQueue(queue) => queue.check(),
            Operation::DeclareExchange(exchange) => exchange.check(),
            Operation::Bind(binding) | Operation::Unbind(binding) => binding.check(),
            Operation::Purge(name)
            | Operation::DeleteQueue(name, _)
            | Operation::DeleteExchange(name, _) => check_all(&None, &[name]),
        }
    }

    pub fn name(&self) -> &'static str {
        self.method().name()
    }

    pub fn method(&self) -> Method<'_> {
        match self {
            Operation::DeclareQueue(queue) => queue.declare_method(),
            Operation::DeclareExchange(exchange) => exchange.declare_method(),
            Operation::Bind(binding) => binding.bind_method(),
            Operation::Unbind(binding) => binding.unbind_method(),
            Operation::Purge(name) => queue::Purge {
                queue: short(name),
                no_wait: false,
            }
            .into(),
            Operation::DeleteQueue(name, condition) => queue::Delete {
                queue: short(name),
                if_unused: condition.unused(),
                if_empty: condition.empty(),
                no_wait: false,
            }
            .into(),
            Operation::DeleteExchange(name, condition) => exchange::Delete {
                exchange: short(name),
                if_unused: condition.unused(),
                no_wait: false,
            }
            .into(),
        }
    }
}

fn check_all(fault: &Option<EncodeError>, names: &[&str]) -> Result<(), Error> {
    if let Some(fault) = fault {
        return Err((*fault).into());
    }
    for name in names {
        ShortStr::new(name)?;
    }
    Ok(())
}

/// A name whose length was checked before ([`check_all`]).
fn short(name: &str) -> ShortStr<'_> {
    ShortStr::new(name).unwrap_or_default()
}
