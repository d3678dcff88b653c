//! The example `ingest` as its user sees it: a process that is started, interrupted, killed and started again, on every
//! driver, which the environment names.

mod drivers;
mod programs;

use std::collections::HashSet;
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use amqp_uring::{DeleteIf, Driver, Engine, Properties, PublisherOptions, Queue};
use macro_rules_attribute::apply;
use tempfile::TempDir;

use drivers::on_every_driver;
use programs::program;

// Parts of the example that are tested beside their code, which cargo does not do for examples.
#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../examples/ingest/database.rs"]
mod database;
#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../examples/ingest/identity.rs"]
mod identity;
#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../examples/ingest/lines.rs"]
mod lines;

/// Several of the program's batches, and more than it gets through before it is killed.
const LINES: usize = 20_000;
const TIMEOUT: Duration = Duration::from_secs(120);

/// The environment variable that chooses the program's driver.
const DRIVER: &str = "AMQP_URING_DRIVER";

// --- the program ------------------------------------------------------------------------------------------------------

fn ingest(arguments: &[&str]) -> Command {
    let mut command = Command::new(program("ingest"));
    command.args(arguments).env_remove("AMQP_URL");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn uri() -> String {
    std::env::var("AMQP_URING_TEST_URI")
        .expect("AMQP_URING_TEST_URI names a broker; tests/run sets it")
}

fn connect(driver: Driver) -> Engine {
    let builder = Engine::builder().uri(&uri()).driver(driver);
    builder.start().wait(TIMEOUT).unwrap()
}

/// A small generator of numbers that are the same on every run (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    /// Any octets but newlines, often none at all.
    fn line(&mut self) -> Vec<u8> {
        let octets = self.below(160).saturating_sub(20);
        (0..octets)
            .map(|_| self.below(256) as u8)
            .map(|octet| if octet == b'\n' { b' ' } else { octet })
            .collect()
    }
}

/// An input with random lines, a queue and a database of one test.
struct Case {
    driver: Driver,
    folder: TempDir,
    queue: String,
    lines: Vec<Vec<u8>>,
}

impl Case {
    fn new(driver: Driver, name: &str, lines: usize) -> Self {
        let mut numbers = Numbers(lines as u64);
        let lines: Vec<_> = (0..lines).map(|_| numbers.line()).collect();
        let case = Case {
            driver,
            folder: tempfile::tempdir().unwrap(),
            queue: format!("ingest-test-{name}-{driver}-{}", std::process::id()),
            lines,
        };
        std::fs::write(case.input(), case.octets(case.lines.len())).unwrap();
        case
    }

    /// The first lines as a file has them; the last one has no newline unless it is empty, when it would be none.
    fn octets(&self, lines: usize) -> Vec<u8> {
        let mut octets = self.lines[..lines].join(&b'\n');
        if self.lines[..lines].last().is_some_and(Vec::is_empty) {
            octets.push(b'\n');
        }
        octets
    }

    fn input(&self) -> PathBuf {
        self.folder.path().join("input.log")
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("out.sqlite")
    }

    fn command(&self) -> Command {
        let mut command = ingest(&["--uri", &uri(), "--queue", &self.queue]);
        command.env(DRIVER, self.driver.name());
        command
    }

    fn publish_only(&self) -> Command {
        let mut command = self.command();
        command
            .arg("--publish-only")
            .arg("--input")
            .arg(self.input());
        command
    }

    fn consume_only(&self, idle: &str) -> Command {
        let mut command = self.command();
        command
            .args(["--consume-only", "--idle", idle, "--database"])
            .arg(self.database());
        command
    }

    fn both(&self) -> Command {
        self.with_both_halves(self.command())
    }

    /// With a broker inside the program.
    fn alone(&self) -> Command {
        let mut command = ingest(&["--queue", &self.queue]);
        command.env(DRIVER, self.driver.name());
        self.with_both_halves(command)
    }

    fn with_both_halves(&self, mut command: Command) -> Command {
        command
            .arg("--input")
            .arg(self.input())
            .arg("--database")
            .arg(self.database());
        command
    }

