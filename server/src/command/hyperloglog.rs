//! Counting different elements in little memory: PFADD, PFCOUNT, PFMERGE.
//!
//! ```text
//! "HYLL" | 0 | 3 zero bytes | cached count, 8 bytes | 16384 registers of 6 bits, lowest bits first
//! "HYLL" | 1 | 3 zero bytes | cached count, 8 bytes | runs of registers:
//!     00nnnnnn             n + 1 registers that are 0
//!     01nnnnnn nnnnnnnn    n + 1 registers that are 0, high bits first
//!     1vvvvvnn             n + 1 registers that are v + 1
//! ```
//!
//! These are the strings that Redis keeps, so counters move between the two as they are. The cached
//! count is always marked as out of date (highest bit): it is not worth a write to the log.
//!
//! Owns: the encoding, which is a string, and the estimate. Runs while they are short, then an array.
//! Never knows: how values are stored.
//! Invariant: registers are below 2^14 and values at most 51; the same elements in any order give
//! the same registers. The hash and the estimate are those of Redis, so the counts are too.
//! Source: Ertl, "New cardinality estimation algorithms for `HyperLogLog` sketches", algorithm 6;
//! Redis, `hyperloglog.c`.

use emberlog_engine::{Found, Key};

use super::table::flag::{DENYOOM, FAST, READONLY, TIMED, WRITE};
use super::{Command, Context, Group, Keys, Outcome, Stop};
use crate::notify;
use crate::resp::Args;
use crate::value::Kind;

const fn entry(
    name: &'static str,
    arity: i16,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, arity, Group::HyperLogLog, "2.8.9", summary, handler)
}

pub(super) static COMMANDS: &[Command] = &[
    entry("pfadd", -2, "Adds elements to a counter of different ones.", pfadd)
        .keys(Keys::ONE)
        .flags(WRITE | DENYOOM | FAST),
    entry("pfcount", -2, "Estimates how many different elements were added.", pfcount)
        .keys(Keys::ALL)
        .flags(READONLY | TIMED),
    entry("pfmerge", -2, "Merges counters into one.", pfmerge)
        .keys(Keys::ALL)
        .flags(WRITE | DENYOOM | TIMED),
];

const MAGIC: &[u8; 4] = b"HYLL";
const HEADER_BYTES: usize = 16;
/// Where the cached count is marked as out of date, and how.
const STALE: (usize, u8) = (15, 0x80);
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const INDEX_BITS: u32 = 14;
const REGISTERS: usize = 1 << INDEX_BITS;
const RANK_BITS: u32 = 64 - INDEX_BITS;
const VALUE_BITS: usize = 6;
const VALUE_MAX: u8 = RANK_BITS as u8 + 1;
const DENSE_BYTES: usize = REGISTERS * VALUE_BITS / 8;
/// Longest string with runs: Redis' default of `hll-sparse-max-bytes`.
const SPARSE_BYTES_MAX: usize = 3000;
/// Longest run in one byte, for zeros and for others; highest value that a run can have.
const ZEROS_MAX: usize = 64;
const RUN_MAX: usize = 4;
const RUN_VALUE_MAX: u8 = 32;

/// Why a string is no counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Invalid {
    /// Another kind of string.
    Foreign,
    /// A counter whose runs or registers make no sense.
    Corrupt,
}

/// All registers, one byte each.
struct Registers {
    values: Vec<u8>,
    /// Was an array, and stays one.
    dense: bool,
}

impl Registers {
    fn empty() -> Registers {
        Registers { values: vec![0; REGISTERS], dense: false }
    }

    fn parse(string: &[u8]) -> Result<Registers, Invalid> {
        let (header, body) = string.split_at_checked(HEADER_BYTES).ok_or(Invalid::Foreign)?;
        if !header.starts_with(MAGIC) {
            return Err(Invalid::Foreign);
        }
        let registers = match header[MAGIC.len()] {
            DENSE if body.len() == DENSE_BYTES => Registers::parse_dense(body),
            SPARSE => Registers::parse_runs(body).ok_or(Invalid::Corrupt)?,
            _ => return Err(Invalid::Foreign),
        };
        let sound = registers.values.iter().all(|value| *value <= VALUE_MAX);
        if sound { Ok(registers) } else { Err(Invalid::Corrupt) }
    }

    fn parse_dense(body: &[u8]) -> Registers {
        let register = |at: usize| {
            let (byte, shift) = (at * VALUE_BITS / 8, at * VALUE_BITS % 8);
            let next = body.get(byte + 1).copied().unwrap_or(0);
            (u16::from_le_bytes([body[byte], next]) >> shift & 0x3f) as u8
        };
        Registers { values: (0..REGISTERS).map(register).collect(), dense: true }
    }

