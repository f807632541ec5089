//! What a run has read stays, and its outputs are as many as it says. A file of its own: a run is a
//! process.

use std::fs;
use std::path::Path;

use artifact::{Access, AtomicDir, AtomicFile, Error, FileRecord, claim, keep_inputs, write_bytes};

fn refusal<T>(result: Result<T, Error>) -> String {
    match result {
        Err(error @ (Error::IsInput { .. } | Error::SameOutput { .. })) => error.to_string(),
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("it was let through"),
    }
}

/// Attacks, row 3.
#[test]
fn a_file_that_was_read_is_not_replaced_by_any_of_its_names() {
    keep_inputs();
    let work = tempfile::tempdir().unwrap();
    let path = work.path().join("shard.pt");
    write_bytes(&path, Access::Private, b"private").unwrap();
    // What this run wrote itself, it may write again.
    write_bytes(&path, Access::Private, b"private").unwrap();
    FileRecord::of_output(&path).unwrap();
    write_bytes(&path, Access::Private, b"private").unwrap();
    let mut names = vec![path.clone(), work.path().join("sub/../shard.pt")];
    fs::create_dir(work.path().join("sub")).unwrap();
    #[cfg(unix)]
    {
        for name in ["hard", "soft"] {
            names.push(work.path().join(name));
        }
        fs::hard_link(&path, &names[2]).unwrap();
        std::os::unix::fs::symlink(&path, &names[3]).unwrap();
    }
    FileRecord::of(&path).unwrap();
    for name in &names {
        let text = refusal(AtomicFile::create(name, Access::Public));
        assert!(text.starts_with("this run would write ") && text.contains("shard.pt"), "{text}");
    }
    assert_eq!(fs::read(&path).unwrap(), b"private");
    let folder = |inner: &Path| inner.ends_with("shard.pt");
    fs::remove_dir(work.path().join("sub")).unwrap();
    for name in names.iter().skip(2) {
        fs::remove_file(name).unwrap();
    }
    refusal(AtomicDir::create(work.path(), Access::Public, folder));
    assert_eq!(fs::read(&path).unwrap(), b"private");
}

#[test]
fn two_outputs_in_one_place_are_refused() {
    let work = tempfile::tempdir().unwrap();
    let out = work.path().join("out");
    claim("--pairs-dir", &out, &["teacher_*/a.json", "b.json"]).unwrap();
    for (dir, name) in
        [(out.clone(), "b.json"), (out.join("../out"), "b.json"), (out.join("teacher_1"), "a.json")]
    {
        let text = refusal(claim("--pairs-report", &dir, &[name]));
        assert!(text.contains("--pairs-report and --pairs-dir both write"), "{text}");
    }
    claim("--pairs-report", &out, &["c.json", "teacher_1/b.json"]).unwrap();
}
