//! Time, tasks and wakers.

use std::cell::Cell;

use super::*;
use crate::driver::Waker;

#[test]
fn a_sleep_and_a_turn_end_at_the_nanosecond_that_they_were_told() {
    let world = World::new(1);
    let begin = world.now();
    for nanos in [1, 999, 1_000_000_007, 86_400_000_000_003] {
        let wait = Duration::from_nanos(nanos);
        let before = world.now();
        world.run(PATIENCE * 100, world.sleep(wait)).unwrap();
        assert_eq!(world.now() - before, wait);

        let mut site = Site::new(&world);
        let deadline = world.now() + wait;
        let count = world
            .run(PATIENCE * 100, site.turn(Some(deadline)))
            .unwrap();
        assert_eq!((count, site.driver.now()), (0, deadline));
    }
    assert_eq!(world.stats().time, world.now() - begin);
    assert_eq!(
        world.clock().seconds(),
        1_704_067_200 + world.stats().time.as_secs()
    );
}

#[test]
fn ten_thousand_simulated_hours_cost_what_happens_in_them() {
    let world = World::new(1);
    let ticks = Rc::new(Cell::new(0));
    world.spawn({
        let (world, ticks) = (world.handle(), Rc::clone(&ticks));
        async move {
            loop {
                world.sleep(Duration::from_secs(3600)).await;
                ticks.set(ticks.get() + 1);
            }
        }
    });
    world.run_for(Duration::from_secs(3600 * 10_000)).unwrap();
    assert_eq!(ticks.get(), 10_000);
    assert!(world.stats().events <= 10_000);
}

#[test]
fn sleeps_that_are_given_up_leave_nothing_behind() {
    let world = World::new(1);
    let mut site = Site::new(&world);
    let far = world.now() + Duration::from_secs(10);
    world
        .run(PATIENCE, async {
            for _ in 0..1000 {
                site.driver.waker().wake();
                let waker = site.driver.waker();
                let next = world.handle();
                world.spawn(async move {
                    next.sleep(Duration::from_nanos(5)).await;
                    waker.wake();
                });
                site.turn(Some(far)).await;
            }
        })
        .unwrap();
    assert_eq!(
        world.now(),
        far - Duration::from_secs(10) + Duration::from_micros(5)
    );
    assert_eq!(
        world.run(PATIENCE, std::future::pending::<()>()),
        Err(Stuck::Idle(Duration::from_micros(5)))
    );
}

#[test]
fn a_world_says_why_it_does_not_go_on() {
    let world = World::new(1);
    let (short, long) = (Duration::from_secs(1), Duration::from_secs(2));
    assert_eq!(
        world.run(short, world.sleep(long)),
        Err(Stuck::TooLate(short))
    );
    assert_eq!(world.stats().time, short);
    assert_eq!(
        world.run(short, std::future::pending::<()>()),
        Err(Stuck::Idle(short))
    );
    assert_eq!(world.run_until(short, || false), Err(Stuck::Idle(short)));
    world.run_for(short).unwrap();
    assert_eq!(world.stats().time, long);
    world.spawn(async {
        loop {
            super::super::time::yield_now().await;
        }
    });
    assert_eq!(world.run_for(short), Err(Stuck::Busy(long)));
}

#[test]
fn a_task_gives_what_it_was_spawned_for_and_ends_with_its_world() {
    struct Told(Rc<Cell<bool>>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let is_over = Rc::new(Cell::new(false));
    let world = World::new(1);
    let outer = world.handle();
    let answer = world
        .run(PATIENCE, async move {
            let inner = outer.clone();
            outer
                .spawn(async move { inner.spawn(async { 7 }).await + 1 })
                .await
        })
        .unwrap();
    assert_eq!(answer, 8);
    let (told, handle) = (Told(Rc::clone(&is_over)), world.handle());
    world.spawn(async move {
        // Holding a handle must not hold the world.
        let _held = (told, handle.clone());
        handle.sleep(PATIENCE).await;
    });
    world.run_for(Duration::from_secs(1)).unwrap();
    let left = world.handle();
    drop(world);
    assert!(is_over.get());
    // Whoever is left can do nothing and breaks nothing.
    let later = left.spawn(async { 1 });
    drop(later);
    assert_eq!(left.stats().time, Duration::from_secs(1));
}

#[test]
fn a_task_that_works_finds_the_time_passed_and_is_not_run_meanwhile_and_others_are() {
    let world = World::new(1);
    let begin = world.now();
    let work = Duration::from_millis(30);
    let seen = Rc::new(RefCell::new(Vec::new()));
    world.spawn({
        let (world, seen) = (world.handle(), Rc::clone(&seen));
        async move {
            world.clock().spend(work);
            assert_eq!(world.now() - begin, work);
            // Its next step is due while it still works.
            super::super::time::yield_now().await;
            seen.borrow_mut().push(world.now() - begin);
        }
    });
    let other = world.sleep(Duration::from_millis(1));
    world.run(PATIENCE, other).unwrap();
    assert_eq!(world.now() - begin, Duration::from_millis(1));
    world.run_for(work).unwrap();
    assert_eq!(*seen.borrow(), [work]);
}

#[test]
fn another_task_ends_an_endless_turn_and_no_wake_up_is_lost() {
    const ITEMS: u64 = 2_000;
    for seed in 0..20 {
        let world = World::new(seed);
        let queue = Rc::new(Cell::new(0));
        let mut driver = world.driver(&small()).unwrap();
        let waker: Waker = driver.waker();
        world.spawn({
            let (world, queue) = (world.handle(), Rc::clone(&queue));
            async move {
                for _ in 0..ITEMS {
                    queue.set(queue.get() + 1);
                    waker.wake();
                    match world.below(3) {
                        0 => {}
                        1 => super::super::time::yield_now().await,
                        _ => world.sleep(Duration::from_nanos(world.below(9))).await,
                    }
                }
            }
        });
        let taken = world.run(PATIENCE, async {
            let mut taken = 0;
            while taken < ITEMS {
                let more = || queue.get() > 0;
                driver.turn(None, more, &mut Vec::new()).await.unwrap();
                taken += queue.take();
            }
            taken
        });
        assert_eq!(taken, Ok(ITEMS), "{seed}");
        assert!(driver.stats().wakes > 0);
    }
}

#[test]
fn a_deadline_that_has_passed_or_more_work_makes_no_wait() {
    let world = World::new(1);
    let mut site = Site::new(&world);
    let now = world.now();
    world.run(PATIENCE, site.turn(Some(now))).unwrap();
    world
        .run(PATIENCE, site.driver.turn(None, || true, &mut Vec::new()))
        .unwrap()
        .unwrap();
    assert_eq!(world.now(), now);
}