    /// The rows in the order of their ids.
    fn rows(&self) -> Vec<(String, Vec<u8>)> {
        let database = rusqlite::Connection::open(self.database()).unwrap();
        let mut query = database
            .prepare("SELECT message_id, body FROM messages ORDER BY message_id")
            .unwrap();
        let rows = query
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn row_count(&self) -> usize {
        let database = rusqlite::Connection::open(self.database()).unwrap();
        let count = database.query_row("SELECT count(*) FROM messages", [], |row| {
            row.get::<_, i64>(0)
        });
        count.map_or(0, |count| count as usize)
    }

    /// The database has each line once, in its place.
    fn assert_complete(&self) {
        let bodies: Vec<_> = self.rows().into_iter().map(|(_, body)| body).collect();
        assert_eq!(bodies.len(), self.lines.len());
        let different = bodies
            .iter()
            .zip(&self.lines)
            .position(|(body, line)| body != line);
        assert_eq!(different, None, "the first row that is not its line");
    }

    /// The queue holds so many messages, at the latest when the broker has put back what a run had not acked, which goes
    /// on for a moment after the run has ended.
    fn assert_queued(&self, messages: u32) {
        let engine = connect(self.driver);
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let call = engine.declare(&Queue::named(&self.queue));
            let queued = call.wait(TIMEOUT).unwrap().message_count;
            if queued == messages {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{queued} messages are in the queue, not {messages}"
            );
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        // Without a broker, the test has failed for that already.
        if std::env::var_os("AMQP_URING_TEST_URI").is_some() {
            let engine = connect(self.driver);
            let _ = engine
                .delete_queue(&self.queue, DeleteIf::Always)
                .wait(TIMEOUT);
        }
    }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// Runs to the end, which must come with this exit status.
fn run(mut command: Command, status: i32) -> Output {
    finish(command.spawn().unwrap(), status)
}

fn finish(child: Child, status: i32) -> Output {
    let output = child.wait_with_output().unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(
        output.status.code(),
        Some(status),
        "standard output: {stdout}\nstandard error: {stderr}"
    );
    output
}

/// Starts the command and kills it (SIGKILL) after a random time, again and again. Ends early if it should finish.
fn kill_again_and_again(command: impl Fn() -> Command, numbers: &mut Numbers, times: u32) {
    for _ in 0..times {
        let mut child = command().spawn().unwrap();
        sleep(Duration::from_millis(20 + numbers.below(500)));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert!(
            status.code().is_none_or(|code| code == 0),
            "it was neither killed nor done: {status}"
        );
    }
}

// --- with a broker ----------------------------------------------------------------------------------------------------

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn every_line_is_stored_once_and_a_second_run_has_nothing_to_do(driver: Driver) {
    let case = Case::new(driver, "both", LINES);
    let first = run(case.both(), 0);
    assert!(
        text(&first.stdout).contains("20000 published, 20000 confirmed"),
        "{}",
        text(&first.stdout)
    );
    assert!(
        text(&first.stdout).contains("20000 messages stored"),
        "{}",
        text(&first.stdout)
    );
    case.assert_complete();
    let ids: HashSet<_> = case.rows().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), LINES);
    assert!(ids.contains("input.log:000000000001") && ids.contains("input.log:000000020000"));

