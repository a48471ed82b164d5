//! What is left of the files when the process or the machine ends.

use super::carry::sectors;
use super::{Crash, Flight, SimDisk};
use crate::io::IoRequest;
use crate::sim::faults::{Fault, FaultCounts};
use crate::sim::image::{Fate, Image, scramble};
use crate::sim::rng::Rng;

impl SimDisk {
    /// Ends the process or the machine: requests in flight are finished, half finished or never
    /// begun, and nothing more comes of them.
    pub fn crash(&mut self, crash: Crash) {
        self.trace.note("crash", &[crash as u64, self.clock_us]);
        tracing::debug!(at_us = self.clock_us, ?crash, in_flight = self.flying.len(), "crash");
        self.counts.note(match crash {
            Crash::Power => Fault::PowerCut,
            Crash::Kill => Fault::ProcessDeath,
        });
        self.started.clear();
        self.ready.clear();
        self.cut_after = None;
        for flight in std::mem::take(&mut self.flying).into_values() {
            self.crash_flight(flight, crash);
        }
        let mut files = std::mem::take(&mut self.files);
        for image in files.values_mut() {
            image.process_died();
            if crash == Crash::Power {
                let mut deck = Deck::draw(&mut self.rng);
                let mut chance = Rng::named(self.rng.next_u64(), "rubbish");
                let (rng, counts) = (&mut self.rng, &mut self.counts);
                image.power_cut(|| deck.fate(rng, counts), &mut chance);
            }
        }
        self.files = files;
    }

    fn crash_flight(&mut self, flight: Flight, crash: Crash) {
        match flight.request {
            IoRequest::Write { file, offset, buffer, bytes, .. } => {
                let mut deck = Deck::draw(&mut self.rng);
                let order = self.serial;
                let Some(image) = self.files.get_mut(&file) else { return };
                if offset + bytes as u64 > image.bytes() {
                    return;
                }
                for (sector, mut content) in sectors(offset, &buffer[..bytes]) {
                    match deck.fate(&mut self.rng, &mut self.counts) {
                        Fate::Old => continue,
                        Fate::New => {}
                        Fate::Garbage => scramble(&mut content, &mut self.rng),
                    }
                    self.bad_sectors.remove(&(file, sector));
                    match crash {
                        Crash::Power => image.write_durable(sector, &content),
                        Crash::Kill => image.write_volatile(sector, &content, order, false),
                    }
                }
            }
            IoRequest::Sync { file } => {
                if let Some(image) = self.files.get_mut(&file)
                    && self.rng.chance(1, 2)
                {
                    image.sync(flight.order);
                }
            }
            IoRequest::Allocate { file, bytes } => {
                let old = self.files.get(&file).map_or(0, Image::bytes);
                let bytes = match self.rng.below(3) {
                    0 => old,
                    1 => self.rng.range(old.min(bytes), bytes.max(old)),
                    _ => bytes,
                };
                if bytes > 0 || self.rng.chance(1, 2) {
                    self.files.entry(file).or_default().resize(bytes);
                }
            }
            IoRequest::Remove { file } => {
                if self.rng.chance(1, 2) {
                    self.files.remove(&file);
                }
            }
            IoRequest::List | IoRequest::Read { .. } | IoRequest::Train(_) => {}
        }
    }
}

/// How the sectors of one write fare at a crash: together more often than each by itself, because
/// that is what real crashes look like and what finds bugs at the level of whole writes.
#[derive(Clone, Copy, Debug)]
enum Deck {
    Nothing,
    Everything,
    Front(u64),
    Back(u64),
    Any { garbage: bool },
}

impl Deck {
    fn draw(rng: &mut Rng) -> Deck {
        match rng.below(8) {
            0 | 1 => Deck::Nothing,
            2 | 3 => Deck::Everything,
            4 => Deck::Front(rng.below(16)),
            5 => Deck::Back(rng.below(16)),
            6 => Deck::Any { garbage: false },
            _ => Deck::Any { garbage: true },
        }
    }

    fn fate(&mut self, rng: &mut Rng, counts: &mut FaultCounts) -> Fate {
        let fate = self.next(rng);
        match fate {
            Fate::Old => counts.note(Fault::LostSector),
            Fate::Garbage => counts.note(Fault::GarbageSector),
            Fate::New => {}
        }
        fate
    }

    fn next(&mut self, rng: &mut Rng) -> Fate {
        let keep = |keep| if keep { Fate::New } else { Fate::Old };
        match self {
            Deck::Nothing => Fate::Old,
            Deck::Everything => Fate::New,
            Deck::Front(left) => {
                let inside = *left > 0;
                *left = left.saturating_sub(1);
                keep(inside)
            }
            Deck::Back(left) => {
                let outside = *left > 0;
                *left = left.saturating_sub(1);
                keep(!outside)
            }
            Deck::Any { garbage } if *garbage && rng.chance(1, 3) => Fate::Garbage,
            Deck::Any { .. } => keep(rng.chance(1, 2)),
        }
    }
}
