//! The old complaints about sessions, each as a test on the real server: lost updates, logins that
//! come back after a logout, orphaned indexes, deadlines that drift.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use emberlog_tests::resp::{Client, Reply};
use emberlog_tests::server::{Server, ServerCommand};

fn command(file: Option<&str>) -> Result<ServerCommand> {
    let flags = ["--ack", "durable", "--maxmemory", "64mb", "--disk-limit", "512mb"];
    Ok(ServerCommand::under_test()?.with(file.as_slice()).with(&flags))
}

fn lines(count: usize, line: impl Fn(usize) -> String) -> Vec<String> {
    (0..count).map(line).collect()
}

fn is_revoked(reply: &Reply) -> bool {
    reply.error().is_some_and(|text| text.starts_with("REVOKED"))
}

fn texts(reply: Reply) -> Result<BTreeSet<String>> {
    let Reply::Array(items) = reply else { anyhow::bail!("not an array: {reply:?}") };
    let text = |item| match item {
        Reply::Bulk(bytes) => Ok(String::from_utf8(bytes)?),
        other => anyhow::bail!("not a string: {other:?}"),
    };
    items.into_iter().map(text).collect()
}

#[test]
fn fifty_requests_side_by_side_lose_no_field() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(&command(None)?, &folder.path().join("data"))?;
    server.client()?.words("SESSION.CREATE s USER ann IDLE 60 FIELDS 1 start 1")?;
    thread::scope(|scope| -> Result<()> {
        let requests: Vec<_> = (0..50)
            .map(|n| {
                let client = server.client();
                scope.spawn(move || -> Result<()> {
                    let mut client = client?;
                    for turn in 0..20 {
                        client.words("SESSION.GET s")?;
                        client.words(&format!("SESSION.SET s FIELDS 1 field-{n} {turn}"))?;
                        client.words("SESSION.INCR s views 1")?;
                    }
                    Ok(())
                })
            })
            .collect();
        requests.into_iter().try_for_each(|request| request.join().expect("no panic"))
    })?;
    let mut client = server.client()?;
    let names: Vec<String> = (0..50).map(|n| format!("field-{n}")).collect();
    let got = client.words(&format!("SESSION.GET s FIELDS 51 views {}", names.join(" ")))?;
    let expected = std::iter::once("1000").chain(std::iter::repeat_n("19", 50));
    let expected = expected.map(|text| Reply::Bulk(text.as_bytes().to_vec())).collect();
    assert_eq!(got, Reply::Array(expected));
    Ok(())
}

/// Logs 10,000 sessions out while a slow request of each is still to write; then kills the server.
fn races(folder: &Path, create: &str, write: &str, end: &str, config: &str) -> Result<()> {
    const RACES: usize = 10_000;
    let file = folder.join("emberlog.toml");
    fs::write(&file, config)?;
    let file = file.display().to_string();
    let command = command(Some(&file))?;
    let data = folder.join("data");
    let server = Server::start(&command, &data)?;
    let line = |text: &str| {
        let text = text.to_owned();
        move |n: usize| text.replace('#', &n.to_string())
    };
    let mut client = server.client()?;
    let created = client.lines(&lines(RACES, line(create)))?;
    ensure!(created.iter().all(|reply| reply.error().is_none()), "{:?}", created.last());
    let (mut late, mut logout) = (server.client()?, server.client()?);
    // In another order than the logouts, so that about half of the writes come too late.
    let (late_of, ends) = (line(write), lines(RACES, line(end)));
    let writes = lines(RACES, |n| late_of(n * 7919 % RACES));
    let (written, ended) = thread::scope(|scope| {
        let writer = scope.spawn(|| late.lines(&writes));
        let ended = logout.lines(&ends);
        (writer.join().expect("no panic"), ended)
    });
    let (written, ended) = (written?, ended?);
    ensure!(ended.iter().all(|reply| *reply == Reply::Int(1)), "every logout found its session");
    let refused = written.iter().filter(|reply| is_revoked(reply)).count();
    println!("{end}: {refused} of {RACES} late writes came after their logout");
    ensure!(refused > 0 && refused < RACES, "no race");
    let check = |server: &Server| -> Result<()> {
        let mut client = server.client()?;
        let there = client.lines(&lines(RACES, line("EXISTS s:#")))?;
        let back = there.iter().filter(|reply| **reply != Reply::Int(0)).count();
        ensure!(back == 0, "{back} sessions came back");
        let again = client.lines(&lines(RACES, line(write)))?;
        let open = again.iter().filter(|reply| !is_revoked(reply)).count();
        ensure!(open == 0, "{open} sessions could be written after their logout");
        Ok(())
    };
    check(&server)?;
    server.kill()?;
    let server = Server::start(&command, &data)?;
    check(&server)?;
    server.terminate()?;
    check(&Server::start(&command, &data)?)
}

