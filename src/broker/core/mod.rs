//! The broker as a state machine without I/O and without a clock.
#![allow(dead_code)]

mod ids;
mod message;
mod queue;
mod refusal;
mod routing;
mod time_to_live;
mod value;
