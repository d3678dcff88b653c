//! The SQLite database: one table, written in transactions that are on the disk when they return.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use thiserror::Error;

use crate::identity::{LINES_MAX, Source};

/// How long another program may hold the database's lock before that is an error.
const LOCK_WAIT: Duration = Duration::from_secs(5);

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS messages(message_id TEXT PRIMARY KEY, body BLOB)";

/// What went wrong with the database.
#[derive(Debug, Error)]
#[error("database {}: {cause}", path.display())]
pub struct DatabaseError {
    path: PathBuf,
    cause: Cause,
}

#[derive(Debug, Error)]
enum Cause {
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error(
        "it has another body for the message {0:?}: two different inputs were published under one name. The message \
         stays in the queue; consume it into another database, and give each input its own --source"
    )]
    Conflict(String),
}

/// What a batch came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stored {
    /// Rows that are new.
    pub new: u64,
    /// Messages that the database had already.
    pub known: u64,
}

impl std::ops::Add for Stored {
    type Output = Stored;

    fn add(self, more: Stored) -> Stored {
        Stored {
            new: self.new + more.new,
            known: self.known + more.known,
        }
    }
}

/// What the database has under an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// No row.
    Nothing,
    /// A row with the same body.
    Same,
    /// A row with another body.
    Other,
}

/// An open database with the table.
pub struct Database {
    connection: Connection,
    path: PathBuf,
}

impl Database {
    /// Opens the file, or makes it.
    pub fn open(path: &Path) -> Result<Self, DatabaseError> {
        Connection::open(path)
            .and_then(|connection| prepare(&connection).map(|()| connection))
            .map(|connection| Database {
                connection,
                path: path.to_owned(),
            })
            .map_err(|error| DatabaseError {
                path: path.to_owned(),
                cause: error.into(),
            })
    }

    /// Stores messages, each an id and a body, in one transaction. Those that are there already are left as they are.
    ///
    /// When this returns, the rows survive a loss of power. After an error none of them is stored.
    pub fn store<'a>(
        &mut self,
        messages: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Stored, DatabaseError> {
        let transaction = self.connection.transaction();
        transaction
            .map_err(Cause::from)
            .and_then(|transaction| insert(transaction, messages))
            .map_err(|cause| self.error(cause))
    }

    /// What the database has under this id.
    pub fn held(&self, message_id: &str, body: &[u8]) -> Result<Held, DatabaseError> {
        held(&self.connection, message_id, body).map_err(|cause| self.error(cause))
    }

    /// How many of the lines 1..=`last` of this input the database has.
    pub fn lines_of(&self, source: &Source, last: u64) -> Result<u64, DatabaseError> {
        let (first, last) = (source.message_id(1), source.message_id(last));
        // The length leaves out the inputs whose names begin with this one's.
        self.connection
            .query_row(
                "SELECT count(*) FROM messages WHERE message_id BETWEEN ?1 AND ?2 AND length(message_id) = length(?1)",
                params![first, last],
                |row| row.get(0),
            )
            .map_err(|error| self.error(error.into()))
    }

    /// Whether the database has any line of this input.
    pub fn has_lines_of(&self, source: &Source) -> Result<bool, DatabaseError> {
        self.connection
            .query_row(
                "SELECT EXISTS(SELECT 1 FROM messages WHERE message_id BETWEEN ?1 AND ?2)",
                params![source.message_id(0), source.message_id(LINES_MAX)],
                |row| row.get(0),
            )
            .map_err(|error| self.error(error.into()))
    }

    fn error(&self, cause: Cause) -> DatabaseError {
        DatabaseError {
            path: self.path.clone(),
            cause,
        }
    }
}

/// A batch is acked after its commit, and the broker then forgets it: so a commit must be on the disk. In WAL mode that
/// takes `synchronous = FULL`, one sync for each commit; NORMAL would leave the last commits to the next checkpoint.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(LOCK_WAIT)?;
    // Where the file system allows no WAL, SQLite keeps its older journal, which is as safe.
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute(SCHEMA, []).map(|_| ())
}

fn insert<'a>(
    transaction: Transaction<'_>,
    messages: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> Result<Stored, Cause> {
    let mut stored = Stored::default();
    {
        let mut insert =
            transaction.prepare_cached("INSERT OR IGNORE INTO messages VALUES (?1, ?2)")?;
        for (message_id, body) in messages {
            if insert.execute(params![message_id, body])? == 1 {
                stored.new += 1;
            } else if held(&transaction, message_id, body)? == Held::Same {
                stored.known += 1;
            } else {
                return Err(Cause::Conflict(message_id.to_owned()));
            }
        }
    }
    transaction.commit()?;
    Ok(stored)
}

fn held(connection: &Connection, message_id: &str, body: &[u8]) -> Result<Held, Cause> {
    let same = connection
        .prepare_cached("SELECT body IS ?2 FROM messages WHERE message_id = ?1")?
        .query_row(params![message_id, body], |row| row.get(0))
        .optional()?;
    Ok(match same {
        None => Held::Nothing,
        Some(true) => Held::Same,
        Some(false) => Held::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::{Database, Held};
    use crate::identity::Source;

    fn empty() -> (tempfile::TempDir, Database) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("test.sqlite")).unwrap();
        (folder, database)
    }

    #[test]
    fn a_message_is_stored_once_and_another_body_under_its_id_is_refused_with_its_batch() {
        let (_folder, mut database) = empty();
        let stored = database
            .store([("a", &b"1"[..]), ("b", b""), ("a", b"1")].into_iter())
            .unwrap();
        assert_eq!((stored.new, stored.known), (2, 1));
        let refused = database
            .store([("c", &b"3"[..]), ("b", b"2")].into_iter())
            .unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("another body for the message \"b\""),
            "{refused}"
        );
        assert_eq!(database.held("a", b"1").unwrap(), Held::Same);
        assert_eq!(database.held("b", b"").unwrap(), Held::Same);
        assert_eq!(database.held("b", b"2").unwrap(), Held::Other);
        assert_eq!(database.held("c", b"3").unwrap(), Held::Nothing);
    }

    #[test]
    fn the_lines_of_an_input_are_counted_and_nothing_else() {
        let (_folder, mut database) = empty();
        let (log, other) = (
            Source::new("log").unwrap(),
            Source::new("log:000000000002").unwrap(),
        );
        for source in [&log, &other] {
            for line in [1, 2, 3, 10, 11] {
                database
                    .store([(source.message_id(line).as_str(), &b"x"[..])].into_iter())
                    .unwrap();
            }
        }
        assert_eq!(database.lines_of(&log, 10).unwrap(), 4);
        assert_eq!(database.lines_of(&other, 100).unwrap(), 5);
        assert_eq!(
            database.lines_of(&Source::new("lo").unwrap(), 100).unwrap(),
            0
        );
    }
}