    /// `None` if the runs are not of all registers.
    fn parse_runs(mut body: &[u8]) -> Option<Registers> {
        let mut values = Vec::with_capacity(REGISTERS);
        while let [first, rest @ ..] = body {
            let (value, run);
            (value, run, body) = match (first >> 6, rest) {
                (0, rest) => (0, usize::from(*first) + 1, rest),
                (1, [low, rest @ ..]) => {
                    (0, (usize::from(first & 0x3f) << 8 | usize::from(*low)) + 1, rest)
                }
                (1, []) => return None,
                (_, rest) => ((first >> 2 & 0x1f) + 1, usize::from(first & 3) + 1, rest),
            };
            if run > REGISTERS - values.len() {
                return None;
            }
            values.resize(values.len() + run, value);
        }
        (values.len() == REGISTERS).then_some(Registers { values, dense: false })
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.resize(HEADER_BYTES, 0);
        out[STALE.0] = STALE.1;
        if !self.dense && self.encode_runs(&mut out) {
            out[MAGIC.len()] = SPARSE;
            return out;
        }
        out[MAGIC.len()] = DENSE;
        out.truncate(HEADER_BYTES);
        out.resize(HEADER_BYTES + DENSE_BYTES, 0);
        let body = &mut out[HEADER_BYTES..];
        for (at, value) in self.values.iter().enumerate() {
            let (byte, shift) = (at * VALUE_BITS / 8, at * VALUE_BITS % 8);
            let [low, high] = (u16::from(*value) << shift).to_le_bytes();
            body[byte] |= low;
            if high > 0 {
                body[byte + 1] |= high;
            }
        }
        out
    }

    /// Whether runs can say it in a short enough string.
    fn encode_runs(&self, out: &mut Vec<u8>) -> bool {
        for same in self.values.chunk_by(|a, b| a == b) {
            let (value, mut left) = (same[0], same.len());
            if value > RUN_VALUE_MAX {
                return false;
            }
            while left > 0 {
                let run = if value > 0 { left.min(RUN_MAX) } else { left };
                let coded = (run - 1) as u16;
                match value {
                    0 if run > ZEROS_MAX => out.extend([0x40 | (coded >> 8) as u8, coded as u8]),
                    0 => out.push(coded as u8),
                    _ => out.push(0x80 | (value - 1) << 2 | coded as u8),
                }
                left -= run;
            }
        }
        out.len() <= SPARSE_BYTES_MAX
    }

    /// Adds an element. Returns whether that changed anything.
    fn add(&mut self, element: &[u8]) -> bool {
        let hash = murmur(element, 0xadc8_3b19);
        let at = (hash & (REGISTERS as u64 - 1)) as usize;
        // The bit above the rank bits ends the run of zeros.
        let rank = (hash >> INDEX_BITS | 1 << RANK_BITS).trailing_zeros() as u8 + 1;
        let raised = rank > self.values[at];
        self.values[at] = self.values[at].max(rank);
        raised
    }

    fn merge(&mut self, other: &Registers) {
        self.dense |= other.dense;
        let both = self.values.iter_mut().zip(&other.values);
        both.for_each(|(mine, other)| *mine = (*mine).max(*other));
    }

    fn count(&self) -> u64 {
        let mut histogram = [0u32; VALUE_MAX as usize + 1];
        self.values.iter().for_each(|value| histogram[usize::from(*value)] += 1);
        let m = REGISTERS as f64;
        let of = |value: usize| f64::from(histogram[value]);
        let last = usize::from(VALUE_MAX);
        let mut z = m * tau((m - of(last)) / m);
        for value in (1..last).rev() {
            z = (z + of(value)) * 0.5;
        }
        z += m * sigma(of(0) / m);
        let estimate = (ALPHA * m * m / z).round();
        #[expect(clippy::cast_sign_loss, reason = "the estimate is positive")]
        let estimate = estimate as u64;
        estimate
    }
}

/// 1 / (2 ln 2)
const ALPHA: f64 = 0.721_347_520_444_481_7;

#[expect(clippy::float_cmp, reason = "summed until nothing changes any more")]
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if before == z {
            return z;
        }
    }
}

#[expect(clippy::float_cmp, reason = "summed until nothing changes any more")]
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if before == z {
            return z / 3.0;
        }
    }
}

/// `MurmurHash64A`, by Austin Appleby, in the public domain.
fn murmur(bytes: &[u8], seed: u64) -> u64 {
    const FACTOR: u64 = 0xc6a4_a793_5bd1_e995;
    let mix = |mut word: u64| {
        word = word.wrapping_mul(FACTOR);
        word ^= word >> 47;
        word.wrapping_mul(FACTOR)
    };
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(FACTOR);
    let (words, tail) = bytes.as_chunks::<8>();
    for word in words {
        hash = (hash ^ mix(u64::from_le_bytes(*word))).wrapping_mul(FACTOR);
    }
    if !tail.is_empty() {
        let mut word = [0; 8];
        word[..tail.len()].copy_from_slice(tail);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(FACTOR);
    }
    hash ^= hash >> 47;
    hash = hash.wrapping_mul(FACTOR);
    hash ^ hash >> 47
}

