//! FORMAT.md against the code: what its tables state is encoded and must give its hex blocks; the
//! hex blocks are decoded and must give what the tables state; no byte of them may change unnoticed.

#![expect(clippy::unwrap_used, reason = "a test")]

mod document;
mod segments;
mod superblock;

use std::collections::BTreeMap;
use std::hash::Hasher;

use document::{Golden, parse};
use emberlog_engine::format::batch::{self, IDENTITY_BYTES};
use emberlog_engine::format::bytes::Seed;
use emberlog_engine::format::checkpoint::{self, LabelRow, PAGE_BYTES, PageHead, Payload};
use emberlog_engine::format::chunked::{CHUNKS_MAX, Chunked};
use emberlog_engine::format::label::Label;
use emberlog_engine::format::record::{self, Head, Kind};
use emberlog_engine::format::segment::{self, BatchRow, RecordRow, Row};
use emberlog_engine::format::touch::{self, TOUCH_ROW_BYTES, TouchRow};
use emberlog_engine::format::{DecodeError, FORMAT_VERSION};
use emberlog_engine::index::{
    self, Due, Entry, Expiry, Identity, SizeClass, decode_row, encode_row,
};
use emberlog_engine::units::{
    BatchSeq, Incarnation, KeyHash, Location, Lsn, Namespace, SegmentId, UnixMillis,
};
use siphasher::sip::SipHasher13;

/// Owner, limit and hidden of the golden label.
const EXTENSION_BYTES: usize = 2 + 3 + 2 + 6 + 2;

/// The golden place of chunks.
const CHUNKED_BYTES: usize = 2 + 8 + 8 + 4;

const TEXT: &str = include_str!("../../../FORMAT.md");

fn all() -> BTreeMap<String, Golden> {
    parse(TEXT)
}

fn golden(name: &str) -> Golden {
    all().remove(name).unwrap_or_else(|| panic!("no hex block {name} in FORMAT.md"))
}

fn seed() -> Seed {
    let head = golden("segment-header");
    let (segment, incarnation) = (head.narrow("segment"), head.narrow("incarnation"));
    Seed::new(head.value("store id"), SegmentId(segment), Incarnation(incarnation))
}

/// Every copy of `bytes` with one bit of one byte changed.
fn flips(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> + '_ {
    (0..bytes.len() * 8).map(|bit| {
        let mut bad = bytes.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        (bit / 8, bad)
    })
}

fn every_flip_is_refused<T>(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<T, DecodeError>) {
    assert!(decode(bytes).is_ok());
    for (at, bad) in flips(bytes) {
        assert!(decode(&bad).is_err(), "byte {at} changed unnoticed");
    }
}

#[test]
fn tables_describe_their_bytes_without_a_gap() {
    let all = all();
    let sizes = [
        ("batch-header", batch::HEADER_BYTES),
        (
            "checkpoint-label-page",
            checkpoint::PAGE_HEADER_BYTES + checkpoint::LABEL_ROW_BYTES + 3 + EXTENSION_BYTES,
        ),
        ("checkpoint-page", checkpoint::PAGE_HEADER_BYTES),
        ("checkpoint-row", checkpoint::ROW_BYTES),
        ("checkpoint-side-page", checkpoint::PAGE_HEADER_BYTES + checkpoint::ROW_BYTES + 2 + 3),
        ("extension", EXTENSION_BYTES),
        ("extension-chunked", CHUNKED_BYTES),
        ("footer-batch-row", segment::batch_row_bytes()),
        ("footer-lost-row", segment::lost_row_bytes()),
        ("footer-record-row", segment::record_row_bytes(&put_head())),
        ("identity-list", IDENTITY_BYTES),
        ("record-chunk", head_of(&all["record-chunk"]).record_bytes()),
        ("record-dictionary", head_of(&all["record-dictionary"]).record_bytes()),
        ("record-labelled", put_head().record_bytes() + EXTENSION_BYTES),
        ("record-manifest", head_of(&all["record-manifest"]).record_bytes()),
        ("record-packed", head_of(&all["record-packed"]).record_bytes()),
        ("record-put", put_head().record_bytes()),
        ("record-touch", record::HEADER_BYTES + TOUCH_ROW_BYTES),
        ("segment-header", 64),
        ("superblock", 160),
        ("tails", 48),
        ("touch-row", TOUCH_ROW_BYTES),
        ("trailer", segment::TRAILER_BYTES),
    ];
    assert_eq!(all.keys().map(String::as_str).collect::<Vec<_>>(), sizes.map(|(name, _)| name));
    for (name, bytes) in sizes {
        let golden = &all[name];
        assert_eq!(golden.bytes.len(), bytes, "{name}");
        let mut end = 0;
        for field in &golden.fields {
            assert_eq!(field.offset, end, "{name}: {}", field.name);
            end += field.len;
            assert_eq!(field.bytes, golden.bytes[field.offset..end], "{name}: {}", field.name);
        }
        let mut bit = 0;
        for (first, width, field, value) in &golden.bits {
            assert_eq!(*first, bit, "{name}: {field}");
            bit += width;
            let number = u128::from_le_bytes(golden.bytes[..].try_into().unwrap());
            let cut = number >> first & ((1 << width) - 1);
            assert_eq!(cut, u128::from(*value), "{name}: {field}");
        }
        assert_eq!(end + bit as usize / 8, bytes, "{name}: the table covers all of it");
    }
}

