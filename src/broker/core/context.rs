//! What a method that came in has to do with: its channel, its connection, its virtual host, and what all share.

use std::borrow::Cow;
use std::time::Instant;

use super::channel::{Channel, Mode};
use super::faults::Faults;
use super::ids::ConsumerId;
use super::memory::Memory;
use super::message::Message;
use super::names::Names;
use super::records::Records;
use super::refusal::Refusal;
use super::replies::Replies;
use super::session::Session;
use super::vhost::Vhost;
use crate::broker::control::Totals;
use crate::broker::settings::Settings;
use crate::protocol::{DecodeError, Method, ReplyCode, SHORT_STR_MAX, ShortStr};

/// What belongs to no connection and to no virtual host.
pub(crate) struct Shared {
    pub settings: Settings,
    pub faults: Faults,
    pub records: Records,
    pub names: Names,
    pub replies: Replies,
    pub totals: Totals,
    pub memory: Memory,
    /// When the broker's time began, to tell seconds since 1970.
    pub started: Instant,
    /// Messages for consumers of `amq.rabbitmq.reply-to`.
    pub direct: Vec<(ConsumerId, Message)>,
}

impl Shared {
    /// Seconds since 1970.
    pub fn wall_clock(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.started);
        self.settings.started_at + since.as_secs()
    }
}

/// A method at work. The channel is taken out of the session meanwhile.
pub(crate) struct Context<'a> {
    pub now: Instant,
    pub number: u16,
    pub channel: &'a mut Channel,
    pub session: &'a mut Session,
    pub vhost: &'a mut Vhost,
    pub shared: &'a mut Shared,
}

impl Context<'_> {
    pub fn reply<'m>(&mut self, method: impl Into<Method<'m>>) {
        self.session.send(self.number, method);
    }

    /// Answers unless the client wants no answer.
    pub fn reply_unless<'m>(&mut self, no_wait: bool, method: impl Into<Method<'m>>) {
        if !no_wait {
            self.reply(method);
        }
    }

    pub fn confirm_select(&mut self, no_wait: bool) -> Result<(), Refusal> {
        match self.channel.mode {
            Mode::Transaction(_) => {
                return Err(Refusal::precondition(
                    "cannot switch from tx to confirm mode",
                ));
            }
            Mode::Confirm(_) => {}
            Mode::Plain => self.channel.mode = Mode::Confirm(super::confirms::Confirms::new()),
        }
        self.reply_unless(no_wait, crate::protocol::confirm::SelectOk {});
        Ok(())
    }
}

/// The name of a queue or an exchange in a method. RabbitMQ leaves line breaks out of them.
pub(crate) fn name<'a>(name: ShortStr<'a>) -> Result<Cow<'a, str>, Refusal> {
    let text = text(name)?;
    if text.contains(['\r', '\n']) {
        return Ok(text.replace(['\r', '\n'], "").into());
    }
    Ok(text.into())
}

/// A text in a method, which is UTF-8.
pub(crate) fn text<'a>(name: ShortStr<'a>) -> Result<&'a str, Refusal> {
    name.as_str().map_err(|error| malformed(&error))
}

/// What octets that cannot be decoded lead to.
pub(crate) fn malformed(error: &DecodeError) -> Refusal {
    Refusal::new(error.reply_code(), error.to_string())
}

/// A short string of a text that came from one, or was checked against its limit.
pub(crate) fn short(text: &str) -> ShortStr<'_> {
    ShortStr::new(text).unwrap_or_default()
}

/// A text for people, cut where a short string ends.
pub(crate) fn cut(mut text: String) -> String {
    const DOTS: &str = "...";
    if text.len() > SHORT_STR_MAX {
        let whole = text.floor_char_boundary(SHORT_STR_MAX - DOTS.len());
        text.truncate(whole);
        text.push_str(DOTS);
    }
    text
}

/// What this broker does not do.
pub(crate) fn not_implemented(text: impl Into<String>) -> Refusal {
    Refusal::new(ReplyCode::NotImplemented, text)
}
