//! Octets come in complete and in order, and chunks go round.

use std::io::Write;
use std::sync::mpsc;

use super::*;

/// Random writes on several links at a time, all checked to the last octet.
fn streams_arrive(kind: Kind, links: usize, octets_each: usize, options: &Options) {
    let (address, peers) = listen(links, move |index, mut stream| {
        let mut dice = Dice(index as u64);
        stream.write_all(&[index as u8]).unwrap();
        let mut place = 0;
        while place < octets_each {
            let until = (place + 1 + dice.below(20_000)).min(octets_each);
            stream
                .write_all(&octets(index as u8, place..until))
                .unwrap();
            place = until;
        }
    });
    let mut worker = Worker::new(kind, options);
    let open: Vec<_> = (0..links)
        .map(|_| worker.driver.connect(address).unwrap())
        .collect();
    worker.until(|worker| worker.lost.len() == links);
    for link in open {
        let (seed, stream) = worker.received(link).split_first().unwrap();
        assert_eq!(stream.len(), octets_each);
        assert!(stream == octets(*seed, 0..octets_each), "{kind:?} {link:?}");
        assert_eq!(worker.lost_with(link), Some(io::ErrorKind::UnexpectedEof));
    }
    peers.join().unwrap();
    drop_and_count(worker);
}

#[apply(on_every_driver!)]
fn octets_of_several_links_arrive_complete_and_in_order(kind: Kind) {
    streams_arrive(kind, 4, 1_500_000, &small());
}

#[apply(on_every_driver!)]
fn a_completion_queue_that_overflows_loses_nothing_and_keeps_the_order(kind: Kind) {
    streams_arrive(
        kind,
        12,
        300_000,
        &Options {
            submissions: 1,
            completions: 2,
            ..small()
        },
    );
}

#[apply(on_every_driver!)]
fn the_default_options_work(kind: Kind) {
    streams_arrive(kind, 2, 3_000_000, &Options::default());
}

#[apply(on_every_driver!)]
fn starved_links_take_turns_at_the_chunks_that_come_back(kind: Kind) {
    const LINKS: usize = 3;
    let (address, peers) = listen(LINKS, |_, mut stream| {
        let piece = [0; 10_000];
        while stream.write_all(&piece).is_ok() {}
    });
    let one = Options {
        chunks: 1,
        plain_chunks: 1,
        ..small()
    };
    let mut worker = Worker::new(kind, &one);
    worker.keep = true;
    let links: Vec<_> = (0..LINKS).map(|_| worker.connect(address)).collect();
    let mut fed = std::collections::HashSet::new();
    let deadline = Instant::now() + PATIENCE;
    while fed.len() < LINKS {
        assert!(
            Instant::now() < deadline,
            "one of {links:?} is never fed, only {fed:?}"
        );
        worker.until(|worker| worker.starved > 0);
        worker.starved = 0;
        fed.extend(worker.views.drain(..).map(|(link, _)| link));
    }
    links.into_iter().for_each(|link| worker.driver.close(link));
    worker.until(|worker| worker.driver.stats().links == 0);
    peers.join().unwrap();
    drop_and_count(worker);
}

#[apply(on_every_driver!)]
fn views_held_for_a_while_do_not_change_under_their_holder(kind: Kind) {
    const OCTETS: usize = 2_000_000;
    let (address, peers) = listen(2, |index, mut stream| {
        stream.write_all(&octets(index as u8, 0..OCTETS)).unwrap();
    });
    let mut worker = Worker::new(kind, &small());
    worker.keep = true;
    let mut places = HashMap::new();
    let mut seeds = HashMap::new();
    let links = [
        worker.driver.connect(address).unwrap(),
        worker.driver.connect(address).unwrap(),
    ];
    let mut dice = Dice(9);
    let deadline = Instant::now() + PATIENCE;
    let check = |(link, view): (Link, crate::buffer::Filled),
                 places: &mut HashMap<_, _>,
                 seeds: &mut HashMap<_, _>| {
        let place = places.entry(link).or_insert(0);
        let seed = *seeds.entry(link).or_insert_with(|| view[0]);
        assert!(
            view[..] == octets(seed, *place..*place + view.len()),
            "{kind:?} {link:?} {place}"
        );
        *place += view.len();
    };
    while worker.lost.len() < 2 {
        assert!(Instant::now() < deadline);
        worker.turn(Some(deadline));
        // Checked late: the views have seen other octets come into their chunks meanwhile.
        let keep = if worker.starved > 0 { 0 } else { dice.below(4) };
        worker.starved = 0;
        let late = worker.views.len().saturating_sub(keep);
        worker
            .views
            .drain(..late)
            .for_each(|view| check(view, &mut places, &mut seeds));
    }
    std::mem::take(&mut worker.views)
        .into_iter()
        .for_each(|view| check(view, &mut places, &mut seeds));
    assert!(links.iter().all(|link| places[link] == OCTETS));
    peers.join().unwrap();
    drop_and_count(worker);
}

