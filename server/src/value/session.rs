//! A session as one value, and the tombstone that a session leaves.
//!
//! ```text
//! layout 1 | version | idle s | absolute ms | created ms | seen ms | user     | device   | fields
//!  1 byte  |   u64   |  u32   |    u64      |    u64     |   u64   | LEB128 n | LEB128 n | a hash
//! ```
//! 0 stands for no idle time and no absolute deadline. The tombstone is layout 1, a reason, and when.
//!
//! Owns: the layouts.
//! Never knows: keys, the store, the clock.
//! Invariant: a value that does not fit its layout to the last byte is refused.

use emberlog_engine::UnixMillis;

use super::Malformed;
use super::hash::{Builder, Field, Hash};
use super::wire::{item, put_item};

const LAYOUT: u8 = 1;
const FIXED_BYTES: usize = 1 + 8 + 4 + 8 + 8 + 8;
const TOMBSTONE_BYTES: usize = 1 + 1 + 8;

/// Fields of a session do not expire by themselves, so any moment will do to read them.
const NO_EXPIRY: UnixMillis = UnixMillis(0);

/// These fields as a session keeps them.
pub fn fields_of<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    let mut builder = Builder::default();
    pairs.for_each(|(name, value)| builder.push(Field { name, value, expires_at: None }));
    builder.finish(None).0
}

/// A session value, borrowed and checked.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    /// Rises by one with every write.
    pub version: u64,
    /// Seconds without a touch after which it ends; 0: never.
    pub idle_s: u32,
    /// When it ends whatever happens.
    pub absolute: Option<UnixMillis>,
    /// When it was created.
    pub created: UnixMillis,
    /// When it was last written.
    pub seen: UnixMillis,
    /// Whose it is; empty: nobody's.
    pub user: &'a [u8],
    /// What the user calls the device; may be empty.
    pub device: &'a [u8],
    /// The fields, as a hash value.
    pub fields: &'a [u8],
}

impl<'a> Session<'a> {
    /// Checks `value`, which takes time proportional to its number of fields.
    ///
    /// # Errors
    /// It is not a session.
    pub fn parse(value: &'a [u8]) -> Result<Session<'a>, Malformed> {
        let (fixed, rest) = value.split_at_checked(FIXED_BYTES).ok_or(Malformed)?;
        if fixed[0] != LAYOUT {
            return Err(Malformed);
        }
        let number = |at: usize| {
            let word = fixed.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            word.map(u64::from_le_bytes).ok_or(Malformed)
        };
        let (user, rest) = item(rest).ok_or(Malformed)?;
        let (device, fields) = item(rest).ok_or(Malformed)?;
        Hash::parse(fields, NO_EXPIRY)?;
        let absolute = number(13)?;
        Ok(Session {
            version: number(1)?,
            idle_s: u32::from_le_bytes([fixed[9], fixed[10], fixed[11], fixed[12]]),
            absolute: (absolute != 0).then_some(UnixMillis(absolute)),
            created: UnixMillis(number(21)?),
            seen: UnixMillis(number(29)?),
            user,
            device,
            fields,
        })
    }

    /// The fields.
    pub fn hash(&self) -> Hash<'a> {
        // Checked when it was parsed, or just built.
        Hash::parse(self.fields, NO_EXPIRY).unwrap_or(Hash::EMPTY)
    }

