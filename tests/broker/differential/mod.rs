//! The same scripted sessions for RabbitMQ and for the broker inside the process: both must send the same frames, apart
//! from what [`transcript`] lists.
//!
//! What RabbitMQ 3.10 says is written down in `rabbitmq-3.10.txt`. The broker is compared with the file, and so is
//! RabbitMQ, where there is one. To write the file anew, or a new script into it:
//!
//! ```sh
//! AMQP_URING_RECORD=1 tests/run --test broker rabbitmq
//! ```
//!
//! Where the broker means to say something else, `broker.txt` holds its own words (written by the same with
//! `broker::FILE::SCRIPT` in place of `rabbitmq`):
//!
//! | script | what differs | why |
//! |---|---|---|
//! | `consumers::prefetch_of_each_consumer` | which of two consumers comes first that get room by the same ack | RabbitMQ keeps those without room in a stack; here they stay in their turn |
//! | `frames::malformed_methods` | a field table with a value of no type gets 501 | RabbitMQ's reader crashes, and the socket closes without a word |
//! | `frames::malformed_properties` | 502, with the property that is wrong | RabbitMQ answers 541 INTERNAL_ERROR: its channel crashes |
//! | `frames::methods_that_there_are_not` | 540, with class and method | RabbitMQ's reader crashes |

mod golden;
mod line;
mod methods;
mod scripts;
mod session;
mod shown;
mod transcript;

use std::net::{SocketAddr, ToSocketAddrs};

use amqp_uring::Node;
use amqp_uring::broker::Broker;

use golden::File;
use session::Session;

/// Runs the script, and gives what was said and whether it came to its end.
fn run(script: fn(&mut Session), address: SocketAddr) -> (String, bool) {
    let mut session = Session::new(address);
    script(&mut session);
    session.finish()
}

fn address(uri: &str) -> SocketAddr {
    let node: Node = uri.parse().expect("a URI");
    (node.host(), node.port())
        .to_socket_addrs()
        .expect("an address")
        .next()
        .expect("an address")
}

fn compare_rabbitmq(name: &str, script: fn(&mut Session)) {
    let uri =
        std::env::var("AMQP_URING_TEST_URI").expect("AMQP_URING_TEST_URI is set by tests/run");
    let said = run(script, address(&uri));
    compare_or_record(&golden::RABBITMQ, name, "this RabbitMQ", said);
}

fn compare_broker(name: &str, script: fn(&mut Session)) {
    let broker = Broker::builder().start().expect("a broker");
    let said = run(script, broker.address());
    let file = match golden::BROKER.read().contains_key(name) {
        true => &golden::BROKER,
        false => &golden::RABBITMQ,
    };
    compare_or_record(file, name, "the broker", said);
}

fn compare_or_record(file: &File, name: &str, who: &str, (transcript, is_whole): (String, bool)) {
    if std::env::var_os("AMQP_URING_RECORD").is_none() {
        return file.compare(name, who, &transcript);
    }
    assert!(
        is_whole,
        "{name} does not go as its script says:\n{transcript}"
    );
    file.record(name, &transcript);
}

/// The name of a script, as it stands in the file of transcripts.
macro_rules! name {
    ($file:ident $script:ident) => {
        concat!(stringify!($file), "::", stringify!($script))
    };
}

/// A test for each script, on RabbitMQ and on the broker.
macro_rules! scripts {
    ($($file:ident { $($script:ident)* })*) => {
        const SCRIPTS: &[&str] = &[$($(name!($file $script)),*),*];

        mod broker {
            $(mod $file {
                use crate::differential::{compare_broker, scripts};

                $(
                    #[test]
                    fn $script() {
                        compare_broker(name!($file $script), scripts::$file::$script);
                    }
                )*
            })*
        }

        mod rabbitmq {
            $(mod $file {
                use crate::differential::{compare_rabbitmq, scripts};

                $(
                    #[test]
                    #[ignore = "needs RabbitMQ: tests/run starts one"]
                    fn $script() {
                        compare_rabbitmq(name!($file $script), scripts::$file::$script);
                    }
                )*
            })*
        }
    };
}

scripts! {
    acks {
        getting
        of_one_and_of_many
        unknown_tags
        requeueing_keeps_the_order
        requeueing_to_a_consumer
        recovering
        given_back
    }
    consumers {
        tags
        exclusive
        prefetch_of_each_consumer
        prefetch_of_the_channel
        without_acks
        turns
        priorities
        a_single_active_one
        ended_by_the_broker
        a_client_that_is_not_told
    }
    dead_letters {
        rejected
        expired
        over_the_length
        keys_and_exchanges
        more_than_once
        in_a_circle
        by_a_quorum_queue
    }
    exchanges {
        declaring
        reserved_names
        inequivalent
        deleting
        auto_delete
    }
    frames {
        malformed
        methods_that_there_are_not
        malformed_methods
        methods_that_only_a_server_sends
        content_out_of_order
        malformed_headers
        malformed_properties
        bodies_of_other_sizes
        channels_and_zero
        access_request
        contents_side_by_side
        small_ones
    }
    handshake {
        opening_and_closing
        protocol_headers
        mechanisms
        wrong_credentials
        limits
        virtual_hosts
        steps_out_of_turn
        steps_once_more
        update_secret
    }
    headers {
        matching
        equal_bindings
    }
    publishing {
        confirms
        durable_messages
        returns
        bodies
        all_properties
        every_type_of_header
        refused
    }
    queue_arguments {
        bad_ones
        good_ones
        lengths
        rejecting_publishes
        time_to_live
        priorities
    }
    queues {
        declaring
        named_by_the_broker
        the_last_one_declared
        inequivalent
        exclusive
        names
        unknown
        purging
        deleting
        auto_delete
    }
    reply_to {
        a_round_trip
        refused
    }
    routing {
        binding_queues
        binding_exchanges
        internal_exchanges
        alternate_exchanges
        topics
        cc_and_bcc
        default_exchange
    }
    states {
        channels
        a_channel_that_the_broker_closes
        a_connection_that_the_broker_closes
        flow
    }
    transactions {
        publishes
        acks
        modes
    }
}

#[test]
fn the_file_of_transcripts_holds_each_script_and_nothing_else() {
    let mut names = SCRIPTS.to_vec();
    names.sort_unstable();
    let written = golden::RABBITMQ.read();
    assert_eq!(written.keys().collect::<Vec<_>>(), names);
    let differing = golden::BROKER.read();
    for (name, transcript) in differing {
        assert_ne!(written[&name], transcript, "{name} does not differ");
    }
}
