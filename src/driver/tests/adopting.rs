//! Connections that were accepted elsewhere.

use std::io::{Read, Write};

use socket2::SockRef;

use super::*;

/// A listener, and what is accepted after `peer` has connected; `peer` runs on a thread with its end.
fn accept<T: Send + 'static>(
    peer: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (TcpStream, JoinHandle<T>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let peer = thread::spawn(move || peer(TcpStream::connect(address).unwrap()));
    (listener.accept().unwrap().0, peer)
}

#[apply(on_every_driver!)]
fn an_adopted_link_is_connected_at_once_and_works_both_ways(kind: Kind) {
    const OCTETS: usize = 500_000;
    let (socket, peer) = accept(|stream| {
        let (mut from, mut to) = (stream.try_clone().unwrap(), stream);
        to.write_all(b"hello").unwrap();
        drop(io::copy(&mut from, &mut to));
    });
    let mut worker = Worker::new(kind, &small());
    let twin = socket.try_clone().unwrap();
    let link = worker.adopt(socket);
    assert!(twin.nodelay().unwrap());
    drop(twin);
    worker
        .driver
        .send(link, Segment::from(octets(1, 0..OCTETS)));
    worker.until(|worker| worker.received(link).len() == 5 + OCTETS);
    let (greeting, echo) = worker.received(link).split_at(5);
    assert_eq!(greeting, b"hello");
    assert!(echo == octets(1, 0..OCTETS));
    worker.driver.close(link);
    worker.until(|worker| worker.driver.stats().links == 0);
    peer.join().unwrap();
    drop_and_count(worker);
}

#[apply(on_every_driver!)]
fn a_connection_that_ended_before_it_was_adopted_is_lost_after_its_octets(kind: Kind) {
    for reset in [false, true] {
        let (socket, peer) = accept(move |mut stream| {
            stream.write_all(&octets(2, 0..1000)).unwrap();
            if reset {
                SockRef::from(&stream)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
            }
        });
        peer.join().unwrap();
        let mut worker = Worker::new(kind, &small());
        let link = worker.adopt(socket);
        worker.until(|worker| !worker.lost.is_empty());
        assert!(worker.received(link) == octets(2, 0..1000));
        let expected = if reset {
            io::ErrorKind::ConnectionReset
        } else {
            io::ErrorKind::UnexpectedEof
        };
        assert_eq!(worker.lost_with(link), Some(expected));
        worker.until(|worker| worker.driver.stats().links == 0);
        drop_and_count(worker);
    }
}

#[apply(on_every_driver!)]
fn adopted_links_count_against_the_limit_and_what_is_too_much_is_closed(kind: Kind) {
    let mut worker = Worker::new(
        kind,
        &Options {
            links_max: 1,
            ..small()
        },
    );
    let until_closed = |mut stream: TcpStream| stream.read_to_end(&mut Vec::new()).unwrap();
    let (first, first_peer) = accept(until_closed);
    let (second, second_peer) = accept(until_closed);
    let link = worker.adopt(first);
    assert!(matches!(
        worker.driver.adopt(second),
        Err(DriverError::LinksExhausted { max: 1 })
    ));
    assert_eq!(second_peer.join().unwrap(), 0);
    worker.driver.close(link);
    worker.until(|worker| worker.driver.stats().links == 0);
    assert_eq!(first_peer.join().unwrap(), 0);
    let (third, third_peer) = accept(until_closed);
    let next = worker.adopt(third);
    assert_eq!(
        (next.slot(), next.generation()),
        (link.slot(), link.generation() + 1)
    );
    worker.driver.close(next);
    third_peer.join().unwrap();
}
