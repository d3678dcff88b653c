//! Tests in a process of their own: where they can count what belongs to it, or have another environment.

use std::process::Command;

use amqp_uring::Driver;

/// Set for such a process.
const ALONE: &str = "AMQP_URING_TEST_ALONE";

/// Runs the test of this name in a process of its own, which has these environment variables and no choice of a driver
/// but by them; false when this is that process.
pub fn runs_alone(test: &str, environment: &[(&str, &str)]) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return false;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--include-ignored", "--test-threads=1"])
        .env_remove("AMQP_URING_DRIVER")
        .envs(environment.iter().copied())
        .env(ALONE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    true
}

/// The name of what `on_every_driver!` makes of a test for a driver.
pub fn variant(test: &str, driver: Driver) -> String {
    format!("{test}::{}", driver.name().replace('-', "_"))
}
