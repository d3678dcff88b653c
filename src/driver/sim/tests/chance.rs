//! Everything by chance, from one seed.

use super::*;

/// A client that connects, sends, receives its octets back a few times, and connects again. Gives how many came back.
async fn client(world: Handle, index: u8, total: Rc<RefCell<u64>>) {
    let mut site = Site::new(&world);
    loop {
        let link = site.driver.connect(address()).unwrap();
        let mut sent = 0;
        for _ in 0..world.below(20) {
            let size = world.below(4000) as usize;
            let segment = Segment::from(octets(index, sent..sent + size));
            site.driver.send(link, segment);
            sent += size;
            // A black hole tells nobody, so that whoever cares has a time limit.
            let deadline = world.now() + Duration::from_secs(20);
            let is_done =
                |site: &Site| site.lost.contains_key(&link) || site.received(link).len() == sent;
            while !is_done(&site) && world.now() < deadline {
                site.turn(Some(deadline)).await;
            }
            if site.received(link).len() < sent {
                break;
            }
            let until = world.now() + Duration::from_millis(world.below(1000));
            while world.now() < until {
                site.turn(Some(until)).await;
            }
        }
        let came = site.received(link);
        assert!(*came == octets(index, 0..came.len()));
        *total.borrow_mut() += came.len() as u64;
        site.driver.close(link);
        site.received.clear();
    }
}

/// Busy clients while everything goes wrong that a plan says. Gives how many octets came back.
fn busy_world(world: &World, plan: FaultPlan) -> u64 {
    let total = Rc::new(RefCell::new(0));
    let _server = echo(world);
    // A slow network, so that faults befall octets under way.
    let latency = Duration::from_millis(1)..=Duration::from_millis(100);
    world.conditions(Conditions {
        latency,
        ..Conditions::default()
    });
    world.faults(plan);
    for index in 0..3 {
        world.spawn(client(world.handle(), index, Rc::clone(&total)));
    }
    world.run_for(Duration::from_secs(600)).unwrap();
    *total.borrow()
}

fn plan() -> FaultPlan {
    FaultPlan::of_every_kind(Duration::from_millis(800))
}

#[test]
fn one_seed_has_one_history_and_another_one_has_another() {
    let history = |seed| {
        let world = World::new(seed);
        let octets = busy_world(&world, plan());
        (octets, world.stats(), world.fingerprint())
    };
    let first = history(1);
    assert_eq!(first, history(1));
    assert_ne!(first.2, history(2).2);
}

#[test]
fn two_worlds_go_the_same_way_step_by_step() {
    let worlds = [World::new(9), World::new(9)];
    let _seen = worlds.each_ref().map(|world| {
        world.faults(plan());
        echo(world)
    });
    let mut sites = worlds.each_ref().map(|world| Site::new(world));
    for step in 0..50 {
        let after = [0, 1].map(|which| {
            let (world, site) = (&worlds[which], &mut sites[which]);
            let link = site.driver.connect(address()).unwrap();
            site.driver.send(link, Segment::from(octets(step, 0..5000)));
            let soon = world.now() + Duration::from_secs(1);
            let run = async {
                while world.now() < soon {
                    site.turn(Some(soon)).await;
                }
            };
            world.run(PATIENCE, run).unwrap();
            (world.fingerprint(), world.stats())
        });
        assert_eq!(after[0], after[1], "{step}");
    }
}

#[test]
fn every_kind_of_fault_happens_and_no_octet_is_ever_out_of_place() {
    for seed in 0..5 {
        let world = World::new(seed);
        let came = busy_world(&world, plan());
        let stats = world.stats();
        // Most of what is sent comes back.
        assert!(came > 100_000, "{seed}: {stats:?}");
        assert!(
            stats.faults.total() > 500 && stats.octets_lost > 1000,
            "{seed}: {stats:?}"
        );
        let faults = stats.faults;
        for count in [
            faults.stalls,
            faults.throttles,
            faults.resets,
            faults.half_closes,
            faults.black_holes,
            faults.refusals,
            faults.partitions,
        ] {
            assert!(count > 30, "{seed}: {faults:?}");
        }
    }
}

#[test]
fn faults_that_lose_nothing_lose_nothing() {
    for seed in 0..5 {
        let world = World::new(seed);
        busy_world(
            &world,
            FaultPlan {
                stall: 2,
                throttle: 1,
                partition: 1,
                lasts: Duration::from_millis(1)..=Duration::from_secs(2),
                throttled_octets_per_second: 200_000,
                ..FaultPlan::every(Duration::from_secs(1))
            },
        );
        let stats = world.stats();
        assert!(stats.faults.total() > 300);
        assert_eq!(stats.octets_lost, 0, "{seed}: {stats:?}");
    }
}

#[test]
fn without_a_plan_nothing_goes_wrong() {
    let world = World::new(1);
    busy_world(&world, FaultPlan::every(Duration::from_secs(1)));
    assert_eq!(world.stats().faults, FaultCounts::default());
    assert_eq!(world.stats().octets_lost, 0);
}
