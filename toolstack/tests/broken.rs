//! Configurations that cannot work, and what is said about each: `broken/NAME.cfg` and `broken/NAME.txt`.
//!
//! `XENOLITH_WRITE=1 cargo test -p toolstack --test broken` writes the texts anew; read them before they
//! are kept.

mod host;

use std::fs;
use std::path::Path;

use host::{SOUND, judge};

#[test]
fn each_is_told_clearly_what_is_wrong() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|end| end == "cfg"));
    names.sort();
    assert!(names.len() >= 40, "only {} are left", names.len());
    let mut wrong = Vec::new();
    for path in names {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let (said, bad, _) = judge(name, &text);
        assert!(bad, "{name} is not refused:\n{said}");
        assert!(
            said.matches("error: ").count() + said.matches("warning: ").count()
                <= said.matches("  help: ").count() + 3
        );
        let expected = path.with_extension("txt");
        if std::env::var_os("XENOLITH_WRITE").is_some() {
            fs::write(expected, said).unwrap();
        } else if fs::read_to_string(expected).unwrap_or_default() != said {
            wrong.push(format!("{name}:\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_sound_one_is_not_complained_of() {
    let (said, bad, _) = judge("sound.cfg", SOUND);
    assert_eq!((said.as_str(), bad), ("", false));
}
