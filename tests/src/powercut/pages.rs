//! The bytes of one file in pages that copies share.
//!
//! Owns: sparse content. Must never know: files' names, what is durable.
//! Invariant: bytes past the size are zero, so a file that grows shows zeros; a copy costs one pointer per page.

use std::sync::Arc;

/// Bytes per page.
pub const PAGE_BYTES: usize = 4096;

type Page = Arc<[u8; PAGE_BYTES]>;

/// The content of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    size: u64,
    /// `None` is a page of zeros.
    pages: Vec<Option<Page>>,
}

impl Pages {
    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Cuts the file off, or lets it grow by zeros.
    pub fn resize(&mut self, size: u64) {
        let within = (size % PAGE_BYTES as u64) as usize;
        let page = (size / PAGE_BYTES as u64) as usize;
        if size < self.size {
            if let Some(Some(last)) = self.pages.get_mut(page) {
                Arc::make_mut(last)[within..].fill(0);
            }
            self.pages.truncate(page + 1);
        }
        self.pages.resize((size as usize).div_ceil(PAGE_BYTES), None);
        self.size = size;
    }

    /// Puts `bytes` at `offset`; the file grows if need be.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        let end = offset + bytes.len() as u64;
        if end > self.size {
            self.resize(end);
        }
        let (mut at, mut rest) = (offset as usize, bytes);
        while !rest.is_empty() {
            let within = at % PAGE_BYTES;
            let (piece, later) = rest.split_at(rest.len().min(PAGE_BYTES - within));
            let page = &mut self.pages[at / PAGE_BYTES];
            if piece.len() == PAGE_BYTES && piece.iter().all(|&byte| byte == 0) {
                *page = None;
            } else {
                let page = page.get_or_insert_with(|| Arc::new([0; PAGE_BYTES]));
                Arc::make_mut(page)[within..within + piece.len()].copy_from_slice(piece);
            }
            (at, rest) = (at + piece.len(), later);
        }
    }

    /// At most `length` bytes from `offset`; fewer at the end of the file.
    pub fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(left)];
        let mut done = 0;
        while done < bytes.len() {
            let at = offset as usize + done;
            let within = at % PAGE_BYTES;
            let count = (bytes.len() - done).min(PAGE_BYTES - within);
            if let Some(Some(page)) = self.pages.get(at / PAGE_BYTES) {
                bytes[done..done + count].copy_from_slice(&page[within..within + count]);
            }
            done += count;
        }
        bytes
    }

    /// The pages that are not zeros, with their offsets; each is cut at the file's end.
    pub fn written(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.pages.iter().enumerate().filter_map(|(index, page)| {
            let offset = (index * PAGE_BYTES) as u64;
            let length = usize::try_from(self.size - offset).unwrap_or(PAGE_BYTES);
            Some((offset, &page.as_ref()?[..length.min(PAGE_BYTES)]))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a plain vector, over every kind of overlap.
    #[test]
    fn pages_behave_like_a_vector() {
        let seed = fastrand::u64(..);
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut pages, mut plain) = (Pages::default(), Vec::new());
        for step in 0..2000 {
            if rng.u32(..4) == 0 {
                let size = rng.usize(..5 * PAGE_BYTES);
                pages.resize(size as u64);
                plain.resize(size, 0);
            } else {
                let (offset, length) = (rng.usize(..4 * PAGE_BYTES), rng.usize(1..2 * PAGE_BYTES));
                let bytes = vec![if rng.bool() { rng.u8(..) } else { 0 }; length];
                pages.write(offset as u64, &bytes);
                plain.resize(plain.len().max(offset + length), 0);
                plain[offset..offset + length].copy_from_slice(&bytes);
            }
            assert_eq!(pages.size(), plain.len() as u64, "seed {seed}, step {step}");
            let all = pages.read(0, plain.len() + 9);
            assert!(all == plain, "seed {seed}, step {step}: bytes differ");
            let mut again = vec![0; plain.len()];
            for (offset, bytes) in pages.written() {
                again[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
            }
            assert!(again == plain, "seed {seed}, step {step}: written pages differ");
        }
    }
}