#[test]
fn a_logout_during_a_slow_request_stays_a_logout() -> Result<()> {
    let folder = tempfile::tempdir()?;
    races(
        folder.path(),
        "SESSION.CREATE s:# USER ann IDLE 3000 FIELDS 1 a 1",
        "SESSION.SET s:# FIELDS 1 late 1",
        "SESSION.DESTROY s:#",
        "",
    )
}

#[test]
fn a_logout_of_an_unmodified_plugin_stays_one_with_its_prefix_policy() -> Result<()> {
    let folder = tempfile::tempdir()?;
    races(
        folder.path(),
        "SETEX s:# 3000 data",
        "SETEX s:# 3000 late-data",
        "DEL s:#",
        "[prefix.\"s:\"]\nfinal-logout = true\n",
    )
}

#[test]
fn logging_ten_thousand_sessions_out_is_one_step_and_fast() -> Result<()> {
    const SESSIONS: usize = 10_000;
    let folder = tempfile::tempdir()?;
    let (command, data) = (command(None)?, folder.path().join("data"));
    let server = Server::start(&command, &data)?;
    let users = 3;
    for user in 0..users {
        let create = |n| format!("SESSION.CREATE id-{user}-{n:026} USER user-{user} IDLE 3000");
        server.client()?.lines(&lines(SESSIONS, create))?;
    }
    // Cold: what is revoked is on the disk only.
    server.terminate()?;
    let server = Server::start(&command, &data)?;
    let mut client = server.client()?;
    let mut fastest = Duration::MAX;
    for user in 0..users {
        let field = |client: &mut Client, name: &str| -> Result<u64> {
            client.info(name)?.with_context(|| format!("INFO has {name}"))
        };
        let before = (field(&mut client, "appended_lsn")?, field(&mut client, "cold_gets")?);
        let begin = Instant::now();
        let reply = client.words(&format!("SESSION.REVOKE user-{user}"))?;
        fastest = fastest.min(begin.elapsed());
        assert_eq!(reply, Reply::Int(10_000));
        let after = (field(&mut client, "appended_lsn")?, field(&mut client, "cold_gets")?);
        // A tombstone for each, one commit; the log may confirm its quiet end in between.
        assert!(after.0 - before.0 <= SESSIONS as u64 + 2, "{before:?} {after:?}");
        assert_eq!(after.1, before.1, "nothing was read");
        assert_eq!(client.words(&format!("SESSION.COUNT user-{user}"))?, Reply::Int(0));
    }
    let per_build = if cfg!(debug_assertions) { ", built without optimisation" } else { "" };
    println!("{SESSIONS} cold sessions revoked in {fastest:?}{per_build}");
    let limit = if cfg!(debug_assertions) { 1_000 } else { 50 };
    assert!(fastest < Duration::from_millis(limit), "{fastest:?}");
    Ok(())
}

/// One user's sessions as the client knows them.
#[derive(Default)]
struct Known {
    live: BTreeSet<String>,
    ended: BTreeSet<String>,
    /// Asked for when the server was killed: one or the other.
    open: BTreeSet<String>,
}

impl Known {
    fn knows(&self, sid: &String) -> bool {
        self.live.contains(sid) || self.open.contains(sid)
    }
}

/// Creates and ends sessions of one user until the server is gone.
fn churn(mut client: Client, user: usize, round: usize, seed: u64) -> Known {
    let mut known = Known::default();
    let mut random = fastrand::Rng::with_seed(seed);
    for n in 0.. {
        let sid = format!("{user}-{round}-{n}");
        let one = random.usize(..known.live.len().max(1));
        let ends = known.live.iter().nth(one).filter(|_| random.u8(..3) == 0).cloned();
        let end = ends.is_some();
        let (sid, line) = match ends {
            Some(sid) => (sid.clone(), format!("SESSION.DESTROY {sid}")),
            None => {
                (sid.clone(), format!("SESSION.CREATE {sid} USER u{user} IDLE 9000 FIELDS 1 f {n}"))
            }
        };
        let Ok(reply) = client.words(&line) else {
            known.live.remove(&sid);
            known.open.insert(sid);
            return known;
        };
        if reply.error().is_some() {
            return known;
        }
        if end {
            known.live.remove(&sid);
            known.ended.insert(sid);
        } else {
            known.live.insert(sid);
        }
    }
    known
}

