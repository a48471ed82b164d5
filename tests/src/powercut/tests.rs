//! The file system and the images without a mount: what must survive does, and what may be lost is lost.

use super::hub::{Hub, Moment};
use super::image::{Draw, Style, Tree, Under};
use super::pages::Pages;
use super::volume::{Change, Entry, File, Ino, Lie, Node, ROOT, Volume};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

fn with_file(name: &str) -> (Volume, Ino) {
    let mut volume = Volume::default();
    let ino = volume.add(Node::File(File::default()));
    volume.place(ROOT, name.as_ref(), ino);
    (volume, ino)
}

fn write(volume: &mut Volume, ino: Ino, offset: u64, fill: u8, sectors: usize) -> u64 {
    let bytes = vec![fill; sectors * 512].into();
    volume.change(ino, Change::Write(offset, bytes)).unwrap()
}

fn names(tree: &Tree) -> &BTreeMap<OsString, Tree> {
    let Tree::Folder(names) = tree else { panic!("a folder was expected") };
    names
}

fn file<'a>(tree: &'a Tree, name: &str) -> &'a Pages {
    let Some(Tree::File(pages)) = names(tree).get(&OsString::from(name)) else {
        panic!("{name} is not in the image")
    };
    pages
}

fn image(volume: &Volume, style: Style) -> Tree {
    Draw::with_style(volume, &mut Rng::with_seed(1), style).tree(ROOT)
}

/// One write of the random programs: its range in sectors, and what is known about it.
struct Written {
    from: usize,
    to: usize,
    seq: u64,
    answered: Option<usize>,
    begun: usize,
    durable: bool,
}

/// A sector of an image may hold a write if no durable write of the sector began after that one was answered.
fn may_hold(writes: &[Written], sector: usize, index: Option<usize>) -> bool {
    let holder = index.map(|index| &writes[index]);
    writes.iter().filter(|it| it.durable && (it.from..it.to).contains(&sector)).all(|durable| {
        holder.is_some_and(|holder| {
            std::ptr::eq(holder, durable)
                || holder.answered.is_none_or(|answered| answered > durable.begun)
        })
    })
}

#[test]
fn every_sector_of_every_image_is_one_that_the_syncs_allow() {
    let seed = fastrand::u64(..1 << 32);
    let mut rng = Rng::with_seed(seed);
    let mut lost = 0;
    for program in 0..200 {
        let (mut volume, ino) = with_file("f");
        let mut writes: Vec<Written> = Vec::new();
        let mut syncs: Vec<Vec<u64>> = Vec::new();
        for step in 0..40 {
            match rng.u32(..8) {
                0..4 if writes.len() < 250 => {
                    let (from, length) = (rng.usize(..12), rng.usize(1..6));
                    let fill = writes.len() as u8 + 1;
                    let seq = write(&mut volume, ino, from as u64 * 512, fill, length);
                    let to = from + length;
                    writes.push(Written {
                        from,
                        to,
                        seq,
                        answered: None,
                        begun: step,
                        durable: false,
                    });
                }
                4..6 => {
                    let open: Vec<usize> =
                        (0..writes.len()).filter(|&at| writes[at].answered.is_none()).collect();
                    if let Some(&at) = open.get(rng.usize(..open.len().max(1))) {
                        let durable = rng.bool();
                        volume.answered(ino, writes[at].seq, durable);
                        writes[at].answered = Some(step);
                        writes[at].durable |= durable;
                    }
                }
                6 => syncs.push(volume.covered(ino)),
                _ if !syncs.is_empty() => {
                    let covered = syncs.swap_remove(rng.usize(..syncs.len()));
                    volume.synced(ino, &covered);
                    for it in writes.iter_mut().filter(|it| covered.contains(&it.seq)) {
                        it.durable = true;
                    }
                }
                _ => {}
            }
        }
        let mut draw = Draw::new(&volume, ROOT, &mut rng, Under::Store);
        let style = draw.style();
        let tree = draw.tree(ROOT);
        lost += draw.fates.lost + draw.fates.torn;
        if matches!(style, Style::Rubbish(_)) {
            continue;
        }
        let pages = file(&tree, "f");
        for sector in 0..18 {
            let bytes = pages.read(sector as u64 * 512, 512);
            let fill = bytes.first().copied().unwrap_or(0);
            assert!(bytes.iter().all(|&byte| byte == fill), "seed {seed}: a sector is torn");
            let holder = (fill > 0).then(|| usize::from(fill) - 1);
            assert!(
                may_hold(&writes, sector, holder),
                "seed {seed}, program {program}, {style:?}: sector {sector} holds {holder:?}"
            );
        }
    }
    assert!(lost > 100, "seed {seed}: only {lost} writes were lost or torn");
}

