//! A TCP proxy before the node: breaks lines, and holds back what the broker says.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use amqp_uring::{Driver, Engine, EngineBuilder, Node};

use super::support::{WAIT, node, wait_until};

pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    broker: SocketAddr,
    is_held: Mutex<bool>,
    let_go: Condvar,
    sockets: Mutex<Vec<TcpStream>>,
    lines: AtomicUsize,
    /// Pieces of what the broker says that are held back now.
    held: AtomicUsize,
    is_over: AtomicBool,
}

impl Proxy {
    pub fn start() -> Self {
        let node = node();
        let broker = (node.host(), node.port());
        let shared = Arc::new(Shared {
            broker: broker.to_socket_addrs().unwrap().next().unwrap(),
            is_held: Mutex::new(false),
            let_go: Condvar::new(),
            sockets: Mutex::default(),
            lines: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept(&listener)
        });
        Proxy {
            shared,
            port,
            acceptor: Some(acceptor),
        }
    }

    /// The node, by way of this proxy.
    pub fn node(&self) -> Node {
        node().with_port(self.port)
    }

    /// An engine that connects by way of this proxy alone.
    pub fn builder(&self, driver: Driver) -> EngineBuilder {
        Engine::builder().node(self.node()).driver(driver)
    }

    /// Breaks every line there is. New ones can be made.
    pub fn cut(&self) {
        for socket in self.shared.sockets.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// From now on nothing that the broker says arrives, until [`Proxy::let_go`].
    pub fn hold(&self) {
        *self.shared.is_held.lock().unwrap() = true;
    }

    pub fn let_go(&self) {
        *self.shared.is_held.lock().unwrap() = false;
        self.shared.let_go.notify_all();
    }

    /// Waits until the broker has said something that is held back.
    pub fn wait_until_holding(&self) {
        let held = || self.shared.held.load(Ordering::SeqCst) > 0;
        wait_until("an answer that is held back", held);
    }

    /// How many lines were made so far.
    pub fn lines(&self) -> usize {
        self.shared.lines.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let (Ok(client), Ok(broker)) = (client, TcpStream::connect(self.broker)) else {
                continue;
            };
            self.lines.fetch_add(1, Ordering::SeqCst);
            let ends = [&client, &broker].map(|end| end.try_clone().unwrap());
            self.sockets.lock().unwrap().extend(ends);
            self.pump(
                client.try_clone().unwrap(),
                broker.try_clone().unwrap(),
                false,
            );
            self.pump(broker, client, true);
        }
    }

    /// Carries octets one way until either end is closed.
    fn pump(self: &Arc<Self>, mut from: TcpStream, mut to: TcpStream, is_held_back: bool) {
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            let mut octets = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = from.read(&mut octets) {
                if is_held_back {
                    shared.wait_while_held();
                }
                if to.write_all(&octets[..count]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        });
    }

    fn wait_while_held(&self) {
        let guard = self.is_held.lock().unwrap();
        if !*guard {
            return;
        }
        self.held.fetch_add(1, Ordering::SeqCst);
        let waited = self
            .let_go
            .wait_timeout_while(guard, WAIT, |is_held| *is_held);
        drop(waited);
        self.held.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.let_go();
        self.cut();
        // The acceptor looks once more.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}
