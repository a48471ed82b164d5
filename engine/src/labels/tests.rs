use std::collections::BTreeMap;

use super::*;
use crate::units::KeyHash;

type Model = BTreeMap<(u64, bool, Vec<u8>), (Vec<u8>, Option<u64>, bool)>;

fn hash(owner: &[u8]) -> u64 {
    owner.iter().fold(7, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn identity(number: u64) -> Identity {
    Identity::of(KeyHash(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

fn check(labels: &Labels, model: &Model) {
    assert_eq!(labels.len(), model.len());
    assert_eq!(labels.hidden_len(), model.values().filter(|(_, _, hidden)| *hidden).count());
    let mut owners: BTreeMap<&[u8], Vec<Vec<u8>>> = BTreeMap::new();
    for ((number, aside, key), (owner, limit, hidden)) in model {
        let place = Place { identity: identity(*number), aside: *aside, key };
        let found = labels.get(&place).expect("it is there");
        let (limit, hidden) = (limit.map(UnixMillis), *hidden);
        let label = Label { owner, limit, hidden, chunked: None };
        assert_eq!((found.label, found.identity, found.aside), (label, identity(*number), *aside));
        if !owner.is_empty() {
            assert_eq!(found.key, key);
            owners.entry(owner).or_default().push(key.clone());
        }
    }
    assert_eq!(labels.owners_len(), owners.len());
    for (owner, mut keys) in owners {
        let chain = labels.of_owner(owner, hash(owner));
        let mut chained: Vec<_> = chain.map(|labelled| labelled.key.to_vec()).collect();
        keys.sort();
        chained.sort();
        assert_eq!(chained, keys);
    }
    let rows = (0..labels.rows()).filter_map(|at| labels.row(at)).count();
    assert_eq!(rows, model.len());
}

/// Random programs against a map; the seed is the number of the program.
#[test]
fn labels_are_a_map_with_chains() {
    for seed in 0..60u64 {
        let (mut labels, mut model) = (Labels::default(), Model::new());
        let mut state = seed.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1;
        let mut draw = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for _ in 0..400 {
            let number = draw(12);
            // Two keys share an identity: one in the index, one aside.
            let aside = number % 3 == 0 && draw(2) == 0;
            let key = if aside { format!("aside{}", draw(2)) } else { format!("key{number}") };
            let key = key.into_bytes();
            let owner = [&b""[..], b"ann", b"bob", b"a much longer name"][draw(4) as usize];
            let limit = (draw(2) == 0).then_some(draw(1 << 40));
            let hidden = draw(4) == 0;
            let label = Label { owner, limit: limit.map(UnixMillis), hidden, ..Label::NONE };
            let place = Place { identity: identity(number), aside, key: &key };
            let name = (number, aside, key.clone());
            if draw(4) == 0 {
                labels.remove(&place);
                model.remove(&name);
            } else {
                labels.set(&place, &label, hash(owner));
                model.remove(&name);
                if !label.is_none() {
                    model.insert(name, (owner.to_vec(), limit, label.hidden));
                }
            }
            check(&labels, &model);
        }
        labels.retain(|labelled| labelled.label.hidden);
        model.retain(|_, (_, _, hidden)| *hidden);
        check(&labels, &model);
        labels.retain(|_| false);
        assert_eq!(labels.bytes(), 0, "seed {seed}");
    }
}

#[test]
fn a_chain_is_in_the_order_in_which_keys_came_to_their_owner() {
    let mut labels = Labels::default();
    let ann = Label { owner: b"ann", ..Label::NONE };
    let set = |labels: &mut Labels, number: u64, label: &Label<'_>| {
        let key = format!("k{number}");
        let place = Place { identity: identity(number), aside: false, key: key.as_bytes() };
        labels.set(&place, label, hash(label.owner));
    };
    (0..4).for_each(|number| set(&mut labels, number, &ann));
    set(&mut labels, 0, &Label { limit: Some(UnixMillis(9)), ..ann });
    set(&mut labels, 1, &Label { owner: b"bob", ..ann });
    set(&mut labels, 1, &ann);
    let chain = labels.of_owner(b"ann", hash(b"ann"));
    let keys: Vec<_> = chain.map(|l| String::from_utf8_lossy(l.key).into_owned()).collect();
    assert_eq!(keys, ["k0", "k2", "k3", "k1"]);
    assert_eq!(labels.of_owner(b"bob", hash(b"bob")).count(), 0);
}

#[test]
fn a_key_that_takes_over_an_identity_takes_over_its_label() {
    let mut labels = Labels::default();
    let ann = Label { owner: b"ann", ..Label::NONE };
    for key in [&b"first"[..], b"second"] {
        labels.set(&Place { identity: identity(1), aside: false, key }, &ann, hash(b"ann"));
    }
    let keys: Vec<_> = labels.of_owner(b"ann", hash(b"ann")).map(|l| l.key.to_vec()).collect();
    assert_eq!(keys, [b"second".to_vec()]);
}