fn find<'a>(cx: &mut Context<'_>, name: &'a [u8]) -> Result<(Key<'a>, Option<Found>), Stop> {
    let key = cx.key(name)?;
    let found = cx.find_string(&key)?;
    Ok((key, found))
}

fn view(found: Option<&Found>) -> Result<Registers, Stop> {
    let Some(found) = found else { return Ok(Registers::empty()) };
    Registers::parse(&found.value).map_err(|invalid| {
        Stop::error(match invalid {
            Invalid::Foreign => "WRONGTYPE Key is not a valid HyperLogLog string value.",
            Invalid::Corrupt => "INVALIDOBJ Corrupted HLL object detected",
        })
    })
}

fn write(
    cx: &mut Context<'_>,
    key: &Key<'_>,
    found: Option<&Found>,
    registers: &Registers,
) -> Result<(), Stop> {
    let value = registers.encode();
    cx.room(value.len())?;
    cx.put(key, Kind::String, &value, found.and_then(|found| found.expires_at))?;
    cx.notify(notify::STRING, "pfadd", key.bytes());
    Ok(())
}

fn pfadd(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, found) = find(cx, args.at(1))?;
    let mut registers = view(found.as_ref())?;
    // All of them are added, not only the first that changes something.
    let raised = args.iter().skip(2).filter(|item| registers.add(item)).count() > 0;
    let changed = raised || found.is_none();
    if changed {
        write(cx, &key, found.as_ref(), &registers)?;
    }
    cx.reply.integer(i64::from(changed));
    Ok(())
}

/// The union of the counters at `keys`.
fn union(cx: &mut Context<'_>, keys: Args<'_>) -> Result<Registers, Stop> {
    let mut all = Registers::empty();
    for name in keys.iter() {
        let (_, found) = find(cx, name)?;
        if found.is_some() {
            all.merge(&view(found.as_ref())?);
        }
    }
    Ok(all)
}

fn pfcount(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let count = union(cx, args.from(1))?.count();
    cx.reply.integer(i64::try_from(count).unwrap_or(i64::MAX));
    Ok(())
}

fn pfmerge(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let all = union(cx, args.from(1))?;
    let (key, found) = find(cx, args.at(1))?;
    write(cx, &key, found.as_ref(), &all)?;
    cx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_are_near_and_both_encodings_hold_the_same() {
        let mut registers = Registers::empty();
        assert_eq!(registers.count(), 0);
        for n in 1u32..=30_000 {
            registers.add(&n.to_le_bytes());
            if [1, 10, 1_000, 5_000, 30_000].contains(&n) {
                let value = registers.encode();
                assert_eq!(value.len() > 12_288, n >= 5_000, "{n}");
                let read = Registers::parse(&value).unwrap();
                assert_eq!(read.values, registers.values);
                // The standard error is 0.81 %.
                let error = (read.count() as f64 - f64::from(n)).abs() / f64::from(n);
                assert!(error < 0.03, "{n}: {}", read.count());
            }
        }
        assert!(!registers.add(&7u32.to_le_bytes()));
    }

    #[test]
    fn strings_are_those_of_redis() {
        // PFADD of the element "a" to a key that was not there, then GET, on Redis 7.0.15.
        let mut registers = Registers::empty();
        assert_eq!(registers.encode(), b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80\x7f\xff");
        registers.add(b"a");
        assert_eq!(registers.encode(), b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80q\xa6\x84NW");
        registers.dense = true;
        let dense = registers.encode();
        assert_eq!((dense.len(), dense[4]), (HEADER_BYTES + DENSE_BYTES, DENSE));
        assert!(Registers::parse(&dense).unwrap().dense, "an array stays one");
    }

    #[test]
    fn other_strings_are_refused() {
        let counter =
            |kind: u8, body: &[u8]| [b"HYLL", &[kind, 0, 0, 0][..], &[0; 8], body].concat();
        for bad in [&b""[..], b"HYLL", &counter(0, b"short"), &counter(2, b"")] {
            assert_eq!(Registers::parse(bad).err(), Some(Invalid::Foreign));
        }
        // Too few registers, too many, half a run, a value that no hash has.
        let high = vec![0xff; DENSE_BYTES];
        for (kind, body) in
            [(1, &b"\x7f\xfe"[..]), (1, b"\x7f\xff\0"), (1, b"\x7f"), (1, b""), (0, &high)]
        {
            assert_eq!(Registers::parse(&counter(kind, body)).err(), Some(Invalid::Corrupt));
        }
    }
}
