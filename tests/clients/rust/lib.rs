//! The broker, tested with clients that others wrote: lapin and amqprs here, pika and amqp091-go beside it (`run`).
//!
//! Each client is led through the same checks, once on the broker inside the process and, where there is one, once on
//! RabbitMQ: that shows that it is the broker that is tested, and not our notion of it.
#![cfg(test)]

mod amqprs;
mod lapin;

use std::time::Duration;

use amqp_uring::broker::Broker;

/// Far longer than any check takes.
const CHECK_TIMEOUT: Duration = Duration::from_secs(60);

/// More than one frame holds: the broker and RabbitMQ offer frames of 128 KiB.
const LARGE_BODY_OCTETS: usize = 300_000;

fn on_broker(check: impl AsyncFnOnce(&str)) {
    let broker = Broker::builder().start().expect("a broker");
    block_on(check(broker.uri()));
}

fn on_rabbitmq(check: impl AsyncFnOnce(&str)) {
    let uri = std::env::var("AMQP_URING_TEST_URI").expect("set by tests/run");
    block_on(check(&uri));
}

fn block_on(check: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(async {
            tokio::time::timeout(CHECK_TIMEOUT, check)
                .await
                .expect("an answer in time");
        });
}

/// The tests of the checks of all clients.
macro_rules! checks {
    ($($client:ident { $($check:ident)* })*) => {
        mod broker {
            $(mod $client {
                $(#[test]
                fn $check() {
                    crate::on_broker(crate::$client::$check);
                })*
            })*
        }

        mod rabbitmq {
            $(mod $client {
                $(#[test]
                #[ignore = "needs RabbitMQ: tests/run starts one"]
                fn $check() {
                    crate::on_rabbitmq(crate::$client::$check);
                })*
            })*
        }
    };
}

checks! {
    lapin {
        declares_and_binds
        publishes_with_confirms
        sees_what_is_returned
        carries_properties_and_large_bodies
        consumes_with_prefetch
        nacks_and_rejects
        gets
        commits_and_rolls_back
        cancels_and_is_cancelled
        sees_errors_of_channels
        is_refused_with_a_wrong_password
        closes
    }
    amqprs {
        declares_and_binds
        publishes_with_confirms
        sees_what_is_returned
        carries_properties_and_large_bodies
        consumes_with_prefetch
        nacks_and_rejects
        gets
        commits_and_rolls_back
        cancels_and_is_cancelled
        sees_errors_of_channels
        is_refused_with_a_wrong_password
        closes
    }
}
