//! Fuzz targets as plain functions of bytes: libFuzzer calls them (`fuzz_targets/`), and so does the
//! smoke run (`src/bin/smoke.rs`), which needs no nightly compiler.
//!
//! Each panics on a finding.

mod commands;
mod crafted;
mod disk;
mod image;
mod resp;
mod settings;
mod worlds;

pub use commands::commands;
pub use crafted::crafted;
pub use image::recovery;
pub use resp::resp;
pub use settings::settings;
pub use worlds::worlds;

/// Every target, with a length of input that suits it.
pub const TARGETS: [(&str, fn(&[u8]), usize); 7] = [
    ("formats", formats, 300),
    ("recovery", recovery, 6),
    ("crafted", crafted, 40),
    ("resp", resp, 120),
    ("commands", commands, 200),
    ("settings", settings, 200),
    ("worlds", worlds, 200),
];

use emberlog_engine::format::bytes::Seed;
use emberlog_engine::format::{batch, checkpoint, record, segment, superblock, touch};
use emberlog_engine::units::{Incarnation, SegmentId};

/// Every decoder of the format on arbitrary bytes: an error or a value, never a panic.
pub fn formats(data: &[u8]) {
    let seed = Seed::new(1, SegmentId(2), Incarnation(3));
    if let Ok(record) = record::decode(data, seed) {
        assert!(record.head.record_bytes() <= data.len());
    }
    let _ = touch::TouchRow::decode(data, 1);
    let _ = batch::BatchHead::decode(data);
    let _ = segment::SegmentHead::decode(data);
    if let Ok(trailer) = segment::Trailer::decode(data, 1 << 20) {
        assert!(trailer.data_end <= trailer.rows_offset);
    }
    let mut at = 0;
    while let Ok((_, next)) = segment::decode_row(data, at) {
        assert!(next > at && next <= data.len());
        at = next;
    }
    let _ = superblock::Superblock::decode(data);
    let _ = checkpoint::decode_page(data, 1, 0);
}

/// A target that must fail on an input that a working fuzzer finds at once: proof that findings
/// are noticed.
///
/// # Panics
/// When the first byte is `!`: always, on purpose.
pub fn canary(data: &[u8]) {
    assert!(data.first() != Some(&b'!'), "the canary sings: findings are noticed");
}
