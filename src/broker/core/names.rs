//! Names that the broker chooses.

/// Counts, so that a broker with the same history chooses the same names.
#[derive(Debug, Default)]
pub(crate) struct Names(u64);

impl Names {
    fn next(&mut self, prefix: &str) -> String {
        self.0 += 1;
        format!("{prefix}{:016x}", self.0)
    }

    /// For a queue that is declared without a name.
    pub fn queue(&mut self) -> String {
        self.next("amq.gen-")
    }

    /// For a consumer that is started without a tag.
    pub fn consumer_tag(&mut self) -> String {
        self.next("amq.ctag-")
    }

    /// For a consumer of replies.
    pub fn reply_address(&mut self) -> String {
        self.next(super::replies::ADDRESS_PREFIX)
    }
}