/// Compares what the server lists and shows with what it has acknowledged; `ended` must be refused.
fn judge(client: &mut Client, user: usize, known: &mut Known, ended: &[String]) -> Result<usize> {
    let listed = texts(client.words(&format!("SESSION.LIST u{user}"))?)?;
    let missing: Vec<_> = known.live.difference(&listed).collect();
    ensure!(missing.is_empty(), "user {user} has lost {missing:?}");
    let back: Vec<_> = known.ended.intersection(&listed).collect();
    ensure!(back.is_empty(), "logged out and listed: {back:?}");
    let strange: Vec<_> = listed.iter().filter(|sid| !known.knows(sid)).collect();
    ensure!(strange.is_empty(), "listed and never made: {strange:?}");
    let count = client.words(&format!("SESSION.COUNT u{user}"))?;
    ensure!(count == Reply::Int(i64::try_from(listed.len())?), "COUNT {count:?}");
    let sids: Vec<&String> = listed.iter().collect();
    let shown = client.lines(&lines(sids.len(), |n| format!("SESSION.GET {} NOTOUCH", sids[n])))?;
    for (sid, reply) in sids.iter().zip(shown) {
        ensure!(matches!(reply, Reply::Array(_)), "{sid} is an orphan: {reply:?}");
    }
    let writes = lines(ended.len(), |n| format!("SESSION.SET {} FIELDS 1 f 1", ended[n]));
    for (sid, reply) in ended.iter().zip(client.lines(&writes)?) {
        ensure!(is_revoked(&reply), "{sid} was ended: {reply:?}");
    }
    for sid in std::mem::take(&mut known.open) {
        if listed.contains(&sid) {
            known.live.insert(sid);
        }
    }
    Ok(listed.len())
}

/// Every session that is there belongs to a user who lists it.
fn nothing_unlisted(client: &mut Client, listed: usize) -> Result<()> {
    let keys = client.words("DBSIZE")?;
    ensure!(keys == Reply::Int(i64::try_from(listed)?), "{listed} sessions are listed of {keys:?}");
    Ok(())
}

/// One life of the server, killed under load: what its clients know of it.
fn life(server: Server, round: usize, seed: u64) -> Result<Vec<Known>> {
    let clients: Vec<Client> = (0..USERS).map(|_| server.client()).collect::<Result<_>>()?;
    thread::scope(|scope| {
        let workers: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(user, client)| {
                let seed = seed ^ (round * USERS + user) as u64;
                scope.spawn(move || churn(client, user, round, seed))
            })
            .collect();
        thread::sleep(Duration::from_millis(150));
        server.kill()?;
        Ok(workers.into_iter().map(|worker| worker.join().expect("no panic")).collect())
    })
}

const USERS: usize = 4;
/// Ended sessions per user that are tried again after each kill, beside those of the last life.
const TRIED: usize = 100;
/// Kills of one store; the next one begins empty, so that tombstones do not fill the disk.
const KILLS_PER_STORE: usize = 100;

/// What was compared.
#[derive(Default)]
struct Compared {
    lists: usize,
    entries: usize,
    ended: usize,
}

