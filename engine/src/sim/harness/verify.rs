//! Judging: every key against the model, scans against what was there throughout.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::{PATIENCE, World};
use crate::shard::{Event, Found, LoadError, Lookup, ScannedKey, Ticket};
use crate::sim::faults::Profile;
use crate::sim::model::{Clock, ModelKey, Seen, Value, name};
use crate::units::{Lsn, Namespace, UnixMillis};

/// Failures after which a record is on a sector that does not read: of other reads one in twenty
/// fails at most.
const READ_TRIES: u32 = 12;

/// A scan under way, with what it must and what it may find.
pub(super) struct ScanWatch {
    namespace: u16,
    count: usize,
    /// There since it began.
    must: BTreeSet<ModelKey>,
    /// There at some moment since it began.
    may: BTreeSet<ModelKey>,
    found: BTreeSet<ModelKey>,
    failed: usize,
    random: bool,
    pages: u32,
}

impl World {
    pub(super) fn start_scan(&mut self, namespace: u16, count: usize) {
        let ticket = self.watch_scan(namespace, count, false);
        let now = self.wall();
        self.shard().scan(Ticket(ticket), Namespace(namespace), 0, count, now);
    }

    pub(super) fn start_random(&mut self, namespace: u16) {
        let ticket = self.watch_scan(namespace, 1, true);
        let seed = self.rng.next_u64();
        let now = self.wall();
        self.shard().random(Ticket(ticket), Namespace(namespace), seed, now);
    }

    fn watch_scan(&mut self, namespace: u16, count: usize, random: bool) -> u64 {
        self.counts.scans += 1;
        let ticket = self.ticket();
        let now = self.now();
        let watch = ScanWatch {
            namespace,
            count,
            must: if random { BTreeSet::new() } else { self.surely_visible(namespace, now) },
            may: self.model.visible(namespace).cloned().collect(),
            found: BTreeSet::new(),
            failed: 0,
            random,
            pages: 0,
        };
        self.scans.insert(ticket, watch);
        ticket
    }

    fn surely_visible(&self, namespace: u16, now: UnixMillis) -> BTreeSet<ModelKey> {
        let mut keys = self.model.surely_live(namespace, now);
        keys.retain(|key| !self.model.is_hidden(key));
        keys
    }

    pub(super) fn watch_put(&mut self, key: &ModelKey, hidden: bool) {
        let now = self.now();
        let throughout = !hidden && self.surely_visible(key.0, now).contains(key);
        for watch in self.scans.values_mut().filter(|watch| watch.namespace == key.0) {
            if !hidden {
                watch.may.insert(key.clone());
            }
            if !throughout {
                // It had expired, and a scan may have passed it by then.
                watch.must.remove(key);
            }
        }
    }

    pub(super) fn watch_delete(&mut self, key: &ModelKey) {
        for watch in self.scans.values_mut() {
            watch.must.remove(key);
        }
    }

    pub(super) fn watch_clear(&mut self, namespace: u16) {
        for watch in self.scans.values_mut().filter(|watch| watch.namespace == namespace) {
            watch.must.clear();
        }
    }

    pub(super) fn on_scanned(
        &mut self,
        ticket: u64,
        keys: &[ScannedKey],
        next: u64,
        failed: usize,
        barrier: Lsn,
    ) -> Result<(), String> {
        let Some(mut watch) = self.scans.remove(&ticket) else {
            return Err("a scan was answered twice".to_owned());
        };
        for key in keys {
            let key: ModelKey = (watch.namespace, Rc::from(&key.bytes[..]));
            let (needed, durable) = (self.model.barrier(&key), self.shard().durable_lsn());
            if barrier < needed && durable < needed && watch.may.contains(&key) {
                // It may have been written after the scan saw it, then the barrier is too early
                // for what the key is now, but not for what was seen.
                watch.must.remove(&key);
            }
            watch.found.insert(key);
        }
        watch.failed += failed;
        watch.pages += 1;
        if next != 0 && !watch.random {
            if watch.pages > PATIENCE {
                return Err("a scan never ends".to_owned());
            }
            let (namespace, count) = (Namespace(watch.namespace), watch.count);
            self.scans.insert(ticket, watch);
            let now = self.wall();
            self.shard().scan(Ticket(ticket), namespace, next, count, now);
            return Ok(());
        }
        self.judge_scan(&watch)
    }

