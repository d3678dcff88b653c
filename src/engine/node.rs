//! Where a broker is and who logs in, from parts or from an AMQP URI (<https://www.rabbitmq.com/docs/uri-spec>).

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::error::{ConnectCause, ConnectFailure, Error};
use crate::connection::Credentials;
use crate::protocol::SHORT_STR_MAX;

/// The port of AMQP without TLS.
pub const PORT_DEFAULT: u16 = 5672;

/// One node of a broker. Equal and hashed by value; neither `Display` nor `Debug` shows the password.
///
/// ```
/// use amqp_uring::Node;
///
/// let node: Node = "amqp://me:s3cret@broker.example:5673/orders%2Feu".parse()?;
/// assert_eq!(node.vhost(), "orders/eu");
/// assert_eq!(node.to_string(), "amqp://me@broker.example:5673/orders%2Feu");
/// # Ok::<(), amqp_uring::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    host: String,
    port: u16,
    vhost: String,
    credentials: Credentials,
    heartbeat: Option<Duration>,
    frame_max: Option<u32>,
    channel_max: Option<u16>,
    connect_timeout: Option<Duration>,
}

impl Node {
    /// A node with everything at its default: port 5672, virtual host `/`, user and password `guest`.
    pub fn new(host: impl Into<String>) -> Self {
        let Credentials { user, password } = crate::connection::Config::default().credentials;
        Node {
            host: host.into(),
            port: PORT_DEFAULT,
            vhost: "/".into(),
            credentials: Credentials { user, password },
            heartbeat: None,
            frame_max: None,
            channel_max: None,
            connect_timeout: None,
        }
    }

    /// Sets the port.
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets the virtual host.
    pub fn with_vhost(mut self, vhost: impl Into<String>) -> Self {
        self.vhost = vhost.into();
        self
    }

    /// Sets user and password.
    pub fn with_credentials(
        mut self,
        user: impl Into<String>,
        password: impl Into<String>,
    ) -> Self {
        self.credentials = Credentials {
            user: user.into(),
            password: password.into(),
        };
        self
    }

    /// The host: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The virtual host.
    pub fn vhost(&self) -> &str {
        &self.vhost
    }

    /// The user's name.
    pub fn user(&self) -> &str {
        &self.credentials.user
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    pub(super) fn heartbeat(&self) -> Option<Duration> {
        self.heartbeat
    }

    pub(super) fn frame_max(&self) -> Option<u32> {
        self.frame_max
    }

    pub(super) fn channel_max(&self) -> Option<u16> {
        self.channel_max
    }

    pub(super) fn connect_timeout(&self) -> Option<Duration> {
        self.connect_timeout
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        if self.host.is_empty() {
            return Err(Error::parameter("node host", "it is empty"));
        }
        if self.port == 0 {
            return Err(Error::parameter("node port", "0 is not a port"));
        }
        if self.vhost.len() > SHORT_STR_MAX {
            let why = format!(
                "{} octets; a virtual host has at most {SHORT_STR_MAX}",
                self.vhost.len()
            );
            return Err(Error::parameter("node vhost", why));
        }
        Ok(())
    }

    /// The addresses of the host: this asks the resolver and may block.
    pub(super) fn resolve(&self) -> Result<Vec<SocketAddr>, ConnectFailure> {
        let fail = |why: String| ConnectFailure {
            address: self.authority(),
            cause: ConnectCause::Resolve(why),
        };
        let addresses: Vec<_> = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(|error| fail(error.to_string()))?
            .collect();
        if addresses.is_empty() {
            return Err(fail("it has no address".into()));
        }
        Ok(addresses)
    }

    /// The addresses of the host as a simulated world knows it.
    #[cfg(feature = "sim")]
    pub(super) fn resolve_in(
        &self,
        world: &crate::driver::sim::Handle,
    ) -> Result<Vec<SocketAddr>, ConnectFailure> {
        let addresses = world.resolve(&self.host);
        if addresses.is_empty() {
            let why = "the world knows no host of this name: name() gives it one";
            return Err(ConnectFailure {
                address: self.authority(),
                cause: ConnectCause::Resolve(why.into()),
            });
        }
        let with_port = |address| SocketAddr::new(address, self.port);
        Ok(addresses.into_iter().map(with_port).collect())
    }

    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    fn set_query(&mut self, key: &str, value: &str) -> Result<(), Error> {
        fn number<T: FromStr>(what: &'static str, value: &str) -> Result<T, Error> {
            value
                .parse()
                .map_err(|_| Error::parameter(what, format!("{value:?} is not a number it can be")))
        }
        match key {
            "heartbeat" => {
                let seconds = number::<u16>("uri query heartbeat", value)?;
                self.heartbeat = Some(Duration::from_secs(seconds.into()));
            }
            "frame_max" => self.frame_max = Some(number("uri query frame_max", value)?),
            "channel_max" => self.channel_max = Some(number("uri query channel_max", value)?),
            "connection_timeout" => {
                let millis = number::<u64>("uri query connection_timeout", value)?;
                self.connect_timeout = Some(Duration::from_millis(millis));
            }
            "auth_mechanism" if value.eq_ignore_ascii_case("plain") => {}
            "auth_mechanism" => {
                let why = format!("{value:?} is not supported; this client speaks plain");
                return Err(Error::parameter("uri query auth_mechanism", why));
            }
            other => {
                let why = format!("{other:?} is unknown");
                return Err(Error::parameter("uri query", why));
            }
        }
        Ok(())
    }
}

impl FromStr for Node {
    type Err = Error;

