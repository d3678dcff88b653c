//! Links that do not receive for a while.

use super::*;

#[test]
fn nothing_comes_while_paused_and_the_peer_is_held_back_and_everything_comes_then() {
    const OCTETS: usize = 100_000;
    for seed in 0..10 {
        let world = World::new(seed);
        world.conditions(narrow());
        let mut pair = Pair::new(&world);
        let (there, here) = (pair.there, pair.here);
        pair.server.driver.set_reading(here, false);
        let segment = Segment::from(octets(1, 0..OCTETS));
        pair.client.driver.send(there, segment);
        let hour = Duration::from_secs(3600);
        let run = async {
            let noon = world.now() + hour;
            while world.now() < noon {
                pair.client.turn(Some(noon)).await;
            }
            // What the buffers of both systems hold, at most.
            assert!(pair.client.driver.unsent(there) >= OCTETS - 20_000);
            let noon = world.now() + hour;
            while world.now() < noon {
                pair.server.turn(Some(noon)).await;
            }
            assert!(pair.server.received(here).is_empty());
            pair.server.driver.set_reading(here, true);
            let mut client = pair.client;
            world.spawn(async move {
                client
                    .until(|site| site.unsent.get(&there) == Some(&0))
                    .await;
                client.driver.close(there);
            });
            pair.server.until(|site| !site.lost.is_empty()).await;
            assert!(pair.server.received(here) == octets(1, 0..OCTETS), "{seed}");
        };
        world.run(hour * 3, run).unwrap();
        let expected = Some(io::ErrorKind::UnexpectedEof);
        assert_eq!(pair.server.lost_with(here), expected);
    }
}

#[test]
fn a_reset_while_paused_is_told_after_resuming_and_octets_come_first() {
    let world = World::new(1);
    let mut pair = Pair::new(&world);
    let (there, here, wire) = (pair.there, pair.here, pair.wire());
    let run = async {
        pair.server.driver.set_reading(here, false);
        pair.client
            .driver
            .send(there, Segment::from(octets(1, 0..2000)));
        pair.client
            .until(|site| site.unsent.get(&there) == Some(&0))
            .await;
        world.sleep(Duration::from_secs(1)).await;
        world.inject(wire, Fault::Reset);
        let later = world.now() + Duration::from_secs(1);
        while world.now() < later {
            pair.server.turn(Some(later)).await;
        }
        assert!(pair.server.lost.is_empty());
        pair.server.driver.set_reading(here, true);
        pair.server.until(|site| !site.lost.is_empty()).await;
        assert!(pair.server.received(here) == octets(1, 0..2000));
    };
    world.run(PATIENCE, run).unwrap();
    let expected = Some(io::ErrorKind::ConnectionReset);
    assert_eq!(pair.server.lost_with(here), expected);
}

#[test]
fn pausing_and_resuming_at_random_loses_nothing_and_keeps_the_order() {
    const OCTETS: usize = 200_000;
    for seed in 0..20 {
        let world = World::new(seed);
        world.conditions(narrow());
        let _server = echo(&world);
        let mut client = Site::new(&world);
        let run = async {
            let link = client.connect().await;
            client
                .driver
                .send(link, Segment::from(octets(2, 0..OCTETS)));
            while client.received(link).len() < OCTETS {
                client.driver.set_reading(link, world.below(3) > 0);
                let soon = world.now() + Duration::from_micros(world.below(2000));
                client.turn(Some(soon)).await;
            }
            assert!(client.received(link) == octets(2, 0..OCTETS), "{seed}");
        };
        let outcome = world.run(PATIENCE, run);
        outcome.unwrap_or_else(|stuck| panic!("{seed}: {stuck}"));
    }
}
