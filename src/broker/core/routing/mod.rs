//! Exchanges, their bindings, and where a message goes.
//!
//! ```text
//!  publish ─▶ "" ─(the name of a queue)─────────────────────────────────────────────────▶ queues
//!         └─▶ exchange ─▶ Bindings (by key, by topic, by headers, all) ─▶ Targets ─▶ queues
//!                ▲            └─ nothing: the alternate exchange ─┐         └─▶ exchanges
//!                └────────────────────────────────────────────────┴──────────────┘
//! ```
//!
//! | file | what |
//! |---|---|
//! | here | the exchanges of a virtual host, and what clients may do with them |
//! | `exchange` | one exchange: its type and properties |
//! | `bindings`, `targets` | the bindings of one exchange, and where they lead |
//! | `topics`, `headers` | matching of keys and of headers |
//! | `walk` | from exchange to exchange |
//! | `terms` | values in texts |
//!
//! Codes, texts and corner cases are those of RabbitMQ 3.10. What differs: a type that is not known is `unknown`, where
//! RabbitMQ says `invalid` of names that it knows for something else; and there are limits, see [`EXCHANGES_MAX`],
//! [`BINDINGS_MAX`].
//!
//! Invariants:
//! - SOURCES: an exchange stands in `sources` at a target exactly when it has a binding to it. So identifiers in bindings
//!   are good: what goes takes the bindings to it along.
//! - EMPTY AUTO-DELETE: an auto-delete exchange that loses its last binding is gone when the operation returns (but not in
//!   a restart).
//! - GENERATION: while `generation` stays the same, so does what `route` finds, for the same exchange, keys and headers.

mod bindings;
mod exchange;
mod headers;
mod targets;
mod terms;
#[cfg(test)]
mod tests;
mod topics;
mod walk;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use slab::Slab;

use self::bindings::{Bindings, Pattern};
use self::exchange::{Exchange, Kind, Properties};
use self::headers::Headers;
use self::targets::{ExchangeId, Target};
use self::walk::{Ground, Walk};
use crate::broker::core::ids::QueueId;
use crate::broker::core::refusal::Refusal;
use crate::protocol::{FieldTable, ReplyCode, Table};

/// Most exchanges of a virtual host, those that are always there among them. Far more than a test declares, unless it
/// forgets to delete them.
pub(crate) const EXCHANGES_MAX: usize = 16_384;

/// Most bindings of a virtual host, without those of the default exchange. The reason is the same.
pub(crate) const BINDINGS_MAX: usize = 262_144;

/// What every virtual host has, besides the default exchange: names, types, and whether it is internal.
const PREDECLARED: [(&str, Kind, bool); 6] = [
    ("amq.direct", Kind::Direct, false),
    ("amq.fanout", Kind::Fanout, false),
    ("amq.topic", Kind::Topic, false),
    ("amq.headers", Kind::Headers, false),
    ("amq.match", Kind::Headers, false),
    ("amq.rabbitmq.trace", Kind::Topic, true),
];

const RESERVED_PREFIX: &str = "amq.";

/// The exchanges of one virtual host.
#[derive(Debug)]
pub(crate) struct Exchanges {
    vhost: Box<str>,
    /// The bindings of the default exchange, which nobody can change.
    queues: HashMap<Box<str>, QueueId>,
    by_name: HashMap<Box<str>, ExchangeId>,
    exchanges: Slab<Exchange>,
    /// See SOURCES.
    sources: BTreeMap<Target, BTreeSet<ExchangeId>>,
    bindings: usize,
    generation: u64,
    walk: Walk,
}

/// What a binding leads to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Destination<'a> {
    /// A queue that exists.
    Queue(QueueId),
    /// An exchange by its name, which need not exist.
    Exchange(&'a str),
}

/// What is told about an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExchangeReport<'a> {
    pub name: &'a str,
    /// The name of its type.
    pub kind: &'static str,
    /// How many have it as their source.
    pub bindings: usize,
}

