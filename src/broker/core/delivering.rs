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
use crate::protocol::{ShortStr, basic};

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
    encode_deliver(out, id.channel, &consumer.tag, delivery_tag, &entry);
    encode_content(out, id.channel, &entry.message, *frame_max);
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

fn encode_deliver(out: &mut Vec<u8>, channel: u16, tag: &str, delivery_tag: u64, entry: &Entry) {
    let message: &Message = &entry.message;
    let deliver = basic::Deliver {
        consumer_tag: ShortStr::new(tag).unwrap_or_default(),
        delivery_tag,
        redelivered: entry.redelivered,
        exchange: ShortStr::from_bytes(message.exchange()).unwrap_or_default(),
        routing_key: ShortStr::from_bytes(message.routing_key()).unwrap_or_default(),
    };
    crate::protocol::Method::from(deliver).encode_frame(channel, out);
}

/// Sends a direct reply to the channel that waits for it, if it still does.
pub(crate) fn deliver_reply(sessions: &mut Slab<Session>, id: ConsumerId, message: &Message) {
    let Some(session) = session(sessions, id).filter(|session| session.phase == Phase::Open) else {
        return;
    };
    let frame_max = session.frame_max;
    let Some(channel) = session.channels.get(id.channel) else {
        return;
    };
    let Some(consumer) = channel.consumers.get(id.consumer as usize) else {
        return;
    };
    let deliver = basic::Deliver {
        consumer_tag: ShortStr::new(&consumer.tag).unwrap_or_default(),
        // There is nothing to settle, and every one has this tag.
        delivery_tag: 1,
        redelivered: false,
        exchange: ShortStr::from_bytes(message.exchange()).unwrap_or_default(),
        routing_key: ShortStr::from_bytes(message.routing_key()).unwrap_or_default(),
    };
    crate::protocol::Method::from(deliver).encode_frame(id.channel, &mut session.out);
    encode_content(&mut session.out, id.channel, message, frame_max);
}
