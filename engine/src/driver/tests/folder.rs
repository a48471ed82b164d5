//! Opening a store folder: layout, lock, and errors that say what to do.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::*;

fn refusal(path: &Path) -> String {
    match open_store(path, DriverChoice::Auto) {
        Ok(_) => panic!("{} should not open", path.display()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_layout_is_made_and_strangers_are_ignored() {
    everywhere(|store| {
        for file in [FileId::Superblock, FileId::Checkpoint(1), segment(0), segment(1_234_567)] {
            store.allocate(file, 4096).unwrap();
        }
        let root = store.folder.path().to_path_buf();
        for name in ["LOCK", "superblock", "checkpoint-1", "segments/000000.seg"] {
            assert!(root.join(name).is_file(), "{name}");
        }
        assert!(root.join("segments/1234567.seg").is_file());
        assert_eq!(fs::read_to_string(root.join("LOCK")).unwrap().trim(), own_pid());
        for name in ["notes.txt", "checkpoint-01", "checkpoint-999", "segments/7.seg", "segments/x"]
        {
            fs::write(root.join(name), "stranger").unwrap();
        }
        let expected = [FileId::Superblock, segment(0), segment(1_234_567), FileId::Checkpoint(1)];
        assert_eq!(store.list(), expected.map(|file| (file, 4096)));
    });
}

fn own_pid() -> String {
    std::process::id().to_string()
}

#[test]
fn half_made_files_are_removed_at_open() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("segments")).unwrap();
    let half_made =
        [folder.path().join("superblock.tmp"), folder.path().join("segments/9.seg.tmp")];
    for path in &half_made {
        fs::write(path, "half").unwrap();
    }
    open_store(folder.path(), DriverChoice::Auto).unwrap();
    for path in &half_made {
        assert!(!path.exists(), "{}", path.display());
    }
}

#[test]
fn a_store_is_opened_once_at_a_time() {
    everywhere(|store| {
        for choice in [DriverChoice::Auto, DriverChoice::Threads] {
            match open_store(store.folder.path(), choice) {
                Err(error @ OpenError::Locked { pid: Some(pid), .. }) => {
                    assert_eq!(pid, std::process::id());
                    assert!(error.to_string().contains(&format!("process {pid}")), "{error}");
                }
                Err(error) => panic!("{error}"),
                Ok(_) => panic!("the store was opened twice"),
            }
        }
    });
}

#[test]
fn the_lock_ends_with_the_disk() {
    let folder = TempDir::new().unwrap();
    for _ in 0..3 {
        open_store(folder.path(), DriverChoice::Auto).unwrap();
    }
}

#[test]
fn a_file_is_not_a_folder() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(refusal(&file).contains("is not a folder"), "{}", refusal(&file));
    let below = file.join("store");
    assert!(refusal(&below).contains("is not a folder"), "{}", refusal(&below));
    fs::write(folder.path().join("segments"), "").unwrap();
    assert!(refusal(folder.path()).contains("segments: is not a folder"));
}

#[test]
fn a_missing_parent_is_not_created() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("mount/store");
    assert!(refusal(&path).contains("parent folder does not exist"), "{}", refusal(&path));
    assert!(!folder.path().join("mount").exists());
}

#[test]
fn errors_name_the_path_and_the_remedy() {
    for (errno, remedy) in [
        (libc::EROFS, "remount it writable"),
        (libc::EACCES, "give the server's user"),
        (libc::EPERM, "give the server's user"),
        (libc::ENOTDIR, "name a folder"),
        (libc::ENOSPC, "free some"),
        (libc::EIO, "cannot create"),
    ] {
        let source = io::Error::from_raw_os_error(errno);
        let text = OpenError::at("create", &PathBuf::from("/data/store"), source).to_string();
        assert!(text.starts_with("/data/store: ") && text.contains(remedy), "{text}");
    }
}

/// Where even root may not create anything.
#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    let text = refusal(Path::new("/proc/self/store"));
    assert!(text.contains("/proc/self/store"), "{text}");
}
