//! One client's connection.

use std::time::{Duration, Instant};

use super::channel::{Channel, Mode};
use super::confirms::Disturbance;
use super::context::short;
use super::ids::SessionId;
use crate::protocol::{FRAME_MIN_SIZE, Method, connection, encode_heartbeat};

/// Deliveries stop while this many octets wait to be sent to a client, and go on when fewer do.
pub(crate) const BACKLOG_OCTETS_MAX: usize = 4 << 20;

/// How long a client may take to answer `connection.close`.
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
    /// `connection.close` was sent: everything but its answer is thrown away.
    Closing,
    /// What is in the output still leaves, then the line is closed.
    Over,
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
    /// Whether anything was published on it: only then does an alarm concern it.
    pub publishes: bool,
    /// Whether the client was told of an alarm.
    pub is_told_blocked: bool,
    /// Whether deliveries wait for the backlog to shrink.
    pub is_congested: bool,
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
        if self.confirming.is_empty() {
            return;
        }
        self.confirm_deadline = None;
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

    /// Tells the client that there is an alarm, and why, or that there is none any more.
    pub fn tell_alarm(&mut self, alarm: Option<&str>) {
        if alarm.is_some() == self.is_told_blocked
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
        let beats = !self.heartbeat.is_zero() && self.phase == Phase::Open;
        let heartbeat = beats.then(|| {
            (self.last_sent + self.heartbeat / 2).min(self.last_received + 2 * self.heartbeat)
        });
        [heartbeat, self.phase_deadline, self.confirm_deadline]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due. False when the client has been silent, or in one phase, for too long.
    pub fn tick(&mut self, now: Instant) -> bool {
        if self.phase_deadline.is_some_and(|deadline| now >= deadline) {
            return false;
        }
        if self.heartbeat.is_zero() || self.phase != Phase::Open {
            return true;
        }
        if now >= self.last_sent + self.heartbeat / 2 {
            encode_heartbeat(&mut self.out);
            self.last_sent = now;
        }
        now < self.last_received + 2 * self.heartbeat
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

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u16, &mut Channel)> {
        let numbered = self.0.iter_mut().enumerate();
        numbered.filter_map(|(number, channel)| {
            Some((u16::try_from(number).ok()?, channel.as_deref_mut()?))
        })
    }

    pub fn count(&self) -> usize {
        self.0.iter().filter(|channel| channel.is_some()).count()
    }

    pub fn numbers(&self) -> Vec<u16> {
        let numbered = self.0.iter().enumerate();
        numbered
            .filter(|(_, channel)| channel.is_some())
            .filter_map(|(number, _)| u16::try_from(number).ok())
            .collect()
    }
}
