//! Places on earth as scores of a sorted set.
//!
//! ```text
//! 52 bits: longitude and latitude, 26 bits each, interleaved; latitude has the lowest bit
//! ```
//!
//! Owns: that encoding, distances, the eleven characters of a geohash.
//! Never knows: commands, the store.
//! Invariant: encoding and distances are those of Redis to the bit, so that scores and answers are.

/// Longitudes in degrees.
const LONGITUDE: (f64, f64) = (-180.0, 180.0);
/// Latitudes in degrees that the Mercator projection of the web can show.
const LATITUDE: (f64, f64) = (-85.051_128_78, 85.051_128_78);
/// Latitudes of the geohash that is shown as text.
const LATITUDE_OF_TEXT: (f64, f64) = (-90.0, 90.0);
const STEPS: u32 = 26;
const CELLS: f64 = (1u64 << STEPS) as f64;
const EARTH_RADIUS_M: f64 = 6_372_797.560_856;

/// A place.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Place {
    pub(super) longitude: f64,
    pub(super) latitude: f64,
}

/// The cell of `value` in `range`.
#[expect(clippy::cast_sign_loss, reason = "places are within their ranges")]
fn cell(value: f64, range: (f64, f64)) -> u32 {
    ((value - range.0) / (range.1 - range.0) * CELLS) as u32
}

/// Puts a zero before each bit.
fn spread(number: u32) -> u64 {
    (0..32).fold(0, |spread, bit| spread | u64::from(number >> bit & 1) << (2 * bit))
}

/// The opposite of [`spread`], on every other bit.
fn gather(number: u64) -> u32 {
    (0..32).fold(0, |gathered, bit| gathered | ((number >> (2 * bit) & 1) as u32) << bit)
}

/// The middle of a cell.
fn middle(cell: u32, (low, high): (f64, f64)) -> f64 {
    let scale = high - low;
    let from = low + f64::from(cell) / CELLS * scale;
    let to = low + (f64::from(cell) + 1.0) / CELLS * scale;
    f64::midpoint(from, to).clamp(low, high)
}

impl Place {
    /// A place that can be encoded.
    pub(super) fn new(longitude: f64, latitude: f64) -> Option<Place> {
        let within = |value: f64, (low, high): (f64, f64)| (low..=high).contains(&value);
        let fits = within(longitude, LONGITUDE) && within(latitude, LATITUDE);
        fits.then_some(Place { longitude, latitude })
    }

    fn bits(self, latitudes: (f64, f64)) -> u64 {
        let (latitude, longitude) =
            (cell(self.latitude, latitudes), cell(self.longitude, LONGITUDE));
        spread(latitude) | spread(longitude) << 1
    }

    /// The score that stands for the place.
    pub(super) fn score(self) -> f64 {
        self.bits(LATITUDE) as f64
    }

    /// The place that a score stands for, if it stands for one.
    pub(super) fn of_score(score: f64) -> Option<Place> {
        #[expect(clippy::cast_sign_loss, reason = "checked")]
        let bits =
            (score >= 0.0 && score < (1u64 << (2 * STEPS)) as f64).then_some(score as u64)?;
        let longitude = middle(gather(bits >> 1), LONGITUDE);
        Some(Place { longitude, latitude: middle(gather(bits), LATITUDE) })
    }

    /// Metres to another place, on a sphere.
    pub(super) fn distance(self, other: Place) -> f64 {
        let (lat, other_lat) = (self.latitude.to_radians(), other.latitude.to_radians());
        let v = ((other.longitude.to_radians() - self.longitude.to_radians()) / 2.0).sin();
        if v == 0.0 {
            return EARTH_RADIUS_M * (other_lat - lat).abs();
        }
        let u = ((other_lat - lat) / 2.0).sin();
        let a = u * u + lat.cos() * other_lat.cos() * v * v;
        2.0 * EARTH_RADIUS_M * a.sqrt().asin()
    }

    /// The geohash as text.
    pub(super) fn text(self) -> String {
        const LETTERS: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let bits = self.bits(LATITUDE_OF_TEXT);
        // 52 bits are ten letters and two bits; the last letter has no meaning.
        let letter =
            |at: u32| if at == 10 { 0 } else { (bits >> (52 - (at + 1) * 5) & 0x1f) as usize };
        (0..11).map(|at| char::from(LETTERS[letter(at)])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_documentation() {
        let palermo = Place::new(13.361_389, 38.115_556).unwrap();
        let catania = Place::new(15.087_269, 37.502_669).unwrap();
        assert_eq!(palermo.score().to_bits(), 3_479_099_956_230_698.0f64.to_bits());
        let stored = |place: Place| Place::of_score(place.score()).unwrap();
        let metres = stored(palermo).distance(stored(catania));
        assert_eq!(format!("{metres:.4}"), "166274.1516");
        assert_eq!(stored(palermo).text(), "sqc8b49rny0");
        assert_eq!(stored(catania).text(), "sqdtr74hyu0");
        assert!(Place::new(181.0, 0.0).is_none() && Place::new(0.0, 86.0).is_none());
        assert!(Place::of_score(-1.0).is_none() && Place::of_score(f64::INFINITY).is_none());
    }
}
