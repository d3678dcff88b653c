//! Examples, run as programs. `ingest` has tests of its own.

use std::process::{Command, Output};

use amqp_uring::Driver;
use macro_rules_attribute::apply;

use super::on_every_driver;
use super::programs::program;
use super::support::{Scratch, uri, wait_until};

/// An example, run against the test's node.
fn example(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program(name));
    command.args(arguments).env("AMQP_URL", uri());
    command
}

fn succeeded(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn tokio_stream_consumes_what_it_publishes(driver: Driver) {
    let run = |messages: &str| {
        let mut command = example("tokio_stream", &["--messages", messages]);
        let output = command.env("AMQP_URING_DRIVER", driver.name()).output();
        succeeded(&output.unwrap())
    };
    let stdout = run("3000");
    assert!(stdout.contains("3000 messages"), "{stdout}");
    run("0");
}

/// Its worker is a task of its own tokio-uring runtime, whatever driver others have.
#[test]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn segments_stores_each_message_once() {
    let engine = Scratch::new(Driver::Auto);
    let queue = engine.queue("segments");
    engine.fill(&queue, 3000);
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().to_str().unwrap();
    let common = ["--queue", &queue, "--directory", directory];
    let limited = ["--messages", "2500", "--segment-octets", "5000"];
    let output = example("segments", &[&common[..], &limited].concat()).output();
    let stdout = succeeded(&output.unwrap());
    assert!(stdout.contains("2500 messages"), "{stdout}");
    assert!(stdout.contains("read back: the same"), "{stdout}");
    wait_until("the rest, requeued", || engine.depth(&queue) == 500);

    // The rest, until it is interrupted.
    let mut second = example("segments", &common);
    let child = second
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut bodies = Vec::new();
    wait_until("the rest", || {
        bodies = records(folder.path());
        bodies.len() >= 3000
    });
    let id = child.id().to_string();
    let interrupted = Command::new("kill").args(["-INT", &id]).status();
    assert!(interrupted.unwrap().success());
    let stdout = succeeded(&child.wait_with_output().unwrap());
    assert!(stdout.contains("500 messages"), "{stdout}");
    bodies.sort_unstable();
    assert!(bodies.into_iter().eq(0..3000));
    assert_eq!(engine.depth(&queue), 0);
}

/// The numbers in all whole records of all segments.
fn records(folder: &std::path::Path) -> Vec<u32> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let octets = std::fs::read(entry.unwrap().path()).unwrap();
        let mut rest = &octets[..];
        while let Some((length, after)) = rest.split_first_chunk() {
            let length = u32::from_le_bytes(*length) as usize;
            let Some((body, after)) = after.split_at_checked(length) else {
                break;
            };
            // A place that is reserved and not written yet is empty.
            if let Ok(number) = String::from_utf8_lossy(body).parse() {
                numbers.push(number);
            }
            rest = after;
        }
    }
    numbers
}
