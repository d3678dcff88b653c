//! Transactions: publishes and acks that take effect together (class `tx`).

use super::channel::Mode;
use super::context::Context;
use super::message::Message;
use super::refusal::Refusal;
use super::settling::Settlement;
use super::unacked::Pending;
use crate::protocol::tx;

/// What waits for the commit.
#[derive(Default)]
pub(crate) struct Transaction {
    /// Messages with their `mandatory`.
    pub publishes: Vec<(Message, bool)>,
    pub settled: Vec<(Pending, Settlement)>,
}

impl Transaction {
    /// About what it takes of memory, without the messages that queues count.
    pub fn octets(&self) -> usize {
        let published = self.publishes.iter().map(|(message, _)| message.octets());
        published.sum::<usize>() + self.settled.capacity() * size_of::<(Pending, Settlement)>()
    }
}

impl Context<'_> {
    pub fn tx_select(&mut self) -> Result<(), Refusal> {
        match self.channel.mode {
            Mode::Confirm(_) => Err(Refusal::precondition(
                "cannot switch from confirm to tx mode",
            )),
            Mode::Transaction(_) => {
                self.reply(tx::SelectOk {});
                Ok(())
            }
            Mode::Plain => {
                self.channel.mode = Mode::Transaction(Transaction::default());
                self.reply(tx::SelectOk {});
                Ok(())
            }
        }
    }

    fn take_transaction(&mut self) -> Result<Transaction, Refusal> {
        match &mut self.channel.mode {
            Mode::Transaction(transaction) => Ok(std::mem::take(transaction)),
            _ => Err(Refusal::precondition("channel is not transactional")),
        }
    }

    pub fn tx_commit(&mut self) -> Result<(), Refusal> {
        let transaction = self.take_transaction()?;
        for (message, mandatory) in transaction.publishes {
            self.route(message, mandatory);
        }
        for (pending, settlement) in transaction.settled {
            self.settle(pending, settlement);
        }
        self.reply(tx::CommitOk {});
        Ok(())
    }

    /// What was acked is unacked again, and not delivered again.
    pub fn tx_rollback(&mut self) -> Result<(), Refusal> {
        let transaction = self.take_transaction()?;
        let settled = transaction.settled.into_iter().map(|(pending, _)| pending);
        self.channel.unacked.restore(settled);
        self.reply(tx::RollbackOk {});
        Ok(())
    }
}
