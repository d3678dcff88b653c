use amqp_uring::*;
use std::sync::mpsc;
use std::time::Duration;

#[test]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn smoke() {
    let uri = std::env::var("AMQP_URING_TEST_URI").unwrap();
    let engine = Engine::connect(&uri).unwrap();
    let t = Duration::from_secs(10);
    let info = engine.declare(&Queue::durable("smoke")).wait(t).unwrap();
    println!("{info:?}");
    let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
    let start = std::time::Instant::now();
    const N: usize = 200_000;
    let body = [7u8; 128];
    for _ in 0..N {
        publisher
            .publish("", "smoke", &Properties::persistent(), &body)
            .unwrap();
    }
    let report = publisher
        .wait_for_confirms(Duration::from_secs(60))
        .unwrap();
    println!("{report:?} {:?}", start.elapsed());
    let (tx, rx) = mpsc::channel();
    let mut count = 0;
    let start = std::time::Instant::now();
    let consumer = engine
        .consume(Queue::named("smoke"), move |d| {
            assert_eq!(d.body().len(), 128);
            count += 1;
            if count == N {
                tx.send(()).unwrap();
            }
            Disposition::Ack
        })
        .unwrap();
    rx.recv_timeout(Duration::from_secs(60)).unwrap();
    println!("consumed {:?}", start.elapsed());
    consumer.cancel().wait(t).unwrap();
    println!("{:?}", consumer.state());
    println!(
        "{:?}",
        engine.declare(&Queue::named("smoke")).wait(t).unwrap()
    );
    println!("{:?}", engine.declare(&Queue::named("nothere")).wait(t));
    println!(
        "{:?}",
        engine.delete_queue("smoke", DeleteIf::Always).wait(t)
    );
    engine.shutdown(t).unwrap();
}
