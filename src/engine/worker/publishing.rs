//! A worker's publishers: their channels, and the way of their messages to the line.

use std::sync::Arc;
use std::time::Instant;

use super::line::{Pending, pend};
use super::{PUBLISHING, Worker};
use crate::buffer::Segment;
use crate::connection::{ChannelError, ChannelId, Reply, Token};
use crate::driver::Drive;
use crate::engine::call::Answer;
use crate::engine::command::Command;
use crate::engine::error::Error;
use crate::engine::outlet::{Outlet, Taken};
use crate::engine::publisher::{Handle, PublisherOptions};
use crate::protocol::{Method, confirm};

/// How many octets a line has queued at the driver before publishers are asked for more: enough to keep the socket busy while the next
/// messages gather, little enough that they gather with their publishers, where the window counts them.
const SEND_AHEAD_OCTETS: usize = 128 * 1024;

/// What a worker knows of one publisher.
pub(in crate::engine) struct PublisherSlot {
    /// There once its channel is open.
    pub outlet: Option<Arc<Outlet>>,
    line: usize,
    channel: ChannelId,
    serial: u64,
    confirms: bool,
    opening: Option<(PublisherOptions, Answer<Handle>)>,
    end: End,
}

impl Drop for PublisherSlot {
    /// Its channel is gone, or its worker: nobody may wait for outcomes that will not come.
    fn drop(&mut self) {
        if let Some(outlet) = &self.outlet {
            outlet.lose(Error::Stopped);
        }
    }
}

/// How far the end of a publisher has come.
enum End {
    NotYet,
    /// Its handle is gone: the channel closes when everything is sent and confirmed.
    Wanted(Option<Answer<()>>),
    /// `channel.close` was sent.
    Closing(Option<Answer<()>>),
}

impl End {
    fn take_answer(&mut self) -> Option<Answer<()>> {
        match self {
            End::NotYet => None,
            End::Wanted(answer) | End::Closing(answer) => answer.take(),
        }
    }
}

impl<D: Drive> Worker<D> {
    pub(super) fn open_publisher(
        &mut self,
        now: Instant,
        options: PublisherOptions,
        confirms: bool,
        answer: Answer<Handle>,
    ) {
        let line = PUBLISHING;
        if !self.lines[line].is_open() {
            self.lines[line].waiting.push(Command::OpenPublisher {
                options,
                confirms,
                answer,
            });
            self.ensure_line(line, now);
            return;
        }
        let serial = self.next_serial();
        let entry = self.publishers.vacant_entry();
        let publisher = entry.key() as Token;
        let Some((connection, calls)) = self.lines[line].open_connection() else {
            return;
        };
        let setup = |is_last| Pending::PublisherSetup { publisher, is_last };
        let opened = pend(calls, setup(!confirms), |call| {
            connection.open_channel(call)
        });
        let channel = match opened.and_then(|channel| {
            if confirms {
                let select = Method::from(confirm::Select { nowait: false });
                pend(calls, setup(true), |call| {
                    connection.call(channel, call, &select)
                })?;
            }
            connection.set_publisher(channel, publisher)?;
            Ok(channel)
        }) {
            Ok(channel) => channel,
            Err(refused) => {
                let operation = "channel.open";
                let _ = answer.send(Err(Error::Refused { operation, refused }));
                return;
            }
        };
        entry.insert(PublisherSlot {
            outlet: None,
            line,
            channel,
            serial,
            confirms,
            opening: Some((options, answer)),
            end: End::NotYet,
        });
    }

    pub(super) fn publisher_progressed(
        &mut self,
        publisher: Token,
        is_last: bool,
        reply: Result<Reply, ChannelError>,
    ) {
        let Some(slot) = self.publishers.get_mut(publisher as usize) else {
            return;
        };
        if let Err(error) = reply {
            if let Some((_, answer)) = slot.opening.take() {
                let _ = answer.send(Err(Error::from_channel("confirm.select", error)));
            }
            return;
        }
        let Some(frame_max) = self.lines[slot.line]
            .open_connection()
            .map(|(connection, _)| connection.tuning().frame_max)
        else {
            return;
        };
        if is_last && let Some((options, answer)) = slot.opening.take() {
            let outlet = Arc::new(Outlet::new(
                options,
                slot.confirms,
                slot.channel,
                frame_max,
                Arc::clone(&self.mailbox),
                (publisher, slot.serial),
            ));
            slot.outlet = Some(Arc::clone(&outlet));
            if self.shutdown.is_some() {
                outlet.refuse_more(Error::Stopped);
            }
            // Where nobody waits for it any more, dropping the handle closes it.
            let _ = answer.send(Ok(Handle::new(outlet, Arc::clone(&self.mailbox))));
        }
    }

