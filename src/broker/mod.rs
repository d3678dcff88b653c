//! An AMQP 0-9-1 broker inside the process, for tests, examples and benches.
#![forbid(unsafe_code)]

mod core;
