//! Counting different elements in little memory: PFADD, PFCOUNT, PFMERGE.
//!
//! ```text
//! "HYLL" | 0 | 3 zero bytes | 16384 registers of 6 bits, lowest bits first
//! "HYLL" | 1 | 3 zero bytes | count x ( register u16, little endian | value u8 )
//! ```
//!
//! Owns: the encoding, which is a string, and the estimate. Few registers are listed, many are an
//! array.
//! Never knows: how values are stored.
//! Invariant: registers are below 2^14 and values at most 51; the same elements in any order give
//! the same registers. The hash and the estimate are those of Redis, so the counts are too.
//! Source: Ertl, "New cardinality estimation algorithms for `HyperLogLog` sketches", algorithm 6.

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
const HEADER_BYTES: usize = 8;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const INDEX_BITS: u32 = 14;
const REGISTERS: usize = 1 << INDEX_BITS;
const RANK_BITS: u32 = 64 - INDEX_BITS;
const VALUE_BITS: usize = 6;
const VALUE_MAX: u8 = RANK_BITS as u8 + 1;
const DENSE_BYTES: usize = REGISTERS * VALUE_BITS / 8;
/// Registers that are listed at most: above, the array is smaller.
const LISTED_MAX: usize = DENSE_BYTES / 3;

/// All registers, one byte each.
struct Registers(Vec<u8>);

impl Registers {
    fn empty() -> Registers {
        Registers(vec![0; REGISTERS])
    }

    /// Reads a string; `None` if it is no such thing.
    fn parse(value: &[u8]) -> Option<Registers> {
        let (header, body) = value.split_at_checked(HEADER_BYTES)?;
        let mut registers = Registers::empty();
        if !header.starts_with(MAGIC) {
            return None;
        }
        match header[4] {
            DENSE if body.len() == DENSE_BYTES => {
                for (at, register) in registers.0.iter_mut().enumerate() {
                    let (byte, shift) = (at * VALUE_BITS / 8, at * VALUE_BITS % 8);
                    let next = body.get(byte + 1).copied().unwrap_or(0);
                    let pair = u16::from_le_bytes([body[byte], next]);
                    *register = (pair >> shift & 0x3f) as u8;
                }
            }
            SPARSE if body.len().is_multiple_of(3) => {
                for listed in body.chunks_exact(3) {
                    let at = usize::from(u16::from_le_bytes([listed[0], listed[1]]));
                    *registers.0.get_mut(at)? = listed[2];
                }
            }
            _ => return None,
        }
        registers.0.iter().all(|value| *value <= VALUE_MAX).then_some(registers)
    }

    fn encode(&self) -> Vec<u8> {
        let listed = self.0.iter().filter(|value| **value > 0).count();
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&[if listed <= LISTED_MAX { SPARSE } else { DENSE }, 0, 0, 0]);
        if listed <= LISTED_MAX {
            for (at, value) in self.0.iter().enumerate().filter(|(_, value)| **value > 0) {
                out.extend_from_slice(&(at as u16).to_le_bytes());
                out.push(*value);
            }
            return out;
        }
        out.resize(HEADER_BYTES + DENSE_BYTES, 0);
        let body = &mut out[HEADER_BYTES..];
        for (at, value) in self.0.iter().enumerate() {
            let (byte, shift) = (at * VALUE_BITS / 8, at * VALUE_BITS % 8);
            let [low, high] = (u16::from(*value) << shift).to_le_bytes();
            body[byte] |= low;
            if high > 0 {
                body[byte + 1] |= high;
            }
        }
        out
    }

    /// Adds an element. Returns whether that changed anything.
    fn add(&mut self, element: &[u8]) -> bool {
        let hash = murmur(element, 0xadc8_3b19);
        let at = (hash & (REGISTERS as u64 - 1)) as usize;
        // The bit above the rank bits ends the run of zeros.
        let rank = (hash >> INDEX_BITS | 1 << RANK_BITS).trailing_zeros() as u8 + 1;
        let raised = rank > self.0[at];
        self.0[at] = self.0[at].max(rank);
        raised
    }

    fn merge(&mut self, other: &Registers) {
        self.0.iter_mut().zip(&other.0).for_each(|(mine, other)| *mine = (*mine).max(*other));
    }

    fn count(&self) -> u64 {
        let mut histogram = [0u32; VALUE_MAX as usize + 1];
        self.0.iter().for_each(|value| histogram[usize::from(*value)] += 1);
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
    let invalid = Stop::error("WRONGTYPE Key is not a valid HyperLogLog string value.");
    found.map_or(Some(Registers::empty()), |found| Registers::parse(&found.value)).ok_or(invalid)
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
                assert_eq!(read.0, registers.0);
                // The standard error is 0.81 %.
                let error = (read.count() as f64 - f64::from(n)).abs() / f64::from(n);
                assert!(error < 0.03, "{n}: {}", read.count());
            }
        }
        assert!(!registers.add(&7u32.to_le_bytes()));
    }

    #[test]
    fn other_strings_are_refused() {
        for bad in [
            &b""[..],
            b"HYLL",
            b"HYLL\x01\0\0\0\xff\xff\x01",
            b"HYLL\0\0\0\0short",
            b"HYLL\x01\0\0\0\0\0\x3f",
        ] {
            assert!(Registers::parse(bad).is_none());
        }
    }
}
