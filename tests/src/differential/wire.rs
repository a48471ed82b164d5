//! Replies in both protocols, told apart to the last type byte.
//!
//! Owns: reading a reply of RESP2 or RESP3. Must never know: what a reply means.
//! Invariant: two replies that a client could tell apart are different values.

use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::resp::encode;

/// Longest string that a test expects, in bytes.
const BULK_BYTES_MAX: usize = 64 << 20;

/// One reply.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// `+`
    Simple(String),
    /// `-`
    Error(String),
    /// `:`
    Int(i64),
    /// `$`
    Bulk(Vec<u8>),
    /// `,`, as text
    Double(String),
    /// `#t`, `#f`
    Bool(bool),
    /// `=`, `(`, `!`: the line and what follows
    Other(String, Vec<u8>),
    /// `$-1`
    Nil,
    /// `*-1`
    NilArray,
    /// `_`
    Null,
    /// `*`, `~`, `%` (keys and values in turn), `>`
    Many(char, Vec<Value>),
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Simple(text) => write!(f, "+{text}"),
            Value::Error(text) => write!(f, "-{text}"),
            Value::Int(number) => write!(f, ":{number}"),
            Value::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Value::Double(text) => write!(f, ",{text}"),
            Value::Bool(truth) => write!(f, "#{truth}"),
            Value::Other(line, bytes) => write!(f, "{line} {}", bytes.escape_ascii()),
            Value::Nil => write!(f, "$-1"),
            Value::NilArray => write!(f, "*-1"),
            Value::Null => write!(f, "_"),
            Value::Many(tag, items) => {
                write!(f, "{tag}")?;
                f.debug_list().entries(items).finish()
            }
        }
    }
}

fn bad(why: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

fn read_line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    input.take(1 << 20).read_until(b'\n', &mut line)?;
    match line.strip_suffix(b"\r\n") {
        Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
        None => Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection")),
    }
}

fn read_bytes(input: &mut impl BufRead, length: i64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(length).ok().filter(|length| *length <= BULK_BYTES_MAX);
    let mut bytes = vec![0; length.ok_or_else(|| bad("length of a string".to_owned()))? + 2];
    input.read_exact(&mut bytes)?;
    bytes.truncate(bytes.len() - 2);
    Ok(bytes)
}

/// Reads one reply.
///
/// # Errors
/// Whatever the socket says; bytes that are no reply.
pub fn read(input: &mut impl BufRead) -> io::Result<Value> {
    let line = read_line(input)?;
    let tag = line.chars().next().ok_or_else(|| bad("empty line".to_owned()))?;
    let rest = &line[1..];
    let number = || rest.parse::<i64>().map_err(|_| bad(format!("not a number: {line}")));
    Ok(match tag {
        '+' => Value::Simple(rest.to_owned()),
        '-' => Value::Error(rest.to_owned()),
        ':' => Value::Int(number()?),
        ',' => Value::Double(rest.to_owned()),
        '#' => Value::Bool(rest == "t"),
        '_' => Value::Null,
        '(' => Value::Other(line, Vec::new()),
        '$' if rest == "-1" => Value::Nil,
        '*' if rest == "-1" => Value::NilArray,
        '$' => Value::Bulk(read_bytes(input, number()?)?),
        '=' | '!' => Value::Other(tag.to_string(), read_bytes(input, number()?)?),
        '*' | '~' | '>' | '%' => {
            let count = if tag == '%' { number()? * 2 } else { number()? };
            Value::Many(tag, (0..count).map(|_| read(input)).collect::<io::Result<_>>()?)
        }
        _ => return Err(bad(format!("unknown reply: {line}"))),
    })
}

/// A connection.
pub struct Link {
    input: BufReader<TcpStream>,
    /// Push messages that came between replies.
    pub pushed: Vec<Value>,
}

impl Link {
    /// Connects; `limit` is the longest that any reply may take.
    ///
    /// # Errors
    /// Whatever the socket says.
    pub fn connect(address: SocketAddr, limit: Duration) -> io::Result<Link> {
        let stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(limit))?;
        Ok(Link { input: BufReader::new(stream), pushed: Vec::new() })
    }

    /// Sends a command without waiting.
    ///
    /// # Errors
    /// Whatever the socket says.
    pub fn send(&mut self, args: &[Vec<u8>]) -> io::Result<()> {
        let mut out = Vec::new();
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        encode(&mut out, &args);
        self.input.get_mut().write_all(&out)
    }

    /// Whether a reply has begun to arrive.
    ///
    /// # Errors
    /// Whatever the socket says.
    pub fn has_reply(&mut self) -> io::Result<bool> {
        if !self.input.buffer().is_empty() {
            return Ok(true);
        }
        let socket = self.input.get_mut();
        socket.set_nonblocking(true)?;
        let peeked = socket.peek(&mut [0]);
        socket.set_nonblocking(false)?;
        match peeked {
            Ok(count) => Ok(count > 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits for the next reply.
    ///
    /// # Errors
    /// As [`read`].
    pub fn reply(&mut self) -> io::Result<Value> {
        loop {
            match read(&mut self.input)? {
                Value::Many('>', items) => self.pushed.push(Value::Many('>', items)),
                value => return Ok(value),
            }
        }
    }

    /// Waits for the next message of a subscription, in either protocol.
    ///
    /// # Errors
    /// As [`read`].
    pub fn message(&mut self) -> io::Result<Value> {
        read(&mut self.input)
    }

    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// As [`Link::send`] and [`Link::reply`].
    pub fn call(&mut self, args: &[Vec<u8>]) -> io::Result<Value> {
        self.send(args)?;
        self.reply()
    }

    /// [`Link::call`] with the words of `line`.
    ///
    /// # Errors
    /// As [`Link::call`].
    pub fn words(&mut self, line: &str) -> io::Result<Value> {
        let args: Vec<Vec<u8>> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        self.call(&args)
    }
}
