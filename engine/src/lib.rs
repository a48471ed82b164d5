//! Emberlog's storage engine: a compact RAM index and a hot set over an append-only segment store.

pub mod config;
pub mod expiry;
pub mod hot;
pub mod index;
pub mod io;
pub mod units;

pub use config::{Ack, Config, ConfigError};
