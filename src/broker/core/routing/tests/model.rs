//! The same operations on the exchanges and on a naive broker, which holds a list of bindings and searches it.

use proptest::prelude::*;

use super::topics::matches;
use super::*;

const KINDS: [&str; 4] = ["direct", "fanout", "topic", "headers"];
const NAMES: [&str; 4] = ["a", "b", "c", "amq.topic"];
const KEYS: [&str; 6] = ["", "x", "x.y", "*", "x.#", "#.y"];
const QUEUES: u32 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Where {
    Queue(u32),
    Exchange(&'static str),
}

impl Where {
    fn destination(self) -> Destination<'static> {
        match self {
            Self::Queue(number) => Destination::Queue(QueueId(number)),
            Self::Exchange(name) => Destination::Exchange(name),
        }
    }
}

/// A number stands for arguments or headers: whether there are `a`, `b`, and what `x-match` says.
fn entries(number: u8) -> Vec<(&'static str, Value<'static>)> {
    let mut entries = Vec::new();
    for (bit, name) in [(1, "b"), (2, "a")] {
        if number & bit != 0 {
            entries.push((name, Value::I32(1)));
        }
    }
    if number & 4 != 0 {
        entries.push(("x-match", "any".into()));
    }
    entries
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Binding {
    source: &'static str,
    destination: Where,
    key: &'static str,
    arguments: u8,
}

impl Binding {
    fn matches(&self, kind: &str, keys: &[&str], headers: u8) -> bool {
        match kind {
            "fanout" => true,
            "direct" => keys.contains(&self.key),
            "topic" => keys.iter().any(|key| matches(self.key, key)),
            _ => {
                let wanted = self.arguments & 3;
                let is_any = self.arguments & 4 != 0;
                let has = wanted & headers;
                if is_any { has != 0 } else { has == wanted }
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct NaiveExchange {
    name: &'static str,
    kind: &'static str,
    durable: bool,
    auto_delete: bool,
    alternate: Option<&'static str>,
}

#[derive(Debug, Clone)]
enum Operation {
    Declare(NaiveExchange),
    Delete(&'static str),
    QueueDeclared(u32),
    QueueDeleted(u32),
    Bind(Binding),
    Unbind(Binding),
    Restart(Vec<bool>),
}

struct Naive {
    exchanges: Vec<NaiveExchange>,
    queues: BTreeSet<u32>,
    bindings: Vec<Binding>,
}

impl Naive {
    fn new() -> Self {
        let topic = NaiveExchange {
            name: "amq.topic",
            kind: "topic",
            durable: true,
            auto_delete: false,
            alternate: None,
        };
        Self {
            exchanges: vec![topic],
            queues: BTreeSet::new(),
            bindings: Vec::new(),
        }
    }

    fn find(&self, name: &str) -> Option<NaiveExchange> {
        self.exchanges.iter().find(|it| it.name == name).copied()
    }

    fn has(&self, place: Where) -> bool {
        match place {
            Where::Queue(number) => self.queues.contains(&number),
            Where::Exchange(name) => self.find(name).is_some(),
        }
    }

    /// Removes bindings, and then auto-delete exchanges that lost one and have none left, until nothing changes.
    fn remove_bindings(&mut self, goes: impl Fn(&Binding) -> bool) {
        let losers: BTreeSet<&str> = self
            .bindings
            .iter()
            .filter(|binding| goes(binding))
            .map(|binding| binding.source)
            .collect();
        self.bindings.retain(|binding| !goes(binding));
        for name in losers {
            let is_empty = self.bindings.iter().all(|binding| binding.source != name);
            if is_empty && self.find(name).is_some_and(|it| it.auto_delete) {
                self.delete(name);
            }
        }
    }

    fn delete(&mut self, name: &str) {
        self.exchanges.retain(|exchange| exchange.name != name);
        self.bindings.retain(|binding| binding.source != name);
        self.remove_bindings(
            |binding| matches!(binding.destination, Where::Exchange(to) if to == name),
        );
    }

    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Declare(exchange) if exchange.name.starts_with("amq.") => {}
            Operation::Declare(exchange) if self.find(exchange.name).is_none() => {
                self.exchanges.push(*exchange);
            }
            Operation::Delete(name) if !name.starts_with("amq.") => self.delete(name),
            Operation::QueueDeclared(number) => {
                self.queues.insert(*number);
            }
            Operation::QueueDeleted(number) => {
                self.queues.remove(number);
                self.remove_bindings(|binding| binding.destination == Where::Queue(*number));
            }
            Operation::Bind(binding) => {
                let is_possible =
                    self.find(binding.source).is_some() && self.has(binding.destination);
                if is_possible && !self.bindings.contains(binding) {
                    self.bindings.push(*binding);
                }
            }
            Operation::Unbind(binding) => self.remove_bindings(|other| other == binding),
            Operation::Restart(survives) => {
                self.queues.retain(|&queue| survives[queue as usize]);
                self.exchanges.retain(|exchange| exchange.durable);
                let mut bindings = std::mem::take(&mut self.bindings);
                bindings.retain(|it| self.find(it.source).is_some() && self.has(it.destination));
                self.bindings = bindings;
            }
            Operation::Declare(_) | Operation::Delete(_) => {}
        }
    }

    fn route(&self, start: &'static str, keys: &[&str], headers: u8) -> BTreeSet<u32> {
        let mut found = BTreeSet::new();
        let mut visited = BTreeSet::new();
        let mut waiting = vec![start];
        while let Some(name) = waiting.pop() {
            let Some(exchange) = self.find(name) else {
                continue;
            };
            if !visited.insert(name) {
                continue;
            }
            let mut is_nowhere = true;
            for binding in &self.bindings {
                if binding.source == name && binding.matches(exchange.kind, keys, headers) {
                    is_nowhere = false;
                    match binding.destination {
                        Where::Queue(number) => drop(found.insert(number)),
                        Where::Exchange(name) => waiting.push(name),
                    }
                }
            }
            waiting.extend(exchange.alternate.filter(|_| is_nowhere));
        }
        found
    }

    fn report(&self) -> Vec<(&str, &str, usize)> {
        let count = |name| self.bindings.iter().filter(|it| it.source == name).count();
        let mut all: Vec<_> = self
            .exchanges
            .iter()
            .map(|it| (it.name, it.kind, count(it.name)))
            .collect();
        all.sort_unstable();
        all
    }
}

impl Host {
    /// Queues that do not exist are the caller's business, so no binding names one.
    fn apply(&mut self, operation: &Operation, naive: &Naive) {
        match operation {
            Operation::Declare(exchange) => {
                let flags = [
                    ("durable", exchange.durable),
                    ("auto_delete", exchange.auto_delete),
                ];
                let flags: Vec<_> = flags.iter().filter(|it| it.1).map(|it| it.0).collect();
                let alternate = exchange
                    .alternate
                    .map(|name| ("alternate-exchange", name.into()));
                let arguments: Vec<_> = alternate.into_iter().collect();
                let declared =
                    self.declare(exchange.name, exchange.kind, &flags.join(" "), &arguments);
                let is_new = naive.find(exchange.name).is_none();
                assert!(declared.is_ok() || !is_new);
            }
            Operation::Delete(name) => {
                let deleted = self.0.delete(name, false);
                assert_eq!(deleted.is_err(), name.starts_with("amq."));
            }
            Operation::QueueDeclared(number) => {
                self.0.queue_declared(&number.to_string(), QueueId(*number));
            }
            Operation::QueueDeleted(number) => self.delete_queue(*number),
            Operation::Bind(it) => {
                if matches!(it.destination, Where::Exchange(_)) || naive.has(it.destination) {
                    let arguments = arguments(&entries(it.arguments));
                    let destination = it.destination.destination();
                    let bound = self
                        .0
                        .bind(it.source, destination, it.key, arguments.as_table());
                    let is_possible = naive.find(it.source).is_some() && naive.has(it.destination);
                    assert_eq!(bound.is_ok(), is_possible);
                }
            }
            Operation::Unbind(it) => {
                let mut entries = entries(it.arguments);
                entries.reverse();
                let arguments = arguments(&entries);
                let destination = it.destination.destination();
                let unbound = self
                    .0
                    .unbind(it.source, destination, it.key, arguments.as_table());
                assert_eq!(unbound, Ok(()));
            }
            Operation::Restart(survives) => self.0.restart(|queue| survives[queue.0 as usize]),
        }
    }
}

fn any_binding() -> impl Strategy<Value = Binding> {
    let destination = prop_oneof![
        3 => (0..QUEUES).prop_map(Where::Queue),
        2 => prop::sample::select(&NAMES[..]).prop_map(Where::Exchange),
    ];
    let source = prop::sample::select(&NAMES[..]);
    let key = prop::sample::select(&KEYS[..]);
    (source, destination, key, 0..8u8).prop_map(|(source, destination, key, arguments)| Binding {
        source,
        destination,
        key,
        arguments,
    })
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let name = || prop::sample::select(&NAMES[..]);
    let alternate = prop::option::of(name());
    let kind = prop::sample::select(&KINDS[..]);
    let exchange = (name(), kind, any::<bool>(), any::<bool>(), alternate).prop_map(
        |(name, kind, durable, auto_delete, alternate)| NaiveExchange {
            name,
            kind,
            durable,
            auto_delete,
            alternate,
        },
    );
    let survives = prop::collection::vec(any::<bool>(), QUEUES as usize);
    prop_oneof![
        6 => exchange.prop_map(Operation::Declare),
        1 => name().prop_map(Operation::Delete),
        4 => (0..QUEUES).prop_map(Operation::QueueDeclared),
        1 => (0..QUEUES).prop_map(Operation::QueueDeleted),
        16 => any_binding().prop_map(Operation::Bind),
        4 => any_binding().prop_map(Operation::Unbind),
        1 => survives.prop_map(Operation::Restart),
    ]
}

/// What is asked after each operation.
const PROBES: [(&[&str], u8); 4] = [
    (&["x"], 1),
    (&["x.y"], 3),
    (&["", "z.y"], 0),
    (&["*", "x"], 2),
];

fn routes(host: &mut Host) -> Vec<Vec<u32>> {
    let mut all = Vec::new();
    for (keys, headers) in PROBES {
        for name in NAMES {
            all.push(host.route_all(name, keys, &entries(headers)));
        }
        let numbers: Vec<String> = (0..QUEUES).map(|number| number.to_string()).collect();
        let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
        all.push(host.route_all("", &numbers, &[]));
    }
    all
}

proptest! {
    #[test]
    fn the_exchanges_do_what_a_naive_broker_does(
        operations in prop::collection::vec(any_operation(), 1..80),
    ) {
        let (mut host, mut naive) = (Host::new(), Naive::new());
        let mut before = (host.0.generation(), routes(&mut host));
        for operation in &operations {
            host.apply(operation, &naive);
            naive.apply(operation);
            host.check_invariants();

            let report = host.0.report();
            let of_naive = report.iter().filter(|it| NAMES.contains(&it.name));
            let report: Vec<_> = of_naive.map(|it| (it.name, it.kind, it.bindings)).collect();
            prop_assert_eq!(report, naive.report());

            let found = routes(&mut host);
            let mut expected = Vec::new();
            for (keys, headers) in PROBES {
                for name in NAMES {
                    expected.push(naive.route(name, keys, headers).into_iter().collect::<Vec<_>>());
                }
                expected.push(naive.queues.iter().copied().collect());
            }
            prop_assert_eq!(&found, &expected);

            let after = (host.0.generation(), found);
            prop_assert!(after.0 != before.0 || after.1 == before.1);
            before = after;
        }
    }
}
