//! Links that do not receive for a while.

use std::io::{ErrorKind, Read, Write};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};

use socket2::SockRef;

use super::*;

/// A turn that has nothing to wait for but its end.
fn glance(worker: &mut Worker) {
    worker.turn(Some(Instant::now() + Duration::from_millis(1)));
}

/// Turns until something has come through a channel, which a peer fills.
fn turn_until<T>(worker: &mut Worker, told: &Receiver<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match told.try_recv() {
            Ok(value) => return value,
            Err(mpsc::TryRecvError::Empty) => assert!(Instant::now() < deadline),
            Err(mpsc::TryRecvError::Disconnected) => panic!("the peer ended"),
        }
        glance(worker);
    }
}

#[apply(on_every_driver!)]
fn nothing_comes_while_paused_and_the_peer_is_held_back_and_everything_comes_then(kind: Kind) {
    const REST: usize = 300_000;
    let (tell, told) = mpsc::channel();
    let (address, peers) = listen(1, move |_, mut stream| {
        stream.read_exact(&mut [0]).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut place = 0;
        loop {
            match stream.write(&octets(7, place..place + 50_000)) {
                Ok(count) => place += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        tell.send(place).unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.write_all(&octets(7, place..place + REST)).unwrap();
    });
    let mut worker = Worker::new(kind, &small());
    let link = worker.connect(address);
    worker.driver.set_reading(link, false);
    glance(&mut worker);
    // Sending goes on.
    worker.driver.send(link, Segment::from(vec![1]));
    let held = turn_until(&mut worker, &told);
    for _ in 0..20 {
        glance(&mut worker);
    }
    assert!(worker.received(link).is_empty(), "paused");
    worker.driver.set_reading(link, true);
    worker.until(|worker| !worker.lost.is_empty());
    assert!(worker.received(link) == octets(7, 0..held + REST));
    assert_eq!(worker.lost_with(link), Some(ErrorKind::UnexpectedEof));
    peers.join().unwrap();
    worker.until(|worker| worker.driver.stats().links == 0);
    drop_and_count(worker);
}

#[apply(on_every_driver!)]
fn a_link_can_be_paused_before_it_is_connected(kind: Kind) {
    let (tell, told) = mpsc::channel();
    let (address, peers) = listen(1, move |_, mut stream| {
        stream.write_all(b"early").unwrap();
        tell.send(()).unwrap();
        drop(stream.read(&mut [0]));
    });
    let mut worker = Worker::new(kind, &small());
    let link = worker.driver.connect(address).unwrap();
    worker.driver.set_reading(link, false);
    worker.until(|worker| worker.connected.contains(&link));
    turn_until(&mut worker, &told);
    glance(&mut worker);
    assert!(worker.received(link).is_empty());
    worker.driver.set_reading(link, true);
    worker.until(|worker| worker.received(link) == b"early");
    worker.driver.close(link);
    worker.until(|worker| worker.driver.stats().links == 0);
    peers.join().unwrap();
}

#[apply(on_every_driver!)]
fn a_reset_while_paused_is_told_after_resuming_at_the_latest_and_octets_come_first(kind: Kind) {
    let (address, peers) = listen(1, |_, mut stream| {
        stream.write_all(&octets(3, 0..1000)).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        stream.write_all(&octets(3, 1000..2000)).unwrap();
        SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    });
    let mut worker = Worker::new(kind, &small());
    let link = worker.connect(address);
    worker.until(|worker| worker.received(link).len() == 1000);
    worker.driver.set_reading(link, false);
    worker.driver.send(link, Segment::from(vec![1]));
    worker.until(|worker| worker.unsent.get(&link) == Some(&0));
    peers.join().unwrap();
    glance(&mut worker);
    worker.driver.set_reading(link, true);
    worker.until(|worker| !worker.lost.is_empty());
    assert!(worker.received(link) == octets(3, 0..2000));
    assert_eq!(worker.lost_with(link), Some(ErrorKind::ConnectionReset));
    worker.until(|worker| worker.driver.stats().links == 0);
    drop_and_count(worker);
}

#[apply(on_every_driver!)]
fn a_send_that_fails_while_paused_is_told_once_the_peers_last_words_were_received(kind: Kind) {
    let (address, peers) = listen(1, |_, mut stream| {
        stream.read_exact(&mut [0; 1000]).unwrap();
        stream.write_all(b"go away").unwrap();
        // Closed with octets unread: the kernel resets.
    });
    let mut worker = Worker::new(kind, &small());
    let link = worker.connect(address);
    worker.driver.set_reading(link, false);
    glance(&mut worker);
    worker.driver.send(link, Segment::from(vec![1; 8 << 20]));
    worker.until(|worker| worker.unsent.contains_key(&link));
    peers.join().unwrap();
    glance(&mut worker);
    assert!(worker.received(link).is_empty());
    worker.driver.set_reading(link, true);
    worker.until(|worker| !worker.lost.is_empty());
    assert_eq!(worker.received(link), b"go away");
    worker.until(|worker| worker.driver.stats().links == 0);
    drop_and_count(worker);
}

#[apply(on_every_driver!)]
fn a_paused_link_can_be_closed_and_a_stale_one_is_ignored(kind: Kind) {
    let (address, peers) = listen(2, |_, mut stream| {
        drop(stream.write_all(&octets(0, 0..100_000)));
        drop(io::copy(&mut stream, &mut io::sink()));
    });
    let mut worker = Worker::new(kind, &small());
    let link = worker.connect(address);
    worker.driver.set_reading(link, false);
    worker.driver.close(link);
    worker.until(|worker| worker.driver.stats().links == 0);
    let next = worker.connect(address);
    assert_eq!(next.slot(), link.slot());
    worker.driver.set_reading(link, false);
    worker.until(|worker| worker.received(next).len() == 100_000);
    // The pause and the close are under way together.
    worker.driver.set_reading(next, false);
    worker.turn(Some(Instant::now()));
    worker.driver.close(next);
    worker.until(|worker| worker.driver.stats().links == 0);
    assert!(worker.lost.is_empty());
    peers.join().unwrap();
    drop_and_count(worker);
}

#[apply(on_every_driver!)]
fn a_link_that_starves_can_be_paused_and_goes_on_when_both_are_over(kind: Kind) {
    const OCTETS: usize = 400_000;
    let (address, peers) = listen(1, |_, mut stream| {
        stream.write_all(&octets(0, 0..OCTETS)).unwrap()
    });
    let mut worker = Worker::new(kind, &small());
    worker.keep = true;
    let link = worker.connect(address);
    worker.until(|worker| worker.starved > 0);
    worker.driver.set_reading(link, false);
    worker.keep = false;
    let mut all: Vec<u8> = Vec::new();
    worker
        .views
        .drain(..)
        .for_each(|(_, view)| all.extend_from_slice(&view));
    for _ in 0..5 {
        glance(&mut worker);
    }
    assert!(worker.received(link).is_empty(), "fed, and still paused");
    worker.driver.set_reading(link, true);
    worker.until(|worker| !worker.lost.is_empty());
    all.extend_from_slice(worker.received(link));
    assert!(all == octets(0, 0..OCTETS));
    peers.join().unwrap();
    drop_and_count(worker);
}

#[apply(on_every_driver!)]
fn pausing_and_resuming_at_random_loses_nothing_and_keeps_the_order(kind: Kind) {
    const LINKS: usize = 3;
    const OCTETS: usize = 600_000;
    for seed in 0..3 {
        let dice = Arc::new(Mutex::new(Dice(seed)));
        let (address, peers) = listen(LINKS, move |index, mut stream| {
            stream.write_all(&[index as u8]).unwrap();
            let mut place = 0;
            while place < OCTETS {
                let until = place + 1 + dice.lock().unwrap().below(30_000);
                let until = until.min(OCTETS);
                let piece = octets(index as u8, place..until);
                stream.write_all(&piece).unwrap();
                place = until;
            }
        });
        let mut worker = Worker::new(kind, &small());
        let links: Vec<_> = (0..LINKS).map(|_| worker.connect(address)).collect();
        let mut dice = Dice(seed + 100);
        let deadline = Instant::now() + PATIENCE;
        while worker.lost.len() < LINKS {
            assert!(Instant::now() < deadline, "{seed}");
            // Often both ways before the driver has had a turn.
            for _ in 0..dice.below(4) {
                let link = links[dice.below(LINKS)];
                worker.driver.set_reading(link, dice.below(3) > 0);
            }
            glance(&mut worker);
        }
        for link in links {
            let (index, stream) = worker.received(link).split_first().unwrap();
            assert!(stream == octets(*index, 0..OCTETS), "{seed}");
            assert_eq!(worker.lost_with(link), Some(ErrorKind::UnexpectedEof));
        }
        peers.join().unwrap();
        drop_and_count(worker);
    }
}
