//! Searches for places in sorted sets: GEOSEARCH, GEOSEARCHSTORE, and their elder relatives GEORADIUS and
//! GEORADIUSBYMEMBER.
//!
//! Owns: their options and replies.
//! Never knows: how a place becomes a score (see `geohash`).
//! Invariant: a search looks at every member once: the set is one record and read as a whole.

use emberlog_engine::Found;

use super::collection::replace;
use super::geo::{entry, place, place_of, reply_place, unit};
use super::geohash::Place;
use super::parse::{error, integer, is};
use super::table::flag::{DENYOOM, TIMED, WRITE};
use super::zset::{self, encoded, view};
use super::{Command, Context, Keys, Outcome, Stop, text};
use crate::resp::{Args, parse_double};
use crate::value::Kind;
use crate::value::zset::{Entry, order};

pub(super) static COMMANDS: &[Command] = &[
    entry("geosearch", -7, "6.2.0", "Returns members within a circle or a box.", geosearch),
    entry("geosearchstore", -8, "6.2.0", "Stores members within a circle or a box.", searchstore)
        .keys(Keys::Range { first: 1, last: 2, step: 1 })
        .flags(WRITE | DENYOOM | TIMED),
    entry("georadius", -6, "3.2.0", "Returns or stores members within a circle.", |cx, args| {
        radius(cx, args, false, true)
    })
    .keys(Keys::Storing { from: 6, words: &["store", "storedist"] })
    .flags(WRITE | DENYOOM | TIMED),
    entry(
        "georadiusbymember",
        -5,
        "3.2.0",
        "Returns or stores members within a circle around one of them.",
        |cx, args| radius(cx, args, true, true),
    )
    .keys(Keys::Storing { from: 5, words: &["store", "storedist"] })
    .flags(WRITE | DENYOOM | TIMED),
    entry("georadius_ro", -6, "3.2.10", "Returns members within a circle.", |cx, args| {
        radius(cx, args, false, false)
    }),
    entry(
        "georadiusbymember_ro",
        -5,
        "3.2.10",
        "Returns members within a circle around one of them.",
        |cx, args| radius(cx, args, true, false),
    ),
];

/// What a search looks in. Metres.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Area {
    Circle { radius: f64 },
    Box { width: f64, height: f64 },
}

impl Area {
    /// The distance from `centre` to `place`, if that is within the area.
    fn distance(self, centre: Place, place: Place) -> Option<f64> {
        let distance = centre.distance(place);
        let within = match self {
            Area::Circle { radius } => distance <= radius,
            Area::Box { width, height } => {
                let straight_up = Place { longitude: centre.longitude, ..place };
                let north = centre.distance(straight_up);
                north <= height / 2.0 && place.distance(straight_up) <= width / 2.0
            }
        };
        within.then_some(distance)
    }
}

/// Options of GEOSEARCH.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent words of the command")]
struct Search {
    /// Where it begins; nowhere, if there is no set.
    from: Vec<Option<Place>>,
    areas: Vec<Area>,
    metres: f64,
    order: Option<bool>,
    count: Option<usize>,
    any: bool,
    with_distance: bool,
    with_hash: bool,
    with_place: bool,
    store_distance: bool,
}

/// The place of the member that a search begins at, if there is a set at all.
fn centre(found: Option<&Found>, member: &[u8]) -> Result<Option<Place>, Stop> {
    let place = place_of(found, member)?;
    if place.is_none() && found.is_some() {
        return Err(Stop::error("ERR could not decode requested zset member"));
    }
    Ok(place)
}

fn length(arg: &[u8], text: &'static str) -> Result<f64, Stop> {
    parse_double(arg).ok_or(Stop::error(text))
}

