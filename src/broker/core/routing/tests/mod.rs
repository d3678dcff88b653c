//! What was tried with RabbitMQ 3.10.8, with its texts, and a comparison with a naive broker.

mod auto_delete;
mod binding;
mod declaring;
mod headers;
mod limits;
mod model;
mod restarting;
mod routing;
mod topics;

use super::targets::Target;
use super::*;
use crate::protocol::Value;

fn arguments(entries: &[(&str, Value<'_>)]) -> FieldTable {
    entries
        .iter()
        .try_fold(FieldTable::new(), |table, (name, value)| {
            table.with(name, *value)
        })
        .unwrap()
}

/// A virtual host `/` with queues that are named by their numbers.
struct Host(Exchanges);

impl Host {
    fn new() -> Self {
        Self(Exchanges::new("/"))
    }

    /// With transient exchanges of these names and types.
    fn with(exchanges: &[(&str, &str)]) -> Self {
        let mut host = Self::new();
        for (name, kind) in exchanges {
            host.declare(name, kind, "", &[]).unwrap();
        }
        host
    }

    /// `flags` are a selection of `durable auto_delete internal`.
    fn declare(
        &mut self,
        name: &str,
        kind: &str,
        flags: &str,
        entries: &[(&str, Value<'_>)],
    ) -> Result<(), Refusal> {
        let has = |flag| flags.contains(flag);
        self.0.declare(
            name,
            kind,
            has("durable"),
            has("auto_delete"),
            has("internal"),
            arguments(entries).as_table(),
        )
    }

    fn bind(&mut self, queue: u32, source: &str, key: &str) {
        self.bind_with(queue, source, key, &[]).unwrap();
    }

    fn bind_with(
        &mut self,
        queue: u32,
        source: &str,
        key: &str,
        entries: &[(&str, Value<'_>)],
    ) -> Result<(), Refusal> {
        let queue = Destination::Queue(QueueId(queue));
        let arguments = arguments(entries);
        self.0.bind(source, queue, key, arguments.as_table())
    }

    fn unbind(&mut self, queue: u32, source: &str, key: &str) {
        self.unbind_with(queue, source, key, &[]);
    }

    fn unbind_with(&mut self, queue: u32, source: &str, key: &str, entries: &[(&str, Value<'_>)]) {
        let queue = Destination::Queue(QueueId(queue));
        let arguments = arguments(entries);
        self.0
            .unbind(source, queue, key, arguments.as_table())
            .unwrap();
    }

    fn bind_exchange(&mut self, destination: &str, source: &str, key: &str) {
        let destination = Destination::Exchange(destination);
        self.0
            .bind(source, destination, key, Table::default())
            .unwrap();
    }

    fn delete_queue(&mut self, queue: u32) {
        self.0.queue_deleted(&queue.to_string(), QueueId(queue));
    }

    fn exists(&self, name: &str) -> bool {
        self.0.check(name).is_ok()
    }

    fn bindings(&self, name: &str) -> usize {
        let report = self.0.report();
        report.iter().find(|it| it.name == name).unwrap().bindings
    }

    fn route(&mut self, exchange: &str, key: &str) -> Vec<u32> {
        self.route_all(exchange, &[key], &[])
    }

    fn route_all(
        &mut self,
        exchange: &str,
        keys: &[&str],
        headers: &[(&str, Value<'_>)],
    ) -> Vec<u32> {
        let headers = arguments(headers);
        let mut found = Vec::new();
        self.0
            .route(exchange, keys, || Some(headers.as_table()), &mut found);
        found.into_iter().map(|queue| queue.0).collect()
    }

    /// Checks SOURCES, INDEX and the counts.
    fn check_invariants(&self) {
        let exchanges = &self.0;
        let mut sources: BTreeMap<Target, BTreeSet<ExchangeId>> = BTreeMap::new();
        let mut count = 0;
        for (id, exchange) in &exchanges.exchanges {
            assert_eq!(exchanges.by_name[&exchange.name], ExchangeId(id));
            for target in exchange.bindings.targets() {
                sources.entry(target).or_default().insert(ExchangeId(id));
            }
            count += exchange.bindings.len();
            exchange.bindings.check_invariants();
        }
        assert_eq!(exchanges.sources, sources);
        assert_eq!(exchanges.bindings, count);
        assert_eq!(exchanges.by_name.len(), exchanges.exchanges.len());
    }
}

fn text(result: Result<(), Refusal>) -> String {
    result.unwrap_err().reply_text()
}
