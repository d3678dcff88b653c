//! Takes a queue into segment files, each message exactly as it came, and acks what is on the disk.
//!
//! One thread does all of it: the engine's worker, the handlers and the files share a tokio-uring runtime. A record is the
//! length of the body, four octets with the lowest first, and the body. Messages that are written while the disk is busy with a
//! sync share the next one.

use std::cell::{Cell, RefCell};
use std::collections::hash_map::DefaultHasher;
use std::error::Error;
use std::hash::Hasher;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use amqp_uring::{CancelReason, Consumer, Disposition, Engine, Message, Queue};
use clap::Parser;
use tokio::sync::Mutex;
use tokio_uring::fs::{File, OpenOptions};

/// How long the broker may take to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The octets before each body.
const PREFIX_OCTETS: u64 = 4;

/// Takes a queue into segment files, and acks each message once it is on the disk.
///
/// After a crash a message may be in the files and in the queue: it is stored once more. Ctrl-C finishes what has arrived.
/// Exit status: 0 when all went well, 1 when not, 2 for wrong usage.
#[derive(Debug, Parser)]
#[command(name = "segments", version, max_term_width = 100)]
struct Arguments {
    /// The broker
    #[arg(
        long,
        env = "AMQP_URL",
        hide_env_values = true,
        default_value = "amqp://guest:guest@localhost"
    )]
    uri: String,

    /// The queue: made durable when it is not there
    #[arg(long, value_name = "NAME", default_value = "segments")]
    queue: String,

    /// Where the segments go; made when it is not there. Those in it are left as they are
    #[arg(long, value_name = "FOLDER")]
    directory: PathBuf,

    /// End after so many messages [default: at Ctrl-C]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,

    /// Begin a new segment when one has so many octets
    #[arg(long, value_name = "N", default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(1..))]
    segment_octets: u64,

    /// Messages that are being written at a time: the most that share a sync
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=30_000))]
    in_flight: u16,
}

/// What was stored, to be compared with what the files hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    messages: u64,
    octets: u64,
    /// The sum of the hashes of all bodies: the same in any order.
    hash: u64,
}

impl Tally {
    fn add(&mut self, body: &[u8]) {
        let mut hasher = DefaultHasher::new();
        hasher.write(body);
        self.messages += 1;
        self.octets += body.len() as u64;
        self.hash = self.hash.wrapping_add(hasher.finish());
    }
}

/// One file.
struct Segment {
    path: PathBuf,
    file: File,
    /// Where the next record goes.
    end: Cell<u64>,
    /// Held during a sync.
    turn: Mutex<()>,
    begun: Cell<u64>,
    done: Cell<u64>,
}

impl Segment {
    async fn create(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .await?;
        Ok(Segment {
            path,
            file,
            end: Cell::new(0),
            turn: Mutex::new(()),
            begun: Cell::new(0),
            done: Cell::new(0),
        })
    }

    /// Waits until what was written before is on the disk. Whoever has the turn syncs for all that wait; a sync
    /// that had begun before need not have seen everything.
    async fn commit(&self) -> io::Result<()> {
        let wanted = self.begun.get() + 1;
        let _turn = self.turn.lock().await;
        if self.done.get() < wanted {
            let number = self.begun.get() + 1;
            self.begun.set(number);
            self.file.sync_data().await?;
            self.done.set(number);
        }
        Ok(())
    }
}

/// The folder with the segments of this run.
struct Store {
    directory: PathBuf,
    octets_max: u64,
    next_number: Cell<u32>,
    /// Held while a segment is being made.
    current: Mutex<Option<Rc<Segment>>>,
    segments: RefCell<Vec<Rc<Segment>>>,
    tally: Cell<Tally>,
}

