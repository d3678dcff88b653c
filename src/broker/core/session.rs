//! One client's connection.

use std::time::{Duration, Instant};

use super::channel::{Channel, Mode};
use super::confirms::Disturbance;
use super::context::short;
use super::ids::SessionId;
use crate::protocol::{FRAME_MIN_SIZE, Method, connection, encode_heartbeat};

/// Deliveries stop while this many octets wait to be sent to a client, and go on when fewer do.
pub(crate) const BACKLOG_OCTETS_MAX: usize = 4 << 20;

/// A client whose answers pile up to this many octets is not read until it has taken some of them: it sends without reading.
pub(crate) const UNREAD_OCTETS_MAX: usize = 2 * BACKLOG_OCTETS_MAX;

/// How long a client may take to answer `connection.close`, to end the line after its own was answered, or to read what is
/// left when a connection is over.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take from the first octet to `connection.open`, as RabbitMQ's `handshake_timeout`.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The client's protocol header comes next.
    Header,
    StartOk,
    TuneOk,
    ConnectionOpen,
    Open,
    /// `connection.close` was sent, or that of the client was answered: whatever else comes is thrown away.
    Closing,
    /// What is in the output still leaves, then the line is closed.
    Over,
    /// Nobody is there who would read what is in the output.
    Lost,
}

/// What the client says that it can do.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Capabilities {
    pub consumer_cancel_notify: bool,
    pub connection_blocked: bool,
    pub authentication_failure_close: bool,
}

pub(crate) struct Session {
    pub id: SessionId,
    pub phase: Phase,
    /// Octets for the client.
    pub out: Vec<u8>,
    /// Octets that were taken from `out` and that the kernel has not taken yet.
    pub unsent: usize,
    pub frame_max: u32,
    pub channel_max: u16,
    pub heartbeat: Duration,
    pub capabilities: Capabilities,
    pub user: String,
    /// Which of the broker's virtual hosts.
    pub vhost: usize,
    pub channels: Channels,
    /// Channels that have confirms to send.
    pub confirming: Vec<u16>,
    /// When the first of those leaves that a fault holds back.
    pub confirm_deadline: Option<Instant>,
    /// Whether anything was published on it since the alarm began, or in this turn: only then does an alarm concern it.
    pub publishes: bool,
    /// Whether the client was told of an alarm.
    pub is_told_blocked: bool,
    /// Whether deliveries wait for the backlog to shrink.
    pub is_congested: bool,
    /// Nothing is read and nothing is sent, for the sake of a test.
    pub is_frozen: bool,
    last_received: Instant,
    last_sent: Instant,
    /// When the phase must be over.
    phase_deadline: Option<Instant>,
}

impl Session {
    pub fn new(id: SessionId, now: Instant) -> Self {
        Self {
            id,
            phase: Phase::Header,
            out: Vec::new(),
            unsent: 0,
            frame_max: FRAME_MIN_SIZE,
            channel_max: 0,
            heartbeat: Duration::ZERO,
            capabilities: Capabilities::default(),
            user: String::new(),
            vhost: 0,
            channels: Channels::default(),
            confirming: Vec::new(),
            confirm_deadline: None,
            publishes: false,
            is_told_blocked: false,
            is_congested: false,
            is_frozen: false,
            last_received: now,
            last_sent: now,
            phase_deadline: now.checked_add(HANDSHAKE_TIMEOUT),
        }
    }

