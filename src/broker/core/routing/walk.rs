//! The way of a message through exchanges to queues.

use std::collections::HashMap;
use std::mem;

use slab::Slab;

use super::exchange::Exchange;
use super::headers::Headers;
use super::targets::{ExchangeId, Found};
use crate::broker::core::ids::QueueId;
use crate::protocol::Table;

/// Walks from exchange to exchange. Each is visited once, so there are at most as many steps as exchanges, and what waits is at
/// most one entry for each binding between exchanges and routing key.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// The number of this walk: an exchange that carries it has been visited.
    number: u64,
    /// The exchanges to go on with. Empty between walks, and kept for its memory.
    waiting: Vec<ExchangeId>,
}

/// Where to walk.
pub(super) struct Ground<'g> {
    pub exchanges: &'g mut Slab<Exchange>,
    /// For alternate exchanges, which are known by name only.
    pub by_name: &'g HashMap<Box<str>, ExchangeId>,
}

impl Walk {
    /// Adds the queues that the message comes to; one may come more than once.
    pub fn run<'h, F: FnOnce() -> Option<Table<'h>>>(
        &mut self,
        start: ExchangeId,
        ground: Ground<'_>,
        routing_keys: &[&str],
        mut headers: Headers<'h, F>,
        queues: &mut Vec<QueueId>,
    ) {
        self.number += 1;
        self.waiting.push(start);
        while let Some(ExchangeId(at)) = self.waiting.pop() {
            let Some(exchange) = ground.exchanges.get_mut(at) else {
                continue;
            };
            if mem::replace(&mut exchange.visited, self.number) == self.number {
                continue;
            }
            let mut found = Found {
                queues,
                exchanges: &mut self.waiting,
            };
            let found_before = found.len();
            exchange
                .bindings
                .route(routing_keys, &mut headers, &mut found);
            if found.len() == found_before
                && let Some(alternate) = &exchange.alternate
            {
                self.waiting.extend(ground.by_name.get(alternate));
            }
        }
    }
}

/// Puts what was added from this place on into ascending order, each queue once.
pub(super) fn settle(queues: &mut Vec<QueueId>, from: usize) {
    let added = queues.get_mut(from..).unwrap_or_default();
    if added.is_sorted_by(|one, next| one < next) {
        return;
    }
    added.sort_unstable();
    let mut at = 0;
    let mut last = None;
    queues.retain(|&queue| {
        at += 1;
        at <= from || last.replace(queue) != Some(queue)
    });
}
