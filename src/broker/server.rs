//! The socket side: one driver, one [`Core`], and the lines between them.
//!
//! ```text
//!  loop ─▶ commands ─▶ what is due by time ─▶ settle ─▶ output to the driver ─▶ driver.turn() ─▶ what came in ─┐
//!   ▲                                                                                                         │
//!   └─────────────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::sync::Arc;
use std::time::Instant;

use super::core::{Core, Progress, SessionId};
use super::tap::Tap;
use crate::buffer::{Inbox, Parsed, Segment};
use crate::driver::{Adopt, DriverError, Event, Link, Mailbox};

/// What other threads ask of the server.
pub(crate) enum Command<S> {
    /// Somebody has connected.
    Accepted(Accepted<S>),
    /// Work on the server, between two turns.
    Do(Work),
    /// Looked at after every turn, until it is done.
    Watch(Watch),
    Stop,
}

pub(crate) type Work = Box<dyn FnOnce(&mut dyn Serve) + Send>;
pub(crate) type Watch = Box<dyn FnMut(&Core) -> Done + Send>;

/// A server, whatever its driver is.
pub(crate) trait Serve {
    fn core(&mut self) -> &mut Core;
    fn now(&self) -> Instant;
    /// Every connection is reset.
    fn reset(&mut self);
    /// Every client reads an end of file; what it sends still comes in.
    fn half_close(&mut self);
    /// Nothing is read from any connection and nothing sent, or everything again.
    fn freeze(&mut self, is_frozen: bool);
    /// Somebody listens from now on, in place of whoever did.
    fn set_tap(&mut self, tap: Box<dyn Tap>);
}

/// Whether a watch is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    Yes,
    No,
}

/// A connection with a hand on its socket, for faults that the driver knows nothing of.
pub(crate) struct Accepted<S> {
    pub socket: S,
    pub control: Box<dyn Control>,
}

/// What can be done to a socket from outside of its driver.
pub(crate) trait Control: Send {
    /// The peer reads an end of file; its own octets still come in.
    fn half_close(&self);
    /// Closing it resets the connection.
    fn reset_on_close(&self);
}

struct Line {
    link: Link,
    inbox: Inbox,
    control: Box<dyn Control>,
    is_read: bool,
}

pub(crate) struct Server<D: Adopt> {
    driver: D,
    core: Core,
    mailbox: Arc<Mailbox<Command<D::Socket>>>,
    /// By session.
    lines: Vec<Option<Line>>,
    /// By slot of the link.
    sessions: Vec<Option<(Link, SessionId)>>,
    watches: Vec<Watch>,
    /// Those that are read again, and have octets left from before.
    resumed: Vec<SessionId>,
    tap: Option<Box<dyn Tap>>,
    is_stopping: bool,
}

impl<D: Adopt> Server<D> {
    pub fn new(driver: D, core: Core, mailbox: Arc<Mailbox<Command<D::Socket>>>) -> Self {
        mailbox.set_waker(driver.waker());
        Self {
            driver,
            core,
            mailbox,
            lines: Vec::new(),
            sessions: Vec::new(),
            watches: Vec::new(),
            resumed: Vec::new(),
            tap: None,
            is_stopping: false,
        }
    }

    /// Serves until it is told to stop, or the driver fails.
    pub async fn run(mut self) -> Result<(), DriverError> {
        let mut events = Vec::new();
        loop {
            let now = self.driver.now();
            while let Some(command) = self.mailbox.take() {
                self.command(now, command);
            }
            if self.is_stopping {
                return Ok(());
            }
            for session in std::mem::take(&mut self.resumed) {
                self.read(now, session);
            }
            if self.core.deadline().is_some_and(|deadline| deadline <= now) {
                self.core.tick(now);
            }
            self.core.settle(now);
            let core = &self.core;
            self.watches.retain_mut(|watch| watch(core) == Done::No);
            for session in self.core.touched() {
                self.flush(now, session);
            }
            let deadline = self.core.deadline();
            let (mailbox, resumed) = (&self.mailbox, &self.resumed);
            let has_work = || !mailbox.is_empty() || !resumed.is_empty();
            self.driver.turn(deadline, has_work, &mut events).await?;
            let now = self.driver.now();
            for event in events.drain(..) {
                self.event(now, event);
            }
            // At the very time of the publishes: one whose time to live is 0 may still go to a consumer that waits.
            self.core.settle(now);
        }
    }

    fn command(&mut self, now: Instant, command: Command<D::Socket>) {
        match command {
            Command::Accepted(accepted) => self.accepted(now, accepted),
            Command::Do(work) => work(self),
            Command::Watch(watch) => self.watches.push(watch),
            Command::Stop => self.is_stopping = true,
        }
    }

    fn accepted(&mut self, now: Instant, accepted: Accepted<D::Socket>) {
        let link = match self.driver.adopt(accepted.socket) {
            Ok(link) => link,
            Err(error) => {
                tracing::warn!(%error, "the broker cannot take a connection");
                return;
            }
        };
        let Some(session) = self.core.accept(now) else {
            self.driver.close(link);
            return;
        };
        let line = Line {
            link,
            inbox: Inbox::default(),
            control: accepted.control,
            is_read: true,
        };
        if let Some(tap) = &mut self.tap {
            tap.opened(session.0);
        }
        put(&mut self.lines, session.0, line);
        put(&mut self.sessions, link.slot(), (link, session));
    }