    pub fn send<'m>(&mut self, channel: u16, method: impl Into<Method<'m>>) {
        method.into().encode_frame(channel, &mut self.out);
    }

    /// Enters a phase that the client has to end in time, if it has to.
    pub fn enter(&mut self, phase: Phase, deadline: Option<Instant>) {
        self.phase = phase;
        self.phase_deadline = deadline;
    }

    /// Nothing more is taken in; what is in the output may leave for a while.
    pub fn end(&mut self, now: Instant) {
        self.enter(Phase::Over, now.checked_add(CLOSE_TIMEOUT));
    }

    /// Whether nothing that comes in has a meaning any more.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over | Phase::Lost)
    }

    /// About what it holds of messages that are in no queue.
    pub fn octets(&self) -> usize {
        self.channels.iter().map(Channel::octets).sum()
    }

    /// Octets that wait for the client.
    pub fn backlog(&self) -> usize {
        self.out.len() + self.unsent
    }

    /// Whether the client takes deliveries fast enough; if not, that is noted.
    pub fn has_room(&mut self) -> bool {
        let has_room = self.backlog() < BACKLOG_OCTETS_MAX;
        self.is_congested |= !has_room;
        has_room
    }

    /// Tells publishers what is known of their publishes.
    pub fn flush_confirms(&mut self, now: Instant, disturbance: Disturbance) {
        self.confirm_deadline = None;
        if self.confirming.is_empty() {
            return;
        }
        for number in std::mem::take(&mut self.confirming) {
            let Some(mut channel) = self.channels.take(number) else {
                continue;
            };
            if let Mode::Confirm(confirms) = &mut channel.mode {
                confirms.flush(now, number, &mut self.out, disturbance);
                if let Some(deadline) = confirms.deadline() {
                    self.confirming.push(number);
                    let earlier = self.confirm_deadline.filter(|other| *other < deadline);
                    self.confirm_deadline = earlier.or(Some(deadline));
                }
            }
            self.channels.put(number, channel);
        }
    }

    /// Tells a client that publishes that there is an alarm, and why, or that there is none any more.
    pub fn tell_alarm(&mut self, alarm: Option<&str>) {
        if alarm.is_some() == self.is_told_blocked
            || alarm.is_some() && !self.publishes
            || self.phase != Phase::Open
            || !self.capabilities.connection_blocked
        {
            return;
        }
        self.is_told_blocked = alarm.is_some();
        match alarm {
            Some(reason) => {
                let reason = short(reason);
                self.send(0, connection::Blocked { reason });
            }
            None => self.send(0, connection::Unblocked {}),
        }
    }

    pub fn received(&mut self, now: Instant) {
        self.last_received = now;
    }

    pub fn sent(&mut self, now: Instant) {
        self.last_sent = now;
    }

    /// When time alone makes something due: a heartbeat, the client's silence, or the end of a phase.
    pub fn deadline(&self) -> Option<Instant> {
        if self.is_frozen {
            return self.confirm_deadline;
        }
        let heartbeat = self
            .beats()
            .then(|| self.next_beat().min(self.silence_end()));
        [heartbeat, self.phase_deadline, self.confirm_deadline]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due. A client that has been silent, or in one phase, for too long is lost.
    pub fn tick(&mut self, now: Instant) {
        if self.is_frozen {
            return;
        }
        if self.phase_deadline.is_some_and(|deadline| now >= deadline) {
            self.enter(Phase::Lost, None);
        }
        if !self.beats() {
            return;
        }
        if now >= self.next_beat() {
            encode_heartbeat(&mut self.out);
            self.last_sent = now;
        }
        if now >= self.silence_end() {
            self.enter(Phase::Lost, None);
        }
    }

    fn beats(&self) -> bool {
        !self.heartbeat.is_zero() && self.phase == Phase::Open
    }

    fn next_beat(&self) -> Instant {
        self.last_sent + self.heartbeat / 2
    }

    fn silence_end(&self) -> Instant {
        self.last_received + 2 * self.heartbeat
    }
}

/// The channels of a connection by number.
#[derive(Default)]
pub(crate) struct Channels(Vec<Option<Box<Channel>>>);

impl Channels {
    pub fn get(&mut self, number: u16) -> Option<&mut Channel> {
        self.0.get_mut(usize::from(number))?.as_deref_mut()
    }

    /// Takes a channel out, to be put back after use.
    pub fn take(&mut self, number: u16) -> Option<Box<Channel>> {
        self.0.get_mut(usize::from(number))?.take()
    }

    pub fn put(&mut self, number: u16, channel: Box<Channel>) {
        let index = usize::from(number);
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        if let Some(place) = self.0.get_mut(index) {
            *place = Some(channel);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.0.iter().filter_map(Option::as_deref)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u16, &mut Channel)> {
        let numbered = self.0.iter_mut().enumerate();
        numbered.filter_map(|(number, channel)| {
            Some((u16::try_from(number).ok()?, channel.as_deref_mut()?))
        })
    }

    pub fn count(&self) -> usize {
        self.iter().count()
    }

    pub fn numbers(&self) -> Vec<u16> {
        let numbered = self.0.iter().enumerate();
        numbered
            .filter(|(_, channel)| channel.is_some())
            .filter_map(|(number, _)| u16::try_from(number).ok())
            .collect()
    }
}
