//! The transcripts of RabbitMQ 3.10, in a file: one section for each script, in the order of their names.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Mutex;

use similar::TextDiff;

/// What stands before the name of a script.
const TITLE: &str = "=== ";

/// Lines around a difference that are shown.
const CONTEXT_LINES: usize = 6;

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/broker/differential/rabbitmq-3.10.txt")
}

fn read() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(path()).unwrap_or_default();
    let mut sections = BTreeMap::new();
    for section in text.split(TITLE).skip(1) {
        let (name, lines) = section.split_once('\n').unwrap_or((section, ""));
        sections.insert(name.to_owned(), lines.trim_end().to_owned() + "\n");
    }
    sections
}

/// Of which scripts there is a transcript.
pub fn names() -> Vec<String> {
    read().into_keys().collect()
}

/// Puts a transcript into the file, in place of the one that was there.
pub fn record(script: &str, transcript: &str) {
    static FILE: Mutex<()> = Mutex::new(());
    let _guard = FILE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut sections = read();
    sections.insert(script.into(), transcript.into());
    let mut text = String::from(
        "What RabbitMQ 3.10 answers to the scripts beside this file: `>` is sent, `<` comes, `#` is a remark.\n\
         Written by the tests with AMQP_URING_RECORD=1, not by hand.\n",
    );
    for (script, transcript) in sections {
        let _ = write!(text, "\n{TITLE}{script}\n{transcript}");
    }
    std::fs::write(path(), text).expect("the file of transcripts");
}

/// Panics with the difference between the transcript and what is written in the file.
pub fn compare(script: &str, who: &str, transcript: &str) {
    let sections = read();
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
            .header("RabbitMQ 3.10, as written", who)
    );
}
