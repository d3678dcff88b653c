//! What has happened lately, to be read when a rule was broken.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// Something that has happened: a text with `{}` where its numbers go, which are put in when somebody reads it.
#[derive(Debug, Clone)]
struct Entry {
    at: Duration,
    text: &'static str,
    numbers: [u64; 4],
    /// What does not fit.
    words: Option<String>,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>16.6} s  ", self.at.as_secs_f64())?;
        let mut numbers = self.numbers.iter();
        for (index, piece) in self.text.split("{}").enumerate() {
            if index > 0 {
                write!(f, "{}", numbers.next().unwrap_or(&0))?;
            }
            f.write_str(piece)?;
        }
        match &self.words {
            Some(words) => write!(f, " {words}"),
            None => Ok(()),
        }
    }
}

/// The last entries.
pub struct Trace {
    entries: VecDeque<Entry>,
    entries_max: usize,
}

impl Trace {
    pub fn new(entries_max: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            entries_max,
        }
    }

    pub fn note(&mut self, at: Duration, text: &'static str, numbers: [u64; 4]) {
        self.add(Entry {
            at,
            text,
            numbers,
            words: None,
        });
    }

    pub fn say(&mut self, at: Duration, text: &'static str, number: u64, words: String) {
        self.add(Entry {
            at,
            text,
            numbers: [number, 0, 0, 0],
            words: Some(words),
        });
    }

    fn add(&mut self, entry: Entry) {
        if self.entries.len() >= self.entries_max {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    pub fn lines(&self) -> Vec<String> {
        self.entries.iter().map(Entry::to_string).collect()
    }
}
