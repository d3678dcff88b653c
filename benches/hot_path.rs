//! The code that runs once per message, without a socket: reading deliveries, encoding publishes, booking confirms.
#![allow(missing_docs)]

use std::hint::black_box;
use std::time::Instant;

use amqp_uring::connection::{
    Answer, BadConfirm, Config, Confirm, Confirms, Connection, Delivery, Event, Returned, Route,
    Sink, Token, encode_body, encode_publish_head,
};
use amqp_uring::protocol::{
    ContentHeader, FrameKind, LongStr, Method, Properties, ShortStr, basic, channel, connection,
    encode_frame_into,
};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const DELIVERIES: usize = 1000;
const BODY_OCTETS: usize = 128;

/// A consumer that acks everything.
struct AckAll {
    octets: usize,
}

impl Sink for AckAll {
    fn delivery(&mut self, _: Token, delivery: &Delivery<'_>) -> Option<Answer> {
        self.octets += delivery.body.as_slice().len();
        Some(Answer::Ack)
    }

    fn got(&mut self, _: Token, _: &Delivery<'_>) {}

    fn returned(&mut self, _: Token, _: Returned, _: u64) {}

    fn confirmed(&mut self, _: Token, _: Confirm) -> Result<(), BadConfirm> {
        Ok(())
    }
}

fn method_frame<'a>(channel: u16, method: impl Into<Method<'a>>) -> Vec<u8> {
    let mut frame = Vec::new();
    method.into().encode_frame(channel, &mut frame);
    frame
}

fn short(text: &str) -> ShortStr<'_> {
    ShortStr::new(text).unwrap()
}

/// An open connection with one consumer on channel 1.
fn consuming() -> Connection {
    let now = Instant::now();
    let mut sink = AckAll { octets: 0 };
    let mut client = Connection::new(Config::default(), now);
    let start = connection::Start {
        version_minor: 9,
        mechanisms: LongStr::new("PLAIN").unwrap(),
        ..Default::default()
    };
    let tune = connection::Tune {
        channel_max: 2047,
        frame_max: 131_072,
        heartbeat: 0,
    };
    for octets in [
        method_frame(0, start),
        method_frame(0, tune),
        method_frame(0, connection::OpenOk {}),
    ] {
        client.receive(now, &octets, &mut sink).unwrap();
    }
    let id = client.open_channel(0).unwrap();
    client.consume(id, 1, 7, basic::Consume::default()).unwrap();
    let consume_ok = basic::ConsumeOk {
        consumer_tag: short("ctag"),
    };
    for octets in [
        method_frame(1, channel::OpenOk {}),
        method_frame(1, consume_ok),
    ] {
        client.receive(now, &octets, &mut sink).unwrap();
    }
    while let Some(event) = client.poll_event() {
        black_box::<Event>(event);
    }
    client.output().clear();
    client
}

fn deliveries() -> Vec<u8> {
    let body = [0x2a; BODY_OCTETS];
    let properties = Properties::persistent();
    let mut octets = Vec::new();
    for tag in 1..=DELIVERIES as u64 {
        let deliver = basic::Deliver {
            consumer_tag: short("ctag"),
            delivery_tag: tag,
            redelivered: false,
            exchange: short(""),
            routing_key: short("orders"),
        };
        octets.extend(method_frame(1, deliver));
        let header = ContentHeader::new(BODY_OCTETS as u64, properties.as_ref());
        encode_frame_into(&mut octets, FrameKind::Header, 1, |out| header.encode(out));
        encode_body(&mut octets, 1, 131_072, &body);
    }
    octets
}

fn receive(criterion: &mut Criterion) {
    let octets = deliveries();
    let now = Instant::now();
    let mut group = criterion.benchmark_group("connection");
    group.throughput(Throughput::Elements(DELIVERIES as u64));
    group.bench_function("receive and ack deliveries of 128 B", |bencher| {
        bencher.iter_batched_ref(
            consuming,
            |client| {
                let mut sink = AckAll { octets: 0 };
                client.receive(now, black_box(&octets), &mut sink).unwrap();
                client.flush_acks(now);
                assert_eq!(sink.octets, DELIVERIES * BODY_OCTETS);
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn publish(criterion: &mut Criterion) {
    let body = [0x2a; BODY_OCTETS];
    let properties = Properties::persistent();
    let route = Route {
        exchange: short(""),
        routing_key: short("orders"),
        mandatory: false,
    };
    let mut group = criterion.benchmark_group("connection");
    group.throughput(Throughput::Elements(DELIVERIES as u64));
    let mut out = Vec::with_capacity(512 * 1024);
    group.bench_function("encode publishes of 128 B", |bencher| {
        bencher.iter(|| {
            out.clear();
            for _ in 0..DELIVERIES {
                let head = black_box(&route);
                encode_publish_head(&mut out, 1, 131_072, head, properties.as_ref(), BODY_OCTETS)
                    .unwrap();
                encode_body(&mut out, 1, 131_072, &body);
            }
            out.len()
        });
    });
    group.bench_function(
        "track publishes and confirm them in batches of 100",
        |bencher| {
            bencher.iter_batched_ref(
                || Confirms::new(1024),
                |confirms| {
                    for tag in 1..=DELIVERIES as u64 {
                        confirms.publish(black_box(160));
                        if tag % 100 == 0 {
                            confirms.confirm(tag, true, true).unwrap();
                        }
                    }
                    assert_eq!(confirms.pending(), 0);
                },
                BatchSize::SmallInput,
            );
        },
    );
    group.finish();
}

criterion_group!(hot_path, receive, publish);
criterion_main!(hot_path);
