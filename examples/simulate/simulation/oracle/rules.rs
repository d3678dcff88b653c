//! What must hold.

use std::fmt;

macro_rules! rules {
    ($($name:ident: $text:literal;)*) => {
        /// A rule.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule {
            $(#[doc = $text] $name,)*
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
    Answered: "a publish that its publisher sees acked, nacked or returned was so answered by the broker";
    Once: "every publish resolves exactly once: a receipt always says the same, and none stays open";
    Arrival: "what a publisher publishes arrives in the order in which it was published, and without a gap";
    Window: "no consumer holds more deliveries than its prefetch window";
    Generation: "who settles a delivery names one that is open on that very channel: nothing crosses a generation";
    Finished: "the engine acks, or rejects for good, only what its user has finished in that way";
    Chunks: "chunks free, posted and held are all there are";
    Gone: "what was acked, or rejected for good, is never delivered again from the same queue";
    Order: "a message is delivered at most once without being marked as redelivered, in the order of its channel's publishes";
    Seen: "a handler sees what the broker has sent to its consumer: everything, in this order, unchanged, once";
    Invented: "nobody gets a message that nobody has published, or from a queue that it was not meant for";
    Survives: "a message that was confirmed, and that the broker may not lose, is consumed";
    Protocol: "neither side finds fault with what the other one says";
    Rests: "after the faults have stopped, everything is open again and done within its time";
    Ends: "what was started ends: consumers are told why, engines shut down in time, and nothing is left behind";
    Panics: "nothing panics but handlers that are meant to";
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
