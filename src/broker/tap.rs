//! Hearing everything that a broker reads and sends.

/// Hears every frame, where the broker deals with it: what it has read before the answers to it, and what it sends when it
/// is handed to the driver, which need not mean that it arrives. Frames that the broker does not listen to, because it
/// has closed their channel or their connection, are heard as others are.
///
/// Octets come in whole frames; the first ones of a connection are its protocol header. The broker waits while it is heard.
pub trait Tap: Send {
    /// A connection was accepted. Its number may have been another one's before.
    fn opened(&mut self, connection: u32);
    /// The broker has read this.
    fn received(&mut self, connection: u32, octets: &[u8]);
    /// The broker sends this.
    fn sent(&mut self, connection: u32, octets: &[u8]);
    /// A connection has ended for the broker: what was not settled on it is back in its queues.
    fn closed(&mut self, connection: u32);
}
