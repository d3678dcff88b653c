//! Which link is in which slot.

use super::Link;

/// What a slot holds.
pub(super) trait Occupant {
    /// Closes it; it may have to stay in its slot for a while.
    fn close(&mut self);

    /// Whether it was closed.
    fn is_closing(&self) -> bool;
}

/// Slots, used again under a new generation once their connection is over.
pub(super) struct Slots<C> {
    slots: Vec<Slot<C>>,
    vacant: Vec<u32>,
    max: u32,
}

struct Slot<C> {
    /// Of the link that is in the slot now, or of the next one when that was retired or there is none: a retired link
    /// is stale at once (D2), while its connection is still being closed.
    generation: u32,
    connection: Option<C>,
}

impl<C> Default for Slots<C> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
            max: 0,
        }
    }
}

impl<C: Occupant> Slots<C> {
    /// At most `max` slots.
    pub(super) fn new(max: u32) -> Self {
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
            max,
        }
    }

    /// The most slots.
    pub(super) fn max(&self) -> u32 {
        self.max
    }

    /// Slots in use, those of closing connections included.
    pub(super) fn used(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    /// Whether there is no vacant slot.
    pub(super) fn is_full(&self) -> bool {
        self.used() >= self.max as usize
    }

    /// Puts a connection into a vacant slot. `None` when there is none.
    pub(super) fn occupy(&mut self, connection: C) -> Option<Link> {
        if self.is_full() {
            return None;
        }
        let slot = match self.vacant.pop() {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(self.slots.len()).ok()?;
                self.slots.push(Slot {
                    generation: 0,
                    connection: None,
                });
                slot
            }
        };
        let place = self.slots.get_mut(slot as usize)?;
        place.connection = Some(connection);
        Some(Link::new(slot, place.generation))
    }

    /// The connection in a slot, retired or not.
    pub(super) fn occupant(&mut self, slot: u32) -> Option<&mut C> {
        self.slots.get_mut(slot as usize)?.connection.as_mut()
    }

    /// The connection of a link that is not stale.
    pub(super) fn get(&mut self, link: Link) -> Option<&mut C> {
        let slot = self.slots.get_mut(link.slot() as usize)?;
        if slot.generation == link.generation() {
            slot.connection.as_mut()
        } else {
            None
        }
    }

    /// The same, to look at only.
    pub(super) fn peek(&self, link: Link) -> Option<&C> {
        let slot = self.slots.get(link.slot() as usize)?;
        if slot.generation == link.generation() {
            slot.connection.as_ref()
        } else {
            None
        }
    }

    /// The link that is in a slot, not retired.
    pub(super) fn link(&self, slot: u32) -> Link {
        Link::new(
            slot,
            self.slots
                .get(slot as usize)
                .map_or(0, |slot| slot.generation),
        )
    }

    /// Makes the link in a slot stale and closes its connection. False when that was done already.
    pub(super) fn retire(&mut self, slot: u32) -> bool {
        let Some(place) = self.slots.get_mut(slot as usize) else {
            return false;
        };
        match &mut place.connection {
            Some(connection) if !connection.is_closing() => {
                connection.close();
                place.generation = place.generation.wrapping_add(1);
                true
            }
            _ => false,
        }
    }

    /// Retires every link.
    pub(super) fn retire_all(&mut self) {
        for slot in 0..self.slots.len() {
            self.retire(slot as u32);
        }
    }

    /// Drops a connection that is over; its slot may be used again.
    pub(super) fn free(&mut self, slot: u32) {
        if let Some(place) = self.slots.get_mut(slot as usize)
            && place.connection.take().is_some()
        {
            self.vacant.push(slot);
        }
    }
}
