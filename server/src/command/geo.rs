//! Places in sorted sets: GEOADD, GEOPOS, GEODIST, GEOHASH, GEOSEARCH.
//!
//! Owns: their options and replies.
//! Never knows: how a place becomes a score (see `geohash`).
//! Invariant: a search looks at every member once: the set is one record and read as a whole.

use emberlog_engine::Found;

use super::collection::replace;
use super::geohash::Place;
use super::parse::{error, float, integer, is};
use super::table::flag::{DENYOOM, READONLY, TIMED, WRITE};
use super::zset::{self, encoded, view};
use super::{Command, Context, Group, Keys, Outcome, Stop, text};
use crate::resp::{Args, OwnedArgs, format_score, parse_double};
use crate::value::Kind;
use crate::value::zset::{Entry, order};

const fn entry(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, arity, Group::Geo, since, summary, handler)
        .keys(Keys::ONE)
        .flags(READONLY | TIMED)
}

pub(super) static COMMANDS: &[Command] = &[
    entry("geoadd", -5, "3.2.0", "Adds places to a sorted set.", geoadd)
        .flags(WRITE | DENYOOM | TIMED),
    entry("geopos", -2, "3.2.0", "Returns longitudes and latitudes of members.", geopos),
    entry("geodist", -4, "3.2.0", "Returns the distance between two members.", geodist),
    entry("geohash", -2, "3.2.0", "Returns members as geohash strings.", geohash),
    entry("geosearch", -7, "6.2.0", "Returns members within a circle or a box.", geosearch),
    entry("geosearchstore", -8, "6.2.0", "Stores members within a circle or a box.", searchstore)
        .keys(Keys::Range { first: 1, last: 2, step: 1 })
        .flags(WRITE | DENYOOM | TIMED),
];

/// A longitude and a latitude.
fn place(longitude: &[u8], latitude: &[u8]) -> Result<Place, Stop> {
    let (longitude, latitude) = (float(longitude)?, float(latitude)?);
    Place::new(longitude, latitude).ok_or_else(|| {
        error(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}"))
    })
}

/// Metres of a unit.
fn unit(arg: &[u8]) -> Result<f64, Stop> {
    const UNITS: [(&str, f64); 4] = [("m", 1.0), ("km", 1000.0), ("ft", 0.3048), ("mi", 1609.34)];
    let found = UNITS.iter().find(|(name, _)| is(arg, name)).map(|(_, metres)| *metres);
    found.ok_or(Stop::error("ERR unsupported unit provided. please use M, KM, FT, MI"))
}

/// GEOADD is ZADD with places for scores.
fn geoadd(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let option = |word: &[u8]| ["nx", "xx", "ch"].iter().any(|name| is(word, name));
    let words = args.iter().skip(2).take_while(|word| option(word)).count();
    let has = |name: &str| args.iter().skip(2).take(words).any(|word| is(word, name));
    let places = args.from(2 + words);
    if !places.len().is_multiple_of(3) || has("nx") && has("xx") {
        return Err(text::SYNTAX);
    }
    let mut zadd = OwnedArgs::default();
    zadd.push(b"zadd");
    args.iter().skip(1).take(1 + words).for_each(|arg| zadd.push(arg));
    for at in (0..places.len()).step_by(3) {
        let place = place(&places[at], &places[at + 1])?;
        zadd.push(format_score(place.score()).as_bytes());
        zadd.push(&places[at + 2]);
    }
    zset::zadd(cx, zadd.view(), false)
}

/// Digits of a coordinate, as Redis shows them.
fn coordinate(cx: &mut Context<'_>, value: f64) {
    let text = format!("{value:.17}");
    cx.reply.number_text(text.trim_end_matches('0').trim_end_matches('.'));
}

fn reply_place(cx: &mut Context<'_>, place: Place) {
    cx.reply.array(2);
    coordinate(cx, place.longitude);
    coordinate(cx, place.latitude);
}

fn place_of(found: Option<&Found>, member: &[u8]) -> Result<Option<Place>, Stop> {
    Ok(view(found)?.score(member).and_then(Place::of_score))
}

fn geopos(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let found = zset::read(cx, args)?;
    cx.reply.array(args.len() - 2);
    for member in args.iter().skip(2) {
        match place_of(found.as_ref(), member)? {
            Some(place) => reply_place(cx, place),
            None => cx.reply.null_array(),
        }
    }
    Ok(())
}

fn geohash(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let found = zset::read(cx, args)?;
    cx.reply.array(args.len() - 2);
    for member in args.iter().skip(2) {
        match place_of(found.as_ref(), member)? {
            Some(place) => cx.reply.bulk(place.text().as_bytes()),
            None => cx.reply.null(),
        }
    }
    Ok(())
}

fn geodist(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let metres = match args.get(4) {
        None => 1.0,
        Some(_) if args.len() > 5 => return Err(text::SYNTAX),
        Some(arg) => unit(arg)?,
    };
    let found = zset::read(cx, args)?;
    let (a, b) = (place_of(found.as_ref(), &args[2])?, place_of(found.as_ref(), &args[3])?);
    match a.zip(b) {
        Some((a, b)) => cx.reply.bulk(format!("{:.4}", a.distance(b) / metres).as_bytes()),
        None => cx.reply.null(),
    }
    Ok(())
}

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
                word if !stores && is(word, "withdist") => search.flag(|s| &mut s.with_distance),
                word if !stores && is(word, "withhash") => search.flag(|s| &mut s.with_hash),
                word if !stores && is(word, "withcoord") => search.flag(|s| &mut s.with_place),
                word if stores && is(word, "storedist") => search.flag(|s| &mut s.store_distance),
                word if is(word, "any") => search.flag(|s| &mut s.any),
                word if is(word, "asc") || is(word, "desc") => {
                    search.order = Some(is(word, "asc"));
                    0
                }
                word if is(word, "count") && left >= 1 => {
                    let count = integer(&rest[0])?;
                    if count < 1 {
                        return Err(Stop::error("ERR COUNT must be > 0"));
                    }
                    search.count = usize::try_from(count).ok();
                    1
                }
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
                _ => return Err(text::SYNTAX),
            };
        }
        search.check(if stores { "geosearchstore" } else { "geosearch" })?;
        Ok(search)
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
    let places = search.run(found.as_ref())?;
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

fn searchstore(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let found = zset::read(cx, args.from(1))?;
    let search = Search::parse(args.from(3), true, found.as_ref())?;
    let places = search.run(found.as_ref())?;
    let mut entries: Vec<Entry<'_>> = Vec::with_capacity(places.len());
    for (distance, (score, member)) in places {
        let score = if search.store_distance { distance / search.metres } else { score };
        entries.push((score, member));
    }
    entries.sort_by(order);
    let target = cx.key(&args[1])?;
    replace(cx, &target, Kind::ZSet, encoded(&entries).as_deref(), "geosearchstore")?;
    cx.reply.size(entries.len());
    Ok(())
}
