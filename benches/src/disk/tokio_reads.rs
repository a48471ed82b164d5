//! The same reads through tokio-uring, one task per read under way.

use std::cell::RefCell;
use std::fs::File;
use std::rc::Rc;
use std::time::Duration;

use emberlog_engine::io::Buffer;
use tokio_uring::buf::fixed::FixedBufRegistry;
use tokio_uring::buf::{BoundedBuf, IoBuf, IoBufMut};

use super::Failure;
use super::meter::{Meter, Places, Sample};

const BYTES: usize = 4096;

/// Aligned memory for tokio-uring.
struct Aligned(Buffer);

// SAFETY: the memory of a `Buffer` does not move when the value does, and is initialized.
#[expect(unsafe_code, reason = "tokio-uring's buffer trait is unsafe")]
unsafe impl IoBuf for Aligned {
    fn stable_ptr(&self) -> *const u8 {
        self.0.as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.0.len()
    }

    fn bytes_total(&self) -> usize {
        self.0.len()
    }
}

// SAFETY: as above.
#[expect(unsafe_code, reason = "tokio-uring's buffer trait is unsafe")]
unsafe impl IoBufMut for Aligned {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    unsafe fn set_init(&mut self, _bytes: usize) {}
}

/// One round of reads, `depth` under way.
pub(crate) fn round(
    file: File,
    registered: bool,
    depth: usize,
    places: &mut Places,
    limit: Duration,
) -> Result<Sample, Failure> {
    let taken = std::mem::replace(places, Places::new(0, 4096));
    tokio_uring::start(async move {
        let file = Rc::new(tokio_uring::fs::File::from_std(file));
        let places = Rc::new(RefCell::new(taken));
        let buffers = (0..depth).map(|_| Aligned(Buffer::new(BYTES)));
        let registry = Rc::new(FixedBufRegistry::new(buffers));
        if registered {
            registry.register()?;
        }
        let meter = Rc::new(RefCell::new(Meter::start(limit)));
        let mut tasks = Vec::new();
        for index in 0..depth {
            let (file, places, meter) = (Rc::clone(&file), Rc::clone(&places), Rc::clone(&meter));
            let registry = Rc::clone(&registry);
            tasks.push(tokio_uring::spawn(async move {
                let mut own = Aligned(Buffer::new(BYTES));
                while !meter.borrow().over() {
                    let offset = places.borrow_mut().next_offset();
                    let read = if registered {
                        let fixed = registry.check_out(index).ok_or("a buffer is away")?;
                        file.read_fixed_at(fixed.slice(..BYTES), offset).await.0
                    } else {
                        let (read, buffer) = file.read_at(own, offset).await;
                        own = buffer;
                        read
                    };
                    match read {
                        Ok(BYTES) => {}
                        other => return Err(format!("a read moved {other:?}")),
                    }
                    meter.borrow_mut().operations += 1;
                }
                Ok(())
            }));
        }
        for task in tasks {
            task.await?.map_err(Failure::from)?;
        }
        let sample = meter.borrow().sample();
        Ok(sample)
    })
}
