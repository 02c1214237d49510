use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

const SLOT: Slot = Slot { name: "policy", version: 3, max_bytes: 64 };

fn store() -> (tempfile::TempDir, StateDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = StateDir::new(dir.path().join("made/by/us"));
    (dir, store)
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn names(store: &StateDir) -> Vec<String> {
    let entries = fs::read_dir(&store.dir).expect("a directory");
    let mut names: Vec<String> =
        entries.flatten().map(|it| it.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn what_was_written_last_is_read_by_the_next_process() {
    let (_dir, store) = store();
    assert_eq!(store.read(&SLOT).expect("nothing is no error"), None);
    for (seconds, payload) in [(7, &b"one"[..]), (9, b""), (11, b"\n\nthree \xff\0\n")] {
        store.write(&SLOT, at(seconds), payload).expect("written");
        let want = Stored { payload: payload.to_vec(), time: at(seconds) };
        assert_eq!(store.read(&SLOT).expect("readable"), Some(want));
    }
    // For its owner alone, and nothing is left beside it.
    assert_eq!(names(&store), ["policy.state"]);
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&store.dir), mode(&store.path(&SLOT))), (0o700, 0o600));
    // Another name is another file.
    let other = Slot { name: "profile", ..SLOT };
    assert_eq!(store.read(&other).expect("nothing"), None);
    fs::copy(store.path(&SLOT), store.path(&other)).expect("copied");
    assert!(matches!(store.read(&other), Err(Unusable::Content(_, Fault::Foreign, _))));
}

/// Each way in which a file's content can be of no use.
#[test]
fn a_file_of_no_use_is_set_aside_and_replaced() {
    let whole = encode(&SLOT, at(7), b"a payload");
    let text = String::from_utf8_lossy(&whole).into_owned();
    let replaced = |from: &str, to: &str| text.replacen(from, to, 1).into_bytes();
    let other_version = encode(&Slot { version: 4, ..SLOT }, at(7), b"a payload");
    let cases = [
        ("empty", Vec::new(), Fault::Foreign),
        ("zeros, as after a crash of the machine", vec![0; 300], Fault::Foreign),
        ("only a part of the line", whole[..20].to_vec(), Fault::Foreign),
        ("another file", b"pools: []\n".to_vec(), Fault::Foreign),
        ("no UTF-8", b"sigma-state \xff\n".to_vec(), Fault::Foreign),
        ("cut", whole[..whole.len() - 2].to_vec(), Fault::Cut(7, 9)),
        ("longer", [&*whole, b"x"].concat(), Fault::Cut(10, 9)),
        ("a bit of the payload", replaced("payload", "paxload"), Fault::Checksum),
        ("a bit of the time", replaced(" 7 ", " 8 "), Fault::Checksum),
        ("another version", other_version, Fault::Version("4".into())),
        ("another format", replaced("state 1", "state 2"), Fault::Version("2".into())),
        ("too large", [&*whole, &[b'x'; 400]].concat(), Fault::TooLarge(MAX_HEADER + 64)),
    ];
    for (what, bytes, want) in cases {
        let (_dir, store) = store();
        store.write(&SLOT, at(1), b"before").expect("written");
        fs::write(store.path(&SLOT), &bytes).expect("written");
        let found = store.read(&SLOT).expect_err(what);
        assert!(
            matches!(&found, Unusable::Content(_, fault, _) if *fault == want),
            "{what}: {found}"
        );
        assert_eq!(names(&store), ["policy.state.bad"], "{what}");
        assert_eq!(fs::read(store.dir.join("policy.state.bad")).expect("kept"), bytes, "{what}");
        assert_eq!(store.read(&SLOT).expect("nothing is left"), None, "{what}");
        store.write(&SLOT, at(2), b"after").expect("written");
        assert_eq!(store.read(&SLOT).expect("readable").expect("there").payload, b"after");
    }
}

/// A pipe would be waited for without end.
#[test]
fn what_is_no_file_is_not_opened() {
    let (_dir, store) = store();
    store.write(&SLOT, at(1), b"before").expect("written");
    let path = store.path(&SLOT);
    fs::remove_file(&path).expect("removed");
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo runs");
    assert!(made.success());
    assert!(matches!(store.read(&SLOT), Err(Unusable::Content(_, Fault::NoFile, _))));
    symlink("/dev/zero", &path).expect("a link");
    assert!(matches!(store.read(&SLOT), Err(Unusable::Content(_, Fault::NoFile, _))));
    fs::create_dir_all(path.join("full")).expect("a directory");
    let error = store.read(&SLOT).expect_err("no file").to_string();
    assert!(error.contains("it is not a file; it cannot be set aside: "), "{error}");
    assert!(store.write(&SLOT, at(2), b"after").is_err());
    // The file that could not be put in place is not left beside it.
    assert!(names(&store).iter().all(|it| !it.ends_with(".tmp")), "{:?}", names(&store));
}

#[test]
fn a_directory_that_cannot_be_used_is_an_error_and_no_more() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    fs::write(&file, "").expect("written");
    for bad in [file.clone(), file.join("below")] {
        let store = StateDir::new(bad);
        assert!(matches!(store.read(&SLOT), Err(Unusable::Read(..))));
        assert!(store.write(&SLOT, at(1), b"x").is_err());
    }
    let (_dir, store) = store();
    let error = store.write(&SLOT, at(1), &[b'x'; 65]).expect_err("too long");
    assert_eq!(error.to_string(), "it is larger than 64 bytes");
}

#[test]
fn what_a_writer_left_that_died_is_removed_and_what_another_one_writes_is_not() {
    let (_dir, store) = store();
    store.write(&SLOT, at(1), b"x").expect("written");
    let make = |name: &str, age: Duration| {
        let file = File::create(store.dir.join(name)).expect("made");
        file.set_modified(SystemTime::now() - age).expect("dated");
    };
    make(".policy.01.tmp", 2 * ABANDONED);
    make(".policy.02.tmp", Duration::ZERO);
    make(".profile.03.tmp", 2 * ABANDONED);
    make("policy.notes", 2 * ABANDONED);
    store.write(&SLOT, at(1), b"y").expect("written");
    let want = [".policy.02.tmp", ".profile.03.tmp", "policy.notes", "policy.state"];
    assert_eq!(names(&store), want);
}

#[test]
fn readers_see_one_whole_file_whoever_writes() {
    let (_dir, store) = store();
    store.write(&SLOT, at(0), b"0000").expect("written");
    std::thread::scope(|scope| {
        for writer in 1..=3_u8 {
            let store = &store;
            scope.spawn(move || {
                for _ in 0..50 {
                    let payload = vec![b'0' + writer; 4 * usize::from(writer)];
                    store.write(&SLOT, at(writer.into()), &payload).expect("written");
                }
            });
        }
        for _ in 0..200 {
            let found = store.read(&SLOT).expect("always whole").expect("always there");
            let writer = found.payload[0] - b'0';
            assert_eq!(found.time, at(writer.into()));
            assert_eq!(found.payload.len(), 4 * usize::from(writer.max(1)));
        }
    });
    assert_eq!(names(&store), ["policy.state"]);
    assert_eq!(fs::metadata(store.path(&SLOT)).expect("there").nlink(), 1);
}
