//! Where io_uring is forbidden.

use std::collections::BTreeMap;

use amqp_uring::driver::uring::Unavailable;
use amqp_uring::driver::{Driver, Reason};
use amqp_uring::{Engine, Error};
use seccompiler::{SeccompAction, SeccompFilter};

use super::support::{Scratch, WAIT, node};

/// `io_uring_setup` on x86_64.
const IO_URING_SETUP: i64 = 425;

/// Makes the kernel refuse io_uring to this thread and those that it starts, as a container's default profile does.
fn forbid_io_uring() {
    let filter = SeccompFilter::new(
        BTreeMap::from([(IO_URING_SETUP, Vec::new())]),
        SeccompAction::Allow,
        SeccompAction::Errno(1), // EPERM
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

#[test]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn without_io_uring_the_engine_runs_on_epoll_and_says_why() {
    let thread = std::thread::spawn(|| {
        forbid_io_uring();
        let builder = Engine::builder().node(node()).driver(Driver::Auto);
        let engine = Scratch::on(builder.start().wait(WAIT).unwrap());
        let stats = engine.stats();
        assert_eq!(stats.driver, Driver::Epoll);
        let Reason::NoUring(why @ Unavailable::Filtered { .. }) = &stats.driver_reason else {
            panic!("{:?}", stats.driver_reason);
        };
        assert!(why.to_string().contains("allow io_uring_setup"), "{why}");
        let queue = engine.queue("forbidden");
        engine.fill(&queue, 1000);
        let expected: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
        assert_eq!(engine.take_texts(&queue, 1000), expected);
        assert!(engine.stats().workers[0].driver.octets_in > 0);

        let builder = Engine::builder().node(node()).driver(Driver::Uring);
        let error = builder.start().wait(WAIT).unwrap_err();
        assert!(
            matches!(&error, Error::Driver(text) if text.contains("seccomp")),
            "what was asked for is not replaced: {error}"
        );
    });
    thread.join().unwrap();
}
