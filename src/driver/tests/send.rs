//! Octets leave complete and in order.

use std::io::Read;

use bytes::Bytes;

use super::*;

#[apply(on_every_driver!)]
fn a_big_send_reaches_a_slow_reader_whole(kind: Kind) {
    const OCTETS: usize = 16 << 20;
    let (address, peers) = listen(1, |_, mut stream| {
        let (mut all, mut piece) = (Vec::new(), [0; 1 << 10]);
        while let count @ 1.. = stream.read(&mut piece).unwrap() {
            all.extend_from_slice(&piece[..count]);
        }
        all
    });
    let mut worker = Worker::new(kind, &Options::default());
    let link = worker.connect(address);
    let expected = octets(3, 0..OCTETS);
    worker
        .driver
        .send(link, Segment::from(expected[..OCTETS / 2].to_vec()));
    worker.driver.send(
        link,
        Segment::from(Bytes::copy_from_slice(&expected[OCTETS / 2..])),
    );
    assert_eq!(worker.driver.unsent(link), OCTETS);
    worker.until(|worker| worker.unsent.get(&link) == Some(&0));
    assert_eq!(worker.driver.stats().octets_out, OCTETS as u64);
    worker.driver.close(link);
    worker.until(|worker| worker.driver.stats().links == 0);
    assert!(peers.join().unwrap().remove(0) == expected);
}

#[apply(on_every_driver!)]
fn many_small_segments_of_both_kinds_leave_in_order_and_together(kind: Kind) {
    const SEGMENTS: usize = 5_000;
    let (address, peers) = listen(1, |_, mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        all
    });
    let mut worker = Worker::new(kind, &small());
    // Before the connection stands: they wait for it.
    let link = worker.driver.connect(address).unwrap();
    let (mut dice, mut place) = (Dice(1), 0);
    for index in 0..SEGMENTS {
        let until = place + dice.below(300);
        let piece = octets(5, place..until);
        place = until;
        let segment = match dice.below(3) {
            0 => Segment::from(Bytes::from(piece)),
            1 => Segment::from(piece),
            _ => {
                let mut spare = worker.driver.spare();
                assert!(spare.is_empty());
                spare.extend_from_slice(&piece);
                Segment::from(spare)
            }
        };
        worker.driver.send(link, segment);
        if index % 100 == 99 {
            worker.turn(Some(Instant::now()));
        }
    }
    worker.until(|worker| worker.unsent.get(&link) == Some(&0));
    assert!(
        worker.driver.stats().completions < SEGMENTS as u64 / 10,
        "segments leave together"
    );
    worker.driver.close(link);
    worker.until(|worker| worker.driver.stats().links == 0);
    assert!(peers.join().unwrap().remove(0) == octets(5, 0..place));
}

#[apply(on_every_driver!)]
fn links_send_and_receive_at_the_same_time(kind: Kind) {
    const LINKS: usize = 3;
    const OCTETS: usize = 700_000;
    let (address, peers) = listen(LINKS, |_, stream| {
        let (mut from, mut to) = (stream.try_clone().unwrap(), stream);
        // Ends early when the worker closes with echoes under way.
        drop(io::copy(&mut from, &mut to));
    });
    let mut worker = Worker::new(kind, &small());
    let links: Vec<_> = (0..LINKS).map(|_| worker.connect(address)).collect();
    for (seed, link) in links.iter().enumerate() {
        let (mut dice, mut place) = (Dice(seed as u64), 0);
        while place < OCTETS {
            let until = (place + 1 + dice.below(60_000)).min(OCTETS);
            worker
                .driver
                .send(*link, Segment::from(octets(seed as u8, place..until)));
            place = until;
        }
    }
    worker.until(|worker| {
        links
            .iter()
            .all(|link| worker.received(*link).len() == OCTETS)
    });
    for (seed, link) in links.iter().enumerate() {
        assert!(worker.received(*link) == octets(seed as u8, 0..OCTETS));
        worker.driver.close(*link);
    }
    worker.until(|worker| worker.driver.stats().links == 0);
    peers.join().unwrap();
    drop_and_count(worker);
}
