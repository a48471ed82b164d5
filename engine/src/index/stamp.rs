//! Two small clocks of an entry: when it expires, and how often that may change unjournaled.
//!
//! Owns: [`Expiry`] (25 bits), [`Due`], the touch classes (3 bits).
//! Never knows: what time it is (always an argument), the records' exact milliseconds.
//! Invariant: an expiry is never decoded as earlier than it was set, except that one beyond the
//! window is only known to be [`Due::Far`].

use crate::units::UnixMillis;

/// Codes 0 and 1 are taken, so seconds wrap at 2^25 - 2 (388.4 days).
const MODULUS: u64 = MODULUS_CODES as u64;
const MODULUS_CODES: u32 = (1 << Expiry::BITS) - 2;
const DAY_SECS: u64 = 86_400;

/// How long an entry may stay unswept after it expired before its code would read as the future.
const PAST_SECS: u64 = 64 * DAY_SECS;
/// How far ahead seconds are kept; the 4.4 days to the end of the window are slack for a clock that
/// is set back.
const AHEAD_SECS: u64 = 320 * DAY_SECS;

/// When an entry expires, as 25 bits: never, too far ahead to say, or a second within a window of
/// 64 days ago to 320 days ahead.
///
/// Seconds are rounded up from milliseconds, so the index alone never expires anything early.
/// Stored modulo 2^25 - 2: the window moves with the clock at no cost. The index must be swept
/// more often than every 64 days, and a `Far` entry re-encoded from its record before it is due.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Expiry(u32);

/// What an [`Expiry`] says at a given time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// No expiry.
    Never,
    /// Within the second that *ends* at this Unix time in seconds: after `secs * 1000 - 1000` ms,
    /// not after `secs * 1000` ms.
    At(u64),
    /// An expiry more than 320 days ahead of when it was encoded; only the record knows it.
    Far,
}

impl Expiry {
    /// Bits that an expiry takes.
    pub const BITS: u32 = 25;
    /// No expiry.
    pub const NONE: Expiry = Expiry(0);
    /// Beyond the window.
    pub const FAR: Expiry = Expiry(1);

    /// Encodes an absolute expiry; one more than 64 days ago is kept as 64 days ago.
    pub fn of(expires_at: Option<UnixMillis>, now: UnixMillis) -> Expiry {
        let Some(expires_at) = expires_at else { return Expiry::NONE };
        let now_secs = now.0 / 1000;
        let secs = expires_at.0.div_ceil(1000).max(window_start(now_secs));
        if secs > now_secs + AHEAD_SECS {
            return Expiry::FAR;
        }
        Expiry(2 + (secs % MODULUS) as u32)
    }

    /// The stamp of an expiry that only the index knows, because a touch has moved it since the
    /// record was written: at most the end of the window, never [`Expiry::FAR`], which would send
    /// readers to the record.
    pub fn near(expires_at: UnixMillis, now: UnixMillis) -> Expiry {
        let end = UnixMillis((now.0 / 1000 + AHEAD_SECS) * 1000);
        Expiry::of(Some(expires_at.min(end)), now)
    }

    /// What it means at `now`.
    pub fn due(self, now: UnixMillis) -> Due {
        match self.0 {
            0 => Due::Never,
            1 => Due::Far,
            code => {
                let start = window_start(now.0 / 1000);
                let ahead = (u64::from(code - 2) + MODULUS - start % MODULUS) % MODULUS;
                Due::At(start + ahead)
            }
        }
    }

    /// Whether it expires at all.
    pub fn is_some(self) -> bool {
        self != Expiry::NONE
    }

    /// Whether it has passed for certain: the whole second is over.
    pub fn surely_passed(self, now: UnixMillis) -> bool {
        matches!(self.due(now), Due::At(secs) if secs * 1000 <= now.0)
    }

    /// Whether it may have passed: the record's milliseconds decide if this is true and
    /// [`Expiry::surely_passed`] is not.
    pub fn may_have_passed(self, now: UnixMillis) -> bool {
        matches!(self.due(now), Due::At(secs) if secs * 1000 < now.0.saturating_add(1000))
    }

    /// The 25-bit code.
    pub fn to_bits(self) -> u32 {
        self.0
    }

    /// The inverse of [`Expiry::to_bits`]; `None` above 25 bits.
    pub fn from_bits(bits: u32) -> Option<Expiry> {
        (bits >> Self::BITS == 0).then_some(Expiry(bits))
    }
}

/// Tells by subtraction and comparison alone whether an expiry is due by a given second: for walks
/// over millions of entries, where decoding each would divide twice.
pub(super) struct Horizon {
    /// The window's first second as a code, and the number of codes from there on that are due.
    first: u32,
    count: u32,
}