    fn from_str(uri: &str) -> Result<Self, Error> {
        let (scheme, rest) = uri
            .split_once("://")
            .ok_or_else(|| Error::parameter("uri scheme", "an AMQP URI begins with amqp://"))?;
        if scheme.eq_ignore_ascii_case("amqps") {
            return Err(Error::parameter(
                "uri scheme",
                "amqps:// needs TLS, which this version does not have",
            ));
        }
        if !scheme.eq_ignore_ascii_case("amqp") {
            let why = format!("{scheme:?} is not amqp");
            return Err(Error::parameter("uri scheme", why));
        }
        if rest.contains('#') {
            return Err(Error::parameter("uri fragment", "an AMQP URI has none"));
        }
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let (authority, vhost) = match rest.split_once('/') {
            Some((authority, vhost)) => (authority, Some(vhost)),
            None => (rest, None),
        };
        let mut node = Node::new("localhost");
        set_authority(&mut node, authority)?;
        // No slash at all is the default virtual host; a slash with nothing behind it is the one whose name is empty.
        if let Some(vhost) = vhost {
            if vhost.contains('/') {
                let why = "a slash within its name is written %2F";
                return Err(Error::parameter("uri vhost", why));
            }
            node.vhost = decode("uri vhost", vhost)?;
        }
        for pair in query
            .unwrap_or_default()
            .split('&')
            .filter(|p| !p.is_empty())
        {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            node.set_query(&decode("uri query", key)?, &decode("uri query", value)?)?;
        }
        node.check()?;
        Ok(node)
    }
}

fn set_authority(node: &mut Node, authority: &str) -> Result<(), Error> {
    let host_and_port = match authority.rsplit_once('@') {
        Some((userinfo, host_and_port)) => {
            let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
            node.credentials = Credentials {
                user: decode("uri user", user)?,
                password: decode("uri password", password)?,
            };
            host_and_port
        }
        None => authority,
    };
    let (host, port) = match host_and_port.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest
                .split_once(']')
                .ok_or_else(|| Error::parameter("uri host", "the closing bracket is missing"))?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                let why = format!("{host:?} is not an IPv6 address");
                return Err(Error::parameter("uri host", why));
            }
            let port = match port {
                "" => None,
                port => Some(port.strip_prefix(':').ok_or_else(|| {
                    Error::parameter("uri host", "only a port may follow the brackets")
                })?),
            };
            (host.to_owned(), port)
        }
        None => match host_and_port.split_once(':') {
            Some((host, port)) => (decode("uri host", host)?, Some(port)),
            None => (decode("uri host", host_and_port)?, None),
        },
    };
    if !host.is_empty() {
        node.host = host;
    }
    if let Some(port) = port.filter(|port| !port.is_empty()) {
        node.port = port.parse().map_err(|_| {
            let why = format!("{port:?} is not a number from 1 to 65535");
            Error::parameter("uri port", why)
        })?;
    }
    Ok(())
}

