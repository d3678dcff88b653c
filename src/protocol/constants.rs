//! The reply codes of AMQP 0-9-1 and what they mean for the connection.

macro_rules! reply_codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal, $hard:literal;)*) => {
        /// Why a peer closes a connection or a channel, or returns a message (specification, section 1.2).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        #[repr(u16)]
        pub enum ReplyCode {
            $($(#[$doc])* $variant = $code,)*
        }

        impl ReplyCode {
            /// Every reply code, in ascending order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The reply code with this number; `None` for a number that AMQP 0-9-1 does not define.
            pub const fn from_u16(code: u16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The name as brokers write it at the beginning of a reply text, such as `NOT_FOUND`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Whether it closes the whole connection (a connection exception) and not only the channel.
            pub const fn is_hard(self) -> bool {
                match self {
                    $(Self::$variant => $hard,)*
                }
            }
        }
    };
}

reply_codes! {
    /// All went well; a normal close.
    ReplySuccess = 200, "REPLY_SUCCESS", false;
    /// The content is larger than the peer takes.
    ContentTooLarge = 311, "CONTENT_TOO_LARGE", false;
    /// A mandatory message has no queue to go to. Sent in `basic.return`.
    NoRoute = 312, "NO_ROUTE", false;
    /// An immediate message has no consumer that could take it now. Sent in `basic.return`.
    NoConsumers = 313, "NO_CONSUMERS", false;
    /// An operator or the broker itself closed the connection; trying again later may succeed.
    ConnectionForced = 320, "CONNECTION_FORCED", true;
    /// The virtual host is unknown.
    InvalidPath = 402, "INVALID_PATH", true;
    /// The user may not do this.
    AccessRefused = 403, "ACCESS_REFUSED", false;
    /// The exchange, queue or virtual host does not exist.
    NotFound = 404, "NOT_FOUND", false;
    /// Another connection holds the queue exclusively.
    ResourceLocked = 405, "RESOURCE_LOCKED", false;
    /// A precondition failed, such as a redeclaration with other arguments.
    PreconditionFailed = 406, "PRECONDITION_FAILED", false;
    /// A frame could not be decoded.
    FrameError = 501, "FRAME_ERROR", true;
    /// A frame holds an illegal value.
    SyntaxError = 502, "SYNTAX_ERROR", true;
    /// A method came that is not allowed in this state.
    CommandInvalid = 503, "COMMAND_INVALID", true;
    /// The channel is not open, or is in use already.
    ChannelError = 504, "CHANNEL_ERROR", true;
    /// A frame came that was not expected here, such as a body without a header.
    UnexpectedFrame = 505, "UNEXPECTED_FRAME", true;
    /// The broker lacks resources.
    ResourceError = 506, "RESOURCE_ERROR", true;
    /// The operation is not allowed, whatever the user's rights.
    NotAllowed = 530, "NOT_ALLOWED", true;
    /// The peer does not implement this.
    NotImplemented = 540, "NOT_IMPLEMENTED", true;
    /// The broker failed; see its log.
    InternalError = 541, "INTERNAL_ERROR", true;
}

impl ReplyCode {
    /// The number on the wire.
    pub const fn code(self) -> u16 {
        self as u16
    }
}

impl core::fmt::Display for ReplyCode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} {}", self.code(), self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reply_code_is_found_by_its_number() {
        for &code in ReplyCode::ALL {
            assert_eq!(ReplyCode::from_u16(code.code()), Some(code));
        }
        assert_eq!(ReplyCode::from_u16(201), None);
        assert_eq!(ReplyCode::NotFound.to_string(), "404 NOT_FOUND");
    }
}