    pub(super) fn publisher_ready(&mut self, publisher: Token, serial: u64) {
        if let Some(slot) = self.publishers.get(publisher as usize)
            && slot.serial == serial
        {
            self.lines[slot.line].ready.push_back(publisher);
        }
    }

    pub(super) fn close_publisher(&mut self, outlet: &Outlet, answer: Option<Answer<()>>) {
        let slot = self.publishers.get_mut(outlet.token as usize);
        match slot.filter(|slot| slot.serial == outlet.serial) {
            Some(slot) if matches!(slot.end, End::NotYet | End::Wanted(_)) => {
                slot.end = End::Wanted(answer);
            }
            Some(slot) => slot.end = End::Closing(answer),
            None => {
                if let Some(answer) = answer {
                    // It ended before: by itself, or because of an error that its user has to hear of.
                    let _ = answer.send(match outlet.end() {
                        None | Some(Error::Stopped) => Ok(()),
                        Some(error) => Err(error),
                    });
                }
            }
        }
    }

    /// Asks every publisher to end when it is done. Those that go on publishing would never be: they are refused.
    pub(super) fn end_publishers(&mut self) {
        for (_, slot) in &mut self.publishers {
            if let Some(outlet) = &slot.outlet {
                outlet.refuse_more(Error::Stopped);
            }
            if matches!(slot.end, End::NotYet) {
                slot.end = End::Wanted(None);
            }
        }
    }

    /// Closes the channels of publishers that are to end and have nothing under way.
    pub(super) fn close_idle_publishers(&mut self, line: usize) {
        let Some((connection, calls)) = self.lines[line].open_connection() else {
            return;
        };
        for (token, slot) in &mut self.publishers {
            if slot.line != line || !matches!(slot.end, End::Wanted(_)) {
                continue;
            }
            let Some(outlet) = &slot.outlet else {
                continue;
            };
            if outlet.is_idle() {
                let publisher = token as Token;
                slot.end = End::Closing(slot.end.take_answer());
                // A channel that is gone already takes its slot along in its own event.
                let _ = pend(calls, Pending::PublisherClosed { publisher }, |call| {
                    connection.close_channel(slot.channel, call)
                });
            }
        }
    }

    /// Hands what publishers have ready to the driver, as long as it has little queued.
    pub(super) fn send_publishes(&mut self, line: usize, now: Instant) {
        let this = &mut self.lines[line];
        let Some(session) = &mut this.session else {
            return;
        };
        while self.driver.unsent(session.link) < SEND_AHEAD_OCTETS
            && let Some(publisher) = this.ready.pop_front()
        {
            let Some(slot) = self.publishers.get(publisher as usize) else {
                continue;
            };
            let Some(outlet) = &slot.outlet else {
                continue;
            };
            if !session.connection.may_publish(slot.channel) {
                this.parked.push(publisher);
                continue;
            }
            let Taken { pieces, tail } = outlet.take(self.driver.spare());
            for piece in pieces {
                self.driver.send(session.link, piece);
            }
            self.driver.send(session.link, Segment::Owned(tail));
            session.connection.sent(now);
        }
    }

    /// Its channel ended under it.
    pub(super) fn publisher_ended(&mut self, publisher: Token, error: Error) {
        if let Some(mut slot) = self.publishers.try_remove(publisher as usize) {
            if let Some((_, answer)) = slot.opening.take() {
                let _ = answer.send(Err(error.clone()));
            }
            if let Some(answer) = slot.end.take_answer() {
                let _ = answer.send(Err(error.clone()));
            }
            if let Some(outlet) = &slot.outlet {
                outlet.lose(error);
            }
        }
    }

    /// Its channel was closed as it wanted.
    pub(super) fn forget_publisher(&mut self, publisher: Token) {
        if let Some(mut slot) = self.publishers.try_remove(publisher as usize) {
            if let Some(outlet) = &slot.outlet {
                outlet.lose(Error::Stopped);
            }
            if let Some(answer) = slot.end.take_answer() {
                let _ = answer.send(Ok(()));
            }
        }
    }

    pub(super) fn publisher_on(&self, channel: ChannelId) -> Option<Token> {
        let mut slots = self.publishers.iter();
        slots
            .find(|(_, slot)| slot.channel == channel)
            .map(|(token, _)| token as Token)
    }

    pub(super) fn publishers_on_line(&self, line: usize) -> Vec<Token> {
        let slots = self.publishers.iter();
        slots
            .filter(|(_, slot)| slot.line == line)
            .map(|(token, _)| token as Token)
            .collect()
    }
}
