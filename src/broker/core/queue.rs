//! A queue: its messages, and who gets the next one.