fn decode(what: &'static str, text: &str) -> Result<String, Error> {
    let octets = text.as_bytes();
    for (at, _) in text.match_indices('%') {
        let digits = octets.get(at + 1..at + 3).unwrap_or_default();
        if digits.len() != 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
            let why = "a percent sign is followed by two hexadecimal digits; itself it is %25";
            return Err(Error::parameter(what, why));
        }
    }
    percent_decode_str(text)
        .decode_utf8()
        .map(|decoded| decoded.into_owned())
        .map_err(|_| Error::parameter(what, "its octets are not UTF-8"))
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        write!(f, "amqp://")?;
        if !self.user().is_empty() {
            write!(f, "{}@", encode(self.user()))?;
        }
        write!(f, "{}/{}", self.authority(), encode(&self.vhost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(uri: &str) -> Node {
        uri.parse().unwrap_or_else(|error| panic!("{uri}: {error}"))
    }

    #[test]
    fn the_examples_of_the_uri_specification_mean_what_it_says() {
        // (uri, user, password, host, port, vhost), from the appendix of RabbitMQ's URI specification, with its
        // "undefined" replaced by this client's defaults.
        for (uri, user, password, host, port, vhost) in [
            (
                "amqp://user:pass@host:10000/vhost",
                "user",
                "pass",
                "host",
                10000,
                "vhost",
            ),
            (
                "amqp://user%61:%61pass@ho%61st:10000/v%2fhost",
                "usera",
                "apass",
                "hoast",
                10000,
                "v/host",
            ),
            ("amqp://", "guest", "guest", "localhost", 5672, "/"),
            ("amqp://:@/", "", "", "localhost", 5672, ""),
            ("amqp://user@", "user", "", "localhost", 5672, "/"),
            ("amqp://user:pass@", "user", "pass", "localhost", 5672, "/"),
            ("amqp://host", "guest", "guest", "host", 5672, "/"),
            ("amqp://:10000", "guest", "guest", "localhost", 10000, "/"),
            (
                "amqp:///vhost",
                "guest",
                "guest",
                "localhost",
                5672,
                "vhost",
            ),
            ("amqp://host/", "guest", "guest", "host", 5672, ""),
            ("amqp://host/%2F", "guest", "guest", "host", 5672, "/"),
            ("amqp://[::1]", "guest", "guest", "::1", 5672, "/"),
            (
                "amqp://u:p@[fe80::1]:5673/x",
                "u",
                "p",
                "fe80::1",
                5673,
                "x",
            ),
            ("AMQP://host", "guest", "guest", "host", 5672, "/"),
        ] {
            let node = parse(uri);
            assert_eq!(
                (node.user(), node.credentials().password.as_str()),
                (user, password),
                "{uri}"
            );
            assert_eq!(
                (node.host(), node.port(), node.vhost()),
                (host, port, vhost),
                "{uri}"
            );
        }
    }

    #[test]
    fn query_parameters_are_taken() {
        let node =
            parse("amqp://h/?heartbeat=10&frame_max=8192&channel_max=5&connection_timeout=2500");
        assert_eq!(node.heartbeat(), Some(Duration::from_secs(10)));
        assert_eq!(node.frame_max(), Some(8192));
        assert_eq!(node.channel_max(), Some(5));
        assert_eq!(node.connect_timeout(), Some(Duration::from_millis(2500)));
    }

    #[test]
    fn each_error_names_the_part_that_is_wrong() {
        for (uri, part) in [
            ("localhost", "uri scheme"),
            ("http://localhost", "uri scheme"),
            ("amqps://localhost", "uri scheme"),
            ("amqp://h:port", "uri port"),
            ("amqp://h:70000", "uri port"),
            ("amqp://h:0", "node port"),
            ("amqp://[::1", "uri host"),
            ("amqp://[nonsense]", "uri host"),
            ("amqp://[::1]x", "uri host"),
            ("amqp://u%zz@h", "uri user"),
            ("amqp://u:p%4@h", "uri password"),
            ("amqp://h/a/b", "uri vhost"),
            ("amqp://h/%ff", "uri vhost"),
            ("amqp://h/v#f", "uri fragment"),
            ("amqp://h?heartbeat=x", "uri query heartbeat"),
            ("amqp://h?what=1", "uri query"),
            (
                "amqp://h?auth_mechanism=external",
                "uri query auth_mechanism",
            ),
        ] {
            match uri.parse::<Node>() {
                Err(Error::Parameter { what, .. }) => assert_eq!(what, part, "{uri}"),
                other => panic!("{uri}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_password_is_not_shown() {
        let node = parse("amqp://me:s3cret@h/v");
        assert_eq!(node.to_string(), "amqp://me@h:5672/v");
        assert!(!format!("{node:?}").contains("s3cret"));
        let error = "amqp://me:s3cret%@h".parse::<Node>().unwrap_err();
        assert!(!error.to_string().contains("s3cret"));
    }

    #[test]
    fn display_can_be_parsed_again() {
        for uri in [
            "amqp://a%40b:x@h:1/v%2Fw",
            "amqp://[::1]:5673/%2F",
            "amqp://h/",
        ] {
            let node = parse(uri);
            let again = parse(&node.to_string());
            assert_eq!(
                (again.host(), again.port(), again.vhost()),
                (node.host(), node.port(), node.vhost())
            );
        }
    }
}
