//! Batches: deliveries that are handed over together and answered as one.

use std::fmt;
use std::ops::{Deref, Range};
use std::time::Duration;

use bytes::Bytes;

use super::delivery::{Acker, Delivery, Disposition};
use super::error::Error;
use crate::connection::Body;
use crate::protocol::{PropertiesRef, ShortStr};

/// When a batch is handed over: at whichever of its limits comes first.
///
/// Also, whatever is said here, when half of the prefetch window is in it (a window that waits for a batch, and a batch that waits for
/// more than the window lets through, would wait for ever), when the receive chunks that its views hold are needed, and when its
/// consumer is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchPolicy {
    /// At so many messages; at least 1.
    pub messages_max: usize,
    /// At so many octets of bodies; at least 1. The message that reaches it is still in: a batch exceeds it by less than one message.
    pub bytes_max: usize,
    /// So long after its first message came. Zero hands over what came with one turn of the worker.
    pub wait_max: Duration,
}

impl Default for BatchPolicy {
    /// 1000 messages, 16 MiB, 100 milliseconds.
    fn default() -> Self {
        BatchPolicy {
            messages_max: 1000,
            bytes_max: 16 << 20,
            wait_max: Duration::from_millis(100),
        }
    }
}

impl BatchPolicy {
    pub(super) fn check(&self) -> Result<(), Error> {
        let why = "a batch holds at least one";
        match self {
            BatchPolicy {
                messages_max: 0, ..
            } => Err(Error::parameter("messages_max", why)),
            BatchPolicy { bytes_max: 0, .. } => Err(Error::parameter("bytes_max", why)),
            _ => Ok(()),
        }
    }

    /// The prefetch window for a consumer that names none: one batch fills while another one is worked on.
    pub(super) fn prefetch(&self) -> u16 {
        let two_batches = self.messages_max.saturating_mul(2);
        u16::try_from(two_batches).map_or(u16::MAX, |two| two.max(super::PREFETCH_DEFAULT))
    }
}

/// A message in a batch. It shares the receive chunk that it came in, without a copy, where that is possible (see
/// [`Delivery::body_bytes`]), and is `Send`.
#[derive(Clone)]
pub struct BatchDelivery {
    /// A view of the message as it came, or a copy of its parts.
    octets: Bytes,
    exchange: Range<usize>,
    routing_key: Range<usize>,
    property_flags: u16,
    property_list: Range<usize>,
    body: BodyPlace,
    delivery_tag: u64,
    redelivered: bool,
}

#[derive(Clone)]
enum BodyPlace {
    /// Among the octets.
    Here(Range<usize>),
    /// It came in several frames and was gathered.
    Apart(Bytes),
}

impl BatchDelivery {
    pub(super) fn of(delivery: &Delivery<'_>) -> Self {
        let (property_flags, list) = delivery.properties().parts();
        let exchange = delivery.exchange().as_bytes();
        let key = delivery.routing_key().as_bytes();
        let region = delivery.region();
        let (octets, [exchange, routing_key, property_list], body) = match delivery.raw_body() {
            Body::Borrowed(body) => {
                let (octets, [exchange, key, list, body]) =
                    region.share_all([exchange, key, list, body]);
                (octets, [exchange, key, list], BodyPlace::Here(body))
            }
            Body::Gathered(bytes) => {
                let (octets, places) = region.share_all([exchange, key, list]);
                (octets, places, BodyPlace::Apart(bytes.clone()))
            }
        };
        BatchDelivery {
            octets,
            exchange,
            routing_key,
            property_flags,
            property_list,
            body,
            delivery_tag: delivery.delivery_tag(),
            redelivered: delivery.redelivered(),
        }
    }

    fn part(&self, place: &Range<usize>) -> &[u8] {
        self.octets.get(place.clone()).unwrap_or_default()
    }

    fn text(&self, place: &Range<usize>) -> ShortStr<'_> {
        // It came as a short string.
        ShortStr::from_bytes(self.part(place)).unwrap_or_default()
    }

    /// The body, in one piece.
    pub fn body(&self) -> &[u8] {
        match &self.body {
            BodyPlace::Here(place) => self.part(place),
            BodyPlace::Apart(bytes) => bytes,
        }
    }

    /// The body to keep for longer than the batch, without a copy. It may hold the receive chunk, as the batch does.
    pub fn body_bytes(&self) -> Bytes {
        match &self.body {
            BodyPlace::Here(place) => self.octets.slice(place.clone()),
            BodyPlace::Apart(bytes) => bytes.clone(),
        }
    }

    /// The exchange it was published to; empty for the default exchange.
    pub fn exchange(&self) -> ShortStr<'_> {
        self.text(&self.exchange)
    }

    /// The routing key it was published with.
    pub fn routing_key(&self) -> ShortStr<'_> {
        self.text(&self.routing_key)
    }

    /// Its properties, decoded as they are asked for.
    pub fn properties(&self) -> PropertiesRef<'_> {
        PropertiesRef::from_parts(self.property_flags, self.part(&self.property_list))
    }

    /// Its tag, unique for its channel.
    pub fn delivery_tag(&self) -> u64 {
        self.delivery_tag
    }

    /// Whether the broker has, or may have, delivered it before.
    pub fn redelivered(&self) -> bool {
        self.redelivered
    }
}

impl fmt::Debug for BatchDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchDelivery")
            .field("delivery_tag", &self.delivery_tag)
            .field("exchange", &self.exchange())
            .field("routing_key", &self.routing_key())
            .field("redelivered", &self.redelivered)
            .field("body_len", &self.body().len())
            .finish_non_exhaustive()
    }
}

/// A batch in its consumer's handler: read it as the slice of deliveries that it holds, in the order in which they came, at least one.
/// The handler's one answer is for all of them.
#[derive(Debug)]
pub struct Batch {
    deliveries: Vec<BatchDelivery>,
    acker: Acker,
}

impl Batch {
    pub(super) fn new(deliveries: Vec<BatchDelivery>, acker: Acker) -> Self {
        Batch { deliveries, acker }
    }

    /// Takes the batch along, leaving this one empty: it may go to another thread and is answered there. The handler returns
    /// [`Disposition::Detached`]; whatever else it says has no effect any more.
    pub fn detach(&mut self) -> DetachedBatch {
        let spent = self.acker.spent();
        DetachedBatch {
            deliveries: std::mem::take(&mut self.deliveries),
            acker: std::mem::replace(&mut self.acker, spent),
        }
    }

    /// Books the handler's word; gives back the room for the next batch's deliveries.
    pub(super) fn answer(mut self, disposition: Disposition) -> Vec<BatchDelivery> {
        // A worker that has ended takes no answers: the broker delivers all of it again.
        let _ = self.acker.settle(disposition);
        self.deliveries.clear();
        self.deliveries
    }
}

impl Deref for Batch {
    type Target = [BatchDelivery];

    fn deref(&self) -> &[BatchDelivery] {
        &self.deliveries
    }
}

/// A batch that was taken along: `Send`, and independent of the handler's call.
#[derive(Debug)]
pub struct DetachedBatch {
    /// What came, in order.
    pub deliveries: Vec<BatchDelivery>,
    /// Answers all of it, once. Dropped without an answer it requeues all of it.
    pub acker: Acker,
}

impl Deref for DetachedBatch {
    type Target = [BatchDelivery];

    fn deref(&self) -> &[BatchDelivery] {
        &self.deliveries
    }
}
