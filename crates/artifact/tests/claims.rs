//! Outputs are held against inputs, whichever is known first. A file of its own: claims are those
//! of a process.

use std::path::Path;

use artifact::{Access, Error, FileRecord, claim, name_input, write_bytes};

fn refusal<T>(result: Result<T, Error>) -> String {
    match result {
        Err(error @ Error::IsInput { .. }) => error.to_string(),
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("it was let through"),
    }
}

/// Attacks, row 3: before anything is written, with both flags.
#[test]
fn claims_are_held_against_what_is_read_before_and_after() {
    let work = tempfile::tempdir().unwrap();
    let at = |name: &str| work.path().join(name);
    for name in ["early/labels.csv", "late/teacher_7/labels.csv", "late/other.csv"] {
        write_bytes(&at(name), Access::Public, b"x").unwrap();
    }
    name_input("--labels", &at("early/labels.csv"));
    let text = refusal(claim("--out-dir", &at("early"), &["report.json", "labels.csv"]));
    let path = |name: &str| at(name).display().to_string();
    assert_eq!(
        text,
        format!(
            "--out-dir writes {0}, the file that --labels reads; give another output",
            path("early/labels.csv")
        )
    );
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(at("early"), at("link")).unwrap();
        std::fs::hard_link(at("early/labels.csv"), at("early/report.json")).unwrap();
        for name in ["labels.csv", "report.json"] {
            let text = refusal(claim("--out-dir", &at("link"), &[name]));
            assert!(text.contains("the file that --labels reads as "), "{text}");
        }
        std::fs::remove_file(at("early/report.json")).unwrap();
    }
    claim("--out-dir", &at("early"), &["report.json"]).unwrap();

    name_input("--data", &at("late"));
    claim("--late-dir", &at("late"), &["teacher_*/labels.csv"]).unwrap();
    FileRecord::of(&at("late/other.csv")).unwrap();
    write_bytes(&at("late/free"), Access::Public, b"x").unwrap();
    FileRecord::of(&at("late/teacher_7/labels.csv")).unwrap();
    for _ in 0..2 {
        let text = refusal(write_bytes(&at("elsewhere"), Access::Public, b"x"));
        assert!(text.starts_with("--late-dir writes ") && text.contains("--data reads"), "{text}");
    }
    assert!(!at("elsewhere").exists() && Path::new(&path("late/free")).exists());
}
