//! What a publisher's handle and its worker share: messages on their way out, and what became of those that left.
//!
//! ```text
//!  publisher's thread                      │ worker's thread
//!  encode ─▶ pieces, tail ─── (ready!) ────┼──▶ take() ─▶ driver
//!  wait  ◀── room, resolved ◀──────────────┼─── confirmed(), lose()
//! ```
//!
//! One lock for all of it: the publisher holds it while it encodes one message, the worker while it takes everything or books one confirm. The worker is told once that there is
//! something to take (`is_announced`), and not again until it has looked; while it sends, the next messages gather here. So batching comes
//! from load by itself, and an idle line sends at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use super::call::is_worker_thread;
use super::command::Command;
use super::command::Mailbox;
use super::error::Error;
use super::hands::shielded;
use super::pipeline::{Tie, Ties};
use super::publisher::{Payload, PublisherOptions};
use crate::buffer::Segment;
use crate::connection::{
    BadConfirm, ChannelId, Confirm, Confirms, Outcome, Returned, Route, Token, body_piece_max,
    encode_body, encode_publish_head, fingerprint,
};
use crate::protocol::{FRAME_END, FrameKind, PropertiesRef, frame_head};

/// A body from this size on is sent from where it lies instead of being copied, when it is shared (`Bytes`).
pub const UNCOPIED_BODY_OCTETS_MIN: usize = 64 * 1024;

pub(super) struct Outlet {
    state: Mutex<State>,
    /// There is room in the window again.
    room: Condvar,
    /// Publishes got their outcomes.
    resolved: Condvar,
    options: PublisherOptions,
    pub channel: ChannelId,
    frame_max: u32,
    mailbox: Arc<Mailbox>,
    pub token: Token,
    pub serial: u64,
    /// Whether its channel is in confirm mode.
    confirms: bool,
}

pub(super) struct State {
    /// Segments that are full or hold a body that is not copied; `tail` comes after them.
    pieces: Vec<Segment>,
    tail: Vec<u8>,
    octets: usize,
    is_announced: bool,
    pub confirms: Confirms,
    /// Why nothing can be published any more.
    end: Option<Error>,
    waiting_for_room: u32,
    waiting_for_outcome: u32,
    /// Receipts that are awaited, by tag: at most one for each publish without an outcome.
    receipts: BTreeMap<u64, Waker>,
    /// Who awaits the confirm of everything up to a tag, and who awaits room: the publisher's one user.
    confirmed: Option<(u64, Waker)>,
    ready: Option<Waker>,
    /// Deliveries that are answered when publishes have their outcomes.
    ties: Ties,
}

/// What the worker took to send.
pub(super) struct Taken {
    pub pieces: Vec<Segment>,
    pub tail: Vec<u8>,
}