impl Horizon {
    /// The horizon at the end of second `until_secs`, seen from `now`.
    pub(super) fn new(until_secs: u64, now: UnixMillis) -> Horizon {
        let start = window_start(now.0 / 1000);
        let count = (until_secs + 1).saturating_sub(start).min(MODULUS);
        Horizon { first: 2 + (start % MODULUS) as u32, count: count as u32 }
    }

    /// Whether `expiry.due(now)` is `At` a second not after `until_secs`.
    pub(super) fn covers(&self, expiry: Expiry) -> bool {
        let Expiry(code) = expiry;
        let wrapped = if code < self.first { MODULUS_CODES } else { 0 };
        code > 1 && code + wrapped - self.first < self.count
    }
}

/// First second of the window at `now_secs`.
fn window_start(now_secs: u64) -> u64 {
    now_secs.saturating_sub(PAST_SECS)
}

/// The largest touch class; class 0 is an entry that was never touched.
pub const TOUCH_CLASS_MAX: u8 = 7;

/// How much longer than it should, in seconds, a crash may let an entry of this touch class live: 0 for
/// class 0, else less than `28 << (class - 1)`, from 28 s to 1,792 s. 112 s suit a time to live of half
/// an hour.
pub fn touch_quantum_secs(class: u8) -> u64 {
    assert!(class <= TOUCH_CLASS_MAX, "touch class {class} exceeds 3 bits");
    if class == 0 { 0 } else { 28 << (class - 1) }
}

/// Seconds of a cell: half a quantum, less the second that [`touch_second`] may add. 0 for class 0.
pub fn touch_cell_secs(class: u8) -> u64 {
    (touch_quantum_secs(class) / 2).saturating_sub(1)
}

/// Number of the cell that an expiry in seconds lies in. Touches within it are not journaled.
pub fn touch_cell(expires_s: u64, class: u8) -> u64 {
    expires_s.checked_div(touch_cell_secs(class)).unwrap_or(expires_s)
}

/// Whether it is the last second of its cell, which is what recovery grants.
fn ends_cell(expires_s: u64, class: u8) -> bool {
    class > 0 && touch_cell(expires_s + 1, class) != touch_cell(expires_s, class)
}

/// The second that a touch to `expires_s` is entered as: the next one for the last second of a cell. That
/// one only ever means that a recovery has granted it, so that what was granted and what was asked for
/// are told apart.
pub fn touch_second(expires_s: u64, class: u8) -> u64 {
    expires_s + u64::from(ends_cell(expires_s, class))
}

/// The expiry, in seconds, that recovery grants an entry whose journaled expiry is `expires_s`: the last
/// second of the next cell, so that a touch into that one is covered before it is journaled. What is the
/// last second of a cell has been granted already, and stays: restarts do not add up.
pub fn touch_cover_secs(expires_s: u64, class: u8) -> u64 {
    let cell_secs = touch_cell_secs(class);
    match class {
        0 => expires_s,
        _ if ends_cell(expires_s, class) && !planted!(GrantAgain) => expires_s,
        _ => (touch_cell(expires_s, class) + 2) * cell_secs - 1,
    }
}

