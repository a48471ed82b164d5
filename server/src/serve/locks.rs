//! Locks on sessions: leases with fencing tokens, first come first served.
//!
//! Locks are in RAM. A restart ends them all, and a token from before it is refused, because no
//! lock is held with it.
//!
//! Owns: who holds which lock until when, and who waits for it in which order.
//! Never knows: sessions, how waiting is done.
//! Invariant: tokens rise, and a lock is handed to the longest waiting client that is still there.

use std::collections::{HashMap, VecDeque};

use emberlog_engine::UnixMillis;

use super::client::ClientKey;

/// A lock, held or waited for.
#[derive(Debug, Default)]
struct Lock {
    token: u64,
    until: UnixMillis,
    /// The waiting client that the lock has been handed to but that has not been told yet.
    handed: Option<ClientKey>,
    /// Waiting clients and the leases that they ask for, in milliseconds.
    queue: VecDeque<(ClientKey, u64)>,
}

/// What came of asking for a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// It is the asker's, with this token.
    Granted(u64),
    /// Somebody holds it, until this moment at the latest.
    Held(UnixMillis),
}

/// All locks.
#[derive(Debug, Default)]
pub struct Locks {
    by_session: HashMap<(u16, Box<[u8]>), Lock>,
    last_token: u64,
    /// Waiting clients that have something to do now.
    woken: Vec<ClientKey>,
    /// When locks that nobody holds any more were last forgotten.
    swept_at: UnixMillis,
}

/// Time between two looks for locks that nobody holds any more.
const SWEEP_MS: u64 = 10_000;

impl Locks {
    /// Asks for a lock. With `wait`, an asker that does not get it is queued, once.
    pub fn ask(
        &mut self,
        (db, sid): (u16, &[u8]),
        client: ClientKey,
        lease_ms: u64,
        wait: bool,
        now: UnixMillis,
    ) -> Asked {
        self.sweep(now);
        let lock = self.by_session.entry((db, sid.into())).or_default();
        if lock.handed == Some(client) && lock.until > now {
            lock.handed = None;
            return Asked::Granted(lock.token);
        }
        if lock.until <= now {
            // The lease is over: it is the turn of the first in the queue.
            lock.queue.retain(|(waiting, _)| wait || *waiting != client);
            if lock.queue.front().is_none_or(|(first, _)| *first == client) {
                lock.queue.pop_front();
                self.last_token = (self.last_token + 1).max(now.0 * 1000);
                (lock.token, lock.until) = (self.last_token, now.plus(lease_ms));
                lock.handed = None;
                return Asked::Granted(lock.token);
            }
            hand_over(lock, &mut self.last_token, &mut self.woken, now);
        }
        if wait && !lock.queue.iter().any(|(waiting, _)| *waiting == client) {
            lock.queue.push_back((client, lease_ms));
        }
        Asked::Held(lock.until)
    }

    /// A client waits no more: it gave up, or has gone.
    pub fn leave(&mut self, db: u16, sid: &[u8], client: ClientKey, now: UnixMillis) {
        let Some(lock) = self.by_session.get_mut(&(db, Box::from(sid))) else { return };
        lock.queue.retain(|(waiting, _)| *waiting != client);
        if lock.handed == Some(client) {
            hand_over(lock, &mut self.last_token, &mut self.woken, now);
        }
    }

    /// Whether `token` is that of the lock as it is held now.
    pub fn holds(&self, db: u16, sid: &[u8], token: u64, now: UnixMillis) -> bool {
        let lock = self.by_session.get(&(db, Box::from(sid)));
        lock.is_some_and(|lock| lock.token == token && token != 0 && lock.until > now)
    }

    /// Gives a lock back; false if it is not held with `token`.
    pub fn unlock(&mut self, db: u16, sid: &[u8], token: u64, now: UnixMillis) -> bool {
        if !self.holds(db, sid, token, now) {
            return false;
        }
        let name = (db, Box::from(sid));
        if let Some(lock) = self.by_session.get_mut(&name) {
            hand_over(lock, &mut self.last_token, &mut self.woken, now);
            if lock.until <= now {
                self.by_session.remove(&name);
            }
        }
        true
    }

