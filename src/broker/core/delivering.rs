//! From queues to consumers.

use std::time::Instant;

use slab::Slab;

use super::ids::{ConsumerId, QueueId};
use super::message::Message;
use super::publishing::encode_content;
use super::queue::Entry;
use super::session::{Phase, Session};
use super::unacked::Pending;
use super::vhost::Vhost;
use crate::protocol::{Method, ShortStr, basic};

/// There is nothing to settle about a direct reply, and every one has this tag.
const REPLY_TAG: u64 = 1;

/// Direct replies to a client that has so many octets unread are lost.
const UNREAD_REPLIES_OCTETS_MAX: usize = 256 << 20;

fn session(sessions: &mut Slab<Session>, id: ConsumerId) -> Option<&mut Session> {
    sessions.get_mut(id.session.0 as usize)
}

/// Whether a consumer takes one more delivery now.
fn may_take(sessions: &mut Slab<Session>, id: ConsumerId) -> bool {
    let Some(session) = session(sessions, id) else {
        return false;
    };
    if session.phase != Phase::Open || !session.has_room() {
        return false;
    }
    let channel = session.channels.get(id.channel);
    channel.is_some_and(|channel| channel.may_take(id.consumer))
}

/// Delivers what a queue has to those of its consumers that take it, and says how many messages that were.
pub(crate) fn deliver_from(
    sessions: &mut Slab<Session>,
    vhost: &mut Vhost,
    id: QueueId,
    now: Instant,
) -> u64 {
    let effects = &mut vhost.effects;
    let Some(queue) = vhost.queues.get_mut(id) else {
        return 0;
    };
    let mut delivered = 0;
    while let Some((consumer, entry)) =
        queue.next_delivery(now, |consumer| may_take(sessions, consumer), effects)
    {
        delivered += 1;
        deliver(sessions, consumer, id, entry);
    }
    vhost.queues.note_deadline(id);
    delivered
}

/// Sends a delivery.
fn deliver(sessions: &mut Slab<Session>, id: ConsumerId, queue: QueueId, entry: Entry) {
    // The consumer said a moment ago that it takes it.
    let Some(session) = session(sessions, id) else {
        return;
    };
    let Session {
        channels,
        out,
        frame_max,
        ..
    } = session;
    let Some(channel) = channels.get(id.channel) else {
        return;
    };
    let delivery_tag = channel.delivery_tag();
    let Some(consumer) = channel.consumers.get_mut(id.consumer as usize) else {
        return;
    };
    let (message, redelivered) = (&entry.message, entry.redelivered);
    encode_deliver(
        out,
        id.channel,
        &consumer.tag,
        delivery_tag,
        redelivered,
        message,
    );
    encode_content(out, id.channel, message, *frame_max);
    if consumer.no_ack {
        return;
    }
    consumer.unacked += 1;
    channel.unacked.push(Pending {
        tag: delivery_tag,
        owed: Some((queue, entry)),
        consumer: Some(id.consumer),
    });
}

fn encode_deliver(
    out: &mut Vec<u8>,
    channel: u16,
    tag: &str,
    delivery_tag: u64,
    redelivered: bool,
    message: &Message,
) {
    let deliver = basic::Deliver {
        consumer_tag: ShortStr::new(tag).unwrap_or_default(),
        delivery_tag,
        redelivered,
        exchange: ShortStr::from_bytes(message.exchange()).unwrap_or_default(),
        routing_key: ShortStr::from_bytes(message.routing_key()).unwrap_or_default(),
    };
    Method::from(deliver).encode_frame(channel, out);
}

/// Sends a direct reply to the channel that waits for it, if it still does. False when it does not, or does not read its
/// replies: then this one is lost, as there is no queue that could keep it.
pub(crate) fn deliver_reply(
    sessions: &mut Slab<Session>,
    id: ConsumerId,
    message: &Message,
) -> bool {
    let Some(session) = session(sessions, id).filter(|session| session.phase == Phase::Open) else {
        return false;
    };
    if session.backlog() >= UNREAD_REPLIES_OCTETS_MAX {
        return false;
    }
    let Session {
        channels,
        out,
        frame_max,
        ..
    } = session;
    let Some(channel) = channels.get(id.channel) else {
        return false;
    };
    let address = channel.reply_address.as_deref().map(str::as_bytes);
    if address != Some(message.routing_key()) {
        return false;
    }
    let Some(consumer) = channel.consumers.get(id.consumer as usize) else {
        return false;
    };
    encode_deliver(out, id.channel, &consumer.tag, REPLY_TAG, false, message);
    encode_content(out, id.channel, message, *frame_max);
    true
}
