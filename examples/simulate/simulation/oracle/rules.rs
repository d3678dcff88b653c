//! What must hold.

use std::fmt;

macro_rules! rules {
    ($($name:ident: $text:literal, $reason:literal;)*) => {
        /// A rule, with its reason.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule {
            $(#[doc = concat!($text, ": ", $reason)] $name,)*
        }

        impl Rule {
            /// What it says.
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

rules! {
    Answered:
        "a publish that its publisher sees acked, nacked or returned was so answered by the broker",
        "a confirm that nobody gave is a message that nobody keeps";
    Once:
        "every publish resolves exactly once: a receipt always says the same, and none stays open",
        "a program decides by it whether to publish again";
    Arrival:
        "what a publisher publishes arrives in the order in which it was published, and without a gap",
        "confirms count publishes: after a gap each would be for another message";
    Window:
        "no consumer holds more deliveries than its prefetch window",
        "the window is what bounds the memory of a consumer";
    Generation:
        "who settles a delivery names one that is open on that very channel: nothing crosses a generation",
        "on another channel the same tag is another message";
    Finished:
        "the engine acks, or rejects for good, only what its user has finished in that way",
        "the broker forgets the message, and a program that fails then has lost it";
    Chunks:
        "chunks free, posted and held are all there are",
        "one that is lost is never received into again, one that is there twice is overwritten";
    Gone:
        "what was acked, or rejected for good, is never delivered again from the same queue",
        "it would be done twice";
    Order:
        "a message is delivered at most once without being marked as redelivered, in the order of its channel's publishes",
        "AMQP promises it, and programs that look for duplicates look at the mark";
    Seen:
        "a handler sees what the broker has sent to its consumer: everything, in this order, unchanged, once",
        "this is all that a consumer is for";
    Invented:
        "nobody gets a message that nobody has published, or from a queue that it was not meant for",
        "octets of one connection must not come out of another";
    Survives:
        "a message that was confirmed, and that the broker may not lose, is consumed",
        "nothing is lost in between";
    Protocol:
        "neither side finds fault with what the other one says",
        "an error closes a channel or a connection, with all that is on it";
    Rests:
        "after the faults have stopped, everything is open again and done within its time",
        "what hangs once hangs for ever";
    Ends:
        "what was started ends: consumers are told why, engines shut down in time, and nothing is left behind",
        "whoever waits for an end would wait for ever";
    Panics:
        "nothing panics but handlers that are meant to, and errors are those of a broken line or a fault",
        "a library reports what is wrong";
}

/// A rule that was broken.
#[derive(Debug, Clone)]
pub struct Violation {
    pub rule: Rule,
    pub how: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { rule, how } = self;
        write!(f, "{rule:?}: {}\n{how}", rule.text())
    }
}
