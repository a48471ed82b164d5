//! Replies, written straight into a connection's output.
//!
//! Owns: the shapes of RESP2 and RESP3, and which one stands in for the other.
//! Never knows: when the bytes may leave.
//! Invariant: an error or simple string never contains CR or LF, whatever it quotes.

use super::number::format_score;

/// Protocol version of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Proto {
    /// RESP2, until HELLO 3.
    #[default]
    Resp2,
    /// RESP3.
    Resp3,
}

/// Writer of replies. Appends to a buffer it borrows; O(length), no other allocation.
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    proto: Proto,
}

impl<'a> Reply<'a> {
    /// Appends to `out` in version `proto`.
    pub fn new(out: &'a mut Vec<u8>, proto: Proto) -> Reply<'a> {
        Reply { out, proto }
    }

    /// The protocol version in use.
    pub fn proto(&self) -> Proto {
        self.proto
    }

    /// Changes the version for what follows.
    pub fn set_proto(&mut self, proto: Proto) {
        self.proto = proto;
    }

    /// Bytes in the buffer so far.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether the buffer is empty.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Takes back everything after byte `len` of the buffer.
    pub fn truncate(&mut self, len: usize) {
        self.out.truncate(len);
    }

    /// The bytes after byte `start` of the buffer.
    pub fn since(&self, start: usize) -> &[u8] {
        self.out.get(start..).unwrap_or_default()
    }

    /// Appends bytes that are already a reply.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn header(&mut self, tag: u8, number: i64) {
        let mut digits = itoa::Buffer::new();
        self.out.push(tag);
        self.out.extend_from_slice(digits.format(number).as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    fn count(&mut self, tag: u8, count: usize) {
        self.header(tag, i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text);
    }

    /// An error; `text` starts with its code, as in `ERR syntax error`.
    pub fn error(&mut self, text: &str) {
        self.line(b'-', text);
    }

    fn line(&mut self, tag: u8, text: &str) {
        self.out.push(tag);
        error_line(text.as_bytes(), self.out);
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer.
    pub fn integer(&mut self, number: i64) {
        self.header(b':', number);
    }

    /// A count or length as an integer.
    pub fn size(&mut self, number: usize) {
        self.count(b':', number);
    }

    /// The beginning of a string of `bytes` bytes, which are to follow, and `\r\n` after them.
    pub fn bulk_header(&mut self, bytes: usize) {
        self.count(b'$', bytes);
    }

    /// A binary-safe string.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.out.reserve(bytes.len() + 16);
        self.count(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer as a string.
    pub fn bulk_integer(&mut self, number: i64) {
        let mut digits = itoa::Buffer::new();
        self.bulk(digits.format(number).as_bytes());
    }

    /// Text for people: a verbatim string in RESP3.
    pub fn text(&mut self, text: &str) {
        if self.proto == Proto::Resp2 {
            return self.bulk(text.as_bytes());
        }
        self.count(b'=', text.len() + 4);
        self.out.extend_from_slice(b"txt:");
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// No value.
    pub fn null(&mut self) {
        self.out.extend_from_slice(match self.proto {
            Proto::Resp2 => b"$-1\r\n",
            Proto::Resp3 => b"_\r\n",
        });
    }

    /// No array.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(match self.proto {
            Proto::Resp2 => b"*-1\r\n",
            Proto::Resp3 => b"_\r\n",
        });
    }

    /// Header of an array of `count` replies.
    pub fn array(&mut self, count: usize) {
        self.count(b'*', count);
    }

    /// Header of a map of `count` pairs.
    pub fn map(&mut self, count: usize) {
        match self.proto {
            Proto::Resp2 => self.count(b'*', count * 2),
            Proto::Resp3 => self.count(b'%', count),
        }
    }

    /// Header of a set of `count` members.
    pub fn set(&mut self, count: usize) {
        self.count(if self.proto == Proto::Resp2 { b'*' } else { b'~' }, count);
    }

    /// Header of a push message of `count` replies.
    pub fn push(&mut self, count: usize) {
        self.count(if self.proto == Proto::Resp2 { b'*' } else { b'>' }, count);
    }

    /// A truth value; 1 or 0 in RESP2.
    pub fn boolean(&mut self, yes: bool) {
        match self.proto {
            Proto::Resp2 => self.integer(i64::from(yes)),
            Proto::Resp3 => self.line(b'#', if yes { "t" } else { "f" }),
        }
    }

    /// A number of any length; a string in RESP2.
    pub fn big_number(&mut self, digits: &str) {
        match self.proto {
            Proto::Resp2 => self.bulk(digits.as_bytes()),
            Proto::Resp3 => self.line(b'(', digits),
        }
    }

    /// Text in a format of three letters; a string in RESP2.
    pub fn verbatim(&mut self, format: &[u8], text: &[u8]) {
        if self.proto == Proto::Resp2 {
            return self.bulk(text);
        }
        let mut letters = *b"   ";
        letters.iter_mut().zip(format).for_each(|(letter, given)| *letter = *given);
        self.count(b'=', text.len() + 4);
        error_line(&letters, self.out);
        self.out.push(b':');
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A double that is already written; a string in RESP2.
    pub fn number_text(&mut self, text: &str) {
        match self.proto {
            Proto::Resp2 => self.bulk(text.as_bytes()),
            Proto::Resp3 => self.line(b',', text),
        }
    }

    /// A double; a string in RESP2.
    pub fn double(&mut self, value: f64) {
        self.number_text(&format_score(value));
    }
}

/// Appends `text` with every CR, LF and control byte replaced, so that quoted input cannot forge
/// another reply.
pub fn error_line(text: &[u8], out: &mut Vec<u8>) {
    out.extend(text.iter().map(|byte| if byte.is_ascii_control() { b' ' } else { *byte }));
}