#[apply(on_every_driver!)]
fn a_starved_link_waits_without_turning_and_goes_on_when_views_drop_on_another_thread(kind: Kind) {
    const OCTETS: usize = 400_000;
    let (address, peers) = listen(1, |_, mut stream| {
        stream.write_all(&octets(0, 0..OCTETS)).unwrap()
    });
    let mut worker = Worker::new(kind, &small());
    worker.keep = true;
    let link = worker.connect(address);
    let mut place = 0;
    while place < OCTETS {
        worker.until(|worker| worker.starved > 0 || !worker.lost.is_empty());
        if worker.lost.is_empty() {
            assert_eq!(worker.driver.stats().chunks_free, 0);
            let quiet = Instant::now() + Duration::from_millis(20);
            worker.turn(Some(quiet));
            assert!(
                Instant::now() >= quiet,
                "a starved link must not make the worker spin"
            );
            assert_eq!(worker.starved, 1, "said once");
        }
        worker.starved = 0;
        let (views, receive) = mpsc::channel::<crate::buffer::Filled>();
        let dropper = thread::spawn(move || receive.into_iter().for_each(drop));
        for (from, view) in worker.views.drain(..) {
            assert_eq!(from, link);
            assert!(view[..] == octets(0, place..place + view.len()));
            place += view.len();
            views.send(view).unwrap();
        }
        drop(views);
        if place < OCTETS {
            worker.until(|worker| !worker.views.is_empty());
        }
        dropper.join().unwrap();
        // It may have starved between the return of one chunk and the next: with more of them that is over.
        let stats = worker.driver.stats();
        if stats.chunks_free + stats.chunks_posted > 0 {
            worker.starved = 0;
        }
    }
    assert!(worker.driver.stats().starvations > 0);
    peers.join().unwrap();
    drop_and_count(worker);
}

#[apply(on_every_driver!)]
fn a_starved_link_that_is_closed_leaves_no_trace(kind: Kind) {
    let (address, peers) = listen(2, |_, mut stream| {
        drop(stream.write_all(&octets(0, 0..4_000_000)))
    });
    let mut worker = Worker::new(kind, &small());
    worker.keep = true;
    let link = worker.connect(address);
    worker.until(|worker| worker.starved > 0);
    worker.driver.close(link);
    worker.until(|worker| worker.driver.stats().links == 0);
    assert_eq!(worker.starved, 1);
    // The next link is starved at once, and that is said again.
    let next = worker.connect(address);
    worker.until(|worker| worker.starved == 2);
    worker.driver.close(next);
    worker.until(|worker| worker.driver.stats().links == 0);
    assert!(worker.lost.is_empty());
    peers.join().unwrap();
    worker.views.clear();
    drop_and_count(worker);
}

#[apply(on_every_driver!)]
fn more_links_than_submission_entries_all_work(kind: Kind) {
    const LINKS: usize = 64;
    let (address, peers) = listen(LINKS, |index, mut stream| {
        let mut greeting = [0; 5];
        io::Read::read_exact(&mut stream, &mut greeting).unwrap();
        assert_eq!(greeting, *b"hello");
        stream.write_all(&octets(index as u8, 0..5_000)).unwrap();
    });
    let mut worker = Worker::new(
        kind,
        &Options {
            submissions: 8,
            completions: 16,
            ..small()
        },
    );
    let links: Vec<_> = (0..LINKS)
        .map(|_| worker.driver.connect(address).unwrap())
        .collect();
    for link in &links {
        worker.driver.send(*link, Segment::from(b"hello".to_vec()));
    }
    worker.until(|worker| worker.lost.len() == LINKS);
    for link in links {
        let stream = worker.received(link);
        assert!(stream == octets(stream[0], 0..5_000));
    }
    peers.join().unwrap();
    drop_and_count(worker);
}

#[apply(on_every_driver!)]
fn reading_at_full_speed_takes_few_system_calls(kind: Kind) {
    const OCTETS: usize = 20_000_000;
    let (address, peers) = listen(1, |_, mut stream| {
        stream.write_all(&vec![7; OCTETS]).unwrap()
    });
    let mut worker = Worker::new(kind, &Options::default());
    let link = worker.connect(address);
    let before = worker.driver.stats();
    worker.until(|worker| !worker.lost.is_empty());
    let after = worker.driver.stats();
    assert_eq!(worker.received(link).len(), OCTETS);
    assert_eq!(after.octets_in, OCTETS as u64);
    let (calls, turns) = (after.enters - before.enters, after.turns - before.turns);
    let calls_max = match kind {
        // One enter submits and waits.
        Kind::Uring | Kind::UringPlain => turns,
        // One receive for what the socket has, one wait for more.
        Kind::Epoll => OCTETS as u64 / 4096,
        // One enter submits, another one collects after the sleep.
        #[cfg(feature = "tokio-uring")]
        Kind::TokioUring | Kind::TokioUringPlain => 2 * turns,
    };
    assert!(calls <= calls_max, "{calls} calls, {turns} turns");
    assert_eq!(
        after.chunks_free + after.chunks_posted + after.chunks_held,
        after.chunks_total
    );
    peers.join().unwrap();
}
