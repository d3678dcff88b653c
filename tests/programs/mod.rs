//! The examples as their users have them: programs.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// An example's program, up to date: `cargo test --test NAME` alone does not build it.
pub fn program(example: &str) -> PathBuf {
    static EXAMPLES: OnceLock<PathBuf> = OnceLock::new();
    EXAMPLES.get_or_init(build).join(example)
}

/// Builds all of them, the way `tests/run` does, after which there is nothing to do. Returns their folder.
fn build() -> PathBuf {
    // TARGET/PROFILE/deps/TEST-HASH
    let this = std::env::current_exe().unwrap();
    let profile = this.ancestors().nth(2).unwrap();
    let name = match profile.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--workspace", "--all-features"])
        .args(["--examples", "--profile", name, "--target-dir"])
        .arg(profile.parent().unwrap())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(
        built.unwrap().success(),
        "cargo could not build the examples"
    );
    profile.join("examples")
}