    fn session_of(&self, link: Link) -> Option<SessionId> {
        let (known, session) = self.sessions.get(link.slot() as usize)?.as_ref()?;
        (*known == link).then_some(*session)
    }

    fn all(&self) -> Vec<SessionId> {
        let lines = self.lines.iter().enumerate();
        lines
            .filter(|(_, line)| line.is_some())
            .filter_map(|(at, _)| u32::try_from(at).ok().map(SessionId))
            .collect()
    }

    fn line(&mut self, session: SessionId) -> Option<&mut Line> {
        self.lines.get_mut(session.0 as usize)?.as_mut()
    }

    fn event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Connected(_) => {}
            Event::Received(link, filled) => {
                if let Some(session) = self.session_of(link) {
                    if let Some(line) = self.line(session) {
                        line.inbox.push(filled);
                    }
                    self.read(now, session);
                }
            }
            Event::Sent { link, unsent } => {
                if let Some(session) = self.session_of(link) {
                    self.core.unsent(now, session, unsent);
                    self.flush(now, session);
                }
            }
            Event::Lost(link, _) => {
                if let Some(session) = self.session_of(link) {
                    self.forget(now, session);
                }
            }
            Event::Starved => {
                for line in self.lines.iter_mut().flatten() {
                    line.inbox.release();
                }
            }
        }
    }

    fn read(&mut self, now: Instant, session: SessionId) {
        let Some(line) = self
            .lines
            .get_mut(session.0 as usize)
            .and_then(Option::as_mut)
        else {
            return;
        };
        let (core, tap) = (&mut self.core, &mut self.tap);
        if core.is_frozen(session) {
            return;
        }
        let parsed = line.inbox.parse(|octets, _| {
            let Progress {
                heard,
                consumed,
                missing,
            } = core.receive(now, session, octets);
            if let (Some(tap), Some(heard @ [_, ..])) = (tap.as_mut(), octets.get(..heard)) {
                tap.received(session.0, heard);
            }
            Ok::<_, std::convert::Infallible>(Parsed { consumed, missing })
        });
        let Ok(()) = parsed;
        self.watch_reading(session);
    }

    /// Receives from a line, or stops, as the core says.
    fn watch_reading(&mut self, session: SessionId) {
        let Some(line) = self
            .lines
            .get_mut(session.0 as usize)
            .and_then(Option::as_mut)
        else {
            return;
        };
        let is_read = self.core.is_read(session);
        if is_read == line.is_read {
            return;
        }
        line.is_read = is_read;
        self.driver.set_reading(line.link, is_read);
        if is_read && !line.inbox.is_empty() {
            self.resumed.push(session);
        }
    }

    /// Sends what there is, and closes the line when it is over.
    fn flush(&mut self, now: Instant, session: SessionId) {
        self.watch_reading(session);
        let Some(line) = self
            .lines
            .get_mut(session.0 as usize)
            .and_then(Option::as_mut)
        else {
            return;
        };
        let link = line.link;
        if self.core.is_frozen(session) {
            return;
        }
        if let Some(output) = self.core.output(session)
            && !output.is_empty()
        {
            let octets = std::mem::replace(output, self.driver.spare());
            if let Some(tap) = &mut self.tap {
                tap.sent(session.0, &octets);
            }
            self.driver.send(link, Segment::Owned(octets));
            self.core.sent(now, session);
            self.core.unsent(now, session, self.driver.unsent(link));
        }
        let has_left = self.driver.unsent(link) == 0;
        if self.core.is_lost(session) || self.core.is_over(session) && has_left {
            self.forget(now, session);
        }
    }

    /// Closes a line, whatever state it is in.
    fn forget(&mut self, now: Instant, session: SessionId) {
        let Some(line) = self
            .lines
            .get_mut(session.0 as usize)
            .and_then(Option::take)
        else {
            return;
        };
        self.driver.close(line.link);
        if let Some(place) = self.sessions.get_mut(line.link.slot() as usize) {
            *place = None;
        }
        self.core.lost(now, session);
        if let Some(tap) = &mut self.tap {
            tap.closed(session.0);
        }
    }
}

impl<D: Adopt> Serve for Server<D> {
    fn core(&mut self) -> &mut Core {
        &mut self.core
    }

    fn now(&self) -> Instant {
        self.driver.now()
    }

    fn reset(&mut self) {
        let now = self.driver.now();
        for session in self.all() {
            if let Some(line) = self.line(session) {
                line.control.reset_on_close();
            }
            self.forget(now, session);
        }
    }

    fn half_close(&mut self) {
        for line in self.lines.iter().flatten() {
            line.control.half_close();
        }
    }

    fn freeze(&mut self, is_frozen: bool) {
        let now = self.driver.now();
        for session in self.all() {
            self.core.freeze(now, session, is_frozen);
            self.flush(now, session);
        }
    }

    fn set_tap(&mut self, tap: Box<dyn Tap>) {
        self.tap = Some(tap);
    }
}

/// Puts a value into a table at an index that may be beyond its end.
fn put<T>(table: &mut Vec<Option<T>>, index: u32, value: T) {
    let index = index as usize;
    if table.len() <= index {
        table.resize_with(index + 1, || None);
    }
    if let Some(place) = table.get_mut(index) {
        *place = Some(value);
    }
}