#[test]
fn constants_are_those_of_the_text() {
    for sentence in [
        format!("# The format on disk, version {FORMAT_VERSION}\n"),
        format!("two slots of {} bytes", emberlog_engine::format::superblock::SLOT_BYTES),
        format!("filled with zeros up to {}:", segment::HEADER_BYTES),
        format!("Trailer, the last {} bytes", segment::TRAILER_BYTES),
        format!("in pages of {} KiB", PAGE_BYTES / 1024),
        format!("of payload, at most {}", checkpoint::PAYLOAD_BYTES_MAX),
        format!("zeros up to a multiple of {}.", emberlog_engine::units::RECORD_ALIGN),
        format!("0..={}", record::KEY_BYTES_MAX),
        format!("| grouped | {} |", record::GROUPED),
        format!("| side | {} |", record::SIDE),
        format!("| relocated | {} |", record::RELOCATED),
        format!("| extended | {} |", record::EXTENDED),
        format!("| {} | open |", Kind::Open as u8),
        format!("header ({})", batch::HEADER_BYTES),
    ] {
        assert!(TEXT.to_lowercase().contains(&sentence.to_lowercase()), "not said: {sentence}");
    }
    assert_eq!(seed().crc(&[]), 0x543c_2e1f, "the seed that the text states");
    assert_eq!(
        (1..=7).map(index::touch_quantum_secs).collect::<Vec<_>>(),
        [28, 56, 112, 224, 448, 896, 1792]
    );
}

/// The identity of `key`, computed as the text says.
fn key_identity() -> Identity {
    let hash_seed = golden("superblock").raw("hash seed").try_into().unwrap();
    let mut hasher = SipHasher13::new_with_key(&hash_seed);
    hasher.write(golden("record-put").raw("key"));
    Identity::of(KeyHash(hasher.finish()))
}

fn head_of(g: &Golden) -> Head {
    let expires = g.value("expires at");
    let kinds = [Kind::Put, Kind::Delete, Kind::Touch, Kind::Clear, Kind::Commit, Kind::Open];
    Head {
        kind: kinds[g.value("kind") as usize - 1],
        flags: g.narrow("flags"),
        value_type: g.narrow("value type"),
        touch: g.narrow::<u8>("touch") & 7,
        codec: g.narrow::<u8>("touch") >> 3,
        // A footer row does not tell.
        dictionary: if g.has("dictionary") { g.narrow("dictionary") } else { 0 },
        namespace: Namespace(g.narrow("namespace")),
        key_len: g.narrow("key len"),
        value_len: g.narrow("value len"),
        ext_len: g.narrow("ext len"),
        lsn: Lsn(g.value("lsn")),
        expires_at: (expires != 0).then_some(UnixMillis(expires)),
    }
}

fn put_head() -> Head {
    head_of(&golden("record-put"))
}

#[test]
fn records() {
    for (name, parts, value) in [
        ("record-put", &["key"][..], "value"),
        ("record-labelled", &["key", "extension"], "value"),
        ("record-touch", &[], "rows"),
        ("record-manifest", &["key", "extension"], ""),
        ("record-chunk", &["key"], "value"),
        ("record-dictionary", &["key"], "value"),
        ("record-packed", &["key"], "value"),
    ] {
        let g = golden(name);
        let head = head_of(&g);
        let full = parts.iter().flat_map(|part| g.raw(part)).copied().collect::<Vec<u8>>();
        let mut out = vec![0xff; head.padded_bytes()];
        let value = if value.is_empty() { &[] } else { g.raw(value) };
        record::encode(&head, &full, value, seed(), &mut out);
        assert_eq!(out[..g.bytes.len()], g.bytes, "{name}");
        let decoded = record::decode(&g.bytes, seed()).unwrap();
        let key = if parts.is_empty() { &[] } else { g.raw("key") };
        assert_eq!((decoded.head, decoded.key, decoded.value), (head, key, value));
        assert_eq!(decoded.name, full);
        assert!(decoded.value_ok);
        for (at, bad) in flips(&g.bytes) {
            let noticed = record::decode(&bad, seed()).map_or(true, |record| !record.value_ok);
            assert!(noticed, "{name}: byte {at} changed unnoticed");
        }
    }
}

