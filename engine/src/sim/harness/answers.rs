//! What the shard shows and tells, judged by the model.

use super::World;
use crate::shard::{Expired, Found, Lookup};
use crate::sim::model::{ModelKey, Seen, Value};
use crate::units::Namespace;

impl World {
    /// Looks a key up and checks the answer; `None` if it has to be loaded.
    pub(super) fn look(&mut self, number: u8) -> Result<Option<Seen>, String> {
        let name = self.keys[usize::from(number)].clone();
        let now = self.wall();
        let shard = self.shard();
        let key = shard.key(Namespace(name.0), &name.1);
        let answer = shard.lookup(&key, now);
        // As a server does: before anything of the command is told.
        self.tell()?;
        let (seen, barrier) = match answer {
            Lookup::Cold => return Ok(None),
            Lookup::Lost => (Seen::Lost, None),
            Lookup::Absent { barrier } => (Seen::Absent, Some(barrier)),
            Lookup::Found(Found {
                chunked: Some(chunked),
                value_type,
                expires_at,
                lsn,
                barrier,
                ..
            }) => {
                let len = chunked.len as usize;
                (Seen::Large { len, value_type, expires_at, lsn }, Some(barrier))
            }
            Lookup::Found(found) => {
                let seen = Seen::Found {
                    value: Value::from(&found.value[..]),
                    value_type: found.value_type,
                    expires_at: found.expires_at,
                    lsn: found.lsn,
                };
                (seen, Some(found.barrier))
            }
        };
        self.counts.gets += 1;
        self.counts.lost_named += u64::from(seen == Seen::Lost);
        self.observe(&name, &seen)?;
        let needed = self.model.barrier(&name);
        let durable = self.shard().durable_lsn();
        if let Some(barrier) = barrier
            && barrier < needed
            && durable < needed
        {
            return Err(format!(
                "a reply about key {number} waits for LSN {barrier}, but what it shows needs {needed}"
            ));
        }
        if let Some(barrier) = barrier
            && barrier > needed.max(durable)
            // The end of a touched key is journaled, and its absence waits for that.
            && seen != Seen::Absent
        {
            return Err(format!(
                "a reply about key {number} waits for {barrier}, {needed} would do"
            ));
        }
        Ok(Some(seen))
    }

    /// Takes what can be told of expiries.
    pub(super) fn tell(&mut self) -> Result<(), String> {
        while let Some(expired) = self.shard().poll_expired() {
            self.on_expired(expired)?;
        }
        Ok(())
    }

    /// Judges what the engine shows of a key. Its event may have to wait for room on the disk.
    pub(super) fn observe(&mut self, name: &ModelKey, seen: &Seen) -> Result<(), String> {
        let now = self.clock();
        let shard = self.shard();
        let key = shard.key(Namespace(name.0), &name.1);
        if shard.is_untold(&key) {
            self.model.excuse(name);
        }
        self.model.observe(name, seen, now)
    }

    /// An event tells of an expiry.
    pub(super) fn on_expired(&mut self, expired: Expired) -> Result<(), String> {
        let name: ModelKey = (expired.namespace.0, expired.key.into());
        let now = self.clock();
        let lsn = self.model.expired(&name, now)?;
        self.counts.expired_told += 1;
        self.told.push((expired.barrier, name, lsn));
        Ok(())
    }
}
