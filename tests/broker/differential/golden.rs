//! Transcripts in files: one section for each script, in the order of their names.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Mutex;

use similar::TextDiff;

/// What stands before the name of a script.
const TITLE: &str = "=== ";

/// Lines around a difference that are shown.
const CONTEXT_LINES: usize = 6;

/// A file of transcripts beside this one.
pub struct File {
    name: &'static str,
    /// Its first line.
    about: &'static str,
}

/// What RabbitMQ says to all scripts.
pub const RABBITMQ: File = File {
    name: "rabbitmq-3.10.txt",
    about: "What RabbitMQ 3.10 answers to the scripts beside this file: `>` is sent, `<` comes, `#` is a remark.",
};

/// What the broker says where that is something else, on purpose.
pub const BROKER: File = File {
    name: "broker.txt",
    about: "Where the broker inside the process answers something else than RabbitMQ 3.10; mod.rs says why.",
};

impl File {
    fn path(&self) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("tests/broker/differential")
            .join(self.name)
    }

    pub fn read(&self) -> BTreeMap<String, String> {
        let text = std::fs::read_to_string(self.path()).unwrap_or_default();
        let mut sections = BTreeMap::new();
        for section in text.split(TITLE).skip(1) {
            let (name, lines) = section.split_once('\n').unwrap_or((section, ""));
            sections.insert(name.to_owned(), lines.trim_end().to_owned() + "\n");
        }
        sections
    }

    /// Puts a transcript into the file, in place of the one that was there.
    pub fn record(&self, script: &str, transcript: &str) {
        static FILES: Mutex<()> = Mutex::new(());
        let _guard = FILES
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut sections = self.read();
        sections.insert(script.into(), transcript.into());
        let mut text = format!(
            "{}\nWritten by the tests with AMQP_URING_RECORD=1, not by hand.\n",
            self.about
        );
        for (script, transcript) in sections {
            let _ = write!(text, "\n{TITLE}{script}\n{transcript}");
        }
        std::fs::write(self.path(), text).expect("the file of transcripts");
    }

    /// Panics with the difference between the transcript and what is written in the file.
    pub fn compare(&self, script: &str, who: &str, transcript: &str) {
        let sections = self.read();
        let written = sections
            .get(script)
            .unwrap_or_else(|| panic!("there is no transcript of {script}: record it"));
        if written == transcript {
            return;
        }
        let diff = TextDiff::from_lines(written.as_str(), transcript);
        panic!(
            "{script}\n{}",
            diff.unified_diff()
                .context_radius(CONTEXT_LINES)
                .header(self.name, who)
        );
    }
}