#[test]
fn a_packed_value_and_its_dictionary() {
    let (dictionary, packed) = (golden("record-dictionary"), golden("record-packed"));
    let key = dictionary.raw("key");
    assert_eq!((key[0], &key[1..3]), (b'd', packed.raw("dictionary")), "the key names it");
    let (class, content) = dictionary.raw("value").split_at(4);
    assert_eq!(class[..2], packed.raw("namespace")[..]);
    assert_eq!(class[2..], [packed.narrow("value type"), 0]);
    let raw = emberlog_engine::compress::unpack(packed.raw("value"), Some(content)).unwrap();
    let text = r#"{"cookie":{"httpOnly":true,"path":"/","sameSite":"lax"},"user":"u1"}"#;
    assert_eq!(String::from_utf8(raw).unwrap(), text);
    assert!(TEXT.contains(text), "the text says what it unpacks to");
    assert!(emberlog_engine::compress::unpack(packed.raw("value"), None).is_err());
}

#[test]
fn labels() {
    let g = golden("extension");
    let label = Label {
        owner: g.raw("owner"),
        limit: Some(UnixMillis(g.value("limit"))),
        hidden: g.narrow::<u8>("hidden tag") == 3,
        chunked: None,
    };
    let mut bytes = Vec::new();
    label.encode(&mut bytes);
    assert_eq!(bytes, g.bytes);
    assert_eq!(Label::decode(&g.bytes).unwrap(), label);
    assert_eq!(golden("record-labelled").raw("extension"), g.bytes);

    let row = golden("checkpoint-label-page");
    let stated = LabelRow {
        identity: row.value("identity"),
        aside: row.narrow::<u8>("aside") == 1,
        key: row.raw("key"),
        extension: row.raw("extension"),
    };
    let mut bytes = Vec::new();
    stated.encode(&mut bytes);
    assert_eq!(bytes, row.bytes[checkpoint::PAGE_HEADER_BYTES..]);
    assert_eq!(LabelRow::decode(&bytes).unwrap(), (stated, &[][..]));
    assert_eq!(stated.identity, key_identity().to_bits());
    // Any byte is a label, an error, or another label: never a panic.
    for (_, bad) in flips(&bytes) {
        let _ = LabelRow::decode(&bad).map(|(row, _)| Label::decode(row.extension).is_ok());
    }
}

#[test]
fn a_large_value_and_its_chunk() {
    let g = golden("extension-chunked");
    let chunked =
        Chunked { id: g.value("id"), len: g.value("length"), chunk_bytes: g.narrow("chunk bytes") };
    let label = Label { chunked: Some(chunked), ..Label::NONE };
    let mut bytes = Vec::new();
    label.encode(&mut bytes);
    assert_eq!(bytes, g.bytes);
    assert_eq!(Label::decode(&g.bytes).unwrap(), label);
    assert_eq!(golden("record-manifest").raw("extension"), g.bytes);
    let chunk = golden("record-chunk");
    assert_eq!(chunk.raw("key"), [&chunked.id.to_le_bytes()[..], &[0; 4]].concat());
    assert_eq!((chunk.value("lsn"), chunk.value("value len")), (chunked.id, chunked.len));
    assert_eq!((chunked.chunks(), chunked.chunk_len(0)), (1, 5));
    assert!(TEXT.contains(&format!("at most {CHUNKS_MAX} chunks")));
    // Any bytes are a label, an error, or another label: never a panic.
    for (_, bad) in flips(&bytes) {
        let _ = Label::decode(&bad).map(|label| label.chunked.map(|c| c.chunks()));
    }
}

#[test]
fn touch_row() {
    let g = golden("touch-row");
    let word: u64 = g.value("identity and seconds");
    let base_s = 1_790_000_000;
    let row = TouchRow {
        identity: word & ((1 << 47) - 1),
        expires_s: base_s + u32::try_from(word >> 47).unwrap(),
    };
    assert_eq!(row.encode(base_s)[..], g.bytes);
    assert_eq!(TouchRow::decode(&g.bytes, base_s).unwrap(), row);
    let record = golden("record-touch");
    assert_eq!(record.raw("rows"), g.bytes);
    let all: Vec<_> = touch::rows(&head_of(&record), &g.bytes).collect();
    assert_eq!(all, [row]);
    assert_eq!(row.identity, key_identity().to_bits());
}

