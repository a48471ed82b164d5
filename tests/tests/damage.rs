//! Attacks on the bytes at rest: every kind of file is hurt at many places, after a clean stop and after kill -9.
//!
//! The server must start or refuse with a clear message. What it then answers must be right or an error: never a wrong or
//! older value, never a deleted key, and nil for a live key only if `corrupt_records` tells of the damage. (Only a whole
//! lost page may leave older values behind, and only with a line in the log that says so.)

use anyhow::{Context, Result, bail, ensure};
use emberlog_tests::resp::{Client, Reply};
use emberlog_tests::server::{Server, ServerCommand, free_port};
use emberlog_tests::value;
use fastrand::Rng;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Small segments: many of them, sealed, compacted and recycled, in a store that is copied hundreds of times.
const FLAGS: [&str; 8] =
    ["--ack", "durable", "--maxmemory", "64mb", "--segment-size", "64kb", "--disk-limit", "4mb"];

const KEYS: u64 = 300;

/// What must be read back. Keys that are not in it were deleted.
type Truth = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Copy, Debug)]
enum Harm {
    /// One bit.
    Bit,
    /// A page of zeros, as a lost write leaves it.
    ZeroPage,
    /// A page of another place of the same file, as a misdirected write leaves it.
    OtherPage,
    /// The file ends here.
    Cut,
    /// The file is gone.
    Remove,
}

/// Everything that one trial needs to be repeated.
#[derive(Debug)]
struct Trial {
    file: PathBuf,
    harm: Harm,
    at: u64,
}

#[derive(Debug, Default)]
struct Tally {
    refused: u32,
    intact: u32,
    errors: u32,
    disclosed: u32,
    unnamed: u32,
}

fn key(number: u64) -> Vec<u8> {
    format!("key:{number}").into_bytes()
}

/// Writes three generations with deletions in between; returns what must be there in the end.
fn build(command: &ServerCommand, folder: &Path, rng: &mut Rng) -> Result<Truth> {
    let mut truth = Truth::new();
    let mut version = 0;
    for generation in 0..3 {
        let server = Server::start(command, folder)?;
        let mut client = server.client()?;
        for _ in 0..KEYS * 2 {
            version += 1;
            let key = key(rng.u64(..KEYS));
            if rng.u8(..5) == 0 {
                client.queue(&[b"DEL", &key]);
                truth.remove(&key);
            } else {
                let length = if rng.u8(..20) == 0 { 9000 } else { rng.usize(22..1500) };
                let bytes = value::make(&key, version, length);
                client.queue(&[b"SET", &key, &bytes]);
                truth.insert(key, bytes);
            }
        }
        client.flush()?;
        for _ in 0..KEYS * 2 {
            let reply = client.reply()?;
            ensure!(reply.error().is_none(), "while building: {reply:?}");
        }
        if generation < 2 {
            server.terminate()?;
        } else {
            // A log confirms its last batch when it has been quiet for a second; before, damage to it may be a torn write.
            std::thread::sleep(Duration::from_secs(3));
            server.kill()?;
        }
    }
    Ok(truth)
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_of(&path)?);
        } else if path.metadata()?.len() > 0 && !path.ends_with("LOCK") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().context("a file has a name")?);
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

/// Bits near the headers and anywhere, pages, and whole files where `clean` says that a checkpoint knows them all.
fn trials(
    files: &[PathBuf],
    root: &Path,
    rng: &mut Rng,
    (clean, count): (bool, usize),
) -> Result<Vec<Trial>> {
    let mut trials = Vec::new();
    // A file that was written after the last checkpoint and is gone has left no trace: nobody can miss it.
    let rare: &[Harm] = if clean {
        &[Harm::ZeroPage, Harm::OtherPage, Harm::Cut, Harm::Remove]
    } else {
        &[Harm::ZeroPage, Harm::OtherPage]
    };
    let each = count.div_ceil(3 * files.len());
    for path in files {
        let length = path.metadata()?.len();
        let file = path.strip_prefix(root)?.to_owned();
        let is_segment = file.starts_with("segments");
        let dense = if is_segment { each } else { 5 * each };
        for _ in 0..dense {
            let near = rng.u64(..length.min(4200));
            trials.push(Trial { file: file.clone(), harm: Harm::Bit, at: near });
            trials.push(Trial { file: file.clone(), harm: Harm::Bit, at: rng.u64(..length) });
        }
        for &harm in rare {
            trials.push(Trial { file: file.clone(), harm, at: rng.u64(..length) });
        }
    }
    rng.shuffle(&mut trials);
    trials.truncate(count);
    Ok(trials)
}

fn hurt(folder: &Path, trial: &Trial, rng: &mut Rng) -> Result<()> {
    let path = folder.join(&trial.file);
    if matches!(trial.harm, Harm::Remove) {
        return Ok(fs::remove_file(path)?);
    }
    let mut file = File::options().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let page = trial.at / 4096 * 4096;
    let mut bytes = vec![0; usize::try_from(4096.min(length - page))?];
    match trial.harm {
        Harm::Cut => return Ok(file.set_len(trial.at)?),
        Harm::Bit => {
            bytes.truncate(1);
            file.seek(SeekFrom::Start(trial.at))?;
            file.read_exact(&mut bytes)?;
            bytes[0] ^= 1 << rng.u8(..8);
            file.seek(SeekFrom::Start(trial.at))?;
        }
        Harm::OtherPage => {
            let other = rng.u64(..length.div_ceil(4096)) * 4096;
            file.seek(SeekFrom::Start(other.min(length - bytes.len() as u64)))?;
            file.read_exact(&mut bytes)?;
            file.seek(SeekFrom::Start(page))?;
        }
        _ => {
            file.seek(SeekFrom::Start(page))?;
        }
    }
    Ok(file.write_all(&bytes)?)
}

