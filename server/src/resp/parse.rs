//! Requests: an incremental parser that never copies an argument.
//!
//! Owns: the progress within one command, so that bytes are looked at once however they arrive.
//! Never knows: sockets, commands, replies.
//! Invariant: the same bytes give the same commands wherever they are split; a claimed count or
//! length is checked against its limit before it is believed, and never allocated for.

use super::args::{Args, Span, offset};
use super::inline;

/// What one request may be. Tighter before authentication.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most arguments of a command, its name included.
    pub args_max: usize,
    /// Longest argument, in bytes.
    pub bulk_max: usize,
    /// Longest argument that is collected before anybody is asked, in bytes; see [`Parsed::Long`].
    pub whole_max: usize,
    /// Whether these are the limits of a client that has not authenticated; only words the error.
    pub unauthenticated: bool,
}

impl Limits {
    /// What a client may send that has not authenticated yet.
    pub const UNAUTHENTICATED: Limits =
        Limits { args_max: 10, bulk_max: 16 << 10, whole_max: 16 << 10, unauthenticated: true };
}

/// Longest inline command and longest header line, in bytes.
const LINE_MAX: usize = 64 << 10;

/// What the bytes so far amount to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// Not a whole command yet. The whole argument that is being received needs `missing` more
    /// bytes at least (1 if unknown).
    Incomplete {
        /// Lower bound of the bytes still to come.
        missing: usize,
    },
    /// A command: [`Parser::args`] has its arguments (none at all for an empty line).
    Command,
    /// An argument longer than [`Limits::whole_max`] is being received, of which something is still in
    /// the input or to come: it is collected after [`Parser::keep`], or taken away piece by piece as
    /// [`Parser::taken`] is told.
    Long(Long),
}

/// A long argument that is being received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Long {
    /// Which argument, from 0, the name of the command, on.
    pub argument: usize,
    /// Its whole length, in bytes.
    pub length: usize,
    /// Where what has not been taken of it begins in the input.
    pub offset: usize,
    /// How many bytes of it have not been taken.
    pub left: usize,
}

/// Bytes that are not the protocol. The connection cannot be resynchronised and must be closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProtocolError {
    /// An inline command or a header line without an end.
    LineTooLong,
    /// A quote that is not closed.
    UnbalancedQuotes,
    /// The count of arguments is not a number or above the limit.
    InvalidCount,
    /// The count of arguments is above the limit for unauthenticated clients.
    UnauthenticatedCount,
    /// An argument does not start with `$` but with this byte.
    ExpectedDollar(u8),
    /// The length of an argument is not a number or above the limit.
    InvalidLength,
    /// The length of an argument is above the limit for unauthenticated clients.
    UnauthenticatedLength,
    /// An argument is longer or shorter than it said.
    MissingTerminator,
}

impl std::fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Protocol error: ")?;
        match self {
            Self::LineTooLong => f.write_str("too big inline request"),
            Self::UnbalancedQuotes => f.write_str("unbalanced quotes in request"),
            Self::InvalidCount => f.write_str("invalid multibulk length"),
            Self::UnauthenticatedCount => f.write_str("unauthenticated multibulk length"),
            Self::ExpectedDollar(byte) => {
                write!(f, "expected '$', got '{}'", byte.escape_ascii())
            }
            Self::InvalidLength => f.write_str("invalid bulk length"),
            Self::UnauthenticatedLength => f.write_str("unauthenticated bulk length"),
            Self::MissingTerminator => f.write_str("missing CRLF after bulk"),
        }
    }
}

/// Progress within one command. Positions count from the first byte of the command.
#[derive(Debug, Default)]
pub struct Parser {
    spans: Vec<Span>,
    /// Unquoted bytes of an inline command; empty for the others.
    scratch: Vec<u8>,
    /// Bytes looked at and understood.
    position: usize,
    /// Arguments still to come; 0 before the header.
    remaining: usize,
    /// Length of the argument being received, once its header is known.
    bulk: Option<usize>,
    /// How many bytes of it have been taken out of the input.
    taken: usize,
    /// Whether it is collected however long it is.
    kept: bool,
}

impl Parser {
    /// Looks at `input`, which starts with the first byte of the command; bytes seen by an earlier
    /// call must be unchanged.
    ///
    /// # Errors
    /// See [`ProtocolError`].
    pub fn parse(&mut self, input: &[u8], limits: &Limits) -> Result<Parsed, ProtocolError> {
        if self.position == 0 {
            match input.first() {
                None => return Ok(Parsed::Incomplete { missing: 1 }),
                Some(b'*') => {}
                Some(_) => return self.parse_inline(input, limits),
            }
            let Some((count, next)) = number_line(input, 1)? else {
                return Ok(Parsed::Incomplete { missing: 1 });
            };
            let count = count.ok_or(ProtocolError::InvalidCount)?;
            self.position = next;
            // Zero and negative counts are an empty command, as in Redis.
            let Ok(count) = usize::try_from(count) else { return Ok(Parsed::Command) };
            if count > limits.args_max {
                return Err(if limits.unauthenticated {
                    ProtocolError::UnauthenticatedCount
                } else {
                    ProtocolError::InvalidCount
                });
            }
            self.remaining = count;
        }
        while self.remaining > 0 {
            if let Some(parsed) = self.parse_argument(input, limits)? {
                return Ok(parsed);
            }
        }
        Ok(Parsed::Command)
    }

