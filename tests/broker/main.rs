#![allow(missing_docs)]
//! The broker inside the process, from outside.

mod differential;
