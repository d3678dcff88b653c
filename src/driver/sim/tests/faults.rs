//! What goes wrong does so as it says, and nothing else does.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_reset_ends_both_sides_at_once_and_what_was_under_way_is_lost() {
    let world = World::new(1);
    let mut pair = Pair::new(&world);
    let (there, here, wire) = (pair.there, pair.here, pair.wire());
    let run = async {
        pair.client.driver.send(there, Segment::from(vec![1; 1000]));
        pair.client.turn(Some(world.now())).await;
        let before = world.now();
        world.inject(wire, Fault::Reset);
        pair.client.until(|site| !site.lost.is_empty()).await;
        pair.server.until(|site| !site.lost.is_empty()).await;
        assert_eq!(world.now(), before);
    };
    world.run(PATIENCE, run).unwrap();
    let expected = Some(io::ErrorKind::ConnectionReset);
    assert_eq!(pair.client.lost_with(there), expected);
    assert_eq!(pair.server.lost_with(here), expected);
    assert!(pair.server.received(here).is_empty());
    assert_eq!(world.stats().octets_lost, 1000);
    assert_eq!(world.stats().faults.resets, 1);
    assert!(world.wires(address()).is_empty());
}

#[test]
fn a_connect_under_way_can_be_reset() {
    let world = World::new(1);
    let mut client = Site::new(&world);
    let run = async {
        let link = client.driver.connect(address()).unwrap();
        world.inject(address(), Fault::Reset);
        client.until(|site| !site.lost.is_empty()).await;
        link
    };
    let link = world.run(PATIENCE, run).unwrap();
    let expected = Some(io::ErrorKind::ConnectionReset);
    assert_eq!(client.lost_with(link), expected);
    assert!(world.wires(address()).is_empty());
}

#[test]
fn a_stall_delays_and_loses_nothing() {
    let world = World::new(1);
    let mut pair = Pair::new(&world);
    let (there, here, wire) = (pair.there, pair.here, pair.wire());
    let run = async {
        pair.client
            .driver
            .send(there, Segment::from(octets(1, 0..1000)));
        pair.client.turn(Some(world.now())).await;
        let until = world.now() + SECOND * 5;
        world.inject(wire, Fault::Stall(SECOND * 5));
        pair.server
            .until(|site| site.received(here).len() == 1000)
            .await;
        assert_eq!(world.now(), until);
        assert!(pair.server.received(here) == octets(1, 0..1000));

        // A stall can be ended early.
        world.inject(wire, Fault::Stall(SECOND * 5));
        pair.client.driver.send(there, Segment::from(vec![1]));
        pair.client.turn(Some(world.now())).await;
        world.sleep(SECOND).await;
        world.heal();
        let healed = world.now();
        pair.server
            .until(|site| site.received(here).len() == 1001)
            .await;
        assert_eq!(world.now(), healed);
    };
    world.run(PATIENCE, run).unwrap();
}

#[test]
fn a_throttle_slows_down_for_its_time() {
    let world = World::new(1);
    let mut pair = Pair::new(&world);
    let (there, here, wire) = (pair.there, pair.here, pair.wire());
    let throttle = Fault::Throttle {
        octets_per_second: 1000,
        duration: SECOND * 10,
    };
    world.inject(wire, throttle);
    let run = async {
        for (octets, least) in [(5000, SECOND * 5), (5000, Duration::ZERO)] {
            let before = world.now();
            let known = pair.server.received(here).len();
            pair.client
                .driver
                .send(there, Segment::from(vec![1; octets]));
            pair.client.turn(Some(world.now())).await;
            pair.server
                .until(|site| site.received(here).len() == known + octets)
                .await;
            let took = world.now() - before;
            assert!(took >= least && took < least + SECOND, "{took:?}");
            world.sleep(SECOND * 10).await;
        }
    };
    world.run(PATIENCE, run).unwrap();
}

