//! What an engine is made with, as its workers read it.

use std::time::Duration;

use super::event::Listeners;
use super::node::Node;
use crate::connection::{BODY_SIZE_MAX_DEFAULT, CHANNEL_MAX_DEFAULT, Config, FRAME_MAX_DEFAULT};
use crate::driver::{Driver, Options};
use crate::protocol::FieldTable;

/// How long connecting to one address may take, handshake included.
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// How long operations that return when they are done may take.
pub const CALL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// The heartbeat interval that is proposed, as RabbitMQ does.
pub const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Settings {
    pub nodes: Vec<Node>,
    pub workers: usize,
    /// The core of each worker, by turns; empty for "wherever the scheduler likes".
    pub cores: Vec<usize>,
    pub connect_timeout: Option<Duration>,
    pub call_timeout: Duration,
    pub heartbeat: Option<Duration>,
    pub frame_max: Option<u32>,
    pub channel_max: Option<u16>,
    pub body_size_max: u64,
    pub client_properties: FieldTable,
    /// What the program asks for; `None` leaves it to the environment.
    pub driver: Option<Driver>,
    pub driver_options: Options,
    pub listeners: Listeners,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            nodes: Vec::new(),
            workers: 1,
            cores: Vec::new(),
            connect_timeout: None,
            call_timeout: CALL_TIMEOUT_DEFAULT,
            heartbeat: None,
            frame_max: None,
            channel_max: None,
            body_size_max: BODY_SIZE_MAX_DEFAULT,
            client_properties: FieldTable::new(),
            driver: None,
            driver_options: Options::default(),
            listeners: Listeners::default(),
        }
    }
}

impl Settings {
    /// What to ask of `node`: the engine's word counts before the node's.
    pub fn config(&self, node: &Node) -> Config {
        Config {
            vhost: node.vhost().to_owned(),
            credentials: node.credentials().clone(),
            client_properties: self.client_properties.clone(),
            channel_max: self
                .channel_max
                .or(node.channel_max())
                .unwrap_or(CHANNEL_MAX_DEFAULT),
            frame_max: self
                .frame_max
                .or(node.frame_max())
                .unwrap_or(FRAME_MAX_DEFAULT),
            heartbeat: self
                .heartbeat
                .or(node.heartbeat())
                .unwrap_or(HEARTBEAT_DEFAULT),
            body_size_max: self.body_size_max,
        }
    }

    pub fn connect_timeout(&self, node: &Node) -> Duration {
        self.connect_timeout
            .or(node.connect_timeout())
            .unwrap_or(CONNECT_TIMEOUT_DEFAULT)
    }
}
