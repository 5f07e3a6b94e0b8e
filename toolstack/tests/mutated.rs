//! Every configuration there is for tests, changed at random, many thousand times: each is understood or refused, and said
//! to be; what was understood is the same after it was kept as JSON. Nothing panics.

mod host;

use std::fs;
use std::path::Path;

use host::{SOUND, judge};
use toolstack::config::Globals;
use toolstack::config::model::DomainConfig;

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end.max(1)
    }

    fn range(&mut self, len: usize, most: usize) -> std::ops::Range<usize> {
        let start = self.below(len + 1);
        start..(start + self.below(most)).min(len)
    }
}

/// What a grammar may stumble over.
const PIECES: &[&str] = &[
    "[",
    "]",
    "\"",
    "'",
    "=",
    ",",
    "#",
    "\n",
    "\\",
    "\0",
    "\u{fffd}",
    "0x",
    "-1",
    "0",
    "4294967296",
    "18446744073709551615",
    "999999999999999999999999",
    ":",
    "..",
    "-",
    "^",
    "/",
    "all",
    "node:",
    "\t",
    ";",
    "vdev=",
    "script=",
    "mac=",
    "1,",
    "\"\"\"",
    "\r\n",
];

fn mutated(dice: &mut Dice, texts: &[String]) -> String {
    let mut text: Vec<char> = texts[dice.below(texts.len())].chars().collect();
    for _ in 0..1 + dice.below(4) {
        let range = dice.range(text.len(), 30);
        let new: Vec<char> = match dice.below(4) {
            0 => Vec::new(),
            1 => PIECES[dice.below(PIECES.len())].chars().collect(),
            2 => text[range.clone()].repeat(2),
            _ => {
                let other: Vec<char> = texts[dice.below(texts.len())].chars().collect();
                let from = dice.range(other.len(), 60);
                other[from].to_vec()
            }
        };
        text.splice(range, new);
    }
    text.into_iter().collect()
}

/// The texts of files with this ending.
fn files(folder: &str, end: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == end));
    paths.sort();
    paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

fn same_when_kept(config: &DomainConfig, text: &str) {
    let kept = config.to_json();
    match DomainConfig::from_json(&kept) {
        Ok(found) => assert_eq!(found.to_json(), kept, "{text}"),
        Err(error) => panic!("{error}\n{text}\n{kept}"),
    }
}

#[test]
fn configurations_are_understood_or_refused() {
    let mut texts = [files("broken", "cfg"), files("corpus", "cfg")].concat();
    // Every second one begins as one that works.
    texts.extend(vec![SOUND.to_owned(); texts.len()]);
    let (mut dice, mut understood) = (Dice(1), 0);
    for _ in 0..20_000 {
        let text = mutated(&mut dice, &texts);
        let (said, bad, config) = judge("a.cfg", &text);
        assert!(!bad || said.contains("a.cfg") || said.contains("error"), "{text}\n{said}");
        if !bad {
            understood += 1;
            same_when_kept(&config, &text);
        }
        let _ = Globals::read(&text);
    }
    assert!(understood > 300, "{understood}");
}

#[test]
fn kept_configurations_are_understood_or_refused() {
    let texts = files("corpus", "json");
    let (mut dice, mut understood) = (Dice(2), 0);
    for _ in 0..20_000 {
        let text = mutated(&mut dice, &texts);
        if let Ok(config) = DomainConfig::from_json(&text) {
            understood += 1;
            same_when_kept(&config, &text);
        }
    }
    assert!(understood > 100, "{understood}");
}
