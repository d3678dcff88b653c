//! What complete messages do, and confirms: the deliveries, what `basic.get` fetched, the returns.

use bytes::Bytes;

use super::acks::Answer;
use super::channel::{CallKind, Channel};
use super::content::Content;
use super::delivery::{Body, Confirm, Delivery, Returned, Sink};
use super::dispatch::unexpected;
use super::error::{ConnectionError, Violation};
use super::{Connection, Reply, confirms};
use crate::protocol::{ContentHeader, Method, Properties, basic};

/// A message with everything that belongs to it.
pub(super) struct Message<'a> {
    pub method: Method<'a>,
    pub header: ContentHeader<'a>,
    pub body: Body<'a>,
}

/// A delivery tag that does not follow the last one would make later acks mean something else.
#[inline]
fn check_tag(channel: &Channel, tag: u64) -> Result<(), Violation> {
    if channel.acks.follows(tag) {
        return Ok(());
    }
    Err(Violation::DeliveryTag {
        found: tag,
        last: channel.acks.last(),
        channel: channel.id.number(),
    })
}

impl Connection {
    pub(super) fn confirm(
        &mut self,
        number: u16,
        confirm: Confirm,
        sink: &mut impl Sink,
    ) -> Result<(), ConnectionError> {
        let publisher = self
            .channels
            .by_number(number)
            .and_then(|channel| channel.publisher);
        let violation = |why| Violation::Confirm {
            tag: confirm.delivery_tag,
            channel: number,
            why,
        };
        match publisher {
            Some(publisher) => Ok(sink
                .confirmed(publisher, confirm)
                .map_err(|bad| violation(bad.why))?),
            None => Err(violation("is not in confirm mode").into()),
        }
    }

    /// Content that came in pieces is complete.
    pub(super) fn gathered(
        &mut self,
        number: u16,
        mut content: Content,
        sink: &mut impl Sink,
    ) -> Result<(), ConnectionError> {
        let body = content.take_body();
        let message = Message {
            method: Method::decode(&content.method)?,
            header: ContentHeader::decode(&content.header)?,
            body: Body::Gathered(&body),
        };
        self.message(number, &message, sink)
    }

    #[inline]
    pub(super) fn message(
        &mut self,
        number: u16,
        message: &Message<'_>,
        sink: &mut impl Sink,
    ) -> Result<(), ConnectionError> {
        match message.method {
            Method::BasicDeliver(deliver) => self.delivered(number, &deliver, message, sink),
            Method::BasicGetOk(get_ok) => self.got(number, &get_ok, message, sink),
            Method::BasicReturn(returned) => self.returned(number, &returned, message, sink),
            _ => Ok(()),
        }
    }

    #[inline]
    fn delivered(
        &mut self,
        number: u16,
        deliver: &basic::Deliver<'_>,
        message: &Message<'_>,
        sink: &mut impl Sink,
    ) -> Result<(), ConnectionError> {
        let Some(channel) = self.channels.by_number(number) else {
            return Ok(());
        };
        let tag = deliver.delivery_tag;
        check_tag(channel, tag)?;
        let Some(consumer) = channel.consumer(deliver.consumer_tag.as_bytes()) else {
            return Err(Violation::UnknownConsumer {
                tag: deliver.consumer_tag.to_string(),
                channel: number,
            }
            .into());
        };
        let (token, no_ack) = (consumer.token, consumer.no_ack);
        let delivery = Delivery {
            channel: channel.id,
            delivery_tag: tag,
            redelivered: deliver.redelivered,
            consumer_tag: deliver.consumer_tag,
            exchange: deliver.exchange,
            routing_key: deliver.routing_key,
            properties: message.header.properties,
            body: message.body,
        };
        let answer = sink.delivery(token, &delivery);
        if no_ack {
            channel.acks.delivered_settled(tag);
            return Ok(());
        }
        channel.acks.delivered(tag, answer, number, &mut self.out);
        if channel.acks.is_due() {
            channel.acks.flush(number, &mut self.out);
        } else if !channel.is_dirty && answer == Some(Answer::Ack) {
            channel.is_dirty = true;
            self.dirty.push(number);
        }
        Ok(())
    }

    fn got(
        &mut self,
        number: u16,
        get_ok: &basic::GetOk<'_>,
        message: &Message<'_>,
        sink: &mut impl Sink,
    ) -> Result<(), ConnectionError> {
        let Some(channel) = self.channels.by_number(number) else {
            return Ok(());
        };
        let tag = get_ok.delivery_tag;
        check_tag(channel, tag)?;
        let Some(call) = channel.answer(&message.method) else {
            return Err(unexpected(
                "basic.get-ok",
                number,
                "no basic.get was waiting",
            ));
        };
        if call.kind == (CallKind::Get { no_ack: true }) {
            channel.acks.delivered_settled(tag);
        } else {
            channel.acks.delivered(tag, None, number, &mut self.out);
        }
        let delivery = Delivery {
            channel: channel.id,
            delivery_tag: tag,
            redelivered: get_ok.redelivered,
            consumer_tag: Default::default(),
            exchange: get_ok.exchange,
            routing_key: get_ok.routing_key,
            properties: message.header.properties,
            body: message.body,
        };
        sink.got(call.token, &delivery);
        self.reply(call.token, Ok(Reply::Got { found: true }));
        self.send_calls(number);
        Ok(())
    }

    fn returned(
        &mut self,
        number: u16,
        returned: &basic::Return<'_>,
        message: &Message<'_>,
        sink: &mut impl Sink,
    ) -> Result<(), ConnectionError> {
        let publisher = self
            .channels
            .by_number(number)
            .and_then(|channel| channel.publisher);
        let Some(publisher) = publisher else {
            return Ok(());
        };
        let properties = Properties::try_from(message.header.properties)?;
        let body = match message.body {
            Body::Gathered(bytes) => bytes.clone(),
            Body::Borrowed(octets) => Bytes::copy_from_slice(octets),
        };
        let fingerprint = confirms::fingerprint(
            returned.exchange,
            returned.routing_key,
            message.header.properties,
            &body,
        );
        let returned = Returned {
            code: returned.reply_code,
            text: returned.reply_text.to_string(),
            exchange: returned.exchange.to_string(),
            routing_key: returned.routing_key.to_string(),
            properties,
            body,
        };
        sink.returned(publisher, returned, fingerprint);
        Ok(())
    }
}