/// The class whose quantum is the largest not above `max(28 s, ttl / 16)`: 1..=7.
pub fn touch_class_of(ttl_ms: u64) -> u8 {
    let quantum_secs = ttl_ms / 16_000;
    (2..=TOUCH_CLASS_MAX).rev().find(|k| touch_quantum_secs(*k) <= quantum_secs).unwrap_or(1)
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    reason = "numbers of tests are small"
)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_790_000_000_123);

    #[test]
    fn milliseconds_round_up_to_the_second() {
        for (ms, secs) in [(1000, 1), (1001, 2), (1999, 2), (2000, 2)] {
            let base = 1_790_000_000;
            let expiry = Expiry::of(Some(UnixMillis(base * 1000 + ms)), NOW);
            assert_eq!(expiry.due(NOW), Due::At(base + secs));
        }
    }

    #[test]
    fn passed_for_certain_only_after_the_second_and_perhaps_within_it() {
        let expiry = Expiry::of(Some(UnixMillis(5_001)), UnixMillis(0));
        for (now, may, surely) in [
            (4_999, false, false),
            (5_000, false, false),
            (5_001, true, false),
            (6_000, true, true),
        ] {
            let now = UnixMillis(now);
            assert_eq!((expiry.may_have_passed(now), expiry.surely_passed(now)), (may, surely));
        }
    }

    #[test]
    fn the_window_moves_with_the_clock() {
        let step = 7 * DAY_SECS * 1000 + 12_345;
        for week in 0..400 {
            let now = UnixMillis(week * step);
            for ahead in [1, 1_000, DAY_SECS * 1000, AHEAD_SECS * 1000] {
                let at = now.plus(ahead);
                let expiry = Expiry::of(Some(at), now);
                let secs = at.0.div_ceil(1000);
                if secs > now.0 / 1000 + AHEAD_SECS {
                    assert_eq!(expiry, Expiry::FAR, "rounded up beyond the window");
                    continue;
                }
                // Seen from later, until 64 days after it passed, and from 4 days earlier.
                for late in [0, ahead / 2, ahead, ahead + (PAST_SECS - 1) * 1000] {
                    assert_eq!(expiry.due(now.plus(late)), Due::At(secs), "{now:?} {ahead} {late}");
                }
                let earlier = UnixMillis(now.0.saturating_sub(4 * DAY_SECS * 1000));
                assert_eq!(expiry.due(earlier), Due::At(secs));
            }
            assert_eq!(Expiry::of(Some(now.plus(321 * DAY_SECS * 1000)), now).due(now), Due::Far);
            assert_eq!(Expiry::of(None, now).due(now), Due::Never);
        }
    }

    #[test]
    fn a_horizon_agrees_with_decoding() {
        let mut state = 1u64;
        let mut covered = 0;
        for _ in 0..200_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let now = UnixMillis((state >> 20) % (1 << 41));
            let until = (now.0 / 1000 + (state >> 9) % 10_000_000).saturating_sub(3_000_000);
            let horizon = Horizon::new(until, now);
            let near = now.plus((state >> 33) % 20_000_000_000);
            for expiry in [
                Expiry::NONE,
                Expiry::FAR,
                Expiry::of(Some(near), now),
                Expiry((state >> 30) as u32 & 0x1FF_FFFF),
            ] {
                let due = matches!(expiry.due(now), Due::At(secs) if secs <= until);
                assert_eq!(horizon.covers(expiry), due, "{expiry:?} {now:?} {until}");
                covered += u32::from(due);
            }
        }
        assert!((10_000..390_000).contains(&covered), "both outcomes are seen: {covered}");
    }

    #[test]
    fn the_long_past_stays_in_the_past() {
        let expiry = Expiry::of(Some(UnixMillis(1)), NOW);
        assert_eq!(expiry.due(NOW), Due::At(NOW.0 / 1000 - PAST_SECS));
        assert!(expiry.surely_passed(NOW));
    }

    #[test]
    fn codes_fit_25_bits() {
        for secs in 0..MODULUS / 1000 {
            let expiry =
                Expiry::of(Some(UnixMillis(secs * 1_000_007)), UnixMillis(secs * 1_000_000));
            assert_eq!(Expiry::from_bits(expiry.to_bits()), Some(expiry));
        }
        assert_eq!(Expiry::from_bits(1 << 25), None);
    }

    #[test]
    fn touch_quanta() {
        assert_eq!(
            (0..=7).map(touch_quantum_secs).collect::<Vec<_>>(),
            [0, 28, 56, 112, 224, 448, 896, 1792]
        );
        let minute = 60_000;
        for (ttl, class) in [
            (0, 1),
            (minute, 1),
            (14 * minute, 1),
            (15 * minute, 2),
            (30 * minute, 3),
            (60 * minute, 4),
            (24 * 60 * minute, 7),
            (u64::MAX, 7),
        ] {
            assert_eq!(touch_class_of(ttl), class, "{ttl} ms");
        }
    }

    #[test]
    fn what_recovery_grants_covers_the_quantum_and_is_granted_once() {
        for class in 1..=TOUCH_CLASS_MAX {
            let quantum = touch_quantum_secs(class);
            for expires in 1_790_000_000..1_790_000_000 + 3 * quantum {
                let cover = touch_cover_secs(expires, class);
                assert!((expires..expires + quantum).contains(&cover), "{expires} {class}");
                assert_ne!(touch_cell(cover + 1, class), touch_cell(cover, class));
                let cells = touch_cell(cover, class) - touch_cell(expires, class);
                assert!(cells == 1 || cells == 0 && cover == expires, "the next cell is covered");
                assert_eq!(touch_cover_secs(cover, class), cover, "a second restart adds nothing");
                // A touch is never entered as what would be taken for a grant.
                let entered = touch_second(expires, class);
                assert!((expires..=expires + 1).contains(&entered));
                let granted = touch_cover_secs(entered, class);
                assert!(granted > entered && granted < expires + quantum - 1, "{expires} {class}");
                assert_eq!(touch_second(entered, class), entered);
            }
            assert_eq!((touch_cover_secs(7, 0), touch_second(7, 0)), (7, 7));
        }
    }
}
