//! Proves the judge: the kill loop's checker must acquit an honest server and catch every lie under its own name.

use anyhow::{Context, Result, bail, ensure};
use emberlog_tests::killloop::judge::Sin;
use emberlog_tests::killloop::report::Report;
use emberlog_tests::killloop::{self, Options};
use emberlog_tests::resp::{Client, Reply};
use emberlog_tests::server::{Server, ServerCommand};

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

/// What the judge grants a script and nobody else: a key's expiry moves once, from where it was to where
/// it ends, and so may be a touch though the last command alone would shorten it.
#[test]
fn a_script_moves_an_expiry_once() -> Result<()> {
    let command = ServerCommand::under_test()?;
    if !command.is_emberlog() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let server = Server::start(&command, folder.path())?;
    let mut client = server.client()?;
    let moved = |client: &mut Client, lines: &[&str]| -> Result<(u64, u64)> {
        client.words("SET k v EX 100")?;
        let count = |client: &mut Client, field| -> Result<u64> {
            client.info(field)?.with_context(|| format!("INFO says nothing of {field}"))
        };
        let before = (count(client, "touches")?, count(client, "appended_lsn")?);
        for line in lines {
            let reply = client.words(line)?;
            ensure!(reply.error().is_none(), "{line}: {reply:?}");
        }
        Ok((count(client, "touches")? - before.0, count(client, "appended_lsn")? - before.1))
    };
    let pair = ["MULTI", "EXPIRE k 1000", "EXPIRE k 500", "EXEC"];
    assert_eq!(moved(&mut client, &pair)?, (1, 3), "a touch, a change, their commit");
    let script = "redis.call('EXPIRE',KEYS[1],1000)redis.call('EXPIRE',KEYS[1],500)";
    client.words("SCRIPT FLUSH")?;
    client.queue(&[b"SCRIPT", b"LOAD", script.as_bytes()]);
    client.flush()?;
    let Reply::Bulk(digest) = client.reply()? else { bail!("SCRIPT LOAD answers with a digest") };
    let call = format!("EVALSHA {} 1 k", String::from_utf8_lossy(&digest));
    assert_eq!(moved(&mut client, &[&call])?, (1, 1), "one touch");
    server.kill()
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
    // What it forgets is the end of the log: it may hold nothing but a deletion or an expiry.
    let names = [Sin::Lost, Sin::Older, Sin::Resurrected, Sin::Torn, Sin::Ttl];
    assert_caught("forget", 6, &names)
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
