//! Prints `docs/conformance.md` from the record that the conformance tests left.

use iglu_end2end::conformance;

fn main() -> anyhow::Result<()> {
    let outcomes = conformance::read(&conformance::folder())?;
    anyhow::ensure!(!outcomes.is_empty(), "no check has been made yet");
    print!("{}", conformance::table(&outcomes));
    Ok(())
}
