//! Every way in which a link ends, and a driver with it.

use std::io::{Read, Write};
use std::sync::mpsc;

use socket2::{Domain, SockRef, Socket, Type};

use super::*;

fn reset(stream: &TcpStream) {
    SockRef::from(stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// An address where connects hang: the one place in the listener's queue is taken by the stream.
fn unanswering() -> (SocketAddr, (Socket, TcpStream)) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let first = TcpStream::connect(address).unwrap();
    (address, (listener, first))
}

#[apply(on_every_driver!)]
fn a_refused_connect_is_a_loss_that_says_so(kind: Kind) {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    let mut worker = Worker::new(kind, &small());
    let link = worker.connect(free);
    assert!(worker.connected.is_empty());
    assert_eq!(
        worker.lost_with(link),
        Some(io::ErrorKind::ConnectionRefused)
    );
    worker.until(|worker| worker.driver.stats().links == 0);
}

#[apply(on_every_driver!)]
fn the_end_of_the_stream_and_a_reset_are_told_apart_and_octets_come_first(kind: Kind) {
    let (address, peers) = listen(2, |index, mut stream| {
        stream.write_all(&[index as u8; 1000]).unwrap();
        let mut last = [0];
        stream.read_exact(&mut last).unwrap();
        if index == 1 {
            reset(&stream);
        }
    });
    let mut worker = Worker::new(kind, &small());
    let links = [worker.connect(address), worker.connect(address)];
    worker.until(|worker| {
        links
            .iter()
            .all(|link| worker.received(*link).len() == 1000)
    });
    for link in links {
        worker.driver.send(link, Segment::from(vec![0]));
    }
    worker.until(|worker| worker.lost.len() == 2);
    for link in links {
        let expected = match worker.received(link)[0] {
            0 => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::ConnectionReset,
        };
        assert_eq!(worker.lost_with(link), Some(expected));
    }
    peers.join().unwrap();
    worker.until(|worker| worker.driver.stats().links == 0);
    drop_and_count(worker);
}

#[apply(on_every_driver!)]
fn a_failing_send_is_one_loss_and_the_peers_last_words_come_before_it(kind: Kind) {
    let (address, peers) = listen(1, |_, mut stream| {
        let mut some = [0; 1000];
        stream.read_exact(&mut some).unwrap();
        stream.write_all(b"go away").unwrap();
        // Closed with octets unread: the kernel resets.
    });
    let mut worker = Worker::new(kind, &small());
    let link = worker.connect(address);
    worker.driver.send(link, Segment::from(vec![1; 8 << 20]));
    worker.until(|worker| !worker.lost.is_empty());
    assert_eq!(worker.received(link), b"go away");
    assert!(matches!(
        worker.lost_with(link),
        Some(io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
    ));
    peers.join().unwrap();
    worker.until(|worker| worker.driver.stats().links == 0);
    drop_and_count(worker);
}

#[apply(on_every_driver!)]
fn a_failing_send_on_a_starved_link_is_a_loss_too(kind: Kind) {
    let (reset_now, now) = mpsc::channel::<()>();
    let now = std::sync::Arc::new(std::sync::Mutex::new(now));
    let (address, peers) = listen(1, move |_, mut stream| {
        stream.set_nonblocking(true).unwrap();
        while stream.write(&[0; 10_000]).is_ok() {}
        now.lock().unwrap().recv().unwrap();
        reset(&stream);
    });
    let mut worker = Worker::new(kind, &small());
    worker.keep = true;
    let link = worker.connect(address);
    worker.until(|worker| worker.starved > 0);
    reset_now.send(()).unwrap();
    peers.join().unwrap();
    worker.driver.send(link, Segment::from(vec![1; 100]));
    worker.until(|worker| !worker.lost.is_empty());
    assert!(worker.lost_with(link).is_some());
    worker.until(|worker| worker.driver.stats().links == 0);
    drop_and_count(worker);
}

#[apply(on_every_driver!)]
fn closing_in_the_middle_of_a_send_tells_nothing_and_frees_the_slot(kind: Kind) {
    let (address, peers) = listen(2, |_, mut stream| {
        let mut some = [0; 1000];
        stream.read_exact(&mut some).unwrap();
        drop(stream.read_to_end(&mut Vec::new()));
    });
    let mut worker = Worker::new(kind, &small());
    let link = worker.connect(address);
    worker.driver.send(link, Segment::from(vec![1; 64 << 20]));
    worker.until(|worker| worker.unsent.contains_key(&link));
    worker.unsent.clear();
    worker.driver.close(link);
    assert_eq!(worker.driver.unsent(link), 0);
    worker.until(|worker| worker.driver.stats().links == 0);
    assert!(worker.lost.is_empty() && worker.unsent.is_empty());

    let next = worker.connect(address);
    assert_eq!(
        (next.slot(), next.generation()),
        (link.slot(), link.generation() + 1)
    );
    worker.driver.close(link);
    worker.driver.send(link, Segment::from(vec![1]));
    assert_eq!(worker.driver.unsent(next), 0, "a stale link is ignored");
    worker.driver.send(next, Segment::from(vec![1; 1000]));
    worker.until(|worker| worker.unsent.get(&next) == Some(&0));
    worker.driver.close(next);
    worker.until(|worker| worker.driver.stats().links == 0);
    peers.join().unwrap();
    drop_and_count(worker);
}

#[apply(on_every_driver!)]
fn a_connect_in_flight_can_be_closed(kind: Kind) {
    let (address, _held) = unanswering();
    let mut worker = Worker::new(kind, &small());
    let unsubmitted = worker.driver.connect(address).unwrap();
    worker.driver.close(unsubmitted);
    let submitted = worker.driver.connect(address).unwrap();
    worker.driver.send(submitted, Segment::from(vec![1]));
    worker.turn(Some(Instant::now()));
    assert!(worker.connected.is_empty() && worker.lost.is_empty());
    worker.driver.close(submitted);
    worker.until(|worker| worker.driver.stats().links == 0);
    assert!(worker.connected.is_empty() && worker.lost.is_empty());
}

#[apply(on_every_driver!)]
fn links_are_limited_and_a_closed_one_makes_room(kind: Kind) {
    let (address, _held) = unanswering();
    let mut worker = Worker::new(
        kind,
        &Options {
            links_max: 2,
            ..small()
        },
    );
    let first = worker.driver.connect(address).unwrap();
    worker.driver.connect(address).unwrap();
    assert!(matches!(
        worker.driver.connect(address),
        Err(DriverError::LinksExhausted { max: 2 })
    ));
    worker.driver.close(first);
    worker.until(|worker| worker.driver.stats().links == 1);
    assert!(worker.driver.connect(address).is_ok());
}

#[apply(on_every_driver!)]
fn a_driver_dropped_with_operations_in_flight_lets_go_of_everything(kind: Kind) {
    let (address, peers) = listen(2, |_, mut stream| {
        drop(stream.write_all(&[0; 100_000]));
        let mut some = [0; 1000];
        stream.read_exact(&mut some).unwrap();
        // Holds the connection until the driver is gone.
        drop(io::copy(&mut stream, &mut io::sink()));
    });
    let (silent, _held) = unanswering();
    let mut worker = Worker::new(kind, &small());
    let links = [worker.connect(address), worker.connect(address)];
    worker.driver.connect(silent).unwrap();
    for link in links {
        worker.driver.send(link, Segment::from(vec![1; 64 << 20]));
    }
    worker.until(|worker| links.iter().all(|link| worker.unsent.contains_key(link)));
    worker.driver.send(links[0], Segment::from(vec![1]));
    let before = Instant::now();
    drop_and_count(worker);
    assert!(
        before.elapsed() < Duration::from_secs(1),
        "the kernel let go"
    );
    peers.join().unwrap();
}

#[apply(on_every_driver!)]
fn views_outlive_the_driver(kind: Kind) {
    let (address, peers) = listen(1, |_, mut stream| {
        stream.write_all(&octets(1, 0..1000)).unwrap()
    });
    let mut worker = Worker::new(kind, &small());
    worker.keep = true;
    worker.connect(address);
    worker.until(|worker| !worker.lost.is_empty());
    let views = std::mem::take(&mut worker.views);
    drop(worker);
    let all: Vec<u8> = views.iter().flat_map(|(_, view)| view.to_vec()).collect();
    assert!(all == octets(1, 0..1000));
    peers.join().unwrap();
}