impl Exchanges {
    /// With the exchanges that every virtual host has.
    pub fn new(vhost: &str) -> Self {
        let mut this = Self {
            vhost: vhost.into(),
            queues: HashMap::new(),
            by_name: HashMap::new(),
            exchanges: Slab::new(),
            sources: BTreeMap::new(),
            bindings: 0,
            generation: 0,
            walk: Walk::default(),
        };
        for (name, kind, internal) in PREDECLARED {
            let properties = Properties {
                kind,
                durable: true,
                auto_delete: false,
                internal,
            };
            this.add(name, properties, None);
        }
        this
    }

    /// Changes with everything that can change where a message goes. See GENERATION.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Declares an exchange; declaring it again with the same properties changes nothing.
    pub fn declare(
        &mut self,
        name: &str,
        kind: &str,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: Table<'_>,
    ) -> Result<(), Refusal> {
        let Some(kind) = Kind::from_name(kind) else {
            // RabbitMQ's words for a type that it knows as something else; the empty name is one of them.
            let what = if kind.is_empty() {
                "invalid"
            } else {
                "unknown"
            };
            return Err(Refusal::new(
                ReplyCode::CommandInvalid,
                format!("{what} exchange type '{kind}'"),
            ));
        };
        check_not_default(name)?;
        let properties = Properties {
            kind,
            durable,
            auto_delete,
            internal,
        };
        let title = self.title(name);
        if let Some(exchange) = self.find(name) {
            return exchange.check_equivalent(&title, properties, arguments);
        }
        if name.starts_with(RESERVED_PREFIX) {
            return Err(Refusal::access_refused(format!(
                "exchange name '{name}' contains reserved prefix 'amq.*'"
            )));
        }
        let alternate = exchange::alternate(&title, arguments)?;
        if self.exchanges.len() >= EXCHANGES_MAX {
            return Err(Refusal::precondition(format!(
                "cannot declare {title}: exchange limit of {EXCHANGES_MAX} is reached"
            )));
        }
        self.add(name, properties, alternate);
        Ok(())
    }

    /// What a passive declaration asks: whether there is such an exchange, which must not be the default one.
    pub fn check(&self, name: &str) -> Result<(), Refusal> {
        check_not_default(name)?;
        self.look_up(name).map(drop)
    }

    /// Whether a client may publish to it.
    pub fn check_publish(&self, name: &str) -> Result<(), Refusal> {
        if name.is_empty() {
            return Ok(());
        }
        let id = self.look_up(name)?;
        match self.exchanges.get(id.0) {
            Some(exchange) if exchange.properties.internal => Err(Refusal::access_refused(
                format!("cannot publish to internal {}", self.title(name)),
            )),
            _ => Ok(()),
        }
    }

    /// Deletes an exchange with the bindings from it and to it. That there is none is fine.
    pub fn delete(&mut self, name: &str, if_unused: bool) -> Result<(), Refusal> {
        check_not_default(name)?;
        if name.starts_with(RESERVED_PREFIX) {
            return Err(Refusal::access_refused(format!(
                "deletion of system {} not allowed",
                self.title(name)
            )));
        }
        let is_used = self
            .find(name)
            .is_some_and(|exchange| !exchange.bindings.is_empty());
        if if_unused && is_used {
            return Err(Refusal::precondition(format!(
                "{} in use",
                self.title(name)
            )));
        }
        let gone = self.by_name.get(name).copied();
        self.remove_all(gone.into_iter().collect());
        Ok(())
    }

    /// A queue came: the default exchange routes to it by its name.
    pub fn queue_declared(&mut self, name: &str, queue: QueueId) {
        self.queues.insert(name.into(), queue);
        self.generation += 1;
    }

    /// A queue went: so do its bindings, and the auto-delete exchanges that lost their last one.
    pub fn queue_deleted(&mut self, name: &str, queue: QueueId) {
        self.queues.remove(name);
        let mut over = Vec::new();
        self.remove_bindings_to(Target::Queue(queue), &mut over);
        self.remove_all(over);
        self.generation += 1;
    }

