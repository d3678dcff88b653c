//! The thread that accepts connections and hands them to the server.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

use super::BrokerError;
use super::server::{Accepted, Command, Control};
use crate::driver::Mailbox;

/// How long to wait when the system has no descriptor for a connection: until others are closed, there is nothing to wait
/// for that would announce itself.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// A socket that listens, and nobody accepts from it yet.
pub(super) struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

/// Dropping it closes the socket and waits for the thread.
pub(super) struct Listener {
    listener: Arc<TcpListener>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    pub fn bind(address: SocketAddr) -> Result<Bound, BrokerError> {
        let failed = |error| BrokerError::Listen { address, error };
        let listener = TcpListener::bind(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Bound { listener, address })
    }
}

impl Bound {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn start(self, mailbox: Arc<Mailbox<Command<TcpStream>>>) -> Result<Listener, BrokerError> {
        let listener = Arc::new(self.listener);
        let thread = Builder::new()
            .name("amqp-broker-accept".to_owned())
            .spawn({
                let listener = Arc::clone(&listener);
                move || accept(&listener, &mailbox)
            })
            .map_err(BrokerError::Thread)?;
        Ok(Listener {
            listener,
            thread: Some(thread),
        })
    }
}

fn accept(listener: &TcpListener, mailbox: &Mailbox<Command<TcpStream>>) {
    loop {
        let socket = match listener.accept() {
            Ok((socket, _)) => socket,
            // What shutting the socket down leads to.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return,
            Err(error) => {
                tracing::warn!(%error, "the broker cannot accept a connection");
                std::thread::park_timeout(RETRY_DELAY);
                continue;
            }
        };
        let control = match socket.try_clone() {
            Ok(control) => control,
            Err(error) => {
                tracing::warn!(%error, "the broker cannot keep a connection");
                continue;
            }
        };
        let accepted = Accepted {
            socket,
            control: Box::new(Hand(control)),
        };
        if mailbox.post(Command::Accepted(accepted)).is_err() {
            return;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // A listening socket that is shut down ends the accept that waits on it.
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A second descriptor of a connection.
struct Hand(TcpStream);

impl Control for Hand {
    fn half_close(&self) {
        let _ = self.0.shutdown(Shutdown::Write);
    }

    fn reset_on_close(&self) {
        let _ = SockRef::from(&self.0).set_linger(Some(Duration::ZERO));
    }
}
