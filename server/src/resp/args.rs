//! The arguments of one command, as views into the bytes they came in.
//!
//! Owns: [`Args`], [`OwnedArgs`], [`Span`].
//! Never knows: which command it is.
//! Invariant: every span lies within its base, so indexing never leaves the buffer.

use std::ops::{Index, Range};

/// Place of one argument: byte range within a base buffer, which is below 4 GiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// The arguments of one command, command name first. `Copy`; no allocation.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    base: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// Views `spans` of `base`.
    pub fn new(base: &'a [u8], spans: &'a [Span]) -> Args<'a> {
        Args { base, spans }
    }

    /// Number of arguments, the command name included.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is not even a command name.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Argument `index`, or `None` past the end.
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.spans.get(index).map(|span| &self.base[span.range()])
    }

    /// Argument `index`, for an index that the arity of the command guarantees.
    ///
    /// # Panics
    /// Past the end.
    pub fn at(&self, index: usize) -> &'a [u8] {
        &self.base[self.spans[index].range()]
    }

    /// The arguments from `first` on.
    #[must_use]
    pub fn from(&self, first: usize) -> Args<'a> {
        Args { base: self.base, spans: self.spans.get(first..).unwrap_or_default() }
    }

    /// The first `count` arguments.
    #[must_use]
    pub fn first(&self, count: usize) -> Args<'a> {
        Args { base: self.base, spans: &self.spans[..count.min(self.spans.len())] }
    }

    /// All arguments in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + use<'a> {
        let base = self.base;
        self.spans.iter().map(move |span| &base[span.range()])
    }

    /// Sum of the lengths of all arguments, in bytes.
    pub fn bytes(&self) -> usize {
        self.spans.iter().map(|span| span.range().len()).sum()
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];
    fn index(&self, index: usize) -> &[u8] {
        self.at(index)
    }
}

/// Arguments that outlive their input buffer: commands queued by MULTI.
#[derive(Clone, Debug, Default)]
pub struct OwnedArgs {
    base: Vec<u8>,
    spans: Vec<Span>,
}

impl OwnedArgs {
    /// Appends one argument.
    pub fn push(&mut self, arg: &[u8]) {
        let start = offset(self.base.len());
        self.base.extend_from_slice(arg);
        self.spans.push(Span { start, end: offset(self.base.len()) });
    }

    /// Forgets them, and keeps their memory.
    pub fn clear(&mut self) {
        self.base.clear();
        self.spans.clear();
    }

    /// A view of them.
    pub fn view(&self) -> Args<'_> {
        Args::new(&self.base, &self.spans)
    }
}

impl From<Args<'_>> for OwnedArgs {
    fn from(args: Args<'_>) -> OwnedArgs {
        let mut owned = OwnedArgs {
            base: Vec::with_capacity(args.bytes()),
            spans: Vec::with_capacity(args.len()),
        };
        for arg in args.iter() {
            owned.push(arg);
        }
        owned
    }
}

/// Converts an offset within a command. Commands are limited to the query buffer, whose limit is
/// validated to stay below 4 GiB.
#[expect(clippy::expect_used, reason = "the limit of the query buffer keeps offsets below 4 GiB")]
pub(super) fn offset(position: usize) -> u32 {
    u32::try_from(position).expect("a command is smaller than 4 GiB")
}