    /// The session has ended: its lock too, and whoever waits looks again.
    pub fn end(&mut self, db: u16, sid: &[u8]) {
        if self.by_session.is_empty() {
            return;
        }
        if let Some(lock) = self.by_session.remove(&(db, Box::from(sid))) {
            self.woken.extend(lock.queue.into_iter().map(|(client, _)| client));
            self.woken.extend(lock.handed);
        }
    }

    /// Takes the clients that have something to do now.
    pub fn take_woken(&mut self) -> Vec<ClientKey> {
        std::mem::take(&mut self.woken)
    }

    /// Whether there are such clients.
    pub fn has_woken(&self) -> bool {
        !self.woken.is_empty()
    }

    /// Number of locks, and of clients that wait for them.
    pub fn len(&self) -> (usize, usize) {
        let waiting = self.by_session.values().map(|lock| lock.queue.len()).sum();
        (self.by_session.len(), waiting)
    }

    /// Forgets leases that ran out without anybody asking.
    fn sweep(&mut self, now: UnixMillis) {
        if now.since(self.swept_at) >= SWEEP_MS {
            self.swept_at = now;
            self.by_session.retain(|_, lock| lock.until > now || !lock.queue.is_empty());
        }
    }
}

/// Gives the lock to the first in the queue, or to nobody.
fn hand_over(lock: &mut Lock, last: &mut u64, woken: &mut Vec<ClientKey>, now: UnixMillis) {
    (lock.token, lock.until, lock.handed) = (0, UnixMillis(0), None);
    if let Some((client, lease_ms)) = lock.queue.pop_front() {
        *last = (*last + 1).max(now.0 * 1000);
        (lock.token, lock.until) = (*last, now.plus(lease_ms));
        lock.handed = Some(client);
        woken.push(client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SID: (u16, &[u8]) = (0, b"s");

    fn client(id: u64) -> ClientKey {
        ClientKey { index: 0, id }
    }

    fn at(ms: u64) -> UnixMillis {
        UnixMillis(1_000_000 + ms)
    }

    fn token(asked: Asked) -> u64 {
        match asked {
            Asked::Granted(token) => token,
            Asked::Held(until) => panic!("held until {until:?}"),
        }
    }

    #[test]
    fn the_queue_is_served_in_order_with_rising_tokens() {
        let mut locks = Locks::default();
        let first = token(locks.ask(SID, client(1), 100, true, at(0)));
        for id in [2, 3, 4] {
            assert_eq!(locks.ask(SID, client(id), 100, true, at(1)), Asked::Held(at(100)));
        }
        locks.leave(0, b"s", client(3), at(2));
        assert!(locks.unlock(0, b"s", first, at(10)));
        assert!(!locks.unlock(0, b"s", first, at(10)), "only once");
        assert_eq!(locks.take_woken(), [client(2)]);
        assert_eq!(locks.ask(SID, client(5), 100, false, at(10)), Asked::Held(at(110)));
        let second = token(locks.ask(SID, client(2), 100, true, at(10)));
        assert!(second > first && locks.holds(0, b"s", second, at(109)));
        assert!(!locks.holds(0, b"s", second, at(110)), "its lease is over");
        // Nobody has unlocked: the fifth may not overtake the fourth.
        assert_eq!(locks.ask(SID, client(5), 100, true, at(120)), Asked::Held(at(220)));
        assert_eq!(locks.take_woken(), [client(4)]);
        let third = token(locks.ask(SID, client(4), 100, true, at(121)));
        assert!(third > second && !locks.unlock(0, b"s", second, at(122)));
        assert!(locks.unlock(0, b"s", third, at(122)));
        assert!(token(locks.ask(SID, client(5), 100, true, at(123))) > third);
    }

    #[test]
    fn a_lock_handed_to_a_client_that_has_gone_is_handed_on() {
        let mut locks = Locks::default();
        let first = token(locks.ask(SID, client(1), 100, true, at(0)));
        locks.ask(SID, client(2), 100, true, at(1));
        locks.ask(SID, client(3), 100, true, at(1));
        locks.unlock(0, b"s", first, at(2));
        locks.leave(0, b"s", client(2), at(3));
        assert_eq!(locks.take_woken(), [client(2), client(3)]);
        token(locks.ask(SID, client(3), 100, true, at(4)));
        locks.end(0, b"s");
        assert_eq!(locks.len(), (0, 0));
    }
}