/// Kills the server on one folder in each of `rounds`, and looks for orphans after each.
fn kill_again_and_again(
    data: &Path,
    rounds: std::ops::Range<usize>,
    seed: u64,
    compared: &mut Compared,
) -> Result<()> {
    let command = command(None)?;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut all: Vec<Known> = (0..USERS).map(|_| Known::default()).collect();
    for round in rounds {
        let fresh = life(Server::start(&command, data)?, round, seed)?;
        let server = Server::start(&command, data)?;
        let mut client = server.client()?;
        let mut listed = 0;
        for (user, (known, fresh)) in all.iter_mut().zip(fresh).enumerate() {
            let mut ended: Vec<String> = fresh.ended.iter().cloned().collect();
            let old = random.choose_multiple(known.ended.iter(), TRIED);
            ended.extend(old.into_iter().cloned());
            known.live.extend(fresh.live);
            known.ended.extend(fresh.ended);
            known.open.extend(fresh.open);
            known.live = known.live.difference(&known.open).cloned().collect();
            listed += judge(&mut client, user, known, &ended)?;
        }
        nothing_unlisted(&mut client, listed)?;
        compared.entries += listed;
        compared.lists += USERS;
        // Some start from nothing again, in one step.
        let user = round % USERS;
        let gone = client.words(&format!("SESSION.REVOKE u{user}"))?;
        let known = &mut all[user];
        ensure!(gone == Reply::Int(i64::try_from(known.live.len())?), "{gone:?} revoked");
        known.ended.append(&mut known.live);
        server.kill()?;
    }
    let server = Server::start(&command, data)?;
    for (user, known) in all.iter_mut().enumerate() {
        let ended: Vec<String> = known.ended.iter().cloned().collect();
        judge(&mut server.client()?, user, known, &ended)?;
        compared.ended += ended.len();
    }
    Ok(())
}

#[test]
fn the_user_index_has_no_orphans_after_kills() -> Result<()> {
    let number =
        |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let kills = usize::try_from(number("EMBERLOG_KILLS").unwrap_or(15))?;
    let seed = number("EMBERLOG_SEED").unwrap_or_else(|| fastrand::u64(..));
    let replay = format!(
        "EMBERLOG_SEED={seed} EMBERLOG_KILLS={kills} cargo test --release -p emberlog-tests --test sessions \
         the_user_index_has_no_orphans_after_kills -- --nocapture"
    );
    println!("seed {seed}, {kills} kills; replay: {replay}");
    let mut compared = Compared::default();
    for first in (0..kills).step_by(KILLS_PER_STORE) {
        let (folder, end) = (tempfile::tempdir()?, kills.min(first + KILLS_PER_STORE));
        let killed =
            kill_again_and_again(&folder.path().join("data"), first..end, seed, &mut compared);
        if killed.is_err() {
            println!("the data is kept in {}", folder.keep().display());
        }
        killed.with_context(|| format!("replay: {replay}"))?;
        let Compared { lists, entries, ended } = compared;
        println!(
            "{end} kills under load and as many right after: {entries} entries of {lists} lists compared, 0 \
             orphans; {ended} sessions ended, 0 came back"
        );
    }
    ensure!(compared.ended > 100, "hardly any load");
    Ok(())
}

#[test]
fn both_deadlines_hold_to_the_moment_and_across_a_kill() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (command, data) = (command(None)?, folder.path().join("data"));
    let server = Server::start(&command, &data)?;
    let mut client = server.client()?;
    let begin = Instant::now();
    client.words("SESSION.CREATE idle USER u IDLE 2")?;
    client.words("SESSION.CREATE used USER u IDLE 2 ABSOLUTE 4")?;
    client.words("SESSION.CREATE ended ABSOLUTE 4")?;
    client.words("SESSION.DESTROY ended")?;
    let made = begin.elapsed();
    let alive = |client: &mut Client, sid: &str| -> Result<bool> {
        Ok(client.words(&format!("EXISTS {sid}"))? == Reply::Int(1))
    };
    let at = |ms: u64| thread::sleep(Duration::from_millis(ms).saturating_sub(begin.elapsed()));
    at(1_500);
    client.words("SESSION.GET used")?;
    ensure!(begin.elapsed() > Duration::from_secs(2) || alive(&mut client, "idle")?, "too early");
    at(2_000 + u64::try_from(made.as_millis())? + 1);
    ensure!(!alive(&mut client, "idle")?, "idle for 2 s");
    server.kill()?;
    let server = Server::start(&command, &data)?;
    let mut client = server.client()?;
    let revoked = is_revoked(&client.words("SET ended x")?);
    ensure!(begin.elapsed() > Duration::from_secs(4) || revoked, "its tombstone is there");
    at(3_000);
    client.words("SESSION.GET used")?;
    ensure!(begin.elapsed() > Duration::from_secs(4) || alive(&mut client, "used")?, "too early");
    at(4_000 + u64::try_from(made.as_millis())? + 1);
    ensure!(!alive(&mut client, "used")?, "4 s, however often it was used");
    ensure!(client.words("SET ended x")?.is_ok(), "the tombstone ends with the deadline");
    Ok(())
}
