//! Links as they are when nothing goes wrong: D1 to D3, limits, chunks.

use std::sync::Mutex;

use super::*;

/// Streams both ways on several links at a time, all checked to the last octet.
fn streams_arrive(seed: u64, conditions: Conditions) {
    const LINKS: usize = 3;
    const OCTETS: usize = 60_000;
    let world = World::new(seed);
    world.conditions(conditions);
    let server = echo(&world);
    let mut client = Site::new(&world);
    world
        .run(PATIENCE, async {
            let mut links = Vec::new();
            for index in 0..LINKS {
                // Before the connection stands: they wait for it.
                let link = client.driver.connect(address()).unwrap();
                let mut place = 0;
                while place < OCTETS {
                    let until = (place + 1 + world.below(30_000) as usize).min(OCTETS);
                    let piece = octets(index as u8, place..until);
                    client.driver.send(link, Segment::from(piece));
                    place = until;
                }
                links.push(link);
            }
            let is_back = |site: &Site, link: &Link| site.received(*link).len() == OCTETS;
            client
                .until(|site| links.iter().all(|link| is_back(site, link)))
                .await;
            for (index, link) in links.iter().enumerate() {
                assert!(
                    client.received(*link) == octets(index as u8, 0..OCTETS),
                    "{seed}"
                );
                assert_eq!(client.unsent.get(link), Some(&0));
                client.driver.close(*link);
            }
            assert!(client.lost.is_empty());
        })
        .unwrap_or_else(|stuck| panic!("{seed}: {stuck}"));
    world.run_for(PATIENCE).unwrap();
    let server = server.borrow();
    assert_eq!((client.driver.stats().links, server.links), (0, 0));
    assert_eq!(server.octets_in, (LINKS * OCTETS) as u64);
    assert!(
        server
            .lost
            .values()
            .all(|kind| *kind == io::ErrorKind::UnexpectedEof)
    );
    assert_eq!(world.stats().octets, (2 * LINKS * OCTETS) as u64);
    assert_eq!(world.stats().octets_lost, 0);
    assert!(world.wires(address()).is_empty(), "nothing is left behind");
}

#[test]
fn octets_of_several_links_arrive_complete_and_in_order_under_all_conditions() {
    for seed in 0..10 {
        streams_arrive(seed, Conditions::default());
        streams_arrive(seed, narrow());
        streams_arrive(
            seed,
            Conditions {
                octets_per_second: Some(50_000),
                ..narrow()
            },
        );
    }
}

#[test]
fn buffers_of_one_octet_work_too() {
    for seed in 0..10 {
        let world = World::new(seed);
        world.conditions(Conditions {
            send_octets: 1,
            receive_octets: 1,
            parcel_octets: 1,
            ..Conditions::default()
        });
        let _server = echo(&world);
        let mut client = Site::new(&world);
        let run = async {
            let link = client.connect().await;
            client.driver.send(link, Segment::from(octets(1, 0..300)));
            client.until(|site| site.received(link).len() == 300).await;
            assert_eq!(client.received(link), octets(1, 0..300));
        };
        world.run(PATIENCE, run).unwrap();
    }
}

#[test]
fn connecting_takes_a_way_there_and_back_and_the_bandwidth_is_kept() {
    let way = Duration::from_millis(10);
    let world = World::new(1);
    world.conditions(Conditions {
        latency: way..=way,
        octets_per_second: Some(1_000_000),
        ..Conditions::default()
    });
    let begin = world.now();
    let mut pair = Pair::new(&world);
    assert_eq!(world.now() - begin, way * 2);
    let before = world.now();
    let here = pair.here;
    let segment = Segment::from(vec![1; 500_000]);
    pair.client.driver.send(pair.there, segment);
    let mut client = pair.client;
    world.spawn(async move { client.until(|_| false).await });
    let all = pair
        .server
        .until(|site| site.received(here).len() == 500_000);
    world.run(PATIENCE, all).unwrap();
    let took = world.now() - before;
    let least = Duration::from_millis(510);
    assert!(took >= least && took < least * 2, "{took:?}");
}

#[test]
fn nobody_listening_refuses_and_a_dropped_listener_too() {
    let world = World::new(1);
    let mut client = Site::new(&world);
    let mut server = Site::new(&world);
    let listener = server.listen(&world);
    let taken = world.listen(address(), drop);
    assert_eq!(taken.unwrap_err(), AddressInUse(address()));
    let run = async {
        let link = client.connect().await;
        assert!(client.connected.contains(&link));
        drop(listener);
        let refused = client.connect().await;
        let expected = Some(io::ErrorKind::ConnectionRefused);
        assert_eq!(client.lost_with(refused), expected);
        assert_eq!(client.driver.stats().links, 1);
        // The connections of a listener stay without it.
        server.until(|site| site.connected.len() == 1).await;
    };
    world.run(PATIENCE, run).unwrap();
    assert_eq!(world.stats().connections, 1);
}

#[test]
fn a_full_backlog_refuses_and_connections_that_nobody_takes_end_with_their_queue() {
    let world = World::new(1);
    let mut client = Site::new(&world);
    let queue = Arc::<Mutex<Vec<_>>>::default();
    let backlog = Arc::clone(&queue);
    let accept = move |socket| backlog.lock().unwrap().push(socket);
    let listener = world.listen(address(), accept).unwrap();
    let run = async {
        for _ in 0..=BACKLOG_MAX {
            client.connect().await;
        }
        assert_eq!(client.lost.len(), 1);
        drop((listener, queue));
        client
            .until(|site| site.lost.len() == BACKLOG_MAX + 1)
            .await;
    };
    world.run(PATIENCE, run).unwrap();
    let ended = |kind: &&io::ErrorKind| **kind == io::ErrorKind::UnexpectedEof;
    assert_eq!(client.lost.values().filter(ended).count(), BACKLOG_MAX);
}