    /// The value.
    pub fn encode(&self) -> Vec<u8> {
        let names = self.user.len() + self.device.len() + 10;
        let mut bytes = Vec::with_capacity(FIXED_BYTES + names + self.fields.len());
        bytes.push(LAYOUT);
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&self.idle_s.to_le_bytes());
        for moment in [self.absolute.unwrap_or_default(), self.created, self.seen] {
            bytes.extend_from_slice(&moment.0.to_le_bytes());
        }
        put_item(self.user, &mut bytes);
        put_item(self.device, &mut bytes);
        bytes.extend_from_slice(self.fields);
        bytes
    }

    /// When it ends if it is not touched after `now`.
    pub fn expires_at(&self, now: UnixMillis) -> Option<UnixMillis> {
        let idle = (self.idle_s > 0).then(|| now.plus(u64::from(self.idle_s) * 1000));
        match (idle, self.absolute) {
            (Some(idle), Some(absolute)) => Some(idle.min(absolute)),
            (idle, absolute) => idle.or(absolute),
        }
    }

    /// When it was last seen: a read does not rewrite the value, but it moves the expiry.
    pub fn last_seen(&self, expires_at: Option<UnixMillis>) -> UnixMillis {
        let idle_ms = u64::from(self.idle_s) * 1000;
        match expires_at {
            Some(at) if idle_ms > 0 => self.seen.max(UnixMillis(at.0.saturating_sub(idle_ms))),
            _ => self.seen,
        }
    }
}

/// Why there is a tombstone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// SESSION.DESTROY, or DEL.
    Destroyed,
    /// SESSION.REVOKE, or too many sessions of a user.
    Revoked,
    /// SESSION.ROTATE gave it another id.
    Rotated,
}

impl Ended {
    /// The reason as events name it.
    pub fn name(self) -> &'static str {
        match self {
            Ended::Destroyed => "destroyed",
            Ended::Revoked => "revoked",
            Ended::Rotated => "rotated",
        }
    }

    /// The tombstone's value.
    pub fn encode(self, now: UnixMillis) -> Vec<u8> {
        let reason = match self {
            Ended::Destroyed => 1,
            Ended::Revoked => 2,
            Ended::Rotated => 3,
        };
        let mut bytes = Vec::with_capacity(TOMBSTONE_BYTES);
        bytes.extend_from_slice(&[LAYOUT, reason]);
        bytes.extend_from_slice(&now.0.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Vec<u8> {
        fields_of([(&b"cart"[..], &b"3 books"[..]), (b"", &[0, 255])].into_iter())
    }

    fn sample(fields: &[u8]) -> Session<'_> {
        Session {
            version: 7,
            idle_s: 1_800,
            absolute: Some(UnixMillis(1_790_000_000_123)),
            created: UnixMillis(1_700_000_000_000),
            seen: UnixMillis(1_700_000_000_500),
            user: b"ann",
            device: "Anns Füllfederhalter".as_bytes(),
            fields,
        }
    }

    #[test]
    fn the_layout_is_what_the_header_says() {
        let fields = fields();
        let value = sample(&fields).encode();
        assert_eq!(value[..9], [1, 7, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(value[9..13], 1_800_u32.to_le_bytes());
        assert_eq!(value[37..41], [3, b'a', b'n', b'n']);
        let read = Session::parse(&value).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", sample(&fields)));
        assert_eq!(read.hash().get(b"cart"), Some(&b"3 books"[..]));
        for cut in 0..value.len() {
            assert!(Session::parse(&value[..cut]).is_err(), "cut at {cut}");
        }
        for position in 0..value.len() * 8 {
            let mut damaged = value.clone();
            damaged[position / 8] ^= 1 << (position % 8);
            let _ = Session::parse(&damaged);
        }
    }

    #[test]
    fn it_ends_at_the_earlier_of_its_two_clocks() {
        let fields = fields();
        let session = sample(&fields);
        let absolute = session.absolute.unwrap();
        assert_eq!(session.expires_at(UnixMillis(1_000)), Some(UnixMillis(1_801_000)));
        assert_eq!(session.expires_at(UnixMillis(absolute.0 - 5)), Some(absolute));
        let endless = Session { idle_s: 0, absolute: None, ..session };
        assert_eq!(endless.expires_at(UnixMillis(1)), None);
        let touched = UnixMillis(1_700_000_900_000);
        assert_eq!(session.last_seen(session.expires_at(touched)), touched);
        assert_eq!(endless.last_seen(None), endless.seen);
    }
}
