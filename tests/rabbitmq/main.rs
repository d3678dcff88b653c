#![allow(missing_docs)]
//! The engine on a RabbitMQ node of one's own: `tests/run --test rabbitmq`.
//!
//! Each test uses queues and exchanges of its own and removes them. A test that needs a line to break or to stall puts a
//! [`proxy::Proxy`] between the engine and the node.

mod awaiting;
mod bodies;
mod connecting;
mod consuming;
mod detached;
mod ending;
mod errors;
mod falling_back;
mod gets;
mod losing;
mod panics;
mod properties;
mod proxy;
mod publishing;
mod routing;
mod shutdown;
mod streaming;
mod support;
mod topology;
mod windows;
