//! Requests of the Redis protocol: wherever the bytes are split, the same commands come out.

use emberlog_server::resp::{Limits, Parsed, Parser, ProtocolError};

/// What a stream of bytes amounts to: its commands, the error that ends it, the bytes left over.
type Reading = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>, usize);

/// Reads `bytes`, which arrive in pieces whose lengths `next_piece` says.
fn read(bytes: &[u8], limits: &Limits, mut next_piece: impl FnMut() -> usize) -> Reading {
    let mut parser = Parser::default();
    let (mut start, mut arrived) = (0, 0);
    let mut commands = Vec::new();
    loop {
        match parser.parse(&bytes[start..arrived], limits) {
            Err(error) => return (commands, Some(error), 0),
            Ok(Parsed::Command) => {
                let input = &bytes[start..arrived];
                commands.push(parser.args(input).iter().map(<[u8]>::to_vec).collect());
                assert!(parser.consumed() > 0, "a command has bytes");
                start += parser.consumed();
                assert!(start <= arrived, "no more is consumed than has arrived");
                parser.reset();
            }
            // Of a length that is not collected unasked.
            Ok(Parsed::Long(long)) => {
                assert!(long.offset <= arrived - start && long.left == long.length);
                parser.keep();
            }
            Ok(Parsed::Incomplete { missing }) => {
                assert!(missing > 0, "an incomplete command misses something");
                if arrived == bytes.len() {
                    return (commands, None, arrived - start);
                }
                arrived = bytes.len().min(arrived + next_piece().max(1));
            }
        }
    }
}

/// # Panics
/// When two ways to split the same bytes give different commands.
pub fn resp(data: &[u8]) {
    let Some(([choice, pieces], bytes)) = data.split_first_chunk::<2>() else { return };
    let tight = Limits { args_max: 3, bulk_max: 5, whole_max: 2, unauthenticated: false };
    let usual = Limits { args_max: 1 << 20, bulk_max: 64 << 20, ..tight };
    let usual = Limits { whole_max: 1 << 20, ..usual };
    let limits = [usual, Limits::UNAUTHENTICATED, tight][usize::from(*choice) % 3];
    let whole = read(bytes, &limits, || usize::MAX >> 1);
    assert_eq!(whole, read(bytes, &limits, || 1), "byte by byte");
    let mut state = u32::from(*pieces);
    let uneven = read(bytes, &limits, || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as usize % 9
    });
    assert_eq!(whole, uneven, "in uneven pieces");
}
