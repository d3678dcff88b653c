//! The command line, and what it comes to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{CommandFactory, Parser, error::ErrorKind};

use crate::identity::Source;

/// How long the queue must have been empty for `--consume-only` to end.
const IDLE_DEFAULT: Duration = Duration::from_secs(5);

/// Takes a file's lines through a RabbitMQ queue into a SQLite database, each exactly once.
///
/// Each line of the input becomes one persistent message, and each message one row of the table
/// messages(message_id TEXT PRIMARY KEY, body BLOB). The id of a line is NAME:NUMBER, with the name from --source and
/// the number of the line. So the same command, started again after whatever ended it, goes on where it was: no line is
/// lost, and none is stored twice. An input that is not the same one needs another name.
///
/// Exit status: 0 when every line is confirmed by the broker and every message is in the database, 1 when not,
/// 2 for wrong usage, 130 after Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "ingest", version, max_term_width = 100)]
struct Arguments {
    /// The lines to publish; - reads standard input
    #[arg(long, value_name = "FILE", required_unless_present = "consume_only")]
    input: Option<PathBuf>,

    /// The SQLite database, made when it is not there
    #[arg(long, value_name = "FILE", required_unless_present = "publish_only")]
    database: Option<PathBuf>,

    /// The broker [default: one inside this program, which keeps nothing when it ends]
    #[arg(long, env = "AMQP_URL", hide_env_values = true)]
    uri: Option<String>,

    /// The queue: made durable when it is not there
    #[arg(long, value_name = "NAME", default_value = "ingest")]
    queue: String,

    /// The name of the input in message ids [default: the file's name without its folder, or stdin]
    #[arg(long, value_name = "NAME", conflicts_with = "consume_only")]
    source: Option<String>,

    /// Publish the lines and leave them in the queue
    #[arg(long, conflicts_with_all = ["consume_only", "database"])]
    publish_only: bool,

    /// Store what is in the queue, until it has been empty for --idle SECONDS
    #[arg(long, conflicts_with = "input")]
    consume_only: bool,

    /// Seconds without a message after which --consume-only ends [default: 5]
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["input", "publish_only"], value_parser = seconds)]
    idle: Option<Duration>,

    /// Rows of a transaction. Twice as many messages, each at most a line long, are held in memory
    #[arg(long, value_name = "ROWS", default_value_t = 4000, value_parser = clap::value_parser!(u16).range(1..=30_000))]
    batch: u16,

    /// The longest line, in octets; a longer one is an error
    #[arg(long, value_name = "OCTETS", default_value_t = 1 << 20, value_parser = clap::value_parser!(u32).range(1..=16 << 20))]
    line_max: u32,
}

/// What to do.
#[derive(Debug)]
pub struct Plan {
    /// The broker's URI, which may hold a password; `None` for a broker inside this program.
    pub uri: Option<String>,
    /// The queue's name.
    pub queue: String,
    /// The publishing half, unless only the other is wanted.
    pub publish: Option<PublishPlan>,
    /// The consuming half, unless only the other is wanted.
    pub store: Option<StorePlan>,
}

/// The publishing half.
#[derive(Debug)]
pub struct PublishPlan {
    /// The file; `None` for standard input.
    pub input: Option<PathBuf>,
    /// The name of the input in message ids.
    pub source: Source,
    /// The longest line, in octets.
    pub line_octets_max: usize,
}

/// The consuming half.
#[derive(Debug)]
pub struct StorePlan {
    /// The database's file.
    pub database: PathBuf,
    /// Rows of a transaction at most.
    pub batch: u16,
    /// How long the queue must have been empty, when nothing else tells the end.
    pub idle: Duration,
}

impl Plan {
    /// Reads the command line. Ends the process for `--help`, `--version` and wrong usage, with the status 2.
    pub fn from_command_line() -> Self {
        Arguments::parse().plan().unwrap_or_else(|message| {
            Arguments::command()
                .error(ErrorKind::ValueValidation, message)
                .exit()
        })
    }
}

impl Arguments {
    fn plan(self) -> Result<Plan, String> {
        let Arguments {
            source,
            line_max,
            batch,
            idle,
            ..
        } = self;
        let publish = match self.input {
            Some(path) => Some(PublishPlan::new(path, source.as_deref(), line_max)?),
            None => None,
        };
        let store = self.database.map(|database| StorePlan {
            database,
            batch,
            idle: idle.unwrap_or(IDLE_DEFAULT),
        });
        let uri = self.uri.filter(|uri| !uri.is_empty());
        if uri.is_none() && (publish.is_none() || store.is_none()) {
            return Err(
                "one half alone needs a broker that keeps the messages: --uri URI".to_owned(),
            );
        }
        Ok(Plan {
            uri,
            queue: self.queue,
            publish,
            store,
        })
    }
}

impl PublishPlan {
    fn new(path: PathBuf, source: Option<&str>, line_max: u32) -> Result<Self, String> {
        let input = (path != Path::new("-")).then_some(path);
        let name = match (source, &input) {
            (Some(name), _) => name.to_owned(),
            (None, None) => "stdin".to_owned(),
            // Should two names come out the same, the database tells their lines apart.
            (None, Some(path)) => path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
        };
        Ok(PublishPlan {
            input,
            source: Source::new(&name).map_err(|error| format!("{error}; see --source"))?,
            line_octets_max: line_max as usize,
        })
    }
}

/// A number of seconds, fractions allowed.
fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if !(0.1..=86_400.0).contains(&number) {
        return Err("not in 0.1..=86400".to_owned());
    }
    Ok(Duration::from_secs_f64(number))
}
