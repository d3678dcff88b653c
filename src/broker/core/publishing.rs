//! What becomes of a message that was published.

use std::time::Instant;

use smallvec::SmallVec;

use super::channel::Mode;
use super::context::{Context, malformed, short};
use super::ids::QueueId;
use super::message::Message;
use super::queue::{Published, Queue};
use super::refusal::Refusal;
use super::replies::{ADDRESS_PREFIX, PSEUDO_QUEUE};
use super::routing::Exchanges;
use super::vhost::Vhost;
use crate::protocol::{
    ContentHeader, EncodeError, FrameKind, Properties, PropertiesRef, ReplyCode, ShortStr, basic,
    encode_frame_into,
};

impl Context<'_> {
    /// The content of a `basic.publish` is complete.
    pub fn publish(&mut self, message: Message, mandatory: bool) -> Result<(), Refusal> {
        self.session.publishes = true;
        self.shared.totals.published += 1;
        self.shared.memory.taken_in(message.octets());
        self.shared
            .records
            .message(self.session.id, self.number, &message);
        self.check_publish(&message)?;
        let message = self.with_reply_address(message)?;
        match &mut self.channel.mode {
            Mode::Transaction(transaction) => transaction.publishes.push((message, mandatory)),
            Mode::Plain => {
                self.route(message, mandatory);
            }
            Mode::Confirm(_) => {
                let is_acked = self.shared.faults.forgets() || self.route(message, mandatory);
                self.confirm(is_acked);
            }
        }
        Ok(())
    }

    fn check_publish(&self, message: &Message) -> Result<(), Refusal> {
        let exchange = name(message.exchange())?;
        self.vhost.exchanges.check_publish(exchange)?;
        let properties = message.properties().map_err(|error| malformed(&error))?;
        let mode = properties
            .delivery_mode()
            .map_err(|error| malformed(&error))?;
        if let Some(mode) = mode.filter(|mode| !(1..=2).contains(mode)) {
            let text = format!("invalid message: {{delivery_mode_unknown,{mode}}}");
            return Err(Refusal::precondition(text));
        }
        let user = properties.user_id().map_err(|error| malformed(&error))?;
        match user {
            Some(user) if user.as_bytes() != self.session.user.as_bytes() => {
                Err(Refusal::precondition(format!(
                    "user_id property set to '{user}' but authenticated user was '{}'",
                    self.session.user
                )))
            }
            _ => Ok(()),
        }
    }

    fn confirm(&mut self, is_acked: bool) {
        let (now, disturbance) = (self.now, self.shared.faults.confirms);
        if let Mode::Confirm(confirms) = &mut self.channel.mode
            && confirms.settled(now, is_acked, disturbance)
        {
            self.session.confirming.push(self.number);
        }
    }

    /// Gives a message to all queues that it belongs to. False when one of them does not take it.
    pub fn route(&mut self, message: Message, mandatory: bool) -> bool {
        if mandatory && self.shared.faults.return_everything {
            self.give_back(&message);
            return true;
        }
        let key = message.routing_key();
        if message.exchange().is_empty() && key.starts_with(ADDRESS_PREFIX.as_bytes()) {
            self.answer_directly(message, mandatory);
            return true;
        }
        let taken = self.vhost.take(self.now, &message, |_| true);
        match taken {
            Taken::Nowhere if mandatory => self.give_back(&message),
            Taken::Rejected => return false,
            Taken::Nowhere | Taken::Everywhere => {}
        }
        true
    }

    fn answer_directly(&mut self, message: Message, mandatory: bool) {
        let address = std::str::from_utf8(message.routing_key()).unwrap_or_default();
        match self.shared.replies.consumer(address) {
            Some(consumer) => {
                // As by RabbitMQ, for which a channel is no queue.
                if mandatory {
                    self.give_back(&message);
                }
                self.shared.direct.push((consumer, message));
            }
            None if mandatory => self.give_back(&message),
            None => {}
        }
    }

    /// `basic.return`.
    fn give_back(&mut self, message: &Message) {
        let returned = basic::Return {
            reply_code: ReplyCode::NoRoute.code(),
            reply_text: short(ReplyCode::NoRoute.name()),
            exchange: ShortStr::from_bytes(message.exchange()).unwrap_or_default(),
            routing_key: ShortStr::from_bytes(message.routing_key()).unwrap_or_default(),
        };
        self.reply(returned);
        let frame_max = self.session.frame_max;
        encode_content(&mut self.session.out, self.number, message, frame_max);
    }

    /// A request for a direct reply gets the address of this channel's consumer.
    fn with_reply_address(&mut self, message: Message) -> Result<Message, Refusal> {
        let properties = message.properties().map_err(|error| malformed(&error))?;
        let wants_reply = properties
            .reply_to()
            .is_ok_and(|reply_to| reply_to.is_some_and(|name| name == PSEUDO_QUEUE));
        if !wants_reply {
            return Ok(message);
        }
        let Some(address) = &self.channel.reply_address else {
            return Err(Refusal::precondition("fast reply consumer does not exist"));
        };
        let changed = with_reply_to(properties, address)
            .map_err(|error| Refusal::precondition(error.to_string()))?;
        let (exchange, key) = (message.exchange(), message.routing_key());
        Message::new(exchange, key, changed.encoded(), &[message.body()])
    }
}

