//! Exchanges, their bindings, and where a message goes.
