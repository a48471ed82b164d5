//! Pieces that the encodings of collections share.
//!
//! Owns: the header, LEB128 numbers, length-prefixed byte strings.
//! Never knows: which collection it is.
//! Invariant: nothing here trusts a length before it has compared it with what is there.

/// Version and count.
pub(super) const HEADER_BYTES: usize = 5;

/// Splits off the header of layout `version`: the count, and what follows.
pub(super) fn header(value: &[u8], version: u8) -> Option<(usize, &[u8])> {
    let (header, body) = value.split_at_checked(HEADER_BYTES)?;
    let count = u32::from_le_bytes([header[1], header[2], header[3], header[4]]);
    (header[0] == version).then_some((count as usize, body))
}

/// Begins a value of layout `version` with room for `bytes` bytes of members.
pub(super) fn begin(version: u8, bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes + HEADER_BYTES);
    out.push(version);
    out.extend_from_slice(&[0; HEADER_BYTES - 1]);
    out
}

/// Fills in the count. A value is at most 4 GiB, so it never holds more members than fit.
pub(super) fn set_count(out: &mut [u8], count: usize) {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    out[1..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
}

/// Takes one LEB128 number of at most 32 bits from the front.
pub(super) fn varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = varint64(bytes)?;
    u32::try_from(number).ok().map(|number| (number as usize, rest))
}

/// Takes one LEB128 number of at most 63 bits from the front.
pub(super) fn varint64(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number: u64 = 0;
    for (position, byte) in bytes.iter().take(9).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[position + 1..]));
        }
    }
    None
}

/// Appends a number as LEB128.
pub(super) fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    loop {
        let [low, ..] = (number & 0x7f).to_le_bytes();
        number >>= 7;
        if number == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// Takes one length-prefixed byte string from the front.
pub(super) fn item(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = varint(bytes)?;
    rest.split_at_checked(len)
}

/// Appends a length-prefixed byte string.
pub(super) fn put_item(item: &[u8], out: &mut Vec<u8>) {
    put_varint(item.len() as u64, out);
    out.extend_from_slice(item);
}

/// Most bytes that [`put_item`] adds to an item.
pub(super) const ITEM_OVERHEAD: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_long_ones_are_refused() {
        for number in [0, 1, 127, 128, 16_384, u64::from(u32::MAX), (1 << 63) - 1] {
            let mut out = Vec::new();
            put_varint(number, &mut out);
            out.push(7);
            assert_eq!(varint64(&out), Some((number, &[7][..])));
            assert_eq!(varint(&out).is_some(), u32::try_from(number).is_ok());
        }
        assert_eq!(varint64(&[0xff; 12]), None);
        assert_eq!(varint64(&[0x80]), None);
    }
}