    /// Binds; a binding that is there already stays as it is.
    pub fn bind(
        &mut self,
        source: &str,
        destination: Destination<'_>,
        routing_key: &str,
        arguments: Table<'_>,
    ) -> Result<(), Refusal> {
        check_both_not_default(source, destination)?;
        let id = self.look_up(source)?;
        let target = match destination {
            Destination::Queue(queue) => Target::Queue(queue),
            Destination::Exchange(name) => Target::Exchange(self.look_up(name)?),
        };
        let pattern = pattern(routing_key, arguments)?;
        self.check_binding(source, target, &pattern)?;
        if let Some(exchange) = self.exchanges.get_mut(id.0)
            && exchange.bindings.insert(target, pattern)
        {
            self.bindings += 1;
            self.sources.entry(target).or_default().insert(id);
            self.generation += 1;
        }
        Ok(())
    }

    /// Whether an exchange takes this binding.
    fn check_binding(
        &self,
        source: &str,
        target: Target,
        pattern: &Pattern,
    ) -> Result<(), Refusal> {
        let Some(exchange) = self.find(source) else {
            return Ok(());
        };
        if exchange.properties.kind == Kind::Headers {
            headers::check_arguments(pattern.arguments.as_table())?;
        }
        if self.bindings >= BINDINGS_MAX && !exchange.bindings.contains(target, pattern) {
            return Err(Refusal::precondition(format!(
                "cannot bind to {}: binding limit of {BINDINGS_MAX} is reached",
                self.title(source)
            )));
        }
        Ok(())
    }

    /// Removes a binding. That there is none, or no such exchange, is fine.
    pub fn unbind(
        &mut self,
        source: &str,
        destination: Destination<'_>,
        routing_key: &str,
        arguments: Table<'_>,
    ) -> Result<(), Refusal> {
        check_both_not_default(source, destination)?;
        let target = match destination {
            Destination::Queue(queue) => Some(Target::Queue(queue)),
            Destination::Exchange(name) => self.by_name.get(name).copied().map(Target::Exchange),
        };
        let pattern = pattern(routing_key, arguments)?;
        let (Some(&id), Some(target)) = (self.by_name.get(source), target) else {
            return Ok(());
        };
        let Some(exchange) = self.exchanges.get_mut(id.0) else {
            return Ok(());
        };
        if !exchange.bindings.remove(target, &pattern) {
            return Ok(());
        }
        self.bindings -= 1;
        self.generation += 1;
        let is_over = exchange.is_over();
        if !exchange.bindings.has_target(target) {
            self.forget_source(target, id);
        }
        if is_over {
            self.remove_all(vec![id]);
        }
        Ok(())
    }