    let second = run(case.both(), 0);
    assert!(
        text(&second.stdout).contains(" 0 published, 0 confirmed, 20000 skipped"),
        "{}",
        text(&second.stdout)
    );
    case.assert_complete();
    case.assert_queued(0);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn killed_at_any_moment_and_started_again_it_loses_no_line_and_stores_none_twice(driver: Driver) {
    let case = Case::new(driver, "killed", LINES);
    let mut numbers = Numbers(1);
    kill_again_and_again(|| case.both(), &mut numbers, 10);
    run(case.both(), 0);
    case.assert_complete();
    case.assert_queued(0);
}

#[apply(on_every_driver!)]
fn without_a_broker_it_brings_its_own_and_can_be_killed_and_started_again_too(driver: Driver) {
    let case = Case::new(driver, "alone", LINES);
    let mut numbers = Numbers(3);
    kill_again_and_again(|| case.alone(), &mut numbers, 4);
    run(case.alone(), 0);
    case.assert_complete();
    let again = run(case.alone(), 0);
    let text = text(&again.stdout);
    assert!(text.contains(" 0 published, 0 confirmed"), "{text}");
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn the_two_halves_can_run_apart_and_be_killed_too(driver: Driver) {
    let case = Case::new(driver, "halves", LINES);
    let mut numbers = Numbers(2);
    kill_again_and_again(|| case.publish_only(), &mut numbers, 3);
    run(case.publish_only(), 0);
    kill_again_and_again(|| case.consume_only("60"), &mut numbers, 6);
    run(case.consume_only("1"), 0);
    case.assert_complete();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn both_halves_at_once_from_standard_input_to_an_idle_end(driver: Driver) {
    let case = Case::new(driver, "stdin", 5_000);
    let consumer = case.consume_only("3").spawn().unwrap();
    let mut command = case.command();
    command
        .args(["--publish-only", "--input", "-", "--source", "a name"])
        .stdin(Stdio::piped());
    let mut publisher = command.spawn().unwrap();
    publisher
        .stdin
        .take()
        .unwrap()
        .write_all(&case.octets(5_000))
        .unwrap();
    finish(publisher, 0);
    finish(consumer, 0);
    case.assert_complete();
    assert_eq!(case.rows()[0].0, "a name:000000000001");
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn ctrl_c_stores_what_has_arrived_and_ends_with_130_and_the_next_run_goes_on(driver: Driver) {
    let case = Case::new(driver, "interrupted", 10_000);
    let from_stdin = || {
        let mut command = case.command();
        command
            .args(["--input", "-", "--database"])
            .arg(case.database())
            .stdin(Stdio::piped());
        command.spawn().unwrap()
    };
    let mut child = from_stdin();
    // Standard input stays open: only Ctrl-C can end it.
    let mut input = child.stdin.take().unwrap();
    let half = case.lines[..5_000].join(&b'\n');
    input.write_all(&half).unwrap();
    input.write_all(b"\n").unwrap();
    input.flush().unwrap();
    let deadline = Instant::now() + TIMEOUT;
    while case.row_count() == 0 {
        assert!(Instant::now() < deadline, "nothing was stored");
        sleep(Duration::from_millis(20));
    }
    let interrupted = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupted.success());
    let output = finish(child, 130);
    drop(input);
    assert!(
        text(&output.stdout).contains("interrupted; run the same command again"),
        "{}",
        text(&output.stdout)
    );
    assert!(case.row_count() <= 5_000);

    let mut child = from_stdin();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&case.octets(10_000))
        .unwrap();
    finish(child, 0);
    case.assert_complete();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn another_input_of_the_same_name_is_an_error_and_stores_nothing(driver: Driver) {
    let case = Case::new(driver, "other", 1_000);
    run(case.both(), 0);
    let other = [&case.octets(500)[..], b"\nanother line\n"].concat();
    std::fs::write(case.input(), other).unwrap();
    let output = run(case.both(), 1);
    assert!(
        text(&output.stderr).contains("line 501 is not what the database has"),
        "{}",
        text(&output.stderr)
    );
    assert!(
        text(&output.stderr).contains("--source"),
        "{}",
        text(&output.stderr)
    );
    case.assert_complete();

    // Apart, the halves cannot know before the lines are in the queue; there they stay.
    run(case.publish_only(), 0);
    let output = run(case.consume_only("1"), 1);
    assert!(
        text(&output.stderr).contains("another body for the message"),
        "{}",
        text(&output.stderr)
    );
    case.assert_complete();
    case.assert_queued(501);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_message_that_has_no_id_is_an_error_and_stays_in_the_queue(driver: Driver) {
    let case = Case::new(driver, "foreign", 0);
    let engine = connect(driver);
    engine
        .declare(&Queue::durable(&case.queue))
        .wait(TIMEOUT)
        .unwrap();
    let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
    publisher
        .publish("", &case.queue, &Properties::persistent(), "anonymous")
        .unwrap();
    assert!(
        publisher
            .wait_for_confirms(TIMEOUT)
            .unwrap()
            .counts
            .all_acked()
    );
    let output = run(case.consume_only("1"), 1);
    assert!(
        text(&output.stderr).contains("without a message_id"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(case.row_count(), 0);
    case.assert_queued(1);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_database_that_another_program_has_locked_is_an_error_and_costs_no_message(driver: Driver) {
    let case = Case::new(driver, "locked", 1_000);
    run(case.publish_only(), 0);
    let lock = rusqlite::Connection::open(case.database()).unwrap();
    lock.execute_batch("PRAGMA journal_mode = WAL; BEGIN IMMEDIATE")
        .unwrap();
    let output = run(case.consume_only("60"), 1);
    assert!(
        text(&output.stderr).contains("locked"),
        "{}",
        text(&output.stderr)
    );
    drop(lock);
    run(case.consume_only("1"), 0);
    case.assert_complete();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_line_over_the_limit_is_an_error_after_the_lines_before_it_are_stored(driver: Driver) {
    let mut case = Case::new(driver, "long", 0);
    std::fs::write(case.input(), b"one\ntwo\nmore than ten octets\nthree\n").unwrap();
    case.lines = vec![b"one".to_vec(), b"two".to_vec()];
    let mut command = case.both();
    command.args(["--line-max", "10"]);
    let output = run(command, 1);
    assert!(
        text(&output.stderr).contains("line 3 is longer than 10 octets"),
        "{}",
        text(&output.stderr)
    );
    run(case.consume_only("1"), 0);
    case.assert_complete();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn an_empty_input_is_done_at_once(driver: Driver) {
    let case = Case::new(driver, "empty", 0);
    run(case.both(), 0);
    assert_eq!(case.row_count(), 0);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_wrong_password_is_said_without_the_password_and_without_advice_on_starting_a_broker(
    driver: Driver,
) {
    let mut command = ingest(&["--publish-only", "--input", "-", "--uri"]);
    command
        .arg(uri().replace("guest:guest", "guest:s3cret"))
        .env(DRIVER, driver.name());
    let stderr = text(&run(command, 1).stderr);
    assert!(stderr.contains("ACCESS_REFUSED"), "{stderr}");
    assert!(
        !stderr.contains("s3cret") && !stderr.contains("apt-get"),
        "{stderr}"
    );
}

// --- without a broker -------------------------------------------------------------------------------------------------

#[apply(on_every_driver!)]
fn without_a_broker_it_says_how_to_start_one(driver: Driver) {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut command = ingest(&["--publish-only", "--input", "-"]);
    command
        .env("AMQP_URL", format!("amqp://guest:s3cret@127.0.0.1:{port}"))
        .env(DRIVER, driver.name());
    let output = run(command, 1);
    let stderr = text(&output.stderr);
    assert!(stderr.contains(&format!("127.0.0.1:{port}")), "{stderr}");
    assert!(
        stderr.contains("apt-get install rabbitmq-server"),
        "{stderr}"
    );
    assert!(stderr.contains("docker run"), "{stderr}");
    assert!(!stderr.contains("s3cret"), "{stderr}");
}

#[test]
fn wrong_usage_ends_with_2() {
    let cases: [&[&str]; 11] = [
        &[],
        // One half alone, without a broker that keeps the messages for the other.
        &["--publish-only", "--input", "-"],
        &["--consume-only", "--database", "y"],
        &["--input", "x"],
        &["--database", "x"],
        &["--consume-only"],
        &["--publish-only"],
        &[
            "--publish-only",
            "--consume-only",
            "--input",
            "x",
            "--database",
            "y",
        ],
        &["--input", "x", "--database", "y", "--idle", "5"],
        &["--consume-only", "--database", "y", "--idle", "NaN"],
        &["--input", "-", "--database", "y", "--source", ""],
    ];
    for arguments in cases {
        let output = run(ingest(arguments), 2);
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn what_cannot_be_opened_is_said_before_a_broker_is_asked() {
    let output = run(ingest(&["--input", "no/such/file", "--database", "y"]), 1);
    assert!(
        text(&output.stderr).contains("cannot open no/such/file"),
        "{}",
        text(&output.stderr)
    );
    let output = run(
        ingest(&["--input", "-", "--database", "no/such/folder/y"]),
        1,
    );
    assert!(
        text(&output.stderr).contains("database no/such/folder/y"),
        "{}",
        text(&output.stderr)
    );
}
