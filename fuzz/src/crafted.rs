//! Loaders on bytes that pass every checksum: fields of superblocks, headers, footers, batches,
//! records and checkpoints are changed, and the checksums over them made right again. What such a
//! store shows, and whether it finds room to write, is anybody's guess; opening it, reading it and
//! writing to it must not panic.

use emberlog_engine::format::bytes::Seed;
use emberlog_engine::format::{batch, checkpoint, record, segment, superblock, tails};
use emberlog_engine::io::FileId;
use emberlog_engine::units::{Incarnation, SegmentId};
use emberlog_engine::{Namespace, Room, Shard};

use crate::disk::Running;
use crate::image::{NOW, config, drive_while, image, read};

/// Changes of one input at most.
const CHANGES_MAX: usize = 6;
/// Turns after which a store that makes no progress is given up.
const TURNS_MAX: u32 = 2_000;

/// # Panics
/// On a finding.
pub fn crafted(data: &[u8]) {
    let mut files = image().disk.clone();
    let names: Vec<FileId> = files.files.keys().copied().collect();
    for change in data.as_chunks::<8>().0.iter().take(CHANGES_MAX) {
        let [kind, file, which, at, value @ ..] = *change;
        let file = names[usize::from(file) % names.len()];
        let content = files.files.get_mut(&file).expect("listed");
        apply(file, content, kind, which, at, value);
    }
    for (file, content) in &mut files.files {
        match file {
            FileId::Superblock => superblocks(content),
            FileId::Checkpoint(_) => content.chunks_mut(checkpoint::PAGE_BYTES).for_each(page),
            FileId::Segment(_) => segments(content),
        }
    }
    let mut disk = Running::new(files);
    let Ok(mut shard) = Shard::open(&mut disk, &config(), NOW, &mut |_| {}) else { return };
    for key in 0..60 {
        read(&mut shard, &mut disk, key);
    }
    for key in 0..30_u32 {
        let name = format!("key:{key}");
        read(&mut shard, &mut disk, key);
        let mut room = Room::Wait;
        drive_while(TURNS_MAX, &mut shard, &mut disk, |shard| {
            room = shard.room(4096);
            room == Room::Wait
        });
        if room != Room::Yes {
            return;
        }
        read(&mut shard, &mut disk, key);
        let handle = shard.key(Namespace(0), name.as_bytes());
        if shard.put(&handle, 0, &[b'v'; 3_000], None, NOW).is_err() {
            return;
        }
    }
    let behind = |shard: &mut Shard| shard.durable_lsn() < shard.appended_lsn();
    drive_while(TURNS_MAX, &mut shard, &mut disk, behind);
}

/// Where the batches of a segment may start.
fn batches(content: &[u8]) -> Vec<usize> {
    let starts = (segment::HEADER_BYTES as usize..content.len()).step_by(512);
    starts.filter(|at| batch::BatchHead::decode(&content[*at..]).is_ok()).collect()
}

/// Makes one change: in a field of a structure of this `kind`, or anywhere.
fn apply(file: FileId, content: &mut [u8], kind: u8, which: u8, at: u8, value: [u8; 4]) {
    let (which, at) = (usize::from(which), usize::from(at));
    let base = match (file, kind % 6) {
        (FileId::Superblock, 0..=2) => which % 2 * superblock::SLOT_BYTES + at % 160,
        (FileId::Superblock, _) => which % 2 * superblock::SLOT_BYTES + tails::OFFSET + at,
        (FileId::Checkpoint(_), _) => {
            let pages = content.len() / checkpoint::PAGE_BYTES;
            which % pages.max(1) * checkpoint::PAGE_BYTES + at
        }
        (FileId::Segment(_), 0) => at % 64,
        (FileId::Segment(_), 1) => content.len() - segment::TRAILER_BYTES + at % 64,
        // Footer rows lie before the trailer.
        (FileId::Segment(_), 2) => content.len() - segment::TRAILER_BYTES - 1 - which * 8 - at % 8,
        (FileId::Segment(_), 3 | 4) => {
            let all = batches(content);
            let Some(start) = all.get(which % all.len().max(1)) else { return };
            // The header, or the head of the first record.
            start + if kind % 6 == 3 { at % 80 } else { 80 + at % 48 }
        }
        (FileId::Segment(_), _) => which * 256 + at,
    };
    if let Some(place) = content.get_mut(base..base + value.len()) {
        // Small differences, extremes, or anything.
        match value[3] % 3 {
            0 => place[0] = place[0].wrapping_add(value[0]),
            1 => place.fill(value[0]),
            _ => place.copy_from_slice(&value),
        }
    }
}

/// Puts the checksum of `bytes[4..]` into its first four bytes.
fn seal(bytes: &mut [u8]) {
    let crc = crc32fast::hash(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
}

fn superblocks(content: &mut [u8]) {
    for slot in content.chunks_mut(superblock::SLOT_BYTES) {
        seal(&mut slot[..160]);
        seal(&mut slot[tails::OFFSET..tails::OFFSET + tails::BYTES]);
    }
}

fn page(bytes: &mut [u8]) {
    if bytes.len() == checkpoint::PAGE_BYTES && bytes[4..8] != [0; 4] {
        seal(bytes);
    }
}

fn word(bytes: &[u8], at: usize) -> usize {
    bytes
        .get(at..at + 4)
        .map_or(0, |word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]) as usize)
}

/// A segment's checksums from the inside out: record heads, batch headers, footer rows, trailer,
/// header.
fn segments(content: &mut [u8]) {
    let number = |bytes: &[u8], at: usize| word(bytes, at) as u32;
    let mut at = segment::HEADER_BYTES as usize;
    while at + batch::HEADER_BYTES <= content.len() {
        if content[at + 4..at + 8] != *b"EBAT" {
            at += 512;
            continue;
        }
        let store = u64::from(number(content, at + 8)) | u64::from(number(content, at + 12)) << 32;
        let (id, use_of_it) = (number(content, at + 16), number(content, at + 20));
        let seed = Seed::new(store, SegmentId(id), Incarnation(use_of_it));
        let end = (at + batch::HEADER_BYTES + word(content, at + 28)).min(content.len());
        records(content, at + batch::HEADER_BYTES, end, seed);
        seal(&mut content[at..at + batch::HEADER_BYTES]);
        at += 512;
    }
    let trailer = content.len() - segment::TRAILER_BYTES;
    if content[trailer + 4..trailer + 8] != [0; 4] {
        if let Ok(found) =
            segment::Trailer::decode(&sealed(&content[trailer..]), content.len() as u32)
        {
            let start = found.rows_offset as usize;
            if let Some(rows) = content.get(start..start + found.rows_bytes as usize) {
                let crc = crc32fast::hash(rows);
                let with = segment::Trailer { rows_crc: crc, ..found }.encode();
                content[trailer..].copy_from_slice(&with);
            }
        }
        seal(&mut content[trailer..]);
    }
    seal(&mut content[..64]);
}

fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut copy = bytes.to_vec();
    seal(&mut copy);
    copy
}

fn records(content: &mut [u8], mut at: usize, end: usize, seed: Seed) {
    while at + record::HEADER_BYTES <= end {
        let key = usize::from(content[at + 12]) | usize::from(content[at + 13]) << 8;
        let bytes = record::HEADER_BYTES + key;
        let Some(head) = content.get(at + 4..at + bytes) else { return };
        let crc = seed.crc(&[&head[..36], &head[36..]]);
        content[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        at += (bytes + word(content, at + 16)).next_multiple_of(16);
    }
}