    /// Adds the queues that a message comes to, each once, in ascending order. Nothing where there is no such exchange.
    ///
    /// Follows bindings to exchanges, and alternate exchanges where an exchange routes nowhere. Further routing keys are
    /// those of the headers `CC` and `BCC`. The headers are asked for at most once, and only when a headers exchange is
    /// on the way: when they were not, the same exchange and keys lead to the same queues until `generation` changes.
    pub fn route<'h>(
        &mut self,
        exchange: &str,
        routing_keys: &[&str],
        headers: impl FnOnce() -> Option<Table<'h>>,
        found: &mut Vec<QueueId>,
    ) {
        let found_before = found.len();
        if exchange.is_empty() {
            found.extend(routing_keys.iter().filter_map(|&key| self.queues.get(key)));
        } else if let Some(&id) = self.by_name.get(exchange) {
            let ground = Ground {
                exchanges: &mut self.exchanges,
                by_name: &self.by_name,
            };
            let headers = Headers::new(headers);
            self.walk.run(id, ground, routing_keys, headers, found);
        }
        walk::settle(found, found_before);
    }

    /// The broker restarts: exchanges that are not durable go, and queues that do not survive with their bindings. No
    /// auto-delete exchange goes for losing its last binding in this way.
    pub fn restart(&mut self, survives: impl Fn(QueueId) -> bool) {
        self.queues.retain(|_, queue| survives(*queue));
        let targets: Vec<Target> = self.sources.keys().copied().collect();
        for target in targets {
            if matches!(target, Target::Queue(queue) if !survives(queue)) {
                self.remove_bindings_to(target, &mut Vec::new());
            }
        }
        let transient: Vec<ExchangeId> = self
            .exchanges
            .iter()
            .filter(|(_, exchange)| !exchange.properties.durable)
            .map(|(id, _)| ExchangeId(id))
            .collect();
        for id in transient {
            self.remove(id, &mut Vec::new());
        }
        self.generation += 1;
    }

    /// All exchanges by name, the default one among them.
    pub fn report(&self) -> Vec<ExchangeReport<'_>> {
        let default = ExchangeReport {
            name: "",
            kind: Kind::Direct.name(),
            bindings: self.queues.len(),
        };
        let others = self.exchanges.iter().map(|(_, exchange)| ExchangeReport {
            name: &exchange.name,
            kind: exchange.properties.kind.name(),
            bindings: exchange.bindings.len(),
        });
        let mut all: Vec<_> = std::iter::once(default).chain(others).collect();
        all.sort_by_key(|report| report.name);
        all
    }

    /// How RabbitMQ names an exchange in texts.
    fn title(&self, name: &str) -> String {
        format!("exchange '{name}' in vhost '{}'", self.vhost)
    }

    fn find(&self, name: &str) -> Option<&Exchange> {
        let id = self.by_name.get(name)?;
        self.exchanges.get(id.0)
    }

    fn look_up(&self, name: &str) -> Result<ExchangeId, Refusal> {
        match self.by_name.get(name) {
            Some(&id) => Ok(id),
            None => Err(Refusal::not_found(format!("no {}", self.title(name)))),
        }
    }

    fn add(&mut self, name: &str, properties: Properties, alternate: Option<Box<str>>) {
        let id = self.exchanges.insert(Exchange {
            name: name.into(),
            properties,
            alternate,
            bindings: Bindings::new(properties.kind),
            visited: 0,
        });
        self.by_name.insert(name.into(), ExchangeId(id));
        self.generation += 1;
    }

    /// Removes exchanges, and those that are over by that. Bounded, because each goes once.
    fn remove_all(&mut self, mut over: Vec<ExchangeId>) {
        while let Some(id) = over.pop() {
            self.remove(id, &mut over);
        }
    }

    /// Removes an exchange with all bindings from it and to it. Adds those that are over by that.
    fn remove(&mut self, id: ExchangeId, over: &mut Vec<ExchangeId>) {
        let Some(exchange) = self.exchanges.try_remove(id.0) else {
            return;
        };
        self.by_name.remove(&exchange.name);
        self.bindings -= exchange.bindings.len();
        for target in exchange.bindings.targets() {
            self.forget_source(target, id);
        }
        self.remove_bindings_to(Target::Exchange(id), over);
        self.generation += 1;
    }

    /// Removes all bindings to a destination. Adds the exchanges that are over by that.
    fn remove_bindings_to(&mut self, target: Target, over: &mut Vec<ExchangeId>) {
        for id in self.sources.remove(&target).unwrap_or_default() {
            let Some(exchange) = self.exchanges.get_mut(id.0) else {
                continue;
            };
            self.bindings -= exchange.bindings.remove_target(target);
            if exchange.is_over() {
                over.push(id);
            }
        }
    }

    fn forget_source(&mut self, target: Target, id: ExchangeId) {
        let Some(sources) = self.sources.get_mut(&target) else {
            return;
        };
        sources.remove(&id);
        if sources.is_empty() {
            self.sources.remove(&target);
        }
    }
}

fn check_not_default(name: &str) -> Result<(), Refusal> {
    if name.is_empty() {
        return Err(Refusal::access_refused(
            "operation not permitted on the default exchange",
        ));
    }
    Ok(())
}

fn check_both_not_default(source: &str, destination: Destination<'_>) -> Result<(), Refusal> {
    if let Destination::Exchange(name) = destination {
        check_not_default(name)?;
    }
    check_not_default(source)
}

/// Arguments of a method that was decoded are sound; others are refused.
fn pattern(routing_key: &str, arguments: Table<'_>) -> Result<Pattern, Refusal> {
    let arguments = FieldTable::sorted(arguments)
        .map_err(|error| Refusal::new(ReplyCode::SyntaxError, error.to_string()))?;
    Ok(Pattern {
        routing_key: routing_key.into(),
        arguments,
    })
}
