//! Proves the judge: the kill loop's checker must acquit an honest server and catch every lie under its own name.

use anyhow::Result;
use emberlog_tests::killloop::judge::Sin;
use emberlog_tests::killloop::report::Report;
use emberlog_tests::killloop::{self, Options};
use emberlog_tests::server::ServerCommand;

const SEED: u64 = 20_260_401;

fn run_against(lie: &str, kills: u32) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let command = ServerCommand::new(env!("CARGO_BIN_EXE_toyserver")).with(&["--lie", lie]);
    let options = Options {
        command,
        folder: folder.path().join("data"),
        seed: SEED,
        kills,
        connections: 4,
        scale: 1,
        load_ms: 400,
        variety: false,
        scripts: false,
    };
    let report = killloop::run(&options)?;
    println!(
        "seed {SEED}, replay: killloop --seed {SEED} --server 'toyserver --lie {lie}'\n{report}"
    );
    Ok(report)
}

/// The lie must be caught within the given number of kills, and called by one of the names.
fn assert_caught(lie: &str, kills: u32, names: &[Sin]) -> Result<()> {
    let report = run_against(lie, kills)?;
    let sins = report.sins();
    assert!(names.iter().any(|name| sins.contains_key(name)), "{lie} was found to be {sins:?}");
    Ok(())
}

#[test]
fn an_honest_server_is_acquitted() -> Result<()> {
    let report = run_against("none", 6)?;
    assert!(report.violations.is_empty(), "{report}");
    assert!(report.writes > 500 && report.reads > 200, "hardly any load: {report}");
    Ok(())
}

#[test]
fn an_early_acknowledgement_is_a_lost_write() -> Result<()> {
    assert_caught("forget", 6, &[Sin::Lost, Sin::Older])
}

#[test]
fn a_forgotten_deletion_is_a_resurrection() -> Result<()> {
    assert_caught("undelete", 6, &[Sin::Resurrected])
}

#[test]
fn a_restarted_lifetime_is_seen() -> Result<()> {
    assert_caught("unexpire", 8, &[Sin::Ttl, Sin::Resurrected])
}

#[test]
fn half_a_group_is_torn() -> Result<()> {
    // A group may change one key twice; its middle is a state that the books do not know, and named by what is off.
    assert_caught("tear", 30, &[Sin::Torn, Sin::Ttl, Sin::Older, Sin::Lost, Sin::Resurrected])
}

#[test]
fn a_read_that_a_crash_takes_back_is_seen() -> Result<()> {
    assert_caught("dirty-read", 30, &[Sin::Unseen])
}

#[test]
fn a_skipped_entry_is_an_older_value() -> Result<()> {
    assert_caught("stale", 4, &[Sin::Older, Sin::Lost])
}

#[test]
fn a_flipped_bit_is_a_wrong_value() -> Result<()> {
    assert_caught("flip", 4, &[Sin::Wrong])
}
