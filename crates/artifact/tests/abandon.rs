//! The end of a process at once, as a second Ctrl-C makes it. A file of its own: nothing works
//! after it in this process.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use artifact::{Access, AtomicDir, AtomicFile, OutputLock, abandon, write_bytes};

fn files(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.push(format!("{}/", path.display()));
            all.extend(files(&path));
        } else {
            all.push(path.display().to_string());
        }
    }
    all
}

/// Attacks, row 1: no file gets a final name after the decision to end, whatever threads do, and
/// nothing half done stays.
#[test]
fn after_the_end_no_file_appears_and_nothing_under_way_stays() {
    let work = tempfile::tempdir().unwrap();
    let root = work.path().to_path_buf();
    write_bytes(&root.join("old/images/0/a.png"), Access::Public, b"old").unwrap();
    let whole = root.join("whole.pt");
    write_bytes(&whole, Access::Public, b"whole").unwrap();
    let lock = OutputLock::acquire(&root.join("made/for/the/lock"), "a-program").unwrap();
    let mut half = AtomicFile::create(&root.join("made/half.pt"), Access::Public).unwrap();
    half.write_all(b"half").unwrap();
    let mut complete = AtomicFile::create(&whole, Access::Public).unwrap();
    complete.write_all(b"newer").unwrap();
    let is_own = |_: &Path| true;
    let mut dir = AtomicDir::create(&root.join("old/images"), Access::Public, is_own).unwrap();
    dir.write(Path::new("0/b.png"), b"new").unwrap();
    let written = &*Box::leak(Box::new(AtomicUsize::new(0)));
    for thread in 0..4 {
        let root = root.clone();
        std::thread::spawn(move || {
            for n in 0.. {
                write_bytes(&root.join(format!("threads/{thread}/{n}")), Access::Public, &[0; 10_000])
                    .unwrap();
                written.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    while written.load(Ordering::SeqCst) < 20 {
        std::thread::sleep(Duration::from_millis(1));
    }
    abandon();
    let left = files(&root);
    std::thread::spawn(move || complete.commit());
    std::thread::spawn(move || dir.commit());
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(files(&root), left);
    let hidden = |name: &&String| {
        Path::new(name).file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
    };
    let odd = left.iter().find(hidden);
    assert_eq!(odd, None, "{left:?}");
    assert!(!root.join("made").exists(), "{left:?}");
    assert_eq!(fs::read(&whole).unwrap(), b"whole");
    assert_eq!(fs::read(root.join("old/images/0/a.png")).unwrap(), b"old");
    let many = left.iter().filter(|name| name.contains("threads/") && !name.ends_with('/')).count();
    assert!(many >= 20, "{many}");
    std::mem::forget(lock);
}
