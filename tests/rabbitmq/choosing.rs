//! Which driver runs: the program chooses, else the environment, else the kernel. The figures say which and why.

use amqp_uring::driver::{Driver, Reason, uring};
use amqp_uring::{Engine, Error};
use macro_rules_attribute::apply;

use super::alone::{runs_alone, variant};
use super::on_every_driver;
use super::support::{WAIT, connect, uri};

const VARIABLE: &str = "AMQP_URING_DRIVER";

/// The driver that runs, and why.
fn choice(engine: Engine) -> (Driver, Reason) {
    let stats = engine.stats();
    assert_eq!(stats.workers.len(), 1);
    engine.shutdown(WAIT).unwrap();
    (stats.driver, stats.driver_reason)
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn the_driver_that_the_program_asks_for_runs(driver: Driver) {
    assert_eq!(choice(connect(driver)), (driver, Reason::Asked));
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn the_driver_that_the_environment_names_runs_unless_the_program_asks_for_one(driver: Driver) {
    let test = variant(
        "choosing::the_driver_that_the_environment_names_runs_unless_the_program_asks_for_one",
        driver,
    );
    if runs_alone(&test, &[(VARIABLE, driver.name())]) {
        return;
    }
    let engine = Engine::connect(&uri()).unwrap();
    assert_eq!(choice(engine), (driver, Reason::Environment));
    for asked in [Driver::Uring, Driver::Epoll] {
        assert_eq!(choice(connect(asked)), (asked, Reason::Asked));
    }
}

#[test]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn the_kernel_decides_when_nobody_does() {
    let test = "choosing::the_kernel_decides_when_nobody_does";
    let environments: [&[_]; 3] = [&[], &[(VARIABLE, "")], &[(VARIABLE, "auto")]];
    let mut environments = environments.into_iter();
    if environments.all(|environment| runs_alone(test, environment)) {
        return;
    }
    let expected = match uring::probe() {
        Ok(_) => (Driver::Uring, Reason::Default),
        Err(why) => (Driver::Epoll, Reason::NoUring(why)),
    };
    assert_eq!(choice(Engine::connect(&uri()).unwrap()), expected);
    assert_eq!(choice(connect(Driver::Auto)), expected);
}

#[test]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_name_that_no_driver_has_is_an_error_unless_the_program_asks_for_one() {
    let test = "choosing::a_name_that_no_driver_has_is_an_error_unless_the_program_asks_for_one";
    if runs_alone(test, &[(VARIABLE, "kqueue")]) {
        return;
    }
    let error = Engine::connect(&uri()).unwrap_err();
    let expected = "AMQP_URING_DRIVER: there is no driver \"kqueue\": choose auto, uring, epoll or tokio-uring";
    assert_eq!(error, Error::Driver(expected.to_owned()));
    assert_eq!(
        choice(connect(Driver::Epoll)),
        (Driver::Epoll, Reason::Asked)
    );
}
