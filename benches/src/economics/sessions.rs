//! Sessions as web frameworks store them, with tokens that no compressor can guess.

use std::fmt::Write;

use fastrand::Rng;

const FIRST_NAMES: &[&str] =
    &["anna", "ben", "chloe", "david", "elena", "farid", "grace", "hiro", "ines", "jonas", "kofi"];
const LAST_NAMES: &[&str] = &["meyer", "okafor", "silva", "tanaka", "novak", "garcia", "dubois"];
const PAGES: &[&str] =
    &["/", "/catalog", "/catalog/shoes", "/account/orders", "/checkout", "/help"];
const ITEMS: &[&str] =
    &["running shoe", "rain jacket", "water bottle", "head lamp", "wool socks", "trail map"];
const AGENTS: &[&str] = &[
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
];

fn pick<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
    of[rng.usize(..of.len())]
}

/// A random token in the letters of base64.
fn token(rng: &mut Rng, length: usize) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..length).map(|_| char::from(LETTERS[rng.usize(..64)])).collect()
}

fn when(rng: &mut Rng) -> String {
    let (day, hour) = (rng.u32(1..=28), rng.u32(0..24));
    let (minute, second, ms) = (rng.u32(0..60), rng.u32(0..60), rng.u32(0..1000));
    format!("2026-11-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// A session as express-session stores it: JSON with the cookie, the user of passport, CSRF secrets, an
/// OAuth token, a cart, what was looked at. About 1 KB.
pub(super) fn json(rng: &mut Rng) -> Vec<u8> {
    let (first, last) = (pick(rng, FIRST_NAMES), pick(rng, LAST_NAMES));
    let id = rng.u32(1..9_000_000);
    let mut cart = String::new();
    for item in 0..rng.usize(0..4) {
        let comma = if item > 0 { "," } else { "" };
        let (sku, price) = (rng.u32(10_000..99_999), rng.u32(100..20_000));
        let name = pick(rng, ITEMS);
        let _ = write!(
            cart,
            "{comma}{{\"sku\":\"{sku}\",\"name\":\"{name}\",\"quantity\":{},\"unitPrice\":{}.{:02}}}",
            rng.u32(1..4),
            price / 100,
            price % 100
        );
    }
    let (visited, visited_before) = (pick(rng, PAGES), pick(rng, PAGES));
    format!(
        "{{\"cookie\":{{\"originalMaxAge\":86400000,\"expires\":\"{}\",\"secure\":true,\"httpOnly\":true,\
         \"path\":\"/\",\"sameSite\":\"lax\"}},\"passport\":{{\"user\":{{\"id\":{id},\"email\":\"{first}.{last}{}@\
         example.com\",\"displayName\":\"{first} {last}\",\"roles\":[\"customer\"],\"locale\":\"en-GB\"}}}},\
         \"csrfSecret\":\"{}\",\"oauth\":{{\"accessToken\":\"{}\",\"tokenType\":\"Bearer\",\"expiresAt\":\"{}\"}},\
         \"cart\":{{\"currency\":\"EUR\",\"items\":[{cart}]}},\"flash\":{{}},\"returnTo\":\"{visited}\",\
         \"history\":[\"{visited_before}\",\"{visited}\"],\"createdAt\":\"{}\",\"lastSeenAt\":\"{}\",\
         \"ip\":\"{}.{}.{}.{}\",\"userAgent\":\"{}\"}}",
        when(rng),
        rng.u32(1..999),
        token(rng, 24),
        token(rng, 64),
        when(rng),
        when(rng),
        when(rng),
        rng.u8(1..224),
        rng.u8(..),
        rng.u8(..),
        rng.u8(1..255),
        pick(rng, AGENTS),
    )
    .into_bytes()
}

/// A session as Flask-Session stores it: a map in `MessagePack`. Some 800 bytes.
pub(super) fn msgpack(rng: &mut Rng) -> Vec<u8> {
    let (first, last) = (pick(rng, FIRST_NAMES), pick(rng, LAST_NAMES));
    let mut out = vec![0x8b];
    let mut field = |name: &str, value: &str| {
        text(&mut out, name);
        text(&mut out, value);
    };
    field("_user_id", &rng.u32(1..9_000_000).to_string());
    field("_id", &hex(rng, 128));
    field("csrf_token", &hex(rng, 40));
    field("username", &format!("{first}.{last}"));
    field("email", &format!("{first}.{last}{}@example.com", rng.u32(1..999)));
    field("user_agent", pick(rng, AGENTS));
    field("last_seen", &when(rng));
    field("next_url", pick(rng, PAGES));
    field("access_token", &token(rng, 64));
    text(&mut out, "_fresh");
    out.push(0xc3);
    text(&mut out, "cart");
    let items = rng.u8(0..4);
    out.push(0x90 | items);
    for _ in 0..items {
        out.push(0x83);
        text(&mut out, "product_id");
        out.push(0xce);
        out.extend((0..4).map(|_| rng.u8(..)));
        text(&mut out, "title");
        text(&mut out, pick(rng, ITEMS));
        text(&mut out, "quantity");
        out.push(rng.u8(1..4));
    }
    out
}

fn hex(rng: &mut Rng, digits: usize) -> String {
    (0..digits).map(|_| char::from(b"0123456789abcdef"[rng.usize(..16)])).collect()
}

/// A string of `MessagePack`.
fn text(out: &mut Vec<u8>, string: &str) {
    let length = u8::try_from(string.len()).expect("short strings");
    if length < 32 {
        out.push(0xa0 | length);
    } else {
        out.extend([0xd9, length]);
    }
    out.extend_from_slice(string.as_bytes());
}

/// What no compressor can make smaller.
pub(super) fn noise(rng: &mut Rng) -> Vec<u8> {
    (0..1000).map(|_| rng.u8(..)).collect()
}
