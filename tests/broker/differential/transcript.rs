//! What was said, line by line, without what is different each time.
//!
//! This is the list of what two brokers may differ in, all of it:
//!
//! | what | shown as | why |
//! |---|---|---|
//! | product, version, platform, copyright, information, cluster name in `connection.start` | `"…"` | who the broker is |
//! | names of queues that the broker makes, `amq.gen-…` | `amq.gen-1`, `-2`, .. in the order in which they appear | random |
//! | consumer tags that the broker makes, `amq.ctag-…` | likewise | random |
//! | addresses of direct reply-to, `amq.rabbitmq.reply-to.…` | likewise | random |
//! | `time` in `x-death` | `…` | the clock |
//! | entries of a field table | in the order of their names | a table has no order |
//! | order of the mechanisms in `connection.start` | that of their names | RabbitMQ's changes from start to start |
//! | line breaks in reply texts, with the spaces after them | left out | how Erlang prints a long term |

use std::fmt::{Display, Write};

/// Names that are made by the broker begin so; what follows is random.
const GENERATED: [&str; 3] = ["amq.gen-", "amq.ctag-", "amq.rabbitmq.reply-to."];

/// Entries of `server_properties` that say who the broker is.
const IDENTITY: [&str; 6] = [
    "cluster_name",
    "copyright",
    "information",
    "platform",
    "product",
    "version",
];

#[derive(Default)]
pub struct Transcript {
    text: String,
    /// The generated names so far, for each kind.
    generated: [Vec<String>; GENERATED.len()],
}

impl Transcript {
    pub fn push(&mut self, line: impl Display) {
        let mut line = line.to_string();
        for (prefix, known) in GENERATED.into_iter().zip(&mut self.generated) {
            line = numbered(&line, prefix, known);
        }
        if line.contains("connection.start ") {
            line = with_mechanisms_in_order(&line);
            for entry in IDENTITY {
                line = hidden(&line, &format!("\"{entry}\": LongStr(\""), "\")", "…");
            }
        }
        line = hidden(&line, "\"time\": Timestamp(", ")", "…");
        if line.contains(" reply_text=") {
            line = in_one_line(&line);
        }
        let _ = writeln!(self.text, "{line}");
    }

    pub fn text(self) -> String {
        self.text
    }
}

/// Replaces what follows the prefix by its place among the names that were seen.
fn numbered(line: &str, prefix: &str, known: &mut Vec<String>) -> String {
    let mut pieces = line.split(prefix);
    let mut text = String::from(pieces.next().unwrap_or_default());
    for piece in pieces {
        let end = piece
            .find(|letter: char| !(letter.is_ascii_alphanumeric() || "-_.+/=".contains(letter)))
            .unwrap_or(piece.len());
        let (name, rest) = piece.split_at(end);
        text.push_str(prefix);
        if !name.is_empty() {
            let place = known.iter().position(|known| known == name);
            let place = place.unwrap_or_else(|| {
                known.push(name.into());
                known.len() - 1
            });
            let _ = write!(text, "{}", place + 1);
        }
        text.push_str(rest);
    }
    text
}

/// Replaces whatever stands between `before` and `after`.
fn hidden(line: &str, before: &str, after: &str, instead: &str) -> String {
    let mut pieces = line.split(before);
    let mut text = String::from(pieces.next().unwrap_or_default());
    for piece in pieces {
        text.push_str(before);
        match piece.find(after) {
            Some(end) => {
                text.push_str(instead);
                text.push_str(&piece[end..]);
            }
            None => text.push_str(piece),
        }
    }
    text
}

fn with_mechanisms_in_order(line: &str) -> String {
    let (before, after) = (" mechanisms=\"", "\"");
    let Some((start, rest)) = line.split_once(before) else {
        return line.into();
    };
    let (mechanisms, rest) = rest.split_once(after).unwrap_or((rest, ""));
    let mut mechanisms: Vec<_> = mechanisms.split(' ').collect();
    mechanisms.sort_unstable();
    format!("{start}{before}{}{after}{rest}", mechanisms.join(" "))
}

/// Takes line breaks out, which are escaped here.
fn in_one_line(line: &str) -> String {
    let mut pieces = line.split("\\n");
    let mut text = String::from(pieces.next().unwrap_or_default());
    for piece in pieces {
        text.push_str(piece.trim_start());
    }
    text
}

#[test]
fn what_is_different_each_time_is_not_in_a_transcript() {
    let mut transcript = Transcript::default();
    transcript.push("< a/1 queue.declare-ok queue=\"amq.gen-9_x-A\"");
    transcript.push("< a/1 no queue 'amq.gen-B' but 'amq.gen-9_x-A' in amq.gen-");
    transcript.push("{\"time\": Timestamp(17), \"timestamp\": Timestamp(18)}");
    transcript.push("connection.start {\"product\": LongStr(\"RabbitMQ\"), \"x\": LongStr(\"y\")}");
    transcript.push("connection.start mechanisms=\"PLAIN AMQPLAIN\" locales=\"en_US\"");
    transcript.push("connection.close reply_text=\"{a,\\n     0}\" class_id=0");
    assert_eq!(
        transcript.text(),
        "< a/1 queue.declare-ok queue=\"amq.gen-1\"\n\
         < a/1 no queue 'amq.gen-2' but 'amq.gen-1' in amq.gen-\n\
         {\"time\": Timestamp(…), \"timestamp\": Timestamp(18)}\n\
         connection.start {\"product\": LongStr(\"…\"), \"x\": LongStr(\"y\")}\n\
         connection.start mechanisms=\"AMQPLAIN PLAIN\" locales=\"en_US\"\n\
         connection.close reply_text=\"{a,0}\" class_id=0\n"
    );
}