#[test]
fn a_sync_covers_what_was_answered_before_it_was_asked_for() {
    let (mut volume, ino) = with_file("f");
    let first = write(&mut volume, ino, 0, 1, 1);
    let second = write(&mut volume, ino, 512, 2, 1);
    volume.answered(ino, first, false);
    let covered = volume.covered(ino);
    volume.answered(ino, second, false);
    assert_eq!(file(&image(&volume, Style::Nothing), "f").size(), 0, "before the sync is answered");
    volume.synced(ino, &covered);
    assert_eq!(file(&image(&volume, Style::Nothing), "f").read(0, 2000), [1; 512]);
    let all = file(&image(&volume, Style::Everything), "f").read(0, 2000);
    assert_eq!(all, [[1; 512], [2; 512]].concat());
}

#[test]
fn names_are_durable_by_syncs_of_their_folder_only() {
    let (mut volume, ino) = with_file("a.tmp");
    let seq = write(&mut volume, ino, 0, 7, 1);
    volume.answered(ino, seq, true);
    let rename = Entry::Rename("a.tmp".into(), "a".into());
    let seq = volume.rename(ROOT, rename).unwrap();
    volume.answered(ROOT, seq, false);
    volume.synced(ino, &volume.covered(ino));
    assert_eq!(file(&image(&volume, Style::Nothing), "a.tmp").size(), 512);
    assert_eq!(file(&image(&volume, Style::Everything), "a").size(), 512);
    volume.synced(ROOT, &volume.covered(ROOT));
    assert_eq!(file(&image(&volume, Style::Nothing), "a").size(), 512);
}

#[test]
fn a_name_never_survives_without_the_change_that_made_it() {
    for seed in 0..300 {
        let mut volume = Volume::default();
        let ino = volume.add(Node::File(File::default()));
        volume.rename(ROOT, Entry::Link("a.tmp".into(), ino));
        volume.rename(ROOT, Entry::Rename("a.tmp".into(), "a".into()));
        volume.rename(ROOT, Entry::Unlink("a".into()));
        let mut rng = Rng::with_seed(seed);
        let tree = Draw::with_style(&volume, &mut rng, Style::Subset(50)).tree(ROOT);
        let found: Vec<_> = names(&tree).keys().map(|name| name.to_string_lossy()).collect();
        assert!(matches!(found.len(), 0 | 1), "seed {seed}: {found:?}");
    }
}

#[test]
fn lies_keep_what_was_synced_in_danger() {
    for (lie, safe) in [(Lie::None, true), (Lie::DurableWrites, false), (Lie::Everything, false)] {
        let (mut volume, ino) = with_file("f");
        volume.lie = lie;
        let seq = write(&mut volume, ino, 0, 1, 1);
        volume.answered(ino, seq, true);
        assert_eq!(file(&image(&volume, Style::Nothing), "f").size() == 512, safe, "{lie:?}");
    }
}

#[test]
fn an_image_is_the_same_after_a_round_trip() {
    let (mut volume, ino) = with_file("f");
    write(&mut volume, ino, 5 * 512, 9, 3);
    let tree = image(&volume, Style::Everything);
    let mut again = Volume::default();
    let root = tree.add_to(&mut again);
    let drawn = Draw::with_style(&again, &mut Rng::with_seed(1), Style::Nothing).tree(root);
    assert_eq!(drawn, tree);
    let folder = tempfile::tempdir().unwrap();
    tree.write_to(&folder.path().join("image")).unwrap();
    let bytes = std::fs::read(folder.path().join("image/f")).unwrap();
    assert_eq!(bytes, file(&tree, "f").read(0, 1 << 20));
}

#[test]
fn the_world_stands_still_at_its_moment() {
    let hub = Hub::new(1, Lie::None);
    hub.arm(Moment::Rare(2));
    for rare in [false, true, false] {
        hub.lock().event(rare);
    }
    assert!(!hub.wait_frozen(Duration::ZERO));
    hub.lock().event(true);
    assert!(hub.wait_frozen(Duration::ZERO));
    hub.release();
    assert!(!hub.wait_frozen(Duration::ZERO));
    drop(hub.enter());
}
