//! Opens a store, writes, "crashes" without closing, opens it again and finds everything.
//!
//! ```text
//! cargo run --release -p emberlog-engine --example crash_and_recover -- /some/folder
//! ```

use emberlog_engine::driver::{DriverChoice, drive, now, open_store};
use emberlog_engine::{Config, Event, Lookup, Lsn, Namespace, Room, Shard, Ticket};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let folder = std::env::args().nth(1).ok_or("usage: crash_and_recover FOLDER")?;
    let config = Config { disk_bytes_max: 256 << 20, segment_bytes: 4 << 20, ..Config::default() };

    let mut disk = open_store(folder.as_ref(), DriverChoice::Auto)?;
    let mut shard = Shard::open(&mut *disk, &config, now(), &mut |_| {})?;
    let mut last = Lsn::NONE;
    for user in 0..1000 {
        drive(&mut shard, &mut *disk, |shard| shard.room(4096) == Room::Yes);
        let name = format!("session:{user}");
        let key = shard.key(Namespace(0), name.as_bytes());
        if let Lookup::Cold = shard.lookup(&key, now()) {
            shard.load(Ticket(user), &key);
            drive(&mut shard, &mut *disk, |shard| shard.poll_event().is_some());
            shard.release(Ticket(user));
        }
        let key = shard.key(Namespace(0), name.as_bytes());
        last = shard.put(&key, 0, b"{\"cart\": [7, 9]}", Some(now().plus(3_600_000)), now())?;
    }
    // Durable is durable: from here on a crash loses nothing.
    drive(&mut shard, &mut *disk, |shard| shard.acked_lsn() >= last);
    drop((shard, disk));

    let mut disk = open_store(folder.as_ref(), DriverChoice::Auto)?;
    let mut shard = Shard::open(&mut *disk, &config, now(), &mut |_| {})?;
    let key = shard.key(Namespace(0), b"session:42");
    assert!(matches!(shard.lookup(&key, now()), Lookup::Cold), "on disk, not in RAM");
    shard.load(Ticket(1), &key);
    drive(&mut shard, &mut *disk, |shard| matches!(shard.poll_event(), Some(Event::Loaded { .. })));
    let Lookup::Found(found) = shard.lookup(&key, now()) else { return Err("lost".into()) };
    println!("{} sessions, one of them {:?}", shard.len(Namespace(0)), found.value);
    Ok(())
}