fn with_reply_to(properties: PropertiesRef<'_>, address: &str) -> Result<Properties, EncodeError> {
    properties.to_builder()?.reply_to(address).build()
}

/// Who has taken a message.
pub(crate) enum Taken {
    Nowhere,
    Everywhere,
    /// At least one queue has not.
    Rejected,
}

/// Where messages with one exchange and one key go, as long as nothing changes.
#[derive(Default)]
pub(crate) struct Route {
    exchange: Vec<u8>,
    routing_key: Vec<u8>,
    /// That of [`Exchanges::generation`](super::routing::Exchanges::generation), while another message may take the same way.
    generation: Option<u64>,
    queues: Vec<QueueId>,
}

impl Route {
    fn is_of(&self, message: &Message, generation: u64) -> bool {
        self.generation == Some(generation)
            && self.routing_key == message.routing_key()
            && self.exchange == message.exchange()
            && !message.has_headers()
    }

    /// Looks the way of a message up.
    fn find(&mut self, exchanges: &mut Exchanges, message: &Message) {
        let exchange = std::str::from_utf8(message.exchange()).unwrap_or_default();
        let keys: SmallVec<[&str; 4]> = message
            .routing_keys()
            .filter_map(|key| std::str::from_utf8(key).ok())
            .collect();
        let mut depends_on_headers = message.has_headers();
        let headers = || {
            depends_on_headers = true;
            Some(message.headers())
        };
        self.queues.clear();
        exchanges.route(exchange, &keys, headers, &mut self.queues);
        self.generation = (!depends_on_headers).then(|| exchanges.generation());
        self.exchange.clear();
        self.exchange.extend_from_slice(message.exchange());
        self.routing_key.clear();
        self.routing_key.extend_from_slice(message.routing_key());
    }
}

impl Vhost {
    /// Routes a message into those queues that may get it.
    pub fn take(
        &mut self,
        now: Instant,
        message: &Message,
        may_get: impl Fn(&Queue) -> bool,
    ) -> Taken {
        if !self.route.is_of(message, self.exchanges.generation()) {
            self.route.find(&mut self.exchanges, message);
        }
        let mut taken = Taken::Nowhere;
        for id in &self.route.queues {
            let Some(queue) = self.queues.stir(*id).filter(|queue| may_get(queue)) else {
                continue;
            };
            let published = queue.publish(now, message.clone(), &mut self.effects);
            self.is_pressing |= queue.rejects();
            taken = match (published, taken) {
                (Published::Rejected, _) | (_, Taken::Rejected) => Taken::Rejected,
                (Published::Accepted, _) => Taken::Everywhere,
            };
        }
        taken
    }
}

fn name(octets: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(octets)
        .map_err(|_| Refusal::new(ReplyCode::SyntaxError, "an exchange's name is not UTF-8"))
}

/// Appends a content header and body frames.
pub(crate) fn encode_content(out: &mut Vec<u8>, channel: u16, message: &Message, frame_max: u32) {
    let body = message.body();
    let properties = message.properties().unwrap_or_default();
    let header = ContentHeader::new(body.len() as u64, properties);
    encode_frame_into(out, FrameKind::Header, channel, |out| header.encode(out));
    let piece_max = frame_max.saturating_sub(crate::protocol::FRAME_OVERHEAD as u32);
    for piece in body.chunks(piece_max.max(1) as usize) {
        encode_frame_into(out, FrameKind::Body, channel, |out| {
            out.extend_from_slice(piece)
        });
    }
}
