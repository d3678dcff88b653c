//! From the input into the queue: each line one persistent message, unless the database has it already.

use std::time::Duration;

use amqp_uring::{ConfirmCounts, Engine, Error, Properties, Publisher, PublisherOptions};

use crate::database::{Database, Held};
use crate::failure::Failure;
use crate::identity::Source;

/// What became of a line that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// It is on its way, and its confirm will come.
    Published,
    /// It is in the database since an earlier run.
    Skipped,
    /// Too many messages wait for their confirms. Nothing was done.
    NoRoom,
}

/// Publishes the lines of one input.
pub struct Feed<'a> {
    publisher: Publisher,
    queue: &'a str,
    source: &'a Source,
    /// Where to look whether a line is there already; `None` when no line of this input can be.
    known: Option<Database>,
}

impl<'a> Feed<'a> {
    /// Opens a publisher. It waits for room no longer than `patience`, so that the caller can look after other things.
    pub fn open(
        engine: &Engine,
        queue: &'a str,
        source: &'a Source,
        known: Option<Database>,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let options = PublisherOptions::default().publish_timeout(patience);
        Ok(Feed {
            publisher: engine.publisher(options)?,
            queue,
            source,
            known,
        })
    }

    /// Publishes a line, if it is new and there is room.
    pub fn offer(&mut self, line: u64, body: &[u8]) -> Result<Offered, Failure> {
        let message_id = self.source.message_id(line);
        if let Some(known) = &self.known {
            match known.held(&message_id, body)? {
                Held::Nothing => {}
                Held::Same => return Ok(Offered::Skipped),
                Held::Other => return Err(Failure::OtherInput { line, message_id }),
            }
        }
        let properties = Properties::builder()
            .delivery_mode(2)
            .message_id(&message_id)
            .build()
            .map_err(Error::from)?;
        // Mandatory: without it the broker confirms what it drops, should somebody delete the queue meanwhile.
        match self
            .publisher
            .publish_mandatory("", self.queue, &properties, body)
        {
            Ok(_receipt) => Ok(Offered::Published),
            Err(Error::WindowFull { .. }) => Ok(Offered::NoRoom),
            Err(error) => Err(error.into()),
        }
    }

    /// Messages whose confirms have not come.
    pub fn pending(&self) -> u64 {
        self.publisher.pending()
    }

    /// Waits until every confirm has come; `None` when some had not after this time.
    pub fn settle(&mut self, timeout: Duration) -> Result<Option<ConfirmCounts>, Failure> {
        match self.publisher.wait_for_confirms(timeout) {
            Ok(report) => Ok(Some(report.counts)),
            Err(Error::Timeout(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