impl Outlet {
    pub fn new(
        options: PublisherOptions,
        confirms: bool,
        channel: ChannelId,
        frame_max: u32,
        mailbox: Arc<Mailbox>,
        (token, serial): (Token, u64),
    ) -> Self {
        Outlet {
            state: Mutex::new(State {
                pieces: Vec::new(),
                tail: Vec::new(),
                octets: 0,
                is_announced: false,
                confirms: Confirms::new(options.window_messages.max(EXCEPTIONS_MIN)),
                end: None,
                waiting_for_room: 0,
                waiting_for_outcome: 0,
                receipts: BTreeMap::new(),
                confirmed: None,
                ready: None,
                ties: Ties::default(),
            }),
            room: Condvar::new(),
            resolved: Condvar::new(),
            options,
            channel,
            frame_max,
            mailbox,
            token,
            serial,
            confirms,
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock can only come from cloning a user's waker; the state is whole at those points.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn options(&self) -> &PublisherOptions {
        &self.options
    }

    /// Encodes one message, when the window has room for it or once it has, at `deadline` at the latest; `None` does not wait. Gives the message's tag.
    pub fn publish(
        &self,
        route: &Route<'_>,
        properties: PropertiesRef<'_>,
        body: Payload<'_>,
        deadline: Option<Instant>,
    ) -> Result<u64, Error> {
        let print = route.mandatory.then(|| {
            let (exchange, key) = (route.exchange, route.routing_key);
            fingerprint(exchange, key, properties, body.as_slice())
        });
        let mut state = self.lock();
        loop {
            if let Some(end) = &state.end {
                return Err(end.clone());
            }
            match self.room_in(&state) {
                Ok(()) => break,
                Err(full) => {
                    state = self.wait_for_room(state, deadline, full)?;
                }
            }
        }
        let octets = self.encode(&mut state, route, properties, body)?;
        let mut tag = 0;
        if self.confirms {
            tag = state.confirms.publish(octets);
            if let Some(print) = print {
                state.confirms.note_mandatory(tag, print);
            }
        }
        let announce = !std::mem::replace(&mut state.is_announced, true);
        drop(state);
        if announce {
            let ready = Command::PublisherReady {
                publisher: self.token,
                serial: self.serial,
            };
            // Without its worker nobody would ever send what is here.
            self.mailbox
                .post(ready)
                .map_err(Error::from)
                .inspect_err(|error| self.lose(error.clone()))?;
        }
        Ok(tag)
    }

    fn encode(
        &self,
        state: &mut State,
        route: &Route<'_>,
        properties: PropertiesRef<'_>,
        body: Payload<'_>,
    ) -> Result<usize, Error> {
        let channel = self.channel.number();
        let before = state.tail.len();
        let size = body.as_slice().len();
        encode_publish_head(
            &mut state.tail,
            channel,
            self.frame_max,
            route,
            properties,
            size,
        )
        .map_err(|refused| Error::Refused {
            operation: "basic.publish",
            refused,
        })?;
        let mut octets = state.tail.len() - before;
        match body {
            Payload::Shared(bytes) if size >= UNCOPIED_BODY_OCTETS_MIN => {
                let piece_max = body_piece_max(self.frame_max);
                for start in (0..size).step_by(piece_max) {
                    let piece = bytes.slice(start..size.min(start + piece_max));
                    let head = frame_head(FrameKind::Body, channel, piece.len() as u32);
                    state.tail.extend_from_slice(&head);
                    octets += head.len() + piece.len() + 1;
                    let tail = std::mem::take(&mut state.tail);
                    state.pieces.push(Segment::Owned(tail));
                    state.pieces.push(Segment::Shared(piece));
                    state.tail.push(FRAME_END);
                }
            }
            body => {
                let before = state.tail.len();
                encode_body(&mut state.tail, channel, self.frame_max, body.as_slice());
                octets += state.tail.len() - before;
            }
        }
        state.octets += octets;
        Ok(octets)
    }

    /// Whether another message may be published; if not, the error that says so.
    fn room_in(&self, state: &State) -> Result<(), Error> {
        if state.confirms.is_overrun() {
            return Err(Error::OutcomesNotCollected(self.options.window_messages));
        }
        let (messages, octets) = self.in_window(state);
        if messages >= self.options.window_messages as u64 || octets >= self.options.window_octets {
            return Err(Error::WindowFull { messages, octets });
        }
        Ok(())
    }

    fn in_window(&self, state: &State) -> (u64, usize) {
        if self.confirms {
            (state.confirms.pending(), state.confirms.octets_pending())
        } else {
            (0, state.octets)
        }
    }

    fn wait_for_room<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
        full: Error,
    ) -> Result<MutexGuard<'a, State>, Error> {
        // Time does not help against outcomes that nobody collects, and a worker must not wait for itself.
        let left = deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
            .filter(|left| !left.is_zero() && matches!(full, Error::WindowFull { .. }));
        let Some(left) = left else {
            return Err(full);
        };
        if is_worker_thread() {
            return Err(Error::WouldBlockWorker);
        }
        state.waiting_for_room += 1;
        let (mut state, _) = self
            .room
            .wait_timeout(state, left)
            .unwrap_or_else(PoisonError::into_inner);
        state.waiting_for_room -= 1;
        Ok(state)
    }

    /// Waits until `ready` gives something, or the deadline has passed.
    pub fn wait_for<T>(
        &self,
        deadline: Instant,
        mut ready: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let mut state = self.lock();
        loop {
            if let Some(value) = ready(&mut state) {
                return Ok(Some(value));
            }
            if is_worker_thread() {
                return Err(Error::WouldBlockWorker);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            state.waiting_for_outcome += 1;
            (state, _) = self
                .resolved
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
            state.waiting_for_outcome -= 1;
        }
    }

    /// For the worker: everything there is to send, in order. `spare` becomes the next tail.
    pub fn take(&self, spare: Vec<u8>) -> Taken {
        let mut state = self.lock();
        state.is_announced = false;
        state.octets = 0;
        let taken = Taken {
            pieces: std::mem::take(&mut state.pieces),
            tail: std::mem::replace(&mut state.tail, spare),
        };
        if !self.confirms {
            self.notify(state);
        }
        taken
    }

    /// For the worker: whether nothing waits to be sent or confirmed.
    pub fn is_idle(&self) -> bool {
        let state = self.lock();
        state.octets == 0 && (!self.confirms || state.confirms.pending() == 0)
    }

    /// For the worker: a confirm came.
    pub fn confirmed(&self, confirm: Confirm) -> Result<(), BadConfirm> {
        let mut state = self.lock();
        let Confirm {
            delivery_tag,
            multiple,
            acked,
        } = confirm;
        let booked = state.confirms.confirm(delivery_tag, multiple, acked);
        let receipt = state.receipts.remove(&delivery_tag);
        let ties = state.take_due_ties(delivery_tag);
        self.notify(state);
        if let Some(waker) = receipt {
            wake(waker);
        }
        go_on(ties);
        booked
    }

    /// Keeps a tie until the publish has its outcome; gives it back, with whether that is an ack, when there is one already.
    pub fn tie(&self, tag: u64, tie: Tie) -> Option<(Tie, bool)> {
        let mut state = self.lock();
        match state.take_outcome(tag) {
            Some(outcome) => Some((tie, outcome == Ok(Outcome::Acked))),
            None => {
                state.ties.insert(tag, tie);
                None
            }
        }
    }

    /// For the worker: a message came back.
    pub fn returned(&self, returned: Returned, print: u64) {
        if self.lock().confirms.returned(print, returned).is_none() {
            tracing::debug!(
                publisher = self.token,
                "a message was returned that no mandatory publish waits for"
            );
        }
    }

    /// For the worker: nothing more is accepted, with `error` as the answer. What was accepted goes on.
    pub fn refuse_more(&self, error: Error) {
        let mut state = self.lock();
        state.end.get_or_insert(error);
        self.room.notify_all();
        self.notify(state);
    }

    /// For the worker: the publisher has ended. What has no outcome is unknown; what was not sent is dropped.
    pub fn lose(&self, error: Error) {
        let mut state = self.lock();
        state.end.get_or_insert(error);
        state.confirms.lose();
        state.pieces.clear();
        state.tail = Vec::new();
        state.octets = 0;
        let ties = state.take_due_ties(0);
        self.room.notify_all();
        self.notify(state);
        go_on(ties);
    }

    fn notify(&self, mut state: MutexGuard<'_, State>) {
        let has_room = self.has_room(&state);
        let wakers = state.take_due_wakers(has_room);
        let outcome = state.waiting_for_outcome > 0;
        // Waking a publisher for each message that leaves would cost more than the message: a quarter of the window pays for it.
        let (messages, octets) = self.in_window(&state);
        let three_quarters = |window: usize| window - window.div_ceil(4);
        let room = state.waiting_for_room > 0
            && messages <= three_quarters(self.options.window_messages) as u64
            && octets <= three_quarters(self.options.window_octets);
        drop(state);
        if outcome {
            self.resolved.notify_all();
        }
        if room {
            self.room.notify_all();
        }
        wakers.into_iter().for_each(wake);
    }

    /// Why nothing can be published any more, if it cannot.
    pub fn end(&self) -> Option<Error> {
        self.lock().end.clone()
    }

    /// Whether a publish would find room, or an error at once.
    pub fn has_room(&self, state: &State) -> bool {
        state.end.is_some() || !matches!(self.room_in(state), Err(Error::WindowFull { .. }))
    }
}