    fn judge_scan(&mut self, watch: &ScanWatch) -> Result<(), String> {
        if let Some(key) = watch.found.iter().find(|key| !watch.may.contains(*key)) {
            return Err(format!("a scan found {}, which was never there", name(key)));
        }
        let faulty = self.plan.read_error + self.plan.bad_sector > 0;
        if watch.failed > 0 && !faulty && self.profile != Profile::Beyond {
            return Err(format!("{} keys of a scan failed without a fault", watch.failed));
        }
        if watch.failed > 0 || self.profile == Profile::Beyond {
            return Ok(());
        }
        let now = self.now();
        let live = self.surely_visible(watch.namespace, now);
        match watch.must.iter().find(|key| live.contains(*key) && !watch.found.contains(*key)) {
            Some(key) => Err(format!("a scan missed {}, which was there throughout", name(key))),
            None => Ok(()),
        }
    }

    /// Reads every key and compares it with the model; compares counts as well.
    pub(super) fn check_all(&mut self) -> Result<(), String> {
        for number in 0..self.keys.len() {
            self.read_key(number as u8)?;
            if self.large.on {
                let all = (0, 1000);
                self.command(crate::sim::program::Action::Fetch(number as u8, all))?;
            }
        }
        let now = self.now();
        for namespace in World::namespaces() {
            let least = self.surely_visible(namespace, now).len() as u64;
            let most = self.model.visible(namespace).count() as u64;
            let counted = self.shard().len(Namespace(namespace));
            let exact = self.profile != Profile::Beyond;
            if exact && !(least..=most).contains(&counted) {
                let message = format!("namespace {namespace} counts {counted} keys");
                return Err(format!("{message}, there are {least} to {most}"));
            }
        }
        self.check_owners()?;
        self.check_chunks()
    }

    /// Reads one key, loading it if need be, while other commands go on.
    fn read_key(&mut self, number: u8) -> Result<(), String> {
        self.command(crate::sim::program::Action::Get(number))?;
        self.pump()
    }

    /// Reads every key of a store that was just opened, with the time of each answer.
    pub(super) fn read_all(&mut self) -> Result<BTreeMap<ModelKey, (Seen, Clock)>, String> {
        let mut all = BTreeMap::new();
        for number in 0..self.keys.len() {
            let name = self.keys[number].clone();
            let seen = self.read_blocking(&name)?;
            all.insert(name, seen);
        }
        Ok(all)
    }

    /// Reads one key of a store that nobody else uses yet, and tells when it was looked up.
    pub(super) fn read_blocking(&mut self, name: &ModelKey) -> Result<(Seen, Clock), String> {
        let ticket = Ticket(self.ticket());
        let mut failures = 0;
        for _ in 0..PATIENCE {
            let now = self.wall();
            let shard = self.shard();
            let key = shard.key(Namespace(name.0), &name.1);
            let seen = match shard.lookup(&key, now) {
                Lookup::Cold => None,
                Lookup::Lost => Some(Seen::Lost),
                Lookup::Absent { .. } => Some(Seen::Absent),
                Lookup::Found(Found {
                    chunked: Some(chunked),
                    value_type,
                    expires_at,
                    lsn,
                    ..
                }) => {
                    shard.release(ticket);
                    // It may expire while its chunks are read.
                    let at = self.clock();
                    let value = self.read_chunks(&chunked)?;
                    let found = |value| Seen::Found { value, value_type, expires_at, lsn };
                    return Ok((value.map_or(Seen::Lost, found), at));
                }
                Lookup::Found(found) => Some(Seen::Found {
                    value: Value::from(&found.value[..]),
                    value_type: found.value_type,
                    expires_at: found.expires_at,
                    lsn: found.lsn,
                }),
            };
            if let Some(seen) = seen {
                shard.release(ticket);
                return Ok((seen, self.clock()));
            }
            shard.load(ticket, &key);
            failures += u32::from(self.await_load()? == Err(LoadError::Io));
            // What fails once may read the next time.
            if failures == READ_TRIES && self.plan.bad_sector > 0 {
                self.shard().release(ticket);
                return Ok((Seen::Lost, self.clock()));
            }
        }
        Err(format!("{name:?} stays cold after a restart"))
    }

    fn await_load(&mut self) -> Result<Result<(), LoadError>, String> {
        for _ in 0..PATIENCE {
            while let Some((id, request)) = self.shard().poll_io() {
                self.ledger.note_start(id, &request);
                crate::io::Disk::start(&mut self.disk, id, request);
            }
            crate::io::Disk::submit(&mut self.disk);
            if let Some(Event::Loaded { outcome, .. }) = self.shard().poll_event() {
                return Ok(outcome);
            }
            if !self.disk.complete_next() {
                return Err("a load is never answered".to_owned());
            }
            while let Some((id, result)) = crate::io::Disk::finished(&mut self.disk) {
                self.ledger.note_done(id, result.outcome.is_ok());
                let now = self.wall();
                self.shard().complete(id, result, now);
            }
        }
        Err("a load is never answered".to_owned())
    }
}