impl Search {
    fn parse(args: Args<'_>, stores: bool, found: Option<&Found>) -> Result<Search, Stop> {
        let mut search = Search { metres: 1.0, ..Search::default() };
        let mut at = 0;
        while let Some(word) = args.get(at) {
            let left = args.len() - at - 1;
            let rest = args.from(at + 1);
            at += 1 + match word {
                word if stores && is(word, "storedist") => search.flag(|s| &mut s.store_distance),
                word if is(word, "frommember") && left >= 1 => {
                    search.from.push(centre(found, &rest[0])?);
                    1
                }
                word if is(word, "fromlonlat") && left >= 2 => {
                    search.from.push(Some(place(&rest[0], &rest[1])?));
                    2
                }
                word if is(word, "byradius") && left >= 2 => search.circle(rest)?,
                word if is(word, "bybox") && left >= 3 => search.rectangle(rest)?,
                word => search.option(word, rest, !stores)?,
            };
        }
        search.check(if stores { "geosearchstore" } else { "geosearch" })?;
        Ok(search)
    }

    /// Reads an option that all searches have; `shows`: those about the reply too. Returns how many
    /// arguments it takes beyond itself.
    fn option(&mut self, word: &[u8], rest: Args<'_>, shows: bool) -> Result<usize, Stop> {
        Ok(match word {
            word if shows && is(word, "withdist") => self.flag(|s| &mut s.with_distance),
            word if shows && is(word, "withhash") => self.flag(|s| &mut s.with_hash),
            word if shows && is(word, "withcoord") => self.flag(|s| &mut s.with_place),
            word if is(word, "any") => self.flag(|s| &mut s.any),
            word if is(word, "asc") || is(word, "desc") => {
                self.order = Some(is(word, "asc"));
                0
            }
            word if is(word, "count") && !rest.is_empty() => {
                let count = integer(&rest[0])?;
                if count < 1 {
                    return Err(Stop::error("ERR COUNT must be > 0"));
                }
                self.count = usize::try_from(count).ok();
                1
            }
            _ => return Err(text::SYNTAX),
        })
    }

    /// Reads what GEORADIUS and its relatives have behind the key. Returns also where to store.
    fn parse_radius<'a>(
        args: Args<'a>,
        by_member: bool,
        may_store: bool,
        found: Option<&Found>,
    ) -> Result<(Search, Option<&'a [u8]>), Stop> {
        let mut search = Search { metres: 1.0, ..Search::default() };
        let mut at = if by_member { 1 } else { 2 };
        search.from.push(if by_member {
            centre(found, &args[0])?
        } else {
            Some(place(&args[0], &args[1])?)
        });
        if by_member && found.is_none() {
            // Nothing is around a member of nothing; Redis does not look at the radius then.
            search.areas.push(Area::Circle { radius: 0.0 });
            at += 2;
        } else {
            at += search.circle(args.from(at))?;
        }
        let mut target = None;
        while let Some(word) = args.get(at) {
            let rest = args.from(at + 1);
            at += 1 + match word {
                word if may_store && !rest.is_empty() && is(word, "store") => {
                    (target, search.store_distance) = (Some(args.at(at + 1)), false);
                    1
                }
                word if may_store && !rest.is_empty() && is(word, "storedist") => {
                    (target, search.store_distance) = (Some(args.at(at + 1)), true);
                    1
                }
                word => search.option(word, rest, true)?,
            };
        }
        if target.is_some() && (search.with_distance || search.with_hash || search.with_place) {
            return Err(Stop::error(
                "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and \
                 WITHCOORD options",
            ));
        }
        search.check("georadius")?;
        Ok((search, target))
    }

    fn flag(&mut self, field: fn(&mut Search) -> &mut bool) -> usize {
        *field(self) = true;
        0
    }

    fn circle(&mut self, args: Args<'_>) -> Result<usize, Stop> {
        let radius = length(&args[0], "ERR need numeric radius")?;
        if radius < 0.0 {
            return Err(Stop::error("ERR radius cannot be negative"));
        }
        self.metres = unit(&args[1])?;
        self.areas.push(Area::Circle { radius: radius * self.metres });
        Ok(2)
    }

    fn rectangle(&mut self, args: Args<'_>) -> Result<usize, Stop> {
        let width = length(&args[0], "ERR need numeric width")?;
        let height = length(&args[1], "ERR need numeric height")?;
        if width < 0.0 || height < 0.0 {
            return Err(Stop::error("ERR height or width cannot be negative"));
        }
        self.metres = unit(&args[2])?;
        let (width, height) = (width * self.metres, height * self.metres);
        self.areas.push(Area::Box { width, height });
        Ok(3)
    }

    fn check(&self, name: &str) -> Result<(), Stop> {
        let one = |count: usize, what: &str| {
            let text = format!("ERR exactly one of {what} can be specified for {name}");
            if count == 1 { Ok(()) } else { Err(error(text)) }
        };
        one(self.from.len(), "FROMMEMBER or FROMLONLAT")?;
        one(self.areas.len(), "BYRADIUS and BYBOX")?;
        if self.any && self.count.is_none() {
            return Err(Stop::error("ERR the ANY argument requires COUNT argument"));
        }
        Ok(())
    }

    /// The members found, each with its distance in metres, in the order asked for.
    fn run<'b>(&self, found: Option<&'b Found>) -> Result<Vec<(f64, Entry<'b>)>, Stop> {
        let set = view(found)?;
        let (Some(Some(centre)), Some(area)) = (self.from.first(), self.areas.first()) else {
            return Ok(Vec::new());
        };
        let place =
            |entry: Entry<'b>| Some((area.distance(*centre, Place::of_score(entry.0)?)?, entry));
        let mut places: Vec<_> = set.entries().filter_map(place).collect();
        // A count without an order means the nearest, unless any will do.
        let order = self.order.or_else(|| (self.count.is_some() && !self.any).then_some(true));
        if self.any
            && let Some(count) = self.count
        {
            places.truncate(count);
        }
        if let Some(ascending) = order {
            places.sort_by(|a, b| {
                let order = a.0.total_cmp(&b.0);
                if ascending { order } else { order.reverse() }
            });
        }
        places.truncate(self.count.unwrap_or(usize::MAX));
        Ok(places)
    }
}

