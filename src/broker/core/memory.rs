//! The memory that messages take, against its limit.

/// The queues are measured again after this part of the limit has come in since the last time. So the limit is kept to
/// within that part, and measuring costs nothing that counts.
const PART: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Octets that have come in since the queues were measured.
    unmeasured: usize,
    is_short: bool,
}

impl Memory {
    /// A message has come in.
    pub fn taken_in(&mut self, octets: usize) {
        self.unmeasured = self.unmeasured.saturating_add(octets);
    }

    /// Whether there is more than the limit allows.
    pub fn is_short(&self) -> bool {
        self.is_short
    }

    /// Measures if it is time. True when that has changed whether memory is short.
    pub fn measure(&mut self, octets_max: usize, held: impl FnOnce() -> usize) -> bool {
        if self.unmeasured < octets_max / PART && !self.is_short {
            return false;
        }
        self.unmeasured = 0;
        let is_short = held() > octets_max;
        std::mem::replace(&mut self.is_short, is_short) != is_short
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queues_are_measured_when_enough_has_come_in_and_as_long_as_memory_is_short() {
        let mut memory = Memory::default();
        memory.taken_in(9);
        assert!(!memory.measure(640, || panic!("too early")));
        memory.taken_in(1);
        assert!(memory.measure(640, || 641));
        assert!(memory.is_short());
        assert!(!memory.measure(640, || 650));
        assert!(memory.measure(640, || 640));
        assert!(!memory.is_short());
        assert!(!memory.measure(640, || panic!("too early")));
    }
}