/// Reads every key that ever was, and counts; an untruth is an error.
fn check(client: &mut Client, truth: &Truth, tally: &mut Tally) -> Result<()> {
    for number in 0..KEYS {
        client.queue(&[b"GET", &key(number)]);
    }
    client.flush()?;
    let mut missing = Vec::new();
    let mut errors = 0;
    for number in 0..KEYS {
        let key = key(number);
        let name = String::from_utf8_lossy(&key).into_owned();
        match (client.reply()?, truth.get(&key)) {
            (Reply::Error(_), _) => errors += 1,
            (Reply::Nil, None) => {}
            (Reply::Nil, Some(_)) => missing.push(name),
            (Reply::Bulk(found), Some(right)) if found == *right => {}
            (Reply::Bulk(found), None) => {
                bail!("{name} was deleted and is back: {}", value::describe(&key, &found))
            }
            (Reply::Bulk(found), Some(right)) => bail!(
                "{name} should be {} and is {}",
                value::describe(&key, right),
                value::describe(&key, &found)
            ),
            (other, _) => bail!("{name} is answered {other:?}"),
        }
    }
    if !missing.is_empty() {
        let told = client.info("corrupt_records")?.unwrap_or(0) > 0;
        ensure!(told, "{} live keys are nil and nobody says so: {missing:?}", missing.len());
        tally.disclosed += 1;
    } else if errors > 0 {
        tally.errors += 1;
    } else {
        tally.intact += 1;
    }
    Ok(())
}

fn attempt(
    command: &ServerCommand,
    folder: &Path,
    trial: &Trial,
    truth: &Truth,
    tally: &mut Tally,
) -> Result<()> {
    let mut server = Server::spawn(command, folder, free_port()?)?;
    if let Err(error) = server.wait_ready() {
        let text = server.log_text();
        ensure!(!server.is_running(), "neither ready nor ended: {error:#}");
        ensure!(!text.contains("panicked"), "a panic is no refusal\n{text}");
        let says = text.to_lowercase();
        let clear =
            ["corrupt", "damage", "checksum", "missing", "superblock", "checkpoint", "segment"];
        ensure!(clear.iter().any(|word| says.contains(word)), "an unclear refusal\n{text}");
        tally.refused += 1;
        return Ok(());
    }
    let mut client = server.client()?;
    let checked = check(&mut client, truth, tally);
    // A lost page can take a record and its name in the batch's list of keys: the log must say that it does not know
    // which keys are older than they should be. A flipped bit never takes both.
    if checked.is_err()
        && !matches!(trial.harm, Harm::Bit)
        && server.log_text().contains("keys unknown")
    {
        tally.unnamed += 1;
        return server.kill();
    }
    checked.with_context(|| format!("the log says\n{}", server.log_tail()))?;
    // A store that came up hurt must still take writes, or say why not.
    let written = client.words("SET after v")?;
    ensure!(written.is_ok() || written.error().is_some(), "SET is answered {written:?}");
    ensure!(
        server.is_running() && !server.log_text().contains("panicked"),
        "{}",
        server.log_tail()
    );
    server.kill()
}

/// `DAMAGE_SEED` and `DAMAGE_TRIALS` repeat or prolong a run.
fn number_from(name: &str, default: u64) -> Result<u64> {
    std::env::var(name).map_or(Ok(default), |text| text.parse().context("a number"))
}

fn run(clean: bool) -> Result<()> {
    let command = ServerCommand::under_test()?.with(&FLAGS);
    if !command.is_emberlog() {
        return Ok(());
    }
    let seed = number_from("DAMAGE_SEED", fastrand::u64(..1 << 32))?;
    let count = usize::try_from(number_from("DAMAGE_TRIALS", 100)?)?;
    println!(
        "replay: DAMAGE_SEED={seed} DAMAGE_TRIALS={count} cargo test -p emberlog-tests --test damage"
    );
    let mut rng = Rng::with_seed(seed);
    let folder = tempfile::tempdir()?;
    let image = folder.path().join("image");
    let truth = build(&command, &image, &mut rng)?;
    if clean {
        Server::start(&command, &image)?.terminate()?;
    }
    let files = files_of(&image)?;
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    for trial in trials(&files, &image, &mut rng, (clean, count))? {
        let data = folder.path().join("data");
        copy(&image, &data)?;
        hurt(&data, &trial, &mut rng)?;
        if let Err(error) = attempt(&command, &data, &trial, &truth, &mut tally) {
            failures.push(format!("{trial:?}: {error:#}"));
        }
        fs::remove_dir_all(&data)?;
        fs::remove_file(folder.path().join("data.log"))?;
    }
    println!("{count} harms to {} files: {tally:?}, {} failures", files.len(), failures.len());
    assert!(
        failures.is_empty(),
        "seed {seed}, {} failures:\n{}",
        failures.len(),
        failures.join("\n")
    );
    ensure!(
        tally.errors + tally.disclosed + tally.refused > 0,
        "no harm had any effect: wrong files?"
    );
    Ok(())
}

#[test]
fn damage_after_a_clean_stop() -> Result<()> {
    run(true)
}

#[test]
fn damage_after_kill() -> Result<()> {
    run(false)
}
