//! Packing the index into checkpoint pages, and reading them back. Pure functions; the job that
//! writes them is `shard/checkpointing.rs`.

use crate::format::DecodeError;
use crate::format::checkpoint::{
    LABEL_ROW_BYTES, LabelRow, PAGE_BYTES, PAGE_HEADER_BYTES, PAYLOAD_BYTES_MAX, PageHead, Payload,
    ROW_BYTES, decode_page, peek_head, seal_page,
};
use crate::format::label::Label;
use crate::index::{Entry, Identity, decode_row, encode_row};
use crate::units::Namespace;

/// Checkpoint files kept: two that recovery may use and the one being written.
pub(crate) const FILES: u64 = 3;

/// Collects rows and cuts them into sealed pages.
pub(crate) struct Packer {
    number: u64,
    /// Pages sealed so far.
    pub(crate) pages: u64,
    page: Vec<u8>,
    kind: (Payload, Namespace),
    /// Sealed pages not yet taken.
    sealed: Vec<u8>,
}

impl Packer {
    pub(crate) fn new(number: u64) -> Packer {
        Packer {
            number,
            pages: 0,
            page: Vec::with_capacity(PAGE_BYTES),
            kind: (Payload::Index, Namespace(0)),
            sealed: Vec::new(),
        }
    }

    /// Adds an index row.
    pub(crate) fn index_row(&mut self, namespace: Namespace, identity: Identity, entry: Entry) {
        self.begin(Payload::Index, namespace, ROW_BYTES);
        self.page.extend_from_slice(&encode_row(identity, entry));
    }

    /// Adds a side-table row.
    pub(crate) fn side_row(
        &mut self,
        namespace: Namespace,
        key: &[u8],
        identity: Identity,
        entry: Entry,
    ) {
        self.begin(Payload::Side, namespace, ROW_BYTES + 2 + key.len());
        self.page.extend_from_slice(&encode_row(identity, entry));
        self.page.extend_from_slice(&(key.len() as u16).to_le_bytes());
        self.page.extend_from_slice(key);
    }

    /// Adds a label.
    pub(crate) fn label_row(&mut self, namespace: Namespace, row: &LabelRow<'_>) {
        let bytes = LABEL_ROW_BYTES + row.key.len() + row.extension.len();
        self.begin(Payload::Label, namespace, bytes);
        row.encode(&mut self.page);
    }

    /// Makes room for `bytes` of this kind, sealing the page if it is full or of another kind.
    fn begin(&mut self, payload: Payload, namespace: Namespace, bytes: usize) {
        assert!(bytes <= PAYLOAD_BYTES_MAX, "a side row is a key and a few bytes");
        let used = self.page.len().saturating_sub(PAGE_HEADER_BYTES);
        if self.kind != (payload, namespace) || used + bytes > PAYLOAD_BYTES_MAX {
            self.seal();
        }
        self.kind = (payload, namespace);
        if self.page.is_empty() {
            self.page.resize(PAGE_HEADER_BYTES, 0);
        }
    }

    /// Seals the page under way, if it has rows.
    pub(crate) fn seal(&mut self) {
        if self.page.len() <= PAGE_HEADER_BYTES {
            return;
        }
        let head = PageHead {
            number: self.number,
            page: self.pages as u32,
            payload: self.kind.0,
            namespace: self.kind.1,
            bytes: (self.page.len() - PAGE_HEADER_BYTES) as u32,
        };
        self.page.resize(PAGE_BYTES, 0);
        seal_page(&head, &mut self.page);
        self.sealed.extend_from_slice(&self.page);
        self.page.clear();
        self.pages += 1;
    }

    /// Bytes of sealed pages waiting to be taken.
    pub(crate) fn ready_bytes(&self) -> usize {
        self.sealed.len()
    }

    /// Takes the sealed pages.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sealed)
    }
}

/// A row read back.
pub(crate) enum LoadedRow<'a> {
    Index(Namespace, Identity, Entry),
    Side(Namespace, &'a [u8], Identity, Entry),
    /// Identity, whether the key is aside, the key, its label.
    Label(Namespace, Identity, bool, &'a [u8], Label<'a>),
}

/// Whose index rows a page says it has, and how many, by its header alone: a hint, at most what a page
/// can hold.
pub(crate) fn peek_page(bytes: &[u8]) -> Option<(Namespace, u32)> {
    let head = peek_head(bytes).ok().filter(|head| head.payload == Payload::Index)?;
    Some((head.namespace, head.bytes.min(PAYLOAD_BYTES_MAX as u32) / ROW_BYTES as u32))
}

/// Decodes a page and hands every row to `row`.
///
/// # Errors
/// When the page or a row is damaged; rows before it have been handed over.
pub(crate) fn load_page(
    bytes: &[u8],
    number: u64,
    page: u32,
    mut row: impl FnMut(LoadedRow<'_>),
) -> Result<(), DecodeError> {
    let (head, mut payload) = decode_page(bytes, number, page)?;
    let bad = DecodeError::Field("checkpoint row");
    while head.payload == Payload::Label && !payload.is_empty() {
        let (read, rest) = LabelRow::decode(payload)?;
        let identity = Identity::from_bits(read.identity).ok_or(bad)?;
        let label = Label::decode(read.extension)?;
        row(LoadedRow::Label(head.namespace, identity, read.aside, read.key, label));
        payload = rest;
    }
    while !payload.is_empty() {
        let (raw, rest) = payload.split_first_chunk::<ROW_BYTES>().ok_or(bad)?;
        let (identity, entry) = decode_row(*raw).ok_or(bad)?;
        payload = rest;
        match head.payload {
            Payload::Index => row(LoadedRow::Index(head.namespace, identity, entry)),
            Payload::Side => {
                let (len, rest) = payload.split_first_chunk::<2>().ok_or(bad)?;
                let len = usize::from(u16::from_le_bytes(*len));
                let (key, rest) = rest.split_at_checked(len).ok_or(bad)?;
                row(LoadedRow::Side(head.namespace, key, identity, entry));
                payload = rest;
            }
            Payload::Label => return Err(bad),
        }
    }
    Ok(())
}
