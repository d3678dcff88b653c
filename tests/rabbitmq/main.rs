#![allow(missing_docs)]
//! The engine on a RabbitMQ node of one's own: `tests/run --test rabbitmq`.
//!
//! Each test runs once on every driver, unless it is about one of them or needs no socket. It uses queues and exchanges of
//! its own and removes them. A test that needs a line to break or to stall puts a [`proxy::Proxy`] between the engine and
//! the node.

mod alone;
mod awaiting;
mod batches;
mod bodies;
mod choosing;
mod connecting;
mod consuming;
mod detached;
#[path = "../drivers/mod.rs"]
mod drivers;
mod ending;
mod errors;
mod examples;
mod falling_back;
mod gets;
mod losing;
mod panics;
mod pipelines;
#[path = "../programs/mod.rs"]
mod programs;
mod properties;
mod proxy;
mod publishing;
mod routing;
mod shutdown;
mod streaming;
mod support;
mod topology;
mod windows;

use drivers::on_every_driver;