impl Store {
    fn open(directory: &Path, octets_max: u64) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let mut next = 0;
        for entry in std::fs::read_dir(directory)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| {
                let digits = name.strip_prefix("segment-")?.strip_suffix(".log")?;
                digits.parse::<u32>().ok()
            });
            next = number.map_or(next, |number| next.max(number.saturating_add(1)));
        }
        Ok(Store {
            directory: directory.to_owned(),
            octets_max,
            next_number: Cell::new(next),
            current: Mutex::new(None),
            segments: RefCell::default(),
            tally: Cell::default(),
        })
    }

    /// Writes a body, and returns when it is on the disk.
    async fn append(&self, body: &[u8]) -> io::Result<()> {
        let prefix = u32::try_from(body.len())
            .map_err(|_| io::Error::other("a body is longer than a record can be"))?;
        let mut record = Vec::with_capacity(PREFIX_OCTETS as usize + body.len());
        record.extend_from_slice(&prefix.to_le_bytes());
        record.extend_from_slice(body);
        let (segment, at) = self.reserve(record.len() as u64).await?;
        segment.file.write_all_at(record, at).await.0?;
        segment.commit().await?;
        let mut tally = self.tally.get();
        tally.add(body);
        self.tally.set(tally);
        Ok(())
    }

    /// The place for so many octets.
    async fn reserve(&self, octets: u64) -> io::Result<(Rc<Segment>, u64)> {
        let mut current = self.current.lock().await;
        let segment = match &*current {
            Some(segment) if segment.end.get() < self.octets_max => Rc::clone(segment),
            _ => {
                let number = self.next_number.get();
                self.next_number.set(number + 1);
                let path = self.directory.join(format!("segment-{number:06}.log"));
                let segment = Rc::new(Segment::create(path).await?);
                // The file's name must outlive a crash too.
                File::open(&self.directory).await?.sync_all().await?;
                self.segments.borrow_mut().push(Rc::clone(&segment));
                *current = Some(Rc::clone(&segment));
                segment
            }
        };
        let at = segment.end.get();
        segment.end.set(at + octets);
        Ok((segment, at))
    }

    fn syncs(&self) -> u64 {
        let segments = self.segments.borrow();
        segments.iter().map(|segment| segment.done.get()).sum()
    }

    /// Reads all of it again.
    fn read_back(&self) -> io::Result<Tally> {
        let mut tally = Tally::default();
        for segment in self.segments.borrow().iter() {
            let octets = std::fs::read(&segment.path)?;
            let mut rest = &octets[..];
            while let Some((prefix, after)) = rest.split_first_chunk() {
                let length = u32::from_le_bytes(*prefix) as usize;
                let record = after.split_at_checked(length);
                let (body, after) = record.ok_or_else(|| {
                    io::Error::other(format!("{} ends early", segment.path.display()))
                })?;
                tally.add(body);
                rest = after;
            }
        }
        Ok(tally)
    }
}

/// Stores messages until there are enough of them, or until one cannot be stored.
struct Intake {
    store: Store,
    consumer: Consumer,
    left: Cell<u64>,
    failure: RefCell<Option<io::Error>>,
}

impl Intake {
    async fn take(&self, message: Message) -> Disposition {
        const GIVE_BACK: Disposition = Disposition::Nack { requeue: true };
        let Some(left) = self.left.get().checked_sub(1) else {
            return GIVE_BACK;
        };
        self.left.set(left);
        if left == 0 {
            self.stop();
        }
        match self.store.append(&message.body).await {
            Ok(()) => Disposition::Ack,
            Err(error) => {
                self.left.set(0);
                self.failure.borrow_mut().get_or_insert(error);
                self.stop();
                GIVE_BACK
            }
        }
    }

    /// The stream ends by itself then: nobody needs to wait for the answer.
    fn stop(&self) {
        drop(self.consumer.cancel());
    }
}

async fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let store = Store::open(&arguments.directory, arguments.segment_octets)?;
    let (engine, worker) = Engine::builder()
        .uri(&arguments.uri)
        .connection_name("segments")
        .start_local();
    let worker = tokio_uring::spawn(worker);
    let engine = engine.await?;
    let deliveries = engine
        .consumer(Queue::durable(&arguments.queue))
        .prefetch(arguments.in_flight.saturating_mul(2))
        .deliveries()
        .await?;
    let consumer = deliveries.consumer().clone();
    let interrupt = tokio_uring::spawn({
        let consumer = consumer.clone();
        async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                eprintln!("finishing what has arrived");
                drop(consumer.cancel());
            }
        }
    });
    eprintln!("consuming {}", arguments.queue);
    let intake = Intake {
        store,
        consumer,
        left: Cell::new(arguments.messages.unwrap_or(u64::MAX)),
        failure: RefCell::default(),
    };
    let begin = Instant::now();
    let reason = deliveries
        .for_each_async(arguments.in_flight.into(), |message| intake.take(message))
        .await;
    let elapsed = begin.elapsed();
    interrupt.abort();
    let closed = engine.close(CLOSE_TIMEOUT).await;
    worker.await??;

    let store = intake.store;
    let stored = store.tally.get();
    let (files, syncs) = (store.segments.borrow().len(), store.syncs());
    println!(
        "{} messages, {} octets in {files} files; {syncs} syncs, {:.1} messages per sync; {:.3} s",
        stored.messages,
        stored.octets,
        stored.messages as f64 / syncs.max(1) as f64,
        elapsed.as_secs_f64(),
    );
    if let Some(error) = intake.failure.into_inner() {
        return Err(format!("cannot store: {error}").into());
    }
    if reason != CancelReason::Requested {
        return Err(format!("the consumer ended early: {reason:?}").into());
    }
    closed?;
    let found = store.read_back()?;
    if found != stored {
        return Err(format!("the files hold {found:?}, not {stored:?}").into());
    }
    println!("read back: the same");
    Ok(())
}

fn main() -> ExitCode {
    match tokio_uring::start(run(&Arguments::parse())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("segments: {error}");
            ExitCode::FAILURE
        }
    }
}
