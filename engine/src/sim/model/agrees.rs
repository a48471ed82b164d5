//! Whether what was shown of a key is what it should be.

use super::{Clock, Live, Seen};
use crate::units::{Lsn, UnixMillis};

/// Whether type, expiry and LSN are what they should be, and the key is there.
fn alike(live: &Live, shown: (u8, Option<UnixMillis>, Lsn), now: Clock) -> bool {
    let (value_type, expires_at, lsn) = shown;
    let in_time = live.expires_max.is_none_or(|at| now.earliest < at) && !live.gone;
    in_time
        && value_type == live.value_type
        && expires_at >= live.expires_min
        && expires_at <= live.expires_max
        && (live.lsns.0..=live.lsns.1).contains(&lsn)
}

pub(super) fn agrees(live: Option<&Live>, seen: &Seen, now: Clock) -> bool {
    match (seen, live) {
        (Seen::Lost, _) | (Seen::Found { .. } | Seen::Large { .. }, None) => false,
        (Seen::Absent, None) => true,
        (Seen::Absent, Some(live)) => {
            live.gone || live.expires_min.is_some_and(|at| at <= now.latest)
        }
        (Seen::Found { .. } | Seen::Large { .. }, Some(Live { lost: Some(versions), .. })) => {
            versions.iter().any(|version| agrees(Some(version), seen, now))
        }
        (Seen::Found { value, value_type, expires_at, lsn }, Some(live)) => {
            *value == live.value && alike(live, (*value_type, *expires_at, *lsn), now)
        }
        (Seen::Large { len, value_type, expires_at, lsn }, Some(live)) => {
            *len == live.value.0.len() && alike(live, (*value_type, *expires_at, *lsn), now)
        }
    }
}
