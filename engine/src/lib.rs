//! Emberlog's storage engine: a compact RAM index and a hot set over an append-only segment store.
//!
//! ```text
//! units, error, config <- format <- log, index, labels, hot, expiry <- compact, checkpoint, recover
//!   <- shard <- driver, sim
//! ```
//! An arrow means "may be imported by". [`Shard`] is the way in; [`driver`] holds the only system
//! calls and clocks. A SET and a GET are followed station by station in `shard/mod.rs` and in
//! ARCHITECTURE.md.

/// Whether a bug was planted here on purpose (`sim::sabotage`): never, outside simulations.
macro_rules! planted {
    ($sabotage:ident) => {{
        #[cfg(feature = "sim")]
        {
            crate::sim::sabotage::is_planted(crate::sim::sabotage::Sabotage::$sabotage)
        }
        #[cfg(not(feature = "sim"))]
        {
            false
        }
    }};
}

/// Whether to behave oddly here, though rightly (`sim::buggify`): never, outside simulations.
macro_rules! buggify {
    ($site:ident) => {{
        #[cfg(feature = "sim")]
        {
            crate::sim::buggify::fires(crate::sim::buggify::Site::$site)
        }
        #[cfg(not(feature = "sim"))]
        {
            false
        }
    }};
}

/// Marks a place that simulations must have passed (`sim::marks`): nothing, outside simulations.
macro_rules! sometimes {
    ($mark:ident) => {{
        #[cfg(feature = "sim")]
        crate::sim::marks::pass(crate::sim::marks::Mark::$mark);
    }};
}

mod checkpoint;
mod compact;
pub mod compress;
pub mod config;
pub mod driver;
pub mod error;
pub mod expiry;
pub mod format;
pub mod hot;
pub mod index;
pub mod io;
mod key;
mod labels;
mod log;
mod recover;
mod shard;
#[cfg(feature = "sim")]
pub mod sim;
mod space;
pub mod units;
mod value;

pub use config::{Ack, Compression, Config, ConfigError};
pub use error::OpenError;
pub use format::chunked::Chunked;
pub use format::label::{Label, OWNER_BYTES_MAX};
pub use key::Key;
pub use recover::Progress;
pub use shard::{
    Event, Expired, Found, LoadError, Lookup, Owned, Refused, Room, ScannedKey, Shard, Stats,
    Ticket, Upload,
};
pub use units::{Lsn, Namespace, UnixMillis};
pub use value::Value;