fn geosearch(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let found = zset::read(cx, args)?;
    let search = Search::parse(args.from(2), false, found.as_ref())?;
    reply(cx, &search, found.as_ref())
}

fn searchstore(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let found = zset::read(cx, args.from(1))?;
    let search = Search::parse(args.from(3), true, found.as_ref())?;
    store(cx, &search, found.as_ref(), &args[1], "geosearchstore")
}

/// GEORADIUS and its relatives.
fn radius(cx: &mut Context<'_>, args: Args<'_>, by_member: bool, may_store: bool) -> Outcome {
    let found = zset::read(cx, args)?;
    let (search, target) =
        Search::parse_radius(args.from(2), by_member, may_store, found.as_ref())?;
    match target {
        Some(target) => store(cx, &search, found.as_ref(), target, "georadiusstore"),
        None => reply(cx, &search, found.as_ref()),
    }
}

fn reply(cx: &mut Context<'_>, search: &Search, found: Option<&Found>) -> Outcome {
    let places = search.run(found)?;
    let parts = [search.with_distance, search.with_hash, search.with_place];
    let parts = parts.iter().filter(|part| **part).count();
    cx.reply.array(places.len());
    for (distance, (score, member)) in places {
        if parts > 0 {
            cx.reply.array(1 + parts);
        }
        cx.reply.bulk(member);
        if search.with_distance {
            cx.reply.bulk(format!("{:.4}", distance / search.metres).as_bytes());
        }
        if search.with_hash {
            cx.reply.integer(score as i64);
        }
        if let (true, Some(place)) = (search.with_place, Place::of_score(score)) {
            reply_place(cx, place);
        }
    }
    Ok(())
}

/// Stores what a search finds under `target`.
fn store(
    cx: &mut Context<'_>,
    search: &Search,
    found: Option<&Found>,
    target: &[u8],
    event: &str,
) -> Outcome {
    let places = search.run(found)?;
    let mut entries: Vec<Entry<'_>> = Vec::with_capacity(places.len());
    for (distance, (score, member)) in places {
        let score = if search.store_distance { distance / search.metres } else { score };
        entries.push((score, member));
    }
    entries.sort_by(order);
    let target = cx.key(target)?;
    replace(cx, &target, Kind::ZSet, encoded(&entries).as_deref(), event)?;
    cx.reply.size(entries.len());
    Ok(())
}