#[test]
fn links_are_limited_and_a_stale_one_is_ignored() {
    let world = World::new(1);
    let options = Options {
        links_max: 1,
        ..small()
    };
    let mut driver = world.driver(&options).unwrap();
    let link = driver.connect(address()).unwrap();
    assert!(matches!(
        driver.connect(address()),
        Err(crate::driver::DriverError::LinksExhausted { max: 1 })
    ));
    driver.close(link);
    let next = driver.connect(address()).unwrap();
    assert_eq!(
        (next.slot(), next.generation()),
        (link.slot(), link.generation() + 1)
    );
    driver.close(link);
    driver.send(link, Segment::from(vec![1]));
    driver.set_reading(link, false);
    assert_eq!((driver.unsent(link), driver.unsent(next)), (0, 0));
    assert!(driver.wire(link).is_none() && driver.wire(next).is_some());
    driver.close(next);
    assert!(world.wires(address()).is_empty());
}

#[test]
fn closing_still_sends_what_the_system_has_taken_and_nothing_more() {
    let world = World::new(1);
    world.conditions(narrow());
    let mut pair = Pair::new(&world);
    let (there, here) = (pair.there, pair.here);
    let segment = Segment::from(octets(1, 0..90_000));
    pair.client.driver.send(there, segment);
    let run = async {
        pair.client
            .until(|site| site.unsent.contains_key(&there))
            .await;
        let taken = 90_000 - pair.client.driver.unsent(there);
        pair.client.driver.close(there);
        pair.server.until(|site| !site.lost.is_empty()).await;
        assert!(taken < 90_000 && pair.server.received(here) == octets(1, 0..taken));
    };
    world.run(PATIENCE, run).unwrap();
    let expected = Some(io::ErrorKind::UnexpectedEof);
    assert_eq!(pair.server.lost_with(here), expected);
}

#[test]
fn closing_with_octets_unread_resets_the_peer() {
    let world = World::new(1);
    let mut pair = Pair::new(&world);
    let (there, here) = (pair.there, pair.here);
    pair.server.driver.set_reading(here, false);
    pair.client.driver.send(there, Segment::from(vec![1; 100]));
    let run = async {
        pair.client
            .until(|site| site.unsent.get(&there) == Some(&0))
            .await;
        world.sleep(Duration::from_secs(1)).await;
        pair.server.driver.close(here);
        pair.client.until(|site| !site.lost.is_empty()).await;
    };
    world.run(PATIENCE, run).unwrap();
    let expected = Some(io::ErrorKind::ConnectionReset);
    assert_eq!(pair.client.lost_with(there), expected);
}

#[test]
fn a_starved_link_says_so_once_and_goes_on_when_its_views_are_dropped() {
    const OCTETS: usize = 400_000;
    for seed in 0..10 {
        let world = World::new(seed);
        let pair = Pair::new(&world);
        let (mut client, mut server, here) = (pair.client, pair.server, pair.here);
        let segment = Segment::from(octets(0, 0..OCTETS));
        client.driver.send(pair.there, segment);
        world.spawn(async move { client.until(|_| false).await });
        server.keep = true;
        let pool = server.driver.pool().clone();
        let mut place = 0;
        let run = async {
            while place < OCTETS {
                // The last ones need not fill all chunks.
                let held =
                    |site: &Site| -> usize { site.views.iter().map(|(_, view)| view.len()).sum() };
                server
                    .until(|site| site.starved > 0 || place + held(site) == OCTETS)
                    .await;
                if server.starved > 0 {
                    assert_eq!(server.driver.stats().chunks_free, 0);
                    let quiet = world.now() + Duration::from_secs(60);
                    let (turns, came) = (server.driver.stats().turns, server.views.len());
                    while world.now() < quiet {
                        server.turn(Some(quiet)).await;
                    }
                    assert_eq!((server.views.len(), server.starved), (came, 1), "{seed}");
                    let turns = server.driver.stats().turns - turns;
                    assert!(turns < 100, "{seed}: a starved link must not spin");
                    server.starved = 0;
                }
                for (from, view) in server.views.drain(..) {
                    assert_eq!(from, here);
                    assert!(view[..] == octets(0, place..place + view.len()), "{seed}");
                    place += view.len();
                }
            }
        };
        let outcome = world.run(PATIENCE, run);
        outcome.unwrap_or_else(|stuck| panic!("{seed}: {stuck}"));
        assert!(server.driver.stats().starvations > 0);
        drop(server);
        assert_eq!(pool.stats().out, 0, "every chunk is back");
    }
}

#[test]
fn views_that_another_task_drops_wake_a_starved_driver() {
    let world = World::new(5);
    let pair = Pair::new(&world);
    let (mut client, mut server) = (pair.client, pair.server);
    let segment = Segment::from(vec![1; 300_000]);
    client.driver.send(pair.there, segment);
    world.spawn(async move { client.until(|_| false).await });
    server.keep = true;
    let run = async {
        server.until(|site| site.starved > 0).await;
        let views = std::mem::take(&mut server.views);
        let (later, pause) = (world.handle(), Duration::from_secs(7));
        let dropped_at = world.now() + pause;
        world.spawn(async move {
            later.sleep(pause).await;
            drop(views);
        });
        server.until(|site| !site.views.is_empty()).await;
        assert_eq!(world.now(), dropped_at);
    };
    world.run(PATIENCE, run).unwrap();
}
