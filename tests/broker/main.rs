#![allow(missing_docs)]
//! The broker inside the process, from outside.

mod client;
mod consumers;
mod differential;
#[path = "../drivers/mod.rs"]
mod drivers;
mod faults;
mod lifecycle;
mod limits;
mod restarting;
mod scale;
mod support;
mod watching;