impl std::fmt::Debug for Outlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outlet")
            .field("channel", &self.channel)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// To be called without the lock: a tie may go on to another publish here.
fn go_on(ties: Vec<(Tie, bool)>) {
    for (tie, is_acked) in ties {
        tie.go_on(is_acked);
    }
}

/// A user's waker may do anything.
fn wake(waker: Waker) {
    shielded("a waker", || waker.wake());
}

/// How many failures are kept at least for those who look late.
const EXCEPTIONS_MIN: usize = 1024;

impl State {
    /// Wakes `waker` when the publish has its outcome.
    pub fn wake_receipt(&mut self, tag: u64, waker: &Waker) {
        self.receipts.insert(tag, waker.clone());
    }

    /// Wakes `waker` when everything up to `tag` has its outcome.
    pub fn wake_when_confirmed(&mut self, tag: u64, waker: &Waker) {
        self.confirmed = Some((tag, waker.clone()));
    }

    /// Wakes `waker` when there is room.
    pub fn wake_when_ready(&mut self, waker: &Waker) {
        self.ready = Some(waker.clone());
    }

    /// The wakers whose time has come, to be woken when the lock is gone.
    fn take_due_wakers(&mut self, has_room: bool) -> Vec<Waker> {
        let mut due = Vec::new();
        while let Some(receipt) = self.receipts.first_entry()
            && self.confirms.is_resolved_up_to(*receipt.key())
        {
            due.push(receipt.remove());
        }
        if let Some((tag, _)) = self.confirmed
            && self.confirms.is_resolved_up_to(tag)
        {
            due.extend(self.confirmed.take().map(|(_, waker)| waker));
        }
        if has_room {
            due.extend(self.ready.take());
        }
        due
    }

    /// The ties of publishes that have their outcomes, after a confirm of `confirmed`, and whether those are acks.
    fn take_due_ties(&mut self, confirmed: u64) -> Vec<(Tie, bool)> {
        let mut due = Vec::new();
        while let Some(first) = self.ties.first()
            && self.confirms.is_resolved_up_to(first)
        {
            due.extend(self.take_tie(first));
        }
        // One that was confirmed before others that were published before it.
        due.extend(self.take_tie(confirmed));
        due
    }

    fn take_tie(&mut self, tag: u64) -> Option<(Tie, bool)> {
        let tie = self.ties.remove(tag)?;
        match self.take_outcome(tag) {
            Some(outcome) => Some((tie, outcome == Ok(Outcome::Acked))),
            None => {
                self.ties.insert(tag, tie);
                None
            }
        }
    }

    /// What became of a publish; the outcome is taken out of the store.
    pub fn take_outcome(&mut self, tag: u64) -> Option<Result<Outcome, Error>> {
        if self.confirms.is_forgotten(tag) {
            return Some(Err(Error::OutcomeForgotten));
        }
        self.confirms.take_outcome(tag).map(Ok)
    }
}