#[test]
fn footer_rows() {
    let (b, r, t) = (golden("footer-batch-row"), golden("footer-record-row"), golden("trailer"));
    let batch = BatchRow {
        offset: b.narrow("offset"),
        count: b.narrow("count"),
        seq: BatchSeq(b.value("seq")),
        wall: UnixMillis(b.value("wall")),
    };
    let head = head_of(&r);
    assert_eq!(head, put_head(), "the row tells the record's header");
    let mut rows = Vec::new();
    segment::push_batch_row(&mut rows, &batch);
    segment::push_record_row(&mut rows, r.narrow("offset"), &head, r.raw("name"));
    assert_eq!(rows, [&b.bytes[..], &r.bytes].concat());
    let (first, at) = segment::decode_row(&rows, 0).unwrap();
    let (second, end) = segment::decode_row(&rows, at).unwrap();
    let record = RecordRow { offset: r.narrow("offset"), head, name: r.raw("name") };
    assert_eq!((first, second, end), (Row::Batch(batch), Row::Record(record), rows.len()));
    assert_eq!(rows.len() as u64, t.value("rows bytes"));
    assert_eq!(u64::from(crc32fast::hash(&rows)), t.value("rows crc"));
    assert!(flips(&rows).all(|(_, bad)| u64::from(crc32fast::hash(&bad)) != t.value("rows crc")));
    let l = golden("footer-lost-row");
    let word = l.value("namespace") << 48 | l.value("identity");
    let mut lost = Vec::new();
    segment::push_lost_row(&mut lost, word);
    assert_eq!(lost, l.bytes);
    assert_eq!(segment::decode_row(&lost, 0).unwrap(), (Row::Lost(word), lost.len()));
    rows.extend_from_slice(&lost);
    // Any byte is a row, an error, or moves on: never a panic.
    for (_, bad) in flips(&rows) {
        let mut at = 0;
        while let Ok((_, next)) = segment::decode_row(&bad, at) {
            assert!(next > at);
            at = next;
        }
    }
}

#[test]
fn checkpoint_pages() {
    let row = golden("checkpoint-row");
    let entry = Entry {
        location: Location(row.value("location")),
        size: SizeClass::from_bits(row.narrow("size")).unwrap(),
        expiry: Expiry::from_bits(row.narrow("expiry")).unwrap(),
        freq: row.narrow("freq"),
        touch: row.narrow("touch"),
    };
    let identity = Identity::from_bits(row.value("identity")).unwrap();
    assert_eq!(identity, key_identity());
    assert_eq!(encode_row(identity, entry)[..], row.bytes);
    assert_eq!(decode_row(row.bytes[..].try_into().unwrap()), Some((identity, entry)));
    // The row is of the golden record: its place, its length, its expiry rounded up.
    let segment_bytes: u32 = golden("superblock").narrow("segment bytes");
    let offset: u32 = golden("footer-record-row").narrow("offset");
    assert_eq!(entry.location, Location::new(SegmentId(7), offset, segment_bytes));
    assert_eq!(entry.size, SizeClass::of(put_head().record_bytes()));
    let wall = UnixMillis(golden("superblock").value("newest wall"));
    assert_eq!(entry.expiry.due(wall), Due::At(1_790_000_124));

    let (side, label) = (golden("checkpoint-side-page"), golden("checkpoint-label-page"));
    for (g, payload, content) in [
        (golden("checkpoint-page"), Payload::Index, row.bytes.clone()),
        (
            golden("checkpoint-side-page"),
            Payload::Side,
            [side.raw("row"), side.raw("key len"), side.raw("key")].concat(),
        ),
        (
            golden("checkpoint-label-page"),
            Payload::Label,
            label.bytes[checkpoint::PAGE_HEADER_BYTES..].to_vec(),
        ),
    ] {
        let head = PageHead {
            number: g.value("number"),
            page: g.narrow("page"),
            payload,
            namespace: Namespace(g.narrow("namespace")),
            bytes: g.narrow("bytes"),
        };
        let mut page = vec![0; PAGE_BYTES];
        page[checkpoint::PAGE_HEADER_BYTES..][..content.len()].copy_from_slice(&content);
        checkpoint::seal_page(&head, &mut page);
        let shown = g.bytes.len();
        assert_eq!(page[..shown], g.bytes);
        let decode =
            |page: &[u8]| checkpoint::decode_page(page, head.number, head.page).map(|_| ());
        let (decoded, found) = checkpoint::decode_page(&page, head.number, head.page).unwrap();
        assert_eq!((decoded, found), (head, &content[..]));
        every_flip_is_refused(&page[..checkpoint::PAGE_HEADER_BYTES + content.len()], |front| {
            let mut bad = page.clone();
            bad[..front.len()].copy_from_slice(front);
            decode(&bad)
        });
        let mut bad = page.clone();
        bad[PAGE_BYTES - 1] ^= 1;
        assert!(decode(&bad).is_err(), "the zeros are covered too");
    }
}
