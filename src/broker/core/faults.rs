//! Faults that a test switches on.

use super::confirms::Disturbance;

#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    pub confirms: Disturbance,
    /// Publishes with `mandatory` come back whatever they are routed to, and go nowhere else.
    pub return_everything: bool,
    /// Why publishers are told that they are blocked, if they are.
    pub blocked: Option<String>,
    /// New connections are closed at once.
    pub refuse_connections: bool,
    /// Offered in place of the broker's own `frame_max`.
    pub frame_max: Option<u32>,
}
