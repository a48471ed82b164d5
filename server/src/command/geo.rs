//! Places in sorted sets: GEOADD, GEOPOS, GEODIST, GEOHASH.
//!
//! Owns: their options and replies. Searches are in `geo_search`.
//! Never knows: how a place becomes a score (see `geohash`).
//! Invariant: a member whose score is no place is absent.

use emberlog_engine::Found;

use super::geohash::Place;
use super::parse::{error, float, is};
use super::table::flag::{DENYOOM, READONLY, TIMED, WRITE};
use super::zset::{self, view};
use super::{Command, Context, Group, Keys, Outcome, Stop, text};
use crate::resp::{Args, OwnedArgs, format_score};

pub(super) const fn entry(
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
];

/// A longitude and a latitude.
pub(super) fn place(longitude: &[u8], latitude: &[u8]) -> Result<Place, Stop> {
    let (longitude, latitude) = (float(longitude)?, float(latitude)?);
    Place::new(longitude, latitude).ok_or_else(|| {
        error(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}"))
    })
}

/// Metres of a unit.
pub(super) fn unit(arg: &[u8]) -> Result<f64, Stop> {
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

pub(super) fn reply_place(cx: &mut Context<'_>, place: Place) {
    cx.reply.array(2);
    coordinate(cx, place.longitude);
    coordinate(cx, place.latitude);
}

pub(super) fn place_of(found: Option<&Found>, member: &[u8]) -> Result<Option<Place>, Stop> {
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
