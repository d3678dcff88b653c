//! What may be chosen about a driver.

/// Whether receive chunks are filled bit by bit, keeping a stream in one piece, or used up by one read each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Incremental {
    /// Where the kernel can (Linux 6.12); plain chunks elsewhere.
    #[default]
    Auto,
    /// Never: always plain chunks.
    Off,
}

/// Numbers of a driver. The defaults suit a worker with a handful of busy links.
///
/// ```
/// use amqp_uring::driver::Options;
///
/// let options = Options { chunks: 16, ..Options::default() };
/// assert_eq!(options.chunk_octets, 512 << 10);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Entries of the submission queue, rounded up to a power of two and cut to what the kernel allows (32768). Any
    /// number above 0 works; a full queue costs one more system call.
    pub submissions: u32,
    /// Entries of the completion queue; at least twice `submissions`. When it overflows, the kernel keeps the rest.
    pub completions: u32,
    /// The most links at a time, those still being closed included.
    pub links_max: u32,
    /// Whether to fill chunks incrementally.
    pub incremental: Incremental,
    /// How many chunks, when they are filled incrementally.
    pub chunks: u16,
    /// Octets of each, when they are filled incrementally. Large ones win: one call empties the socket.
    pub chunk_octets: u32,
    /// How many chunks, when each is used up by one read.
    pub plain_chunks: u16,
    /// Octets of each, when each is used up by one read.
    pub plain_chunk_octets: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            submissions: 256,
            completions: 4096,
            links_max: 4096,
            incremental: Incremental::Auto,
            chunks: 8,
            chunk_octets: 512 << 10,
            plain_chunks: 64,
            plain_chunk_octets: 64 << 10,
        }
    }
}
