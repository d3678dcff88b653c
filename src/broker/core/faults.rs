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
    /// Of so many publishes that are to be confirmed, one is confirmed and forgotten; 0 for none. No broker is meant to do
    /// this: it shows that somebody notices.
    pub forget_one_in: u32,
    /// Publishes since the last one that was forgotten.
    remembered: u32,
    /// Offered in place of the broker's own `frame_max`.
    pub frame_max: Option<u32>,
}

impl Faults {
    /// Whether the next publish is forgotten.
    pub fn forgets(&mut self) -> bool {
        if self.forget_one_in == 0 {
            return false;
        }
        self.remembered += 1;
        let forgets = self.remembered >= self.forget_one_in;
        if forgets {
            self.remembered = 0;
        }
        forgets
    }
}