    /// Takes one argument; `Some` if it is not all there, or long.
    fn parse_argument(
        &mut self,
        input: &[u8],
        limits: &Limits,
    ) -> Result<Option<Parsed>, ProtocolError> {
        const MORE: Option<Parsed> = Some(Parsed::Incomplete { missing: 1 });
        let length = if let Some(length) = self.bulk {
            length
        } else {
            match input.get(self.position) {
                None => return Ok(MORE),
                Some(b'$') => {}
                Some(other) => return Err(ProtocolError::ExpectedDollar(*other)),
            }
            let Some((length, next)) = number_line(input, self.position + 1)? else {
                return Ok(MORE);
            };
            let length = length.and_then(|length| usize::try_from(length).ok());
            let length = length.ok_or(ProtocolError::InvalidLength)?;
            if length > limits.bulk_max {
                return Err(if limits.unauthenticated {
                    ProtocolError::UnauthenticatedLength
                } else {
                    ProtocolError::InvalidLength
                });
            }
            self.position = next;
            self.bulk = Some(length);
            length
        };
        let left = length - self.taken;
        if length > limits.whole_max && left > 0 && !self.kept {
            let (argument, offset) = (self.spans.len(), self.position);
            return Ok(Some(Parsed::Long(Long { argument, length, offset, left })));
        }
        let end = self.position + left;
        match input.get(end..end + 2) {
            Some(b"\r\n") => {}
            Some(_) => return Err(ProtocolError::MissingTerminator),
            None => return Ok(Some(Parsed::Incomplete { missing: end + 2 - input.len() })),
        }
        self.spans.push(Span { start: offset(self.position), end: offset(end) });
        self.position = end + 2;
        self.next_argument();
        self.remaining -= 1;
        Ok(None)
    }

    fn next_argument(&mut self) {
        (self.bulk, self.taken, self.kept) = (None, 0, false);
    }

    /// Has the long argument collected as any other.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// Says that `bytes` bytes of the long argument have been removed from the input, at its offset.
    /// One that has been taken whole stands among the arguments as an empty one.
    ///
    /// # Panics
    /// If no argument is being received, or it has not so many bytes left.
    pub fn taken(&mut self, bytes: usize) {
        let left = self.bulk.map_or(0, |length| length - self.taken);
        assert!(bytes <= left, "only an argument's own bytes are taken");
        self.taken += bytes;
    }

    /// The arguments that have been received of a command that is not complete.
    pub fn args_so_far<'a>(&'a self, input: &'a [u8]) -> Args<'a> {
        Args::new(input, &self.spans)
    }

    fn parse_inline(&mut self, input: &[u8], limits: &Limits) -> Result<Parsed, ProtocolError> {
        let window = &input[..input.len().min(LINE_MAX)];
        let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
            return if input.len() >= LINE_MAX {
                Err(ProtocolError::LineTooLong)
            } else {
                Ok(Parsed::Incomplete { missing: 1 })
            };
        };
        inline::split(&input[..end], &mut self.scratch, &mut self.spans)
            .ok_or(ProtocolError::UnbalancedQuotes)?;
        if self.spans.len() > limits.args_max {
            return Err(ProtocolError::UnauthenticatedCount);
        }
        self.position = end + 1;
        Ok(Parsed::Command)
    }

    /// The arguments of the command that [`Parser::parse`] found in `input`.
    pub fn args<'a>(&'a self, input: &'a [u8]) -> Args<'a> {
        Args::new(if self.scratch.is_empty() { input } else { &self.scratch }, &self.spans)
    }

    /// Length of the command that was found, in bytes of the input.
    pub fn consumed(&self) -> usize {
        self.position
    }

    /// Whether a command has been begun.
    pub fn is_partial(&self) -> bool {
        self.position > 0
    }

    /// Forgets the command, to begin the next one. Keeps a little memory for its arguments.
    pub fn reset(&mut self) {
        self.spans.clear();
        self.spans.shrink_to(16);
        if !self.scratch.is_empty() {
            self.scratch = Vec::new();
        }
        self.position = 0;
        self.remaining = 0;
        self.next_argument();
    }
}

/// Reads `<integer>\r\n` at `start`. `Ok(None)`: not all there yet. The number is `None` when the
/// line is not a number; the second value is the position after the line.
fn number_line(input: &[u8], start: usize) -> Result<Option<(Option<i64>, usize)>, ProtocolError> {
    let rest = input.get(start..).unwrap_or_default();
    if let Some((number, length)) = short_number(rest) {
        return Ok(Some((Some(number), start + length)));
    }
    // No number that is accepted has more than 20 characters; longer lines are refused at once.
    let window = &rest[..rest.len().min(22)];
    let Some(length) = window.iter().position(|byte| *byte == b'\r') else {
        return if window.len() < 22 { Ok(None) } else { Ok(Some((None, start))) };
    };
    match rest.get(length + 1) {
        None => Ok(None),
        Some(b'\n') => Ok(Some((super::parse_i64(&rest[..length]), start + length + 2))),
        Some(_) => Err(ProtocolError::MissingTerminator),
    }
}

/// Nearly every number of a request: one to eight digits, all there. Its value and the length of
/// its line. Anything else is left to the careful way.
pub(super) fn short_number(rest: &[u8]) -> Option<(i64, usize)> {
    let mut number: i64 = 0;
    for (length, byte) in rest.iter().take(9).enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            number = number.wrapping_mul(10).wrapping_add(i64::from(digit));
            continue;
        }
        let canonical = length == 1 || length > 1 && rest[0] != b'0';
        let ends = *byte == b'\r' && rest.get(length + 1) == Some(&b'\n');
        return (canonical && ends).then_some((number, length + 2));
    }
    None
}