#[test]
fn a_half_closed_direction_ends_after_its_octets_and_the_other_one_goes_on() {
    let world = World::new(1);
    let mut pair = Pair::new(&world);
    let (there, here, wire) = (pair.there, pair.here, pair.wire());
    let from = Side::Acceptor;
    let run = async {
        pair.server.driver.send(here, Segment::from(vec![1; 500]));
        pair.server.turn(Some(world.now())).await;
        world.inject(wire, Fault::HalfClose { from });
        pair.client.driver.send(there, Segment::from(vec![2; 600]));
        pair.client.turn(Some(world.now())).await;
        pair.server
            .until(|site| site.received(here).len() == 600)
            .await;
        pair.client.until(|site| !site.lost.is_empty()).await;
        assert_eq!(pair.client.received(there).len(), 500);
        // The other side notices when it sends.
        assert!(pair.server.lost.is_empty());
        pair.server.driver.send(here, Segment::from(vec![1]));
        pair.server.until(|site| !site.lost.is_empty()).await;
    };
    world.run(PATIENCE, run).unwrap();
    let expected = Some(io::ErrorKind::UnexpectedEof);
    assert_eq!(pair.client.lost_with(there), expected);
    let kind = pair.server.lost_with(here).unwrap();
    assert!(matches!(
        kind,
        io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof
    ));
}

#[test]
fn a_black_hole_swallows_everything_and_tells_nobody() {
    let world = World::new(1);
    let mut pair = Pair::new(&world);
    let (there, here, wire) = (pair.there, pair.here, pair.wire());
    let run = async {
        pair.client
            .driver
            .send(there, Segment::from(vec![1; 500_000]));
        pair.client.turn(Some(world.now())).await;
        world.inject(wire, Fault::BlackHole);
        let later = world.now() + PATIENCE / 2;
        while world.now() < later {
            pair.client.turn(Some(later)).await;
        }
        // The system's buffer fills up, as nothing is acknowledged.
        assert!(pair.client.driver.unsent(there) > 0);
        pair.server.driver.close(here);
        pair.client.turn(Some(later + SECOND)).await;
        assert!(pair.client.lost.is_empty());
        pair.client.driver.close(there);
    };
    world.run(PATIENCE, run).unwrap();
    let stats = world.stats();
    assert_eq!((stats.octets, stats.faults.black_holes), (0, 1));
    assert!(stats.octets_lost > 0 && world.wires(address()).is_empty());
}

#[test]
fn connects_into_a_black_hole_hang_until_it_heals() {
    let world = World::new(1);
    let _server = echo(&world);
    let mut client = Site::new(&world);
    world.inject(address(), Fault::BlackHole);
    let run = async {
        let link = client.driver.connect(address()).unwrap();
        let given_up = client.driver.connect(address()).unwrap();
        let later = world.now() + SECOND * 100;
        while world.now() < later {
            assert_eq!(client.turn(Some(later)).await, 0);
        }
        client.driver.close(given_up);
        world.heal();
        client.until(|site| site.connected.contains(&link)).await;
        assert!(world.now() < later + SECOND);
    };
    world.run(PATIENCE, run).unwrap();
    assert_eq!(world.wires(address()).len(), 1);
}

#[test]
fn an_address_refuses_for_a_time_and_its_connections_stay() {
    let world = World::new(1);
    let _server = echo(&world);
    let mut client = Site::new(&world);
    let run = async {
        let link = client.connect().await;
        world.inject(address(), Fault::Refuse(SECOND));
        let refused = client.connect().await;
        let expected = Some(io::ErrorKind::ConnectionRefused);
        assert_eq!(client.lost_with(refused), expected);
        client.driver.send(link, Segment::from(vec![1]));
        client.until(|site| site.received(link).len() == 1).await;
        world.sleep(SECOND).await;
        let again = client.connect().await;
        assert!(client.connected.contains(&again));
    };
    world.run(PATIENCE, run).unwrap();
}

#[test]
fn a_partition_delays_connections_and_connects_and_loses_nothing() {
    let world = World::new(1);
    let _server = echo(&world);
    let mut client = Site::new(&world);
    let run = async {
        let link = client.connect().await;
        let over = world.now() + SECOND * 30;
        world.inject(address(), Fault::Partition(SECOND * 30));
        client.driver.send(link, Segment::from(octets(1, 0..9000)));
        let late = client.connect().await;
        assert!(client.connected.contains(&late) && world.now() > over);
        client.until(|site| site.received(link).len() == 9000).await;
        assert!(client.received(link) == octets(1, 0..9000));
        assert!(world.now() < over + SECOND);
    };
    world.run(PATIENCE, run).unwrap();
    assert_eq!(world.stats().octets_lost, 0);
    assert_eq!(world.stats().faults.partitions, 1);
}
