//! Owned, page-aligned buffers for direct I/O, and the pool that recycles them.
//!
//! Owns: the memory that crosses the disk seam.
//! Invariant: a buffer's memory never moves while it lives, also when the `Buffer` value moves.

use memmap2::MmapMut;

/// Page-aligned memory of a fixed length, zeroed when fresh.
#[derive(Debug)]
pub struct Buffer {
    map: MmapMut,
    /// Position in the driver's table of registered buffers, for buffers of the fixed pool.
    registered: Option<u16>,
}

impl Buffer {
    /// A fresh zeroed buffer of at least `bytes` bytes, rounded up to whole 4 KiB pages.
    ///
    /// # Panics
    /// When the operating system refuses the memory.
    pub fn new(bytes: usize) -> Buffer {
        let bytes = bytes.next_multiple_of(4096).max(4096);
        #[expect(clippy::expect_used, reason = "out of memory is not survivable here")]
        let map = MmapMut::map_anon(bytes).expect("anonymous memory for an I/O buffer");
        Buffer { map, registered: None }
    }

    /// Marks this buffer as entry `index` of the driver's registered buffers.
    pub(crate) fn register(&mut self, index: u16) {
        self.registered = Some(index);
    }

    /// Entry in the driver's registered buffers, if it is one of them.
    pub fn registered(&self) -> Option<u16> {
        self.registered
    }
}

impl std::ops::Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.map
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.map
    }
}

/// Recycles buffers by size: small ones for reads of records, large ones for batches and scans.
#[derive(Debug)]
pub struct BufferPool {
    small: Vec<Buffer>,
    large: Vec<Buffer>,
    small_bytes: usize,
    large_bytes: usize,
}

impl BufferPool {
    /// A pool that keeps at most `small_count` buffers of `small_bytes` and `large_count` of
    /// `large_bytes`. `registered` are buffers that the driver has registered with the kernel;
    /// they serve first.
    pub fn new(
        small_bytes: usize,
        small_count: usize,
        large_bytes: usize,
        large_count: usize,
        registered: Vec<Buffer>,
    ) -> BufferPool {
        let mut pool = BufferPool {
            small: Vec::with_capacity(small_count),
            large: Vec::with_capacity(large_count),
            small_bytes,
            large_bytes,
        };
        for buffer in registered {
            pool.give(buffer);
        }
        pool
    }

    /// A buffer of at least `bytes` bytes with unspecified content.
    pub fn take(&mut self, bytes: usize) -> Buffer {
        let (shelf, size) = if bytes <= self.small_bytes {
            (&mut self.small, self.small_bytes)
        } else if bytes <= self.large_bytes {
            (&mut self.large, self.large_bytes)
        } else {
            return Buffer::new(bytes);
        };
        shelf.pop().unwrap_or_else(|| Buffer::new(size))
    }

    /// Takes a buffer back; frees it when its shelf is full or its size is not one of the pool's.
    pub fn give(&mut self, buffer: Buffer) {
        let shelf = if buffer.len() == self.small_bytes {
            &mut self.small
        } else if buffer.len() == self.large_bytes {
            &mut self.large
        } else {
            return;
        };
        if shelf.len() < shelf.capacity() {
            shelf.push(buffer);
        }
    }
}
